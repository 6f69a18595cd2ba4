//! Decoders for encodings that browsers do not know, and mail programs do.

use crate::slice::Slice;
use encoding_rs::{EUC_JP, EUC_KR, Encoding, GBK};

/// UTF-7 (RFC 2152), leniently: broken sequences give what they can.
pub(super) fn utf7(bytes: &[u8]) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(b) = rest.next() {
        if b != b'+' {
            units.push(u16::from(b));
            continue;
        }
        if rest.next_if_eq(&b'-').is_some() {
            units.push(u16::from(b'+'));
            continue;
        }
        let (mut acc, mut have) = (0u32, 0u32);
        while let Some(v) = rest.peek().and_then(|b| base64_value(*b)) {
            rest.next();
            acc = acc << 6 | v;
            have += 6;
            if have >= 16 {
                have -= 16;
                units.push((acc >> have) as u16);
                acc &= (1 << have) - 1;
            }
        }
        rest.next_if_eq(&b'-');
    }
    String::from_utf16_lossy(&units)
}

const fn base64_value(b: u8) -> Option<u32> {
    match b {
        b'A'..=b'Z' => Some((b - b'A') as u32),
        b'a'..=b'z' => Some((b - b'a') as u32 + 26),
        b'0'..=b'9' => Some((b - b'0') as u32 + 52),
        b'+' => Some(62),
        b'/' | b',' => Some(63),
        _ => None,
    }
}

/// HZ (RFC 1843): GB 2312 in seven bits between `~{` and `~}`; a `~` at the end of a line joins it to the next.
pub(super) fn hz(bytes: &[u8]) -> String {
    let mut gbk = Vec::with_capacity(bytes.len());
    let mut chinese = false;
    let mut rest = bytes;
    while let Some((b, tail)) = rest.split_first() {
        match (b, tail.first()) {
            (b'~', Some(b'{')) => (chinese, rest) = (true, tail.slice(1..)),
            (b'~', Some(b'}')) => (chinese, rest) = (false, tail.slice(1..)),
            (b'~', Some(b'~')) => {
                gbk.push(b'~');
                rest = tail.slice(1..);
            }
            (b'~', Some(b'\n')) => rest = tail.slice(1..),
            (b'~', Some(b'\r')) if tail.starts_with(b"\r\n") => rest = tail.slice(2..),
            (b, _) => {
                chinese &= *b != b'\n';
                gbk.push(if chinese && *b > 0x20 { b | 0x80 } else { *b });
                rest = tail;
            }
        }
    }
    encoding_rs::GBK.decode_without_bom_handling(&gbk).0.into_owned()
}

/// A set of characters that ISO 2022 puts into the seven-bit places.
#[derive(Debug, Clone, Copy)]
enum CharacterSet {
    Ascii,
    /// JIS X 0201, its Latin half: a yen sign and an overline in two places.
    Roman,
    /// JIS X 0201, its other half.
    Kana,
    /// Two octets, which with their high bits set are a character of this encoding, behind this octet if any.
    Double(&'static Encoding, Option<u8>),
    /// A set that is only skipped over: two octets, one unknown character.
    Strange,
}

/// Decodes the family of ISO-2022-JP (RFC 1468, 1554, 2237), -KR (RFC 1557) and -CN (RFC 1922), leniently: any of their
/// sets under any of their names.
pub(super) fn iso2022(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let (mut first, mut second) = (CharacterSet::Ascii, CharacterSet::Ascii);
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((b, tail)) = rest.split_first() {
        match b {
            0x0e => (shifted, rest) = (true, tail),
            0x0f => (shifted, rest) = (false, tail),
            0x1b => match designation(tail) {
                Some((len, to_second, set)) => {
                    match (to_second, set) {
                        (false, Some(set)) => first = set,
                        (true, Some(set)) => second = set,
                        (_, None) => {}
                    }
                    rest = tail.slice(len..);
                }
                None => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = tail;
                }
            },
            b'\n' => {
                // A shift ends with its line.
                shifted = false;
                out.push('\n');
                rest = tail;
            }
            _ => {
                let end = rest.iter().position(|b| matches!(b, 0x0e | 0x0f | 0x1b | b'\n'));
                let (run, behind) = rest.split_at(end.unwrap_or(rest.len()));
                characters(run, if shifted { second } else { first }, &mut out);
                rest = behind;
            }
        }
    }
    out
}

