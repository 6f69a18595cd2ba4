//! The decision about a link of a message, shared by policy, rewriting, reports, rows and metrics.

use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};

use crate::target::LeaveReason;
use crate::word::Word;

/// The decision about a link of a message, with its reason.
///
/// Without the reason it is a [`LinkDecision`], whose word rows, logs and metrics hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumDiscriminants)]
#[strum_discriminants(
    name(LinkDecision),
    doc = "What becomes of a link of a message: a [`Decision`] without its reason.",
    derive(Hash, EnumString, IntoStaticStr, VariantArray)
)]
pub enum Decision {
    /// It is replaced by a click link.
    #[strum_discriminants(strum(serialize = "wrapped"))]
    Wrap(WrapReason),
    /// It stays as it is.
    #[strum_discriminants(strum(serialize = "kept"))]
    Keep(KeepReason),
    /// It is made unclickable.
    #[strum_discriminants(strum(serialize = "disarmed"))]
    Disarm(DisarmReason),
}

/// The reason a link is replaced by a click link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum WrapReason {
    /// The policy of the recipient domain.
    Policy,
    /// It is known to be bad: its click link only leads to the page for blocked links.
    Blocked,
    /// It is a click link of ours that was made for another mail.
    OwnLinkSmuggled,
}

/// The reason a link stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// The recipient domain has rewriting off.
    DomainOff,
    /// A rule for senders.
    BypassSender,
    /// A rule for URLs.
    BypassUrl,
    /// Only suspicious links are wrapped, and this is none.
    NotSuspicious,
    /// A click link of ours that belongs into this mail.
    OwnLink,
    /// It does not lead to the web.
    NotWeb(LeaveReason),
    /// A relative reference in a document without a base.
    Relative,
    /// It stands in text and is no URL; text cannot be disarmed.
    InvalidUrl,
    /// It stands where nothing can be replaced; the word names the structure.
    Structure(&'static str),
}

/// The reason a link is made unclickable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum DisarmReason {
    /// Its scheme is not allowed in mail.
    Scheme,
    /// It cannot be read as a URL, though a lenient client might open it.
    InvalidUrl,
    /// A form is sent to it, which carries more than a click.
    Form,
    /// It is loaded without a click.
    Frame,
    /// It is notified of each click on the link beside it.
    Ping,
}

impl Decision {
    /// The stable word of the reason.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Wrap(reason) => reason.as_str(),
            Self::Keep(reason) => reason.as_str(),
            Self::Disarm(reason) => reason.as_str(),
        }
    }

    /// The decision without its reason.
    #[must_use]
    pub fn kind(self) -> LinkDecision {
        self.into()
    }
}

impl From<KeepReason> for &'static str {
    fn from(reason: KeepReason) -> Self {
        match reason {
            KeepReason::DomainOff => "domain-off",
            KeepReason::BypassSender => "bypass-sender",
            KeepReason::BypassUrl => "bypass-url",
            KeepReason::NotSuspicious => "not-suspicious",
            KeepReason::OwnLink => "own-link",
            KeepReason::NotWeb(reason) => reason.as_str(),
            KeepReason::Relative => "relative",
            KeepReason::InvalidUrl => "invalid-url",
            KeepReason::Structure(word) => word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_of_decisions_stay() {
        let of = |decision: Decision| (decision.kind().as_str(), decision.reason());
        assert_eq!(of(Decision::Wrap(WrapReason::Policy)), ("wrapped", "policy"));
        assert_eq!(
            of(Decision::Wrap(WrapReason::OwnLinkSmuggled)),
            ("wrapped", "own-link-smuggled")
        );
        assert_eq!(
            of(Decision::Keep(KeepReason::NotWeb(LeaveReason::AboutBlank))),
            ("kept", "about-blank")
        );
        assert_eq!(
            of(Decision::Keep(KeepReason::Structure("no-host"))),
            ("kept", "no-host")
        );
        assert_eq!(
            of(Decision::Disarm(DisarmReason::InvalidUrl)),
            ("disarmed", "invalid-url")
        );
        for kind in LinkDecision::VARIANTS {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }
}
