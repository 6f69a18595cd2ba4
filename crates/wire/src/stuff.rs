//! Message data for the next hop: dot transparency and the final dot.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::slice::part;

static DOT_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n."));

/// Doubles the dot of every line that begins with one (RFC 5321 4.5.2), over any chunking.
#[derive(Debug, Clone)]
pub struct Stuffer {
    line_start: bool,
    after_cr: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self {
            line_start: true,
            after_cr: false,
        }
    }
}

impl Stuffer {
    /// Appends `chunk`, encoded.
    pub fn encode(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) {
        if let (true, [b'\n', rest @ ..]) = (self.after_cr, chunk) {
            out.push(b'\n');
            self.line_start = true;
            chunk = rest;
            self.after_cr = false;
        }
        let Some(&last) = chunk.last() else { return };
        if self.line_start && chunk.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut from = 0;
        for hit in DOT_LINE.find_iter(chunk) {
            out.extend_from_slice(part(chunk, from..hit + 2));
            out.push(b'.');
            from = hit + 2;
        }
        out.extend_from_slice(part(chunk, from..));
        self.line_start = chunk.ends_with(b"\r\n");
        self.after_cr = last == b'\r';
    }

    /// Appends the end of data; closes a last line that has no end of its own.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.line_start {
            out.extend_from_slice(if self.after_cr { b"\n" } else { b"\r\n" });
        }
        out.extend_from_slice(b".\r\n");
        *self = Self::default();
    }
}

/// Whether a CR or LF stands alone inside `bytes`.
///
/// An LF at the very start and a CR at the very end do not count: their other half may lie outside.
#[must_use]
pub fn stray_line_end(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', bytes).any(|at| match bytes.get(at) {
        Some(b'\r') => bytes.get(at + 1).is_some_and(|b| *b != b'\n'),
        _ => at
            .checked_sub(1)
            .and_then(|before| bytes.get(before))
            .is_some_and(|b| *b != b'\r'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BareLineEnds, DataDecoder, Piece};
    use proptest::prelude::*;

    fn stuffed(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::default(), Vec::new());
        for chunk in chunks {
            stuffer.encode(chunk, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        assert_eq!(stuffed(&[b".a\r\n..\r\nb.\r\n"]), b"..a\r\n...\r\nb.\r\n.\r\n");
        assert_eq!(stuffed(&[]), b".\r\n");
        assert_eq!(stuffed(&[b"no end"]), b"no end\r\n.\r\n");
    }

    #[test]
    fn stray_line_ends_are_seen() {
        for (bytes, stray) in [
            (&b"a\r\nb\r\n"[..], false),
            (b"\na\r", false),
            (b"a\nb", true),
            (b"a\rb", true),
            (b"\r\r\n", true),
        ] {
            assert_eq!(stray_line_end(bytes), stray, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn unstuffing_gives_back_what_was_stuffed(lines in proptest::collection::vec("[.a]{0,4}", 0..12), cut in 0usize..60) {
            let message: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let (a, b) = message.as_bytes().split_at(cut.min(message.len()));
            let wire = stuffed(&[a, b]);
            prop_assert_eq!(&wire, &stuffed(&[message.as_bytes()]));
            let (mut decoder, mut rest, mut content) = (DataDecoder::new(BareLineEnds::Refuse), &wire[..], Vec::new());
            loop {
                let (used, piece) = decoder.next(rest);
                rest = &rest[used..];
                match piece {
                    Piece::Content(c) => content.extend_from_slice(c),
                    Piece::End(end) => {
                        prop_assert!(!end.refuse);
                        break;
                    }
                    Piece::NeedMore => prop_assert!(false, "no end in {:?}", wire),
                }
            }
            prop_assert_eq!(rest.len(), 0);
            prop_assert_eq!(content, message.as_bytes());
        }
    }
}