/// Reads the rest of an escape: its length, whether it is about the shifted set, and the set, if it names one.
fn designation(rest: &[u8]) -> Option<(usize, bool, Option<CharacterSet>)> {
    const KNOWN: &[(&[u8], bool, Option<CharacterSet>)] = &[
        (b"(B", false, Some(CharacterSet::Ascii)),
        (b"(J", false, Some(CharacterSet::Roman)),
        (b"(I", false, Some(CharacterSet::Kana)),
        (b"$@", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$B", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$A", false, Some(CharacterSet::Double(GBK, None))),
        (b"$(@", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$(A", false, Some(CharacterSet::Double(GBK, None))),
        (b"$(B", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$(C", false, Some(CharacterSet::Double(EUC_KR, None))),
        (b"$(D", false, Some(CharacterSet::Double(EUC_JP, Some(0x8f)))),
        (b"$(O", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$(Q", false, Some(CharacterSet::Double(EUC_JP, None))),
        (b"$(P", false, Some(CharacterSet::Strange)),
        (b"$)A", true, Some(CharacterSet::Double(GBK, None))),
        (b"$)C", true, Some(CharacterSet::Double(EUC_KR, None))),
        (b"$)E", true, Some(CharacterSet::Strange)),
        (b"$)G", true, Some(CharacterSet::Strange)),
        // Sets for single characters, and the shift to one of them.
        (b"$*H", true, None),
        (b".A", true, None),
        (b".F", true, None),
        (b"N", true, None),
    ];
    KNOWN
        .iter()
        .find(|(name, ..)| rest.starts_with(name))
        .map(|(name, second, set)| (name.len(), *second, *set))
}

fn characters(run: &[u8], set: CharacterSet, out: &mut String) {
    let single = |b: u8| {
        if b.is_ascii() {
            char::from(b)
        } else {
            char::REPLACEMENT_CHARACTER
        }
    };
    match set {
        CharacterSet::Ascii => out.extend(run.iter().map(|b| single(*b))),
        CharacterSet::Roman => out.extend(run.iter().map(|b| match b {
            b'\\' => '¥',
            b'~' => '‾',
            b => single(*b),
        })),
        CharacterSet::Kana => out.extend(run.iter().map(|b| match b {
            0x21..=0x5f => char::from_u32(0xff61 - 0x21 + u32::from(*b)).unwrap_or(char::REPLACEMENT_CHARACTER),
            b => single(*b),
        })),
        CharacterSet::Double(..) | CharacterSet::Strange => {
            let mut rest = run;
            while let Some((a, tail)) = rest.split_first() {
                match (tail.first(), set) {
                    (Some(b), CharacterSet::Double(encoding, before)) if *a > 0x20 && *b > 0x20 => {
                        let pair: Vec<u8> = before.into_iter().chain([a | 0x80, b | 0x80]).collect();
                        out.push_str(&encoding.decode_without_bom_handling(&pair).0);
                        rest = tail.slice(1..);
                    }
                    (Some(b), _) if *a > 0x20 && *b > 0x20 => {
                        out.push(char::REPLACEMENT_CHARACTER);
                        rest = tail.slice(1..);
                    }
                    _ => {
                        out.push(single(*a));
                        rest = tail;
                    }
                }
            }
        }
    }
}

/// UTF-32, in either order of octets.
pub(super) fn utf32(bytes: &[u8], big: bool) -> String {
    bytes
        .chunks(4)
        .map(|c| {
            let mut four = [0; 4];
            for (to, from) in four.iter_mut().zip(c) {
                *to = *from;
            }
            let v = if big {
                u32::from_be_bytes(four)
            } else {
                u32::from_le_bytes(four)
            };
            char::from_u32(v).unwrap_or('\u{fffd}')
        })
        .collect()
}
