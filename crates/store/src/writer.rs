//! The thread that owns the writing connection: takes what waits in the queue, commits it as one group, answers everyone.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use link::Verdict;
use rusqlite::{Connection, ErrorCode, params};
use serde::Serialize;

use crate::alert::{AlertRow, RevocationRow, RevokedScope};
use crate::checked::LabelRow;
use crate::receipt::Promise;
use crate::rows::{ClickRow, MessageRow, ReferenceRow};
use crate::store::Shared;
use crate::{StoreError, schema};

/// Items in one commit: bounds how long the first of them waits.
const GROUP: usize = 1024;

/// How long a commit of a server waits for another process' lock: someone waits for the answer.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// So many pages of log (16 MiB) are copied into the file even if there is no quiet moment. The log is written from its
/// start again after that, and a file that keeps its size is cheaper to sync.
const CHECKPOINT_PAGES: i64 = 4096;

/// Commits between two looks at the size of the log: the look takes as long as some rows.
const LOOK_EVERY: u32 = 8;

/// A quiet moment: time to copy the log into the file.
const IDLE: Duration = Duration::from_millis(500);

/// Pause before the first retry of a failed commit; doubled each time up to the second figure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Memory for rows whose commit failed, in octets; what comes on top is not kept.
const BACKLOG: usize = 8 << 20;

/// Called with each [`Notice`].
pub(crate) type Watch = Box<dyn Fn(&Notice) + Send + Sync>;

/// What the operator should hear about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A commit failed. Told at the first failure, and again when the reason changes.
    Failing {
        /// The reason.
        error: StoreError,
        /// Rows now held in memory.
        waiting: u64,
    },
    /// Commits go well again, and the rows held in memory are on disk.
    Recovered {
        /// How long they did not.
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

/// What travels through the queue.
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
    Seen(Vec<String>, i64),
    Alert(Box<AlertRow>),
    Labels(Vec<LabelRow>),
    Revoke(Box<RevocationRow>),
    Unrevoke(RevokedScope, String),
}

