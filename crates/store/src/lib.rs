//! Message and click events at rest, in one SQLite file in WAL mode with full sync.
//!
//! | module | holds |
//! | --- | --- |
//! | `store` | [`Store`]: the handle that takes rows |
//! | `writer` | the thread that commits rows in groups, so that a row can be durable before its receipt resolves and still cost a fraction of a disk sync |
//! | `writer_state` | what that thread shares with the handles: [`Counts`], [`Health`], [`Notice`] |
//! | `receipt` | [`Receipt`]: resolves once a row is on disk |
//! | `reader` | [`Reader`]: queries beside a running server; never a read transaction longer than a page of rows |
//! | `revocation_watch` | [`RevocationWatch`]: changes of the revocations, whichever process makes them |
//! | `rows` | the rows by what they are: fields, columns, and the SQL that reads and writes them |
//! | `columns` | the table that names each column once, and the forms of values |
//! | `words` | words read back |
//! | `schema` | what the file must be, and the migrations |
//! | `error` | [`StoreError`] |
//!
//! All times are integer microseconds since 1970 in UTC. Nothing here logs: what goes wrong comes back as an error, or goes to
//! the callback of [`Store::open_watched`].
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod columns;
mod error;
mod reader;
mod receipt;
mod revocation_watch;
mod rows;
mod schema;
mod store;
mod words;
mod writer;
mod writer_state;

pub use error::StoreError;
pub use reader::{AlertQuery, ClickQuery, Clicks, Reader};
pub use receipt::Receipt;
pub use revocation_watch::RevocationWatch;
pub use rows::{
    AlertKind, AlertRow, ClickRow, EventId, Facts, Label, LabelRow, LetThrough, LinkOpening, LinkRow, MessageRow,
    Method, Outcome, Reason, ReferenceRow, RevocationRow, RevokedScope,
};
pub use store::Store;
pub use words::UnknownWord;
pub use writer_state::{Counts, Health, Notice};
