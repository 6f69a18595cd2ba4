//! The offline score: signs that a link is suspicious, as far as they can be seen without asking anyone.
//!
//! Each sign has a word, points and what was found. What the points come to is the caller's choice: `rewrite =
//! "suspicious"` wraps what reaches `suspicious_score`, a click warns at `warn_score`. No sign alone reaches a warning but
//! a name that is made to be taken for another one, and orders to an assistant: ordinary newsletters show one or two of
//! the others.

mod brands;
mod host;
mod names;
mod orders;
mod shape;
mod text;

pub(crate) use names::is_posed;
pub use names::{NameTable, Names};

use crate::escapes::clip;
use crate::target::Target;
use crate::verdict::{Evidence, Finding};
use host::Place;

/// A sign that a link is suspicious.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Its stable word, one of [`SIGNS`].
    pub code: &'static str,
    /// How much it counts.
    pub points: u8,
    /// What was found: a name, a host, a number; may be empty. Text of strangers.
    pub detail: String,
}

impl Sign {
    /// The source that signs are evidence of.
    pub const SOURCE: &'static str = "score";

    /// What the sign says, in English.
    #[must_use]
    pub fn words(&self) -> &'static str {
        let row = SIGNS.iter().find(|(code, _)| *code == self.code);
        row.map_or("", |(_, words)| words)
    }

    /// The sign as evidence about `url`.
    #[must_use]
    pub fn evidence(self, url: &str) -> Evidence {
        let Self { code, points, detail } = self;
        Evidence {
            source: Self::SOURCE.into(),
            about: url.to_owned(),
            finding: Finding::Sign { code, points, detail },
        }
    }
}

/// What is known of a link beside its URL. By default nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// The names that the operator protects; some of the most imitated ones are protected anyway.
    pub names: Option<&'a Names>,
    /// What a reader sees in place of the URL.
    pub link_text: Option<&'a str>,
    /// The registrable domain turned up here for the first time, or a short while ago.
    pub newly_seen: bool,
    /// What is known of the sender.
    pub sender: SenderFacts,
}

/// What is known of the sender of a mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderFacts {
    /// Replies go to another registrable domain than that of the From field.
    pub reply_to_elsewhere: bool,
    /// Our own mail server says that DMARC (RFC 7489) failed.
    pub dmarc_failed: bool,
    /// Our own mail server says that SPF (RFC 7208) failed.
    pub spf_failed: bool,
    /// What readers see in place of the sender's address is somebody else ([`crate::Policy::is_posed`]).
    pub poses: bool,
    /// Nobody from the domain of the From field wrote here until a short while ago.
    pub first_contact: bool,
}

/// The signs that a link to `target` shows, each at most once.
#[must_use]
pub fn signs(target: &Target, circumstances: &Circumstances<'_>) -> Vec<Sign> {
    let mut found = Found(Vec::new());
    let place = Place::of(target);
    host::signs(target, &place, &mut found);
    names::signs(&place, circumstances.names, &mut found);
    shape::signs(target, &mut found);
    orders::signs(target, &mut found);
    if let Some(shown) = circumstances.link_text {
        text::signs(shown, &place, &mut found);
    }
    if circumstances.newly_seen {
        found.add(Code::FirstSeen, place.domain);
    }
    let sender = circumstances.sender;
    for (is_so, code) in [
        (sender.reply_to_elsewhere, Code::ReplyTo),
        (sender.dmarc_failed, Code::DmarcFailed),
        (sender.spf_failed, Code::SpfFailed),
        (sender.poses, Code::DisplayName),
        (sender.first_contact, Code::FirstContact),
    ] {
        if is_so {
            found.add(code, "");
        }
    }
    found.0
}

/// What the points of signs add up to.
#[must_use]
pub fn points(signs: &[Sign]) -> u32 {
    signs.iter().map(|s| u32::from(s.points)).sum()
}

