//! Laws that hold for every document.

use message::Quirk;
use message::fuzzing;

use crate::oracle;
use crate::wrapper::Wrapper;

/// A law that a document breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A target is left that is not ours: where, and which.
    Escape(String, String),
    /// No tag in any reading leads anywhere, and yet the browser sees a target.
    Blind(String, String),
    /// The text that a reader sees is not the one that was sent.
    Text(String, String),
    /// Rewriting the result changes it again.
    Again,
    /// The way back does not lead to what came.
    Restore,
}

impl Broken {
    /// Whether this is the same kind of failure; documents are cut down along it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The outcome for a document.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Went {
    pub(crate) targets: usize,
    pub(crate) rebuilt: bool,
    pub(crate) flattened: bool,
}

/// Rewrites a document and holds the result against the laws; `all`: those about a second pass and the way back as well.
pub(crate) fn check(document: &str, disarms: bool, all: bool) -> Result<Went, Broken> {
    let mut judge = Wrapper::new(disarms);
    let before = oracle::view(document);
    if let Some((place, url)) = before.targets.first()
        && fuzzing::sweeps_clean(document.as_bytes(), &mut judge)
    {
        return Err(Broken::Blind(place.clone(), url.clone()));
    }
    let out = fuzzing::html(document.as_bytes(), &mut judge);
    let went = Went {
        targets: before.targets.len(),
        rebuilt: out.quirks.contains(Quirk::MarkupRebuilt),
        flattened: out.quirks.contains(Quirk::MarkupFlattened),
    };
    let text = String::from_utf8_lossy(&out.bytes);
    let after = oracle::view(&text);
    if let Some((place, url)) = after.targets.iter().find(|(_, u)| judge.own(u).is_none()) {
        return Err(Broken::Escape(place.clone(), url.clone()));
    }
    // Where readings overlap, what one of them takes for a link may be text or structure to another.
    let plain = !out.anew && !judge.lost && !out.quirks.any(&[Quirk::AmbiguousMarkup, Quirk::Nul]);
    let same_text = plain && every_parser_agrees(document) && !judge.changed_text;
    if same_text && before.text != after.text {
        return Err(Broken::Text(before.text, after.text));
    }
    if !all || !plain {
        return Ok(went);
    }
    let again = fuzzing::html(&out.bytes, &mut judge);
    if again.bytes != out.bytes {
        return Err(Broken::Again);
    }
    if fuzzing::restored(&out.bytes, true, &mut judge) != document.as_bytes() {
        return Err(Broken::Restore);
    }
    Ok(went)
}

/// Whether a document has no element on whose content parsers disagree. With one, what is text to html5ever may be a
/// comment to the parser that finds text, and a tag in it may be changed.
fn every_parser_agrees(document: &str) -> bool {
    const CONTESTED: [&str; 9] = [
        "<svg",
        "<math",
        "<select",
        "<frameset",
        "<template",
        "<noscript",
        "<noembed",
        "<noframes",
        "<iframe",
    ];
    let lower = document.to_ascii_lowercase();
    !CONTESTED.iter().any(|c| lower.contains(c))
}

/// Cuts a document down to what still breaks the same law (Zeller's ddmin, over characters).
pub(crate) fn minimise(document: &str, disarms: bool, broken: &Broken) -> String {
    let still = |chars: &[char]| {
        let candidate: String = chars.iter().collect();
        check(&candidate, disarms, true)
            .err()
            .is_some_and(|b| b.is_like(broken))
    };
    let mut chars: Vec<char> = document.chars().collect();
    let mut size = chars.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut cut = false;
        while at < chars.len() {
            let mut shorter = chars.clone();
            shorter.drain(at..(at + size).min(chars.len()));
            if still(&shorter) {
                chars = shorter;
                cut = true;
            } else {
                at += size;
            }
        }
        if !(cut && size == 1) {
            size /= 2;
        }
    }
    chars.into_iter().collect()
}
