//! Messages and parts within a leaf: hidden by a transfer encoding, or below a boundary that no header names.

use std::io;

use super::class::readings;
use super::encode::encode_whole;
use super::hidden::boundaries;
use super::leaf::{LeafWork, MAX_TEXT};
use super::{MAX_NESTED, PlanError, Planned, plan_nested};
use crate::patch::{Change, Patch};
use crate::quirk::Quirk;
use crate::scan::Part;
use crate::slice::Slice;
use crate::source::Source;
use crate::transfer::{Coding, decode};

/// Most different lines that are taken for boundaries which no header names.
const MAX_SNIFFED: usize = 16;

impl LeafWork<'_, '_> {
    /// Plans the parts of a multipart whose boundary never comes; whether its body changes.
    pub(super) fn sniffed_parts(
        &mut self,
        part: &Part,
        number: &dyn Fn() -> String,
        depth: usize,
        out: &mut Planned,
    ) -> Result<bool, PlanError> {
        let Some(within) = parts_within(part, self.source)? else {
            return Ok(false);
        };
        if depth >= MAX_NESTED {
            out.refused = Some(Quirk::TooDeep);
            return Ok(false);
        }
        let message = within.message.as_slice();
        let inner = plan_nested(&message, self.options, self.task.reborrow(), &number(), depth + 1)?;
        out.merge(&inner);
        out.parts += inner.parts.saturating_sub(1);
        let changes = !inner.patch.is_empty();
        if changes {
            self.changes.push(within.patched(part, inner.patch));
            self.state_boundary(part, &within.boundary, within.coding);
        }
        Ok(changes)
    }

    /// Plans a message that a transfer encoding hides.
    pub(super) fn coded_message(
        &mut self,
        part: &Part,
        number: &str,
        depth: usize,
        out: &mut Planned,
    ) -> Result<(), PlanError> {
        let raw = self.source.read(part.body.clone())?;
        let Some(coding) = readings(part, &raw).into_iter().next() else {
            return Ok(());
        };
        let bytes = decode(coding, &raw).bytes;
        let inner = plan_nested(&&*bytes, self.options, self.task.reborrow(), number, depth + 1)?;
        out.merge(&inner);
        out.parts += inner.parts;
        if !inner.patch.is_empty() {
            self.changes.push(Change {
                at: part.body.clone(),
                with: encode_whole(coding, &inner.patch.apply(&bytes), &raw),
            });
            self.state_coding(part, coding);
        }
        Ok(())
    }
}

/// The content of a multipart whose boundary never comes, with lines in it that look like another boundary.
struct SniffedParts {
    /// The content, under a header that names those boundaries.
    message: Vec<u8>,
    /// The length of that header.
    header: usize,
    boundary: Vec<u8>,
    coding: Coding,
}

/// Finds the parts in a multipart whose boundary never comes.
fn parts_within(part: &Part, source: &dyn Source) -> io::Result<Option<SniffedParts>> {
    if part.body.end - part.body.start > MAX_TEXT {
        return Ok(None);
    }
    let raw = source.read(part.body.clone())?;
    for coding in readings(part, &raw) {
        let decoded = decode(coding, &raw);
        let sniffed = boundaries(&decoded.bytes, MAX_SNIFFED);
        let Some(boundary) = sniffed.first().map(|b| b.to_vec()) else {
            continue;
        };
        // Programs differ in which of them they take.
        let mut quoted = b"Content-Type: multipart/mixed".to_vec();
        for b in &sniffed {
            quoted.extend([&b"; boundary=\""[..], b, b"\""].concat());
        }
        quoted.extend(b"\r\n\r\n");
        let header = quoted.len();
        return Ok(Some(SniffedParts {
            message: [quoted.as_slice(), &decoded.bytes].concat(),
            header,
            boundary,
            coding,
        }));
    }
    Ok(None)
}

impl SniffedParts {
    /// The body of the part with the changes of `message` that lie in it: the header in front was made up here.
    fn patched(&self, part: &Part, patch: Patch) -> Change {
        let patched = patch.behind(self.header as u64).apply(&self.message);
        let bytes = patched.slice(self.header..);
        Change {
            at: part.body.clone(),
            with: encode_whole(self.coding, bytes, bytes),
        }
    }
}
