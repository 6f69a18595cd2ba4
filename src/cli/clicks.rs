//! `linkgate clicks`: the click log as a table, CSV or lines of JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use link::Word;
use serde::Serialize;
use store::{ClickQuery, ClickRow, Facts, Reader, Reason, StoreError};

use crate::cli::output::{Escaped, json_line, time};
pub use crate::click::visitor::relabel::{Relabelled, Tally, relabel};

/// What was asked for.
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

/// Why the click log could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ClicksError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// A `--since` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {0:?}; allowed: 2026-11-20, 2026-11-20T08:30:00+01:00, or how long ago, like 90m, 2h or 7d")]
pub struct SinceError(String);

/// Writes the clicks that were asked for, oldest first, and how many people and machines they make: to `out` below a table,
/// else to `notes`.
///
/// # Errors
/// The store cannot be read, or `out` not be written to. Whole rows have been written until then.
pub fn run(store: &Reader, args: &ClicksArgs, out: &mut impl Write, notes: &mut impl Write) -> Result<(), ClicksError> {
    match args.format {
        ClicksFormat::Table => writeln!(
            out,
            "{:<20}  {:<28}  {:<14}  {:<9}  {:<15}  URL",
            "TIME (UTC)", "USER", "OPENED BY", "VERDICT", "OUTCOME"
        )?,
        ClicksFormat::Csv => write!(out, "{}\r\n", ClickRecord::NAMES.join(","))?,
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
            ClicksFormat::Csv => csv_line(&ClickRecord::of(&click), &mut line),
            ClicksFormat::Json => json_line(&ClickRecord::of(&click), &mut line)?,
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

/// A click under the names it has outside. Names and order are stable.
#[derive(Serialize)]
struct ClickRecord<'a> {
    time: String,
    user: Option<&'a str>,
    url: &'a str,
    mail_id: &'a str,
    sender: &'a str,
    user_agent: &'a str,
    client_ip: Option<&'a str>,
    host: &'a str,
    domain: &'a str,
    outcome: &'a str,
    event_id: String,
    method: &'a str,
    verdict: Option<&'a str>,
    label: &'a str,
    label_reasons: &'a [String],
    rules: u32,
    reasons: &'a [Reason],
    chain: &'a [String],
    page_event: Option<String>,
    facts: &'a Facts,
}

impl<'a> ClickRecord<'a> {
    const NAMES: [&'static str; 20] = [
        "time",
        "user",
        "url",
        "mail_id",
        "sender",
        "user_agent",
        "client_ip",
        "host",
        "domain",
        "outcome",
        "event_id",
        "method",
        "verdict",
        "label",
        "label_reasons",
        "rules",
        "reasons",
        "chain",
        "page_event",
        "facts",
    ];

    fn of(click: &'a ClickRow) -> Self {
        Self {
            time: time(click.at_us, 6),
            user: click.user.as_deref(),
            url: &click.url,
            mail_id: &click.mail_id,
            sender: &click.sender,
            user_agent: &click.user_agent,
            client_ip: click.client_ip.as_deref(),
            host: &click.host,
            domain: &click.policy_domain,
            outcome: click.outcome.as_str(),
            event_id: click.event_id.to_string(),
            method: click.method.as_str(),
            verdict: click.verdict.map(link::Verdict::as_str),
            label: click.label.as_str(),
            label_reasons: &click.label_reasons,
            rules: click.rules,
            reasons: &click.reasons,
            chain: &click.chain,
            page_event: click.page_event.map(|id| id.to_string()),
            facts: &click.facts,
        }
    }

    fn values(&self) -> [Cow<'_, str>; 20] {
        // A list in one cell: empty, or as in JSON.
        fn list<T: Serialize>(items: &[T]) -> Cow<'static, str> {
            match items {
                [] => Cow::Borrowed(""),
                _ => json(&items),
            }
        }
        [
            (&*self.time).into(),
            self.user.unwrap_or_default().into(),
            self.url.into(),
            self.mail_id.into(),
            self.sender.into(),
            self.user_agent.into(),
            self.client_ip.unwrap_or_default().into(),
            self.host.into(),
            self.domain.into(),
            self.outcome.into(),
            (&*self.event_id).into(),
            self.method.into(),
            self.verdict.unwrap_or_default().into(),
            self.label.into(),
            self.label_reasons.join(" ").into(),
            self.rules.to_string().into(),
            list(self.reasons),
            list(self.chain),
            self.page_event.as_deref().unwrap_or_default().into(),
            json(self.facts),
        ]
    }
}

fn json(value: &impl Serialize) -> Cow<'static, str> {
    serde_json::to_string(value).unwrap_or_default().into()
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
fn csv_line(fields: &ClickRecord<'_>, line: &mut String) {
    for (i, value) in fields.values().into_iter().enumerate() {
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
    use store::Label;

    use super::*;
    use store::{EventId, Method, Outcome};

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
        csv_line(&ClickRecord::of(&click()), &mut line);
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
        json_line(&ClickRecord::of(&click()), &mut line).unwrap();
        assert!(!line.trim_end().chars().any(crate::cli::output::steers), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["user_agent"], "Agent \u{9b}31m \u{202e}");
        assert_eq!(value["client_ip"], serde_json::Value::Null);
        assert_eq!(value["reasons"][0]["code"], "look-alike");
        assert_eq!(value["facts"]["fetch_mode"], "navigate");
        assert_eq!(value["time"], "2026-11-21T19:13:11.500001Z");
        let mut last = 0;
        for name in ClickRecord::NAMES {
            let at = line.find(&format!("\"{name}\":")).unwrap();
            assert!(at >= last, "{name} out of order");
            last = at;
        }
        assert_eq!(value.as_object().unwrap().len(), ClickRecord::NAMES.len());
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
