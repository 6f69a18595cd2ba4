//! Evidence about a target, the verdict on it, and the answer to a click.
//!
//! Evidence is the finding of one source on the target or a URL on the way to it. [`combine`] makes a verdict of all
//! evidence; [`ClickPolicy::answer`] is the domain's choice what follows from it.

use std::borrow::Cow;

use strum::{EnumString, IntoStaticStr, VariantArray};

/// The finding of one source on one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The source's name: that of a list, `score`, `contact`, `wrapper`, `link`.
    pub source: Cow<'static, str>,
    /// The URL, serialised as in browsers: the target, or one on the way to it.
    pub about: String,
    /// The finding.
    pub finding: Finding,
}

/// A finding of a source. Listed, not listed and failed are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A list names the URL.
    Listed(Listing),
    /// A list does not name the URL.
    NotListed,
    /// The query failed. Never the same as [`Finding::NotListed`].
    CouldNotAsk(String),
    /// A sign of the offline score.
    Sign {
        /// Its stable word, such as `look-alike`.
        code: &'static str,
        /// Its points.
        points: u8,
        /// The name, host or number found; may be empty. Untrusted text.
        detail: String,
    },
    /// The target is behind an opaque wrapper of this vendor.
    TargetUnknown(Cow<'static, str>),
    /// The target was fetched, and could not be inspected.
    CouldNotInspect(Obstacle),
    /// The link does not belong into its mail.
    Smuggled(Smuggled),
    /// A rule of the operator lets the URL pass.
    Bypassed(String),
}

/// The listing of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listing {
    /// Its category.
    pub category: Category,
    /// The part of the URL that the list names.
    pub scope: Scope,
    /// Its weight: the host of a good site that was broken into, or a list of mere suspicions, warrants a warning.
    pub weight: Weight,
}

/// The category of a listing.
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
    /// It poses as another site to get secrets.
    Phishing,
    /// It spreads harmful programs.
    Malware,
    /// It commands harmful programs.
    Botnet,
    /// It is advertised by spam, or of bad repute.
    Abuse,
    /// The domain was first seen a short while ago.
    NewDomain,
    /// The operator has revoked it.
    Revoked,
    /// None given.
    Unspecified,
}

/// The part of a URL that a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Scope {
    /// This URL.
    Url,
    /// This URL with any query.
    Path,
    /// Everything on this host.
    Host,
    /// Everything under this registrable domain.
    Domain,
}

/// The weight of a listing.
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

/// The reason a target could not be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Obstacle {
    /// It asks for proof of being human.
    Captcha,
    /// It asks for a name and password first.
    Login,
    /// It is a file that needs a password.
    Encrypted,
    /// The chain of redirects is too long.
    TooManyHops,
    /// The chain leads back to itself.
    Loop,
    /// It redirects by a script that cannot be read.
    NeedsScript,
    /// It leads to an address outside the public network.
    #[strum(serialize = "forbidden-address")]
    Forbidden,
    /// Its certificate is invalid.
    Certificate,
    /// It did not answer, or not in time.
    NoAnswer,
    /// Its answer is too large.
    TooLarge,
    /// The limit of targets inspected at once is reached.
    Busy,
}

/// The reason a link does not belong into its mail or to its visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Smuggled {
    /// A click link of ours leads to a click link of ours: it came in fresh mail from outside.
    OwnLinkInside,
    /// It was opened from many networks, far more than one reader has.
    ManyNetworks,
    /// It was opened long after it was made, unlike before.
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

/// The verdict on a target.
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
    /// Every query succeeded, and no finding is against it.
    Allow,
    /// No finding is against it, but not every query succeeded.
    Unchecked,
    /// Its end or its content could not be inspected.
    Unknown,
    /// A finding is against it.
    Warn,
    /// It is known to be harmful.
    Block,
}

/// Combines all evidence. `warn_score`: sum of points that warrants a warning; 0 is never.
///
/// The gravest finding counts; signs add up per URL, each sign once, and the worst URL counts.
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
    /// Whether it is a revocation by the operator.
    fn is_revocation(&self) -> bool {
        matches!(self, Self::Listed(listing) if listing.category == Category::Revoked)
    }

    /// The verdict from this evidence alone; signs have none.
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

/// The policy of a recipient domain for clicks.
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

/// The answer for a target without findings against it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Flow {
    /// Redirect at once.
    #[default]
    Redirect,
    /// Show the target and a button.
    Confirm,
}

/// The answer for a target known to be harmful.
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

/// The answer for a target whose end or content could not be inspected.
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

/// The answer when a query failed or the check takes too long.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum OnFailure {
    /// As if nothing spoke against it.
    #[default]
    Open,
    /// The reader is informed, and may go on.
    Warn,
    /// It is not opened for now.
    Closed,
}

/// The targets that a check may fetch.
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
    /// None.
    #[default]
    Lists,
    /// Known shorteners.
    Shorteners,
    /// All, with their redirects.
    Full,
}

/// The answer to a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A redirect to the target.
    Go,
    /// A page with a button; no finding is against the target.
    Confirm,
    /// A warning.
    Warning {
        /// Whether it can be passed.
        may_continue: bool,
    },
    /// A page that says why the target is not opened.
    Blocked,
    /// A page that says that the target is unknown or could not be inspected.
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
    /// The answer to a click. A target revoked by the operator is blocked under any `on_threat`.
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

    /// The answer to the button of a page that was shown for `seen`. The target was checked again: a worse verdict gets its
    /// page first.
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
