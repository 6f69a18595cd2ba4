//! Encoders that write no more than was touched.

use super::decode::{decode_qp, hex};
use super::{Coding, Decoded};
use crate::edit::{TextEdit, apply};
use crate::slice::{Slice, head};

/// Longest line that may leave us, in octets without CRLF (RFC 5322 2.1.1).
pub(super) const MAX_LINE: usize = 998;

/// Longest quoted-printable line, soft break included (RFC 2045 6.7 rule 5).
pub(super) const QP_LINE: usize = 76;

/// Turns edits of the decoded text, sorted and apart, into changes of the raw body.
///
/// Identity: the spans. Quoted-printable: the touched stretch, lines kept within 76. Base64: the whole body again, in its
/// own line width. Ranges are relative to the raw body. `None` when an identity-coded line would pass 998 octets: the
/// caller then gives the part another encoding; the same for encodings that no standard names.
pub(crate) fn encode_edits(
    coding: Coding,
    raw: &[u8],
    decoded: &Decoded<'_>,
    edits: &[TextEdit],
) -> Option<Vec<TextEdit>> {
    if edits.is_empty() && coding.is_standard() {
        return Some(Vec::new());
    }
    match coding {
        Coding::Uuencode | Coding::Yenc => None,
        Coding::Identity => lines_fit(raw, edits).then(|| edits.to_vec()),
        Coding::QuotedPrintable => {
            let changes = splice_qp(raw, decoded, edits);
            if decoded.doubtful || is_odd(raw) {
                // Escapes that are none stand around the edits: what comes out must read as what was proved.
                let text = apply(&decoded.bytes, edits);
                if decode_qp(&apply(raw, &changes)).bytes != text {
                    let newline: &[u8] = if memchr::memmem::find(raw, b"\r\n").is_some() {
                        b"\r\n"
                    } else {
                        b"\n"
                    };
                    let at = 0..raw.len();
                    return Some(vec![TextEdit {
                        at,
                        with: encode_qp(&text, newline),
                    }]);
                }
            }
            Some(changes)
        }
        // Plain text that followed is dropped: behind new base64 without padding, programs would take it for more of
        // the same.
        Coding::Base64 => Some(vec![TextEdit {
            at: 0..raw.len(),
            with: encode_base64(&apply(&decoded.bytes, edits), raw),
        }]),
    }
}

/// Whether an `=` ends a text, or is parted from its line end by blanks.
fn is_odd(raw: &[u8]) -> bool {
    raw.ends_with(b"=")
        || [&b"= "[..], b"=\t"]
            .iter()
            .any(|odd| memchr::memmem::find(raw, odd).is_some())
}

/// Whether no line that an edit touches comes out longer than allowed.
pub(super) fn lines_fit(raw: &[u8], edits: &[TextEdit]) -> bool {
    let out = apply(raw, edits);
    let mut shift = 0isize;
    edits.iter().all(|e| {
        let start = e.at.start.saturating_add_signed(shift);
        let end = start + e.with.len();
        shift += e.with.len() as isize - e.at.len() as isize;
        let from = memchr::memrchr(b'\n', out.slice(..start)).map_or(0, |n| n + 1);
        let tail = out.slice(end..);
        let to = end + memchr::memchr(b'\n', tail).unwrap_or(tail.len());
        let touched = out.slice(from..to);
        touched
            .split(|b| *b == b'\n')
            .all(|l| l.strip_suffix(b"\r").unwrap_or(l).len() <= MAX_LINE)
    })
}

