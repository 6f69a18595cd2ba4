//! Alerts.

use std::sync::LazyLock;

use link::Word;
use rusqlite::{Connection, params_from_iter};
use strum::{EnumString, IntoStaticStr};

use super::event_id::EventId;
use crate::columns::{self, columns};

/// An alert: something the operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// Its subject.
    pub kind: AlertKind,
    /// The target, or what was revoked.
    pub url: String,
    /// The source that said so: the name of a list, `revoked`, `link`.
    pub source: String,
    /// The text of the alert; may be empty.
    pub detail: String,
    /// When it was raised, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// The first click it speaks of; that time for an alert without clicks.
    pub first_click_us: i64,
    /// The last click it speaks of.
    pub last_click_us: i64,
    /// Clicks by people or likely people.
    pub people: u64,
    /// Clicks by machines or likely machines.
    pub machines: u64,
    /// Clicks by visitors who may be either.
    pub unknown: u64,
    /// The clicks it speaks of; the newest when there are too many to name.
    pub events: Vec<EventId>,
}

/// The subject of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum AlertKind {
    /// A target was listed after readers had been let through to it.
    LateListing,
    /// A link turned up where it does not belong.
    Smuggled,
    /// The operator revoked a URL, host or domain.
    Revoked,
    /// The operator took a revocation back.
    Unrevoked,
    /// A reader asked for a review of a verdict.
    ReviewAsked,
}

columns! { AlertRow {
    "kind" kind: word,
    "url" url: plain,
    "source" source: plain,
    "detail" detail: plain,
    "at" at_us: plain,
    "first_click" first_click_us: plain,
    "last_click" last_click_us: plain,
    "people" people: count,
    "machines" machines: count,
    "unknown" unknown: count,
    "events" events: json,
} }

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places = columns::places(COLUMNS.split(',').count());
    format!(
        "INSERT INTO alert ({COLUMNS}) SELECT {places} WHERE NOT EXISTS \
         (SELECT 1 FROM alert AS known WHERE known.kind = ?1 AND known.url = ?2 AND known.last_click >= ?7)"
    )
});

/// Adds an alert, unless one is there that says as much: two nodes may find the same.
pub(crate) fn insert(conn: &Connection, row: &AlertRow) -> rusqlite::Result<()> {
    conn.prepare_cached(&INSERT)?.execute(params_from_iter(values(row)?))?;
    Ok(())
}

/// The alerts since a time, of one kind or of all, oldest first.
pub(crate) fn all(conn: &Connection, since_us: i64, kind: Option<AlertKind>) -> rusqlite::Result<Vec<AlertRow>> {
    let sql = format!("SELECT {COLUMNS} FROM alert WHERE at >= ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY at, id");
    conn.prepare_cached(&sql)?
        .query_map((since_us, kind.map(AlertKind::as_str)), |r| read(r, 0))?
        .collect()
}

/// The time of the last click that alerts of this kind about this URL speak of.
pub(crate) fn last_click(conn: &Connection, kind: AlertKind, url: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT max(last_click) FROM alert WHERE kind = ?1 AND url = ?2")?
        .query_row((kind.as_str(), url), |r| r.get(0))
}

impl AlertRow {
    /// About what it takes in memory, in octets.
    pub(crate) fn octets(&self) -> usize {
        512 + self.url.len() + self.detail.len() + 16 * self.events.len()
    }
}
