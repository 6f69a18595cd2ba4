//! What a domain wants done about suspicious links when mail comes in.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::score::Names;

/// What is done about suspicious links when mail comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `suspicious_score`: points from which on [`Rewrite::Suspicious`](crate::Rewrite::Suspicious) wraps a link.
    pub suspicious_score: u32,
    /// `at_delivery`: what becomes of a link that is listed, or has `delivery_score`.
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

/// What becomes of a link that is known to be bad when mail comes in, and of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum AtDelivery {
    /// It is wrapped like any other.
    #[default]
    Wrap,
    /// It is wrapped, and a header line says so to filters behind us.
    Tag,
    /// It becomes a click link that only ever leads to the page for blocked links; and the header line.
    BlockLink,
    /// The message is refused.
    Refuse,
}
