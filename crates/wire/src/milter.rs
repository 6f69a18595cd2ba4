//! The milter protocol, versions 2 to 6, from the filter's side.
//!
//! An MTA connects, negotiates ([`Terms`]), and reports its SMTP client and each message step by step; the filter sends its
//! changes at the end of the message. There is no RFC: the reference is Sendmail's libmilter and Postfix. Names and numbers
//! are those of libmilter's `mfdef.h`.
//!
//! [`Session`] turns octets into [`Event`]s, as [`crate::Session`] does for SMTP; a [`Reply`] writes itself.

mod command;
mod frame;
mod lines;
mod reply;
mod session;
mod terms;

pub use frame::MAX_FRAME;
pub use lines::LineEnds;
pub use reply::{MAX_BODY_PACKET, Reply};
pub use session::{Event, Fault, Macros, Session, Stage, path_line};
pub use terms::Terms;