pub(crate) struct Writer {
    /// `None` after a failure that a new connection may cure.
    conn: Option<Connection>,
    path: PathBuf,
    shared: Arc<Shared>,
    backlog: Vec<Item>,
    backlog_octets: usize,
    /// How long a commit waits for another process' lock.
    lock_patience: Duration,
    failing: Option<Failing>,
    /// The log has pages that are not in the file.
    unchecked: bool,
    /// Pages of log when a reader last stood in the way of a checkpoint.
    blocked_at: i64,
    /// Commits since the size of the log was looked at.
    unlooked: u32,
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
    pub(crate) fn new(conn: Connection, path: PathBuf, shared: Arc<Shared>, patience: Duration) -> Self {
        // A fresh connection has no statements to lose and no lock to fail on.
        let _ = conn.busy_timeout(patience);
        Self {
            conn: Some(conn),
            path,
            shared,
            backlog: Vec::new(),
            backlog_octets: 0,
            lock_patience: patience,
            failing: None,
            unchecked: false,
            blocked_at: 0,
            unlooked: 0,
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
                    self.take(group);
                    if self.checkpoint_is_due() {
                        self.checkpoint();
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.failing.is_some() => self.take(Vec::new()),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    /// How long to wait for the next item before something else is due; `None`: for as long as it takes.
    fn patience(&self) -> Option<Duration> {
        match &self.failing {
            Some(failing) => Some(failing.retry.saturating_duration_since(Instant::now())),
            None => self.unchecked.then_some(IDLE),
        }
    }

    /// Commits `group` behind what waits already; between two retries it only joins the wait.
    fn take(&mut self, group: Vec<Item>) {
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
            Ok(bad) => self.answer(items, bad),
            Err(e) => self.fail(items, &e),
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
            match insert(conn, &item.rows) {
                Err(e) if is_row_fault(&e) => bad.push((place, e)),
                other => other?,
            }
        }
        tx.commit()?;
        Ok(bad)
    }

    fn answer(&mut self, items: Vec<Item>, bad: Vec<(usize, rusqlite::Error)>) {
        self.unchecked = true;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.waiting.store(0, Ordering::Relaxed);
        // Before the answers: who waited for one may look at the state next.
        if let Some(failing) = self.failing.take() {
            self.set_failing(None);
            self.shared.tell(&Notice::Recovered {
                after: failing.since.elapsed(),
            });
        }
        let mut bad = bad.into_iter().peekable();
        for (place, Item { rows, promise }) in items.into_iter().enumerate() {
            let fault = bad
                .next_if(|(p, _)| *p == place)
                .map(|(_, e)| StoreError::Row(e.to_string().into()));
            match (&rows, &fault) {
                (Rows::Click(_), None) => self.shared.clicks.fetch_add(1, Ordering::Relaxed),
                (Rows::Message(_), None) => self.shared.messages.fetch_add(1, Ordering::Relaxed),
                (Rows::References(r), None) => self.shared.references.fetch_add(r.len() as u64, Ordering::Relaxed),
                _ => 0,
            };
            match (promise, fault, rows) {
                (Some(promise), fault, _) => promise.resolve(fault.map_or(Ok(()), Err)),
                (None, Some(error), Rows::Message(row)) => self.shared.lose(row.mail_id, error),
                _ => {}
            }
        }
    }

    fn fail(&mut self, items: Vec<Item>, cause: &rusqlite::Error) {
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
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
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
        // Before the answers, as above.
        let news = self.set_failing(Some(why));
        self.defer(items, &error);
        if news {
            self.shared.tell(&Notice::Failing {
                error,
                waiting: self.backlog.len() as u64,
            });
        }
    }

    /// Tells everyone who waits that it did not work, and keeps what may be kept.
    fn defer(&mut self, items: Vec<Item>, error: &StoreError) {
        for Item { rows, promise } in items {
            let octets = rows.octets();
            // Whoever hands in others waits for the answer, and tries again.
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
                Rows::Message(row) => self.shared.lose(row.mail_id, error.clone()),
                _ => {}
            }
        }
        self.shared.waiting.store(self.backlog.len() as u64, Ordering::Relaxed);
    }

    /// Whether the log has grown enough since the last checkpoint, or the last one that a reader stood in the way of.
    fn checkpoint_is_due(&mut self) -> bool {
        self.unlooked += 1;
        if self.unlooked < LOOK_EVERY {
            return false;
        }
        self.unlooked = 0;
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
        self.unchecked = copied < pages;
        self.blocked_at = if self.unchecked { pages } else { 0 };
    }

    /// Pages in the log, and how many of them are in the file.
    fn wal(&self, pragma: &str) -> Option<(i64, i64)> {
        let mut statement = self.conn.as_ref()?.prepare_cached(pragma).ok()?;
        statement.query_row([], |r| Ok((r.get(1)?, r.get(2)?))).ok()
    }

    /// The queue is closed: what waits gets its last chance.
    fn finish(mut self) {
        if !self.backlog.is_empty() {
            if let Some(failing) = &mut self.failing {
                failing.retry = Instant::now();
            }
            self.take(Vec::new());
        }
        let error = self.failing.take().map_or(StoreError::Closed, |failing| failing.error);
        for Item { rows, .. } in std::mem::take(&mut self.backlog) {
            // Whoever handed in a click was told that it was not on disk.
            if let Rows::Message(row) = rows {
                self.shared.lose(row.mail_id, error.clone());
            }
        }
    }

    /// True when the reason is new.
    fn set_failing(&self, why: Option<Arc<str>>) -> bool {
        let mut failing = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *failing != why;
        *failing = why;
        news
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
            Self::Click(c) => {
                let text = [&c.url, &c.host, &c.mail_id, &c.sender, &c.policy_domain, &c.user_agent];
                let reasons = c
                    .reasons
                    .iter()
                    .map(|r| 128 + r.about.len() + r.detail.len())
                    .sum::<usize>();
                let chain = c.chain.iter().map(|url| 32 + url.len()).sum::<usize>();
                1024 + text.iter().map(|s| s.len()).sum::<usize>() + reasons + chain
            }
            Self::Message(m) => {
                let links = m.links.iter().map(|l| 96 + l.url.len()).sum::<usize>();
                512 + m.recipients.iter().map(|r| 32 + r.len()).sum::<usize>() + links
            }
            Self::Seen(names, _) => names.iter().map(|n| 32 + n.len()).sum(),
            Self::References(rows) => rows.iter().map(|r| 128 + r.target.len()).sum(),
            Self::Alert(a) => 512 + a.url.len() + a.detail.len() + 16 * a.events.len(),
            Self::Labels(rows) => 128 * rows.len(),
            Self::Revoke(r) => 128 + r.name.len() + r.note.len(),
            Self::Unrevoke(_, name) => 128 + name.len(),
        }
    }
}

