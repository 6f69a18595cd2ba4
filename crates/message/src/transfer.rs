//! Content transfer encodings (RFC 2045 6): lenient decoders that remember where each octet came from, and encoders that
//! write no more than was touched.

mod foreign;

use std::borrow::Cow;
use std::ops::Range;

use crate::header::encoded_words;

/// A content transfer encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// 7bit, 8bit, binary, or a name nobody knows: the octets are the text.
    Identity,
    /// RFC 2045 6.7.
    QuotedPrintable,
    /// RFC 2045 6.8.
    Base64,
    /// uuencode (POSIX), as some programs read a body that is labelled so.
    Uuencode,
    /// yEnc, the same.
    Yenc,
}

impl Coding {
    /// Reads the name of an encoding; `None` when it is not one of RFC 2045's.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "" | "7bit" | "8bit" | "binary" | "7-bit" | "8-bit" => Some(Self::Identity),
            "quoted-printable" => Some(Self::QuotedPrintable),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }

    /// Every encoding that a value may mean to some program, in the order in which they are named: lists, quotes,
    /// comments, encoded words and names that never were in a standard.
    pub(crate) fn readings(value: &str) -> Vec<Self> {
        let decoded = encoded_words(value.trim()).unwrap_or_default().to_ascii_lowercase();
        let value = value.to_ascii_lowercase().replace('\0', "");
        let joined = value.split_ascii_whitespace().collect();
        let mut out = Vec::new();
        for text in [decoded, value, joined] {
            for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                let coding = match word {
                    "" => None,
                    "x-base64" => Some(Self::Base64),
                    "x-quoted-printable" => Some(Self::QuotedPrintable),
                    "x-uuencode" | "uuencode" | "x-uue" | "uue" | "x-uu" => Some(Self::Uuencode),
                    "x-yencode" | "yencode" | "x-yenc" | "yenc" => Some(Self::Yenc),
                    word => Self::named(word),
                };
                out.extend(coding.filter(|c| !out.contains(c)));
            }
        }
        out
    }

    /// The name to put into a header, of those that RFC 2045 knows.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "8bit",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 | Self::Uuencode | Self::Yenc => "base64",
        }
    }

    /// Whether it is one of RFC 2045's, in which a body may go on.
    pub(crate) const fn is_standard(self) -> bool {
        !matches!(self, Self::Uuencode | Self::Yenc)
    }

    /// Whether `raw` can be what the label says. Only the encodings that no standard names bear a mark.
    pub(crate) fn fits(self, raw: &[u8]) -> bool {
        match self {
            Self::Uuencode => foreign::has_uuencoded(raw),
            Self::Yenc => foreign::has_yenc(raw),
            _ => true,
        }
    }
}

/// Longest line that may leave us, in octets without CRLF (RFC 5322 2.1.1).
pub(crate) const MAX_LINE: usize = 998;

/// Longest quoted-printable line, soft break included (RFC 2045 6.7 rule 5).
const QP_LINE: usize = 76;

/// A body after transfer decoding.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    map: Map,
    /// The decoder met what decoders disagree about: junk in base64, padding inside, a bad escape.
    pub(crate) doubtful: bool,
}

#[derive(Debug)]
enum Map {
    Identity,
    /// `(decoded, raw)` offsets from which both run in step, sorted; octets that were escapes stand alone.
    QuotedPrintable(Vec<(u32, u32)>),
    Base64,
}

/// Decodes `raw` as clients do: nothing is refused, everything readable is read.
pub(crate) fn decode(coding: Coding, raw: &[u8]) -> Decoded<'_> {
    match coding {
        Coding::Identity => Decoded {
            bytes: Cow::Borrowed(raw),
            map: Map::Identity,
            doubtful: false,
        },
        Coding::QuotedPrintable => decode_qp(raw),
        Coding::Base64 => decode_base64(raw),
        Coding::Uuencode | Coding::Yenc => Decoded {
            bytes: Cow::Owned(if coding == Coding::Yenc {
                foreign::decode_yenc(raw)
            } else {
                foreign::decode_uuencoded(raw)
            }),
            map: Map::Base64,
            doubtful: false,
        },
    }
}

