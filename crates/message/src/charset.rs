//! Character encodings as clients choose them: byte order mark, then MIME label, then meta element (WHATWG HTML 13.2.3).
//!
//! A text in an ASCII-compatible encoding is worked on as bytes and stays as it is outside its links. One that programs may
//! read in another way stays so as well, as long as every reading leads to the same places. Any other is transcoded to
//! UTF-8, and its label with it: then one reading is left.

mod agree;
mod decode;
mod label;
mod meta;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, WINDOWS_1252};

use crate::quirk::{Quirk, Quirks};
use crate::slice::Slice;
use agree::links_of;
pub(crate) use agree::{FindTargets, TextTarget};
use decode::utf32;
use label::{CharsetLabel, by_escapes, by_nuls, is_foreign, is_plain_jp, link_signs};
pub(crate) use meta::without_labels;

/// The reading of a text.
#[derive(Debug)]
pub(crate) enum Charset {
    /// The bytes themselves, under this encoding; markup and URLs are plain ASCII in it.
    Bytes {
        encoding: &'static Encoding,
        /// In which browsers write the queries of its URLs (WHATWG URL 4.4).
        queries: &'static Encoding,
    },
    /// The text in UTF-8, because its own encoding hides markup from an ASCII reader.
    Text {
        text: String,
        queries: &'static Encoding,
        /// Other readings lead elsewhere: this one has to be written out, whether a link changes in it or not.
        several: bool,
    },
    /// A text that some programs can read, and that cannot be read here.
    Unseen,
}

/// Chooses the encoding of a text from the values of its charset parameters, in order.
pub(crate) fn read(
    bytes: &[u8],
    labels: &[&str],
    html: bool,
    targets: FindTargets<'_>,
    quirks: &mut Quirks,
) -> Charset {
    if let Some(text) = by_mark(bytes) {
        return text;
    }
    let known = believed_labels(bytes, labels, html, quirks);
    if known.contains(&CharsetLabel::Ebcdic) && std::str::from_utf8(bytes).is_err() {
        return Charset::Unseen;
    }
    let plain = known
        .iter()
        .find_map(|l| match l {
            CharsetLabel::Known(e) if e.is_ascii_compatible() => Some(*e),
            _ => None,
        })
        // What a browser does not know is no label to it, and not every program looks for a meta element.
        .or_else(|| {
            (known.is_empty() || labels.is_empty() || labels.iter().any(|l| is_foreign(l))).then(|| unlabelled(bytes))
        });
    let as_bytes = Charset::Bytes {
        encoding: plain.unwrap_or_else(|| match known.iter().any(|l| matches!(l, CharsetLabel::Known(_))) {
            // A label such as ISO-2022-JP on a text without a single escape: plain ASCII.
            true => UTF_8,
            false => unlabelled(bytes),
        }),
        queries: known.first().map_or(UTF_8, |l| l.for_queries()),
    };
    let mut hiding: Vec<(CharsetLabel, String)> = known
        .iter()
        .copied()
        .filter(|l| l.hides_markup())
        .chain(by_nuls(bytes))
        .chain(by_escapes(bytes).filter(|_| known.is_empty()))
        .filter_map(|l| Some((l, l.transcode(bytes)?)))
        .collect();
    hiding.dedup_by(|a, b| a.1 == b.1);
    // Nearly all mail ends here: links are compared only where there is another reading.
    if hiding.is_empty() {
        return as_bytes;
    }
    let in_place = |l: CharsetLabel| match l {
        CharsetLabel::Known(e) if e == ISO_2022_JP => bytes.is_ascii() && is_plain_jp(bytes),
        _ => plain.is_some(),
    };
    let several = plain.is_some() || hiding.len() > 1;
    if several || hiding.iter().any(|(l, _)| in_place(*l)) {
        let plainly = targets(bytes, plain.unwrap_or(UTF_8));
        let same = |l: CharsetLabel, text: &str| {
            let decoded = targets(text.as_bytes(), UTF_8);
            let (Some(plainly), Some(decoded)) = (&plainly, decoded) else {
                return false;
            };
            match l {
                CharsetLabel::Known(e) if e == ISO_2022_JP => agree::japanese(bytes, plainly, text, &decoded),
                _ => plainly.is_empty() && decoded.is_empty(),
            }
        };
        hiding.retain(|(l, text)| !in_place(*l) || !same(*l, text));
    }
    if hiding.is_empty() {
        return as_bytes;
    }
    // A text that contradicts itself gets one reading, the one that shows the most links.
    let mut readings = hiding;
    if let Some(e) = plain {
        let text = e.decode_without_bom_handling(bytes).0.into_owned();
        let last = readings.len();
        let at = if known.first() == Some(&CharsetLabel::Known(e)) {
            last
        } else {
            0
        };
        readings.insert(at, (CharsetLabel::Known(e), text));
    }
    let best = match readings.len() {
        1 => readings.pop(),
        _ => readings.into_iter().max_by_key(|(_, text)| {
            // A text that hides its markup still shows URLs, as text.
            let found = targets(text.as_bytes(), UTF_8).map_or((usize::MAX, 0), |l| (links_of(&l), l.len()));
            (found, link_signs(text))
        }),
    };
    let Some((label, text)) = best else { return as_bytes };
    quirks.insert(Quirk::Transcoded);
    quirks.insert_if(Quirk::SeveralCharsets, several);
    Charset::Text {
        text,
        queries: label.for_queries(),
        several,
    }
}

