//! `linkgate revoke`: what the operator blocks at once, and takes back.

use std::io::{self, Write};

use link::Word;
use store::{AlertKind, AlertRow, RevocationRow, RevokedScope, Store, StoreError};

use crate::cli::output::{Escaped, time};
use crate::intel::revoked::{self, RevokeError, SOURCE};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeArgs {
    /// Block this URL, host or `*.domain`, with a note.
    Revoke(String, String),
    /// Take that back.
    Undo(String),
    /// Show what is revoked.
    List,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum RevokeFailure {
    /// It cannot be revoked.
    #[error(transparent)]
    Refused(#[from] RevokeError),
    /// There is nothing to take back.
    #[error("{0} is not revoked; see linkgate revoke --list")]
    NotRevoked(String),
    /// The store cannot be read or written to.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Revokes, takes back or lists. What was revoked is on disk when this returns; running servers take it up within a second.
///
/// # Errors
/// See [`RevokeFailure`].
pub fn run(store: &Store, args: &RevokeArgs, now_us: i64, out: &mut impl Write) -> Result<(), RevokeFailure> {
    match args {
        RevokeArgs::Revoke(text, note) => {
            let (scope, name) = revoked::parse(text)?;
            let row = RevocationRow {
                scope,
                name,
                note: note.clone(),
                made_at_us: now_us,
            };
            store.revoke(row.clone()).wait()?;
            store.record_alert(alert(AlertKind::Revoked, &row, now_us)).wait()?;
            writeln!(out, "{row} is revoked: {}", scope_words(scope))?;
        }
        RevokeArgs::Undo(text) => {
            let (scope, name) = revoked::parse(text)?;
            let known = store.reader().revocations()?;
            let row = known.into_iter().find(|row| (row.scope, &row.name) == (scope, &name));
            let Some(row) = row else {
                return Err(RevokeFailure::NotRevoked(text.clone()));
            };
            store.unrevoke(scope, &name).wait()?;
            store.record_alert(alert(AlertKind::Unrevoked, &row, now_us)).wait()?;
            writeln!(out, "{row} is no longer revoked")?;
        }
        RevokeArgs::List => {
            writeln!(out, "{:<20}  {:<6}  {:<40}  NOTE", "SINCE (UTC)", "SCOPE", "REVOKED")?;
            for row in store.reader().revocations()? {
                let (name, note) = (row.to_string(), Escaped(&row.note));
                let (since, scope) = (time(row.made_at_us, 0), row.scope.as_str());
                writeln!(out, "{since:<20}  {scope:<6}  {name:<40}  {note}")?;
            }
        }
    }
    Ok(())
}

fn scope_words(scope: RevokedScope) -> &'static str {
    match scope {
        RevokedScope::Url => "this URL is blocked, whatever its scheme, port and fragment",
        RevokedScope::Host => "all of this host is blocked, hosts below it are not",
        RevokedScope::Domain => "this domain and all hosts below it are blocked",
    }
}

fn alert(kind: AlertKind, row: &RevocationRow, at_us: i64) -> AlertRow {
    AlertRow {
        kind,
        url: row.to_string(),
        source: SOURCE.to_owned(),
        detail: row.note.clone(),
        at_us,
        first_click_us: at_us,
        last_click_us: at_us,
        people: 0,
        machines: 0,
        unknown: 0,
        events: Vec::new(),
    }
}
