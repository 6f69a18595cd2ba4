//! Policies of recipient domains for suspicious links at delivery.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::score::Names;

/// The treatment of suspicious links at delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `suspicious_score`: points from which on [`Rewrite::Suspicious`](crate::Rewrite::Suspicious) wraps a link.
    pub suspicious_score: u32,
    /// `at_delivery`: the treatment of a link that is listed, or reaches `delivery_score`.
    pub at_delivery: AtDelivery,
    /// `delivery_score`: points from which on a link counts as bad; 0: only listed links do.
    pub delivery_score: u32,
    /// `protected_names` and the operator's own domains.
    pub names: Names,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            suspicious_score: 30,
            at_delivery: AtDelivery::default(),
            delivery_score: 0,
            names: Names::default(),
        }
    }
}

/// The treatment of a link known to be bad at delivery, and of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum AtDelivery {
    /// It is wrapped like any other.
    #[default]
    Wrap,
    /// It is wrapped, and a header field tells filters behind us.
    Tag,
    /// It becomes a click link that only leads to the page for blocked links; with the header field.
    BlockLink,
    /// The message is refused.
    Refuse,
}
