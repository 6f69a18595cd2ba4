//! A patch: what changes between the bytes that came and the bytes that go on.

use crate::slice::Slice;
use std::ops::Range;

/// One replacement: the bytes of `at` in the message as it came give way to `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Byte range in the original message; empty for an insertion.
    pub at: Range<u64>,
    /// The replacement.
    pub with: Vec<u8>,
}

/// Sorted, non-overlapping changes to one message.
///
/// An empty patch means that the message goes on byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    changes: Vec<Change>,
}

/// A stretch of the patched message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Bytes of the original message, by offset.
    Source(Range<u64>),
    /// New bytes.
    New(&'a [u8]),
}

impl Patch {
    /// Builds a patch from changes in any order.
    ///
    /// # Errors
    /// `Overlap` when two changes claim the same byte, or a range is backwards.
    pub fn new(mut changes: Vec<Change>) -> Result<Self, Overlap> {
        changes.sort_by_key(|c| (c.at.start, c.at.end));
        let mut end = 0;
        for c in &changes {
            if c.at.start < end || c.at.end < c.at.start {
                return Err(Overlap { at: c.at.start });
            }
            end = c.at.end;
        }
        Ok(Self { changes })
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The changes that begin at an offset or behind it.
    pub(crate) fn behind(mut self, at: u64) -> Self {
        self.changes.retain(|c| c.at.start >= at);
        self
    }

    /// Length in octets of the patched message, given that of the original.
    #[must_use]
    pub fn patched_len(&self, original: u64) -> u64 {
        self.changes.iter().fold(original, |n, c| {
            n.saturating_sub(c.at.end - c.at.start)
                .saturating_add(c.with.len() as u64)
        })
    }

    /// The patched message as stretches of the original (of `len` octets) and new bytes, in order.
    pub fn segments(&self, len: u64) -> impl Iterator<Item = Segment<'_>> {
        let mut from = 0;
        let tail = self.changes.last().map_or(0, |c| c.at.end);
        self.changes
            .iter()
            .flat_map(move |c| {
                let before = Segment::Source(from..c.at.start);
                from = c.at.end;
                [before, Segment::New(&c.with)]
            })
            .chain(std::iter::once(Segment::Source(tail..len.max(tail))))
            .filter(|s| match s {
                Segment::Source(r) => r.start < r.end,
                Segment::New(b) => !b.is_empty(),
            })
    }

    /// The patched message as one buffer; for tests and for messages that are in memory anyway.
    #[must_use]
    pub fn apply(&self, original: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.patched_len(original.len() as u64) as usize);
        for s in self.segments(original.len() as u64) {
            match s {
                Segment::Source(r) => out.extend_from_slice(original.slice(r.start as usize..r.end as usize)),
                Segment::New(b) => out.extend_from_slice(b),
            }
        }
        out
    }
}

/// Two changes claim the same byte of the original.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("overlapping changes at octet {at}")]
pub struct Overlap {
    /// The start of the second one.
    pub at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at: Range<u64>, with: &str) -> Change {
        Change { at, with: with.into() }
    }

    #[test]
    fn replaces_inserts_and_deletes() {
        let p = Patch::new(vec![change(6..11, "there"), change(0..0, "> "), change(5..6, "")]).unwrap();
        assert_eq!(p.apply(b"hello world!"), b"> hellothere!");
        assert_eq!(p.patched_len(12), 13);
    }

    #[test]
    fn empty_patch_is_the_message() {
        let p = Patch::default();
        assert!(p.is_empty());
        assert_eq!(p.segments(3).collect::<Vec<_>>(), [Segment::Source(0..3)]);
        assert_eq!(p.apply(b"abc"), b"abc");
    }

    #[test]
    fn overlap_is_refused() {
        assert_eq!(
            Patch::new(vec![change(0..4, "a"), change(3..5, "b")]),
            Err(Overlap { at: 3 })
        );
    }
}
