//! `[store]`: where messages, clicks and alerts are recorded.

use std::path::PathBuf;

use super::option::{section, text};
use super::walk::path;

section! {
    /// `[store]`
    pub(super) struct Store {
        /// The SQLite file.
        pub(super) file: PathBuf = text("url", URL, |url| path(url.strip_prefix("sqlite:")?))
            .not_yet(|url| url.starts_with("postgres:") || url.starts_with("postgresql:")),
    }
}

const URL: &str = "\"sqlite:\" and the path of a file, such as \"sqlite:/var/lib/linkgate/linkgate.db\"";
