//! Alerts and revocations: what the operator is told, and what the operator tells.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::checked::by_word;
use crate::rows::{EventId, UnknownWord};

/// Something the operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// What it is about.
    pub kind: AlertKind,
    /// The target, or what was revoked.
    pub url: String,
    /// Who said so: the name of a list, `revoked`, `link`.
    pub source: String,
    /// What was said, in words; may be empty.
    pub detail: String,
    /// When it was raised, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// The first click it speaks of; that time for an alert without clicks.
    pub first_click_us: i64,
    /// The last click it speaks of.
    pub last_click_us: i64,
    /// Clicks by people or likely people.
    pub people: u64,
    /// Clicks by machines or likely machines.
    pub machines: u64,
    /// Clicks of which nobody can tell.
    pub unknown: u64,
    /// The clicks it speaks of; the newest when there are too many to name.
    pub events: Vec<EventId>,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// A target was listed after readers had been let through to it.
    LateListing,
    /// A link turned up where it does not belong.
    Smuggled,
    /// The operator revoked a URL, host or domain.
    Revoked,
    /// The operator took a revocation back.
    Unrevoked,
    /// A reader asked for a review of a verdict.
    ReviewAsked,
}

/// What the operator revoked: it is blocked at once, whatever the lists say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// How much is revoked.
    pub scope: RevokedScope,
    /// The URL without fragment, the host, or the domain, all in ASCII.
    pub name: String,
    /// The operator's note; may be empty.
    pub note: String,
    /// When, microseconds since 1970 in UTC.
    pub made_at_us: i64,
}

/// How much a revocation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedScope {
    /// One URL.
    Url,
    /// All of one host.
    Host,
    /// A domain and all hosts under it.
    Domain,
}

impl AlertKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("late-listing", Self::LateListing),
        ("smuggled", Self::Smuggled),
        ("revoked", Self::Revoked),
        ("unrevoked", Self::Unrevoked),
        ("review-asked", Self::ReviewAsked),
    ];

    /// A stable word for tables, logs and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LateListing => "late-listing",
            Self::Smuggled => "smuggled",
            Self::Revoked => "revoked",
            Self::Unrevoked => "unrevoked",
            Self::ReviewAsked => "review-asked",
        }
    }
}

impl FromStr for AlertKind {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        by_word(Self::WORDS, s)
    }
}

impl RevokedScope {
    const WORDS: &'static [(&'static str, Self)] =
        &[("url", Self::Url), ("host", Self::Host), ("domain", Self::Domain)];

    /// A stable word for tables, logs and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Host => "host",
            Self::Domain => "domain",
        }
    }
}

impl FromStr for RevokedScope {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        by_word(Self::WORDS, s)
    }
}

/// As the operator writes it: a URL, a host, or `*.domain`.
impl fmt::Display for RevocationRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            RevokedScope::Url | RevokedScope::Host => f.write_str(&self.name),
            RevokedScope::Domain => write!(f, "*.{}", self.name),
        }
    }
}
