//! Whether programs that know an encoding and programs that do not find the same targets at the same places.

use std::ops::Range;

use encoding_rs::Encoding;

use crate::site::Use;
use crate::slice::Slice;

/// A place that a text leads to, to compare readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextTarget {
    /// The effect when it is followed; `None` for what is taken out in any case.
    pub(crate) usage: Option<Use>,
    /// Its place, if known.
    pub(crate) at: Option<Range<usize>>,
    /// The URL, or another text that identifies it.
    pub(crate) what: String,
}

/// Finds what a text leads to under an ASCII-compatible encoding; `None` when that cannot be found out.
pub(crate) type FindTargets<'a> = &'a dyn Fn(&[u8], &'static Encoding) -> Option<Vec<TextTarget>>;

/// Whether an ASCII reader of a text in ISO-2022-JP gets from the same places to the same targets as a reader of that
/// encoding, without any escape in what stands there.
pub(super) fn japanese(bytes: &[u8], plainly: &[TextTarget], text: &str, decoded: &[TextTarget]) -> bool {
    if plainly.len() != decoded.len() {
        return false;
    }
    // A place is identified by the number of ASCII characters before it, which is the same in both.
    let (ours, theirs) = (AsciiStretches::of_japanese(bytes), AsciiStretches::of_text(text));
    plainly.iter().zip(decoded).all(|(a, b)| {
        let same = a.usage == b.usage && (a.what == b.what || is_in_text(a) && is_continued_by(&a.what, &b.what));
        let place = a.at.as_ref().and_then(|at| ours.inside(at));
        same && place.is_some() && place == b.at.as_ref().and_then(|at| theirs.place(at.start))
    })
}

/// The number of targets that are no URLs in running text.
pub(super) fn links_of(targets: &[TextTarget]) -> usize {
    targets.iter().filter(|l| !is_in_text(l)).count()
}

/// Whether it is a URL in running text, whose end programs choose differently.
fn is_in_text(target: &TextTarget) -> bool {
    matches!(target.usage, Some(Use::HtmlText | Use::PlainText | Use::Folded { .. }))
}

/// Whether a URL in running text is another one with letters of another script behind it: text that follows without a
/// blank, for which programs have rules of their own. Behind a host that cannot be more than a word, for no top-level domain
/// is half in one script and half in another.
fn is_continued_by(url: &str, longer: &str) -> bool {
    let rest = longer.strip_prefix(url).unwrap_or_default();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let behind = if after_scheme.contains('/') {
        rest.trim_start_matches(|c: char| c.is_ascii_punctuation() && !matches!(c, '/' | '@' | '\\'))
    } else if after_scheme.contains('.') && rest.chars().all(char::is_alphabetic) {
        rest
    } else {
        return false;
    };
    // Full-width letters mean the same as those of ASCII in a host, and to some programs anywhere.
    behind.starts_with(|c: char| !c.is_ascii() && !('\u{ff01}'..='\u{ff5e}').contains(&c))
}

/// The stretches of a text that are ASCII, each with the number of ASCII characters before it.
#[derive(Debug, Default)]
struct AsciiStretches {
    stretches: Vec<(Range<usize>, usize)>,
    count: usize,
}

impl AsciiStretches {
    fn of_text(text: &str) -> Self {
        let mut out = Self::default();
        let mut at = 0;
        for run in text.as_bytes().chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
            if run.first().is_some_and(u8::is_ascii) {
                out.push(at..at + run.len());
            }
            at += run.len();
        }
        out
    }

    /// Between the escapes of a text that has none but those of plain ISO-2022-JP, of three octets each.
    fn of_japanese(bytes: &[u8]) -> Self {
        let mut out = Self::default();
        let mut set: &[u8] = b"(B";
        let mut start = 0;
        for end in memchr::memchr_iter(0x1b, bytes).chain([bytes.len()]) {
            match set {
                b"(B" => out.push(start..end),
                b"(J" => {
                    // Two places of the Roman set are no ASCII.
                    let mut from = start;
                    let run = bytes.slice(start..end);
                    for odd in memchr::memchr2_iter(b'\\', b'~', run) {
                        out.push(from..start + odd);
                        from = start + odd + 1;
                    }
                    out.push(from..end);
                }
                _ => {}
            }
            // Behind the last stretch there is no escape.
            let Some(escape) = bytes.get(end + 1..end + 3) else {
                break;
            };
            (start, set) = (end + 3, escape);
        }
        out
    }

    fn push(&mut self, at: Range<usize>) {
        if !at.is_empty() {
            self.count += at.len();
            let before = self.count - at.len();
            self.stretches.push((at, before));
        }
    }

    /// Counts the ASCII characters that stand before an offset in a stretch, or at its end.
    fn place(&self, at: usize) -> Option<usize> {
        self.inside(&(at..at))
    }

    /// The same for what lies within one stretch as a whole.
    fn inside(&self, at: &Range<usize>) -> Option<usize> {
        let next = self.stretches.partition_point(|(s, _)| s.start <= at.start);
        let (stretch, before) = self.stretches.get(next.checked_sub(1)?)?;
        (at.end <= stretch.end).then(|| before + at.start - stretch.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_same_in_both_readings() {
        let bytes = b"ab\x1b$B$\"\x1b(Bcd\x1b(Je~f\x1b(Bg";
        let text = encoding_rs::ISO_2022_JP.decode_without_bom_handling(bytes).0;
        assert_eq!(text, "ab\u{3042}cde\u{203e}fg");
        let (ours, theirs) = (AsciiStretches::of_japanese(bytes), AsciiStretches::of_text(&text));
        for c in b"abcdefg" {
            let a = bytes.iter().rposition(|b| b == c).unwrap();
            let b = text.bytes().position(|b| b == *c).unwrap();
            assert_eq!(ours.inside(&(a..a + 1)), theirs.place(b), "{}", char::from(*c));
            assert!(ours.inside(&(a..a + 1)).is_some(), "{}", char::from(*c));
        }
        assert_eq!(ours.inside(&(0..9)), None);
    }

    #[test]
    fn text_that_follows_a_path_is_no_part_of_it() {
        assert!(is_continued_by("http://x.example/a", "http://x.example/a\u{3092}"));
        assert!(is_continued_by("http://x.example/a", "http://x.example/a.\u{3092}"));
        assert!(is_continued_by("http://x.example", "http://x.example\u{3092}"));
        assert!(!is_continued_by("http://x.example", "http://x.example\u{3092}.example"));
        assert!(!is_continued_by("http://x.co", "http://x.co\u{ff4d}"));
        assert!(!is_continued_by("http://x", "http://x\u{3092}.example/"));
        assert!(!is_continued_by(
            "http://x.example/a",
            "http://x.example/a@\u{3092}.example/"
        ));
    }
}
