//! Links in texts that are no HTML: plain text, flowed text, calendars and contact cards.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::Encoding;

use crate::autolink;
use crate::html::{self, Work};
use crate::mapped::Mapped;
use crate::quirk::{Quirk, Quirks};
use crate::site::{Judge, Ruling, Site, Use};
use crate::transfer::{Coding, TextEdit, decode};

/// The line structure of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Lines are lines.
    Plain,
    /// format=flowed with DelSp (RFC 3676 4.1): a blank at the end of a line joins it to the next, and goes.
    Flowed,
    /// Content lines of iCalendar and vCard (RFC 5545 3.1, RFC 6350 3.2): folded, and commas escaped.
    Folded,
}

/// So many links in one text are never too many; a larger text may hold one in every [`SPARSE`] octets.
const MANY_LINKS: usize = 20_000;
/// Octets a link and what is around it take where people list links, at the least.
const SPARSE: usize = 24;

/// So many block characters are no drawing but a QR code.
const QR_BLOCKS: usize = 60;

/// Makes every URL of a text safe that a mail program would make a link of. `both`: programs may read it as HTML too.
pub(crate) fn rewrite(
    text: &[u8],
    lines: Lines,
    both: bool,
    work: &Work<'_>,
    judge: &mut dyn Judge,
    quirks: &mut Quirks,
) -> Vec<TextEdit> {
    flag(text, work.encoding, quirks);
    let has_tags = both && memchr::memchr(b'<', text).is_some();
    if !has_tags && lines == Lines::Plain && !autolink::may_hold_url(text) {
        return Vec::new();
    }
    let view = View::new(text, lines, work.encoding);
    let mut edits = Vec::new();
    if has_tags {
        let (raw, mapped) = view.work(text);
        let work = Work {
            mapped: mapped.map(|m| (m, text)),
            ..*work
        };
        match html::tags_only(raw, &work, judge) {
            Some(tags) => edits.extend(tags.into_iter().filter_map(|e| {
                let at = whole(&view.raw(&e.at))?;
                Some(TextEdit { at, with: e.with })
            })),
            None => quirks.insert(Quirk::TangledMarkup),
        }
    }
    let tags = edits.len();
    let signed = signed_blocks(text);
    quirks.insert_if(Quirk::SignedLeft, !signed.is_empty());
    let newline = fold_of(text);
    let links = autolink::find(view.text(), work.links);
    if links.len() > MANY_LINKS.max(text.len() / SPARSE) {
        quirks.insert(Quirk::TooManyLinks);
        return Vec::new();
    }
    for found in links {
        if is_uuencoded(view.text(), &found.at) {
            continue;
        }
        let Some(whole) = whole(&view.raw(&found.at)) else {
            continue;
        };
        // Where a URL stands within what a tag makes of the text, the tag's edit covers it.
        let covered = |t: &TextEdit| whole.start < t.at.end && t.at.start < whole.end;
        if edits.get(..tags).unwrap_or_default().iter().any(covered) {
            continue;
        }
        let is_signed = signed.iter().any(|r| r.start <= whole.start && whole.end <= r.end);
        let fold = (lines == Lines::Folded).then(|| folds(text, &whole));
        let site = Site {
            usage: fold.unwrap_or(Use::PlainText),
            place: "text".into(),
            part: work.part,
            written: text.get(whole.clone()).unwrap_or_default(),
            url: Cow::Owned(found.url),
            base: None,
            left: is_signed.then_some("signed").or(work.left),
            encoding: work.encoding,
        };
        if let Ruling::Replace(with) = judge.rule(&site) {
            let with = fold.map_or_else(|| with.clone().into_bytes(), |f| folded(newline, f, &with));
            edits.push(TextEdit { at: whole, with });
        }
    }
    html::settle(edits).unwrap_or_else(|| {
        quirks.insert(Quirk::TangledMarkup);
        Vec::new()
    })
}

/// From the first of some stretches to the last.
fn whole(pieces: &[Range<usize>]) -> Option<Range<usize>> {
    pieces.first().zip(pieces.last()).map(|(a, b)| a.start..b.end)
}

/// The text as its readers see it, with the way back.
enum View<'a> {
    Same(&'a str),
    Mapped(Mapped),
}

impl<'a> View<'a> {
    fn new(text: &'a [u8], lines: Lines, encoding: &'static Encoding) -> Self {
        if lines == Lines::Plain
            && let Ok(s) = std::str::from_utf8(text)
            && (encoding == encoding_rs::UTF_8 || s.is_ascii())
        {
            return Self::Same(s);
        }
        let mut mapped = Mapped::default();
        match lines {
            Lines::Plain => mapped.push(text, 0..text.len(), encoding),
            Lines::Flowed => push_flowed(&mut mapped, text, encoding),
            Lines::Folded => push_folded(&mut mapped, text, encoding),
        }
        Self::Mapped(mapped)
    }

