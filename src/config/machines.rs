//! `[machines]`, and what `[checks]` says about clicks that have happened.

use std::time::Duration;

use super::build::{Root, network};
use super::walk::{Section, Walk};
use crate::config::{Hindsight, Machines};

/// A word that short is found in the agents of people.
const MIN_WORD: usize = 3;

/// `[machines]`
pub(super) fn machines<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Option<Machines> {
    let s = w.section(root, "machines", false);
    let agents = w.parsed_list(&s, "agents", |word| {
        let sound = word.len() >= MIN_WORD && word.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        sound.then(|| word.to_ascii_lowercase())
    });
    let networks = w.parsed_list(&s, "networks", network);
    let neutral_page = w.choice(&s, "neutral_page");
    Some(Machines {
        agents,
        networks,
        neutral_page: neutral_page?,
    })
}

/// The keys of `[checks]` that speak of clicks afterwards.
pub(super) fn hindsight<'t>(w: &Walk<'t>, checks: &Section<'t>) -> Option<Hindsight> {
    let hours = |name, each: u64| w.integer(checks, name).map(|n| Duration::from_secs(n * each * 3_600));
    let (window, long_after) = (hours("hindsight_h", 1), hours("long_after_days", 24));
    let many_networks = w.integer(checks, "many_networks");
    Some(Hindsight {
        window: window?,
        many_networks: u32::try_from(many_networks?).unwrap_or(u32::MAX),
        long_after: long_after?,
    })
}
