//! The command `linkgate alerts`: shows the alerts of the store.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use ::store::{AlertQuery, AlertRow, Reader};
use clap::Args;
use link::Word;
use serde::Serialize;

use super::clicks::since;
use super::error::CommandError;
use super::store;
use crate::cli::output::{Escaped, json_line, time};
use crate::config::Settings;
use crate::config::keyfile::Absent;

/// The arguments of `linkgate alerts`.
#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    /// Alerts since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d)
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<i64>,

    /// Print a JSON object per alert
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn command(config: &Path, args: &AlertsArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(config, Absent::Pretend)?;
    let query = AlertQuery {
        since_us: args.since,
        ..AlertQuery::default()
    };
    run(&store::reader(&settings)?, &query, args.json, out)
}

/// Writes the alerts that were asked for, oldest first: as a table, or as an object of JSON per line.
///
/// # Errors
/// The store cannot be read, or `out` not be written to.
pub fn run(store: &Reader, query: &AlertQuery, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let alerts = store.alerts(query)?;
    if !json {
        writeln!(
            out,
            "{:<20}  {:<12}  {:>6}  {:>8}  {:>7}  {:<30}  URL",
            "TIME (UTC)", "KIND", "PEOPLE", "MACHINES", "UNKNOWN", "WHY"
        )?;
    }
    let mut line = String::new();
    for alert in &alerts {
        line.clear();
        match json {
            true => json_line(&AlertRecord::of(alert), &mut line)?,
            false => table_line(alert, &mut line),
        }
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn table_line(alert: &AlertRow, line: &mut String) {
    let why = match alert.detail.as_str() {
        "" => alert.source.clone(),
        detail => format!("{}: {detail}", alert.source),
    };
    let why = Escaped(&why).to_string();
    let _ = writeln!(
        line,
        "{:<20}  {:<12}  {:>6}  {:>8}  {:>7}  {why:<30}  {}",
        time(alert.at_us, 0),
        alert.kind.as_str(),
        alert.people,
        alert.machines,
        alert.unknown,
        Escaped(&alert.url)
    );
}

/// An alert under the names it has outside. Names and order are stable.
#[derive(Serialize)]
struct AlertRecord<'a> {
    time: String,
    kind: &'a str,
    url: &'a str,
    source: &'a str,
    detail: &'a str,
    first_click: String,
    last_click: String,
    people: u64,
    machines: u64,
    unknown: u64,
    event_ids: Vec<String>,
}

impl<'a> AlertRecord<'a> {
    fn of(alert: &'a AlertRow) -> Self {
        Self {
            time: time(alert.at_us, 6),
            kind: alert.kind.as_str(),
            url: &alert.url,
            source: &alert.source,
            detail: &alert.detail,
            first_click: time(alert.first_click_us, 6),
            last_click: time(alert.last_click_us, 6),
            people: alert.people,
            machines: alert.machines,
            unknown: alert.unknown,
            event_ids: alert.events.iter().map(ToString::to_string).collect(),
        }
    }
}
