//! Encodings outside RFC 2045 that some programs decode where a body is labelled with their names: uuencode (POSIX.1)
//! and yEnc.

use crate::slice::Slice;

/// Whether a text holds the line that begins a uuencoded file.
pub(crate) fn has_uuencoded(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"begin ").any(|at| {
        let line = text.slice(at..);
        (at == 0 || text.get(at - 1) == Some(&b'\n')) && lines(line).next().is_some_and(begins)
    })
}

/// Whether a body holds the line that begins a file in yEnc.
pub(super) fn has_yenc(raw: &[u8]) -> bool {
    lines(raw).any(|l| l.starts_with(b"=ybegin"))
}

/// Decodes the uuencoded files of a body, one after the other; what stands around them is not looked at.
pub(super) fn decode_uuencoded(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    let mut within = false;
    for line in lines(raw) {
        if begins(line) {
            within = true;
        } else if line.trim_ascii() == b"end" {
            within = false;
        } else if within && let Some((count, data)) = line.split_first() {
            let wanted = out.len() + usize::from(six(*count));
            for group in data.chunks(4) {
                // Blanks at the end of a line get lost on the way: they stand for zero.
                let at = |n: usize| u32::from(group.get(n).copied().map_or(0, six));
                let bits = at(0) << 18 | at(1) << 12 | at(2) << 6 | at(3);
                out.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
            }
            out.resize(wanted, 0);
        }
    }
    out
}

/// Decodes the files in yEnc of a body, one after the other.
pub(super) fn decode_yenc(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut within = false;
    for line in lines(raw) {
        if line.starts_with(b"=ybegin") {
            within = true;
        } else if line.starts_with(b"=yend") {
            within = false;
        } else if within && !line.starts_with(b"=ypart") {
            let mut bytes = line.iter().copied();
            while let Some(b) = bytes.next() {
                out.push(match b {
                    b'=' => bytes.next().map_or(0, |b| b.wrapping_sub(106)),
                    b => b.wrapping_sub(42),
                });
            }
        }
    }
    out
}

fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l))
}

/// `begin 644 name`: a mode of octal digits and a name.
fn begins(line: &[u8]) -> bool {
    line.strip_prefix(b"begin ").is_some_and(|rest| {
        let mode = rest.trim_ascii_start();
        let digits = mode.iter().take_while(|b| matches!(b, b'0'..=b'7')).count();
        digits >= 3 && mode.get(digits).is_none_or(u8::is_ascii_whitespace)
    })
}

const fn six(b: u8) -> u8 {
    b.wrapping_sub(b' ') & 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuencoded_files_are_decoded() {
        let body = b"before\r\nbegin 644 a.txt\r\n#0V%T\r\n!80\r\n`\r\nend\r\nafter\r\n";
        assert!(has_uuencoded(body));
        assert_eq!(decode_uuencoded(body), b"Cata");
        for text in [
            "begin at once\r\n",
            "begin 644th\r\n",
            "begin \r\n644 a\r\n",
            "to begin 644 a\r\n",
        ] {
            assert!(!has_uuencoded(text.as_bytes()), "{text}");
        }
        assert!(has_uuencoded(b"x\nbegin  0644"));
    }

    #[test]
    fn yenc_is_decoded() {
        let body = b"=ybegin line=128 size=4 name=a\r\n\x8d\x8b\x9e=\x7d\r\n=yend size=4\r\n";
        assert!(has_yenc(body));
        assert_eq!(decode_yenc(body), b"cat\x13");
    }

    #[test]
    fn nonsense_is_decoded_without_harm() {
        assert_eq!(decode_uuencoded(b"begin 644 a\n~\n\nM"), [0; 30 + 45]);
        assert_eq!(decode_yenc(b"=ybegin\n="), [0]);
    }
}
