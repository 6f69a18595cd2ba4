//! linkgate: an inline mail filter that makes every link in inbound mail safe to click.
//!
//! The binary is a thin shell around this library, so that tests and benches run the very code that `serve` runs.

pub mod click;
pub mod clicks;
pub mod http;
pub mod record;
pub mod settings;
