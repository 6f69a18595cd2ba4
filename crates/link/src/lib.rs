//! What a link is and what becomes of it: target, policy, decision, token, key ring.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
