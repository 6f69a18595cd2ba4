//! Lists that are fetched or read, kept on disk and looked up in memory.

pub(super) mod disk;
pub(super) mod fetch;
mod misp;
pub(super) mod offline;
mod reading;
pub(super) mod refresh;
pub(super) mod tables;
