//! The text of a link, between its tags.

use encoding_rs::Encoding;

use super::reference::reference;
use super::tag::{self, Tag};
use crate::slice::{Slice, head};

/// The place of the text of a link; it is read when [`LinkText::read`] is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkText<'a> {
    /// From the start tag on.
    pub(crate) text: &'a [u8],
    pub(crate) encoding: &'static Encoding,
}

/// Octets behind the start of a link that are looked through for its end.
const MAX_LINK: usize = 8 << 10;

/// Octets of text that are taken.
const MAX_TEXT: usize = 1 << 10;

impl LinkText<'_> {
    /// The text of the link, with white space as a browser shows it; empty for a picture.
    pub(crate) fn read(&self) -> String {
        let text = head(self.text, MAX_LINK);
        let mut shown = Vec::new();
        let mut tag = Tag::default();
        tag::read(text, 0, &mut tag);
        let mut at = tag.end;
        while shown.len() < MAX_TEXT {
            let rest = text.slice(at..);
            let run = memchr::memchr(b'<', rest).unwrap_or(rest.len());
            shown.extend_from_slice(rest.slice(..run));
            at += run;
            match rest.get(run + 1..) {
                Some([b'/', c, ..]) if c.is_ascii_alphabetic() => {
                    tag::read(text, at + 1, &mut tag);
                    if tag.name(text).eq_ignore_ascii_case(b"a") {
                        break;
                    }
                }
                Some([c, ..]) if c.is_ascii_alphabetic() => {
                    tag::read(text, at, &mut tag);
                    if tag.name(text).eq_ignore_ascii_case(b"a") {
                        break;
                    }
                    if BREAKS.iter().any(|b| tag.name(text).eq_ignore_ascii_case(b)) {
                        shown.push(b' ');
                    }
                }
                Some([b'!' | b'?' | b'/', ..]) => {
                    let end = memchr::memchr(b'>', rest.slice(run..));
                    at = end.map_or(text.len(), |n| at + n + 1);
                    continue;
                }
                // No tag: the sign is text.
                Some(_) => {
                    shown.push(b'<');
                    at += 1;
                    continue;
                }
                None => break,
            }
            at = tag.end.max(at + 1);
        }
        let (decoded, _) = self.encoding.decode_without_bom_handling(&shown);
        squeezed(&decoded)
    }
}

/// Elements between which there is white space on the screen.
const BREAKS: [&[u8]; 8] = [b"br", b"p", b"div", b"td", b"tr", b"li", b"h1", b"h2"];

/// Decodes references, and makes one space of each stretch of white space.
fn squeezed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut put = |c: char| {
        if !c.is_whitespace() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '&'
            && let Some((used, first, second)) = reference(rest, false)
        {
            put(first);
            second.into_iter().for_each(&mut put);
            rest = rest.slice(used..);
        } else {
            put(c);
            rest = rest.slice(c.len_utf8()..);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8]) -> String {
        LinkText {
            text,
            encoding: encoding_rs::UTF_8,
        }
        .read()
    }

    #[test]
    fn a_reader_sees_the_text_between_the_tags() {
        for (html, want) in [
            (
                &b"<a href=x>https://bank.example/</a> more"[..],
                "https://bank.example/",
            ),
            (b"<a href=\"x>y\" title='>'>text</A >", "text"),
            (b"<a href=x><b>bank</b>.<i>example</i></a>", "bank.example"),
            (b"<a href=x>\n  bank&#46;example &nbsp; <br>now</a>", "bank.example now"),
            (b"<a href=x><!-- hidden -->seen</a>", "seen"),
            (b"<a href=x><img src=y></a>", ""),
            (b"<a href=x>first<a href=y>second</a>", "first"),
            (b"<a href=x>1 < 2</a>", "1 < 2"),
            (b"<a href=x>no end", "no end"),
            (b"<a href=x", ""),
        ] {
            assert_eq!(shown(html), want, "{}", String::from_utf8_lossy(html));
        }
        let endless = [b"<a href=x>".as_slice(), &b"long ".repeat(10_000)].concat();
        assert!(shown(&endless).len() <= 2 * MAX_LINK);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_panic(octets: Vec<u8>, text in "<a (href=x)?[<>&;a/! -]{0,60}") {
            let _ = (shown(&octets), shown(text.as_bytes()));
        }
    }
}
