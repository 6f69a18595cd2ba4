//! The mail path: SMTP, LMTP and milter sessions, what they pass on, and whole messages through the pipeline.

mod delivery;
pub(crate) mod dialogs;
mod faults;
mod flow;
mod hops;
pub(crate) mod laws;
mod limits;
mod lmtp;
mod load;
mod matrix;
pub(crate) mod messages;
mod milter;
mod proxy;
pub(crate) mod restore;
mod smuggling;
mod tls;
