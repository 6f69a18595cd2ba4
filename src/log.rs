//! Logs: one line per event on standard error, for people or as JSON.
//!
//! Strangers' text (addresses, host names, user agents ...) ends up in log fields. It must not forge a line, steer a
//! terminal or turn text around, so every control character is escaped here, in one place, whatever the field.

mod limiter;

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

pub use self::limiter::Limiter;
use crate::clock::now_us;
use crate::config::{ConfigError, Log, LogFormat};

/// The environment variable that overrides `[log] level`: a level, or directives such as `info,linkgate::mail=debug`.
pub const ENV: &str = "LINKGATE_LOG";

/// The log of this process, whose level a reload can change.
#[derive(Debug)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Sends all events of this process to standard error.
    ///
    /// # Errors
    /// `LINKGATE_LOG` holds no directives.
    ///
    /// # Panics
    /// When the process logs already: each command starts it once.
    pub fn start(log: &Log) -> Result<Self, ConfigError> {
        let filter = filter(log).map_err(|what| ConfigError::whole(Path::new(ENV), what))?;
        let (filter, handle) = reload::Layer::new(filter);
        let lines = Lines {
            format: log.format,
            to: io::stderr,
        };
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        tracing::subscriber::set_global_default(subscriber).expect("logging starts once");
        Ok(Self { filter: handle })
    }

    /// Takes over the level of new settings.
    pub fn reload(&self, log: &Log) {
        let changed = filter(log).and_then(|f| self.filter.reload(f).map_err(|e| e.to_string()));
        if let Err(why) = changed {
            tracing::warn!(why, "the log level stays");
        }
    }
}

/// Our own events from `level` on; of the libraries', warnings at most.
fn filter(log: &Log) -> Result<EnvFilter, String> {
    if let Ok(directives) = std::env::var(ENV)
        && !directives.is_empty()
    {
        return EnvFilter::builder()
            .parse(&directives)
            .map_err(|e| format!("found {directives:?} ({e}), allowed: a level such as \"debug\", or directives"));
    }
    let directives = match log.level.as_str() {
        "error" => "error".to_owned(),
        level => format!("warn,linkgate={level}"),
    };
    EnvFilter::builder().parse(directives).map_err(|e| e.to_string())
}

/// Writes each event as one line, in one write.
struct Lines<W> {
    format: LogFormat,
    to: fn() -> W,
}

impl<S: Subscriber, W: Write + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = jiff::Timestamp::from_microsecond(now_us()).unwrap_or_default();
        let line = render(self.format, now, event);
        // Nobody is left to be told when standard error is gone.
        let _ = (self.to)().write_all(line.as_bytes());
    }
}

/// The keys that every JSON line has, whatever the event.
const RESERVED: [&str; 4] = ["time", "level", "target", "message"];

fn render(format: LogFormat, now: jiff::Timestamp, event: &Event<'_>) -> String {
    let meta = event.metadata();
    let level = match *meta.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let mut fields = EventFields::default();
    event.record(&mut fields);
    let mut line = String::with_capacity(256);
    match format {
        LogFormat::Text => {
            let _ = write!(line, "{now:.3} {level:<5} {}", meta.target());
            if !fields.message.is_empty() {
                line.push(' ');
                escape(&mut line, &fields.message);
            }
            for (name, value) in &fields.rest {
                line.push(' ');
                line.push_str(name);
                line.push('=');
                value.text(&mut line);
            }
        }
        LogFormat::Json => {
            let _ = write!(line, "{{\"time\":\"{now:.6}\",\"level\":\"{level}\",\"target\":");
            quote(&mut line, meta.target());
            line.push_str(",\"message\":");
            quote(&mut line, &fields.message);
            for (name, value) in &fields.rest {
                line.push(',');
                // A name of ours twice in one object would be no JSON to some readers.
                let clash = if RESERVED.contains(name) { "_" } else { "" };
                let _ = write!(line, "\"{name}{clash}\":");
                value.json(&mut line);
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

/// The fields of an event, in the order of the code that logs them.
#[derive(Default)]
struct EventFields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

enum Value {
    /// A number or a boolean, as it is written.
    Bare(String),
    Text(String),
}

impl Value {
    fn text(&self, line: &mut String) {
        match self {
            Self::Bare(v) => line.push_str(v),
            // Unquoted only where no reader could take a part of it for the next field.
            Self::Text(v) if plain(v) => line.push_str(v),
            Self::Text(v) => quote(line, v),
        }
    }

    fn json(&self, line: &mut String) {
        match self {
            Self::Bare(v) => line.push_str(v),
            Self::Text(v) => quote(line, v),
        }
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no NaN.
        let text = value.to_string();
        self.put(
            field,
            if value.is_finite() {
                Value::Bare(text)
            } else {
                Value::Text(text)
            },
        );
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(e) = source {
            let _ = write!(text, ": {e}");
            source = e.source();
        }
        self.put(field, Value::Text(text));
    }
}

impl EventFields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(v) | Value::Bare(v)) => self.message = v,
            (name, value) => self.rest.push((name, value)),
        }
    }
}

