//! The part map: what a message is made of, by offsets.

use std::ops::Range;

use crate::header::TypedField;
use crate::quirk::Quirks;
use crate::slice::Slice;
use crate::transfer::Coding;

/// The content of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Content.
    Leaf,
    /// Parts between boundaries.
    Multipart,
    /// A message of its own, not encoded.
    Message,
}

/// One part of a message, by offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index of the part that holds this one.
    pub parent: Option<usize>,
    /// The header block, without the blank line that ends it.
    pub header: Range<u64>,
    /// The body as it stands there, without the line end that belongs to the boundary.
    pub body: Range<u64>,
    /// Its content.
    pub kind: PartKind,
    pub(crate) block: Box<[u8]>,
    pub(crate) types: Vec<TypedField>,
    pub(crate) codings: Vec<Coding>,
    pub(crate) disposition: Option<TypedField>,
    /// Of the boundaries that may be meant, the first that was met.
    pub(crate) boundary: Option<Box<[u8]>>,
    /// Another one was met as well, or one of a multipart within that had ended.
    pub(crate) mixed: bool,
    pub(crate) quirks: Quirks,
}

/// The parts of a message in the order in which they begin, the message itself first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartMap {
    /// The parts.
    pub parts: Vec<Part>,
    /// The quirks of the structure.
    pub quirks: Quirks,
    /// Length of the message in octets.
    pub len: u64,
}

impl PartMap {
    /// The number of a part as IMAP writes it (RFC 9051 6.4.5): `1.2`, and an empty text for the message itself.
    #[must_use]
    pub fn number(&self, index: usize) -> String {
        let mut path = Vec::new();
        let mut at = index;
        while let Some(parent) = self.parts.get(at).and_then(|p| p.parent) {
            // A message inside a message/rfc822 part shares that part's number.
            if self.parts.get(parent).is_some_and(|p| p.kind != PartKind::Message) {
                let before = self.parts.slice(parent..at);
                path.push(before.iter().filter(|p| p.parent == Some(parent)).count() + 1);
            }
            at = parent;
        }
        path.iter().rev().map(usize::to_string).collect::<Vec<_>>().join(".")
    }

    /// The parts that hold one, from the inside out.
    pub(crate) fn ancestors(&self, part: &Part) -> impl Iterator<Item = &Part> {
        let parent = |p: &Part| self.parts.get(p.parent?);
        std::iter::successors(parent(part), move |p| parent(p))
    }

    /// Indexes of the direct parts of one.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.parts
            .iter()
            .enumerate()
            .skip(index + 1)
            .filter(move |(_, p)| p.parent == Some(index))
            .map(|(i, _)| i)
    }
}
