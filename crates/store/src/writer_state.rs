//! State that the writer's thread shares with the handles of the store: counts, and whether commits go well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::StoreError;

/// Counts of what the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clicks committed.
    pub clicks: u64,
    /// Messages committed.
    pub messages: u64,
    /// References committed.
    pub references: u64,
    /// Commits that went well.
    pub commits: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Messages that will not be stored: no room was left to keep them while the disk failed.
    pub lost: u64,
    /// Rows held in memory because the last commit failed.
    pub waiting: u64,
}

/// Whether the store takes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes them.
    Writing,
    /// The last commit failed for this reason; it is tried again.
    Failing(Arc<str>),
    /// Its thread has ended; nothing is stored any more.
    Dead,
}

/// Called with each [`Notice`].
pub(crate) type OnNotice = Box<dyn Fn(&Notice) + Send + Sync>;

/// News of the writer that the operator should hear about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A commit failed. Given at the first failure, and again when the reason changes.
    Failing {
        /// The reason.
        error: StoreError,
        /// Rows now held in memory.
        waiting: u64,
    },
    /// Commits go well again, and the rows held in memory are on disk.
    Recovered {
        /// The time for which they failed.
        after: Duration,
    },
    /// A message will not be stored.
    MessageLost {
        /// Our id of the mail.
        mail_id: String,
        /// The reason.
        error: StoreError,
    },
}

#[derive(Default)]
pub(crate) struct WriterState {
    pub(crate) clicks: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) references: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) waiting: AtomicU64,
    failing: Mutex<Option<Arc<str>>>,
    on_notice: Option<OnNotice>,
}

impl WriterState {
    /// Makes the state of a writer that has done nothing yet.
    pub(crate) fn new(on_notice: Option<OnNotice>) -> Self {
        Self {
            on_notice,
            ..Self::default()
        }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> Counts {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counts {
            clicks: load(&self.clicks),
            messages: load(&self.messages),
            references: load(&self.references),
            commits: load(&self.commits),
            failures: load(&self.failures),
            lost: load(&self.lost),
            waiting: load(&self.waiting),
        }
    }

    /// The health of a store whose thread runs.
    pub(crate) fn health(&self) -> Health {
        let failing = self.failing.lock();
        failing
            .as_ref()
            .map_or(Health::Writing, |why| Health::Failing(Arc::clone(why)))
    }

    /// Sets the reason why commits fail; true when it is another than before.
    pub(crate) fn set_failing(&self, why: Option<Arc<str>>) -> bool {
        let mut failing = self.failing.lock();
        let is_new = *failing != why;
        *failing = why;
        is_new
    }

    /// Counts a message that will not be stored, and gives notice of it.
    pub(crate) fn count_lost(&self, mail_id: String, error: StoreError) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.notify(&Notice::MessageLost { mail_id, error });
    }

    /// Gives notice to the caller of [`Store::open_watched`](crate::Store::open_watched).
    pub(crate) fn notify(&self, notice: &Notice) {
        if let Some(on_notice) = &self.on_notice {
            on_notice(notice);
        }
    }
}

impl std::fmt::Debug for WriterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterState").finish_non_exhaustive()
    }
}
