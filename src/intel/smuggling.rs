//! Tells whether what is inside a link belongs into the mail that the link came with, by the settings.

use link::{Provenance, Smuggled, Unwrapped, signs_of_smuggling};

use crate::config::Settings;

/// The signs that a link was smuggled into a mail of this sender, which is empty for `<>`, and this recipient, if it is known.
pub(crate) fn smuggled(
    settings: &Settings,
    inside: &Unwrapped,
    sender: &str,
    recipient: Option<&str>,
) -> Vec<Smuggled> {
    let rules = &settings.click_rules;
    let around = Provenance {
        sender,
        recipient,
        is_ours: &|domain| settings.domains.is_ours(domain),
        own_wrappers: &rules.own_wrappers,
        sender_uses: &|sender, vendor| rules.sender_uses(sender, vendor),
    };
    signs_of_smuggling(inside, &around)
}
