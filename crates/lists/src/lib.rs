//! Lists of bad URLs: canonical forms, formats of lists and feeds, the table they are looked up in, codes of DNS lists.
//!
//! No IO, no clock, no random source: texts, times and secrets are arguments.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
