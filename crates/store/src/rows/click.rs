//! Clicks: the row, its columns, and the parts of it that are read alone.

use std::sync::LazyLock;

use link::Verdict;
use rusqlite::{Connection, Row, params_from_iter};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::event_id::EventId;
use crate::columns::{self, columns, json, word};
use crate::words::verdict_word;

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
    /// `User-Agent`, shortened; text of strangers.
    pub user_agent: String,
    /// The reader's address, or as much of it as may be kept.
    pub client_ip: Option<String>,
    /// The method of the request.
    pub method: Method,
    /// The response to the reader.
    pub outcome: Outcome,
    /// The verdict on all the evidence; `None` where nothing was checked.
    #[serde(default, with = "verdict_word")]
    pub verdict: Option<Verdict>,
    /// The evidence for the verdict.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// The URLs on the way to the target, as far as they were seen; without the target of the link itself.
    #[serde(default)]
    pub chain: Vec<String>,
    /// The click that was answered with the page whose button was pressed now.
    #[serde(default)]
    pub page_event: Option<EventId>,
    /// The visitor, as far as known.
    #[serde(default)]
    pub label: Label,
    /// The evidence for the label, as stable words.
    #[serde(default)]
    pub label_reasons: Vec<String>,
    /// The version of the rules the label was given by; 0: by none.
    #[serde(default)]
    pub rules: u32,
    /// The facts of the request.
    #[serde(default)]
    pub facts: Facts,
}

/// The HTTP method of a request for a click link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
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

/// The response to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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

/// One reason of a verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The source that says it: the name of a list, `revoked`, `score`, `contact`, `wrapper`, `link`, `check`, `delivery`,
    /// `bypass_urls`.
    pub source: String,
    /// The finding as one stable word, such as `phishing` or `look-alike`.
    pub code: String,
    /// The value found, such as the host that is imitated; may be empty. Text of strangers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The URL it speaks of.
    pub about: String,
}

/// The label of a click: a person or a machine, as far as the request tells. In the order of what speaks for a person.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
    strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Label {
    /// A program, for certain: it says so itself, or the operator does.
    Machine,
    /// A program, by all signs.
    LikelyMachine,
    /// There is no sign of either.
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
    /// The new label.
    pub label: Label,
    /// The evidence for it, as stable words.
    pub reasons: Vec<String>,
    /// The version of the rules.
    pub rules: u32,
}

/// The facts of a request. Written once, never edited; labels are computed from it.
///
/// Header values are shortened by the caller; they are text of strangers.
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

/// A click that let its reader through, as far as it takes to match it against lists again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetThrough {
    /// The time of the click, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// Row number, which tells rows of one microsecond apart.
    pub id: i64,
    /// Its id.
    pub event_id: EventId,
    /// The target.
    pub url: String,
    /// URLs on the way to it.
    pub chain: Vec<String>,
    /// The evidence for its verdict.
    pub reasons: Vec<Reason>,
    /// The label it has now.
    pub label: Label,
    /// Our id of the mail that held the link.
    pub mail_id: String,
}

/// The opening of a link from a network, by a visitor who is no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOpening {
    /// The time of the click, microseconds since 1970 in UTC.
    pub at_us: i64,
    /// Row number, which tells rows of one microsecond apart.
    pub id: i64,
    /// The recipient.
    pub user: String,
    /// The link, as [`Facts::link`] has it.
    pub link: String,
    /// The network, as [`Facts::network`] has it.
    pub network: String,
}

impl ClickRow {
    /// Makes a row with an id and a time, and all else empty.
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

impl Outcome {
    /// Whether the reader was let through to the target.
    #[must_use]
    pub fn let_through(self) -> bool {
        matches!(self, Self::Redirected | Self::Continued | Self::ClickedThrough)
    }
}

impl Label {
    /// Whether it is a person, or likely one: what reports count and alerts speak of.
    #[must_use]
    pub fn is_person(self) -> bool {
        self >= Self::LikelyPerson
    }

