//! Word's field codes: `HYPERLINK "https://..."`, which its engine follows without any href.

use std::ops::Range;

use memchr::memmem;

use super::action::{SiteAction, find_ignoring_case};
use super::reference::{MAX_REFERENCE, reference};
use super::tag::{self, Tag};
use crate::site::Use;
use crate::slice::{Slice, ascii_head, head};

const NAME: &[u8] = b"HYPERLINK";
/// Most octets of a field code that are looked at.
const MAX_CODE: usize = 2_048;

/// Finds the targets of field codes.
pub(super) fn find(text: &[u8], actions: &mut Vec<SiteAction>) {
    // Copying a text in lower case costs less than looking at every letter with which the name may begin or end.
    let lower = text.to_ascii_lowercase();
    if memmem::find(&lower, b"mso-element").is_none() {
        return;
    }
    for at in memmem::find_iter(&lower, &NAME.to_ascii_lowercase()) {
        let from = at + NAME.len();
        let in_field = is_in_field(text, at);
        // In running text it is a word, unless it is written as Word writes it, with a target in quotes behind it.
        if !in_field && text.slice(at..from) != NAME {
            continue;
        }
        let end = end_of_code(text, from);
        let mut first = true;
        for word in CodeWords::new(text, from..end) {
            let raw = text.slice(word.at.clone());
            let leads = word.quoted && first && !word.argument || in_field && is_target(raw);
            first &= !word.quoted || word.argument;
            if leads && !raw.is_empty() {
                let start = word.at.start;
                actions.push(SiteAction::Judge {
                    usage: Use::WordField,
                    tag: at..from,
                    name: start..start,
                    value: word.at.clone(),
                    whole: word.at,
                });
            }
            if !in_field && !first {
                break;
            }
        }
    }
}

/// Whether the mark before an offset is one that begins a field.
fn is_in_field(text: &[u8], at: usize) -> bool {
    let before = text.slice(at.saturating_sub(MAX_CODE)..at);
    let before = before.to_ascii_lowercase();
    memmem::rfind(&before, b"field-").is_some_and(|n| before.slice(n..).starts_with(b"field-begin"))
}

/// Finds where the field code that goes on at `from` ends: at the next mark of a field, or the next one.
fn end_of_code(text: &[u8], from: usize) -> usize {
    let most = text.slice(from..text.len().min(from + MAX_CODE));
    let most = most.slice(..find_ignoring_case(most, NAME).unwrap_or(most.len()));
    from + find_ignoring_case(most, b"field-").unwrap_or(most.len())
}

/// Whether a token is a URL, or leads somewhere as if it were one.
fn is_target(word: &[u8]) -> bool {
    let scheme = word
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        .count();
    scheme > 1 && word.get(scheme) == Some(&b':')
        || word.starts_with(b"//")
        || word.starts_with(br"\\")
        || word.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"www."))
}

/// A word of a field code.
struct CodeWord {
    at: Range<usize>,
    quoted: bool,
    /// It belongs to the switch before it: a frame, a bookmark, a tip.
    argument: bool,
}

/// The words of a field code, tags and switches left out.
struct CodeWords<'t> {
    text: &'t [u8],
    at: usize,
    end: usize,
    argument: bool,
    tag: Tag,
}

/// The pieces of a field code.
enum CodePiece {
    /// White space, a tag, or the rest of one.
    Blank,
    Quote,
    Other,
}

impl<'t> CodeWords<'t> {
    fn new(text: &'t [u8], code: Range<usize>) -> Self {
        Self {
            text,
            at: code.start,
            end: code.end,
            argument: false,
            tag: Tag::default(),
        }
    }

