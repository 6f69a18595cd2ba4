//! The command `linkgate clicks`: the click log as a table, CSV or lines of JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use ::store::{ClickQuery, ClickRow, Facts, Label, Reader, Reason};
use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use link::{Verdict, Word, ascii_domain};
use serde::{Serialize, Serializer};
use strum::VariantNames;

use super::error::CommandError;
use super::store;
use crate::cli::output::{Escaped, json_line, time};
pub use crate::click::visitor::relabel::{Relabelled, Tally, relabel};
use crate::config::Settings;
use crate::config::keyfile::Absent;

/// Which clicks to show, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClicksArgs {
    /// Which clicks; [`parse_since`] reads `--since`.
    pub query: ClickQuery,
    /// In which form.
    pub format: ClicksFormat,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClicksFormat {
    /// Columns for people: time, user, who opened the link, verdict, outcome, URL.
    #[default]
    Table,
    /// RFC 4180 with a header line. A cell that a spreadsheet would take for a formula starts with an apostrophe, and
    /// control characters are written as `\u{…}`.
    Csv,
    /// An object per line.
    Json,
}

/// A `--since` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {0:?}; allowed: 2026-11-20, 2026-11-20T08:30:00+01:00, or how long ago, like 90m, 2h or 7d")]
pub struct SinceError(String);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ClicksCommand {
    #[command(subcommand)]
    command: Option<ClicksWork>,

    /// Clicks since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d)
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<i64>,

    /// Clicks of this recipient
    #[arg(long, value_name = "ADDR")]
    user: Option<String>,

    /// Clicks of recipients in this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,

    /// Clicks that led to this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Clicks by: person, likely-person, unknown, likely-machine, machine
    #[arg(long, value_name = "LABEL", value_parser = |text: &str| by_word::<Label>(text))]
    label: Option<Label>,

    /// Clicks whose verdict was: allow, unchecked, unknown, warn, block
    #[arg(long, value_name = "VERDICT", value_parser = |text: &str| by_word::<Verdict>(text))]
    verdict: Option<Verdict>,

    /// Print a JSON object per click
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print CSV with a header line
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Subcommand)]
enum ClicksWork {
    /// Tell people and machines apart again, by today's rules
    ///
    /// What was recorded of each request stays as it is. Prints how many clicks have another label or other reasons now.
    #[command(after_help = "Example:\n  linkgate clicks relabel --since 7d")]
    Relabel {
        /// Clicks since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d); default: all
        #[arg(long, value_name = "T", value_parser = since)]
        since: Option<i64>,
    },
}

/// Runs the command: shows clicks, or labels them anew.
pub(super) fn command(config: &Path, args: &ClicksCommand, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(config, Absent::Pretend)?;
    if let Some(ClicksWork::Relabel { since }) = &args.command {
        let store = store::writable(&settings)?;
        let done = relabel(&store, &settings.machines, *since)?;
        writeln!(out, "{} of {} clicks relabelled", done.changed, done.seen)?;
        return Ok(());
    }
    let store = store::reader(&settings)?;
    let query = ClickQuery {
        since_us: args.since,
        user: args.user.clone(),
        domain: args.domain.as_deref().map(ascii_name),
        host: args.host.as_deref().map(ascii_name),
        label: args.label,
        verdict: args.verdict,
    };
    let format = match args {
        ClicksCommand { json: true, .. } => ClicksFormat::Json,
        ClicksCommand { csv: true, .. } => ClicksFormat::Csv,
        _ => ClicksFormat::Table,
    };
    run(&store, &ClicksArgs { query, format }, out, &mut io::stderr())
}

pub(super) fn since(text: &str) -> Result<i64, SinceError> {
    parse_since(text, Timestamp::now())
}

/// The value of a word.
fn by_word<T: FromStr + VariantNames>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed: {}", T::VARIANTS.join(", ")))
}

/// A name as the store has it: in lower case, with A-labels; what is no name finds nothing.
fn ascii_name(name: &str) -> String {
    ascii_domain(name).unwrap_or_else(|| name.to_owned())
}

/// Writes the clicks that were asked for, oldest first, and how many people and machines they make: to `out` below a table,
/// else to `notes`.
///
/// # Errors
/// The store cannot be read, or `out` not be written to. Whole rows have been written until then.
pub fn run(
    store: &Reader,
    args: &ClicksArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), CommandError> {
    match args.format {
        ClicksFormat::Table => writeln!(
            out,
            "{:<20}  {:<28}  {:<14}  {:<9}  {:<15}  URL",
            "TIME (UTC)", "USER", "OPENED BY", "VERDICT", "OUTCOME"
        )?,
        ClicksFormat::Csv => write!(out, "{}\r\n", COLUMNS.map(|(name, _)| name).join(","))?,
        ClicksFormat::Json => {}
    }
    let mut line = String::new();
    let mut tally = Tally::default();
    for click in store.clicks(&args.query) {
        let click = click?;
        tally.add(click.label);
        line.clear();
        match args.format {
            ClicksFormat::Table => table_line(&click, &mut line),
            ClicksFormat::Csv => csv_line(&click, &mut line),
            ClicksFormat::Json => json_line(&ClickRecord(&click), &mut line)?,
        }
        out.write_all(line.as_bytes())?;
    }
    match args.format {
        ClicksFormat::Table => writeln!(out, "{tally}")?,
        // Standard error may be closed; the rows are what was asked for.
        ClicksFormat::Csv | ClicksFormat::Json => drop(writeln!(notes, "{tally}")),
    }
    out.flush()?;
    Ok(())
}

