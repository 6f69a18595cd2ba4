//! Character encodings as clients choose them: byte order mark, then MIME label, then meta element (WHATWG HTML 13.2.3).
//!
//! A text in an ASCII-compatible encoding is worked on as bytes and stays as it is outside its links. Any other is
//! transcoded to UTF-8, and its label with it.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use std::ops::Range;

use crate::autolink;
use crate::html::tag;
use crate::quirk::{Quirk, Quirks};

/// How a text is to be read.
#[derive(Debug)]
pub(crate) enum Charset {
    /// The bytes themselves, under this encoding; markup and URLs are plain ASCII in it.
    Bytes(&'static Encoding),
    /// The text in UTF-8, because its own encoding hides markup from an ASCII reader.
    Text(String),
}

/// Bytes of an HTML text in which browsers look for a meta element.
const META_WINDOW: usize = 1024;

/// Chooses the encoding of a text from the values of its charset parameters, in order.
pub(crate) fn read(bytes: &[u8], labels: &[&str], html: bool, quirks: &mut Quirks) -> Charset {
    if let Some(text) = by_mark(bytes) {
        return text;
    }
    let mut known: Vec<Label> = Vec::new();
    for l in labels {
        match Label::named(l) {
            Some(l) if !known.contains(&l) => known.push(l),
            Some(_) => {}
            None => quirks.insert(Quirk::UnknownCharset),
        }
    }
    if html && let Some(meta) = meta_label(bytes) {
        match Label::named(&meta) {
            // A meta element that could be read as ASCII is not in UTF-16.
            Some(Label::Known(e)) if known.is_empty() && (e == UTF_16LE || e == UTF_16BE) => {
                known.push(Label::Known(UTF_8))
            }
            Some(l) if known.is_empty() || l.hides_markup() && !known.contains(&l) => {
                quirks.insert_if(Quirk::SeveralCharsets, !known.is_empty());
                known.push(l);
            }
            _ => {}
        }
    }
    quirks.insert_if(Quirk::SeveralCharsets, known.len() > 1);
    // Where labels contradict each other, the one that shows the most wins: it is then the only one left.
    let hiding = known
        .iter()
        .filter(|l| l.hides_markup())
        .filter_map(|l| l.transcode(bytes))
        .max_by_key(|t| showing(t));
    if let Some(text) = hiding {
        let alone = known.iter().all(|l| l.hides_markup());
        if alone
            || showing(&text) > showing(&String::from_utf8_lossy(bytes))
            || bytes.contains(&0) && !text.contains('\0')
        {
            quirks.insert(Quirk::Transcoded);
            return Charset::Text(text);
        }
    }
    let first = known
        .iter()
        .find_map(|l| if let Label::Known(e) = l { Some(*e) } else { None });
    Charset::Bytes(match first {
        Some(e) if e.is_ascii_compatible() => e,
        // A label such as ISO-2022-JP on a text without a single escape: plain ASCII.
        Some(_) => UTF_8,
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => WINDOWS_1252,
    })
}

/// The encoding that a text, read as `encoding`, is known to be in. `None` when nothing says so: plain ASCII without a label.
/// A label that a text of plain ASCII does not bear out holds for what is put into it.
pub(crate) fn told(
    bytes: &[u8],
    labels: &[&str],
    html: bool,
    encoding: &'static Encoding,
) -> Option<&'static Encoding> {
    if !bytes.is_ascii() {
        return Some(encoding);
    }
    let mut named = labels.iter().filter_map(|l| Label::named(l)).peekable();
    if named.peek().is_none() {
        return (html && meta_label(bytes).is_some()).then_some(encoding);
    }
    let hiding = named.find_map(|l| match l {
        Label::Known(e) => (!e.is_ascii_compatible()).then_some(e),
        _ => Some(encoding_rs::ISO_2022_JP),
    });
    Some(hiding.unwrap_or(encoding))
}

/// Whether a text in ISO-2022-JP may stay as it is: every URL, and in HTML every tag, stands between its escapes, in ASCII,
/// so that readers who know the encoding and readers who do not see the same links.
pub(crate) fn iso2022_in_place(bytes: &[u8], labels: &[&str], html: bool, links: autolink::Options) -> bool {
    let named = labels.first().and_then(|l| Label::named(l)) == Some(Label::Known(encoding_rs::ISO_2022_JP));
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|t| named && t.is_ascii()) else {
        return false;
    };
    if !bytes.contains(&0x1b) || bytes.iter().any(|b| matches!(b, 0x0e | 0x0f)) {
        return false;
    }
    let mut other: Vec<Range<usize>> = Vec::new();
    let mut from = None;
    for at in memchr::memchr_iter(0x1b, bytes) {
        match bytes.get(at + 1..at + 3) {
            Some(b"(B" | b"(J") => other.extend(from.take().map(|f| f..at)),
            Some(b"$@" | b"$B" | b"(I") => from = from.or(Some(at)),
            _ => return false,
        }
    }
    other.extend(from.map(|f| f..bytes.len()));
    let is_other = |r: &Range<usize>| {
        let before = other.partition_point(|o| o.start < r.end);
        other
            .get(..before)
            .and_then(<[_]>::last)
            .is_some_and(|o| r.start < o.end)
    };
    if autolink::find(text, links).iter().any(|f| is_other(&f.at)) {
        return false;
    }
    if !html {
        return true;
    }
    let mut same = true;
    let whole = tag::sweep(bytes, |t| {
        // What only an ASCII reader takes for a tag leads nowhere, as long as it has no attributes.
        let unseen = is_other(&(t.start..t.start + 1)) && t.attrs.is_empty();
        same &= unseen || !is_other(&(t.start..t.end));
    });
    whole && same
}

