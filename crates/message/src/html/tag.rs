//! Tags in every reading.
//!
//! The meaning of markup depends on the state a parser is in: comment, raw text, foreign element, an attribute of
//! another tag. But wherever it does see a start tag, that tag begins at a `<` followed by a letter, and its attributes
//! follow from there alone (WHATWG HTML 13.2.5.8 to 13.2.5.40). So reading a tag at *every* such place gives all the tags
//! that any parser can see in any state, and some more.

use std::ops::Range;

use super::attributes::matters;
use crate::slice::Slice;

/// The attribute that keeps, encoded and without effect, one that was taken out.
pub(crate) const OFF: &str = "data-linkgate-off";

/// The attribute that keeps, encoded, how the one before it was written.
pub(crate) const WAS: &[u8] = b"data-linkgate-was";

/// An attribute by offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) name: Range<usize>,
    /// The value between its quotes; `None` when there is no `=`.
    pub(crate) value: Option<Range<usize>>,
    pub(crate) quote: Quote,
}

/// The quoting of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    None,
    Single,
    Double,
}

/// A start tag by offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The `<`.
    pub(crate) start: usize,
    /// Behind the `>`, or the end of the text.
    pub(crate) end: usize,
    pub(crate) name: Range<usize>,
    pub(crate) attrs: Vec<Attr>,
    /// The text ended within the tag.
    pub(crate) cut_off: bool,
    /// It has so many attributes that those which lead nowhere were left out.
    pub(crate) crowded: bool,
}

impl Attr {
    /// From its name to its closing quote.
    pub(crate) fn whole(&self) -> Range<usize> {
        let end = self
            .value
            .as_ref()
            .map_or(self.name.end, |v| v.end + usize::from(self.quote != Quote::None));
        self.name.start..end
    }
}

impl Tag {
    pub(crate) fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.slice(self.name.clone())
    }

    /// All attributes of that name, letter case aside.
    pub(crate) fn named<'a>(&'a self, text: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a Attr> + 'a {
        self.attrs
            .iter()
            .filter(move |a| text.slice(a.name.clone()).eq_ignore_ascii_case(name))
    }
}

/// The bytes of all overlapping tags together may be this many times the text; above that, the markup counts as
/// tangled.
pub(crate) const OVERLAP: usize = 8;
/// From this attribute on, only those are kept that lead somewhere or have a part in it: no mail has so many, and parsers
/// that compare every attribute with every other would take minutes over them.
pub(super) const MANY_ATTRS: usize = 2_048;
/// A tag that keeps more than this counts as tangled markup as well.
const MAX_ATTRS: usize = 4_096;

/// Reads a tag at every `<` that a letter follows. `false` when tags overlap too often: not all of them were seen then.
pub(crate) fn sweep(text: &[u8], mut see: impl FnMut(&Tag)) -> bool {
    let mut budget = text.len() * OVERLAP + 65_536;
    let mut tag = Tag::default();
    let mut outer = 0;
    for start in memchr::memchr_iter(b'<', text) {
        if !text.get(start + 1).is_some_and(u8::is_ascii_alphabetic) {
            continue;
        }
        read(text, start, &mut tag);
        let len = tag.end - start;
        let nested = start < outer;
        if !nested {
            outer = tag.end;
        }
        shorten(text, nested, &mut tag);
        see(&tag);
        if len > budget || tag.attrs.len() >= MAX_ATTRS {
            return false;
        }
        budget -= len;
    }
    true
}

/// Cuts values short where they run into the structure around their tag, which is to stay: the end of a comment, and the
/// closing quote of the attribute that a nested tag stands in.
fn shorten(text: &[u8], nested: bool, tag: &mut Tag) {
    for a in &mut tag.attrs {
        let Some(value) = &mut a.value else { continue };
        let raw = text.slice(value.clone());
        if a.quote == Quote::None && text.get(value.end) == Some(&b'>') {
            let bare = raw.strip_suffix(b"!").filter(|r| r.ends_with(b"--")).unwrap_or(raw);
            if bare.ends_with(b"--") {
                value.end = value.start + bare.len() - 2;
            }
        }
        let raw = text.slice(value.clone());
        if nested && let Some(n) = memchr::memchr2(b'"', b'\'', raw).filter(|n| *n > 0) {
            value.end = value.start + n;
            a.quote = Quote::None;
        }
    }
}

/// Reads the tag at `start` into `tag`.
pub(crate) fn read(text: &[u8], start: usize, tag: &mut Tag) {
    tag.start = start;
    tag.attrs.clear();
    tag.cut_off = false;
    tag.crowded = false;
    let from = text.len().min(start + 1);
    let mut at = from;
    let byte = |at: usize| text.get(at).copied();
    while byte(at).is_some_and(|b| !is_space(b) && b != b'/' && b != b'>') {
        at += 1;
    }
    tag.name = from..at;
    // Some programs find the base by a pattern, which matches in any attribute.
    let is_base = tag.name(text).eq_ignore_ascii_case(b"base");
    loop {
        // Before an attribute name.
        while byte(at).is_some_and(|b| is_space(b) || b == b'/') {
            at += 1;
        }
        match byte(at) {
            None => break tag.cut_off = true,
            Some(b'>') => {
                at += 1;
                break;
            }
            Some(_) if tag.attrs.len() >= MAX_ATTRS => break,
            Some(_) => {}
        }
        let name_start = at;
        // An equals sign at the start belongs to the name.
        at += 1;
        while byte(at).is_some_and(|b| !is_space(b) && b != b'/' && b != b'>' && b != b'=') {
            at += 1;
        }
        let name = name_start..at;
        let mut after = at;
        while byte(after).is_some_and(is_space) {
            after += 1;
        }
        let keep = tag.attrs.len() < MANY_ATTRS || is_kept(text.slice(name.clone())) || is_base;
        tag.crowded |= !keep;
        if byte(after) != Some(b'=') {
            if !keep {
                continue;
            }
            tag.attrs.push(Attr {
                name,
                value: None,
                quote: Quote::None,
            });
            continue;
        }
        at = after + 1;
        while byte(at).is_some_and(is_space) {
            at += 1;
        }
        let (value, quote) = match byte(at) {
            Some(q @ (b'"' | b'\'')) => {
                let from = at + 1;
                let quote = if q == b'"' { Quote::Double } else { Quote::Single };
                match memchr::memchr(q, text.slice(from..)) {
                    Some(n) => {
                        at = from + n + 1;
                        (from..from + n, quote)
                    }
                    // No closing quote, so none that belongs to the attribute.
                    None => {
                        at = text.len();
                        (from..at, Quote::None)
                    }
                }
            }
            _ => {
                let from = at;
                while byte(at).is_some_and(|b| !is_space(b) && b != b'>') {
                    at += 1;
                }
                (from..at, Quote::None)
            }
        };
        if keep {
            tag.attrs.push(Attr {
                name,
                value: Some(value),
                quote,
            });
        }
    }
    tag.end = at.min(text.len());
}

