//! The link room seen from outside: vectors that stay for good, laws, foreign test data.

mod laws;
mod vectors;
mod whatwg;
mod wrappers;
