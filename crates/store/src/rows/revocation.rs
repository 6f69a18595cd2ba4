//! Revocations.

use std::fmt;

use link::Word;
use rusqlite::Connection;
use serde::Serialize;
use strum::{EnumString, IntoStaticStr};

use crate::columns::word;

/// A revocation by the operator: what it names is blocked at once, whatever the lists say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// The extent of the revocation.
    pub scope: RevokedScope,
    /// The URL without fragment, the host, or the domain, all in ASCII.
    pub name: String,
    /// The operator's note; may be empty.
    pub note: String,
    /// When, microseconds since 1970 in UTC.
    pub made_at_us: i64,
}

/// The extent of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RevokedScope {
    /// One URL.
    Url,
    /// All of one host.
    Host,
    /// A domain and all hosts under it.
    Domain,
}

/// As the operator writes it: a URL, a host, or `*.domain`.
impl fmt::Display for RevocationRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            RevokedScope::Url | RevokedScope::Host => f.write_str(&self.name),
            RevokedScope::Domain => write!(f, "*.{}", self.name),
        }
    }
}

/// Adds a revocation, in place of one of the same scope and name.
pub(crate) fn insert(conn: &Connection, row: &RevocationRow) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO revocation (scope, name, note, made_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (scope, name) DO UPDATE SET note = excluded.note, made_at = excluded.made_at",
        (row.scope.as_str(), &row.name, &row.note, row.made_at_us),
    )?;
    Ok(())
}

/// Takes a revocation away.
pub(crate) fn delete(conn: &Connection, scope: RevokedScope, name: &str) -> rusqlite::Result<()> {
    conn.execute(
        "DELETE FROM revocation WHERE scope = ?1 AND name = ?2",
        (scope.as_str(), name),
    )?;
    Ok(())
}

/// All revocations, by scope and name.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<RevocationRow>> {
    conn.prepare_cached("SELECT scope, name, note, made_at FROM revocation ORDER BY scope, name")?
        .query_map([], |r| {
            Ok(RevocationRow {
                scope: word::read(r, 0)?,
                name: r.get(1)?,
                note: r.get(2)?,
                made_at_us: r.get(3)?,
            })
        })?
        .collect()
}
