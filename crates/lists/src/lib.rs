//! Lists of bad URLs: canonical forms, formats of lists and feeds, the table they are looked up in, codes of DNS lists.
//!
//! The way of a list: [`Reading`] turns the octets of a file or feed into a [`ListCopy`]; [`accept`] says whether that may
//! take the place of the one before; [`ListTable::build`] makes one table of the copies of all sources, which replaces the
//! table before it as a whole; [`ListTable::find`] looks up a [`Canonical`] URL.
//!
//! What is asked of others: [`DnsList`] knows the names and codes of DNS lists, [`safe_browsing`] the requests and answers
//! of Google's services.
//!
//! No IO, no clock, no random source: texts, times and secrets are arguments.
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
mod table;

pub use canonical::{Canonical, CanonicalError, registrable};
pub use copy::{ListCopy, Protected, Refused, accept};
pub use dns::{Code, DnsAnswer, DnsList};
pub use entry::{Entry, Extent, Role, Unfit};
pub use format::{Format, MispEvent, Reading, misp_manifest};
pub use hash_key::HashKey;
pub use report::{Fault, Report};
pub use table::{Hit, ListTable};
