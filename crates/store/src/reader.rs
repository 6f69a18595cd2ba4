//! Queries.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use link::Verdict;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use serde::de::DeserializeOwned;

use crate::alert::{AlertKind, AlertRow, RevocationRow};
use crate::checked::{Label, Reason, by_word};
use crate::revoked::{self, RevocationWatch};
use crate::rows::{ClickRow, EventId, ReferenceRow, UnknownWord};
use crate::{StoreError, schema};

/// Connections kept open between queries.
const IDLE_CONNECTIONS: usize = 2;

/// Rows taken from the file at a time: a read transaction must be short, for the log cannot be reused behind it.
const PAGE: usize = 500;

/// Asks the store, on connections of its own that cannot write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// Which clicks are asked for: those that meet every condition that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClickQuery {
    /// Seen at this time or later, microseconds since 1970 in UTC.
    pub since_us: Option<i64>,
    /// The recipient the token names, without regard to ASCII case.
    pub user: Option<String>,
    /// The recipient domain whose policy wrapped the link, without regard to ASCII case.
    pub domain: Option<String>,
    /// The target's host, without regard to ASCII case.
    pub host: Option<String>,
    /// Who asked.
    pub label: Option<Label>,
    /// What the evidence came to.
    pub verdict: Option<Verdict>,
}

/// Which alerts are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// Raised at this time or later, microseconds since 1970 in UTC.
    pub since_us: Option<i64>,
    /// Of this kind.
    pub kind: Option<AlertKind>,
}

/// A click that let its reader through, as far as it takes to match it against lists again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// Seen at, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// Row number, which tells rows of one microsecond apart.
    pub id: i64,
    /// Its id.
    pub event_id: EventId,
    /// The target.
    pub url: String,
    /// URLs on the way to it.
    pub chain: Vec<String>,
    /// What its verdict rested on.
    pub reasons: Vec<Reason>,
    /// Who asked, by the label it has now.
    pub label: Label,
    /// Our id of the mail that held the link.
    pub mail_id: String,
}

/// That a link was opened from a network, by someone who is no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// When, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// Row number, which tells rows of one microsecond apart.
    pub id: i64,
    /// The recipient.
    pub user: String,
    /// The link, as [`Facts::link`](crate::Facts::link) has it.
    pub link: String,
    /// The network, as [`Facts::network`](crate::Facts::network) has it.
    pub network: String,
}