fn splice_qp(raw: &[u8], decoded: &Decoded<'_>, edits: &[TextEdit]) -> Vec<TextEdit> {
    let mut out: Vec<TextEdit> = Vec::with_capacity(edits.len());
    // Column at which the line being written stands at the end of the last edit, and the raw offset it belongs to.
    let mut carried: Option<(usize, usize)> = None;
    let newline = newline_of(raw).as_bytes();
    for e in edits {
        let mut at = decoded.raw_span(&e.at);
        // A stray `=` before the edit would take its first octets for an escape: write it as one. At the very end of a
        // text it stands for nothing, and goes.
        let floor = carried.map_or(0, |(end, _)| end);
        let before =
            e.at.start
                .checked_sub(1)
                .map(|n| (decoded.bytes.get(n), decoded.raw_span(&(n..n + 1)).end));
        let follows_equals = |start: usize| start > floor && raw.get(start - 1) == Some(&b'=');
        let is_written = |start: usize| before == Some((Some(&b'='), start));
        if follows_equals(at.start) && !is_written(at.start) && at.start == raw.len() {
            at.start -= 1;
        }
        let stray = follows_equals(at.start) && is_written(at.start);
        // The same with one character between that could be the first digit of an escape.
        let digit = raw
            .get(at.start.wrapping_sub(1))
            .copied()
            .filter(|b| !stray && hex(*b).is_some());
        let digit = digit.filter(|_| {
            let n = e.at.start.checked_sub(2);
            n.is_some_and(|n| {
                decoded.bytes.get(n) == Some(&b'=')
                    && decoded.raw_span(&(n..n + 1)) == (at.start.wrapping_sub(2)..at.start - 1)
            }) && at.start >= floor + 2
        });
        at.start -= usize::from(stray) + 2 * usize::from(digit.is_some());
        // From the last edit on at the most, or else every edit of one long line would go back to its start.
        let floor = carried.map_or(0, |(end, _)| end.min(at.start));
        let line = memchr::memrchr(b'\n', raw.slice(floor..at.start)).map_or(floor, |n| floor + n + 1);
        let mut column = match carried {
            Some((end, column)) if end >= line => column + at.start.saturating_sub(end),
            _ => at.start - line,
        };
        let mut with = Vec::with_capacity(e.with.len() + e.with.len() / 16 + 8);
        if column >= QP_LINE && at.start > floor {
            // The line is full to the last column: its last character moves on, to make room for the soft break.
            let escape = at
                .start
                .checked_sub(3)
                .filter(|n| raw.get(*n) == Some(&b'='))
                .filter(|n| *n >= line);
            let mut moved = escape.unwrap_or(at.start - 1)..at.start;
            with.push(b'=');
            with.extend_from_slice(newline);
            let kept = moved.clone();
            // Nor may a stray `=` end the line: two of them there are read in several ways.
            if escape.is_none() && moved.start > floor && raw.get(moved.start - 1) == Some(&b'=') {
                moved.start -= 1;
                push_escape(&mut with, b'=');
                column = 3;
            } else {
                column = 0;
            }
            with.extend_from_slice(raw.slice(kept.clone()));
            column += kept.len();
            at.start = moved.start;
        }
        if stray || digit.is_some() {
            write_qp(&mut with, &mut column, b'=', newline);
        }
        if let Some(digit) = digit {
            write_qp(&mut with, &mut column, digit, newline);
        }
        write_qp_text(&mut with, &mut column, &e.with, newline);
        // What is left of the raw line must fit behind, its own soft break included.
        let tail = raw.slice(at.end..);
        let near = head(tail, QP_LINE + 2);
        let left = memchr::memchr(b'\n', near).map_or(near.len(), |n| {
            n - usize::from(n > 0 && tail.get(n - 1) == Some(&b'\r'))
        });
        if left == 0 {
            escape_last_blank(&mut with, column, newline);
        }
        if left > 0 && column + left > QP_LINE && column > 0 {
            with.push(b'=');
            with.extend_from_slice(newline);
            column = 0;
        }
        carried = Some((at.end, column));
        out.push(TextEdit { at, with });
    }
    out
}

