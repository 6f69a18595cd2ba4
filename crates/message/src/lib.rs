//! The contents of the bytes of one mail: its parts, its decoded text, its links, and a patch that changes them.
//!
//! Nothing here knows recipients, policy, tokens, keys, sockets, files or time: the caller decides what becomes of a link.
//!
//! | module | what lies there |
//! | --- | --- |
//! | `plan` | a whole message: from its bytes to the patch; leaves, containers, signed parts |
//! | `scan` | the structure of a message: parts by offsets (RFC 2046) |
//! | `header` | header fields and their parameters, read leniently (RFC 5322, 2045, 2231) |
//! | `transfer` | content transfer encodings: decoded with offsets, encoded where text was edited (RFC 2045 6) |
//! | `charset` | which encoding a text is read in, where programs differ |
//! | `html` | links in HTML: found in every reading, replaced in place, the result proved |
//! | `text` | links in plain text, flowed text, calendars and contact cards |
//! | `autolink` | URLs in running text, as mail programs link them |
//! | `restore` | click links found again, and the originals put back |
//! | `site` | what the caller is asked: `Judge` about links, `Originals` about what stood there |
//! | `edit`, `mapped`, `slice` | edits of a text, decoded text with the way back, checked slices |
//! | `patch`, `source`, `quirk`, `origin` | what changes, where bytes are read, what was doubtful, encodings by number |
//! | `bench`, `fuzzing` | single stages, for benches, fuzzers and tests (feature `internals`) |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod autolink;
#[cfg(feature = "internals")]
pub mod bench;
mod charset;
mod edit;
#[cfg(feature = "internals")]
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
