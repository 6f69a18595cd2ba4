//! Integration tests, all in one binary: linking the program once per file would take longer than running them.

mod arrows;
mod cli;
mod click;
mod config;
mod contact;
mod dialogs;
mod faults;
mod flow;
mod hops;
mod intel;
mod laws;
mod limits;
mod lmtp;
mod load;
mod mail;
mod matrix;
mod metrics;
mod milter;
mod peers;
mod proxy;
mod restore;
mod rig;
mod smuggling;
mod store;
mod tls;
