//! Decoded text with the raw offset of each character.

use std::ops::Range;

use encoding_rs::Encoding;

use crate::html::reference::{MAX_REFERENCE, reference};
use crate::slice::{Slice, ascii_head, head};

/// A stretch of decoded text and the raw bytes behind it.
#[derive(Debug, Clone, Copy)]
struct MappedStretch {
    text: u32,
    raw: u32,
    raw_len: u32,
    /// The stretch is one character (or two) that several raw bytes stand for; else it runs octet by octet.
    unit: bool,
}

/// Text decoded from raw stretches, with their offsets.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) text: String,
    segs: Vec<MappedStretch>,
}

impl Mapped {
    /// Appends `raw[range]`, decoded.
    pub(crate) fn push(&mut self, raw: &[u8], range: Range<usize>, encoding: &'static Encoding) {
        let mut at = range.start;
        while at < range.end {
            let rest = raw.slice(at..range.end);
            let ascii = ascii_head(rest);
            if !ascii.is_empty() {
                self.plain_utf8(ascii, at);
                at += ascii.len();
                continue;
            }
            // No encoding that is ASCII-compatible uses octets below 0x30 as trail bytes: one of them ends the stretch.
            let high = rest.iter().position(|b| *b < 0x30).unwrap_or(rest.len());
            self.high(rest.slice(..high), at, encoding);
            at += high;
        }
    }

    /// Appends `raw[range]`, decoded, with character references read as text reads them.
    pub(crate) fn push_html(&mut self, raw: &[u8], range: Range<usize>, encoding: &'static Encoding) {
        let mut at = range.start;
        while at < range.end {
            let rest = raw.slice(at..range.end);
            let amp = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            self.push(raw, at..at + amp, encoding);
            at += amp;
            let rest = raw.slice(at..range.end);
            if rest.is_empty() {
                break;
            }
            match reference(ascii_head(head(rest, MAX_REFERENCE)), false) {
                Some((used, a, b)) => {
                    self.unit(at, used);
                    self.text.push(a);
                    self.text.extend(b);
                    at += used;
                }
                None => {
                    self.plain_utf8("&", at);
                    at += 1;
                }
            }
        }
    }

    /// Appends the characters of quoted-printable escapes (`=C3=A9`); `raw[range]` holds nothing else.
    pub(crate) fn push_escapes(&mut self, raw: &[u8], range: Range<usize>, encoding: &'static Encoding) {
        let written = raw.slice(range.clone());
        let bytes: Vec<u8> = written
            .chunks(3)
            .filter_map(|e| u8::from_str_radix(std::str::from_utf8(e.get(1..)?).ok()?, 16).ok())
            .collect();
        if encoding != encoding_rs::UTF_8 && !bytes.is_ascii() {
            // The characters cannot be assigned: the whole text stands for all of the octets.
            self.unit(range.start, written.len());
            self.text.push_str(&encoding.decode_without_bom_handling(&bytes).0);
            return;
        }
        let mut at = range.start;
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.unit(at, 3 * c.len_utf8());
                self.text.push(c);
                at += 3 * c.len_utf8();
            }
            if !chunk.invalid().is_empty() {
                self.unit(at, 3 * chunk.invalid().len());
                self.text.push('\u{fffd}');
                at += 3 * chunk.invalid().len();
            }
        }
    }

    fn unit(&mut self, raw: usize, raw_len: usize) {
        self.segs.push(MappedStretch {
            text: self.text.len() as u32,
            raw: raw as u32,
            raw_len: raw_len as u32,
            unit: true,
        });
    }

    fn high(&mut self, bytes: &[u8], at: usize, encoding: &'static Encoding) {
        if encoding == encoding_rs::UTF_8 {
            let mut at = at;
            for chunk in bytes.utf8_chunks() {
                self.plain_utf8(chunk.valid(), at);
                at += chunk.valid().len();
                if !chunk.invalid().is_empty() {
                    self.unit(at, chunk.invalid().len());
                    self.text.push('\u{fffd}');
                    at += chunk.invalid().len();
                }
            }
            return;
        }
        let (text, _) = encoding.decode_without_bom_handling(bytes);
        let lengths: Option<Vec<usize>> = if encoding.is_single_byte() {
            Some(vec![1; text.chars().count()])
        } else {
            text.chars().map(|c| encoded_len(c, encoding)).collect()
        };
        match lengths.filter(|l| l.iter().sum::<usize>() == bytes.len()) {
            Some(lengths) => {
                let mut at = at;
                for (c, n) in text.chars().zip(lengths) {
                    self.unit(at, n);
                    self.text.push(c);
                    at += n;
                }
            }
            None => {
                // The characters cannot be assigned: the whole text stands for all of the octets.
                self.unit(at, bytes.len());
                self.text.push_str(&text);
            }
        }
    }

    fn plain_utf8(&mut self, valid: &str, raw: usize) {
        if valid.is_empty() {
            return;
        }
        let text = self.text.len() as u32;
        match self.segs.last_mut() {
            Some(s) if !s.unit && s.raw + s.raw_len == raw as u32 => s.raw_len += valid.len() as u32,
            _ => self.segs.push(MappedStretch {
                text,
                raw: raw as u32,
                raw_len: valid.len() as u32,
                unit: false,
            }),
        }
        self.text.push_str(valid);
    }

    /// The raw stretches behind `text[span]`, in order; those that touch are joined.
    pub(crate) fn raw(&self, span: &Range<usize>) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::new();
        let from = self
            .segs
            .partition_point(|s| s.text as usize <= span.start)
            .saturating_sub(1);
        for s in self.segs.slice(from..) {
            let start = s.text as usize;
            if start >= span.end {
                break;
            }
            let (a, b) = if s.unit {
                (s.raw as usize, (s.raw + s.raw_len) as usize)
            } else {
                let skip = span.start.saturating_sub(start).min(s.raw_len as usize);
                let take = (span.end - start).min(s.raw_len as usize);
                (s.raw as usize + skip, s.raw as usize + take)
            };
            if a >= b {
                continue;
            }
            match out.last_mut() {
                Some(last) if last.end == a => last.end = b,
                _ => out.push(a..b),
            }
        }
        out
    }
}