    /// The octets in which tags are sought, and what leads from them to the text as it stands.
    fn work<'s>(&'s self, text: &'s [u8]) -> (&'s [u8], Option<&'s Mapped>) {
        match self {
            Self::Mapped(m) => (m.text.as_bytes(), Some(m)),
            Self::Same(_) => (text, None),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Same(s) => s,
            Self::Mapped(m) => &m.text,
        }
    }

    fn raw(&self, span: &Range<usize>) -> Vec<Range<usize>> {
        match self {
            Self::Same(_) => vec![span.clone()],
            Self::Mapped(m) => m.raw(span),
        }
    }
}

fn push_flowed(mapped: &mut Mapped, text: &[u8], encoding: &'static Encoding) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', text) {
        let end = if at > 0 && text.get(at - 1) == Some(&b'\r') {
            at - 1
        } else {
            at
        };
        let line = text.get(from..end).unwrap_or_default();
        let quoted_next = text.get(at + 1) == Some(&b'>');
        // Quoted lines are joined at their own depth only; the signature separator is no soft break.
        if line.ends_with(b" ") && !line.starts_with(b">") && line != b"-- " && !quoted_next {
            mapped.push(text, from..end - 1, encoding);
        } else {
            mapped.push(text, from..at + 1, encoding);
        }
        from = at + 1;
    }
    mapped.push(text, from..text.len(), encoding);
}

fn push_folded(mapped: &mut Mapped, text: &[u8], encoding: &'static Encoding) {
    let mut from = 0;
    let mut at = 0;
    while let Some(n) = memchr::memchr2(b'\n', b'\\', text.get(at..).unwrap_or_default()) {
        let here = at + n;
        if text.get(here) == Some(&b'\\') {
            let escaped = text.get(here + 1).copied().unwrap_or(b' ');
            if matches!(escaped, b',' | b';' | b'\\' | b':') {
                // The backslash goes, the character stays.
                mapped.push(text, from..here, encoding);
                from = here + 1;
            } else if matches!(escaped, b'n' | b'N') {
                mapped.push(text, from..here + 1, encoding);
                from = here + 2;
                mapped.text.push('\n');
            }
            at = here + 2;
            continue;
        }
        let end = if here > 0 && text.get(here - 1) == Some(&b'\r') {
            here - 1
        } else {
            here
        };
        if matches!(text.get(here + 1), Some(b' ' | b'\t')) {
            mapped.push(text, from..end.max(from), encoding);
            from = here + 2;
        }
        at = here + 1;
    }
    mapped.push(text, from..text.len(), encoding);
}

/// Where the line of a link is to be folded. A link itself is never cut: programs that look for it in the folded text
/// would lose it.
fn folds(text: &[u8], at: &Range<usize>) -> Use {
    // No more than the two octets before it tell whether it begins its line, but for a blank.
    let before = text.get(..at.start).unwrap_or_default();
    let begins = |t: &[u8]| t.is_empty() || t.ends_with(b"\n");
    Use::Folded {
        before: !begins(before) && !begins(before.get(..before.len() - 1).unwrap_or_default()),
        after: !matches!(text.get(at.end), None | Some(b'\r' | b'\n')),
    }
}

/// The line end of a text, and the blank that makes it a fold.
fn fold_of(text: &[u8]) -> &'static str {
    match memchr::memchr(b'\n', text) {
        Some(n) if n == 0 || text.get(n - 1) != Some(&b'\r') => "\n ",
        _ => "\r\n ",
    }
}

/// A link with the folds around it.
fn folded(newline: &str, folds: Use, with: &str) -> Vec<u8> {
    let Use::Folded { before, after } = folds else {
        return with.as_bytes().to_vec();
    };
    let fold = |yes: bool| if yes { newline } else { "" };
    [fold(before), with, fold(after)].concat().into_bytes()
}

/// Complete PGP clear-signed blocks (RFC 9580 7): header line, text, and a signature that begins like one.
fn signed_blocks(text: &[u8]) -> Vec<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
    const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
    const END: &[u8] = b"-----END PGP SIGNATURE-----";
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(begin) = find_line(text, BEGIN, from) {
        let Some(signature) = find_line(text, SIGNATURE, begin) else {
            break;
        };
        let Some(end) = find_line(text, END, signature) else {
            break;
        };
        let armour = text.get(signature + SIGNATURE.len()..end).unwrap_or_default();
        if is_signature(armour) && find_line(text, BEGIN, begin + 1).is_none_or(|n| n > end) {
            out.push(begin..end + END.len());
        }
        from = end;
    }
    out
}

