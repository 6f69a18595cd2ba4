//! Errors of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reason the store could not be opened, written to or read.
///
/// Cheap to clone: one failed commit answers everyone who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such file, and it was not asked to be made.
    #[error("{}: there is no store here yet; `linkgate serve` makes it", .0.display())]
    Missing(PathBuf),
    /// The file or its folder cannot be used.
    #[error("{}: cannot open the store: {why}", .path.display())]
    Open {
        /// The file asked for.
        path: PathBuf,
        /// The operating system's or SQLite's words.
        why: Arc<str>,
    },
    /// The file holds something else.
    #[error("{}: not a linkgate store: {why}", .path.display())]
    NotAStore {
        /// The file asked for.
        path: PathBuf,
        /// The value found.
        why: Arc<str>,
    },
    /// A newer linkgate wrote the file.
    #[error("{}: schema version {found} is newer than {known}, the newest this linkgate knows", .path.display())]
    NewerSchema {
        /// The file asked for.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Our own.
        known: u32,
    },
    /// An older linkgate wrote the file, and a reader may not change it.
    #[error("{}: schema version {found} is older than {known}; `linkgate serve` brings it up to date", .path.display())]
    OlderSchema {
        /// The file asked for.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Our own.
        known: u32,
    },
    /// Another process holds the file's lock.
    #[error("{}: the store is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The rows could not be committed. Clicks and messages stay in memory and are tried again; references do not.
    #[error("the store cannot be written to: {0}")]
    Write(Arc<str>),
    /// This very row cannot be stored, now or later.
    #[error("the row cannot be stored: {0}")]
    Row(Arc<str>),
    /// More rows wait than may: this one was not taken.
    #[error("the store is too far behind: the row was not taken")]
    Full,
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
    /// A query failed.
    #[error("{}: cannot read the store: {why}", .path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// SQLite's words.
        why: Arc<str>,
    },
}

impl StoreError {
    /// The meaning of `error` when it comes up while `path` is opened.
    pub(crate) fn opening(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let path = path.to_owned();
        let why = error.to_string().into();
        match error.sqlite_error_code() {
            Some(Code::NotADatabase | Code::DatabaseCorrupt) => Self::NotAStore { path, why },
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Locked(path),
            _ => Self::Open { path, why },
        }
    }

    /// The meaning of `error` when it comes up in a query.
    pub(crate) fn reading(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            why: error.to_string().into(),
        }
    }
}