/// Counts the octets of a character in an encoding; `None` when the encoding lacks it.
fn encoded_len(c: char, encoding: &'static Encoding) -> Option<usize> {
    let mut buf = [0; 4];
    let (bytes, _, unmappable) = encoding.encode(c.encode_utf8(&mut buf));
    (!unmappable).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_and_gaps_lead_back() {
        let raw = b"go <b>http</b>s:&#x2f;/x.example now";
        let mut m = Mapped::default();
        m.push_html(raw, 6..10, encoding_rs::UTF_8);
        m.push_html(raw, 14..raw.len(), encoding_rs::UTF_8);
        assert_eq!(m.text, "https://x.example now");
        assert_eq!(m.raw(&(0..17)), [6..10, 14..32]);
        assert_eq!(m.raw(&(6..7)), vec![16..22]);
    }

    #[test]
    fn legacy_encodings_lead_back() {
        let sjis = encoding_rs::SHIFT_JIS;
        let (raw, _, _) = sjis.encode("見て http://x.example/表 よ");
        let mut m = Mapped::default();
        m.push(&raw, 0..raw.len(), sjis);
        let at = m.text.find("http").unwrap();
        let end = m.text.find('表').unwrap() + '表'.len_utf8();
        let spans = m.raw(&(at..end));
        assert_eq!(spans.len(), 1);
        assert_eq!(sjis.decode(&raw[spans[0].clone()]).0, "http://x.example/表");
    }

    proptest! {
        #[test]
        fn every_character_leads_back_to_its_bytes(text in "[a-zäß€日本 <&.]{0,40}", which in 0..4usize) {
            let encoding = [encoding_rs::UTF_8, encoding_rs::SHIFT_JIS, encoding_rs::GB18030, encoding_rs::BIG5][which];
            let (raw, _, _) = encoding.encode(&text);
            let mut m = Mapped::default();
            m.push(&raw, 0..raw.len(), encoding);
            let (want, _) = encoding.decode_without_bom_handling(&raw);
            prop_assert_eq!(&m.text, &want);
            for (i, c) in m.text.char_indices() {
                let spans = m.raw(&(i..i + c.len_utf8()));
                prop_assert_eq!(spans.len(), 1);
                let piece = encoding.decode_without_bom_handling(&raw[spans[0].clone()]).0;
                prop_assert!(piece.contains(c));
            }
        }
    }
}
