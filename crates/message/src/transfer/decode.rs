//! Lenient decoders that remember where each octet came from.

use std::borrow::Cow;
use std::ops::Range;

use super::{Coding, foreign};
use crate::slice::Slice;

/// A body after transfer decoding.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    map: OffsetMap,
    /// The decoder met something that decoders read differently: junk in base64, padding inside, a bad escape.
    pub(crate) doubtful: bool,
}

#[derive(Debug)]
enum OffsetMap {
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
            map: OffsetMap::Identity,
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
            map: OffsetMap::Base64,
            doubtful: false,
        },
    }
}

/// Whether a body is nothing but base64, blanks and a plain text behind it aside, and decodes to text.
pub(crate) fn is_base64_text(raw: &[u8]) -> bool {
    let coded = raw.slice(..end_of_base64(raw));
    let clean: Vec<u8> = coded.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let unpadded = clean.len() - clean.iter().rev().take_while(|b| **b == b'=').count();
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    unpadded > 0 && clean.slice(..unpadded).iter().all(alphabet) && reads_as_text(&decode_leniently(&clean).0)
}

pub(super) fn decode_qp(raw: &[u8]) -> Decoded<'_> {
    let mut out = Vec::with_capacity(raw.len());
    let mut map = Vec::with_capacity(raw.len() / 32 + 1);
    let mut doubtful = false;
    let mut at = 0;
    map.push((0, 0));
    while let Some(n) = memchr::memchr(b'=', raw.slice(at..)) {
        let eq = at + n;
        out.extend_from_slice(raw.slice(at..eq));
        let tail = raw.slice(eq + 1..);
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
                match tail.slice(blanks..) {
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
    out.extend_from_slice(raw.slice(at..));
    Decoded {
        bytes: Cow::Owned(out),
        map: OffsetMap::QuotedPrintable(map),
        doubtful,
    }
}

pub(super) const fn hex(b: u8) -> Option<u8> {
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
    let coded = raw.slice(..end);
    let mut from = 0;
    for line_end in memchr::memchr2_iter(b'\r', b'\n', coded) {
        clean.extend_from_slice(coded.slice(from..line_end));
        from = line_end + 1;
    }
    clean.extend_from_slice(coded.slice(from..));
    if let Ok(bytes) = data_encoding::BASE64.decode(&clean) {
        return Decoded {
            bytes: Cow::Owned(bytes),
            map: OffsetMap::Base64,
            doubtful: end < raw.len(),
        };
    }
    let (bytes, doubtful) = decode_leniently(&clean);
    Decoded {
        bytes: Cow::Owned(bytes),
        map: OffsetMap::Base64,
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

/// Finds where base64 ends: at padding, if plain text follows, as mailing lists append it.
fn end_of_base64(raw: &[u8]) -> usize {
    let Some(pad) = memchr::memchr(b'=', raw) else {
        return raw.len();
    };
    let end = raw
        .slice(pad..)
        .iter()
        .take_while(|b| matches!(b, b'=' | b'\r' | b'\n'))
        .count()
        + pad;
    let tail = raw.slice(end..);
    let blanks = tail.iter().filter(|b| **b == b' ').count();
    if blanks > 1 && !reads_as_text(&decode_leniently(tail).0) {
        end
    } else {
        raw.len()
    }
}

/// Writes out the whole octets of a quantum and drops the rest.
fn flush(out: &mut Vec<u8>, acc: &mut u32, have: &mut u32) {
    while *have >= 8 {
        *have -= 8;
        out.push((*acc >> *have) as u8);
    }
    (*acc, *have) = (0, 0);
}

impl Decoded<'_> {
    /// Finds where the decoded octets of `span` stand in the raw body; soft breaks at either end stay outside.
    pub(super) fn raw_span(&self, span: &Range<usize>) -> Range<usize> {
        match &self.map {
            OffsetMap::QuotedPrintable(map) => {
                let start = raw_of(map, span.start);
                if span.is_empty() {
                    start..start
                } else {
                    start..raw_end(map, span.end)
                }
            }
            OffsetMap::Identity | OffsetMap::Base64 => span.clone(),
        }
    }
}

/// Raw offset at which decoded octet `at` begins.
fn raw_of(map: &[(u32, u32)], at: usize) -> usize {
    let i = map.partition_point(|(d, _)| *d as usize <= at);
    let (d, r) = *map.slice(i - 1);
    r as usize + (at - d as usize)
}

/// Raw offset just behind decoded octet `end - 1`.
fn raw_end(map: &[(u32, u32)], end: usize) -> usize {
    let i = map.partition_point(|(d, _)| (*d as usize) < end);
    let (d, r) = *map.slice(i - 1);
    match map.get(i) {
        // A run of one octet that is three raw octets long is an escape; soft breaks behind it have entries of their own.
        Some((next, raw)) if *next as usize == end && end - d as usize == 1 && *raw as usize == r as usize + 3 => {
            r as usize + 3
        }
        _ => r as usize + (end - d as usize),
    }
}
