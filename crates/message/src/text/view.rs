//! Texts as a reader sees them: lines joined, folds and escapes taken out, with the raw offsets.

use std::ops::Range;

use encoding_rs::Encoding;

use super::Lines;
use crate::mapped::Mapped;
use crate::slice::Slice;

/// A text as a reader sees it, with the raw offsets.
pub(super) enum View<'a> {
    Same(&'a str),
    Mapped(Mapped),
}

impl<'a> View<'a> {
    pub(super) fn new(text: &'a [u8], lines: Lines, encoding: &'static Encoding) -> Self {
        if lines == Lines::Plain
            && let Ok(s) = std::str::from_utf8(text)
            && (encoding == encoding_rs::UTF_8 || s.is_ascii())
        {
            return Self::Same(s);
        }
        let mut mapped = Mapped::default();
        match lines {
            Lines::Plain => mapped.push(text, 0..text.len(), encoding),
            Lines::Flowed => push_flowed(&mut mapped, text, encoding),
            Lines::Folded => push_folded(&mut mapped, text, encoding),
        }
        Self::Mapped(mapped)
    }

    /// The octets in which tags are sought, and their map to the raw text.
    pub(super) fn work<'s>(&'s self, text: &'s [u8]) -> (&'s [u8], Option<&'s Mapped>) {
        match self {
            Self::Mapped(m) => (m.text.as_bytes(), Some(m)),
            Self::Same(_) => (text, None),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Same(s) => s,
            Self::Mapped(m) => &m.text,
        }
    }

    pub(super) fn raw(&self, span: &Range<usize>) -> Vec<Range<usize>> {
        match self {
            Self::Same(_) => vec![span.clone()],
            Self::Mapped(m) => m.raw(span),
        }
    }
}

/// Lines whose soft breaks are taken out (RFC 3676 4): a line that ends in a blank goes on in the next of the same quote
/// depth, whose quote marks and stuffed blank are not part of the text then.
fn push_flowed(mapped: &mut Mapped, text: &[u8], encoding: &'static Encoding) {
    let mut from = 0;
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', text) {
        let line = text.slice(line_start..at);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let next = text.slice(at + 1..);
        let (depth, prefix) = quote_prefix(line);
        let (next_depth, next_prefix) = quote_prefix(next);
        let is_soft = line.ends_with(b" ") && line.len() > prefix && line.get(prefix..) != Some(b"-- ");
        let end = line_start + line.len();
        if is_soft && depth == next_depth && !next.is_empty() {
            mapped.push(text, from..end - 1, encoding);
            from = at + 1 + next_prefix;
        } else {
            mapped.push(text, from..at + 1, encoding);
            from = at + 1;
        }
        line_start = at + 1;
    }
    mapped.push(text, from..text.len(), encoding);
}

/// Counts the depth of quotes of a line, and the octets of its quote marks and the blank that stuffs it.
pub(crate) fn quote_prefix(line: &[u8]) -> (usize, usize) {
    let depth = line.iter().take_while(|b| **b == b'>').count();
    (depth, depth + usize::from(line.get(depth) == Some(&b' ')))
}

/// Content lines unfolded, escapes and quoted-printable values (vCard 2.1, vCalendar 1.0) decoded.
fn push_folded(mapped: &mut Mapped, text: &[u8], encoding: &'static Encoding) {
    let mut from = 0;
    for value in quoted_values(text) {
        push_unfolded(mapped, text, from..value.start, encoding);
        push_quoted(mapped, text, value.clone(), encoding);
        from = value.end;
    }
    push_unfolded(mapped, text, from..text.len(), encoding);
}

fn push_unfolded(mapped: &mut Mapped, text: &[u8], range: Range<usize>, encoding: &'static Encoding) {
    let Range { start: mut from, end } = range;
    let text = text.slice(..end);
    let mut at = from;
    while let Some(n) = memchr::memchr2(b'\n', b'\\', text.slice(at..)) {
        let here = at + n;
        if text.get(here) == Some(&b'\\') {
            let escaped = text.get(here + 1).copied().unwrap_or(b' ');
            if matches!(escaped, b',' | b';' | b'\\' | b':') {
                // The backslash goes, the character stays.
                mapped.push(text, from..here, encoding);
                from = here + 1;
            } else if matches!(escaped, b'n' | b'N') {
                mapped.push(text, from..here + 1, encoding);
                from = here + 2;
                mapped.text.push('\n');
            }
            at = end.min(here + 2);
            continue;
        }
        let line_end = if here > 0 && text.get(here - 1) == Some(&b'\r') {
            here - 1
        } else {
            here
        };
        if matches!(text.get(here + 1), Some(b' ' | b'\t')) {
            mapped.push(text, from..line_end.max(from), encoding);
            from = here + 2;
        }
        at = here + 1;
    }
    mapped.push(text, from.min(end)..end, encoding);
}

