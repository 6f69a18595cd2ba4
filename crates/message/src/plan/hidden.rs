//! Content within a leaf that other programs may take for parts of its own: behind boundary lines that the header does
//! not name, header fields behind a bare CR or LF, and text in a piece of a message.

use super::class::{is_text, readings};
use super::targets::may_lead_somewhere;
use crate::header::{HeaderFields, trim_line_end};
use crate::quirk::Quirk;
use crate::scan::{PartKind, scan};
use crate::slice::Slice;
use crate::transfer::{Coding, decode};

/// Most header lines behind a boundary line that are looked at.
const MAX_FIELDS: usize = 64;
/// Most lines with dashes in a body that are looked behind.
const MAX_DASHED: usize = 10_000;
/// Octets of a body in which the rest of a header is looked for.
pub(super) const HEADER_REST: u64 = 16 << 10;
/// Octets on lines of base64 alphabet from which on they are taken for base64.
const BASE64_OCTETS: usize = 64;

/// The boundaries of the lines in a body that look like it, without doubles: two dashes and more, and behind them a header
/// that says something about a body. No more than `most`.
pub(super) fn boundaries(body: &[u8], most: usize) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut at = 0;
    for seen in 0.. {
        let rest = body.slice(at..);
        let Some(n) = memchr::memmem::find(rest, b"--").filter(|_| out.len() < most) else {
            break;
        };
        at += n;
        let before = body.slice(..at);
        let blanks = before.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let begins = match before.len().checked_sub(blanks + 1) {
            Some(n) => matches!(before.get(n), Some(b'\n' | b'\r')),
            None => true,
        };
        let tail = body.slice(at..);
        let line = tail.slice(..line_len(tail));
        let behind = tail.slice(line.len()..);
        // So many lines with dashes are meant to hide a boundary.
        if begins && (seen > MAX_DASHED || is_part_header(behind)) {
            let name = trim_line_end(line).slice(2..).trim_ascii_end();
            if !out.contains(&name) {
                out.push(name);
            }
        }
        if seen > MAX_DASHED {
            break;
        }
        at += tail.iter().take_while(|b| **b == b'-').count();
    }
    out
}

/// Whether a header, or the rest of one, begins here that gives a body a type or an encoding.
pub(super) fn is_part_header(text: &[u8]) -> bool {
    let mut rest = text;
    for _ in 0..MAX_FIELDS {
        let line = rest.slice(..line_len(rest));
        let folded = matches!(line.first(), Some(b' ' | b'\t')) && rest.len() < text.len();
        let fields = HeaderFields::parse(line);
        if !folded && fields.list.is_empty() {
            return false;
        }
        if ["content-type", "content-transfer-encoding"]
            .iter()
            .any(|n| fields.named(line, n).next().is_some())
        {
            return true;
        }
        rest = rest.slice(line.len()..);
    }
    false
}

/// Whether a piece of a message (RFC 2046 5.2.2) may hold text that can be read only with all the pieces. `first`: it
/// holds the header of the message.
pub(super) fn hides_text(piece: &[u8], first: bool) -> bool {
    // Only the first piece has a structure of its own.
    let map = first.then(|| scan(piece)).filter(|map| {
        let coded = [Quirk::MalformedTransferEncoding, Quirk::UnknownTransferEncoding];
        let doubtful = |q: &Quirk| map.quirks.contains(*q) && !coded.contains(q);
        !super::AMBIGUOUS.iter().chain(super::LOST).any(doubtful)
    });
    let Some(map) = map else {
        return holds_reference(piece) || is_encoded(piece);
    };
    let leaves: Vec<_> = map.parts.iter().filter(|p| p.kind == PartKind::Leaf).collect();
    leaves.iter().enumerate().filter(|(_, l)| is_text(l)).any(|(i, leaf)| {
        let body = leaf.body.start as usize..leaf.body.end as usize;
        let raw = piece.slice(body);
        let cut_off = i + 1 == leaves.len();
        readings(leaf, raw).into_iter().any(|coding| {
            let text = decode(coding, raw).bytes;
            holds_reference(&text) || coding != Coding::Identity && (cut_off || may_lead_somewhere(&text))
        })
    })
}

/// Whether a text holds a character reference by number.
fn holds_reference(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"&#").is_some()
}

/// Whether a text names an encoding, or holds lines of base64.
fn is_encoded(piece: &[u8]) -> bool {
    let lower = piece.to_ascii_lowercase();
    let names = [&b"base64"[..], b"quoted-printable", b"=3d\"", b"=3d'"];
    if names.iter().any(|name| memchr::memmem::find(&lower, name).is_some()) {
        return true;
    }
    let mut octets = 0;
    piece.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).any(|line| {
        let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        octets = if line.len() >= 4 && line.len() % 4 == 0 && line.iter().all(base64) {
            octets + line.len()
        } else {
            0
        };
        octets >= BASE64_OCTETS
    })
}

fn line_len(text: &[u8]) -> usize {
    memchr::memchr2(b'\r', b'\n', text).map_or(text.len(), |n| n + 1 + usize::from(text.get(n..n + 2) == Some(b"\r\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_before_a_part_header_is_a_boundary() {
        for (body, wanted) in [
            ("x\r\n--q\r\nContent-Type: text/html\r\n\r\n", Some("q")),
            (" --q \r\nSubject: a\r\n b\r\ncontent-type: text/html\r\n", Some("q")),
            ("x\r--q\rContent-Type: text/html\r", Some("q")),
            ("--\r\nContent-Type: text/html\r\n", Some("")),
            ("-- \r\nMy name\r\nContent-Type: text/html\r\n", None),
            ("x --q\r\nContent-Type: text/html\r\n", None),
            ("----------\r\nSubject: forwarded\r\n\r\n", None),
        ] {
            let found = boundaries(body.as_bytes(), 9);
            assert_eq!(found, wanted.map(str::as_bytes).as_slice(), "{body}");
        }
    }

    #[test]
    fn a_piece_with_a_picture_in_it_hides_nothing() {
        let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk\r\n".repeat(5);
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n";
        let first = |kind: &str, body: &str| {
            format!("{head}Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}")
        };
        assert!(!hides_text(first("image/png", &picture).as_bytes(), true));
        assert!(hides_text(first("text/html", "PHA+").as_bytes(), true));
        assert!(hides_text(picture.as_bytes(), false));
        assert!(!hides_text(b"and so it ended.\r\n", false));
        assert!(hides_text(b"a&#104;ttp", false));
    }
}
