//! What stands in the bytes of one mail: its parts, its decoded text, its links, and a patch that changes them.
//!
//! Nothing here knows recipients, policy, tokens, keys, sockets, files or time: whoever calls says what becomes of a link.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod autolink;
#[doc(hidden)]
pub mod bench;
mod charset;
mod edit;
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod html;
mod mapped;
mod origin;
mod patch;
mod plan;
mod quirk;
mod restore;
mod scan;
mod site;
mod slice;
mod source;
mod text;
mod transfer;

pub use patch::{Change, Overlap, Patch, Segment};
pub use plan::{Ambiguous, Amp, MarkupFiles, Options, PlanError, Planned, plan, plan_restore, scan_source};
pub use quirk::{Quirk, Quirks};
pub use scan::{MAX_DEPTH, MAX_HEADER, MAX_PARTS, Part, PartKind, PartMap, Scanner, scan};
pub use site::{Judge, MARK_SEAL, Original, Originals, Ruling, Seal, Site, Use};
pub use source::Source;
pub use transfer::Coding;
