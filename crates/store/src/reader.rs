//! Reading: queries beside the writer.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::{Verdict, Word};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::revocation_watch::RevocationWatch;
use crate::rows::{
    AlertKind, AlertRow, ClickRow, EventId, Label, LetThrough, LinkOpening, ReferenceRow, RevocationRow, alert, click,
    message, new_domain, revocation,
};
use crate::{StoreError, schema};

/// Connections kept open between queries.
const IDLE_CONNECTIONS: usize = 2;

/// Rows taken from the file at a time: a read transaction must be short, for the log cannot be reused behind it.
const PAGE: usize = 500;

/// Queries of the store, on connections of its own that cannot write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// A query for clicks: those that meet every condition that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClickQuery {
    /// At this time or later, microseconds since 1970 in UTC.
    pub since_us: Option<i64>,
    /// The recipient the token names, without regard to ASCII case.
    pub user: Option<String>,
    /// The recipient domain whose policy wrapped the link, without regard to ASCII case.
    pub domain: Option<String>,
    /// The target's host, without regard to ASCII case.
    pub host: Option<String>,
    /// Of this label.
    pub label: Option<Label>,
    /// Of this verdict.
    pub verdict: Option<Verdict>,
}

/// A query for alerts: those that meet every condition that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// Raised at this time or later, microseconds since 1970 in UTC.
    pub since_us: Option<i64>,
    /// Of this kind.
    pub kind: Option<AlertKind>,
}

/// The clicks a query finds, oldest first; read page by page, so new clicks may show up while it runs.
///
/// It ends after the first error.
#[derive(Debug)]
pub struct Clicks {
    reader: Reader,
    query: ClickQuery,
    page: VecDeque<ClickRow>,
    /// `at` and row number of the last row read.
    last: (i64, i64),
    finished: bool,
}

