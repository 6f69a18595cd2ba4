//! The thread that owns the writing connection: commits what waits in the queue as one group, and resolves the receipts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use crate::receipt::Promise;
use crate::rows::{
    AlertRow, ClickRow, LabelRow, MessageRow, ReferenceRow, RevocationRow, RevokedScope, alert, click, message,
    new_domain, revocation,
};
use crate::writer_state::{Notice, WriterState};
use crate::{StoreError, schema};

/// Items in one commit: bounds how long the first of them waits.
const GROUP: usize = 1024;

/// The longest time that a commit of a server waits for another process' lock: a reader waits for the answer.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// So many pages of log (16 MiB) are copied into the file even if there is no quiet moment. The log is written from its
/// start again after that, and a file that keeps its size is cheaper to sync.
const CHECKPOINT_PAGES: i64 = 4096;

/// Commits between two checks of the size of the log: a check takes as long as some rows.
const CHECK_LOG_EVERY: u32 = 8;

/// A quiet moment: time to copy the log into the file.
const IDLE: Duration = Duration::from_millis(500);

/// Pause before the first retry of a failed commit; doubled each time up to the second figure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Memory for rows whose commit failed, in octets; what comes on top is not kept.
const BACKLOG: usize = 8 << 20;

/// An item of the queue: rows, and the promise that is resolved once they are on disk.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) rows: Rows,
    pub(crate) promise: Option<Promise>,
}

#[derive(Debug)]
pub(crate) enum Rows {
    Click(Arc<ClickRow>),
    Message(Box<MessageRow>),
    References(Vec<ReferenceRow>),
    /// Registrable domains, and when they were seen.
    NewDomains(Vec<String>, i64),
    Alert(Box<AlertRow>),
    Labels(Vec<LabelRow>),
    Revoke(Box<RevocationRow>),
    Unrevoke(RevokedScope, String),
}

pub(crate) struct Writer {
    /// `None` after a failure that a new connection may cure.
    conn: Option<Connection>,
    path: PathBuf,
    state: Arc<WriterState>,
    backlog: Vec<Item>,
    backlog_octets: usize,
    /// The longest time that a commit waits for another process' lock.
    lock_patience: Duration,
    failing: Option<Failing>,
    /// The log has pages that are not in the file.
    uncopied: bool,
    /// Pages of log when a reader last stood in the way of a checkpoint.
    blocked_at: i64,
    /// Commits since the size of the log was checked.
    since_log_check: u32,
}

/// A transaction of statements that are kept, which rusqlite's own is not.
struct Transaction<'a>(&'a Connection);

struct Failing {
    since: Instant,
    pause: Duration,
    retry: Instant,
    error: StoreError,
}

