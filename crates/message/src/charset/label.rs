//! Names of encodings, as mail spells them.

use std::borrow::Cow;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

use super::decode::{hz, iso2022, utf7, utf32};
use crate::transfer::{Coding, decode};

/// An encoding by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CharsetLabel {
    Known(&'static Encoding),
    Utf7,
    Hz,
    /// ISO-2022-KR, -CN and others of that family.
    Iso2022,
    /// UTF-16 in an unknown order of octets.
    Utf16,
    /// UTF-32; `None`: in an unknown order of octets.
    Utf32 {
        big: Option<bool>,
    },
    /// One of the many EBCDIC code pages, which share too little to be read without their tables.
    Ebcdic,
}

/// Code pages of EBCDIC, beside those that have numbers in a row.
const EBCDIC: &[u32] = &[
    37, 273, 277, 278, 280, 284, 285, 290, 297, 420, 423, 424, 500, 870, 871, 875, 880, 905, 918, 924, 930, 931, 933,
    935, 937, 939, 1_025, 1_026, 1_047, 1_097, 1_112, 1_122, 1_123, 1_130, 1_132, 1_364, 1_388, 1_390, 1_399, 20_833,
    20_838, 20_871, 20_880, 20_905, 20_924, 21_025,
];

impl CharsetLabel {
    /// The encoding of a label, letter case, quotes and blanks around it aside.
    pub(super) fn named(label: &str) -> Option<Self> {
        let label = label.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\0'));
        let label = plain_word(label);
        let label = label.trim().to_ascii_lowercase();
        Self::exactly(&label).or_else(|| {
            let label = label.replace('_', "-");
            let label = label.strip_prefix("x-").unwrap_or(&label);
            Self::exactly(label).or_else(|| Self::code_page(label))
        })
    }

    fn exactly(label: &str) -> Option<Self> {
        Some(match label {
            "" => return None,
            "hz-gb-2312" | "hz" => Self::Hz,
            "utf-16" | "utf16" | "ucs-2" | "ucs2" | "iso-10646-ucs-2" | "csunicode" | "unicode" => Self::Utf16,
            "utf-32" | "utf32" | "ucs-4" | "ucs4" | "iso-10646-ucs-4" | "csucs4" => Self::Utf32 { big: None },
            "utf-32be" | "ucs-4be" => Self::Utf32 { big: Some(true) },
            "utf-32le" | "ucs-4le" => Self::Utf32 { big: Some(false) },
            l if l.contains("utf-7") || l.contains("utf7") => Self::Utf7,
            l if l.contains("ebcdic") => Self::Ebcdic,
            // -1, -2, -3, -ms and all the others differ in the sets they allow.
            l if l.starts_with("iso-2022-jp") || l.starts_with("csiso2022jp") => Self::Known(ISO_2022_JP),
            l if l.starts_with("iso-2022") || l.starts_with("csiso2022") => Self::Iso2022,
            l => Self::Known(Encoding::for_label(l.as_bytes()).filter(|e| *e != encoding_rs::REPLACEMENT)?),
        })
    }

    /// The encoding of `cp` and the number that Microsoft or IBM gave it; some write `ibm`, `windows-`, or the number alone.
    fn code_page(label: &str) -> Option<Self> {
        let number = ["windows-", "codepage-", "ccsid", "csibm", "ibm", "cp", "ms"]
            .iter()
            .find_map(|p| label.strip_prefix(p))
            .unwrap_or(label)
            .trim_start_matches(['-', '0']);
        let known = |e| Some(Self::Known(e));
        let named = |name: String| Encoding::for_label(name.as_bytes()).map(Self::Known);
        match number.parse::<u32>().ok()? {
            932 | 943 => known(SHIFT_JIS),
            936 | 51_936 => known(GBK),
            949 | 51_949 => known(EUC_KR),
            950 => known(BIG5),
            20_932 | 51_932 => known(EUC_JP),
            54_936 => known(GB18030),
            1_200 => Some(Self::Utf16),
            1_201 => known(UTF_16BE),
            12_000 => Some(Self::Utf32 { big: None }),
            12_001 => Some(Self::Utf32 { big: Some(true) }),
            65_000 => Some(Self::Utf7),
            65_001 => known(UTF_8),
            50_220..=50_222 => known(ISO_2022_JP),
            50_225 | 50_227 | 50_229 => Some(Self::Iso2022),
            52_936 => Some(Self::Hz),
            n @ (866 | 874 | 1_250..=1_258) => named(format!("cp{n}")).or_else(|| named(format!("windows-{n}"))),
            n @ 28_591..=28_606 => named(format!("iso-8859-{}", n - 28_590)),
            20_866 => named("koi8-r".to_owned()),
            21_866 => named("koi8-u".to_owned()),
            833..=838 | 1_140..=1_149 | 20_273..=20_297 | 20_420..=20_424 => Some(Self::Ebcdic),
            n if EBCDIC.contains(&n) => Some(Self::Ebcdic),
            _ => None,
        }
    }

