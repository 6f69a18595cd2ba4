//! Links in texts that are no HTML: plain text, flowed text, calendars and contact cards.

pub(crate) mod view;

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::Encoding;

use crate::autolink;
use crate::edit::{self, TextEdit};
use crate::html::{self, TextWork};
use crate::quirk::{Quirk, Quirks};
use crate::site::{Judge, Ruling, Site, Use};
use crate::slice::Slice;
use crate::transfer::{Coding, decode, has_uuencoded};
use view::View;

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

/// Links that any text may hold; a larger text may hold one in every [`SPARSE`] octets.
const MANY_LINKS: usize = 20_000;
/// Fewest octets that a link takes in a list of links, with what is around it.
const SPARSE: usize = 24;

/// Block characters from which on they are taken for a QR code.
const QR_BLOCKS: usize = 60;

/// Makes every URL of a text safe that a mail program would make a link of. `both`: programs may read it as HTML too.
pub(crate) fn rewrite(
    text: &[u8],
    lines: Lines,
    both: bool,
    work: &TextWork<'_>,
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
        let work = TextWork {
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
    let quoted = match lines {
        Lines::Folded => view::quoted_values(text),
        Lines::Plain | Lines::Flowed => Vec::new(),
    };
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
        if edits.slice(..tags).iter().any(covered) {
            continue;
        }
        let is_signed = signed.iter().any(|r| r.start <= whole.start && whole.end <= r.end);
        // A quoted-printable value has line breaks of its own, but needs none.
        let fold = match lines {
            Lines::Plain | Lines::Flowed => None,
            Lines::Folded if edit::meets(&quoted, &whole) => Some(Use::QuotedValue),
            Lines::Folded => Some(folds(text, &whole)),
        };
        let site = Site {
            usage: fold.unwrap_or(Use::PlainText),
            place: "text".into(),
            part: work.part,
            written: text.slice(whole.clone()),
            at: Some(whole.clone()),
            url: Cow::Owned(found.url),
            base: None,
            left: is_signed.then_some("signed").or(found.left).or(work.left),
            encoding: work.encoding,
            link_text: None,
        };
        if let Ruling::Replace(with) = judge.rule(&site) {
            let with = fold.map_or_else(|| with.clone().into_bytes(), |f| folded(newline, f, &with));
            edits.push(TextEdit { at: whole, with });
        }
    }
    edit::sorted(edits).unwrap_or_else(|| {
        quirks.insert(Quirk::TangledMarkup);
        Vec::new()
    })
}

/// From the first of some stretches to the last.
fn whole(pieces: &[Range<usize>]) -> Option<Range<usize>> {
    pieces.first().zip(pieces.last()).map(|(a, b)| a.start..b.end)
}

/// Where the line of a link is to be folded. A link itself is never cut: programs that look for it in the folded text
/// would lose it.
fn folds(text: &[u8], at: &Range<usize>) -> Use {
    // The two octets before the link show whether it begins its line, a blank aside.
    let before = text.slice(..at.start);
    let begins = |t: &[u8]| t.is_empty() || t.ends_with(b"\n");
    Use::Folded {
        before: !begins(before) && !begins(before.slice(..before.len() - 1)),
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

/// The stretches that complete PGP clear-signed blocks protect (RFC 9580 7): the text behind the hash headers, and a signature that
/// begins like one, without the headers of its armour.
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
        let armour = behind_headers(text, signature..end);
        let sound = is_signature(text.slice(armour.clone()));
        if sound && find_line(text, BEGIN, begin + 1).is_none_or(|n| n > end) {
            out.push(behind_headers(text, begin..signature));
            out.push(armour);
        }
        from = end;
    }
    out
}

/// Returns the rest after the first blank line of a stretch; nothing when there is none.
fn behind_headers(text: &[u8], range: Range<usize>) -> Range<usize> {
    let mut at = range.start;
    for line in text.slice(range.clone()).split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line.trim_ascii().is_empty() {
            return at..range.end;
        }
    }
    range.end..range.end
}

/// Finds where a line begins that reads so, from an offset on.
fn find_line(text: &[u8], line: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find_iter(text.slice(from..), line)
        .map(|n| from + n)
        .find(|at| {
            let rest = text.slice(at + line.len()..);
            let rest = rest.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r'));
            (*at == 0 || text.get(at - 1) == Some(&b'\n')) && matches!(rest, None | Some(b'\n'))
        })
}

/// Whether ASCII armour holds a packet of the signature kind (RFC 9580 4.2, 5.2).
fn is_signature(armour: &[u8]) -> bool {
    let text = String::from_utf8_lossy(armour);
    let body: String = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with('='))
        .collect();
    let bytes = decode(Coding::Base64, body.as_bytes()).bytes;
    bytes.len() > 20 && matches!(bytes.first(), Some(0x88..=0x8b | 0xc2))
}

/// Whether what looks like a name stands in a line of uuencoded data: as long as its first character says, and without a
/// single lower-case letter. A URL with its scheme counts wherever it stands.
fn is_uuencoded(text: &str, at: &Range<usize>) -> bool {
    if text.slice(at.clone()).contains("://") {
        return false;
    }
    let start = text.slice(..at.start).rfind('\n').map_or(0, |n| n + 1);
    let line = text.slice(start..).lines().next().unwrap_or_default().as_bytes();
    let Some((first, data)) = line.split_first() else {
        return false;
    };
    let octets = usize::from(first.wrapping_sub(b' ') & 63);
    data.len() > 40
        && data.len().abs_diff(octets.div_ceil(3) * 4) <= 1
        && line.iter().all(|b| (b' '..=b'`').contains(b))
}

/// Notes content that is left because it cannot be made safe.
fn flag(text: &[u8], encoding: &'static Encoding, quirks: &mut Quirks) {
    quirks.insert_if(Quirk::Uuencoded, has_uuencoded(text));
    if encoding == encoding_rs::UTF_8 && memchr::memmem::find(text, &[0xe2, 0x96]).is_some() {
        let blocks = memchr::memmem::find_iter(text, &[0xe2, 0x96]).take(QR_BLOCKS).count();
        quirks.insert_if(Quirk::BlockCharacters, blocks >= QR_BLOCKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let blocks = |text: &str| {
            let of = |r: Range<usize>| text[r].to_owned();
            signed_blocks(text.as_bytes()).into_iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(blocks(whole)[0], "hello\n");
        let comment = whole.replace("SIGNATURE-----\n\niHU", "SIGNATURE-----\nComment: www\n\niHU");
        assert!(!blocks(&comment)[1].contains("www") && blocks(&comment)[1].contains("iHUE"));
        assert!(blocks(&whole.replace("MESSAGE-----\n", "MESSAGE----- not\n")).is_empty());
        assert!(signed_blocks(whole.replace("iHUE", "AHUE").as_bytes()).is_empty());
        assert!(signed_blocks(b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx").is_empty());
    }
}
