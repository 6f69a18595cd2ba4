//! Message and click events at rest.
//!
//! [`Store`] writes: a thread of its own takes rows from a bounded queue and commits them in groups, so that a row can be
//! durable before its [`Receipt`] resolves and still cost a fraction of a disk sync. [`Reader`] asks: it needs no thread,
//! may be opened beside a running server, and never holds a read transaction for longer than a page of rows.
//!
//! The store is one SQLite file in WAL mode with full sync. All times are integer microseconds since 1970 in UTC.
//! Nothing here logs: what goes wrong comes back as an error or is told to the callback of [`Store::open_watched`].
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod alert;
mod checked;
mod error;
mod reader;
mod receipt;
mod revoked;
mod rows;
mod schema;
mod store;
mod writer;

pub use alert::{AlertKind, AlertRow, RevocationRow, RevokedScope};
pub use checked::{Facts, Label, LabelRow, Reason};
pub use error::StoreError;
pub use reader::{AlertQuery, ClickQuery, Clicks, Opening, Reader, Through, Totals};
pub use receipt::Receipt;
pub use revoked::RevocationWatch;
pub use rows::{ClickRow, EventId, LinkRow, MessageRow, Method, Outcome, ReferenceRow, UnknownWord};
pub use store::{Counts, Health, Store};
pub use writer::Notice;