impl Reader {
    /// Opens an existing store for queries, beside a running server or without one.
    ///
    /// # Errors
    /// There is no file, it is not a store, its schema is not today's, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = schema::open_reading(path)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            idle: Mutex::new(vec![conn]),
        })))
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The stored target with this id, if there is one. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reference(&self, id: &[u8; 16]) -> Result<Option<ReferenceRow>, StoreError> {
        self.query(|conn| message::reference(conn, id))
    }

    /// The clicks that meet `query`, oldest first.
    #[must_use]
    pub fn clicks(&self, query: &ClickQuery) -> Clicks {
        let last = (query.since_us.unwrap_or(i64::MIN), i64::MIN);
        Clicks {
            reader: self.clone(),
            query: query.clone(),
            page: VecDeque::new(),
            last,
            finished: false,
        }
    }

    /// The click with this id, if there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn click(&self, id: EventId) -> Result<Option<ClickRow>, StoreError> {
        self.query(|conn| {
            conn.prepare_cached(&format!("{} WHERE event_id = ?1", *click::SELECT))?
                .query_row([id], click::read_numbered)
                .optional()
                .map(|row| row.map(|(_, row)| row))
        })
    }

    /// The clicks on links of one mail between two times, both included, oldest first; `limit` of them at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn clicks_of_mail(
        &self,
        mail_id: &str,
        from_us: i64,
        to_us: i64,
        limit: u32,
    ) -> Result<Vec<ClickRow>, StoreError> {
        self.query(|conn| {
            conn.prepare_cached(&format!(
                "{} WHERE at BETWEEN ?1 AND ?2 AND mail_id = ?3 ORDER BY at, id LIMIT ?4",
                *click::SELECT
            ))?
            .query_map((from_us, to_us, mail_id, limit), |r| Ok(click::read_numbered(r)?.1))?
            .collect()
        })
    }

    /// A page of clicks behind `(at_us, id)` whose readers were let through, oldest first. Empty at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn let_through(&self, behind: (i64, i64)) -> Result<Vec<LetThrough>, StoreError> {
        self.query(|conn| click::let_through(conn, behind, PAGE))
    }

    /// A page of openings of links behind `(at_us, id)`, oldest first. Empty at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn openings(&self, behind: (i64, i64)) -> Result<Vec<LinkOpening>, StoreError> {
        self.query(|conn| click::openings(conn, behind, PAGE))
    }

    /// The alerts that meet `query`, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts(&self, query: &AlertQuery) -> Result<Vec<AlertRow>, StoreError> {
        self.query(|conn| alert::all(conn, query.since_us.unwrap_or(i64::MIN), query.kind))
    }

    /// The time of the last click that alerts of this kind about this URL speak of; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_alerted(&self, kind: AlertKind, url: &str) -> Result<Option<i64>, StoreError> {
        self.query(|conn| alert::last_click(conn, kind, url))
    }

    /// All revocations, by scope and name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn revocations(&self) -> Result<Vec<RevocationRow>, StoreError> {
        self.query(revocation::all)
    }

    /// A watch for changes of the revocations, on a connection of its own.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn watch_revocations(&self) -> Result<RevocationWatch, StoreError> {
        RevocationWatch::open(&self.0.path)
    }

    /// The secret behind the hashes of networks in the facts of clicks: made at random with the store.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn network_secret(&self) -> Result<[u8; 32], StoreError> {
        self.query(|conn| conn.query_row("SELECT value FROM secret WHERE name = 'network'", [], |r| r.get(0)))
    }

    /// The time at which a registrable domain was first seen, in microseconds since 1970 in UTC. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn domain_seen(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.query(|conn| new_domain::first_at(conn, name))
    }

    /// The time at which the first of all domains was seen. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn first_domain_seen(&self) -> Result<Option<i64>, StoreError> {
        self.query(new_domain::first_of_all)
    }

    /// A page of clicks behind `last`, each with its row number.
    fn page(&self, query: &ClickQuery, last: (i64, i64)) -> Result<Vec<(i64, ClickRow)>, StoreError> {
        self.query(|conn| {
            let mut sql = format!("{} WHERE (at, id) > (:at, :id)", *click::SELECT);
            // A condition that is not set is left out, so that each mix of conditions finds its index.
            let conditions: [(&str, &str, Option<&str>); 5] = [
                ("user", ":user", query.user.as_deref()),
                ("policy_domain", ":policy_domain", query.domain.as_deref()),
                ("host", ":host", query.host.as_deref()),
                ("label", ":label", query.label.map(Label::as_str)),
                ("verdict", ":verdict", query.verdict.map(Verdict::as_str)),
            ];
            let mut named: Vec<(&str, &dyn rusqlite::ToSql)> =
                named_params! { ":at": last.0, ":id": last.1, ":page": PAGE as i64 }.to_vec();
            for (column, name, value) in &conditions {
                if let Some(value) = value {
                    sql.push_str(&format!(" AND {column} = {name}"));
                    named.push((name, value));
                }
            }
            sql.push_str(" ORDER BY at, id LIMIT :page");
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map(named.as_slice(), click::read_numbered)?.collect()
        })
    }

    /// Runs a query on an idle connection or a new one.
    fn query<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.0.idle.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => schema::open_reading(&self.0.path)?,
        };
        let answer = query(&conn).map_err(|e| StoreError::reading(&self.0.path, &e))?;
        // Only a connection that answered is kept: one that failed may be the reason.
        let mut idle = self.0.idle.lock();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(conn);
        }
        Ok(answer)
    }
}

impl Iterator for Clicks {
    type Item = Result<ClickRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.finished {
            match self.reader.page(&self.query, self.last) {
                Ok(rows) => {
                    self.finished = rows.len() < PAGE;
                    if let Some((id, row)) = rows.last() {
                        self.last = (row.at_us, *id);
                    }
                    self.page.extend(rows.into_iter().map(|(_, row)| row));
                }
                Err(e) => {
                    self.finished = true;
                    return Some(Err(e));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}