    /// Whether it is a machine, or likely one: set aside in reports, and no reason to ask a target.
    #[must_use]
    pub fn is_machine(self) -> bool {
        self <= Self::LikelyMachine
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_false(flag: &bool) -> bool {
    !flag
}

columns! { ClickRow {
    "event_id" event_id: plain,
    "at" at_us: plain,
    "user" user: plain,
    "url" url: plain,
    "host" host: plain,
    "mail_id" mail_id: plain,
    "sender" sender: plain,
    "policy_domain" policy_domain: plain,
    "user_agent" user_agent: plain,
    "client_ip" client_ip: plain,
    "method" method: word,
    "outcome" outcome: word,
    "verdict" verdict: word_or_null,
    "reasons" reasons: list,
    "chain" chain: list,
    "page_event" page_event: plain,
    "label" label: word,
    "label_reasons" label_reasons: list,
    "rules" rules: plain,
    "facts" facts: json,
} }

/// `SELECT` of all columns behind the row number.
pub(crate) static SELECT: LazyLock<String> = LazyLock::new(|| format!("SELECT id, {COLUMNS} FROM click"));

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places = columns::places(COLUMNS.split(',').count());
    format!("INSERT INTO click ({COLUMNS}) VALUES ({places}) ON CONFLICT (event_id) DO NOTHING")
});

/// A row of [`SELECT`], with its number.
pub(crate) fn read_numbered(r: &Row<'_>) -> rusqlite::Result<(i64, ClickRow)> {
    Ok((r.get(0)?, read(r, 1)?))
}

/// Adds a click, unless one with its id is there.
pub(crate) fn insert(conn: &Connection, row: &ClickRow) -> rusqlite::Result<()> {
    conn.prepare_cached(&INSERT)?.execute(params_from_iter(values(row)?))?;
    Ok(())
}

/// Gives a click another label.
pub(crate) fn relabel(conn: &Connection, row: &LabelRow) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE click SET label = ?2, label_reasons = ?3, rules = ?4 WHERE event_id = ?1")?
        .execute((
            row.event_id,
            word::write(&row.label)?,
            json::write(&row.reasons)?,
            row.rules,
        ))?;
    Ok(())
}

/// A page of clicks behind `(at_us, id)` whose readers were let through, `many` at most.
pub(crate) fn let_through(conn: &Connection, behind: (i64, i64), many: usize) -> rusqlite::Result<Vec<LetThrough>> {
    conn.prepare_cached(
        "SELECT at, id, event_id, url, chain, reasons, label, mail_id FROM click WHERE (at, id) > (?1, ?2) \
         AND outcome IN ('redirected', 'continued', 'clicked-through') ORDER BY at, id LIMIT ?3",
    )?
    .query_map((behind.0, behind.1, many as i64), |r| {
        Ok(LetThrough {
            at_us: r.get(0)?,
            id: r.get(1)?,
            event_id: r.get(2)?,
            url: r.get(3)?,
            chain: json::read(r, 4)?,
            reasons: json::read(r, 5)?,
            label: word::read(r, 6)?,
            mail_id: r.get(7)?,
        })
    })?
    .collect()
}

/// A page of openings behind `(at_us, id)`, `many` at most.
pub(crate) fn openings(conn: &Connection, behind: (i64, i64), many: usize) -> rusqlite::Result<Vec<LinkOpening>> {
    conn.prepare_cached(
        "SELECT at, id, user, facts ->> 'link' AS link, facts ->> 'network' AS network FROM click \
         WHERE (at, id) > (?1, ?2) AND label NOT IN ('machine', 'likely-machine') \
         AND user IS NOT NULL AND link IS NOT NULL AND network IS NOT NULL ORDER BY at, id LIMIT ?3",
    )?
    .query_map((behind.0, behind.1, many as i64), |r| {
        Ok(LinkOpening {
            at_us: r.get(0)?,
            id: r.get(1)?,
            user: r.get(2)?,
            link: r.get(3)?,
            network: r.get(4)?,
        })
    })?
    .collect()
}

impl ClickRow {
    /// About what it takes in memory, in octets.
    pub(crate) fn octets(&self) -> usize {
        let texts = [
            &self.url,
            &self.host,
            &self.mail_id,
            &self.sender,
            &self.policy_domain,
            &self.user_agent,
        ];
        let reasons = self.reasons.iter().map(|r| 128 + r.about.len() + r.detail.len());
        let chain = self.chain.iter().map(|url| 32 + url.len());
        1024 + texts.iter().map(|s| s.len()).sum::<usize>() + reasons.chain(chain).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use link::Word;

    use super::*;

    #[test]
    fn words_read_back_and_are_those_of_spilled_rows() {
        for method in Method::VARIANTS {
            assert_eq!(method.as_str().parse(), Ok(*method));
            assert_eq!(serde_json::to_string(method).unwrap(), format!("{:?}", method.as_str()));
        }
        for outcome in Outcome::VARIANTS {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
            assert_eq!(
                serde_json::to_string(outcome).unwrap(),
                format!("{:?}", outcome.as_str())
            );
        }
        assert_eq!(
            (Method::Options.as_str(), Outcome::CouldNotCheck.as_str()),
            ("OPTIONS", "could-not-check")
        );
        assert!("redirect".parse::<Outcome>().is_err());
    }

    #[test]
    fn labels_read_back_and_are_in_order() {
        for label in Label::VARIANTS {
            assert_eq!(label.as_str().parse(), Ok(*label));
        }
        assert!(Label::VARIANTS.is_sorted());
        assert!("people".parse::<Label>().is_err());
        let (people, machines): (Vec<_>, Vec<_>) = (
            Label::VARIANTS.iter().filter(|l| l.is_person()).collect(),
            Label::VARIANTS.iter().filter(|l| l.is_machine()).collect(),
        );
        assert_eq!((people.len(), machines.len()), (2, 2));
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