/// Whether a body is nothing but base64, blanks and a text in clear behind it aside, and decodes to text.
pub(crate) fn is_base64_text(raw: &[u8]) -> bool {
    let coded = raw.get(..end_of_base64(raw)).unwrap_or_default();
    let clean: Vec<u8> = coded.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let unpadded = clean.len() - clean.iter().rev().take_while(|b| **b == b'=').count();
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    unpadded > 0
        && clean.get(..unpadded).unwrap_or_default().iter().all(alphabet)
        && reads_as_text(&decode_leniently(&clean).0)
}

fn decode_qp(raw: &[u8]) -> Decoded<'_> {
    let mut out = Vec::with_capacity(raw.len());
    let mut map = Vec::with_capacity(raw.len() / 32 + 1);
    let mut doubtful = false;
    let mut at = 0;
    map.push((0, 0));
    while let Some(n) = memchr::memchr(b'=', raw.get(at..).unwrap_or_default()) {
        let eq = at + n;
        out.extend_from_slice(raw.get(at..eq).unwrap_or_default());
        let tail = raw.get(eq + 1..).unwrap_or_default();
        match tail {
            [b'\r', b'\n', ..] => at = eq + 3,
            [b'\n', ..] => at = eq + 2,
            [a, b, ..] if hex(*a).is_some() && hex(*b).is_some() => {
                let here = (out.len() as u32, eq as u32);
                if map.last() != Some(&here) {
                    map.push(here);
                }
                out.push(hex(*a).unwrap_or(0) << 4 | hex(*b).unwrap_or(0));
                at = eq + 3;
            }
            _ => {
                let blanks = tail.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
                match tail.get(blanks..).unwrap_or_default() {
                    [b'\r', b'\n', ..] => at = eq + 1 + blanks + 2,
                    [b'\n', ..] => at = eq + 1 + blanks + 1,
                    [] => at = raw.len(),
                    _ => {
                        doubtful = true;
                        out.push(b'=');
                        at = eq + 1;
                        continue;
                    }
                }
            }
        }
        map.push((out.len() as u32, at as u32));
    }
    out.extend_from_slice(raw.get(at..).unwrap_or_default());
    Decoded {
        bytes: Cow::Owned(out),
        map: Map::QuotedPrintable(map),
        doubtful,
    }
}

const fn hex(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'A'..=b'F' => Some(b - b'A' + 10),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    }
}

fn decode_base64(raw: &[u8]) -> Decoded<'_> {
    let end = end_of_base64(raw);
    let mut clean = Vec::with_capacity(end);
    let mut rest = raw.get(..end).unwrap_or_default();
    while !rest.is_empty() {
        let n = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        clean.extend_from_slice(rest.get(..n).unwrap_or_default());
        rest = rest.get(n + 1..).unwrap_or_default();
    }
    if let Ok(bytes) = data_encoding::BASE64.decode(&clean) {
        return Decoded {
            bytes: Cow::Owned(bytes),
            map: Map::Base64,
            doubtful: end < raw.len(),
        };
    }
    let (bytes, doubtful) = decode_leniently(&clean);
    Decoded {
        bytes: Cow::Owned(bytes),
        map: Map::Base64,
        doubtful: doubtful || end < raw.len(),
    }
}

/// RFC 2045 6.8: characters outside the alphabet are ignored. Padding in the middle ends a quantum, not the text. Says as
/// well whether there was any such thing.
fn decode_leniently(clean: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(clean.len() / 4 * 3);
    let (mut acc, mut have, mut doubtful) = (0u32, 0u32, false);
    let mut padded = false;
    for b in clean.iter().copied() {
        let v = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                flush(&mut out, &mut acc, &mut have);
                padded = true;
                continue;
            }
            b => {
                doubtful |= !b.is_ascii_whitespace();
                continue;
            }
        };
        doubtful |= std::mem::take(&mut padded);
        acc = acc << 6 | u32::from(v);
        have += 6;
        if have == 24 {
            flush(&mut out, &mut acc, &mut have);
        }
    }
    flush(&mut out, &mut acc, &mut have);
    (out, doubtful)
}

/// Whether decoded octets are text: clear text that was taken for base64 gives no such run of printable characters.
fn reads_as_text(bytes: &[u8]) -> bool {
    const RUN: usize = 12;
    let mut run = 0;
    bytes.len() < RUN
        || bytes.iter().any(|b| {
            run = if matches!(b, b' '..=b'~' | b'\r' | b'\n' | b'\t') {
                run + 1
            } else {
                0
            };
            run >= RUN
        })
}

