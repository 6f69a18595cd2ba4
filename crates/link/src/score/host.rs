//! Signs of a host that do not depend on protected names.

use std::borrow::Cow;
use std::sync::LazyLock;

use suffix::Type;
use unicode_security::mixed_script::MixedScript;
use unicode_security::restriction_level::{RestrictionLevel, RestrictionLevelDetection};
use unicode_security::skeleton;
use url::Host;

use super::{Code, Found};
use crate::target::Target;

/// The parts of a host.
pub(super) struct Place<'t> {
    /// The whole name in A-labels, without a final dot; empty for an address.
    pub(super) name: &'t str,
    /// The registrable domain; empty for an address and for a public suffix.
    pub(super) domain: &'t str,
    /// The labels in front of it, without the dot between.
    pub(super) front: &'t str,
    /// The first label of the registrable domain, as readers see it.
    pub(super) label: Cow<'t, str>,
    /// The labels behind that one.
    pub(super) ending: &'t str,
    /// Anybody can have a page under the public suffix.
    is_free_hosting: bool,
}

impl<'t> Place<'t> {
    pub(super) fn of(target: &'t Target) -> Self {
        match target.url().host() {
            Some(Host::Domain(name)) => Self::of_name(name),
            _ => Self::of_name(""),
        }
    }

    /// Parses a host name in lower case and A-labels.
    pub(super) fn of_name(name: &'t str) -> Self {
        let name = name.trim_end_matches('.');
        let domain = suffix::domain_str(name).unwrap_or_default();
        let front = name.strip_suffix(domain).unwrap_or_default();
        let (label, ending) = domain.split_once('.').unwrap_or((domain, ""));
        let suffix = if domain.is_empty() {
            None
        } else {
            suffix::suffix(name.as_bytes())
        };
        Self {
            name,
            domain,
            front: if domain.is_empty() {
                ""
            } else {
                front.trim_end_matches('.')
            },
            label: shown(label),
            ending,
            is_free_hosting: suffix.is_some_and(|s| s.typ() == Some(Type::Private)),
        }
    }
}

/// A label as readers see it.
pub(super) fn shown(label: &str) -> Cow<'_, str> {
    if !label.starts_with("xn--") {
        return Cow::Borrowed(label);
    }
    let (unicode, sound) = idna::domain_to_unicode(label);
    if sound.is_ok() {
        Cow::Owned(unicode)
    } else {
        Cow::Borrowed(label)
    }
}

/// The skeleton of a label (UTS 39 section 4), in lower case: equal for labels that are hard to tell apart.
pub(super) fn look(label: &str) -> String {
    /// The skeleton of each ASCII character, independent of its neighbours; nearly all labels are ASCII.
    static ASCII: LazyLock<[Box<str>; 128]> = LazyLock::new(|| {
        std::array::from_fn(|at| {
            let one = char::from(u8::try_from(at).unwrap_or_default()).to_string();
            skeleton(&one).flat_map(char::to_lowercase).collect()
        })
    });
    let Some(known) = label.is_ascii().then_some(&*ASCII) else {
        return skeleton(label).flat_map(char::to_lowercase).collect();
    };
    let mut looks = String::with_capacity(label.len() + 8);
    looks.extend(
        label
            .bytes()
            .filter_map(|b| known.get(usize::from(b)))
            .map(|one| &**one),
    );
    looks
}

pub(super) fn signs(target: &Target, place: &Place<'_>, found: &mut Found) {
    let url = target.url();
    if place.name.is_empty() {
        found.add(Code::IpAddress, target.host());
    }
    if !url.username().is_empty() || url.password().is_some() {
        found.add(Code::UserInfo, url.username());
    }
    // The parser leaves out the default port of the scheme.
    if let Some(port) = url.port() {
        found.add(Code::OddPort, &port.to_string());
    }
    let labels = place.name.split('.');
    if labels.clone().count() > MAX_LABELS {
        found.add(Code::ManyLabels, place.name);
    }
    if place.front.split('.').skip(1).any(|l| ENDS.contains(&l)) {
        found.add(Code::EmbeddedDomain, place.front);
    }
    if place.is_free_hosting {
        found.add(Code::FreeHosting, place.ending);
    }
    if place.name.contains("xn--") {
        scripts(place.name, found);
    }
}

const MAX_LABELS: usize = 5;

/// Endings of domains that are imitated in front of others.
const ENDS: [&str; 7] = ["com", "net", "org", "gov", "edu", "de", "uk"];

/// Signs of labels with other letters than those of English; they are usual if the last label has such letters itself.
fn scripts(name: &str, found: &mut Found) {
    found.add(Code::Punycode, &idna::domain_to_unicode(name).0);
    let at_home = name.rsplit('.').next().is_some_and(|last| last.starts_with("xn--"));
    for label in name.split('.').filter(|l| l.starts_with("xn--")) {
        let label = shown(label);
        if label.is_ascii() {
            // It cannot be decoded: no program shows letters for it.
            continue;
        }
        if !label.is_single_script() {
            // Latin beside Japanese, Chinese or Korean is usual.
            if label.detect_restriction_level() > RestrictionLevel::HighlyRestrictive {
                return found.add(Code::MixedScripts, &label);
            }
        } else if !at_home && !label.chars().any(|c| c.is_ascii_alphabetic()) && look(&label).is_ascii() {
            return found.add(Code::WholeScript, &label);
        }
    }
}
