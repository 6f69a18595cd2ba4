//! `[contact]`: from the section of the file to [`ContactSettings`].

use std::time::Duration;

use link::UrlRules;

use super::build::{Root, path, sound_rules};
use super::walk::Walk;
use crate::config::{Allowed, ContactSettings};
use crate::net::tls::Trust;

/// The section; `public_url` stands in what targets are told of who asks.
pub(super) fn contact<'t>(w: &Walk<'t>, root: &'t Root<'t>, public_url: &str) -> Option<ContactSettings> {
    let s = w.section(root, "contact", false);
    let user_agent = if w.says(&s, "user_agent") {
        w.parsed(&s, "user_agent", agent).map(|i| i.value)
    } else {
        Some(ContactSettings::default_user_agent(public_url))
    };
    let ports = w.parsed_list(&s, "ports", |p| p.parse().ok().filter(|p| *p != 0));
    let allow = w.parsed_list(&s, "allow", Allowed::parse);
    let never = sound_rules(w, w.list(&s, "never"), |r| UrlRules::parse(r).err());
    let ca_file = if w.says(&s, "ca_file") {
        let file = w.parsed(&s, "ca_file", path)?;
        if let Err(why) = Trust::load(Some(&file.value)) {
            let found = file.value.display();
            w.fault(
                file.at,
                file.key,
                format!("found {found} ({why}), allowed: {}", super::keys::ROOTS),
            );
        }
        Some(file.value)
    } else {
        None
    };
    let count = |name| w.integer(&s, name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let max_hops = count("max_hops");
    let hop_timeout = w.integer(&s, "hop_timeout_ms").map(Duration::from_millis);
    let max_concurrent = count("max_concurrent");
    Some(ContactSettings {
        user_agent: user_agent?,
        ports,
        allow,
        never: UrlRules::parse(&never).unwrap_or_default(),
        ca_file,
        max_hops: max_hops?,
        hop_timeout: hop_timeout?,
        max_concurrent: max_concurrent?,
    })
}

/// What can stand in a header field.
fn agent(text: &str) -> Option<String> {
    let sound = !text.trim().is_empty() && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    sound.then(|| text.trim().to_owned())
}
