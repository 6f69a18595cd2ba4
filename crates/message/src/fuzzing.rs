//! Single stages behind [`plan`](crate::plan), for fuzzers and for tests with checks of their own.
//!
//! Not part of the interface; it may change at any time.

use std::ops::Range;

use crate::edit::{self, TextEdit};
use crate::html::{self, TextOutcome, TextWork};
use crate::quirk::Quirks;
use crate::restore;
use crate::site::{Judge, Originals};
use crate::text::{self, Lines};
use crate::transfer::{self, Coding};
use crate::{autolink, html::tag};

/// The outcome for a text.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The text as it leaves.
    pub bytes: Vec<u8>,
    /// It was written anew as a whole, so that there is no way back to the bytes that came.
    pub anew: bool,
    /// The quirks found.
    pub quirks: Quirks,
}

/// The line structure of a text that is no HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Lines are lines.
    Plain,
    /// format=flowed with DelSp.
    Flowed,
    /// iCalendar and vCard.
    Folded,
}

const WORK: TextWork<'static> = TextWork {
    part: "1",
    encoding: encoding_rs::UTF_8,
    queries: encoding_rs::UTF_8,
    base: None,
    links: autolink::UrlForms::ALL,
    left: None,
    mapped: None,
};

/// Rewrites an HTML text in UTF-8.
pub fn html(text: &[u8], judge: &mut dyn Judge) -> Rewritten {
    let mut quirks = Quirks::default();
    let (bytes, anew) = match html::rewrite(text, &WORK, judge, &mut quirks) {
        TextOutcome::Edits(edits) => (edit::apply(text, &edits), false),
        TextOutcome::Anew(bytes) => (bytes, true),
    };
    Rewritten { bytes, anew, quirks }
}

/// Whether no tag in any reading of an HTML text leads to a place that `judge` does not call safe.
pub fn sweeps_clean(text: &[u8], judge: &mut dyn Judge) -> bool {
    html::sweeps_clean(text, &WORK, judge)
}

/// Rewrites a text that is no HTML, in UTF-8. `both`: some programs may read it as HTML.
pub fn text(text: &[u8], layout: Layout, both: bool, judge: &mut dyn Judge) -> Rewritten {
    let mut quirks = Quirks::default();
    let lines = match layout {
        Layout::Plain => Lines::Plain,
        Layout::Flowed => Lines::Flowed,
        Layout::Folded => Lines::Folded,
    };
    let edits = text::rewrite(text, lines, both, &WORK, judge, &mut quirks);
    Rewritten {
        bytes: edit::apply(text, &edits),
        anew: false,
        quirks,
    }
}

/// Brings back what stood in a text.
pub fn restored(text: &[u8], html: bool, originals: &mut dyn Originals) -> Vec<u8> {
    let layout = restore::TextKind {
        html,
        lines: Lines::Plain,
        encoding: Some(encoding_rs::UTF_8),
    };
    edit::apply(text, &restore::restore(text, layout, originals))
}

/// The URLs of a running text: where they stand, and what they mean.
#[must_use]
pub fn urls(text: &str, bare_domains: bool) -> Vec<(Range<usize>, String)> {
    let forms = autolink::UrlForms {
        bare_domains,
        ..autolink::UrlForms::ALL
    };
    let found = autolink::find(text, forms);
    found.into_iter().map(|f| (f.at, f.url)).collect()
}

/// Whether a text may hold a URL; a `false` must be right.
#[must_use]
pub fn may_hold_url(text: &[u8]) -> bool {
    autolink::may_hold_url(text)
}

/// Finds where tags begin and end, in every reading; `None` when they overlap too often.
#[must_use]
pub fn tags(text: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut out = Vec::new();
    tag::sweep(text, |t| out.push(t.start..t.end)).then_some(out)
}

/// Takes a transfer encoding off.
#[must_use]
pub fn decode(coding: Coding, raw: &[u8]) -> Vec<u8> {
    transfer::decode(coding, raw).bytes.into_owned()
}

/// Puts a transfer encoding on, laid out like `like`.
#[must_use]
pub fn encode(coding: Coding, text: &[u8], like: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::QuotedPrintable => transfer::encode_qp(text, b"\r\n"),
        Coding::Base64 | Coding::Uuencode | Coding::Yenc => transfer::encode_base64(text, like),
    }
}

/// The raw body after edits of its decoded text, and the text that it should decode to. `None` when the coding cannot
/// carry them. Edits that are out of order, overlap or pass the end are left out.
#[must_use]
pub fn edit(coding: Coding, raw: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Option<(Vec<u8>, Vec<u8>)> {
    let decoded = transfer::decode(coding, raw);
    let mut sound: Vec<TextEdit> = Vec::new();
    for (at, with) in edits {
        let free = sound.last().is_none_or(|l| l.at.end < at.start);
        if free && at.start <= at.end && at.end <= decoded.bytes.len() {
            sound.push(TextEdit {
                at: at.clone(),
                with: with.clone(),
            });
        }
    }
    let changes = transfer::encode_edits(coding, raw, &decoded, &sound)?;
    Some((edit::apply(raw, &changes), edit::apply(&decoded.bytes, &sound)))
}
