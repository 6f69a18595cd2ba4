//! From evidence about a target to a verdict, and from a verdict to what a reader gets.
//!
//! Evidence is what one source has to say about one URL of the way to a target. [`combine`] weighs all of it. What follows
//! from a verdict is the domain's choice: [`ClickPolicy::answer`].

use std::borrow::Cow;

use strum::{EnumString, IntoStaticStr, VariantArray};

/// What one source says about one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The source's name as the operator knows it: that of a list, `score`, `contact`, `wrapper`, `link`.
    pub source: Cow<'static, str>,
    /// The URL it speaks of, as a browser writes it: the target, or one on the way to it.
    pub about: String,
    /// What it says.
    pub finding: Finding,
}

/// What a source says. Three answers of a list are kept apart: listed, not listed, could not ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A list names the URL.
    Listed(Listing),
    /// The source was asked, and does not name it.
    NotListed,
    /// The source could not be asked. Never the same as [`Finding::NotListed`].
    CouldNotAsk(String),
    /// A sign that can be seen without asking anyone.
    Sign {
        /// Its stable word, such as `look-alike`.
        code: &'static str,
        /// How much it counts.
        points: u8,
        /// What was found: a name, a host, a number; may be empty. Text of strangers.
        detail: String,
    },
    /// The target is hidden behind a wrapper of this vendor, which only the vendor can open.
    TargetUnknown(Cow<'static, str>),
    /// The target was asked for, and could not be looked into.
    CouldNotInspect(Obstacle),
    /// A link that turns up where it does not belong.
    Smuggled(Smuggled),
    /// A rule of the operator lets the URL pass.
    Bypassed(String),
}

/// How a list names a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listing {
    /// For what.
    pub category: Category,
    /// How much of the URL the list names.
    pub scope: Scope,
    /// What it is worth: the host of a good site that was broken into, or a list of mere suspicions, warrants a warning.
    pub weight: Weight,
}

/// For what a list names a URL.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantArray,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Category {
    /// It pretends to be someone else, to get at secrets.
    Phishing,
    /// It spreads harmful programs.
    Malware,
    /// Harmful programs take their orders there.
    Botnet,
    /// It is advertised by spam, or has a bad name.
    Abuse,
    /// The domain was first seen a short while ago.
    NewDomain,
    /// The operator has revoked it.
    Revoked,
    /// The list does not say.
    Unspecified,
}

/// How much of a URL a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Scope {
    /// This very URL.
    Url,
    /// This URL with any query.
    Path,
    /// Everything on this host.
    Host,
    /// Everything under this registrable domain.
    Domain,
}

/// What a listing is worth.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantArray,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Weight {
    /// A warning.
    Warn,
    /// A block.
    Block,
}

/// Why a target could not be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Obstacle {
    /// It asks for proof of a person.
    Captcha,
    /// It asks for a name and password before it shows anything.
    Login,
    /// It is a file that only a password opens.
    Encrypted,
    /// The chain of redirects is longer than we follow.
    TooManyHops,
    /// The chain leads back to itself.
    Loop,
    /// It goes on by a script whose outcome cannot be read from it.
    NeedsScript,
    /// It leads to an address that is not of the public network.
    #[strum(serialize = "forbidden-address")]
    Forbidden,
    /// Its certificate does not hold.
    Certificate,
    /// It did not answer, or not in time.
    NoAnswer,
    /// It answered with more than is read.
    TooLarge,
    /// Too many targets are being looked into already.
    Busy,
}

/// Where a link turns up that does not belong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Smuggled {
    /// A click link of ours leads to a click link of ours: it came in fresh mail from outside.
    OwnLinkInside,
    /// It was opened from many networks, far more than one reader has.
    ManyNetworks,
    /// It was opened long after it was made, in a way that its reader did not before.
    LongAfter,
    /// It was seen in mail to another recipient.
    OtherRecipient,
    /// A wrapper of a vendor that neither the sender nor we use.
    ForeignWrapper,
    /// Wrappers of more than one vendor inside each other.
    SeveralWrappers,
    /// A wrapper that names a recipient who has nothing to do with the mail.
    WrapperOfSomeoneElse,
}

