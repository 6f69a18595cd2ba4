//! Rows, by what they are: the fields, and the SQL that reads and writes them.

pub(crate) mod alert;
pub(crate) mod click;
mod event_id;
pub(crate) mod message;
pub(crate) mod new_domain;
pub(crate) mod revocation;

pub use alert::{AlertKind, AlertRow};
pub use click::{ClickRow, Facts, Label, LabelRow, LetThrough, LinkOpening, Method, Outcome, Reason};
pub use event_id::EventId;
pub use message::{LinkRow, MessageRow, ReferenceRow};
pub use revocation::{RevocationRow, RevokedScope};