/// Whether an attribute has a part in what its tag leads to, or keeps one that was taken out.
fn is_kept(name: &[u8]) -> bool {
    let ours = name
        .first_chunk()
        .is_some_and(|n: &[u8; 14]| n.eq_ignore_ascii_case(b"data-linkgate-"));
    ours || matters(name)
}

/// White space between attributes; a CR counts, though browsers have turned it into a LF by then.
const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;
    use html5ever::tendril::StrTendril;
    use html5ever::tokenizer::{BufferQueue, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
    use proptest::prelude::*;
    use std::cell::RefCell;

    type Plain = (String, Vec<(String, Option<String>)>);

    fn tags(text: &str) -> Vec<Plain> {
        let mut out = Vec::new();
        let s = |r: &Range<usize>| text[r.clone()].to_ascii_lowercase();
        assert!(sweep(text.as_bytes(), |t| {
            let attrs = t
                .attrs
                .iter()
                .map(|a| (s(&a.name), a.value.as_ref().map(|v| text[v.clone()].to_owned())));
            out.push((s(&t.name), attrs.collect()));
        }));
        out
    }

    fn one(text: &str, href: &str) {
        let all = tags(text);
        let found = all
            .iter()
            .any(|(_, a)| a.iter().any(|(n, v)| n == "href" && v.as_deref() == Some(href)));
        assert!(found, "{text}: {all:?}");
    }

    #[test]
    fn attributes_are_cut_as_browsers_cut_them() {
        one("<a x=\">\" href=\"h\">", "h");
        one("<a/href=\"h\"/title=x>", "h");
        one("<a\n\thref\n=\x0c\"h\"\n>", "h");
        one("<a href=h?a=1&b=2>", "h?a=1&b=2");
        one("<a href=a\"b'c>", "a\"b'c");
        one("<a =x href=h>", "h");
        one("<a x= href=h href=i>", "i");
    }

    #[test]
    fn tags_within_tags_and_comments_are_seen() {
        one("<!-- <a href=h> -->", "h");
        one("<p title='<a href=h>'>", "h");
        one("<style><a href=h></style>", "h");
    }

    #[test]
    fn a_link_behind_thousands_of_attributes_is_seen() {
        let text = format!("<a {} href=h>", "x=y ".repeat(9_000));
        one(&text, "h");
        assert!(!sweep(format!("<a {}>", "href=h ".repeat(9_000)).as_bytes(), |_| {}));
    }

    #[test]
    fn cut_off_tags_are_marked() {
        let mut cut = 0;
        sweep(b"<p><a href=\"x", |t| cut += usize::from(t.cut_off));
        assert_eq!(cut, 1);
    }

    #[test]
    fn overlap_is_bounded() {
        let text = "<a b=\"".repeat(20_000);
        let t = std::time::Instant::now();
        sweep(text.as_bytes(), |_| {});
        let text = "<a/b=".repeat(100_000);
        assert!(!sweep(text.as_bytes(), |_| {}));
        assert!(t.elapsed().as_secs() < 5);
    }

    #[derive(Default)]
    struct Seen(RefCell<Vec<(String, Vec<String>)>>);
    impl TokenSink for Seen {
        type Handle = ();
        fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
            if let Token::TagToken(t) = token
                && t.kind == html5ever::tokenizer::TagKind::StartTag
            {
                let attrs = t.attrs.iter().map(|a| a.name.local.to_string()).collect();
                self.0.borrow_mut().push((t.name.to_string(), attrs));
            }
            TokenSinkResult::Continue
        }
    }

    proptest! {
        #[test]
        fn every_tag_of_html5ever_is_seen(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<a", "<b ", "<!--", "-->", "<", ">", "/", "=", "\"", "'", " ", "\n", "href", "x", "<p>", "</a>", "<![CDATA[", "]]>", "?",
            ]), 0..25)
        ) {
            let text = pieces.concat();
            let tok = Tokenizer::new(Seen::default(), TokenizerOpts::default());
            let queue = BufferQueue::default();
            queue.push_back(StrTendril::from(text.as_str()));
            let _ = tok.feed(&queue);
            tok.end();
            let ours = tags(&text);
            for (name, attrs) in tok.sink.0.borrow().iter() {
                let found = ours.iter().any(|(n, a)| n == name && attrs.iter().all(|x| a.iter().any(|(y, _)| x == y)));
                prop_assert!(found, "{:?} {:?} not in {:?}", name, attrs, ours);
            }
        }
    }
}
