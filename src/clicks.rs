//! `linkgate clicks`: the click log as a table, CSV or lines of JSON.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Serialize;
use store::{ClickQuery, ClickRow, Reader, StoreError};

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
    /// Columns for people: time, user, URL.
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

/// Writes the clicks that were asked for, oldest first.
///
/// # Errors
/// The store cannot be read, or `out` not be written to. Whole rows have been written until then.
pub fn run(store: &Reader, args: &ClicksArgs, out: &mut impl Write) -> Result<(), ClicksError> {
    match args.format {
        ClicksFormat::Table => writeln!(out, "{:<20}  {:<28}  URL", "TIME (UTC)", "USER")?,
        ClicksFormat::Csv => write!(out, "{}\r\n", Fields::NAMES.join(","))?,
        ClicksFormat::Json => {}
    }
    let mut line = String::new();
    for click in store.clicks(&args.query) {
        let click = click?;
        line.clear();
        match args.format {
            ClicksFormat::Table => table_line(&click, &mut line),
            ClicksFormat::Csv => csv_line(&Fields::of(&click), &mut line),
            ClicksFormat::Json => json_line(&Fields::of(&click), &mut line)?,
        }
        out.write_all(line.as_bytes())?;
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
struct Fields<'a> {
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
}

impl<'a> Fields<'a> {
    const NAMES: [&'static str; 11] = [
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
        }
    }

    fn values(&self) -> [&str; 11] {
        [
            &self.time,
            self.user.unwrap_or_default(),
            self.url,
            self.mail_id,
            self.sender,
            self.user_agent,
            self.client_ip.unwrap_or_default(),
            self.host,
            self.domain,
            self.outcome,
            &self.event_id,
        ]
    }
}

/// RFC 3339 in UTC. A time no calendar has is shown as the number it is.
fn time(at_us: i64, digits: usize) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => format!("{at:.digits$}"),
        Err(_) => at_us.to_string(),
    }
}

fn table_line(click: &ClickRow, line: &mut String) {
    let user = Escaped(click.user.as_deref().unwrap_or("-")).to_string();
    // The URL comes last and whole: it is what the reader of this table looks for.
    let _ = writeln!(
        line,
        "{:<20}  {user:<28}  {}",
        time(click.at_us, 0),
        Escaped(&click.url)
    );
}

/// RFC 4180, section 2; each cell that is not plain in quotes.
fn csv_line(fields: &Fields<'_>, line: &mut String) {
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
        let cell = format!("{guard}{}", Escaped(value));
        match cell.contains([',', '"']) {
            true => line.push_str(&format!("\"{}\"", cell.replace('"', "\"\""))),
            false => line.push_str(&cell),
        }
    }
    line.push_str("\r\n");
}

fn json_line(fields: &Fields<'_>, line: &mut String) -> io::Result<()> {
    // JSON only demands that C0 be escaped; a terminal obeys more than that. Such characters stand in strings alone.
    for c in serde_json::to_string(fields)?.chars() {
        match steers(c) {
            true => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            false => line.push(c),
        }
    }
    line.push('\n');
    Ok(())
}

/// A stranger's text for a terminal: whatever could steer one is written as an escape.
///
/// Those are control characters, line and paragraph separators, and what turns the direction of writing.
#[derive(Debug, Clone, Copy)]
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match steers(c) {
                true => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character could steer a terminal or hide what stands next to it.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
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
            outcome: Outcome::Redirected,
            ..ClickRow::new(EventId([0xab; 16]), 1_795_288_391_500_001)
        }
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_and_nothing_else() {
        let nasty = "a\u{1b}[31m\r\n\u{9b}2J\u{202e}\u{2028}z";
        assert_eq!(
            Escaped(nasty).to_string(),
            r"a\u{1b}[31m\u{d}\u{a}\u{9b}2J\u{202e}\u{2028}z"
        );
        assert_eq!(
            Escaped("J\u{fc}rgen \u{65e5}\u{672c}").to_string(),
            "J\u{fc}rgen \u{65e5}\u{672c}"
        );
    }

    #[test]
    fn csv_is_quoted_and_holds_no_formula_and_no_control() {
        let mut line = String::new();
        csv_line(&Fields::of(&click()), &mut line);
        assert_eq!(
            line,
            "2026-11-21T19:13:11.500001Z,anna@example.com,\"https://shop.example/a?b=\"\"c\"\",d\",m1,\
             '=cmd|' /C calc'!A0@evil.example,Agent \\u{9b}31m \\u{202e},,shop.example,example.com,redirected,\
             abababababababababababababababab\r\n"
        );
    }

    #[test]
    fn json_has_stable_keys_and_means_what_was_recorded() {
        let mut line = String::new();
        json_line(&Fields::of(&click()), &mut line).unwrap();
        assert!(!line.trim_end().chars().any(steers), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["user_agent"], "Agent \u{9b}31m \u{202e}");
        assert_eq!(value["client_ip"], serde_json::Value::Null);
        assert_eq!(value["time"], "2026-11-21T19:13:11.500001Z");
        let mut last = 0;
        for name in Fields::NAMES {
            let at = line.find(&format!("\"{name}\":")).unwrap();
            assert!(at >= last, "{name} out of order");
            last = at;
        }
        assert_eq!(value.as_object().unwrap().len(), Fields::NAMES.len());
    }

    #[test]
    fn table_lines_align_and_show_the_whole_url() {
        let mut line = String::new();
        table_line(&click(), &mut line);
        let url = "https://shop.example/a?b=\"c\",d";
        assert_eq!(
            line,
            format!("2026-11-21T19:13:11Z  {:<28}  {url}\n", "anna@example.com")
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
