//! Registrable domains that links led to, with the first time of each.

use rusqlite::{Connection, OptionalExtension};

/// Notes a domain; one that is known keeps its first time.
pub(crate) fn insert(conn: &Connection, name: &str, at_us: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO seen_domain (name, first_at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
        .execute((name, at_us))?;
    Ok(())
}

/// When a domain was first noted.
pub(crate) fn first_at(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT first_at FROM seen_domain WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()
}

/// When the first of all domains was noted.
pub(crate) fn first_of_all(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT min(first_at) FROM seen_domain")?
        .query_row([], |r| r.get(0))
}
