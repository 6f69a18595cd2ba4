//! linkgate: an inline mail filter that makes every link in inbound mail safe to click.
//!
//! The binary is a thin shell around this library, so that tests and benches run the very code that `serve` runs.

/// A message is taken apart into many small pieces, and put together again: the C library's allocator took an eighth of
/// the time that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod admin;
pub mod alerts;
mod check;
pub mod cli;
pub mod click;
pub mod clicks;
pub mod clock;
pub mod config;
mod demo;
mod explain;
pub mod failure;
pub mod files;
mod filter;
pub mod http;
pub mod intel;
pub mod job;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod mail;
pub mod metrics;
pub mod net;
pub mod pages;
pub mod reveal;
pub mod revoke;
pub mod server;
mod shown;
