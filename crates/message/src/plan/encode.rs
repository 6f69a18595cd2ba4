//! The outcome of a text encoded into its body, and the header fields that change with it.

use std::borrow::Cow;
use std::ops::Range;

use super::class::{Class, content_base, content_type};
use super::leaf::{LeafWork, Task};
use super::relabel::{drop_field, set_field};
use crate::charset;
use crate::edit::{TextEdit, apply};
use crate::html::TextOutcome;
use crate::html::mark::Mark;
use crate::patch::Change;
use crate::quirk::Quirk;
use crate::scan::Part;
use crate::transfer::{Coding, Decoded, encode_base64, encode_edits, encode_qp, newline_of};

impl LeafWork<'_, '_> {
    /// Whether a body without edits stays as it is: one in an encoding of no standard is something else to every program
    /// that does not know it.
    pub(super) fn may_stay(&self, coding: Coding) -> bool {
        coding.is_standard() || !self.rewrites()
    }

    /// Encodes the outcome into the body.
    pub(super) fn encode_outcome(
        &mut self,
        part: &Part,
        coding: Coding,
        raw: &[u8],
        decoded: &Decoded<'_>,
        outcome: TextOutcome,
        class: Class,
    ) {
        let edits = match outcome {
            TextOutcome::Edits(e) if e.is_empty() && self.may_stay(coding) => {
                return;
            }
            TextOutcome::Edits(e) => e,
            TextOutcome::Anew(new) => vec![TextEdit {
                at: 0..decoded.bytes.len(),
                with: new,
            }],
        };
        match encode_edits(coding, raw, decoded, &edits) {
            Some(changes) => {
                self.body(part, changes);
                self.state_one_reading(part, coding, class, false);
            }
            None => {
                let text = apply(&decoded.bytes, &edits);
                self.changes.push(Change {
                    at: part.body.clone(),
                    with: encode_qp(&text, newline_of(raw).as_bytes()),
                });
                self.changes
                    .extend(set_field(part, "Content-Transfer-Encoding", "quoted-printable"));
                self.state_one_reading(part, Coding::QuotedPrintable, class, true);
            }
        }
    }

    /// Encodes a transcoded text into the body, and names its encoding in the header.
    pub(super) fn encode_utf8(&mut self, part: &Part, coding: Coding, raw: &[u8], text: &[u8], class: Class) {
        let text = if class == Class::Html {
            let task = &self.task;
            charset::without_labels(text, |written| match task {
                Task::Rewrite(judge) => {
                    Some(Mark::Was.write(written, encoding_rs::UTF_8, |covered| judge.seal_mark(covered)))
                }
                // A restored text is not restored again.
                Task::Restore(_) => None,
            })
        } else {
            Cow::Borrowed(text)
        };
        let (name, with) = match coding {
            Coding::Base64 => ("base64", encode_base64(&text, raw)),
            _ => ("quoted-printable", encode_qp(&text, newline_of(raw).as_bytes())),
        };
        self.changes.push(Change {
            at: part.body.clone(),
            with,
        });
        self.changes.extend(set_field(part, "Content-Transfer-Encoding", name));
        self.changes.extend(set_field(
            part,
            "Content-Type",
            &content_type(part, class, Some("utf-8")),
        ));
        self.drop_bases(part);
    }

    fn body(&mut self, part: &Part, changes: Vec<TextEdit>) {
        let at = |r: &Range<usize>| part.body.start + r.start as u64..part.body.start + r.end as u64;
        self.changes.extend(changes.into_iter().map(|e| Change {
            at: at(&e.at),
            with: e.with,
        }));
    }

    /// States one reading in the header of a part that allows several. `coded`: the transfer encoding was written
    /// already.
    fn state_one_reading(&mut self, part: &Part, coding: Coding, class: Class, coded: bool) {
        self.drop_bases(part);
        if !self.normalises() {
            return;
        }
        let several = part.quirks.any(&[
            Quirk::DuplicateContentType,
            Quirk::MalformedContentType,
            Quirk::OddHeaderField,
            Quirk::StrayHeaderLine,
        ]) && !part.types.is_empty();
        if several && class != Class::Other && !part.quirks.contains(Quirk::NoParts) {
            self.changes
                .extend(set_field(part, "Content-Type", &content_type(part, class, None)));
        }
        let unclear = part.quirks.any(&[
            Quirk::DuplicateTransferEncoding,
            Quirk::MalformedTransferEncoding,
            Quirk::OddHeaderField,
            Quirk::StrayHeaderLine,
        ]) && !part.codings.is_empty();
        let unclear = unclear
            || part.codings.iter().any(|c| *c != coding)
            || part.codings.is_empty() && coding != Coding::Identity;
        if unclear && !coded {
            self.changes
                .extend(set_field(part, "Content-Transfer-Encoding", coding.name()));
        }
    }

    /// Drops the fields that give relative links a base: the links were resolved against it.
    pub(super) fn drop_bases(&mut self, part: &Part) {
        if self.rewrites() && content_base(part).is_some() {
            self.quirks.insert(Quirk::BaseField);
            self.changes.extend(drop_field(part, "content-base"));
        }
    }
}

/// A whole body in a coding, laid out like the one it replaces.
pub(super) fn encode_whole(coding: Coding, text: &[u8], like: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::QuotedPrintable => encode_qp(text, newline_of(like).as_bytes()),
        Coding::Base64 => encode_base64(text, like),
        Coding::Uuencode | Coding::Yenc => encode_base64(text, b""),
    }
}
