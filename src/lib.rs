//! linkgate: an inline mail filter that makes every link in inbound mail safe to click.
//!
//! The binary is a thin shell around this library, so that tests and benches run the very code that `serve` runs.

pub mod click;
pub mod clicks;
pub mod failure;
pub mod http;
pub mod job;
pub mod listen;
pub mod mail_id;
pub mod record;
pub mod relay;
pub mod rewrite;
pub mod settings;
pub mod spool;
