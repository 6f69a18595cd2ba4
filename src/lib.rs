//! linkgate: an inline mail filter that makes every link in inbound mail safe to click.
//!
//! The binary is a thin shell around this library, so that tests and benches run the very code that `serve` runs.

/// A message is taken apart into many small pieces, and put together again: the C library's allocator took an eighth of
/// the time that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod admin;
pub mod cli;
pub mod click;
pub mod clock;
pub mod config;
pub mod failure;
pub mod http;
pub mod intel;
pub mod ledger;
pub mod log;
pub mod mail;
pub mod metrics;
pub mod net;
pub mod pages;
pub mod server;
