//! Restoring: click links found in the texts of a message, and the originals put back.
//!
//! It works on messages that were rewritten here and on replies that quote them, re-wrapped and re-encoded.

mod broken;

use std::ops::Range;

use encoding_rs::Encoding;

use crate::edit::{self, TextEdit};
use crate::html::mark::Mark;
use crate::html::parsed::Parsed;
use crate::html::{CUT, tag};
use crate::origin;
use crate::site::{Original, Originals, Use};
use crate::slice::{Slice, ascii_head, head};
use crate::text::{Lines, view};

/// The known properties of a text to restore.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextKind {
    pub(crate) html: bool,
    pub(crate) lines: Lines,
    /// Its encoding; `None` when it is unknown.
    pub(crate) encoding: Option<&'static Encoding>,
}

/// Longest text that is looked into for a link, in octets.
const MAX_LINK: usize = 1400;

/// Makes the edits that put the originals back into a text.
pub(crate) fn restore(text: &[u8], kind: TextKind, originals: &mut dyn Originals) -> Vec<TextEdit> {
    let mut links = Vec::new();
    let mut from = 0;
    while let Some(n) = originals.find(text.slice(from..)) {
        let at = from + n;
        match open(text, at, originals) {
            Some(original) => {
                from = at + original.len;
                links.push((at..from, original));
            }
            None => from = at + 1,
        }
    }
    broken::find(text, kind.html, originals, &mut links);
    let mut surroundings = Surroundings {
        text,
        kind,
        shown_raw: None,
        quoted: None,
    };
    let mut edits = Vec::with_capacity(links.len());
    for (at, original) in links {
        surroundings.put_back(at, &original, &mut edits);
    }
    restore_marks(text, kind.encoding, originals, &mut edits);
    edit::sorted(edits).unwrap_or_default()
}

/// Opens the link at `at`, as it stands.
fn open(text: &[u8], at: usize, originals: &mut dyn Originals) -> Option<Original> {
    originals.open(ascii_head(head(text.slice(at..), MAX_LINK)))
}

/// The text around the click links.
struct Surroundings<'t> {
    text: &'t [u8],
    kind: TextKind,
    /// The places where markup shows text without character references; read on first use.
    shown_raw: Option<Vec<Range<usize>>>,
    /// The places where a card or calendar has values in quoted-printable; found on first use.
    quoted: Option<Vec<Range<usize>>>,
}

