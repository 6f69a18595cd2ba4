//! The milter protocol, versions 2 to 6, from the filter's side.
//!
//! An MTA connects, negotiates ([`Terms`]), and tells of its SMTP client and of each message as they come; the filter says at
//! the end of the message what is to change. There is no RFC: the protocol is what Sendmail's libmilter and Postfix do. Names
//! and numbers are those of libmilter's `mfdef.h`.
//!
//! [`Session`] turns octets into [`Event`]s, as [`crate::Session`] does for SMTP; a [`Reply`] writes itself.

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