/// Rows at rest, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Click rows.
    pub clicks: u64,
    /// Message rows.
    pub messages: u64,
    /// Stored targets.
    pub references: u64,
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

    /// The file asked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The stored target with this id, if there is one. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reference(&self, id: &[u8; 16]) -> Result<Option<ReferenceRow>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached("SELECT target, written, mail_id, created_at FROM reference WHERE id = ?1")?
                .query_row([id.as_slice()], |r| {
                    Ok(ReferenceRow {
                        id: *id,
                        target: r.get(0)?,
                        written: r.get(1)?,
                        mail_id: r.get(2)?,
                        created_at_us: r.get(3)?,
                    })
                })
                .optional()
        })
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
        self.with(|conn| {
            conn.prepare_cached(&format!("SELECT {COLUMNS} FROM click WHERE event_id = ?1"))?
                .query_row([id.0], click)
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
        self.with(|conn| {
            conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM click WHERE at BETWEEN ?1 AND ?2 AND mail_id = ?3 ORDER BY at, id LIMIT ?4"
            ))?
            .query_map((from_us, to_us, mail_id, limit), |r| Ok(click(r)?.1))?
            .collect()
        })
    }

    /// A page of clicks behind `(at_us, id)` whose readers were let through, oldest first. Empty at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn let_through(&self, behind: (i64, i64)) -> Result<Vec<Through>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(
                "SELECT at, id, event_id, url, chain, reasons, label, mail_id FROM click WHERE (at, id) > (?1, ?2) \
                 AND outcome IN ('redirected', 'continued', 'clicked-through') ORDER BY at, id LIMIT ?3",
            )?
            .query_map((behind.0, behind.1, PAGE as i64), |r| {
                Ok(Through {
                    at_us: r.get(0)?,
                    id: r.get(1)?,
                    event_id: EventId(r.get(2)?),
                    url: r.get(3)?,
                    chain: json(r, 4)?,
                    reasons: json(r, 5)?,
                    label: word(r, 6, str::parse)?,
                    mail_id: r.get(7)?,
                })
            })?
            .collect()
        })
    }

    /// A page of openings of links behind `(at_us, id)`, oldest first. Empty at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn openings(&self, behind: (i64, i64)) -> Result<Vec<Opening>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(
                "SELECT at, id, user, facts ->> 'link' AS link, facts ->> 'network' AS network FROM click \
                 WHERE (at, id) > (?1, ?2) AND label NOT IN ('machine', 'likely-machine') \
                 AND user IS NOT NULL AND link IS NOT NULL AND network IS NOT NULL ORDER BY at, id LIMIT ?3",
            )?
            .query_map((behind.0, behind.1, PAGE as i64), |r| {
                Ok(Opening {
                    at_us: r.get(0)?,
                    id: r.get(1)?,
                    user: r.get(2)?,
                    link: r.get(3)?,
                    network: r.get(4)?,
                })
            })?
            .collect()
        })
    }

    /// The alerts that meet `query`, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts(&self, query: &AlertQuery) -> Result<Vec<AlertRow>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(
                "SELECT kind, url, source, detail, at, first_click, last_click, people, machines, unknown, events \
                 FROM alert WHERE at >= ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY at, id",
            )?
            .query_map(
                (query.since_us.unwrap_or(i64::MIN), query.kind.map(AlertKind::as_str)),
                |r| {
                    let count = |column| r.get::<usize, i64>(column).map(i64::cast_unsigned);
                    Ok(AlertRow {
                        kind: word(r, 0, str::parse)?,
                        url: r.get(1)?,
                        source: r.get(2)?,
                        detail: r.get(3)?,
                        at_us: r.get(4)?,
                        first_click_us: r.get(5)?,
                        last_click_us: r.get(6)?,
                        people: count(7)?,
                        machines: count(8)?,
                        unknown: count(9)?,
                        events: json(r, 10)?,
                    })
                },
            )?
            .collect()
        })
    }

    /// The time of the last click that alerts of this kind about this URL speak of; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_alerted(&self, kind: AlertKind, url: &str) -> Result<Option<i64>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached("SELECT max(last_click) FROM alert WHERE kind = ?1 AND url = ?2")?
                .query_row((kind.as_str(), url), |r| r.get(0))
        })
    }

    /// What is revoked, by scope and name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn revocations(&self) -> Result<Vec<RevocationRow>, StoreError> {
        self.with(revoked::all)
    }

    /// Follows what is revoked, on a connection of its own.
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
        self.with(|conn| conn.query_row("SELECT value FROM secret WHERE name = 'network'", [], |r| r.get(0)))
    }

    /// When a registrable domain was first seen, in microseconds since 1970 in UTC. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn domain_seen(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached("SELECT first_at FROM seen_domain WHERE name = ?1")?
                .query_row([name], |r| r.get(0))
                .optional()
        })
    }

    /// When the first of all domains was seen. Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn first_domain_seen(&self) -> Result<Option<i64>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached("SELECT min(first_at) FROM seen_domain")?
                .query_row([], |r| r.get(0))
        })
    }

    /// How many rows there are. Counts them, so not for a busy path.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        const SQL: &str =
            "SELECT (SELECT count(*) FROM click), (SELECT count(*) FROM message), (SELECT count(*) FROM reference)";
        self.with(|conn| {
            conn.query_row(SQL, [], |r| {
                let count = |column| r.get::<usize, i64>(column).map(i64::cast_unsigned);
                Ok(Totals {
                    clicks: count(0)?,
                    messages: count(1)?,
                    references: count(2)?,
                })
            })
        })
    }

    /// A page of clicks behind `last`, each with its row number.
    fn page(&self, query: &ClickQuery, last: (i64, i64)) -> Result<Vec<(i64, ClickRow)>, StoreError> {
        self.with(|conn| {
            let mut sql = format!("SELECT {COLUMNS} FROM click WHERE (at, id) > (:at, :id)");
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
            statement.query_map(named.as_slice(), click)?.collect()
        })
    }

    /// Runs `ask` on an idle connection or a new one.
    fn with<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = || self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => schema::open_reading(&self.0.path)?,
        };
        let answer = ask(&conn).map_err(|e| StoreError::reading(&self.0.path, &e))?;
        // Only a connection that answered is kept: one that failed may be the reason.
        let mut idle = idle();
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

/// What [`click`] reads, in its order.
const COLUMNS: &str = "id, event_id, at, user, url, host, mail_id, sender, policy_domain, user_agent, client_ip, method, \
                       outcome, verdict, reasons, chain, page_event, label, label_reasons, rules, facts";

fn click(r: &Row<'_>) -> rusqlite::Result<(i64, ClickRow)> {
    let row = ClickRow {
        event_id: EventId(r.get(1)?),
        at_us: r.get(2)?,
        user: r.get(3)?,
        url: r.get(4)?,
        host: r.get(5)?,
        mail_id: r.get(6)?,
        sender: r.get(7)?,
        policy_domain: r.get(8)?,
        user_agent: r.get(9)?,
        client_ip: r.get(10)?,
        method: word(r, 11, str::parse)?,
        outcome: word(r, 12, str::parse)?,
        verdict: match r.get_ref(13)? {
            ValueRef::Null => None,
            _ => Some(word(r, 13, |word| by_word(Verdict::WORDS, word))?),
        },
        reasons: json(r, 14)?,
        chain: json(r, 15)?,
        page_event: r.get::<_, Option<[u8; 16]>>(16)?.map(EventId),
        label: word(r, 17, str::parse)?,
        label_reasons: json(r, 18)?,
        rules: r.get(19)?,
        facts: json(r, 20)?,
    };
    Ok((r.get(0)?, row))
}

/// A column that holds one of our words.
pub(crate) fn word<T>(
    r: &Row<'_>,
    column: usize,
    read: impl Fn(&str) -> Result<T, UnknownWord>,
) -> rusqlite::Result<T> {
    read(r.get_ref(column)?.as_str()?).map_err(|e| unreadable(column, e))
}

/// A column that holds JSON.
fn json<T: DeserializeOwned>(r: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(r.get_ref(column)?.as_str()?).map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, why: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(why))
}
