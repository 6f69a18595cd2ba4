//! Parts of a buffer by offsets that an earlier pass has worked out.
//!
//! Such an offset outside its buffer is a fault of this crate. Read as an empty text it would lose content of a message. So
//! it panics: that ends the session, and the client sends the message again.

use std::slice::SliceIndex;

/// The octets of `whole` at `range`, which lies within.
#[inline]
#[track_caller]
#[expect(clippy::indexing_slicing, reason = "a wrong offset must not read as an empty text")]
pub(crate) fn part<I: SliceIndex<[u8], Output = [u8]>>(whole: &[u8], range: I) -> &[u8] {
    &whole[range]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "range start index 4 out of range for slice of length 3")]
    fn a_wrong_offset_is_no_empty_content() {
        part(b"abc", 4..);
    }
}
