//! Rows as they go in and come out.

use std::fmt;
use std::str::FromStr;

use link::Verdict;
use serde::{Deserialize, Serialize};

use crate::checked::{Facts, Label, Reason, by_word, verdict_word};

/// One click on a click link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickRow {
    /// Unique; a row whose id is there already is not stored again.
    pub event_id: EventId,
    /// When it came in, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// The recipient the token names, if it names one.
    pub user: Option<String>,
    /// The target.
    pub url: String,
    /// The target's host.
    pub host: String,
    /// Our id of the mail that held the link.
    pub mail_id: String,
    /// Envelope sender of that mail.
    pub sender: String,
    /// The recipient domain whose policy wrapped the link.
    pub policy_domain: String,
    /// `User-Agent`, shortened; a stranger's words.
    pub user_agent: String,
    /// The reader's address, or as much of it as may be kept.
    pub client_ip: Option<String>,
    /// How it was asked for.
    pub method: Method,
    /// What the reader got.
    pub outcome: Outcome,
    /// What all the evidence came to; `None` where nothing was checked.
    #[serde(default, with = "verdict_word")]
    pub verdict: Option<Verdict>,
    /// What the verdict rests on.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// The URLs on the way to the target, as far as they were seen; without the target of the link itself.
    #[serde(default)]
    pub chain: Vec<String>,
    /// The click that was answered with the page whose button was pressed now.
    #[serde(default)]
    pub page_event: Option<EventId>,
    /// Who asked, as far as that can be told.
    #[serde(default)]
    pub label: Label,
    /// What the label rests on, as stable words.
    #[serde(default)]
    pub label_reasons: Vec<String>,
    /// The version of the rules the label was given by; 0: by none.
    #[serde(default)]
    pub rules: u32,
    /// What the request said.
    #[serde(default)]
    pub facts: Facts,
}

/// One message that passed through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Our own id, the one tokens name. Unique; a row whose id is there already is not stored again.
    pub mail_id: String,
    /// The mail's `Message-ID`, if it has one.
    pub message_id: Option<String>,
    /// Envelope sender, empty for bounces.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// When it came in, microseconds since 1970 in UTC.
    pub received_at_us: i64,
    /// The listener it came in through.
    pub listener: String,
    /// The recipient domain whose policy was applied; `None` when no domain opted in.
    pub policy_domain: Option<String>,
    /// Links found in all.
    pub links_found: u32,
    /// Links that became click links.
    pub links_wrapped: u32,
    /// Links left as they were. What is neither wrapped nor kept was disarmed.
    pub links_kept: u32,
    /// The links themselves in reading order; may be fewer than `links_found` when the caller sets a limit.
    pub links: Vec<LinkRow>,
}

/// One link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// The link's URL.
    pub url: String,
    /// `wrapped`, `kept` or `disarmed`.
    pub decision: String,
    /// Why, as one stable word.
    pub reason: String,
}

/// A target too long to travel in its click link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRow {
    /// The id the token carries.
    pub id: [u8; 16],
    /// The target.
    pub target: String,
    /// The bytes as they stood in the mail, where they differ from the target.
    pub written: Option<Vec<u8>>,
    /// Our id of the mail that held the link.
    pub mail_id: String,
    /// When it was made, microseconds since 1970 in UTC.
    pub created_at_us: i64,
}

/// The id of an event: 16 bytes, written as 32 hexadecimal digits.
///
/// Whoever makes them sees to it that they are unique. Ids that grow with time keep the store's index compact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

/// How a click link was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST: the button of a page.
    Post,
    /// OPTIONS
    Options,
}

/// What the reader got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// A redirect to the target.
    Redirected,
    /// A page that shows the target and asks to go on.
    Confirmed,
    /// The way to the target, by the button of such a page.
    Continued,
    /// A warning.
    Warned,
    /// The way to the target, by the button of a warning.
    ClickedThrough,
    /// A page that says why the target is not opened.
    Blocked,
    /// A page that says that the target is not known, or could not be looked into.
    UnknownTarget,
    /// A page that says that the check failed.
    CouldNotCheck,
    /// The page for machines: nothing was checked, and it leads nowhere by itself.
    Neutral,
    /// A page that says that the check goes on.
    Checking,
    /// A page that says that there were too many requests.
    RefusedRate,
    /// A page that confirms a request for review.
    Review,
}

