//! The command `linkgate revoke`: blocks a URL, host or domain at once, or takes that back.

use std::io::Write;
use std::path::Path;

use ::store::{AlertKind, AlertRow, RevocationRow, RevokedScope, Store};
use anyhow::anyhow;
use clap::Args;
use link::Word;

use super::error::CommandError;
use super::store;
use crate::cli::output::{Escaped, time};
use crate::clock::now_us;
use crate::config::Settings;
use crate::config::keyfile::Absent;
use crate::intel::revoked::{self, SOURCE};

/// One act of `linkgate revoke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeArgs {
    /// Block this URL, host or `*.domain`, with a note.
    Revoke(String, String),
    /// Take that back.
    Undo(String),
    /// Show what is revoked.
    List,
}

#[derive(Debug, Args)]
pub(super) struct RevokeCommand {
    /// A URL, a host, or *.domain for a domain and all hosts below it
    #[arg(value_name = "URL|HOST|*.HOST", required_unless_present = "list")]
    what: Option<String>,

    /// Why, for those who come later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "undo"
    )]
    note: String,

    /// Take it back
    #[arg(long)]
    undo: bool,

    /// Show what is revoked
    #[arg(long, conflicts_with_all = ["what", "undo", "note"])]
    list: bool,
}

/// Runs the command.
pub(super) fn command(config: &Path, args: &RevokeCommand, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(config, Absent::Pretend)?;
    let asked = match &args.what {
        Some(what) if args.undo => RevokeArgs::Undo(what.clone()),
        Some(what) => RevokeArgs::Revoke(what.clone(), args.note.clone()),
        None => RevokeArgs::List,
    };
    let store = store::writable(&settings)?;
    run(&store, &asked, now_us(), out)
}

/// Revokes, takes back or lists. What was revoked is on disk when this returns; running servers take it up within a second.
///
/// # Errors
/// It cannot be revoked, there is nothing to take back, or the store or `out` fails.
pub fn run(store: &Store, args: &RevokeArgs, now_us: i64, out: &mut impl Write) -> Result<(), CommandError> {
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
                return Err(anyhow!("{text} is not revoked; see linkgate revoke --list").into());
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