    /// Returns the piece at an offset, and its end.
    fn piece(&mut self, at: usize) -> (CodePiece, usize) {
        let rest = self.text.slice(at..self.end);
        match rest {
            [b'<', b'/', ..] | [b'<', b'!', ..] => {
                let n = memchr::memchr(b'>', rest).map_or(rest.len(), |n| n + 1);
                (CodePiece::Blank, at + n)
            }
            [b'<', c, ..] if c.is_ascii_alphabetic() => {
                tag::read(self.text.slice(..self.end), at, &mut self.tag);
                (CodePiece::Blank, self.tag.end)
            }
            [b'<', ..] => (CodePiece::Blank, at + 1),
            [b'"' | b'\'', ..] => (CodePiece::Quote, at + 1),
            [b'&', ..] => match reference(ascii_head(head(rest, MAX_REFERENCE)), false) {
                Some((n, '"' | '\'' | '“' | '”', None)) => (CodePiece::Quote, at + n),
                Some((n, c, None)) if c.is_whitespace() => (CodePiece::Blank, at + n),
                Some((n, ..)) => (CodePiece::Other, at + n),
                None => (CodePiece::Other, at + 1),
            },
            [b, ..] if b.is_ascii_whitespace() => (CodePiece::Blank, at + 1),
            // A no-break space, a quotation mark.
            _ if rest.starts_with("\u{a0}".as_bytes()) => (CodePiece::Blank, at + 2),
            _ if rest.starts_with("“".as_bytes()) || rest.starts_with("”".as_bytes()) => (CodePiece::Quote, at + 3),
            _ => (CodePiece::Other, at + 1),
        }
    }
}

impl Iterator for CodeWords<'_> {
    type Item = CodeWord;

    fn next(&mut self) -> Option<CodeWord> {
        while self.at < self.end {
            let start = self.at;
            let (piece, behind) = self.piece(start);
            let quoted = matches!(piece, CodePiece::Quote);
            if matches!(piece, CodePiece::Blank) {
                self.at = behind;
                continue;
            }
            let rest = self.text.slice(start..self.end);
            if let [b'\\', switch, ..] = rest
                && *switch != b'\\'
            {
                self.argument = matches!(switch.to_ascii_lowercase(), b't' | b'l' | b'o' | b's');
                self.at = start + 2;
                continue;
            }
            let from = if quoted { behind } else { start };
            let mut to = from;
            self.at = loop {
                if to >= self.end || self.text.get(to) == Some(&b'<') {
                    break to;
                }
                match self.piece(to) {
                    (CodePiece::Quote, behind) if quoted => break behind,
                    (CodePiece::Blank | CodePiece::Quote, _) if !quoted => break to,
                    (_, behind) => to = behind,
                }
            };
            let argument = std::mem::take(&mut self.argument);
            return Some(CodeWord {
                at: from..to.min(self.end),
                quoted,
                argument,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(code: &str) -> Vec<String> {
        let html =
            format!("<i style='mso-element:field-begin'></i>{code}<i style='mso-element:field-separator'></i>\"no:x\"");
        let mut actions = Vec::new();
        find(html.as_bytes(), &mut actions);
        let value = |a: &SiteAction| match a {
            SiteAction::Judge { value, .. } => html[value.clone()].to_owned(),
            SiteAction::Disable { .. } => String::new(),
        };
        actions.iter().map(value).collect()
    }

    #[test]
    fn targets_stand_in_quotes_or_not_and_behind_switches() {
        for code in [
            "HYPERLINK \"ftp://f.example/\"",
            "hyperlink &quot;ftp://f.example/&quot;",
            "HYPERLINK ftp://f.example/ \\h",
            "HYPERLINK \\t \"_blank\" \"ftp://f.example/\"",
            "HYPERLINK <b>&#34;ftp://f.example/&#x22;</b>",
            "HyperLink&nbsp;\\l 'part' 'ftp://f.example/'",
        ] {
            assert_eq!(targets(code), ["ftp://f.example/"], "{code}");
        }
        assert_eq!(targets(r"HYPERLINK \\server\share"), [r"\\server\share"]);
        assert_eq!(targets("HYPERLINK \"page.htm\" \\o \"a tip\""), ["page.htm"]);
        assert_eq!(targets("HYPERLINK \\l \"part\""), [""; 0]);
    }

    #[test]
    fn codes_end_at_a_sign_that_begins_no_tag() {
        for code in [
            "HYPERLINK <",
            "HYPERLINK \"<",
            "HYPERLINK < \"<1",
            "HYPERLINK \"a:b<",
            "HYPERLINK <a",
            "HYPERLINK \\",
        ] {
            targets(code);
        }
        assert_eq!(targets("HYPERLINK < \"ftp://f.example/\""), ["ftp://f.example/"]);
    }

    #[test]
    fn the_word_in_running_text_is_no_field() {
        let html = "<p style='mso-element:para-border-div'>The hyperlink \"https://x.example/\" is here.</p>";
        let mut actions = Vec::new();
        find(html.as_bytes(), &mut actions);
        assert!(actions.is_empty(), "{actions:?}");
    }
}
