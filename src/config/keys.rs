//! `[keys]`: where the keys of click links are kept.

use std::path::PathBuf;

use super::option::{Key, Opt, section};
use super::walk::{Item, path};

section! {
    /// `[keys]`
    pub(super) struct Keys {
        /// The key file.
        pub(super) file: Item<PathBuf> =
            Opt::new(Key::text("file", "the path of a file"), |w, s, key| w.parsed(s, key, path)),
    }
}
