//! The stages of a plan one at a time, for benches. Not part of the interface.

use crate::autolink;
use crate::edit::TextEdit;
use crate::html::parsed::Parsed;
use crate::html::{self, TextOutcome, TextWork, sites};
use crate::quirk::Quirks;
use crate::site::Judge;
use crate::transfer::{Coding, Decoded, decode, encode_edits};

/// A body and what it decodes to.
#[derive(Debug)]
pub struct Body<'a> {
    coding: Coding,
    raw: &'a [u8],
    decoded: Decoded<'a>,
}

impl<'a> Body<'a> {
    /// Undoes a transfer encoding.
    #[must_use]
    pub fn decode(coding: Coding, raw: &'a [u8]) -> Self {
        let decoded = decode(coding, raw);
        Self { coding, raw, decoded }
    }

    /// The decoded text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.decoded.bytes
    }

    /// Puts edits of the text into the body as it is coded; says how many changes that makes.
    #[must_use]
    pub fn splice(&self, edits: &Edits) -> Option<usize> {
        encode_edits(self.coding, self.raw, &self.decoded, &edits.0).map(|changes| changes.len())
    }
}

/// Edits of a text.
#[derive(Debug, Clone)]
pub struct Edits(Vec<TextEdit>);

impl Edits {
    /// Their number.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Everything that leads somewhere in the tags of an HTML text, and its running text; counts both.
#[must_use]
pub fn find_html(text: &[u8]) -> Option<(usize, usize)> {
    let parsed = Parsed::of(text);
    let context = parsed.context()?;
    let scan = sites::scan(&parsed, &context.inert);
    Some((scan.actions.len(), context.runs.len()))
}

/// Counts the URLs in a plain text.
#[must_use]
pub fn find_text(text: &str) -> usize {
    autolink::find(text, autolink::UrlForms::ALL).len()
}

/// Makes the links of an HTML text in UTF-8 safe, and proves the result when `proved`. `None` when the text is to be
/// written anew.
#[must_use]
pub fn rewrite_html(text: &[u8], judge: &mut dyn Judge, proved: bool) -> Option<Edits> {
    let work = TextWork {
        part: "2",
        encoding: encoding_rs::UTF_8,
        queries: encoding_rs::UTF_8,
        base: None,
        links: autolink::UrlForms::ALL,
        left: None,
        mapped: None,
    };
    if !proved {
        return html::unproved(text, &work, judge).map(Edits);
    }
    match html::rewrite(text, &work, judge, &mut Quirks::default()) {
        TextOutcome::Edits(edits) => Some(Edits(edits)),
        TextOutcome::Anew(_) => None,
    }
}