/// The values of content lines that say they are quoted-printable, over their soft line breaks.
pub(crate) fn quoted_values(text: &[u8]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let here = from..from + line.len();
        from = here.end;
        if out.last().is_some_and(|v| here.start < v.end) {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = line.slice(..colon);
        if !name.contains(&b';') || !names_quoted_printable(name) {
            continue;
        }
        let start = here.start + colon + 1;
        let rest = text.slice(start..);
        let end = memchr::memchr_iter(b'\n', rest)
            .find(|n| {
                let line = rest.slice(..*n);
                !line.strip_suffix(b"\r").unwrap_or(line).ends_with(b"=")
            })
            .unwrap_or(rest.len());
        out.push(start..start + end);
    }
    out
}

fn names_quoted_printable(name: &[u8]) -> bool {
    const CODING: &[u8] = b"QUOTED-PRINTABLE";
    name.windows(CODING.len()).any(|w| w.eq_ignore_ascii_case(CODING))
}

fn push_quoted(mapped: &mut Mapped, text: &[u8], range: Range<usize>, encoding: &'static Encoding) {
    let is_escape = |at: usize| {
        text.get(at..at + 3)
            .is_some_and(|e| e.iter().skip(1).all(u8::is_ascii_hexdigit) && e.starts_with(b"="))
    };
    let mut from = range.start;
    let mut at = from;
    while let Some(n) = memchr::memchr(b'=', text.slice(at..range.end)) {
        let here = at + n;
        let mut end = here;
        while end + 3 <= range.end && is_escape(end) {
            end += 3;
        }
        let soft = [&b"=\r\n"[..], b"=\n"]
            .into_iter()
            .find(|b| text.get(here..range.end).is_some_and(|t| t.starts_with(b)));
        if end > here {
            mapped.push(text, from..here, encoding);
            mapped.push_escapes(text, here..end, encoding);
            from = end;
        } else if let Some(soft) = soft {
            mapped.push(text, from..here, encoding);
            end = here + soft.len();
            from = end;
        }
        at = end.max(here + 1);
    }
    mapped.push(text, from..range.end, encoding);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str, lines: Lines) -> String {
        View::new(text.as_bytes(), lines, encoding_rs::UTF_8).text().to_owned()
    }

    #[test]
    fn flowed_lines_are_joined_without_their_blank() {
        assert_eq!(view("a \r\nb\r\n-- \r\nc\r\n", Lines::Flowed), "ab\r\n-- \r\nc\r\n");
    }

    #[test]
    fn folded_lines_are_unfolded_and_unescaped() {
        assert_eq!(view("D:a\\, b\r\n c\\nd\r\nE:x", Lines::Folded), "D:a, bc\\\nd\r\nE:x");
    }

    #[test]
    fn flowed_lines_are_joined_within_their_quote_depth() {
        assert_eq!(view("> a \r\n> b\r\nc \r\n> d", Lines::Flowed), "> ab\r\nc \r\n> d");
        assert_eq!(view(">> a \r\n>>b \r\n> c", Lines::Flowed), ">> ab \r\n> c");
        assert_eq!(view("a \r\n b", Lines::Flowed), "ab");
    }

    #[test]
    fn quoted_printable_values_are_decoded() {
        let card = "URL;ENCODING=QUOTED-PRINTABLE:https=3A//=C3=A9.exam=\r\nple/\r\nN:=3D\r\n";
        assert_eq!(
            view(card, Lines::Folded),
            "URL;ENCODING=QUOTED-PRINTABLE:https://é.example/\r\nN:=3D\r\n"
        );
        let values: Vec<_> = quoted_values(card.as_bytes()).into_iter().map(|r| &card[r]).collect();
        assert_eq!(values, ["https=3A//=C3=A9.exam=\r\nple/\r"]);
    }
}
