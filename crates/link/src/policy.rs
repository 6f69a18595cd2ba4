//! What becomes of a link: rules by sender and URL, per recipient domain.

use crate::target::{LeaveReason, Target};

/// What a recipient domain wants done with links.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The recipient domain, in lower case.
    pub domain: String,
    /// Which links are wrapped.
    pub rewrite: Rewrite,
    /// Senders whose links stay.
    pub bypass_senders: SenderRules,
    /// URLs that stay.
    pub bypass_urls: UrlRules,
}

impl Policy {
    /// What becomes of a link to `target` in a mail from `sender` (envelope sender, without angle brackets).
    #[must_use]
    pub fn decide(&self, sender: &str, target: &Target) -> Decision {
        self.explain(sender, target).decision
    }

    /// The decision with the rule or the signs behind it.
    #[must_use]
    pub fn explain(&self, _sender: &str, _target: &Target) -> Explanation {
        Explanation {
            decision: Decision::Wrap,
            matched: None,
            signs: Vec::new(),
        }
    }
}

/// Whether two recipients' copies would be the same.
#[must_use]
pub fn same_policy(a: &Policy, b: &Policy) -> bool {
    std::ptr::eq(a, b)
}

/// Which links are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rewrite {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those that look suspicious.
    Suspicious,
}

impl Rewrite {
    /// The words of the configuration file.
    pub const WORDS: [&'static str; 3] = ["off", "all", "suspicious"];

    /// The word of the configuration file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::All => "all",
            Self::Suspicious => "suspicious",
        }
    }
}

impl std::str::FromStr for Rewrite {
    type Err = UnknownRewrite;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "off" => Ok(Self::Off),
            "all" => Ok(Self::All),
            "suspicious" => Ok(Self::Suspicious),
            _ => Err(UnknownRewrite),
        }
    }
}

/// Not a word of [`Rewrite::WORDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither off, all nor suspicious")]
pub struct UnknownRewrite;

/// What becomes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It stays as it is.
    Keep(KeepReason),
    /// It is replaced by a click link.
    Wrap,
    /// It is made unclickable.
    Disarm(DisarmReason),
}

/// Why a link stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// The recipient domain has rewriting off.
    DomainOff,
    /// A rule for senders.
    BypassSender,
    /// A rule for URLs.
    BypassUrl,
    /// Only suspicious links are wrapped, and this is none.
    NotSuspicious,
    /// A click link of ours that verifies.
    OwnLink,
    /// It leads nowhere on the web.
    NotWeb(LeaveReason),
    /// A relative reference in a document without a base.
    Relative,
}

impl KeepReason {
    /// A stable word for logs and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DomainOff => "domain-off",
            Self::BypassSender => "bypass-sender",
            Self::BypassUrl => "bypass-url",
            Self::NotSuspicious => "not-suspicious",
            Self::OwnLink => "own-link",
            Self::NotWeb(r) => r.as_str(),
            Self::Relative => "relative",
        }
    }
}

/// Why a link is made unclickable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisarmReason {
    /// Its scheme is none that mail should open.
    Scheme,
    /// It cannot be read as a URL, though a lenient client might open it.
    Invalid,
}

impl DisarmReason {
    /// A stable word for logs and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Invalid => "invalid-url",
        }
    }
}

/// A decision and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What becomes of the link.
    pub decision: Decision,
    /// The rule that decided, if one did.
    pub matched: Option<Matched>,
    /// The suspicious signs of the target, under [`Rewrite::Suspicious`].
    pub signs: Vec<Sign>,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The list it stands in.
    pub list: RuleList,
    /// Its place in the list, from 0.
    pub index: usize,
    /// As written in the configuration.
    pub rule: String,
}

/// A list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleList {
    /// `bypass_senders`
    BypassSenders,
    /// `bypass_urls`
    BypassUrls,
}

/// A sign that a link is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The host is an IP address.
    IpAddress,
}

/// `bypass_senders`: rules for envelope senders.
#[derive(Debug, Clone, Default)]
pub struct SenderRules {}

impl SenderRules {
    /// Compiles rules.
    ///
    /// # Errors
    /// Every rule that cannot be used.
    pub fn parse<S: AsRef<str>>(_rules: &[S]) -> Result<Self, Vec<RuleError>> {
        Ok(Self {})
    }
}

/// `bypass_urls`: rules for targets.
#[derive(Debug, Clone, Default)]
pub struct UrlRules {}

impl UrlRules {
    /// Compiles rules.
    ///
    /// # Errors
    /// Every rule that cannot be used.
    pub fn parse<S: AsRef<str>>(_rules: &[S]) -> Result<Self, Vec<RuleError>> {
        Ok(Self {})
    }
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}: {rule:?}: {why}; allowed: {allowed}")]
pub struct RuleError {
    /// Place in the list, from 0.
    pub index: usize,
    /// As written.
    pub rule: String,
    /// What is wrong with it.
    pub why: String,
    /// What could stand there.
    pub allowed: &'static str,
}