/// Where base64 ends: at padding, if what follows is no base64 but text in clear, as mailing lists append it.
fn end_of_base64(raw: &[u8]) -> usize {
    let Some(pad) = memchr::memchr(b'=', raw) else {
        return raw.len();
    };
    let end = raw
        .get(pad..)
        .unwrap_or_default()
        .iter()
        .take_while(|b| matches!(b, b'=' | b'\r' | b'\n'))
        .count()
        + pad;
    let tail = raw.get(end..).unwrap_or_default();
    let blanks = tail.iter().filter(|b| **b == b' ').count();
    if blanks > 1 && !reads_as_text(&decode_leniently(tail).0) {
        end
    } else {
        raw.len()
    }
}

/// Writes out the whole octets of a quantum and forgets the rest.
fn flush(out: &mut Vec<u8>, acc: &mut u32, have: &mut u32) {
    while *have >= 8 {
        *have -= 8;
        out.push((*acc >> *have) as u8);
    }
    (*acc, *have) = (0, 0);
}

impl Decoded<'_> {
    /// Where the decoded octets of `span` stand in the raw body; soft breaks at either end stay outside.
    fn raw_span(&self, span: &Range<usize>) -> Range<usize> {
        match &self.map {
            Map::QuotedPrintable(map) => {
                let start = raw_of(map, span.start);
                if span.is_empty() {
                    start..start
                } else {
                    start..raw_end(map, span.end)
                }
            }
            Map::Identity | Map::Base64 => span.clone(),
        }
    }
}

/// Raw offset at which decoded octet `at` begins.
fn raw_of(map: &[(u32, u32)], at: usize) -> usize {
    let i = map.partition_point(|(d, _)| *d as usize <= at);
    let (d, r) = map.get(i.wrapping_sub(1)).copied().unwrap_or_default();
    r as usize + (at - d as usize)
}

/// Raw offset just behind decoded octet `end - 1`.
fn raw_end(map: &[(u32, u32)], end: usize) -> usize {
    let i = map.partition_point(|(d, _)| (*d as usize) < end);
    let (d, r) = map.get(i.wrapping_sub(1)).copied().unwrap_or_default();
    match map.get(i) {
        // A run of one octet that is three raw octets long is an escape; soft breaks behind it have entries of their own.
        Some((next, raw)) if *next as usize == end && end - d as usize == 1 && *raw as usize == r as usize + 3 => {
            r as usize + 3
        }
        _ => r as usize + (end - d as usize),
    }
}

/// An edit of the decoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextEdit {
    pub(crate) at: Range<usize>,
    pub(crate) with: Vec<u8>,
}

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
        // What followed in clear goes: behind new base64 without padding, programs would take it for more of the same.
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

