//! Links that some program broke over lines, put together again.

use std::ops::Range;

use super::open;
use crate::site::{Original, Originals};
use crate::slice::Slice;

/// A text whose lines are joined: their ends are left out, and the quote marks with which the next ones begin.
///
/// It is only searched for links: blanks between words are lost, but a link that opens in it was sealed as it is.
struct Joined {
    text: Vec<u8>,
    /// The offset at which a line begins, here and in the text as it stands.
    lines: Vec<(usize, usize)>,
}

/// Finds the links that are broken over lines and stand apart from `links`, which are in order and whole.
pub(super) fn find(text: &[u8], html: bool, originals: &mut dyn Originals, links: &mut Vec<(Range<usize>, Original)>) {
    if memchr::memchr(b'\n', text).is_none() {
        return;
    }
    let joined = Joined::new(text, html);
    let whole = links.len();
    let mut from = 0;
    while let Some(n) = originals.find(joined.text.slice(from..)) {
        let start = from + n;
        from = start + 1;
        let at = joined.raw(start);
        let known = links.slice(..whole);
        let before = known.partition_point(|(r, _)| r.end <= at);
        let next = known.get(before).map_or(text.len(), |(r, _)| r.start);
        if next <= at {
            continue;
        }
        let Some(original) = open(&joined.text, start, originals) else {
            continue;
        };
        let end = joined.raw((start + original.len).saturating_sub(1)) + 1;
        if end <= next {
            from = start + original.len;
            links.push((at..end, original));
        }
    }
}

impl Joined {
    fn new(text: &[u8], html: bool) -> Self {
        let mut out = Self {
            text: Vec::with_capacity(text.len()),
            lines: Vec::new(),
        };
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', text) {
            let start = from + marks(text.slice(from..end), html);
            out.push(text, start, kept(text.slice(start..end), html));
            from = end + 1;
        }
        let start = from + marks(text.slice(from..), html);
        out.push(text, start, text.len() - start);
        out
    }

    fn push(&mut self, text: &[u8], start: usize, len: usize) {
        if len > 0 {
            self.lines.push((self.text.len(), start));
            self.text.extend_from_slice(text.slice(start..start + len));
        }
    }

    /// Finds where an octet stands in the text as it is.
    fn raw(&self, at: usize) -> usize {
        let line = self.lines.partition_point(|(here, _)| *here <= at);
        let line = line.checked_sub(1).and_then(|n| self.lines.get(n));
        line.map_or(at, |(here, raw)| raw + at - here)
    }
}

/// Octets of the quote marks and the indent with which a line begins.
fn marks(line: &[u8], html: bool) -> usize {
    let mut at = 0;
    loop {
        let rest = line.slice(at..);
        at += match rest.first() {
            Some(b'>' | b'|' | b' ' | b'\t') => 1,
            Some(b'&') if html && rest.starts_with(b"&gt;") => 4,
            _ => return at,
        };
    }
}

/// Octets of a line without what programs put before a line break: blanks, the equals sign of quoted-printable that was
/// read twice, in markup the tag that shows the break.
fn kept(line: &[u8], html: bool) -> usize {
    let mut line = line.trim_ascii_end();
    if html && let Some(n) = memchr::memrchr(b'<', line) {
        let tag = line.slice(n + 1..);
        if [&b"br>"[..], b"br/>", b"br />"]
            .iter()
            .any(|t| tag.eq_ignore_ascii_case(t))
        {
            line = line.slice(..n).trim_ascii_end();
        }
    }
    let line = line.strip_suffix(b"=20").unwrap_or(line);
    line.strip_suffix(b"=").unwrap_or(line).len()
}