impl Writer {
    pub(crate) fn new(conn: Connection, path: PathBuf, state: Arc<WriterState>, patience: Duration) -> Self {
        // A fresh connection has no statements to lose and no lock to fail on.
        let _ = conn.busy_timeout(patience);
        Self {
            conn: Some(conn),
            path,
            state,
            backlog: Vec::new(),
            backlog_octets: 0,
            lock_patience: patience,
            failing: None,
            uncopied: false,
            blocked_at: 0,
            since_log_check: 0,
        }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self, queue: &Receiver<Item>) {
        loop {
            let first = match self.patience() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(limit) => queue.recv_timeout(limit),
            };
            match first {
                Ok(first) => {
                    let mut group = Vec::with_capacity(64);
                    group.push(first);
                    group.extend(queue.try_iter().take(GROUP - 1));
                    self.commit_or_defer(group);
                    if self.checkpoint_is_due() {
                        self.checkpoint();
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.failing.is_some() => self.commit_or_defer(Vec::new()),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    /// The time to wait for the next item before something else is due; `None`: for as long as it takes.
    fn patience(&self) -> Option<Duration> {
        match &self.failing {
            Some(failing) => Some(failing.retry.saturating_duration_since(Instant::now())),
            None => self.uncopied.then_some(IDLE),
        }
    }

    /// Commits `group` behind what waits already; between two retries it only joins the wait.
    fn commit_or_defer(&mut self, group: Vec<Item>) {
        if let Some(failing) = &self.failing
            && Instant::now() < failing.retry
        {
            let error = failing.error.clone();
            self.defer(group, &error);
            return;
        }
        let mut items = std::mem::take(&mut self.backlog);
        self.backlog_octets = 0;
        items.extend(group);
        match self.commit(&items) {
            Ok(bad) => self.resolve(items, bad),
            Err(e) => self.note_failure(items, &e),
        }
    }

    /// One transaction for all. Rows that can never be stored come back by their place, and do not keep the others.
    fn commit(&mut self, items: &[Item]) -> rusqlite::Result<Vec<(usize, rusqlite::Error)>> {
        if self.conn.is_none() {
            let conn = schema::open_writing(&self.path).map_err(|e| {
                let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
                rusqlite::Error::SqliteFailure(failure, Some(e.to_string()))
            })?;
            conn.busy_timeout(self.lock_patience)?;
            self.conn = Some(conn);
        }
        let Some(conn) = &self.conn else {
            return Ok(Vec::new());
        };
        let tx = Transaction::begin(conn)?;
        let mut bad = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match store(conn, &item.rows) {
                Err(e) if is_row_fault(&e) => bad.push((place, e)),
                other => other?,
            }
        }
        tx.commit()?;
        Ok(bad)
    }

    fn resolve(&mut self, items: Vec<Item>, bad: Vec<(usize, rusqlite::Error)>) {
        self.uncopied = true;
        self.state.commits.fetch_add(1, Ordering::Relaxed);
        self.state.waiting.store(0, Ordering::Relaxed);
        // Before the receipts: a caller who waited for one may read the state next.
        if let Some(failing) = self.failing.take() {
            self.state.set_failing(None);
            self.state.notify(&Notice::Recovered {
                after: failing.since.elapsed(),
            });
        }
        let mut bad = bad.into_iter().peekable();
        for (place, Item { rows, promise }) in items.into_iter().enumerate() {
            let fault = bad
                .next_if(|(p, _)| *p == place)
                .map(|(_, e)| StoreError::Row(e.to_string().into()));
            match (&rows, &fault) {
                (Rows::Click(_), None) => self.state.clicks.fetch_add(1, Ordering::Relaxed),
                (Rows::Message(_), None) => self.state.messages.fetch_add(1, Ordering::Relaxed),
                (Rows::References(r), None) => self.state.references.fetch_add(r.len() as u64, Ordering::Relaxed),
                _ => 0,
            };
            match (promise, fault, rows) {
                (Some(promise), fault, _) => promise.resolve(fault.map_or(Ok(()), Err)),
                (None, Some(error), Rows::Message(row)) => self.state.count_lost(row.mail_id, error),
                _ => {}
            }
        }
    }

    fn note_failure(&mut self, items: Vec<Item>, cause: &rusqlite::Error) {
        let busy = matches!(
            cause.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        let why: Arc<str> = match busy {
            true => "locked by another process".into(),
            false => cause.to_string().into(),
        };
        // A connection that saw its disk fail may hold on to the failure.
        if !busy {
            self.conn = None;
        }
        self.state.failures.fetch_add(1, Ordering::Relaxed);
        let error = StoreError::Write(Arc::clone(&why));
        let now = Instant::now();
        let (since, pause) = match &self.failing {
            Some(failing) => (failing.since, (failing.pause * 2).min(RETRY.1)),
            None => (now, RETRY.0),
        };
        self.failing = Some(Failing {
            since,
            pause,
            retry: now + pause,
            error: error.clone(),
        });
        // Before the receipts, as above.
        let is_new = self.state.set_failing(Some(why));
        self.defer(items, &error);
        if is_new {
            self.state.notify(&Notice::Failing {
                error,
                waiting: self.backlog.len() as u64,
            });
        }
    }

    /// Resolves the receipts with the error, and keeps what may be kept.
    fn defer(&mut self, items: Vec<Item>, error: &StoreError) {
        for Item { rows, promise } in items {
            let octets = rows.octets();
            // Callers who hand in others wait for the answer, and try again.
            let worth = matches!(rows, Rows::Click(_) | Rows::Message(_) | Rows::Alert(_));
            let keep = worth && self.backlog_octets + octets <= BACKLOG;
            // A flush has no rows that could find no room.
            let flush = matches!(&rows, Rows::References(rows) if rows.is_empty());
            if let Some(promise) = promise {
                promise.resolve(Err(if keep || flush || !worth {
                    error.clone()
                } else {
                    StoreError::Full
                }));
            }
            match rows {
                rows if keep => {
                    self.backlog_octets += octets;
                    self.backlog.push(Item { rows, promise: None });
                }
                Rows::Message(row) => self.state.count_lost(row.mail_id, error.clone()),
                _ => {}
            }
        }
        self.state.waiting.store(self.backlog.len() as u64, Ordering::Relaxed);
    }

    /// Whether the log has grown enough since the last checkpoint, or the last one that a reader stood in the way of.
    fn checkpoint_is_due(&mut self) -> bool {
        self.since_log_check += 1;
        if self.since_log_check < CHECK_LOG_EVERY {
            return false;
        }
        self.since_log_check = 0;
        let Some((pages, copied)) = self.wal("PRAGMA wal_checkpoint(NOOP)") else {
            return false;
        };
        if pages < self.blocked_at {
            // The log has begun anew.
            self.blocked_at = 0;
        }
        pages - copied.max(self.blocked_at) >= CHECKPOINT_PAGES
    }

    /// Copies the log into the file as far as no reader stands in the way; never waits for one.
    fn checkpoint(&mut self) {
        // What could not be copied is tried again later. A failing disk shows at the next commit.
        let Some((pages, copied)) = self.wal("PRAGMA wal_checkpoint(PASSIVE)") else {
            return;
        };
        self.uncopied = copied < pages;
        self.blocked_at = if self.uncopied { pages } else { 0 };
    }

    /// Pages in the log, and how many of them are in the file.
    fn wal(&self, pragma: &str) -> Option<(i64, i64)> {
        let mut statement = self.conn.as_ref()?.prepare_cached(pragma).ok()?;
        statement.query_row([], |r| Ok((r.get(1)?, r.get(2)?))).ok()
    }

    /// Tries once more to commit what waits, now that the queue is closed.
    fn finish(mut self) {
        if !self.backlog.is_empty() {
            if let Some(failing) = &mut self.failing {
                failing.retry = Instant::now();
            }
            self.commit_or_defer(Vec::new());
        }
        let error = self.failing.take().map_or(StoreError::Closed, |failing| failing.error);
        for Item { rows, .. } in std::mem::take(&mut self.backlog) {
            // The receipt of a click has said that it was not on disk.
            if let Rows::Message(row) = rows {
                self.state.count_lost(row.mail_id, error.clone());
            }
        }
    }
}

impl<'a> Transaction<'a> {
    fn begin(conn: &'a Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(conn))
    }

    /// When it fails, everything is rolled back.
    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some failures have rolled back already. One that cannot is met by the next `BEGIN`.
        if !self.0.is_autocommit() {
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

impl Rows {
    /// About what they take in memory.
    fn octets(&self) -> usize {
        match self {
            Self::Click(row) => row.octets(),
            Self::Message(row) => row.octets(),
            Self::NewDomains(names, _) => names.iter().map(|n| 32 + n.len()).sum(),
            Self::References(rows) => rows.iter().map(|r| 128 + r.target.len()).sum(),
            Self::Alert(row) => row.octets(),
            Self::Labels(rows) => 128 * rows.len(),
            Self::Revoke(r) => 128 + r.name.len() + r.note.len(),
            Self::Unrevoke(_, name) => 128 + name.len(),
        }
    }
}

/// Whether it is a fault of the row, not of the disk: it would fail again.
fn is_row_fault(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

fn store(conn: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    match rows {
        Rows::Click(row) => click::insert(conn, row),
        Rows::Message(row) => message::insert(conn, row),
        Rows::References(rows) => rows.iter().try_for_each(|row| message::insert_reference(conn, row)),
        Rows::NewDomains(names, at_us) => names.iter().try_for_each(|name| new_domain::insert(conn, name, *at_us)),
        Rows::Alert(row) => alert::insert(conn, row),
        Rows::Labels(rows) => rows.iter().try_for_each(|row| click::relabel(conn, row)),
        Rows::Revoke(row) => revocation::insert(conn, row),
        Rows::Unrevoke(scope, name) => revocation::delete(conn, *scope, name),
    }
}