/// Reads `--since`: an RFC 3339 time, a date or a time without offset (UTC), or a span back from `now` such as `2h` or
/// `7d` (a day has 24 hours). Microseconds since 1970 in UTC.
///
/// # Errors
/// It is none of these.
pub fn parse_since(text: &str, now: Timestamp) -> Result<i64, SinceError> {
    let text = text.trim();
    let wrong = || SinceError(text.to_owned());
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(at) = text.parse::<DateTime>() {
        at.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp()
    } else {
        let span: Span = text.parse().map_err(|_| wrong())?;
        if span.is_negative() {
            return Err(wrong());
        }
        now.to_zoned(TimeZone::UTC)
            .checked_sub(span)
            .map_err(|_| wrong())?
            .timestamp()
    };
    Ok(at.as_microsecond())
}

/// A column of CSV, and a key of JSON.
type Column = (&'static str, for<'a> fn(&'a ClickRow) -> Cell<'a>);

/// The columns of a click. Names and order are stable.
const COLUMNS: [Column; 20] = [
    ("time", |c| Cell::text(time(c.at_us, 6))),
    ("user", |c| Cell::Text(c.user.as_deref().map(Cow::Borrowed))),
    ("url", |c| Cell::text(&c.url)),
    ("mail_id", |c| Cell::text(&c.mail_id)),
    ("sender", |c| Cell::text(&c.sender)),
    ("user_agent", |c| Cell::text(&c.user_agent)),
    ("client_ip", |c| Cell::Text(c.client_ip.as_deref().map(Cow::Borrowed))),
    ("host", |c| Cell::text(&c.host)),
    ("domain", |c| Cell::text(&c.policy_domain)),
    ("outcome", |c| Cell::text(c.outcome.as_str())),
    ("event_id", |c| Cell::text(c.event_id.to_string())),
    ("method", |c| Cell::text(c.method.as_str())),
    ("verdict", |c| Cell::Text(c.verdict.map(|v| v.as_str().into()))),
    ("label", |c| Cell::text(c.label.as_str())),
    ("label_reasons", |c| Cell::Words(&c.label_reasons)),
    ("rules", |c| Cell::Number(c.rules)),
    ("reasons", |c| Cell::Reasons(&c.reasons)),
    ("chain", |c| Cell::Urls(&c.chain)),
    ("page_event", |c| {
        Cell::Text(c.page_event.map(|id| id.to_string().into()))
    }),
    ("facts", |c| Cell::Facts(&c.facts)),
];

/// The value of a column.
#[derive(Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    Text(Option<Cow<'a, str>>),
    Number(u32),
    Words(&'a [String]),
    Urls(&'a [String]),
    Reasons(&'a [Reason]),
    Facts(&'a Facts),
}

impl<'a> Cell<'a> {
    fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// The value in CSV: empty for none and for an empty list, words with spaces between them, else as in JSON.
    fn csv(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text.unwrap_or_default(),
            Self::Words(words) => words.join(" ").into(),
            Self::Urls([]) | Self::Reasons([]) => "".into(),
            Self::Number(_) | Self::Urls(_) | Self::Reasons(_) | Self::Facts(_) => {
                serde_json::to_string(&self).unwrap_or_default().into()
            }
        }
    }
}

/// A click as JSON.
struct ClickRecord<'a>(&'a ClickRow);

impl Serialize for ClickRecord<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(COLUMNS.iter().map(|(name, cell)| (name, cell(self.0))))
    }
}

fn table_line(click: &ClickRow, line: &mut String) {
    let user = Escaped(click.user.as_deref().unwrap_or("-")).to_string();
    // The URL comes last and whole: it is what the reader of this table looks for.
    let _ = writeln!(
        line,
        "{:<20}  {user:<28}  {:<14}  {:<9}  {:<15}  {}",
        time(click.at_us, 0),
        click.label.as_str(),
        click.verdict.map_or("-", link::Verdict::as_str),
        click.outcome.as_str(),
        Escaped(&click.url)
    );
}

