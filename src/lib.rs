//! linkgate: an inline mail filter that makes every link in inbound mail safe to click.
//!
//! The binary is a thin shell around this library, so that tests and benches run the very code that `serve` runs.
//! docs/architecture.md has the picture; a room may use those that stand below it here:
//!
//! - [`cli`]: the commands, their arguments, output and exit codes.
//! - [`server`]: `linkgate serve`, which puts the other rooms together.
//! - [`admin`]: health, metrics and checks of URLs, for programs.
//! - [`mail`]: the mail path, from a connection to the next hop. [`click`]: one request for a click link. Neither knows the other.
//! - [`intel`]: everything that is asked about a URL. [`http`]: a listener around a handler.
//! - [`metrics`]: counters and their labels. [`log`]: log lines.
//! - [`config`]: the file, its keys and faults, the settings. [`pages`]: the pages that readers see.
//! - [`ledger`]: the store, and the file that takes clicks when it does not.
//! - [`net`]: streams, sockets, TLS. [`failure`]: why a message could not be passed on. [`clock`]: the time of day.

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
