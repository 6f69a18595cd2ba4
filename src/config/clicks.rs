//! What holds at a click: the policy keys of `[default]` and `[domain]`, and the limits of checking.

use std::time::Duration;

use link::{ClickPolicy, SenderRules, Vendor};

use super::walk::{Section, Walk};
use crate::config::CheckLimits;

/// The policy of `[default]` or of a domain; what the section does not say is as in `inherited`.
pub(super) fn policy<'t>(w: &Walk<'t>, s: &Section<'t>, inherited: &ClickPolicy) -> ClickPolicy {
    let score = w.integer(s, "warn_score").map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    ClickPolicy {
        flow: w.choice(s, "flow").unwrap_or(inherited.flow),
        on_threat: w.choice(s, "on_threat").unwrap_or(inherited.on_threat),
        click_through: w.flag(s, "click_through").unwrap_or(inherited.click_through),
        show_target: w.flag(s, "show_target").unwrap_or(inherited.show_target),
        on_unknown: w.choice(s, "on_unknown").unwrap_or(inherited.on_unknown),
        on_failure: w.choice(s, "on_failure").unwrap_or(inherited.on_failure),
        track_clicks: w.flag(s, "track_clicks").unwrap_or(inherited.track_clicks),
        contact: w.choice(s, "contact").unwrap_or(inherited.contact),
        warn_score: score.unwrap_or(inherited.warn_score),
    }
}

/// `[checks] own_wrappers`
pub(super) fn own_wrappers<'t>(w: &Walk<'t>, s: &Section<'t>) -> Vec<Vendor> {
    w.parsed_list(s, "own_wrappers", |word| word.parse::<Vendor>().ok())
}

/// `[checks] sender_wrappers`: each the word of a vendor and a rule for senders.
pub(super) fn sender_wrappers<'t>(w: &Walk<'t>, s: &Section<'t>) -> Vec<(Vendor, SenderRules)> {
    w.parsed_list(s, "sender_wrappers", |text| {
        let (word, rule) = text.trim().split_once(char::is_whitespace)?;
        Some((word.parse::<Vendor>().ok()?, SenderRules::parse(&[rule]).ok()?))
    })
}

/// `[checks]` (`s`), and the rates of `[click]`.
pub(super) fn limits<'t>(w: &Walk<'t>, s: &Section<'t>, click: &Section<'t>) -> Option<CheckLimits> {
    let millis = |name| w.integer(s, name).map(Duration::from_millis);
    let count = |name| w.integer(s, name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let rate = |name| w.integer(click, name).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let (silent, hard) = (millis("silent_ms"), millis("hard_ms"));
    if let (Some(silent), Some(hard)) = (silent, hard)
        && hard < silent
    {
        let (silent, hard) = (silent.as_millis(), hard.as_millis());
        w.fault(
            s.at,
            "checks.hard_ms",
            format!("found {hard}, allowed: at least silent_ms, which is {silent}"),
        );
    }
    let cache = w.integer(s, "cache_s").map(Duration::from_secs);
    let (cache_entries, max_running) = (count("cache_entries"), count("max_running"));
    let (per_link, per_network) = (rate("per_link_per_minute"), rate("per_network_per_minute"));
    Some(CheckLimits {
        silent: silent?,
        hard: hard?,
        cache: cache?,
        cache_entries: cache_entries?,
        max_running: max_running?,
        per_link: per_link?,
        per_network: per_network?,
    })
}