/// The encodings that a text is labelled with, in the order in which programs believe them.
fn believed_labels(bytes: &[u8], labels: &[&str], html: bool, quirks: &mut Quirks) -> Vec<CharsetLabel> {
    let mut known: Vec<CharsetLabel> = Vec::new();
    for l in labels {
        match CharsetLabel::named(l) {
            Some(l) if !known.contains(&l) => known.push(l),
            Some(_) => {}
            None => quirks.insert(Quirk::UnknownCharset),
        }
    }
    let own = if html { meta::labels(bytes) } else { Vec::new() };
    for l in own.iter().filter_map(|l| CharsetLabel::named(l)) {
        // What could be read as ASCII is not in UTF-16.
        let l = if l.is_wide() { CharsetLabel::Known(UTF_8) } else { l };
        if known.is_empty() || l.hides_markup() && !known.contains(&l) {
            known.push(l);
        }
    }
    quirks.insert_if(Quirk::SeveralCharsets, known.len() > 1);
    known
}

/// The encoding that a text, read as `encoding`, is known to be in. `None` when nothing says so: plain ASCII without a
/// label. The label of a plain ASCII text holds for what is put into it.
pub(crate) fn labelled_encoding(
    bytes: &[u8],
    labels: &[&str],
    html: bool,
    encoding: &'static Encoding,
) -> Option<&'static Encoding> {
    if !bytes.is_ascii() {
        return Some(encoding);
    }
    let known = believed_labels(bytes, labels, html, &mut Quirks::default());
    let hiding = known.iter().find(|l| l.hides_markup()).map(|l| match l {
        CharsetLabel::Known(e) => *e,
        _ => ISO_2022_JP,
    });
    hiding.or((!known.is_empty()).then_some(encoding))
}

