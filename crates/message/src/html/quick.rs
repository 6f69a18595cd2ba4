//! Markup in which nothing can differ: no running text holds a URL, no raw text holds a tag, and no element is there
//! about which parsers disagree. Most newsletters are like that: the context that lol_html gives would be empty.

use super::context::comment_end;
use super::line::{OpenBlocks, word};
use super::reference::is_plain_reference;
use super::tag::{self, Tag};
use crate::autolink;
use crate::slice::Slice;

/// Whether the context of a text is certain to be of no use: no run of text in it holds a URL, and no tag of it is text
/// to any program. `false` whenever that is not certain.
pub(crate) fn has_no_context(text: &[u8]) -> bool {
    read(text).is_some()
}

fn read(text: &[u8]) -> Option<()> {
    let mut tag = Tag::default();
    let mut line = TextLine::default();
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'<', text.slice(at..)) {
        let start = at + n;
        line.add_text(text.slice(at..start))?;
        let rest = text.slice(start + 1..);
        at = match rest {
            [b'/', c, ..] if c.is_ascii_alphabetic() => {
                tag::read(text, start + 1, &mut tag);
                let name = tag.name(text);
                line.add_tag(name, word(name), true);
                tag.end
            }
            [c, ..] if c.is_ascii_alphabetic() => {
                tag::read(text, start, &mut tag);
                let name = word(tag.name(text));
                line.add_tag(tag.name(text), name, false);
                if RAW.contains(&name) {
                    end_of_raw(text, tag.end, tag.name(text))?
                } else if CONTESTED.contains(&name) || is_long_contested(tag.name(text)) {
                    return None;
                } else {
                    tag.end
                }
            }
            [b'!', b'[', ..] => return None,
            [b'!' | b'?' | b'/', ..] => start + 1 + comment_end(rest)?,
            // Not a tag: text, but what it is joined to would have to be looked at.
            _ => return None,
        };
        if tag.cut_off {
            return None;
        }
    }
    line.add_text(text.slice(at..))
}

/// Elements whose content is raw text to every parser.
const RAW: [u64; 3] = [word(b"title"), word(b"style"), word(b"textarea")];

/// Elements whose content parsers read differently, or in which text is not what it is elsewhere.
const CONTESTED: [u64; 13] = [
    word(b"script"),
    word(b"xmp"),
    word(b"noscript"),
    word(b"noembed"),
    word(b"noframes"),
    word(b"iframe"),
    word(b"svg"),
    word(b"math"),
    word(b"select"),
    word(b"frameset"),
    word(b"template"),
    word(b"listing"),
    word(b"image"),
];

/// Names of more than eight letters do not fit into a word.
fn is_long_contested(name: &[u8]) -> bool {
    name.len() > 8 && name.eq_ignore_ascii_case(b"plaintext")
}

/// Behind the raw text that begins at `from`, if it ends and no tag stands in it.
fn end_of_raw(text: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let mut at = from;
    loop {
        let start = at + memchr::memchr(b'<', text.slice(at..))?;
        let rest = text.slice(start + 1..);
        let own = rest
            .strip_prefix(b"/")
            .and_then(|r| r.split_at_checked(name.len()))
            .is_some_and(|(n, behind)| {
                let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'>');
                n.eq_ignore_ascii_case(name) && behind.first().is_some_and(ends)
            });
        match rest {
            [b'/', ..] if own => return Some(start),
            [c, ..] if c.is_ascii_alphabetic() => return None,
            [b'/', ..] => return None,
            _ => at = start + 1,
        }
    }
}

/// A line of running text, as far as it matters whether a URL runs on over markup.
#[derive(Default)]
struct TextLine {
    last: Option<u8>,
    blocks: OpenBlocks,
}

impl TextLine {
    /// Adds a stretch of text; `None` when it, or what it is joined to, may hold a URL.
    fn add_text(&mut self, text: &[u8]) -> Option<()> {
        let Some(first) = text.first() else { return Some(()) };
        let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || b >= 0x80;
        let joins = self.last.is_some_and(|last| match (last, *first) {
            (b':' | b'/', b'/') => true,
            (b'.', first) => part(first),
            (last, b'.' | b':') => part(last),
            _ => false,
        });
        let odd = memchr::memchr_iter(b'&', text).any(|at| !is_plain_reference(text.slice(at + 1..)));
        if joins || odd || autolink::may_hold_url(text) {
            return None;
        }
        self.last = text.last().copied();
        Some(())
    }

    /// Adds a tag: text goes on over it unless it ends the line. Links are not tracked here: at most a line is taken
    /// for longer than it is.
    fn add_tag(&mut self, name: &[u8], word: u64, end_tag: bool) {
        if self.blocks.end_at(name, word, end_tag) {
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context;
    use super::*;
    use crate::mapped::Mapped;
    use proptest::prelude::*;

    #[test]
    fn ordinary_markup_has_no_context() {
        for html in [
            "<html><head><title>A title.</title><style><!-- a{b:c} --></style></head><body><p>Text. More &amp; <b>bold:</b> text.</p>",
            "<!DOCTYPE html><!--[if mso]><table><![endif]--><a href=\"https://x.example/\">Go</a><img src=x alt='a > b'>",
        ] {
            assert!(has_no_context(html.as_bytes()), "{html}");
        }
    }

    #[test]
    fn whatever_may_matter_has_one() {
        for html in [
            "see https://x.example/",
            "go to example<b>.com</b>",
            "http<i>:</i>//x",
            "https:<b>//x.example</b>",
            "a<svg>",
            "<style><a href=x></style>",
            "<textarea>",
            "<textarea></textareax><a href=x></textarea>",
            "<p title=\"x",
            "<![CDATA[x]]>",
            "x &#46; y",
            "1 < 2",
            "<plaintext>",
            "<noscript><p>",
        ] {
            assert!(!has_no_context(html.as_bytes()), "{html}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// A place skipped by this rule would have come to nothing.
        #[test]
        fn no_context_means_nothing_to_do(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<p>", "</p>", "<b>", "</b>", "<a href=x>", "</a>", "<br>", "<td>", "<title>", "</title>", "<style>", "</style>",
                "<textarea>", "</textarea>", "<!--", "-->", "<!-- x -->", "text ", "www", "</div>", "<div>", "<x-y>", "<a name=x>", "<table>", "</table>", ".", "example", ".com", ":", "/", "//",
                "http", "&amp;", "&nbsp;", "a.b", " ", "\n", "<", ">", "\"", "<p title=\"", "</", "<script>", "<svg>", "é", "<wbr>",
            ]), 0..20)
        ) {
            let html = pieces.concat();
            let text = html.as_bytes();
            if !has_no_context(text) {
                return Ok(());
            }
            let context = context::read_fully(text);
            prop_assert!(context.is_some(), "{}", html);
            let context = context.unwrap();
            prop_assert!(context.shown_raw.is_empty() && context.dangling.is_none(), "{}", html);
            for inert in &context.inert {
                let raw = &html[inert.clone()];
                prop_assert!(!raw.as_bytes().windows(2).any(|w| w[0] == b'<' && w[1].is_ascii_alphabetic()), "{}", html);
            }
            for run in &context.runs {
                let mut mapped = Mapped::default();
                for piece in &run.pieces {
                    mapped.push_html(text, piece.clone(), encoding_rs::UTF_8);
                }
                prop_assert!(autolink::find(&mapped.text, autolink::UrlForms::ALL).is_empty(), "{}: {}", html, mapped.text);
            }
        }
    }
}