fn plain(v: &str) -> bool {
    !v.is_empty()
        && v.chars()
            .all(|c| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\') && !is_control(c))
}

/// C0, DEL, C1, the line and paragraph separators, and what turns the direction of text.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Control characters as `\u001b`, the rest as it is.
fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        if is_control(c) {
            escape_char(line, c);
        } else {
            line.push(c);
        }
    }
}

/// As a JSON string, with all control characters escaped, not only those that RFC 8259 names.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c if is_control(c) => escape_char(line, c),
            c => line.push(c),
        }
    }
    line.push('"');
}

fn escape_char(line: &mut String, c: char) {
    // All of them stand in the basic plane, so one unit is enough.
    let _ = write!(line, "\\u{:04x}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    thread_local! {
        static WRITTEN: Arc<Mutex<Vec<u8>>> = Arc::default();
    }

    struct Sink;

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.with(|w| w.lock().unwrap().extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        WRITTEN.with(|w| w.lock().unwrap().clear());
        let lines = Lines { format, to: || Sink };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        WRITTEN.with(|w| String::from_utf8(w.lock().unwrap().clone()).unwrap())
    }

    /// Every way a field can be logged, each with hostile text.
    fn hostile(text: &str) {
        let error = io::Error::other(text.to_owned());
        tracing::warn!(
            target: "linkgate::mail",
            plain = text, display = %text, debug = ?text, list = ?[text], error = &error as &dyn std::error::Error,
            n = 3, yes = true, nan = f64::NAN,
            "a message from {text}"
        );
    }

    #[test]
    fn no_stranger_forges_a_line_or_steers_a_terminal() {
        let strangers = "a\r\n2026-01-01 info forged\u{1b}[2J\u{7}\u{0}\u{7f}\u{9b}31m\u{202e}\u{2028}\" x=\"1\\";
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = logged(format, || hostile(strangers));
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            let bad: Vec<_> = line.trim_end_matches('\n').chars().filter(|c| is_control(*c)).collect();
            assert!(bad.is_empty(), "{bad:?} in {line:?}");
            assert!(line.contains("\\u001b"), "{line}");
        }
    }

    #[test]
    fn json_keeps_what_was_said() {
        let strangers = "a\r\n\u{1b}\u{202e}\"\\";
        let line = logged(LogFormat::Json, || hostile(strangers));
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(v["plain"], strangers);
        assert_eq!(v["display"], strangers);
        assert_eq!(v["error"], strangers);
        assert_eq!(v["message"], format!("a message from {strangers}"));
        assert_eq!(
            (&v["n"], &v["yes"], &v["nan"]),
            (&3.into(), &true.into(), &"NaN".into())
        );
        assert_eq!((&v["level"], &v["target"]), (&"warn".into(), &"linkgate::mail".into()));
    }

    #[test]
    fn a_field_does_not_stand_in_for_one_of_ours() {
        let line = logged(LogFormat::Json, || {
            tracing::error!(level = "fine", target = "x", time = 0, "m")
        });
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&v["level"], &v["level_"]), (&"error".into(), &"fine".into()), "{line}");
    }

    #[test]
    fn text_is_read_by_eye_and_by_program() {
        let line = logged(LogFormat::Text, || {
            tracing::info!(target: "linkgate::mail", id = "0k3x", from = "a b@x", empty = "", ms = 1.5, "taken");
        });
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
        assert_eq!(
            rest,
            "info  linkgate::mail taken id=0k3x from=\"a b@x\" empty=\"\" ms=1.5\n"
        );
    }
}