/// A word that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(pub String);

impl ClickRow {
    /// A row with an id and a time, and nothing else to tell.
    #[must_use]
    pub fn new(event_id: EventId, at_us: i64) -> Self {
        Self {
            event_id,
            at_us,
            user: None,
            url: String::new(),
            host: String::new(),
            mail_id: String::new(),
            sender: String::new(),
            policy_domain: String::new(),
            user_agent: String::new(),
            client_ip: None,
            method: Method::Get,
            outcome: Outcome::Redirected,
            verdict: None,
            reasons: Vec::new(),
            chain: Vec::new(),
            page_event: None,
            label: Label::Unknown,
            label_reasons: Vec::new(),
            rules: 0,
            facts: Facts::default(),
        }
    }
}

impl Method {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("OPTIONS", Self::Options),
    ];

    /// As in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for Method {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        by_word(Self::WORDS, s)
    }
}

impl Outcome {
    /// All of them with their words.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("redirected", Self::Redirected),
        ("confirmed", Self::Confirmed),
        ("continued", Self::Continued),
        ("warned", Self::Warned),
        ("clicked-through", Self::ClickedThrough),
        ("blocked", Self::Blocked),
        ("unknown-target", Self::UnknownTarget),
        ("could-not-check", Self::CouldNotCheck),
        ("neutral", Self::Neutral),
        ("checking", Self::Checking),
        ("refused-rate", Self::RefusedRate),
        ("review", Self::Review),
    ];

    /// A stable word for tables, logs and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Confirmed => "confirmed",
            Self::Continued => "continued",
            Self::Warned => "warned",
            Self::ClickedThrough => "clicked-through",
            Self::Blocked => "blocked",
            Self::UnknownTarget => "unknown-target",
            Self::CouldNotCheck => "could-not-check",
            Self::Neutral => "neutral",
            Self::Checking => "checking",
            Self::RefusedRate => "refused-rate",
            Self::Review => "review",
        }
    }

    /// Whether the reader was let through to the target.
    #[must_use]
    pub fn let_through(self) -> bool {
        matches!(self, Self::Redirected | Self::Continued | Self::ClickedThrough)
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        by_word(Self::WORDS, s)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        let digits = s.len() == 32 && s.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(s, 16) {
            Ok(n) if digits => Ok(Self(n.to_be_bytes())),
            _ => Err(UnknownWord(s.to_owned())),
        }
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_read_back_and_nothing_else_is_one() {
        let id = EventId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "+00102030405060708090a0b0c0d0eff",
            "00",
            "g00102030405060708090a0b0c0d0eff",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn words_read_back() {
        for (word, method) in Method::WORDS {
            assert_eq!((method.as_str(), word.parse()), (*word, Ok(*method)));
        }
        for (word, outcome) in Outcome::WORDS {
            assert_eq!((outcome.as_str(), word.parse()), (*word, Ok(*outcome)));
            let json = serde_json::to_string(outcome).unwrap();
            assert_eq!(json, format!("{word:?}"));
        }
        assert!("redirect".parse::<Outcome>().is_err());
    }

    #[test]
    fn a_row_written_by_the_first_release_reads_back() {
        let line = r#"{"event_id":"000102030405060708090a0b0c0d0eff","at_us":5,"user":null,"url":"https://a.example/",
            "host":"a.example","mail_id":"m","sender":"","policy_domain":"example.com","user_agent":"A/1",
            "client_ip":null,"method":"HEAD","outcome":"redirected"}"#;
        let row: ClickRow = serde_json::from_str(line).unwrap();
        let id = EventId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        let wanted = ClickRow {
            url: "https://a.example/".to_owned(),
            host: "a.example".to_owned(),
            mail_id: "m".to_owned(),
            policy_domain: "example.com".to_owned(),
            user_agent: "A/1".to_owned(),
            method: Method::Head,
            ..ClickRow::new(id, 5)
        };
        assert_eq!(row, wanted);
    }
}