/// The registrable domain of a target's host, by which "first seen here" is known; `None` for an address, and for a name
/// that nobody can register.
#[must_use]
pub fn registrable_domain(target: &Target) -> Option<&str> {
    let place = Place::of(target);
    (!place.domain.is_empty()).then_some(place.domain)
}

/// Signs found so far.
struct Found(Vec<Sign>);

/// Longest detail, in octets.
const MAX_DETAIL: usize = 200;

impl Found {
    fn add(&mut self, code: Code, detail: &str) {
        self.0.push(Sign {
            code: code.word(),
            points: code.points(),
            detail: clip(detail, MAX_DETAIL).to_owned(),
        });
    }
}

macro_rules! codes {
    ($($code:ident = $word:literal, $points:literal, $words:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Code { $($code),+ }

        impl Code {
            const fn word(self) -> &'static str {
                match self { $(Self::$code => $word),+ }
            }

            const fn points(self) -> u8 {
                match self { $(Self::$code => $points),+ }
            }
        }

        #[cfg(test)]
        const CODES: &[Code] = &[$(Code::$code),+];

        /// All signs: their stable words, and what they say in English.
        pub const SIGNS: &[(&str, &str)] = &[$(($word, $words)),+];
    };
}

codes! {
    // Only these come to a warning alone: names made to be taken for others, and what no honest link says.
    AssistantOrders = "assistant-orders", 60, "words in the address are orders to an AI assistant";
    LookAlike = "look-alike", 60, "the name looks like a protected one";
    DigitsForLetters = "digits-for-letters", 60, "digits stand for the letters of a protected name";
    NearName = "near-name", 40, "the name is one character away from a protected one";
    WholeScript = "whole-script", 40, "the name is written in letters of another script that look like Latin ones";
    MixedScripts = "mixed-scripts", 40, "the name mixes letters of several scripts";
    OtherEnding = "other-ending", 35, "a protected name under an ending that is not its owner's";
    NameInSubdomain = "name-in-subdomain", 30, "a protected name stands in front of a domain of someone else";
    NamePart = "name-part", 30, "a protected name is a part of someone else's name";
    EmbeddedDomain = "embedded-domain", 30, "what stands in front of the domain looks like the end of another one";
    OtherText = "other-text", 30, "the text of the link names another domain than its target";
    // Shapes that links for people hardly have.
    UserInfo = "user-info", 40, "a user name or password stands in front of the host";
    IpAddress = "ip-address", 40, "the host is an address, not a name";
    DoubleExtension = "double-extension", 35, "a program with a file name that looks like that of a document";
    OddPort = "odd-port", 20, "the port is not the usual one";
    Program = "program", 20, "it leads to a program or a disk image";
    NeedlessEncoding = "needless-encoding", 20, "letters are encoded that need not be, or time and again";
    PlainLogin = "plain-login", 15, "about signing in or paying, without encryption";
    ManyLabels = "many-labels", 15, "the host has more than five labels";
    Archive = "archive", 10, "it leads to an archive";
    LongAddress = "long-address", 5, "the address is very long";
    // Places where anybody can put a page, or send readers on.
    Shortener = "shortener", 20, "a shortener hides the target";
    OpenRedirector = "open-redirector", 20, "a redirector that anybody can use hides the target";
    FreeHosting = "free-hosting", 15, "anybody can put pages on this host";
    Punycode = "punycode", 10, "the name has other letters than those of English";
    // What is known beside the URL.
    DmarcFailed = "dmarc-failed", 25, "the sender's address is forged, or not provably the sender's (DMARC)";
    SpfFailed = "spf-failed", 15, "the sending server may not send for the sender's domain (SPF)";
    DisplayName = "display-name", 30, "the sender shows a protected name, or an address, that is not the sender's";
    FirstSeen = "first-seen", 10, "the domain was never seen here until a short while ago";
    FirstContact = "first-contact", 10, "nobody from the sender's domain wrote here until a short while ago";
    ReplyTo = "reply-to", 5, "replies go to another domain than the sender's";
}

#[cfg(test)]
mod tests;
