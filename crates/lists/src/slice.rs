//! Parts by offsets that an earlier pass has worked out.
//!
//! Such an offset outside its text or list is a fault of this crate. Read as an empty text it would be a URL that no list
//! has. So it panics: callers catch that for each message and request.

use std::ops::{Index, IndexMut};

/// The part of a text or list at an index or range, which lies within.
#[inline]
#[track_caller]
pub(crate) fn part<C: Index<I> + ?Sized, I>(whole: &C, at: I) -> &C::Output {
    &whole[at]
}

/// The same, to be changed.
#[inline]
#[track_caller]
pub(crate) fn part_mut<C: IndexMut<I> + ?Sized, I>(whole: &mut C, at: I) -> &mut C::Output {
    &mut whole[at]
}