/// An encoding by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Known(&'static Encoding),
    Utf7,
    Hz,
    Iso2022Kr,
    Utf32 { big: bool },
}

impl Label {
    fn named(label: &str) -> Option<Self> {
        let label = label.trim().trim_matches('"').trim_matches('\'').to_ascii_lowercase();
        Some(match label.as_str() {
            "utf-7" | "utf7" | "unicode-1-1-utf-7" | "csunicode11utf7" | "x-unicode-2-0-utf-7" => Self::Utf7,
            "hz-gb-2312" | "hz" => Self::Hz,
            "iso-2022-kr" | "csiso2022kr" => Self::Iso2022Kr,
            "utf-32" | "utf-32be" | "ucs-4" | "iso-10646-ucs-4" => Self::Utf32 { big: true },
            "utf-32le" => Self::Utf32 { big: false },
            "" => return None,
            l => {
                let e = Encoding::for_label(l.as_bytes())?;
                if e == encoding_rs::REPLACEMENT {
                    return None;
                }
                Self::Known(e)
            }
        })
    }

    /// Whether an ASCII reader may see something else than a reader of this encoding.
    fn hides_markup(self) -> bool {
        match self {
            Self::Known(e) => !e.is_ascii_compatible(),
            _ => true,
        }
    }

    /// The text in UTF-8; `None` when the bytes are plain ASCII under this label too.
    fn transcode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Known(e) if e == encoding_rs::ISO_2022_JP => bytes
                .iter()
                .any(|b| matches!(b, 0x1b | 0x0e | 0x0f))
                .then(|| e.decode_without_bom_handling(bytes).0.into_owned()),
            Self::Known(e) => {
                let text = e.decode_without_bom_handling(bytes).0.into_owned();
                // Labelled UTF-16, written in ASCII: what comes out is no text.
                (bytes.contains(&0) || !bytes.is_ascii() || bytes.is_empty()).then_some(text)
            }
            Self::Utf7 => bytes.contains(&b'+').then(|| utf7(bytes)),
            Self::Hz => bytes.windows(2).any(|w| w == b"~{").then(|| hz(bytes)),
            Self::Iso2022Kr => bytes.iter().any(|b| matches!(b, 0x1b | 0x0e)).then(|| iso2022kr(bytes)),
            Self::Utf32 { big } => bytes.contains(&0).then(|| utf32(bytes, big)),
        }
    }
}

/// How much of a link a text shows; a rough measure to choose between readings.
fn showing(text: &str) -> usize {
    text.matches('<').count() + text.matches("://").count() + text.matches("href").count()
}

/// A text that begins with a byte order mark; the mark outranks every label.
fn by_mark(bytes: &[u8]) -> Option<Charset> {
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) {
        return Some(Charset::Text(utf32(bytes.get(4..)?, false)));
    }
    if bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Some(Charset::Text(utf32(bytes.get(4..)?, true)));
    }
    let (encoding, len) = Encoding::for_bom(bytes)?;
    if encoding == UTF_8 {
        return Some(Charset::Bytes(UTF_8));
    }
    Some(Charset::Text(
        encoding.decode_without_bom_handling(bytes.get(len..)?).0.into_owned(),
    ))
}

/// The label that a meta element gives, sought the way browsers do: loosely, near the start.
fn meta_label(bytes: &[u8]) -> Option<String> {
    let window = bytes.get(..bytes.len().min(META_WINDOW)).unwrap_or_default();
    let lower = window.to_ascii_lowercase();
    let mut from = 0;
    while let Some(n) = memchr::memmem::find(lower.get(from..)?, b"<meta") {
        let at = from + n;
        let end = memchr::memchr(b'>', lower.get(at..)?).map_or(lower.len(), |n| at + n);
        if let Some(c) = memchr::memmem::find(lower.get(at..end)?, b"charset") {
            let rest = lower.get(at + c + 7..end)?.trim_ascii_start();
            if let Some(rest) = rest.strip_prefix(b"=") {
                let rest = rest.trim_ascii_start();
                let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
                let len = rest
                    .iter()
                    .take_while(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(b))
                    .count();
                return Some(String::from_utf8_lossy(rest.get(..len)?).into_owned());
            }
        }
        from = end;
    }
    None
}