/// Where a line begins that reads so, from an offset on.
fn find_line(text: &[u8], line: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find_iter(text.get(from..)?, line)
        .map(|n| from + n)
        .find(|at| *at == 0 || text.get(at - 1) == Some(&b'\n'))
}

/// Whether ASCII armour holds a packet of the signature kind (RFC 9580 4.2, 5.2).
fn is_signature(armour: &[u8]) -> bool {
    let text = String::from_utf8_lossy(armour);
    let body: String = text
        .lines()
        .map(str::trim)
        .skip_while(|l| l.is_empty() || l.contains(": "))
        .take_while(|l| !l.starts_with('='))
        .collect();
    let bytes = decode(Coding::Base64, body.as_bytes()).bytes;
    bytes.len() > 20 && matches!(bytes.first(), Some(0x88..=0x8b | 0xc2))
}

/// Whether what looks like a name stands in a line of uuencoded data: as long as its first character says, and without a
/// single lower-case letter. A URL with its scheme counts wherever it stands.
fn is_uuencoded(text: &str, at: &Range<usize>) -> bool {
    if text.get(at.clone()).is_some_and(|t| t.contains("://")) {
        return false;
    }
    let start = text.get(..at.start).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1);
    let line = text
        .get(start..)
        .and_then(|t| t.lines().next())
        .unwrap_or_default()
        .as_bytes();
    let Some((first, data)) = line.split_first() else {
        return false;
    };
    let octets = usize::from(first.wrapping_sub(b' ') & 63);
    data.len() > 40
        && data.len().abs_diff(octets.div_ceil(3) * 4) <= 1
        && line.iter().all(|b| (b' '..=b'`').contains(b))
}

/// Marks what cannot be made safe here, and is left.
fn flag(text: &[u8], encoding: &'static Encoding, quirks: &mut Quirks) {
    if memchr::memmem::find(text, b"begin ").is_some() {
        let uu = memchr::memmem::find_iter(text, b"begin ").any(|at| {
            let line = text.get(at + 6..).unwrap_or_default();
            (at == 0 || text.get(at - 1) == Some(&b'\n'))
                && line.iter().take(4).take_while(|b| (b'0'..b'8').contains(b)).count() >= 3
        });
        quirks.insert_if(Quirk::Uuencoded, uu);
    }
    if encoding == encoding_rs::UTF_8 && memchr::memmem::find(text, &[0xe2, 0x96]).is_some() {
        let blocks = memchr::memmem::find_iter(text, &[0xe2, 0x96]).take(QR_BLOCKS).count();
        quirks.insert_if(Quirk::BlockCharacters, blocks >= QR_BLOCKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str, lines: Lines) -> String {
        View::new(text.as_bytes(), lines, encoding_rs::UTF_8).text().to_owned()
    }

    #[test]
    fn flowed_lines_are_joined_without_their_blank() {
        assert_eq!(view("a \r\nb\r\n-- \r\nc\r\n", Lines::Flowed), "ab\r\n-- \r\nc\r\n");
    }

    #[test]
    fn folded_lines_are_unfolded_and_unescaped() {
        assert_eq!(view("D:a\\, b\r\n c\\nd\r\nE:x", Lines::Folded), "D:a, bc\\\nd\r\nE:x");
    }

    #[test]
    fn lines_are_folded_around_links_and_never_in_them() {
        let text = b"URL:http://x/\r\nD:see http://y/ there\r\n";
        let first = folds(text, &(4..13));
        assert_eq!(
            first,
            Use::Folded {
                before: true,
                after: false
            }
        );
        assert_eq!(folded(fold_of(text), first, "L"), b"\r\n L");
        let second = folds(text, &(21..30));
        assert_eq!(folded(fold_of(text), second, "L"), b"\r\n L\r\n ");
    }

    #[test]
    fn names_in_uuencoded_lines_are_data() {
        let data = "M?WDSD;#B.RKE<O$;HB7<]9T6XTR>5]*34M5N?)5E.EU;\"VM(9)Y?2^)KJ0M+";
        let at = data.find("E.EU").unwrap();
        assert!(is_uuencoded(&format!("x\n{data}\ny"), &(at + 2..at + 6)));
        assert!(!is_uuencoded("see www.example.com", &(4..19)));
    }

    #[test]
    fn only_whole_signed_blocks_count() {
        let whole = "x\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n-----BEGIN PGP SIGNATURE-----\n\n\
                     iHUEARYKAB0WIQTestTestTestTestTestTestTestTestTestTestAAoJEAAAAAAA\n=abcd\n-----END PGP SIGNATURE-----\ny";
        assert_eq!(signed_blocks(whole.as_bytes()).len(), 1);
        assert!(signed_blocks(whole.replace("iHUE", "AHUE").as_bytes()).is_empty());
        assert!(signed_blocks(b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx").is_empty());
    }
}
