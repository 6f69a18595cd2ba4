//! Content transfer encodings (RFC 2045 6): lenient decoders that remember where each octet came from, and encoders that
//! write no more than was touched.

mod decode;
mod encode;
mod foreign;

use crate::header::encoded_words;
pub(crate) use decode::{Decoded, decode, is_base64_text};
pub(crate) use encode::{encode_base64, encode_edits, encode_qp, newline_of};
pub(crate) use foreign::has_uuencoded;

/// A content transfer encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// 7bit, 8bit, binary, or an unknown name: the octets are the text.
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
            Self::Uuencode => has_uuencoded(raw),
            Self::Yenc => foreign::has_yenc(raw),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::encode::{MAX_LINE, QP_LINE, escape_last_blank, lines_fit, write_qp};
    use super::*;
    use crate::edit::{TextEdit, apply};
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