/// All in all.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantArray,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Verdict {
    /// Every source was asked, and none says anything against it.
    Allow,
    /// Nobody says anything against it, but not every source could be asked.
    Unchecked,
    /// Where it leads, or what is there, could not be seen.
    Unknown,
    /// There is something against it.
    Warn,
    /// It is known to be harmful.
    Block,
}

/// What all the evidence comes to. `warn_score`: points of signs, in all, that warrant a warning; 0 is never.
///
/// The gravest finding counts; signs add up per URL, each sign once, and the worst URL of the way counts.
#[must_use]
pub fn combine(evidence: &[Evidence], warn_score: u32) -> Verdict {
    let single = evidence.iter().map(|e| e.finding.verdict()).max();
    let suspicious = warn_score > 0 && score(evidence) >= warn_score;
    single
        .max(suspicious.then_some(Verdict::Warn))
        .unwrap_or(Verdict::Allow)
}

/// The points of the signs, of the URL that has most.
#[must_use]
pub fn score(evidence: &[Evidence]) -> u32 {
    let points = |about: &str| -> u32 {
        let mut seen: Vec<&str> = Vec::new();
        evidence
            .iter()
            .filter(|e| e.about == about)
            .filter_map(|e| match &e.finding {
                Finding::Sign { code, points, .. } if !seen.contains(code) => {
                    seen.push(code);
                    Some(u32::from(*points))
                }
                _ => None,
            })
            .sum()
    };
    evidence.iter().map(|e| points(&e.about)).max().unwrap_or(0)
}

impl Finding {
    /// Whether it says that the operator revoked the URL.
    fn is_revocation(&self) -> bool {
        matches!(self, Self::Listed(listing) if listing.category == Category::Revoked)
    }

    /// What it would come to alone; signs come to nothing alone.
    fn verdict(&self) -> Verdict {
        match self {
            Self::Listed(listing) => match listing.weight {
                Weight::Block => Verdict::Block,
                Weight::Warn => Verdict::Warn,
            },
            Self::Smuggled(_) => Verdict::Warn,
            Self::TargetUnknown(_) | Self::CouldNotInspect(_) => Verdict::Unknown,
            Self::CouldNotAsk(_) => Verdict::Unchecked,
            Self::NotListed | Self::Sign { .. } | Self::Bypassed(_) => Verdict::Allow,
        }
    }
}

/// What a recipient domain wants done at a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickPolicy {
    /// `flow`
    pub flow: Flow,
    /// `on_threat`
    pub on_threat: OnThreat,
    /// `click_through`: whether a reader may go on from a warning.
    pub click_through: bool,
    /// `show_target`: whether pages name the target.
    pub show_target: bool,
    /// `on_unknown`
    pub on_unknown: OnUnknown,
    /// `on_failure`
    pub on_failure: OnFailure,
    /// `track_clicks`: whether clicks are recorded.
    pub track_clicks: bool,
    /// `contact`: how far a check may go.
    pub contact: Contact,
    /// `warn_score`: points that warrant a warning; 0 is never.
    pub warn_score: u32,
}

impl Default for ClickPolicy {
    fn default() -> Self {
        Self {
            flow: Flow::Redirect,
            on_threat: OnThreat::Block,
            click_through: true,
            show_target: true,
            on_unknown: OnUnknown::Warn,
            on_failure: OnFailure::Open,
            track_clicks: true,
            contact: Contact::Lists,
            warn_score: 60,
        }
    }
}

/// What happens with a target that nothing speaks against.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Flow {
    /// The reader is sent on at once.
    #[default]
    Redirect,
    /// The reader sees where the link goes, and presses a button.
    Confirm,
}

/// What happens with a target that is known to be harmful.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum OnThreat {
    /// It is not opened.
    #[default]
    Block,
    /// The reader is warned.
    Warn,
}