/// UTF-7 (RFC 2152), leniently: broken sequences give what they can.
fn utf7(bytes: &[u8]) -> String {
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

/// HZ (RFC 1843): GB 2312 in seven bits between `~{` and `~}`.
fn hz(bytes: &[u8]) -> String {
    let mut gbk = Vec::with_capacity(bytes.len());
    let mut chinese = false;
    let mut rest = bytes;
    while let Some((b, tail)) = rest.split_first() {
        match (b, tail.first()) {
            (b'~', Some(b'{')) => (chinese, rest) = (true, tail.get(1..).unwrap_or_default()),
            (b'~', Some(b'}')) => (chinese, rest) = (false, tail.get(1..).unwrap_or_default()),
            (b'~', Some(b'~')) => {
                gbk.push(b'~');
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'~', Some(b'\n')) => rest = tail.get(1..).unwrap_or_default(),
            (b, _) => {
                chinese &= *b != b'\n';
                gbk.push(if chinese && *b > 0x20 { b | 0x80 } else { *b });
                rest = tail;
            }
        }
    }
    encoding_rs::GBK.decode_without_bom_handling(&gbk).0.into_owned()
}

/// ISO-2022-KR (RFC 1557): KS X 1001 in seven bits between SO and SI.
fn iso2022kr(bytes: &[u8]) -> String {
    let mut euc = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((b, tail)) = rest.split_first() {
        rest = tail;
        match b {
            0x0e => shifted = true,
            0x0f => shifted = false,
            0x1b if tail.starts_with(b"$)C") => rest = tail.get(3..).unwrap_or_default(),
            b => {
                shifted &= *b != b'\n';
                euc.push(if shifted && *b > 0x20 { b | 0x80 } else { *b });
            }
        }
    }
    encoding_rs::EUC_KR.decode_without_bom_handling(&euc).0.into_owned()
}

fn utf32(bytes: &[u8], big: bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], labels: &[&str]) -> String {
        match read(bytes, labels, true, &mut Quirks::default()) {
            Charset::Text(t) => t,
            Charset::Bytes(e) => format!("{}: {}", e.name(), e.decode_without_bom_handling(bytes).0),
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
        assert_eq!(text(&utf16("<a>", true), &["us-ascii", "utf-16be"]), "<a>");
        assert_eq!(text(b"x\x1b$B\">\x1b(By", &["iso-2022-jp"]).chars().last(), Some('y'));
        assert_eq!(text(b"plain", &["iso-2022-jp"]), "UTF-8: plain");
        assert_eq!(text(b"+ADw-a+AD4-1 +- 1", &["utf-7"]), "<a>1 + 1");
        assert_eq!(text(b"~{<:Ky2;~} ~~", &["hz-gb-2312"]), "己所不 ~");
        assert_eq!(text(&[0, 0, 0, b'<'], &["utf-32"]), "<");
    }

    #[test]
    fn iso_2022_jp_stays_where_its_links_are_ascii_to_all() {
        let links = autolink::Options {
            bare_domains: true,
            named_hosts: true,
        };
        let labels = ["iso-2022-jp"];
        assert!(iso2022_in_place(
            b"\x1b$B$\"\x1b(B http://x.example/ \x1b$B$$\x1b(B",
            &labels,
            false,
            links
        ));
        assert!(!iso2022_in_place(
            b"\x1b$Bhttp://x.example/\x1b(B",
            &labels,
            false,
            links
        ));
        assert!(!iso2022_in_place(
            b"\x1b$B$\"\x1b(B http://x.example/",
            &["utf-8"],
            false,
            links
        ));
    }

    #[test]
    fn iso_2022_jp_markup_stays_where_every_tag_is_ascii_to_all() {
        let links = autolink::Options {
            bare_domains: true,
            named_hosts: true,
        };
        let labels = ["iso-2022-jp"];
        assert!(iso2022_in_place(
            b"<p>\x1b$B$\"\x1b(B <a href=x>\x1b$B%<\x1b(B</a>",
            &labels,
            true,
            links
        ));
        assert!(!iso2022_in_place(
            b"<p title=\"\x1b$B\"><!--\x1b(B\"><a href=x>",
            &labels,
            true,
            links
        ));
        assert!(!iso2022_in_place(b"\x1b$B%<a href=x>\x1b(B", &labels, true, links));
    }

    #[test]
    fn unlabelled_text_is_utf8_or_windows_1252() {
        assert_eq!(text("ä".as_bytes(), &[]), "UTF-8: ä");
        assert_eq!(text(b"\x93x\x94", &["x-unknown"]), "windows-1252: “x”");
    }
}
