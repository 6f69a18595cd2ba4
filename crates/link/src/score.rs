//! The offline score: signs that a link is suspicious, found without any query.
//!
//! Each sign has a word, points and a detail. The caller sets the limits: `rewrite = "suspicious"` wraps links that reach
//! `suspicious_score`, a click warns at `warn_score`. Only a look-alike name and orders to an assistant reach a warning
//! alone: ordinary newsletters show one or two of the other signs.

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
    /// Its points.
    pub points: u8,
    /// The name, host or number found; may be empty. Untrusted text.
    pub detail: String,
}

impl Sign {
    /// The source that signs are evidence of.
    pub const SOURCE: &'static str = "score";

    /// The meaning of the sign, in English.
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

/// Facts about a link beside its URL; by default none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// The names that the operator protects; some of the most imitated ones are always protected.
    pub names: Option<&'a Names>,
    /// The text that a reader sees in place of the URL.
    pub link_text: Option<&'a str>,
    /// The registrable domain turned up here for the first time, or a short while ago.
    pub newly_seen: bool,
    /// Facts about the sender.
    pub sender: SenderFacts,
}

/// Facts about the sender of a mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderFacts {
    /// Replies go to another registrable domain than the one of the From field.
    pub reply_to_elsewhere: bool,
    /// DMARC (RFC 7489) failed at our own mail server.
    pub dmarc_failed: bool,
    /// SPF (RFC 7208) failed at our own mail server.
    pub spf_failed: bool,
    /// The sender poses as another ([`crate::Policy::is_posed`]).
    pub poses: bool,
    /// The first mail from the domain of the From field came a short while ago.
    pub first_contact: bool,
}

/// The signs of a link to `target`, each at most once.
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

/// The sum of the points of signs.
#[must_use]
pub fn points(signs: &[Sign]) -> u32 {
    signs.iter().map(|s| u32::from(s.points)).sum()
}

/// The registrable domain of a target's host, the key of "first seen here"; `None` for an address and for a public suffix.
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

        /// All signs: their stable words, and their meaning in English.
        pub const SIGNS: &[(&str, &str)] = &[$(($word, $words)),+];
    };
}

codes! {
    // Only these reach a warning alone: look-alike names, and texts of no honest link.
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
    // Hosts where anybody can publish a page or a redirect.
    Shortener = "shortener", 20, "a shortener hides the target";
    OpenRedirector = "open-redirector", 20, "a redirector that anybody can use hides the target";
    FreeHosting = "free-hosting", 15, "anybody can put pages on this host";
    Punycode = "punycode", 10, "the name has other letters than those of English";
    // Facts beside the URL.
    DmarcFailed = "dmarc-failed", 25, "the sender's address is forged, or not provably the sender's (DMARC)";
    SpfFailed = "spf-failed", 15, "the sending server may not send for the sender's domain (SPF)";
    DisplayName = "display-name", 30, "the sender shows a protected name, or an address, that is not the sender's";
    FirstSeen = "first-seen", 10, "the domain was never seen here until a short while ago";
    FirstContact = "first-contact", 10, "nobody from the sender's domain wrote here until a short while ago";
    ReplyTo = "reply-to", 5, "replies go to another domain than the sender's";
}

#[cfg(test)]
mod tests;