/// RFC 4180, section 2; each cell that is not plain in quotes.
fn csv_line(click: &ClickRow, line: &mut String) {
    for (i, (_, cell)) in COLUMNS.iter().enumerate() {
        let value = cell(click).csv();
        if i > 0 {
            line.push(',');
        }
        // Strangers choose URLs, senders and user agents: none of them may become a formula (CWE-1236).
        let guard = if value.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        let cell = format!("{guard}{}", Escaped(&value));
        match cell.contains([',', '"']) {
            true => line.push_str(&format!("\"{}\"", cell.replace('"', "\"\""))),
            false => line.push_str(&cell),
        }
    }
    line.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::store::{EventId, Method, Outcome};

    fn click() -> ClickRow {
        ClickRow {
            user: Some("anna@example.com".to_owned()),
            url: "https://shop.example/a?b=\"c\",d".to_owned(),
            host: "shop.example".to_owned(),
            mail_id: "m1".to_owned(),
            sender: "=cmd|' /C calc'!A0@evil.example".to_owned(),
            policy_domain: "example.com".to_owned(),
            user_agent: "Agent \u{9b}31m \u{202e}".to_owned(),
            client_ip: None,
            method: Method::Get,
            outcome: Outcome::Warned,
            verdict: Some(link::Verdict::Warn),
            reasons: vec![Reason {
                source: "score".to_owned(),
                code: "look-alike".to_owned(),
                detail: "=x".to_owned(),
                about: "https://shop.example/".to_owned(),
            }],
            label: Label::LikelyPerson,
            label_reasons: vec!["navigation".to_owned(), "browser".to_owned()],
            rules: 1,
            facts: Facts {
                fetch_mode: Some("navigate".to_owned()),
                ..Facts::default()
            },
            ..ClickRow::new(EventId([0xab; 16]), 1_795_288_391_500_001)
        }
    }

    #[test]
    fn csv_is_quoted_and_holds_no_formula_and_no_control() {
        let mut line = String::new();
        csv_line(&click(), &mut line);
        assert_eq!(
            line,
            "2026-11-21T19:13:11.500001Z,anna@example.com,\"https://shop.example/a?b=\"\"c\"\",d\",m1,\
             '=cmd|' /C calc'!A0@evil.example,Agent \\u{9b}31m \\u{202e},,shop.example,example.com,warned,\
             abababababababababababababababab,GET,warn,likely-person,navigation browser,1,\
             \"[{\"\"source\"\":\"\"score\"\",\"\"code\"\":\"\"look-alike\"\",\"\"detail\"\":\"\"=x\"\",\"\"about\"\":\"\"https://shop.example/\"\"}]\",,,\
             \"{\"\"fetch_mode\"\":\"\"navigate\"\"}\"\r\n"
        );
    }

    #[test]
    fn json_has_stable_keys_and_means_what_was_recorded() {
        let mut line = String::new();
        json_line(&ClickRecord(&click()), &mut line).unwrap();
        assert!(!line.trim_end().chars().any(crate::cli::output::steers), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["user_agent"], "Agent \u{9b}31m \u{202e}");
        assert_eq!(value["client_ip"], serde_json::Value::Null);
        assert_eq!(value["reasons"][0]["code"], "look-alike");
        assert_eq!(value["facts"]["fetch_mode"], "navigate");
        assert_eq!(value["time"], "2026-11-21T19:13:11.500001Z");
        let mut last = 0;
        for (name, _) in COLUMNS {
            let at = line.find(&format!("\"{name}\":")).unwrap();
            assert!(at >= last, "{name} out of order");
            last = at;
        }
        assert_eq!(value.as_object().unwrap().len(), COLUMNS.len());
    }

    #[test]
    fn table_lines_align_and_show_the_whole_url() {
        let mut line = String::new();
        table_line(&click(), &mut line);
        let url = "https://shop.example/a?b=\"c\",d";
        assert_eq!(
            line,
            format!(
                "2026-11-21T19:13:11Z  {:<28}  likely-person   warn       warned           {url}\n",
                "anna@example.com"
            )
        );
    }

    #[test]
    fn since_takes_times_dates_and_spans() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, want) in [
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T08:30", "2026-11-20T08:30:00Z"),
            ("2026-11-20T08:30:00+01:00", "2026-11-20T07:30:00Z"),
            ("2026-11-20 08:30:00.5Z", "2026-11-20T08:30:00.5Z"),
            ("2h", "2026-11-21T10:00:00Z"),
            ("7d", "2026-11-14T12:00:00Z"),
            ("1d 12h", "2026-11-20T00:00:00Z"),
            ("90 min", "2026-11-21T10:30:00Z"),
            ("2w", "2026-11-07T12:00:00Z"),
            ("P1D", "2026-11-20T12:00:00Z"),
        ] {
            let want: Timestamp = want.parse().unwrap();
            assert_eq!(parse_since(text, now), Ok(want.as_microsecond()), "{text}");
        }
        for bad in ["", "yesterday", "-2h", "2h ago", "2026-13-01", "99999999y", "7"] {
            assert!(parse_since(bad, now).is_err(), "{bad}");
        }
    }
}