/// What happens when nobody can say where a link leads or what is there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum OnUnknown {
    /// As if nothing spoke against it.
    Open,
    /// The reader is asked, whatever the flow.
    Confirm,
    /// The reader is warned.
    #[default]
    Warn,
    /// It is not opened.
    Block,
}

/// What happens when a source could not be asked, or the check takes too long.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum OnFailure {
    /// As if nothing spoke against it.
    #[default]
    Open,
    /// The reader is told, and may go on.
    Warn,
    /// It is not opened for now.
    Closed,
}

/// How far a check may go.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    EnumString,
    IntoStaticStr,
    VariantArray,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Contact {
    /// The target is never asked.
    #[default]
    Lists,
    /// Known shorteners are asked where they lead.
    Shorteners,
    /// The target is asked, and its chain followed.
    Full,
}

/// What a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The way to the target.
    Go,
    /// A page with a button: nothing speaks against the target.
    Confirm,
    /// A warning.
    Warning {
        /// Whether it can be passed.
        may_continue: bool,
    },
    /// A page that says why the target is not opened.
    Blocked,
    /// A page that says that the target is not known, or could not be looked into.
    Unknown {
        /// Whether it can be passed.
        may_continue: bool,
    },
    /// A page that says that the check failed.
    CouldNotCheck {
        /// Whether it can be passed.
        may_continue: bool,
    },
}

impl ClickPolicy {
    /// What a reader gets who opens a link. What the operator revoked is blocked, whatever `on_threat` says.
    #[must_use]
    pub fn answer(&self, verdict: Verdict, evidence: &[Evidence]) -> Answer {
        if evidence.iter().any(|e| e.finding.is_revocation()) {
            return Answer::Blocked;
        }
        let clean = match self.flow {
            Flow::Redirect => Answer::Go,
            Flow::Confirm => Answer::Confirm,
        };
        let may_continue = self.click_through;
        match verdict {
            Verdict::Allow => clean,
            Verdict::Unchecked => match self.on_failure {
                OnFailure::Open => clean,
                OnFailure::Warn => Answer::CouldNotCheck { may_continue: true },
                OnFailure::Closed => Answer::CouldNotCheck { may_continue: false },
            },
            Verdict::Unknown => match self.on_unknown {
                OnUnknown::Open => clean,
                OnUnknown::Confirm => Answer::Confirm,
                OnUnknown::Warn => Answer::Unknown { may_continue },
                OnUnknown::Block => Answer::Unknown { may_continue: false },
            },
            Verdict::Warn => Answer::Warning { may_continue },
            Verdict::Block => match self.on_threat {
                OnThreat::Block => Answer::Blocked,
                OnThreat::Warn => Answer::Warning { may_continue },
            },
        }
    }