impl Surroundings<'_> {
    fn put_back(&mut self, at: Range<usize>, original: &Original, edits: &mut Vec<TextEdit>) {
        let usage = original.form & 15;
        if self.kind.html && usage == Use::HtmlText.form() {
            // The text of the link is what stood there: the link around it goes.
            if let Some((open, close)) = link_around(self.text, &at) {
                edits.extend([open, close].map(|at| TextEdit { at, with: Vec::new() }));
                return;
            }
        }
        let at = self.with_folds(at, usage);
        let with = self
            .original(&at, original)
            .unwrap_or_else(|| self.target(&at, original));
        edits.push(TextEdit { at, with });
    }

    /// A link in a calendar or contact card, with the folds around it that are ours.
    fn with_folds(&self, at: Range<usize>, usage: u8) -> Range<usize> {
        let mut out = at.clone();
        if !matches!(usage, 9..=11) || self.kind.lines != Lines::Folded {
            return out;
        }
        let head = self.text.slice(..at.start);
        if usage & 1 == 1
            && let Some(h) = head.strip_suffix(b"\r\n ").or(head.strip_suffix(b"\n "))
        {
            out.start = h.len();
        }
        let tail = self.text.slice(at.end..);
        if usage & 2 == 2
            && let Some(t) = tail.strip_prefix(b"\r\n ").or(tail.strip_prefix(b"\n "))
        {
            out.end = self.text.len() - t.len();
        }
        out
    }

    /// The target, as it is written where the link stands.
    fn target(&mut self, at: &Range<usize>, original: &Original) -> Vec<u8> {
        if !self.kind.html || self.is_shown_raw(at) {
            return original.target.clone().into_bytes();
        }
        escape(original.target.as_bytes())
    }

    /// The URL as it was written, if it means the same where the link stands now.
    fn original(&mut self, at: &Range<usize>, original: &Original) -> Option<Vec<u8>> {
        let written = original.written.as_deref()?;
        let charset = original.form >> 4;
        match original.form & 15 {
            // These hold markup's own references, and a query in its own encoding.
            0 | 5..=7 => {
                let sound = origin::is_same(written, charset, self.kind.encoding)
                    && self.is_sound_value(at, written)
                    && (self.kind.html || self.breaks_fit(at, written));
                sound.then(|| written.to_vec())
            }
            // A field code and a string of JSON, which has escapes of its own, go on as long as they say.
            4 => (self.follows(at, b"HYPERLINK") && self.is_plain(written, charset)).then(|| written.to_vec()),
            3 => {
                let sound = self.follows(at, b"\"") && attribute(self.text, at).is_none();
                (sound && self.is_plain(written, charset)).then(|| written.to_vec())
            }
            13 => self.is_in_quoted_value(at).then(|| written.to_vec()),
            form @ (2 | 8..=11) => {
                if !query_fits(written, charset, self.kind.encoding) {
                    return None;
                }
                let octets = origin::fit(written, charset, self.kind.encoding)?;
                if !self.kind.html {
                    let unfolded = form == 2 || self.kind.lines == Lines::Folded || !octets.contains(&b'\\');
                    return (unfolded && self.breaks_fit(at, written)).then(|| octets.into_owned());
                }
                if self.is_shown_raw(at) {
                    return Some(octets.into_owned());
                }
                // In an attribute it would have to be a URL to every program, and a line break would be a blank.
                let plain = attribute(self.text, at).is_none()
                    && !has_break(&octets)
                    && (form == 2 || !octets.contains(&b'\\'));
                plain.then(|| escape(&octets))
            }
            _ => None,
        }
    }

    /// Whether what was written is no markup, and in the encoding of the text.
    fn is_plain(&self, written: &[u8], charset: u8) -> bool {
        let markup = self.kind.html && written.iter().any(|b| matches!(b, b'<' | b'>'));
        !markup && origin::is_same(written, charset, self.kind.encoding)
    }

    /// Whether the value of an attribute stays one where the link stands now. Programs that quote a message write its quotation
    /// marks as they like: what was harmless between single ones may end the attribute between double ones.
    fn is_sound_value(&self, at: &Range<usize>, written: &[u8]) -> bool {
        let Some((_, quote)) = attribute(self.text, at) else {
            return self.kind.html && !written.iter().any(|b| matches!(b, b'<' | b'>'));
        };
        let before = self.text.slice(..at.start).trim_ascii_end().last();
        let around = [quote, before.copied()];
        let ends = |b: &u8| matches!(b, b'"' | b'\'') && around.contains(&Some(*b));
        let bare = quote.is_none() && !matches!(before, Some(b'"' | b'\''));
        let breaks_bare = |b: &u8| b.is_ascii_whitespace() || *b == b'>';
        !written.iter().any(ends)
            && !(bare && (written.iter().any(breaks_bare) || matches!(written.first(), Some(b'"' | b'\''))))
    }

    /// Whether line breaks in what was written are none to a reader here. In a quoted line what follows a break would lose
    /// its quote mark, and a blank before it goes only where the text is flowed.
    fn breaks_fit(&self, at: &Range<usize>, written: &[u8]) -> bool {
        let before = self.text.slice(..at.start);
        // Between brackets blanks are not part of the URL (RFC 3986 appendix C).
        let around = (before.last(), self.text.get(at.end));
        let enclosed = matches!(around, (Some(b'<'), Some(b'>')) | (Some(b'"'), Some(b'"')));
        let Some(n) = memchr::memchr(b'\n', written) else {
            return enclosed || !written.contains(&b'\r');
        };
        if self.kind.lines == Lines::Folded {
            return matches!(written.get(n + 1), Some(b' ' | b'\t'));
        }
        let line = memchr::memrchr(b'\n', before).map_or(before, |n| before.slice(n + 1..));
        if self.kind.lines == Lines::Flowed {
            // Every line of it has to be of the same reply.
            let (depth, _) = view::quote_prefix(line);
            return memchr::memchr_iter(b'\n', written).all(|n| view::quote_prefix(written.slice(n + 1..)).0 == depth);
        }
        if matches!(line.trim_ascii_start().first(), Some(b'>' | b'|')) {
            return false;
        }
        let first = written.slice(..n);
        let first = first.strip_suffix(b"\r").unwrap_or(first);
        enclosed || !first.ends_with(b" ")
    }

    /// Whether a word stands not far before the link; a quotation mark has to stand right before it.
    fn follows(&self, at: &Range<usize>, word: &[u8]) -> bool {
        let before = self.text.slice(at.start.saturating_sub(FIELD)..at.start);
        if word == b"\"" {
            return before.ends_with(word);
        }
        memchr::memmem::rfind(&before.to_ascii_uppercase(), word).is_some()
    }

    fn is_in_quoted_value(&mut self, at: &Range<usize>) -> bool {
        let text = self.text;
        self.kind.lines == Lines::Folded
            && edit::meets(self.quoted.get_or_insert_with(|| view::quoted_values(text)), at)
    }

    fn is_shown_raw(&mut self, at: &Range<usize>) -> bool {
        if !self.kind.html {
            return false;
        }
        let text = self.text;
        let raw = self.shown_raw.get_or_insert_with(|| {
            let mut raw = Parsed::of(text)
                .context()
                .map(|c| c.shown_raw.clone())
                .unwrap_or_default();
            raw.sort_by_key(|r| r.start);
            raw
        });
        edit::meets(raw, at)
    }
}

