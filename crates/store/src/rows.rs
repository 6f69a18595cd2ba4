//! Rows as they go in and come out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
}

/// What the reader got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// A redirect to the target.
    Redirected,
}

/// A word that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(pub String);

impl Method {
    /// As in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

impl FromStr for Method {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            _ => Err(UnknownWord(s.to_owned())),
        }
    }
}

impl Outcome {
    /// A stable word for tables, logs and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
        }
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "redirected" => Ok(Self::Redirected),
            _ => Err(UnknownWord(s.to_owned())),
        }
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
        for m in [Method::Get, Method::Head] {
            assert_eq!(m.as_str().parse(), Ok(m));
        }
        assert_eq!(Outcome::Redirected.as_str().parse(), Ok(Outcome::Redirected));
        assert!("redirect".parse::<Outcome>().is_err());
    }
}
