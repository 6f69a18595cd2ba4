//! Line ends of message content: a CR or LF that stands alone is noted and replaced.

use crate::slice::part;

/// Writes content with CRLF as the only line end: a lone LF becomes CRLF, a lone CR a space.
///
/// Any chunking gives the same output.
#[derive(Debug, Default)]
pub struct LineEnds {
    bare_cr: bool,
    bare_lf: bool,
    /// The last octet was a CR, which is not written yet.
    pending_cr: bool,
}

impl LineEnds {
    /// Appends `content` to `out`.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut rest = content;
        if self.pending_cr && !rest.is_empty() {
            self.pending_cr = false;
            if let Some(behind) = rest.strip_prefix(b"\n") {
                out.extend_from_slice(b"\r\n");
                rest = behind;
            } else {
                self.lone_cr(out);
            }
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            out.extend_from_slice(part(rest, ..at));
            rest = part(rest, at..);
            rest = match rest {
                [b'\r', b'\n', behind @ ..] => {
                    out.extend_from_slice(b"\r\n");
                    behind
                }
                [b'\r'] => {
                    self.pending_cr = true;
                    return;
                }
                [b'\r', behind @ ..] => {
                    self.lone_cr(out);
                    behind
                }
                [_, behind @ ..] => {
                    self.bare_lf = true;
                    out.extend_from_slice(b"\r\n");
                    behind
                }
                [] => return,
            };
        }
        out.extend_from_slice(rest);
    }

    /// Ends the content.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.pending_cr) {
            self.lone_cr(out);
        }
    }

    /// Whether a CR stood alone so far.
    #[must_use]
    pub fn bare_cr(&self) -> bool {
        self.bare_cr
    }

    /// Whether an LF stood alone so far.
    #[must_use]
    pub fn bare_lf(&self) -> bool {
        self.bare_lf
    }

    fn lone_cr(&mut self, out: &mut Vec<u8>) {
        self.bare_cr = true;
        out.push(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made_good(chunks: &[&[u8]]) -> (Vec<u8>, bool, bool) {
        let (mut lines, mut out) = (LineEnds::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, &mut out);
        }
        lines.finish(&mut out);
        (out, lines.bare_cr(), lines.bare_lf())
    }

    #[test]
    fn lone_line_ends_are_made_good() {
        assert_eq!(made_good(&[b"a\r\nb\r\n"]), (b"a\r\nb\r\n".to_vec(), false, false));
        assert_eq!(
            made_good(&[b"a\rb\nc\r\r\n\r"]),
            (b"a b\r\nc \r\n ".to_vec(), true, true)
        );
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..40),
            cut in 0usize..40,
            cut2 in 0usize..40,
        ) {
            let (a, b) = (cut.min(cut2).min(text.len()), cut.max(cut2).min(text.len()));
            let whole = made_good(&[&text]);
            prop_assert_eq!(&made_good(&[&text[..a], &text[a..b], &text[b..]]), &whole);
            prop_assert!(!crate::stray_line_end(&whole.0));
            let without_ends = String::from_utf8_lossy(&text).replace("\r\n", "");
            let sound = !without_ends.contains(['\r', '\n']);
            prop_assert_eq!(sound, whole.0 == text && !whole.1 && !whole.2);
        }
    }
}
