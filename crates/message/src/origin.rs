//! The encoding of octets that are kept, for putting them back into a text that may be in another encoding.

use std::borrow::Cow;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_8859_2, ISO_8859_15, KOI8_R, SHIFT_JIS, UTF_8, WINDOWS_1250,
    WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1256,
};

/// Encodings by the number that stands for each in tokens and marks, permanently.
const NUMBERED: [&Encoding; 15] = [
    UTF_8,
    WINDOWS_1252,
    WINDOWS_1250,
    WINDOWS_1251,
    WINDOWS_1253,
    WINDOWS_1254,
    WINDOWS_1256,
    ISO_8859_2,
    ISO_8859_15,
    KOI8_R,
    SHIFT_JIS,
    EUC_JP,
    GB18030,
    BIG5,
    EUC_KR,
];

/// Any other encoding: the octets are put back only into a text in an unnumbered one.
const OTHER: u8 = 15;

/// The number of the encoding that octets are in; plain ASCII counts as UTF-8.
pub(crate) fn number(octets: &[u8], encoding: &'static Encoding) -> u8 {
    if octets.is_ascii() { 0 } else { number_of(encoding) }
}

fn number_of(encoding: &'static Encoding) -> u8 {
    // GB18030 contains GBK.
    let encoding = if encoding == GBK { GB18030 } else { encoding };
    (0..OTHER)
        .zip(NUMBERED)
        .find(|(_, e)| *e == encoding)
        .map_or(OTHER, |(n, _)| n)
}

/// Whether octets in the encoding of that number can stand in a text as they are. `to`: the text's encoding, if known.
pub(crate) fn is_same(octets: &[u8], number: u8, to: Option<&'static Encoding>) -> bool {
    octets.is_ascii() || to.is_none_or(|to| number_of(to) == number)
}

/// Octets in the encoding of that number, written in the encoding of the text that they are put back into. `None` when
/// they cannot be decoded, or that encoding lacks them.
pub(crate) fn fit<'o>(octets: &'o [u8], number: u8, to: Option<&'static Encoding>) -> Option<Cow<'o, [u8]>> {
    if is_same(octets, number, to) {
        return Some(Cow::Borrowed(octets));
    }
    // Escapes of a text in ISO-2022-JP would have to be fitted to those around.
    let to = to.filter(|e| e.is_ascii_compatible())?;
    let from = NUMBERED.get(usize::from(number))?;
    let text = from.decode_without_bom_handling_and_without_replacement(octets)?;
    let (octets, _, unmappable) = to.encode(&text);
    (!unmappable).then(|| Cow::Owned(octets.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_written_in_the_encoding_of_the_text() {
        let to = |octets: &[u8], number, to| fit(octets, number, Some(to)).map(Cow::into_owned);
        assert_eq!(to(b"a", OTHER, UTF_8), Some(b"a".to_vec()));
        assert_eq!(to(b"\xfc", 1, UTF_8), Some("ü".into()));
        assert_eq!(to("ü".as_bytes(), 0, WINDOWS_1252), Some(b"\xfc".to_vec()));
        assert_eq!(to("表".as_bytes(), 0, WINDOWS_1252), None);
        assert_eq!(to(b"\xfc", 0, WINDOWS_1252), None);
        assert_eq!(to(b"\xfc", 0, UTF_8), Some(b"\xfc".to_vec()));
        assert_eq!(to("ü".as_bytes(), 0, encoding_rs::ISO_2022_JP), None);
        assert_eq!(to(b"\xfc", OTHER, UTF_8), None);
        assert_eq!(to(b"\xfc", OTHER, encoding_rs::KOI8_U), Some(b"\xfc".to_vec()));
        assert_eq!(fit(b"\xfc", 1, None).as_deref(), Some(&b"\xfc"[..]));
    }

    #[test]
    fn numbers_stay_what_they_are() {
        assert_eq!(number(b"a", WINDOWS_1252), 0);
        assert_eq!(number(b"\xfc", WINDOWS_1252), 1);
        assert_eq!(number(b"\xfc", GBK), 12);
        assert_eq!(number(b"\xfc", EUC_KR), 14);
        assert_eq!(number(b"\xfc", encoding_rs::IBM866), OTHER);
    }
}