/// The charset assumed for a text without a label.
fn unlabelled(bytes: &[u8]) -> &'static Encoding {
    match std::str::from_utf8(bytes) {
        Ok(_) => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

/// A text that begins with a byte order mark; the mark outranks every label.
fn by_mark(bytes: &[u8]) -> Option<Charset> {
    let transcoded = |text| Charset::Text {
        text,
        queries: UTF_8,
        several: false,
    };
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) {
        return Some(transcoded(utf32(bytes.slice(4..), false)));
    }
    if bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Some(transcoded(utf32(bytes.slice(4..), true)));
    }
    let (encoding, len) = Encoding::for_bom(bytes)?;
    if encoding == UTF_8 {
        return Some(Charset::Bytes {
            encoding: UTF_8,
            queries: UTF_8,
        });
    }
    let text = encoding.decode_without_bom_handling(bytes.slice(len..)).0.into_owned();
    Some(transcoded(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scheme with what follows it is a link.
    fn links(text: &[u8], encoding: &'static Encoding) -> Option<Vec<TextTarget>> {
        let text = encoding.decode_without_bom_handling(text).0;
        let found = text.match_indices("http").map(|(at, _)| TextTarget {
            usage: None,
            at: Some(at..at),
            what: text[at..]
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .replace('\x1b', ""),
        });
        Some(found.collect())
    }

    fn text(bytes: &[u8], labels: &[&str]) -> String {
        match read(bytes, labels, true, &links, &mut Quirks::default()) {
            Charset::Text { text, .. } => text,
            Charset::Bytes { encoding, .. } => {
                format!("{}: {}", encoding.name(), encoding.decode_without_bom_handling(bytes).0)
            }
            Charset::Unseen => "unseen".to_owned(),
        }
    }

    fn utf16(s: &str, big: bool) -> Vec<u8> {
        s.encode_utf16()
            .flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() })
            .collect()
    }

    #[test]
    fn marks_outrank_labels_and_labels_outrank_meta() {
        assert_eq!(text(b"\xff\xfe<\0a\0", &["iso-8859-1"]), "<a");
        assert_eq!(
            text(b"\xef\xbb\xbf<meta charset=utf-16>", &["utf-8"]),
            "UTF-8: \u{feff}<meta charset=utf-16>"
        );
        assert_eq!(
            text(b"<meta charset=shift_jis>\x95\x5c", &[]),
            "Shift_JIS: <meta charset=shift_jis>表"
        );
        assert_eq!(
            text(b"<meta charset=shift_jis>", &["utf-8"]),
            "UTF-8: <meta charset=shift_jis>"
        );
    }

    #[test]
    fn encodings_that_hide_markup_are_transcoded() {
        assert_eq!(text(&utf16("<a>", false), &["utf-16le"]), "<a>");
        assert_eq!(text(&utf16("<a http>", true), &["us-ascii", "utf-16be"]), "<a http>");
        assert_eq!(text(b"x\x1b$B\">\x1b(By", &["iso-2022-jp"]).chars().last(), Some('y'));
        assert_eq!(text(b"plain", &["iso-2022-jp"]), "UTF-8: plain");
        assert_eq!(text(b"+ADw-a http+AD4-1 +- 1", &["utf-7"]), "<a http>1 + 1");
        assert_eq!(text(b"~{<:Ky2;~} ~~", &["hz-gb-2312"]), "己所不 ~");
    }

    #[test]
    fn an_order_that_no_label_tells_is_seen_by_what_it_shows() {
        for label in ["utf-16", "ucs-2", "cp1200", "iso-8859-1", "x-unknown", ""] {
            for big in [false, true] {
                let bytes = utf16("<a href=http://x.example/>\r\n", big);
                let labels = Some(label).filter(|l| !l.is_empty());
                let found = text(&bytes, labels.as_slice());
                assert!(found.starts_with("<a href"), "{label} {big}: {found}");
            }
        }
        let four: Vec<u8> = "<a http>\n".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        assert_eq!(text(&four, &["utf-32"]), "<a http>\n");
    }

    #[test]
    fn ascii_under_a_label_for_something_wider_stays() {
        assert_eq!(text(b"<a href=http://x>", &["utf-16"]), "UTF-8: <a href=http://x>");
        assert_eq!(text("<p>\u{e9}".as_bytes(), &["utf-16le"]), "UTF-8: <p>\u{e9}");
        assert_eq!(text(b"plain", &["cp037"]), "UTF-8: plain");
        assert_eq!(text(b"\x4c\x81\x6e", &["cp037"]), "unseen");
    }

    #[test]
    fn a_label_that_browsers_do_not_know_hides_nothing_from_them() {
        for (bytes, label) in [
            (&b"\x1b(I<a href=http://x>"[..], "cp50221"),
            (b"<a +/href=http://x>", "utf-7"),
        ] {
            let charset = read(bytes, &[label], true, &links, &mut Quirks::default());
            assert!(matches!(charset, Charset::Text { several: true, .. }), "{label}");
        }
    }

    #[test]
    fn sets_of_other_scripts_hide_nothing() {
        assert_eq!(text(b"h~\r\nttp", &["hz-gb-2312"]), "http");
        assert_eq!(text(b"h\x0fttp", &["iso-2022-kr"]), "http");
        assert_eq!(text(b"\x1b$)A\x0eVP\x0f<a>", &["iso-2022-cn"]), "中<a>");
        assert_eq!(text(b"\x1b$AVP\x1b(B<a>", &["iso-2022-jp-2"]), "中<a>");
    }

    #[test]
    fn unlabelled_text_is_utf8_or_windows_1252() {
        assert_eq!(text("ä".as_bytes(), &[]), "UTF-8: ä");
        assert_eq!(text(b"\x93x\x94", &["x-unknown"]), "windows-1252: “x”");
    }
}