fn has_break(octets: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', octets).is_some()
}

/// Whether a query means the same in the encoding of the text: programs write it in that of the document.
fn query_fits(written: &[u8], charset: u8, to: Option<&'static Encoding>) -> bool {
    let query = memchr::memchr(b'?', written).map(|n| written.slice(n..));
    query.is_none_or(|q| origin::is_same(q, charset, to))
}

/// Octets as they are written in markup, in text and between any quotation marks.
fn escape(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 16);
    for b in octets {
        match b {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b => out.push(*b),
        }
    }
    out
}

/// Octets of a field code, with the markup in it, before its target.
const FIELD: usize = 512;

/// Places where a tag may begin that are looked at before a link.
const TAGS_BEFORE: usize = 8;

/// The tag in an attribute of which a link stands, and the quotation mark around its value.
fn attribute(text: &[u8], at: &Range<usize>) -> Option<(tag::Tag, Option<u8>)> {
    let before = text.slice(..at.start);
    let mut tag = tag::Tag::default();
    let holds = |v: &Range<usize>| v.start <= at.start && at.end <= v.end;
    let begins = |n: &usize| before.get(n + 1).is_some_and(u8::is_ascii_alphabetic);
    for start in memchr::memrchr_iter(b'<', before).filter(begins).take(TAGS_BEFORE) {
        tag::read(text, start, &mut tag);
        if let Some(a) = tag.attrs.iter().find(|a| a.value.as_ref().is_some_and(holds)) {
            let quote = match a.quote {
                tag::Quote::None => None,
                tag::Quote::Single => Some(b'\''),
                tag::Quote::Double => Some(b'"'),
            };
            return Some((tag, quote));
        }
        // A tag that ends before the link ends those around it as well, but for one in whose value it stands.
        if tag.end <= at.start && memchr::memchr2(b'"', b'\'', before.slice(start..)).is_none() {
            return None;
        }
    }
    None
}

/// The start tag whose href a link is, and the end tag behind it.
fn link_around(text: &[u8], at: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let (tag, _) = attribute(text, at)?;
    if !tag.name(text).eq_ignore_ascii_case(b"a") || tag.cut_off {
        return None;
    }
    let mut from = tag.end;
    loop {
        let close = from + memchr::memmem::find(text.slice(from..), b"</")?;
        let name = text.slice(close + 2..);
        if name.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'a'))
            && !name.get(1).is_some_and(u8::is_ascii_alphanumeric)
        {
            let end = close + memchr::memchr(b'>', text.slice(close..))? + 1;
            return Some((tag.start..tag.end, close..end));
        }
        from = close + 2;
    }
}

/// Restores attributes that were taken out, and the end of a tag that was cut off.
fn restore_marks(text: &[u8], to: Option<&'static Encoding>, originals: &dyn Originals, edits: &mut Vec<TextEdit>) {
    let kept = |mark: Mark, a: &tag::Attr| mark.read(text.slice(a.value.clone()?), to, originals);
    if memchr::memmem::find(text, b"data-linkgate-").is_some() {
        tag::sweep(text, |t| {
            let mut before: Option<&tag::Attr> = None;
            for a in &t.attrs {
                let name = text.slice(a.name.clone());
                if name == tag::OFF.as_bytes()
                    && let Some(with) = kept(Mark::Off, a)
                {
                    edits.push(TextEdit { at: a.whole(), with });
                } else if name == tag::WAS
                    && let Some((with, before)) = kept(Mark::Was, a).zip(before)
                {
                    edits.push(TextEdit {
                        at: before.name.start..a.whole().end,
                        with,
                    });
                }
                before = Some(a);
            }
        });
    }
    // A tag that was cut off reaches to the end of the text as it is now.
    let end = text.trim_ascii_end();
    if let Some(at) = memchr::memmem::rfind(end, CUT)
        && let Some(held) = end.slice(at + CUT.len()..).strip_suffix(b"-->")
        && let Some(with) = Mark::Cut.read(held, to, originals)
    {
        edits.push(TextEdit {
            at: at..end.len(),
            with,
        });
    }
}