/// A fault of the row, not of the disk: it would fail again.
fn is_row_fault(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

fn insert(conn: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    match rows {
        Rows::Click(c) => insert_click(conn, c),
        Rows::Message(m) => insert_message(conn, m),
        Rows::References(rows) => rows.iter().try_for_each(|r| insert_reference(conn, r)),
        Rows::Seen(names, at_us) => names.iter().try_for_each(|name| insert_seen(conn, name, *at_us)),
        Rows::Alert(a) => insert_alert(conn, a),
        Rows::Labels(rows) => rows.iter().try_for_each(|r| update_label(conn, r)),
        Rows::Revoke(r) => insert_revocation(conn, r),
        Rows::Unrevoke(scope, name) => {
            conn.execute(
                "DELETE FROM revocation WHERE scope = ?1 AND name = ?2",
                params![scope.as_str(), name],
            )?;
            Ok(())
        }
    }
}

fn insert_click(conn: &Connection, c: &ClickRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO click (event_id, at, user, url, host, mail_id, sender, policy_domain, user_agent, client_ip, method, \
         outcome, verdict, reasons, chain, page_event, label, label_reasons, rules, facts) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
         ON CONFLICT (event_id) DO NOTHING",
    )?
    .execute(params![
        c.event_id.0,
        c.at_us,
        c.user,
        c.url,
        c.host,
        c.mail_id,
        c.sender,
        c.policy_domain,
        c.user_agent,
        c.client_ip,
        c.method.as_str(),
        c.outcome.as_str(),
        c.verdict.map(Verdict::as_str),
        list(&c.reasons)?,
        list(&c.chain)?,
        c.page_event.map(|id| id.0),
        c.label.as_str(),
        list(&c.label_reasons)?,
        c.rules,
        json(&c.facts)?,
    ])?;
    Ok(())
}

fn update_label(conn: &Connection, l: &LabelRow) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE click SET label = ?2, label_reasons = ?3, rules = ?4 WHERE event_id = ?1")?
        .execute(params![l.event_id.0, l.label.as_str(), json(&l.reasons)?, l.rules])?;
    Ok(())
}

/// An alert that says nothing beyond one that is there is not stored again: two nodes may find the same.
fn insert_alert(conn: &Connection, a: &AlertRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO alert (kind, url, source, detail, at, first_click, last_click, people, machines, unknown, events) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
         WHERE NOT EXISTS (SELECT 1 FROM alert WHERE kind = ?1 AND url = ?2 AND last_click >= ?7)",
    )?
    .execute(params![
        a.kind.as_str(),
        a.url,
        a.source,
        a.detail,
        a.at_us,
        a.first_click_us,
        a.last_click_us,
        a.people.cast_signed(),
        a.machines.cast_signed(),
        a.unknown.cast_signed(),
        json(&a.events)?,
    ])?;
    Ok(())
}

fn insert_revocation(conn: &Connection, r: &RevocationRow) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO revocation (scope, name, note, made_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (scope, name) DO UPDATE SET note = excluded.note, made_at = excluded.made_at",
        params![r.scope.as_str(), r.name, r.note, r.made_at_us],
    )?;
    Ok(())
}

/// Most lists of a click are empty.
fn list<T: Serialize>(list: &[T]) -> rusqlite::Result<Cow<'static, str>> {
    if list.is_empty() {
        return Ok(Cow::Borrowed("[]"));
    }
    json(&list).map(Cow::Owned)
}

fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn insert_message(conn: &Connection, m: &MessageRow) -> rusqlite::Result<()> {
    let new = conn
        .prepare_cached(
            "INSERT INTO message (mail_id, message_id, sender, received_at, listener, policy_domain, \
             links_found, links_wrapped, links_kept) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (mail_id) DO NOTHING",
        )?
        .execute(params![
            m.mail_id,
            m.message_id,
            m.sender,
            m.received_at_us,
            m.listener,
            m.policy_domain,
            m.links_found,
            m.links_wrapped,
            m.links_kept,
        ])?;
    if new == 0 {
        return Ok(());
    }
    let mut recipient =
        conn.prepare_cached("INSERT INTO recipient (mail_id, address) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for address in &m.recipients {
        recipient.execute(params![m.mail_id, address])?;
    }
    let mut link =
        conn.prepare_cached("INSERT INTO link (mail_id, position, url, decision, reason) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (position, l) in m.links.iter().enumerate() {
        link.execute(params![m.mail_id, position as i64, l.url, l.decision, l.reason])?;
    }
    Ok(())
}

fn insert_seen(conn: &Connection, name: &str, at_us: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO seen_domain (name, first_at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
        .execute(params![name, at_us])?;
    Ok(())
}

fn insert_reference(conn: &Connection, r: &ReferenceRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO reference (id, target, written, mail_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5) \
 ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![r.id, r.target, r.written, r.mail_id, r.created_at_us])?;
    Ok(())
}