    /// What a reader gets who pressed the button of a page that was shown for `seen`. The target was checked again: when
    /// things look worse by now, the reader sees that first.
    #[must_use]
    pub fn answer_to_button(&self, verdict: Verdict, evidence: &[Evidence], seen: Verdict) -> Answer {
        let now = self.answer(verdict, evidence);
        match now {
            Answer::Go | Answer::Confirm => Answer::Go,
            Answer::Warning { may_continue: true }
            | Answer::Unknown { may_continue: true }
            | Answer::CouldNotCheck { may_continue: true }
                if seen >= verdict =>
            {
                Answer::Go
            }
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Word;

    fn evidence(about: &str, finding: Finding) -> Evidence {
        Evidence {
            source: "test".into(),
            about: about.into(),
            finding,
        }
    }

    fn sign(about: &str, code: &'static str, points: u8) -> Evidence {
        let detail = String::new();
        evidence(about, Finding::Sign { code, points, detail })
    }

    fn listed(weight: Weight) -> Finding {
        Finding::Listed(Listing {
            category: Category::Phishing,
            scope: Scope::Url,
            weight,
        })
    }

    #[test]
    fn the_gravest_finding_counts() {
        let order = [
            (Finding::NotListed, Verdict::Allow),
            (Finding::CouldNotAsk("timed out".into()), Verdict::Unchecked),
            (Finding::TargetUnknown("Mimecast".into()), Verdict::Unknown),
            (Finding::CouldNotInspect(Obstacle::Captcha), Verdict::Unknown),
            (Finding::Smuggled(Smuggled::ManyNetworks), Verdict::Warn),
            (listed(Weight::Warn), Verdict::Warn),
            (listed(Weight::Block), Verdict::Block),
        ];
        let mut all = Vec::new();
        for (finding, wanted) in order {
            // In front: the order they are found in does not matter.
            all.insert(0, evidence("https://a.example/", finding));
            assert_eq!(combine(&all, 60), wanted, "{all:?}");
        }
        assert_eq!(combine(&[], 60), Verdict::Allow);
    }

    #[test]
    fn signs_add_up_per_url_and_each_counts_once() {
        let spread = [sign("https://a.example/", "a", 40), sign("https://b.example/", "b", 40)];
        assert_eq!((score(&spread), combine(&spread, 60)), (40, Verdict::Allow));
        let twice = [sign("https://a.example/", "a", 40), sign("https://a.example/", "a", 40)];
        assert_eq!((score(&twice), combine(&twice, 60)), (40, Verdict::Allow));
        let two = [sign("https://a.example/", "a", 40), sign("https://a.example/", "b", 20)];
        assert_eq!((score(&two), combine(&two, 60)), (60, Verdict::Warn));
        assert_eq!(combine(&two, 0), Verdict::Allow);
    }

    #[test]
    fn a_button_opens_only_what_its_page_warned_of() {
        let policy = ClickPolicy::default();
        assert_eq!(policy.answer_to_button(Verdict::Allow, &[], Verdict::Allow), Answer::Go);
        assert_eq!(policy.answer_to_button(Verdict::Warn, &[], Verdict::Warn), Answer::Go);
        // The confirmation page knew nothing of it.
        let warning = Answer::Warning { may_continue: true };
        assert_eq!(policy.answer_to_button(Verdict::Warn, &[], Verdict::Allow), warning);
        assert_eq!(
            policy.answer_to_button(Verdict::Block, &[], Verdict::Block),
            Answer::Blocked
        );
        let lenient = ClickPolicy {
            on_threat: OnThreat::Warn,
            ..policy
        };
        assert_eq!(lenient.answer_to_button(Verdict::Block, &[], Verdict::Warn), warning);
        assert_eq!(
            lenient.answer_to_button(Verdict::Block, &[], Verdict::Block),
            Answer::Go
        );
        let strict = ClickPolicy {
            click_through: false,
            ..lenient
        };
        assert_eq!(
            strict.answer_to_button(Verdict::Block, &[], Verdict::Block),
            Answer::Warning { may_continue: false }
        );
    }

    #[test]
    fn a_revoked_link_is_blocked_whatever_on_threat_says() {
        let revoked = Listing {
            category: Category::Revoked,
            scope: Scope::Url,
            weight: Weight::Block,
        };
        let revoked = [evidence("https://a.example/", Finding::Listed(revoked))];
        let listed = [evidence("https://a.example/", listed(Weight::Block))];
        let policy = ClickPolicy {
            on_threat: OnThreat::Warn,
            ..ClickPolicy::default()
        };
        let warning = Answer::Warning { may_continue: true };
        assert_eq!(policy.answer(Verdict::Block, &listed), warning);
        assert_eq!(policy.answer(Verdict::Block, &revoked), Answer::Blocked);
        // Nor does the button of a warning that was shown before lead on.
        assert_eq!(
            policy.answer_to_button(Verdict::Block, &listed, Verdict::Block),
            Answer::Go
        );
        assert_eq!(
            policy.answer_to_button(Verdict::Block, &revoked, Verdict::Block),
            Answer::Blocked
        );
    }

    #[test]
    fn words_are_said_once() {
        let words: Vec<&str> = Verdict::VARIANTS.iter().copied().map(Verdict::as_str).collect();
        assert_eq!(words, ["allow", "unchecked", "unknown", "warn", "block"]);
        for verdict in Verdict::VARIANTS {
            assert_eq!(verdict.as_str().parse(), Ok(*verdict));
        }
    }
}
