//! What stands in the bytes of one mail: its parts, its decoded text, its links, and a patch that changes them.
//!
//! Nothing here knows recipients, policy, tokens, keys, sockets, files or time: whoever calls says what becomes of a link.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod patch;
mod source;

pub use patch::{Change, Overlap, Patch, Segment};
pub use source::Source;
