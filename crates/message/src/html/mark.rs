//! Marks: they stand in the place of something that was taken out, and keep it, encoded and without effect.
//!
//! A sender can write what looks like a mark, so each carries a seal: without a genuine one it is the sender's own text
//! and stays.

use encoding_rs::Encoding;

use crate::origin;
use crate::site::{MARK_SEAL, Originals, Seal};
use crate::slice::Slice;

/// The kind of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// An attribute that keeps one which was taken out.
    Off,
    /// An attribute that keeps how the one before it was written.
    Was,
    /// A comment that keeps the rest of a tag which the end of the text cut off.
    Cut,
}

impl Mark {
    /// Writes what the mark holds: seal, encoding and octets in Base32. `seal` makes the seal over the octets that it
    /// is given.
    pub(crate) fn write(self, octets: &[u8], encoding: &'static Encoding, seal: impl FnOnce(&[u8]) -> Seal) -> String {
        let covered = self.covered(origin::number(octets, encoding), octets);
        let held = [&seal(&covered)[..], covered.slice(1..)].concat();
        data_encoding::BASE32_NOPAD.encode(&held)
    }

    /// Reads the octets that a mark keeps, in the encoding of the text that they are put back into. `None` when the
    /// mark is not ours, or they have no place in that text.
    pub(crate) fn read(self, held: &[u8], to: Option<&'static Encoding>, originals: &dyn Originals) -> Option<Vec<u8>> {
        let held = data_encoding::BASE32_NOPAD.decode(held).ok()?;
        let (seal, rest) = held.split_first_chunk::<MARK_SEAL>()?;
        let (number, octets) = rest.split_first()?;
        if !originals.knows_mark(&self.covered(*number, octets), seal) {
            return None;
        }
        origin::fit(octets, *number, to).map(std::borrow::Cow::into_owned)
    }

    /// The octets that a seal covers; the kind of the mark is part of them.
    fn covered(self, number: u8, octets: &[u8]) -> Vec<u8> {
        let kind = match self {
            Self::Off => b'o',
            Self::Was => b'w',
            Self::Cut => b'c',
        };
        [&[kind, number], octets].concat()
    }
}
