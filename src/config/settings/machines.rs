//! Whom the operator takes for a machine, and what is made of clicks afterwards.

use std::time::Duration;

use ipnet::IpNet;

/// `[machines]`: who is no reader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machines {
    /// `agents`: words of a `User-Agent` that only machines use, beside those that are known.
    pub agents: Vec<String>,
    /// `networks`: where only machines ask from.
    pub networks: Vec<IpNet>,
    /// `neutral_page`: who gets a page in place of the way to the target.
    pub neutral_page: NeutralPage,
}

/// Who gets the neutral page.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum NeutralPage {
    /// Machines for certain: those that say so, or of which the operator says so.
    #[default]
    Certain,
    /// Whoever is a machine by all signs, too.
    Likely,
}

/// What is made of clicks afterwards: keys of `[checks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindsight {
    /// `hindsight_h`: how old a click may be that is matched again when lists change; never at zero.
    pub window: Duration,
    /// `many_networks`: from how many networks a link may be opened before that is strange; 0 is any number.
    pub many_networks: u32,
    /// `long_after_days`: how long after it was made the first opening of a link from a network is strange; never at zero.
    pub long_after: Duration,
}

impl Default for Hindsight {
    fn default() -> Self {
        Self {
            window: Duration::from_hours(72),
            many_networks: 8,
            long_after: Duration::from_hours(24 * 180),
        }
    }
}
