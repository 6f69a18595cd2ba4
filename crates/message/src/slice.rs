//! Slices by offsets that an earlier pass has worked out.
//!
//! Such an offset outside its text is a fault of this crate, not of the message. Read as an empty text it would be a text
//! without links, and the message would go on as it came. So it panics, here and nowhere else: the caller catches that for
//! each message and answers 451.

use std::slice::SliceIndex;

/// Slices whose bounds have been worked out before.
pub(crate) trait Slice {
    /// The stretch at `range`; panics, naming range and length, where it does not lie within.
    fn slice<I: SliceIndex<Self>>(&self, range: I) -> &I::Output;
}

impl<T> Slice for [T] {
    #[inline]
    #[track_caller]
    #[expect(clippy::indexing_slicing, reason = "a wrong offset must not read as an empty text")]
    fn slice<I: SliceIndex<Self>>(&self, range: I) -> &I::Output {
        &self[range]
    }
}

impl Slice for str {
    #[inline]
    #[track_caller]
    fn slice<I: SliceIndex<Self>>(&self, range: I) -> &I::Output {
        &self[range]
    }
}

/// The item at `index`, which lies within; panics like [`Slice::slice`].
#[track_caller]
pub(crate) fn item<T>(list: &[T], index: usize) -> &T {
    list.slice(index)
}

/// The first `most` octets of a text, or all of it where it is shorter.
pub(crate) fn head(text: &[u8], most: usize) -> &[u8] {
    text.get(..most).unwrap_or(text)
}

/// The ASCII that a text begins with, as a string.
pub(crate) fn ascii_head(text: &[u8]) -> &str {
    let ascii = text.slice(..encoding_rs::Encoding::ascii_valid_up_to(text));
    std::str::from_utf8(ascii).unwrap_or_else(|e| unreachable!("ASCII is UTF-8: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{TextEdit, apply};

    #[test]
    #[should_panic(expected = "range end index 99 out of range for slice of length 26")]
    fn a_wrong_offset_of_an_edit_is_no_empty_text() {
        let edit = TextEdit {
            at: 99..99,
            with: b"x".to_vec(),
        };
        apply(b"see https://a.example/path", &[edit]);
    }

    #[test]
    #[should_panic(expected = "not a char boundary")]
    fn an_offset_within_a_character_is_no_empty_text() {
        "ä".slice(1..);
    }

    #[test]
    fn heads_end_where_the_text_does() {
        assert_eq!((head(b"abc", 2), head(b"abc", 9)), (&b"ab"[..], &b"abc"[..]));
        assert_eq!(ascii_head("abä".as_bytes()), "ab");
    }
}