/// Writes one octet in quoted-printable, with a soft break before it where the line is full.
pub(super) fn write_qp(out: &mut Vec<u8>, column: &mut usize, b: u8, newline: &[u8]) {
    if b == b'\n' {
        escape_last_blank(out, *column, newline);
        out.extend_from_slice(newline);
        *column = 0;
        return;
    }
    let plain = is_plain(b);
    let width = if plain { 1 } else { 3 };
    if *column + width > QP_LINE - 1 {
        out.push(b'=');
        out.extend_from_slice(newline);
        *column = 0;
    }
    // A dot alone would have to be stuffed, and `From ` at a line's start is quoted by mbox writers.
    if *column == 0 && matches!(b, b'.' | b'F') && !out.is_empty() {
        push_escape(out, b);
        *column += 3;
        return;
    }
    if plain {
        out.push(b)
    } else {
        push_escape(out, b)
    }
    *column += width;
}

fn push_escape(out: &mut Vec<u8>, b: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| *HEX.slice(usize::from(n));
    out.extend_from_slice(&[b'=', digit(b >> 4), digit(b & 15)]);
}

/// The line end of a text: CRLF unless it has LF alone.
pub(crate) fn newline_of(text: &[u8]) -> &'static str {
    if memchr::memmem::find(text, b"\r\n").is_some() || !text.contains(&b'\n') {
        "\r\n"
    } else {
        "\n"
    }
}

/// A whole text in quoted-printable. CRLF and LF are line ends; a lone CR is escaped.
pub(crate) fn encode_qp(text: &[u8], newline: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    let mut column = 0;
    write_qp_text(&mut out, &mut column, text, newline);
    escape_last_blank(&mut out, column, newline);
    out
}

/// Writes text that may hold line ends.
fn write_qp_text(out: &mut Vec<u8>, column: &mut usize, text: &[u8], newline: &[u8]) {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        // Plain characters fill a line in one go; only what begins it, ends it or is not plain is looked at by itself.
        let room = (QP_LINE - 1).saturating_sub(*column);
        let line = head(rest, room);
        let run = match *column {
            0 => 0,
            // Without a short circuit the compiler makes vectors of it, and nearly every line of a link is plain.
            _ if line.iter().fold(true, |all, b| all & is_plain(*b)) => line.len(),
            _ => line.iter().take_while(|b| is_plain(**b)).count(),
        };
        if run > 0 {
            let (plain, behind) = rest.split_at(run);
            out.extend_from_slice(plain);
            *column += run;
            rest = behind;
            continue;
        }
        if !rest.starts_with(b"\r\n") {
            write_qp(out, column, *first, newline);
        }
        rest = behind;
    }
}

/// Octets that stand for themselves in quoted-printable.
const fn is_plain(b: u8) -> bool {
    matches!(b, b'!'..=b'<' | b'>'..=b'~' | b' ' | b'\t')
}

/// A blank at the end of a line would be lost on the way: it becomes an escape.
pub(super) fn escape_last_blank(out: &mut Vec<u8>, column: usize, newline: &[u8]) {
    if let Some(last @ (b' ' | b'\t')) = out.last().copied() {
        out.pop();
        if column + 2 > QP_LINE {
            out.push(b'=');
            out.extend_from_slice(newline);
        }
        push_escape(out, last);
    }
}

/// A whole text in base64, in the line width and with the line ends of `like` (76 and CRLF when it tells neither).
pub(crate) fn encode_base64(text: &[u8], like: &[u8]) -> Vec<u8> {
    let first = memchr::memchr(b'\n', like);
    let newline: &[u8] = match first {
        Some(n) if n == 0 || like.get(n - 1) != Some(&b'\r') => b"\n",
        _ => b"\r\n",
    };
    let width = first.map_or(76, |n| n + 1 - newline.len()) / 4 * 4;
    let width = if (4..=MAX_LINE).contains(&width) { width } else { 76 };
    let mut out = Vec::with_capacity(text.len() / 3 * 4 + text.len() / width * 3 + 8);
    for chunk in text.chunks(width / 4 * 3) {
        let start = out.len();
        out.resize(start + data_encoding::BASE64.encode_len(chunk.len()), 0);
        data_encoding::BASE64.encode_mut(chunk, out.split_at_mut(start).1);
        out.extend_from_slice(newline);
    }
    if !like.ends_with(b"\n") && !like.is_empty() {
        out.truncate(out.len().saturating_sub(newline.len()));
    }
    out
}
