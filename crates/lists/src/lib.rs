//! Lists of bad URLs: canonical forms, formats of lists and feeds, the table they are looked up in, codes of DNS lists.
//!
//! No IO, no clock, no random source: texts, times and secrets are arguments.
//!
//! | module | what lies there |
//! | --- | --- |
//! | `format` | [`Reading`]: from the octets of a file or feed to a [`ListCopy`]; one module a format |
//! | `entry` | [`Entry`]: the expression of one line, its extent and role |
//! | `copy` | [`ListCopy`], [`Protected`] names; [`accept`]: whether a copy may replace the one before |
//! | `report` | [`Report`]: counts and faults of a list that was read |
//! | `canonical` | [`Canonical`]: canonical URLs and their expressions |
//! | `table` | [`ListTable`]: the entries of all sources, built anew and replaced as a whole; look-up |
//! | `hash_key`, `hosts` | hashes of expressions; bit maps that tell unlisted hosts at once |
//! | `dns` | [`DnsList`]: query names and codes of DNS lists |
//! | [`safe_browsing`] | requests and answers of Google's services |
//! | `slice` | parts by checked offsets |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod canonical;
mod copy;
mod dns;
mod entry;
mod format;
mod hash_key;
mod hosts;
mod report;
pub mod safe_browsing;
mod slice;
mod table;

pub use canonical::{Canonical, CanonicalError, registrable};
pub use copy::{ListCopy, Protected, Refused, accept};
pub use dns::{Code, DnsAnswer, DnsList};
pub use entry::{Entry, Extent, Role, Unfit};
pub use format::{Format, MispEvent, Reading, misp_manifest};
pub use hash_key::HashKey;
pub use report::{Fault, Report};
pub use table::{Hit, ListTable};