/// Applies sorted edits to a text.
pub(crate) fn apply(text: &[u8], edits: &[TextEdit]) -> Vec<u8> {
    let grown: usize = edits.iter().map(|e| e.with.len()).sum();
    let mut out = Vec::with_capacity(text.len() + grown);
    let mut from = 0;
    for e in edits {
        out.extend_from_slice(text.get(from..e.at.start).unwrap_or_default());
        out.extend_from_slice(&e.with);
        from = e.at.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out
}

/// Whether no line that an edit touches comes out longer than allowed.
fn lines_fit(raw: &[u8], edits: &[TextEdit]) -> bool {
    let out = apply(raw, edits);
    let mut shift = 0isize;
    edits.iter().all(|e| {
        let start = e.at.start.saturating_add_signed(shift);
        let end = start + e.with.len();
        shift += e.with.len() as isize - e.at.len() as isize;
        let from = memchr::memrchr(b'\n', out.get(..start).unwrap_or_default()).map_or(0, |n| n + 1);
        let tail = out.get(end..).unwrap_or_default();
        let to = end + memchr::memchr(b'\n', tail).unwrap_or(tail.len());
        let touched = out.get(from..to).unwrap_or_default();
        touched
            .split(|b| *b == b'\n')
            .all(|l| l.strip_suffix(b"\r").unwrap_or(l).len() <= MAX_LINE)
    })
}

fn splice_qp(raw: &[u8], decoded: &Decoded<'_>, edits: &[TextEdit]) -> Vec<TextEdit> {
    let mut out: Vec<TextEdit> = Vec::with_capacity(edits.len());
    // Column at which the line being written stands at the end of the last edit, and the raw offset it belongs to.
    let mut carried: Option<(usize, usize)> = None;
    let newline: &[u8] = if memchr::memmem::find(raw, b"\r\n").is_some() || !raw.contains(&b'\n') {
        b"\r\n"
    } else {
        b"\n"
    };
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
        let line =
            memchr::memrchr(b'\n', raw.get(floor..at.start).unwrap_or_default()).map_or(floor, |n| floor + n + 1);
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
            with.extend_from_slice(raw.get(kept.clone()).unwrap_or_default());
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
        let tail = raw.get(at.end..).unwrap_or_default();
        let near = tail.get(..QP_LINE + 2).unwrap_or(tail);
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
fn write_qp(out: &mut Vec<u8>, column: &mut usize, b: u8, newline: &[u8]) {
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
    let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[b'=', digit(b >> 4), digit(b & 15)]);
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
        let line = rest.get(..room.min(rest.len())).unwrap_or_default();
        let run = match *column {
            0 => 0,
            // Without a short circuit the compiler makes vectors of it, and nearly every line of a link is plain.
            _ if line.iter().fold(true, |all, b| all & is_plain(*b)) => line.len(),
            _ => line.iter().take_while(|b| is_plain(**b)).count(),
        };
        if let Some((plain, behind)) = rest.split_at_checked(run).filter(|_| run > 0) {
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
fn escape_last_blank(out: &mut Vec<u8>, column: usize, newline: &[u8]) {
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
    let mut line = [0u8; MAX_LINE + 2];
    for chunk in text.chunks(width / 4 * 3) {
        let n = data_encoding::BASE64.encode_len(chunk.len());
        if let Some(buf) = line.get_mut(..n) {
            data_encoding::BASE64.encode_mut(chunk, buf);
            out.extend_from_slice(buf);
        }
        out.extend_from_slice(newline);
    }
    if !like.ends_with(b"\n") && !like.is_empty() {
        out.truncate(out.len().saturating_sub(newline.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn qp(raw: &str) -> String {
        String::from_utf8_lossy(&decode(Coding::QuotedPrintable, raw.as_bytes()).bytes).into_owned()
    }

    #[test]
    fn names_of_encodings_are_read_in_every_way() {
        use Coding::{Base64, Identity, QuotedPrintable, Uuencode};
        for (value, wanted) in [
            ("7bit, base64", &[Identity, Base64][..]),
            ("7bit quoted-printable", &[Identity, QuotedPrintable]),
            ("Quoted-Printable.", &[QuotedPrintable]),
            ("'base64'", &[Base64]),
            ("base 64", &[Base64]),
            ("x-base64 (7bit)", &[Base64, Identity]),
            ("=?us-ascii?Q?base64?=", &[Base64]),
            ("X-UUE", &[Uuencode]),
            ("rot13", &[]),
        ] {
            assert_eq!(Coding::readings(value), wanted, "{value}");
        }
    }

    #[test]
    fn base64_with_blanks_in_it_is_told_from_text() {
        assert!(is_base64_text(b" aGVsbG8gdGhlcmUsIHJlYWRl \r\n cg== \r\n"));
        assert!(is_base64_text(
            b"aGVsbG8gdGhlcmUsIHJlYWRlcg==\r\n-- \r\nsent by a list to all of its readers\r\n"
        ));
        assert!(!is_base64_text(b"nothing but words and words\r\n"));
        assert!(!is_base64_text(b"<p>hello</p>"));
    }

    #[test]
    fn quoted_printable_is_read_leniently() {
        for (raw, text) in [
            ("a=3Db", "a=b"),
            ("a=3db", "a=b"),
            ("a=\r\nb", "ab"),
            ("a=\nb", "ab"),
            ("a=  \r\nb", "ab"),
            ("a=", "a"),
            ("a=zzb", "a=zzb"),
            ("=E2=82=AC", "€"),
            ("=3D=\r\n=3D", "=="),
        ] {
            assert_eq!(qp(raw), text, "{raw:?}");
        }
    }

    #[test]
    fn base64_survives_junk_and_inner_padding() {
        for (raw, text) in [
            ("aGVsbG8=", "hello"),
            ("aGVs\r\nbG8=\r\n", "hello"),
            ("aGVs!bG8=", "hello"),
            ("aGVsbG8=.*\r\nIQ==", "hello!"),
            ("aGVsbG8", "hello"),
        ] {
            assert_eq!(
                decode(Coding::Base64, raw.as_bytes()).bytes.as_ref(),
                text.as_bytes(),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn text_in_clear_behind_base64_is_no_base64() {
        let raw = b"aGVsbG8=\r\n\r\n-- \r\nlist mailing list, see https://list.example/\r\n";
        let d = decode(Coding::Base64, raw);
        assert_eq!(d.bytes.as_ref(), b"hello");
        let e = [TextEdit {
            at: 0..5,
            with: b"world".to_vec(),
        }];
        let out = apply(raw, &encode_edits(Coding::Base64, raw, &d, &e).unwrap());
        assert_eq!(out, b"d29ybGQ=\r\n");
    }

    #[test]
    fn a_lone_cr_survives_quoted_printable() {
        let raw = b"x=20y";
        let d = decode(Coding::QuotedPrintable, raw);
        let e = [TextEdit {
            at: 1..2,
            with: b"\rz\r\n".to_vec(),
        }];
        let out = apply(raw, &encode_edits(Coding::QuotedPrintable, raw, &d, &e).unwrap());
        assert_eq!(decode(Coding::QuotedPrintable, &out).bytes.as_ref(), b"x\rz\r\ny");
    }

    #[test]
    fn base64_keeps_width_and_line_ends() {
        assert_eq!(
            encode_base64(b"hello world", b"aGVsbG8g\nd29y\n"),
            b"aGVsbG8g\nd29ybGQ=\n"
        );
        assert_eq!(encode_base64(b"hello", b"aGVsbG8="), b"aGVsbG8=");
        assert_eq!(encode_base64(b"", b"aGVsbG8="), b"");
    }

    #[test]
    fn an_equals_sign_at_the_end_stands_for_nothing() {
        for raw in ["a=", "a==", "=", "a=\r\n="] {
            let d = decode(Coding::QuotedPrintable, raw.as_bytes());
            for with in ["", "3D", "x"] {
                let e = [TextEdit {
                    at: d.bytes.len()..d.bytes.len(),
                    with: with.into(),
                }];
                let changes = encode_edits(Coding::QuotedPrintable, raw.as_bytes(), &d, &e).unwrap();
                let out = apply(raw.as_bytes(), &changes);
                let text = [&d.bytes, with.as_bytes()].concat();
                assert_eq!(
                    decode(Coding::QuotedPrintable, &out).bytes.as_ref(),
                    text,
                    "{raw:?} {with:?}"
                );
            }
        }
    }

    #[test]
    fn a_stray_equals_sign_takes_no_digits_from_both_sides_of_an_edit() {
        let raw = b"=5xx5 =yy41";
        let d = decode(Coding::QuotedPrintable, raw);
        let gone = |at| TextEdit { at, with: Vec::new() };
        let changes = encode_edits(Coding::QuotedPrintable, raw, &d, &[gone(2..4), gone(7..9)]).unwrap();
        let out = apply(raw, &changes);
        assert_eq!(decode(Coding::QuotedPrintable, &out).bytes.as_ref(), b"=55 =41");
    }

    #[test]
    fn full_lines_make_room_for_a_soft_break() {
        for pad in 0..80 {
            let text = format!("{}{}\t\r\n{}", "x".repeat(pad), "ä".repeat(pad % 13), "yä".repeat(pad));
            let raw = encode_qp(text.as_bytes(), b"\r\n");
            let d = decode(Coding::QuotedPrintable, &raw);
            for at in [0, pad, text.find('\r').unwrap(), text.len()] {
                let e = [TextEdit {
                    at: at..at,
                    with: b"a ".to_vec(),
                }];
                let out = apply(&raw, &encode_edits(Coding::QuotedPrintable, &raw, &d, &e).unwrap());
                assert!(
                    out.split(|b| *b == b'\n')
                        .all(|l| l.strip_suffix(b"\r").unwrap_or(l).len() <= QP_LINE),
                    "{pad} {at}"
                );
            }
        }
    }

    #[test]
    fn long_identity_lines_are_noticed() {
        let raw = format!("short\r\n{}\r\nend", "x".repeat(900));
        let edit = |at, n| TextEdit {
            at,
            with: vec![b'y'; n],
        };
        assert!(lines_fit(raw.as_bytes(), &[edit(0..5, 998)]));
        assert!(!lines_fit(raw.as_bytes(), &[edit(0..5, 999)]));
        assert!(lines_fit(raw.as_bytes(), &[edit(7..8, 99)]));
        assert!(!lines_fit(raw.as_bytes(), &[edit(7..8, 100)]));
        assert!(!lines_fit(raw.as_bytes(), &[edit(7..7, 60), edit(20..20, 60)]));
    }

    fn edited(text: String) -> impl Strategy<Value = (String, Vec<TextEdit>)> {
        let len = text.len();
        // No edit parts a CR from its LF.
        let line_end = text.clone().into_bytes();
        let whole = move |at: usize| at - usize::from(at > 0 && line_end.get(at) == Some(&b'\n'));
        prop::collection::vec((0..=len, 0..9usize, "[ -~\t€=.F]{0,120}"), 0..6).prop_map(move |v| {
            let mut out: Vec<TextEdit> = Vec::new();
            let mut spans: Vec<_> = v
                .into_iter()
                .map(|(s, n, w)| (whole(s), whole((s + n).min(len)), w))
                .collect();
            spans.sort();
            for (s, e, w) in spans {
                if out.last().is_none_or(|l| l.at.end < s) {
                    out.push(TextEdit {
                        at: s..e,
                        with: w.into_bytes(),
                    });
                }
            }
            (text.clone(), out)
        })
    }

    /// As the standard has it: each octet by itself.
    fn slowly(text: &[u8], newline: &[u8]) -> Vec<u8> {
        let (mut out, mut column) = (Vec::new(), 0);
        for (i, b) in text.iter().enumerate() {
            if !text[i..].starts_with(b"\r\n") {
                write_qp(&mut out, &mut column, *b, newline);
            }
        }
        escape_last_blank(&mut out, column, newline);
        out
    }

    proptest! {
        #[test]
        fn quoted_printable_in_runs_is_the_same_as_octet_by_octet(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", "F", ".", "=", " ", "\t", "\r", "\n", "\r\n", "\u{e9}", "From here", "https://click.example.com/c/x.example/AbC-_9",
            ]), 0..60)
        ) {
            let text = pieces.concat();
            prop_assert_eq!(encode_qp(text.as_bytes(), b"\r\n"), slowly(text.as_bytes(), b"\r\n"));
        }

        #[test]
        fn edits_of_any_coding_decode_to_the_edited_text(
            (text, edits) in "([ -~äöü€=.\t]{0,150}\r\n){0,12}".prop_flat_map(edited), coded in 0..3u8,
        ) {
            let coding = [Coding::Identity, Coding::QuotedPrintable, Coding::Base64][coded as usize];
            let raw = match coding {
                Coding::Identity => text.clone().into_bytes(),
                Coding::QuotedPrintable => encode_qp(text.as_bytes(), b"\r\n"),
                _ => encode_base64(text.as_bytes(), b""),
            };
            let decoded = decode(coding, &raw);
            prop_assert_eq!(decoded.bytes.as_ref(), text.as_bytes());
            let Some(changes) = encode_edits(coding, &raw, &decoded, &edits) else { return Ok(()) };
            let out = apply(&raw, &changes);
            let again = decode(coding, &out);
            prop_assert_eq!(again.bytes.as_ref(), &apply(text.as_bytes(), &edits)[..]);
            let limit = if coding == Coding::Identity { MAX_LINE } else { QP_LINE };
            for line in out.split(|b| *b == b'\n') {
                prop_assert!(line.strip_suffix(b"\r").unwrap_or(line).len() <= limit);
            }
        }

        #[test]
        fn qp_offsets_cover_the_raw_octets(raw in "([a-c]|=3D|=\r\n|=E9|\r\n|= \r\n|==|=z){0,40}") {
            let d = decode(Coding::QuotedPrintable, raw.as_bytes());
            for i in 0..d.bytes.len() {
                let span = d.raw_span(&(i..i + 1));
                let piece = [&raw.as_bytes()[span.clone()], b"x"].concat();
                let piece = decode(Coding::QuotedPrintable, &piece).bytes.into_owned();
                prop_assert_eq!(&piece[..1], &d.bytes[i..i + 1], "{} {:?}", i, span);
            }
        }
    }
}
