//! What a click row says beyond who, where and when: what was found out about the target, and who seems to have asked.

use std::str::FromStr;

use link::Verdict;
use serde::{Deserialize, Serialize};

use crate::rows::{EventId, UnknownWord};

/// One reason of a verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who says it: the name of a list, `revoked`, `score`, `contact`, `wrapper`, `link`.
    pub source: String,
    /// What it says, as one stable word, such as `phishing` or `look-alike`.
    pub code: String,
    /// What was found, such as the host that is imitated; may be empty. Text of strangers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The URL it speaks of.
    pub about: String,
}

/// Who asked for a click link, as far as the request tells. In the order of what speaks for a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// A program, for certain: it says so itself, or the operator does.
    Machine,
    /// A program, by all signs.
    LikelyMachine,
    /// Nothing tells.
    #[default]
    Unknown,
    /// A person, by all signs.
    LikelyPerson,
    /// The button of a page was pressed. The best evidence there is, and no proof.
    Person,
}

/// A label that a click gets anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRow {
    /// The click.
    pub event_id: EventId,
    /// Who asked.
    pub label: Label,
    /// What that rests on, as stable words.
    pub reasons: Vec<String>,
    /// The version of the rules.
    pub rules: u32,
}

/// What a request said, before anybody judged it. Written once, never edited; labels are computed from it.
///
/// Header values are shortened by whoever fills this in; they are strangers' words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// `Sec-Purpose`, else `Purpose`, else `X-Moz` or `X-Purpose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// `Sec-Fetch-Mode`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_mode: Option<String>,
    /// `Sec-Fetch-Dest`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_dest: Option<String>,
    /// `Sec-Fetch-User`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_user: Option<String>,
    /// `Sec-Fetch-Site`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_site: Option<String>,
    /// `Sec-CH-UA`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_hints: Option<String>,
    /// `Accept`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// `Accept-Language`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_language: Option<String>,
    /// The host of `Referer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer_host: Option<String>,
    /// `DNT: 1`. Recorded, and not obeyed: a click on a link of a mail is a deliberate act, recorded for security.
    #[serde(skip_serializing_if = "is_false")]
    pub dnt: bool,
    /// `Sec-GPC: 1`, likewise.
    #[serde(skip_serializing_if = "is_false")]
    pub gpc: bool,
    /// The HTTP version: `1.0`, `1.1`, `2`, `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A keyed hash of the client's network (/24, /48): tells networks apart and names none. `None` where no address may
    /// be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The configured network of machines that the client's address was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_network: Option<String>,
    /// A hash of the link and its recipient: the same for the same link of the same mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When the link was made, seconds since 1970 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at_s: Option<i64>,
}

impl Label {
    /// All of them with their words.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("machine", Self::Machine),
        ("likely-machine", Self::LikelyMachine),
        ("unknown", Self::Unknown),
        ("likely-person", Self::LikelyPerson),
        ("person", Self::Person),
    ];

    /// A stable word for tables, logs and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::LikelyMachine => "likely-machine",
            Self::Unknown => "unknown",
            Self::LikelyPerson => "likely-person",
            Self::Person => "person",
        }
    }

    /// A person, or likely one: what reports count and alerts speak of.
    #[must_use]
    pub fn is_person(self) -> bool {
        self >= Self::LikelyPerson
    }

    /// A machine, or likely one: set aside in reports, and no reason to ask a target.
    #[must_use]
    pub fn is_machine(self) -> bool {
        self <= Self::LikelyMachine
    }
}

impl FromStr for Label {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        by_word(Self::WORDS, s)
    }
}

/// The value of a word.
pub(crate) fn by_word<T: Copy>(words: &[(&'static str, T)], word: &str) -> Result<T, UnknownWord> {
    let found = words.iter().find(|(w, _)| *w == word);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| UnknownWord(word.to_owned()))
}

/// A verdict as its word, in spilled rows.
pub(crate) mod verdict_word {
    use super::{Verdict, by_word};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        clippy::ref_option,
        reason = "what serde calls it with"
    )]
    pub(crate) fn serialize<S: Serializer>(verdict: &Option<Verdict>, to: S) -> Result<S::Ok, S::Error> {
        verdict.map(Verdict::as_str).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Verdict>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|w| by_word(Verdict::WORDS, &w))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_and_are_in_order() {
        for (word, label) in Label::WORDS {
            assert_eq!((label.as_str(), word.parse()), (*word, Ok(*label)));
        }
        assert!(Label::WORDS.is_sorted_by_key(|(_, label)| *label));
        assert!("people".parse::<Label>().is_err());
        let (people, machines): (Vec<_>, Vec<_>) = (
            Label::WORDS.iter().filter(|(_, l)| l.is_person()).collect(),
            Label::WORDS.iter().filter(|(_, l)| l.is_machine()).collect(),
        );
        assert_eq!((people.len(), machines.len()), (2, 2));
    }
}
