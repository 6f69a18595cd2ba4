//! The mail path: sockets, spool, relay, rewriting and restoring.

pub mod budget;
pub mod id;
pub mod listen;
mod milter;
pub mod relay;
pub mod restore;
pub mod rewrite;
pub mod smtp;
pub mod spool;
mod trace;
mod transaction;
