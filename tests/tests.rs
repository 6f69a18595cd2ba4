//! Integration tests, laid out like `src/`, all in one binary: linking the program once per file would take longer than running
//! them.

mod arrows;
mod cli;
mod click;
mod config;
mod docs;
mod intel;
mod ledger;
mod mail;
mod metrics;
mod peers;
mod rig;
