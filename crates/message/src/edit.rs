//! Edits of a text: sorted, apart, and applied.

use std::ops::Range;

use crate::slice::Slice;

/// An edit of a text: the octets of `at` give way to `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextEdit {
    pub(crate) at: Range<usize>,
    pub(crate) with: Vec<u8>,
}

/// Sorts edits; what lies within a larger one goes. `None` when two cross.
pub(crate) fn sorted(mut edits: Vec<TextEdit>) -> Option<Vec<TextEdit>> {
    // What is put in where a larger edit begins stands before it, not within it.
    edits.sort_by(|a, b| (a.at.start, !a.at.is_empty(), b.at.end).cmp(&(b.at.start, !b.at.is_empty(), a.at.end)));
    let mut out: Vec<TextEdit> = Vec::with_capacity(edits.len());
    for e in edits {
        match out.last() {
            Some(l) if e.at == l.at && e.with == l.with && !e.at.is_empty() => {}
            Some(l) if e.at.start < l.at.end && e.at.end <= l.at.end => {}
            Some(l) if e.at.start < l.at.end => return None,
            _ => out.push(e),
        }
    }
    Some(out)
}

/// Applies sorted edits to a text.
pub(crate) fn apply(text: &[u8], edits: &[TextEdit]) -> Vec<u8> {
    let grown: usize = edits.iter().map(|e| e.with.len()).sum();
    let mut out = Vec::with_capacity(text.len() + grown);
    let mut from = 0;
    for e in edits {
        out.extend_from_slice(text.slice(from..e.at.start));
        out.extend_from_slice(&e.with);
        from = e.at.end;
    }
    out.extend_from_slice(text.slice(from..));
    out
}

/// Whether a stretch meets one of those that are sorted and apart.
pub(crate) fn meets(sorted: &[Range<usize>], at: &Range<usize>) -> bool {
    let next = sorted.partition_point(|r| r.start < at.end);
    sorted.get(next.wrapping_sub(1)).is_some_and(|r| at.start < r.end)
}
