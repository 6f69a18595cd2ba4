//! `[admin]`: the address of health, metrics and the check for programs.

use std::net::SocketAddr;

use super::addresses::listen;
use super::option::section;

section! {
    /// `[admin]`
    pub(super) struct Admin {
        /// The address that admin pages are served at.
        pub(super) listen: SocketAddr = listen(),
    }
}