    /// Whether an ASCII reader may see something else than a reader of this encoding.
    pub(super) fn hides_markup(self) -> bool {
        match self {
            Self::Known(e) => !e.is_ascii_compatible(),
            _ => true,
        }
    }

    /// Whether this is an encoding in which plain ASCII cannot be written.
    pub(super) fn is_wide(self) -> bool {
        match self {
            Self::Known(e) => e == UTF_16LE || e == UTF_16BE,
            Self::Utf16 | Self::Utf32 { .. } | Self::Ebcdic => true,
            _ => false,
        }
    }

    /// The encoding in which browsers write queries of URLs in such a text (WHATWG URL 4.4).
    pub(super) fn for_queries(self) -> &'static Encoding {
        match self {
            Self::Known(e) => e.output_encoding(),
            _ => UTF_8,
        }
    }

    /// The text in UTF-8; `None` when the bytes are plain ASCII under this label too, or show nothing at all.
    pub(super) fn transcode(self, bytes: &[u8]) -> Option<String> {
        let has = |of: fn(&u8) -> bool| bytes.iter().any(of);
        let by = |e: &'static Encoding| e.decode_without_bom_handling(bytes).0.into_owned();
        match self {
            Self::Known(e) if e == ISO_2022_JP => match has(|b| matches!(b, 0x1b | 0x0e | 0x0f)) {
                true if is_plain_jp(bytes) => Some(by(e)),
                true => Some(iso2022(bytes)),
                false => None,
            },
            // What has no NUL has not a single ASCII character in UTF-16, no line end and no blank: where it is UTF-8, it
            // is mislabelled.
            Self::Known(e) => (!bytes.is_empty() && is_wide_text(bytes)).then(|| by(e)),
            Self::Utf16 => (!bytes.is_empty() && is_wide_text(bytes)).then(|| more_telling(by(UTF_16LE), by(UTF_16BE))),
            Self::Utf7 => bytes.contains(&b'+').then(|| utf7(bytes)),
            Self::Hz => bytes.contains(&b'~').then(|| hz(bytes)),
            Self::Iso2022 => has(|b| matches!(b, 0x1b | 0x0e | 0x0f)).then(|| iso2022(bytes)),
            Self::Utf32 { big } => bytes.contains(&0).then(|| match big {
                Some(big) => utf32(bytes, big),
                None => more_telling(utf32(bytes, true), utf32(bytes, false)),
            }),
            Self::Ebcdic => None,
        }
    }
}

/// Whether browsers do not know a label (WHATWG Encoding 4.2), and read the text as if it had none.
pub(super) fn is_foreign(label: &str) -> bool {
    Encoding::for_label(label.as_bytes()).is_none()
}

/// Scores the signs of a link in a text; a rough measure to choose between readings.
pub(super) fn link_signs(text: &str) -> usize {
    text.matches('<').count() + text.matches("://").count() + text.matches("href").count()
}

/// Whether a text uses none but the sets of ISO-2022-JP that browsers know.
pub(super) fn is_plain_jp(bytes: &[u8]) -> bool {
    memchr::memchr2(0x0e, 0x0f, bytes).is_none()
        && memchr::memchr_iter(0x1b, bytes)
            .all(|at| matches!(bytes.get(at + 1..at + 3), Some(b"(B" | b"(J" | b"(I" | b"$@" | b"$B")))
}

/// The encoding that escapes in an unlabelled text speak of. An escape back to ASCII alone does not count: terminals
/// use it.
pub(super) fn by_escapes(bytes: &[u8]) -> Option<CharsetLabel> {
    memchr::memchr_iter(0x1b, bytes).find_map(|at| match bytes.get(at + 1..at + 4)? {
        [b'(', b'J' | b'I', _] | [b'$', b'@' | b'A' | b'B', _] | [b'$', b'(', _] => {
            Some(CharsetLabel::Known(ISO_2022_JP))
        }
        [b'$', b')', b'A' | b'C' | b'E' | b'G'] => Some(CharsetLabel::Iso2022),
        _ => None,
    })
}

