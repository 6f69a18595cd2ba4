//! The way back: our links found in the texts of a message, and what stood there before.
//!
//! It works on what was rewritten here and on what became of it since: replies that quote it, re-wrapped and re-encoded.

use std::ops::Range;

use crate::html::{CUT, settle, tag};
use crate::mapped::Mapped;
use crate::site::Use;
use crate::transfer::TextEdit;

/// What stood where a link of ours stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Length in octets of our link, whatever follows it.
    pub len: usize,
    /// What it stood in, as [`Use::form`] says.
    pub form: u8,
    /// The target.
    pub target: String,
    /// The bytes that stood there, when they were others.
    pub written: Option<Vec<u8>>,
}

/// Whoever knows our links.
pub trait Originals {
    /// Where in a text something stands that may be a link of ours; cheap.
    fn find(&self, text: &[u8]) -> Option<usize>;

    /// Opens the link that `text` begins with.
    fn open(&mut self, text: &str) -> Option<Original>;
}

/// Longest text of a link, broken over lines, that is put together again, in octets.
const MAX_BROKEN: usize = 1400;

/// Edits that bring back what stood in a text.
pub(crate) fn restore(text: &[u8], html: bool, originals: &mut dyn Originals) -> Vec<TextEdit> {
    let mut edits = Vec::new();
    let mut from = 0;
    while let Some(n) = originals.find(text.get(from..).unwrap_or_default()) {
        let at = from + n;
        match open(text, at, originals) {
            Some((end, original)) => {
                put_back(text, at..end, &original, html, &mut edits);
                from = end;
            }
            None => from = at + 1,
        }
    }
    arm(text, &mut edits);
    settle(edits).unwrap_or_default()
}

/// Opens the link at `at`, as it stands or with the line breaks taken out that some program put in. Returns where it ends.
fn open(text: &[u8], at: usize, originals: &mut dyn Originals) -> Option<(usize, Original)> {
    let rest = text.get(at..text.len().min(at + MAX_BROKEN))?;
    let plain = ascii_head(rest);
    if let Some(o) = originals.open(plain) {
        return Some((at + o.len, o));
    }
    let mut joined = Mapped::default();
    let mut line = 0;
    for end in memchr::memchr_iter(b'\n', rest).take(40) {
        let mut text_end = if rest.get(end.wrapping_sub(1)) == Some(&b'\r') {
            end - 1
        } else {
            end
        };
        // DelSp leaves a blank before the break, quoted-printable read twice an equals sign.
        if matches!(rest.get(text_end.wrapping_sub(1)), Some(b' ' | b'=')) {
            text_end -= 1;
        }
        joined.push(text, at + line..at + text_end.max(line), encoding_rs::UTF_8);
        line = end + 1;
        let marks = rest
            .get(line..)?
            .iter()
            .take_while(|b| matches!(b, b'>' | b' ' | b'\t' | b'|'))
            .count();
        line += marks;
    }
    joined.push(text, at + line..at + rest.len(), encoding_rs::UTF_8);
    let o = originals.open(ascii_head(joined.text.as_bytes()))?;
    let end = joined.raw(&(0..o.len)).last()?.end;
    Some((end, o))
}

fn ascii_head(bytes: &[u8]) -> &str {
    let n = encoding_rs::Encoding::ascii_valid_up_to(bytes);
    std::str::from_utf8(bytes.get(..n).unwrap_or_default()).unwrap_or_default()
}

fn put_back(text: &[u8], at: Range<usize>, original: &Original, html: bool, edits: &mut Vec<TextEdit>) {
    if html && original.form == Use::HtmlText.form() {
        // The text of the link is what stood there: the link around it goes.
        if let Some((open, close)) = around(text, &at) {
            edits.push(TextEdit {
                at: open,
                with: Vec::new(),
            });
            edits.push(TextEdit {
                at: close,
                with: Vec::new(),
            });
            return;
        }
    }
    let mut at = at;
    if let 9..=11 = original.form {
        let head = text.get(..at.start).unwrap_or_default();
        if original.form & 1 == 1
            && let Some(h) = head.strip_suffix(b"\r\n ").or(head.strip_suffix(b"\n "))
        {
            at.start = h.len();
        }
        let tail = text.get(at.end..).unwrap_or_default();
        if original.form & 2 == 2
            && let Some(t) = tail.strip_prefix(b"\r\n ").or(tail.strip_prefix(b"\n "))
        {
            at.end = text.len() - t.len();
        }
    }
    let in_markup = matches!(original.form, 0 | 4..=7);
    let with = match &original.written {
        // Bytes of an attribute hold references; in running text they would show.
        Some(w) if html || !in_markup || attribute(text, &at).is_some() => w.clone(),
        _ => original.target.clone().into_bytes(),
    };
    edits.push(TextEdit { at, with });
}

/// The tag in an attribute of which a link stands.
fn attribute(text: &[u8], at: &Range<usize>) -> Option<tag::Tag> {
    let start = memchr::memrchr(b'<', text.get(..at.start)?)?;
    let mut tag = tag::Tag::default();
    tag::read(text, start, &mut tag);
    let holds = |v: &Range<usize>| v.start <= at.start && at.end <= v.end;
    tag.attrs
        .iter()
        .any(|a| a.value.as_ref().is_some_and(holds))
        .then_some(tag)
}

/// The start tag whose href a link is, and the end tag behind it.
fn around(text: &[u8], at: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let tag = attribute(text, at)?;
    if !tag.name(text).eq_ignore_ascii_case(b"a") || tag.cut_off {
        return None;
    }
    let mut from = tag.end;
    loop {
        let close = from + memchr::memmem::find(text.get(from..)?, b"</")?;
        let name = text.get(close + 2..)?;
        if name.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'a'))
            && !name.get(1).is_some_and(u8::is_ascii_alphanumeric)
        {
            let end = close + memchr::memchr(b'>', text.get(close..)?)? + 1;
            return Some((tag.start..tag.end, close..end));
        }
        from = close + 2;
    }
}

/// Gives attributes their effect again, and brings back the end of a tag that was cut off.
fn arm(text: &[u8], edits: &mut Vec<TextEdit>) {
    let kept = |a: &tag::Attr| data_encoding::BASE32_NOPAD.decode(text.get(a.value.clone()?)?).ok();
    if memchr::memmem::find(text, b"data-linkgate-").is_some() {
        tag::sweep(text, |t| {
            let mut before: Option<&tag::Attr> = None;
            for a in &t.attrs {
                let name = text.get(a.name.clone()).unwrap_or_default();
                if name == tag::OFF
                    && let Some(with) = kept(a)
                {
                    edits.push(TextEdit { at: a.whole(), with });
                } else if name == tag::WAS
                    && let Some((with, before)) = kept(a).zip(before)
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
    if let Some(at) = memchr::memmem::rfind(text, CUT) {
        let rest = text.get(at + CUT.len()..).unwrap_or_default();
        let Some(n) = memchr::memmem::find(rest, b"-->") else {
            return;
        };
        if let Ok(with) = data_encoding::BASE32_NOPAD.decode(rest.get(..n).unwrap_or_default()) {
            edits.push(TextEdit {
                at: at..at + CUT.len() + n + 3,
                with,
            });
        }
    }
}