/// The encoding that NULs in every other octet, or in three of four, speak of.
pub(super) fn by_nuls(bytes: &[u8]) -> Option<CharsetLabel> {
    memchr::memchr(0, bytes)?;
    let mut nuls = [0usize; 4];
    for four in bytes.chunks_exact(4) {
        for (n, b) in nuls.iter_mut().zip(four) {
            *n += usize::from(*b == 0);
        }
    }
    let all = bytes.len() / 4;
    let [a, b, c, d] = nuls;
    let many = |n: usize| n * 3 > all;
    let few = |n: usize| n * 8 <= all;
    if all == 0 {
        None
    } else if few(a) && many(c) && many(d) {
        Some(CharsetLabel::Utf32 { big: Some(false) })
    } else if many(a) && many(b) && few(d) {
        Some(CharsetLabel::Utf32 { big: Some(true) })
    } else if few(a) && many(b) && few(c) && many(d) {
        Some(CharsetLabel::Known(UTF_16LE))
    } else if many(a) && few(b) && many(c) && few(d) {
        Some(CharsetLabel::Known(UTF_16BE))
    } else {
        None
    }
}

fn is_wide_text(bytes: &[u8]) -> bool {
    bytes.contains(&0) || std::str::from_utf8(bytes).is_err()
}

/// The reading that shows more; the first where both show the same.
fn more_telling(first: String, second: String) -> String {
    let (a, b) = (measure(&first), measure(&second));
    if b > a { second } else { first }
}

/// Scores the likeness to a text: links count most, then line ends and blanks.
fn measure(text: &str) -> (usize, usize) {
    (
        link_signs(text),
        text.bytes().filter(|b| matches!(b, b' ' | b'\n')).count(),
    )
}

/// A label, decoded if it is an encoded word (RFC 2047).
fn plain_word(label: &str) -> Cow<'_, str> {
    let inner = label.strip_prefix("=?").and_then(|l| l.strip_suffix("?="));
    let mut pieces = inner.unwrap_or_default().splitn(3, '?');
    let coding = match pieces.nth(1) {
        Some("b" | "B") => Coding::Base64,
        Some("q" | "Q") => Coding::QuotedPrintable,
        _ => return Cow::Borrowed(label),
    };
    let word = pieces.next().unwrap_or_default();
    Cow::Owned(String::from_utf8_lossy(&decode(coding, word.as_bytes()).bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_kinds_are_known() {
        for (label, want) in [
            ("\"UTF-8\"", CharsetLabel::Known(UTF_8)),
            ("iso_2022_jp", CharsetLabel::Known(ISO_2022_JP)),
            ("x-iso-2022-jp", CharsetLabel::Known(ISO_2022_JP)),
            ("ISO-2022-JP-MS", CharsetLabel::Known(ISO_2022_JP)),
            ("cp50222", CharsetLabel::Known(ISO_2022_JP)),
            ("=?us-ascii?q?iso-2022-jp?=", CharsetLabel::Known(ISO_2022_JP)),
            ("=?utf-8?B?dXRmLTc=?=", CharsetLabel::Utf7),
            ("unicode-2-0-utf-7", CharsetLabel::Utf7),
            ("cp65000", CharsetLabel::Utf7),
            ("iso-2022-cn-ext", CharsetLabel::Iso2022),
            ("UCS-2", CharsetLabel::Utf16),
            ("cp1201", CharsetLabel::Known(UTF_16BE)),
            ("cp12000", CharsetLabel::Utf32 { big: None }),
            ("IBM-037", CharsetLabel::Ebcdic),
            ("cp1047", CharsetLabel::Ebcdic),
            ("ebcdic-cp-us", CharsetLabel::Ebcdic),
            ("cp932", CharsetLabel::Known(SHIFT_JIS)),
            ("1251", CharsetLabel::Known(encoding_rs::WINDOWS_1251)),
        ] {
            assert_eq!(CharsetLabel::named(label), Some(want), "{label}");
        }
        for label in ["", "unknown-8bit", "cp", "x-", "=?x?=", "replacement"] {
            assert_eq!(CharsetLabel::named(label), None, "{label}");
        }
    }

    #[test]
    fn nuls_tell_the_order_of_octets() {
        let wide = |s: &str, big: bool| -> Vec<u8> {
            s.encode_utf16()
                .flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() })
                .collect()
        };
        let text = "<p>Grüße, 日本</p>\r\n";
        assert_eq!(by_nuls(&wide(text, false)), Some(CharsetLabel::Known(UTF_16LE)));
        assert_eq!(by_nuls(&wide(text, true)), Some(CharsetLabel::Known(UTF_16BE)));
        let four: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        assert_eq!(by_nuls(&four), Some(CharsetLabel::Utf32 { big: Some(false) }));
        assert_eq!(by_nuls(b"plain text with a \0 or \0 two in it"), None);
        assert_eq!(by_nuls(&[0; 64]), None);
    }

    #[test]
    fn terminal_output_is_no_japanese() {
        assert_eq!(by_escapes(b"\x1b[31mred\x1b(B\x1b[m"), None);
        assert_eq!(by_escapes(b"\x1b$B$\"\x1b(B"), Some(CharsetLabel::Known(ISO_2022_JP)));
    }
}
