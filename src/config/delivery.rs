//! What is done about suspicious links when mail comes in: the keys of `[default]` and `[domain]`, and whose word about senders
//! is believed.

use std::sync::Arc;

use link::{Delivery, NameTable, Names};

use super::build::{Root, sound_rules};
use super::walk::{Section, Walk};
use crate::config::{SenderChecks, ascii_domain};

/// What `[default]` says, for all domains to inherit.
pub(super) struct Deliveries {
    common: Delivery,
    /// Tables that all domains share: the operator's own domains, and `protected_names` of `[default]`.
    shared: Vec<Arc<NameTable>>,
}

impl Deliveries {
    /// Reads `[default]` (`all`), and the names of all domains.
    pub(super) fn read<'t>(w: &Walk<'t>, root: &'t Root<'t>, all: &Section<'t>) -> Self {
        let domains: Vec<String> = match root.get_ref().get("domain").map(|d| d.get_ref()) {
            Some(toml::de::DeValue::Table(t)) => t.keys().filter_map(|k| ascii_domain(k.get_ref())).collect(),
            _ => Vec::new(),
        };
        let own = NameTable::of_own_domains(domains.iter().map(String::as_str));
        let protected = sound_rules(w, w.list(all, "protected_names"), |r| NameTable::parse(r).err());
        let mut shared = vec![Arc::new(own)];
        if let (false, Ok(table)) = (protected.is_empty(), NameTable::parse(&protected)) {
            shared.push(Arc::new(table));
        }
        Self {
            common: delivery(w, all, &Delivery::default()),
            shared,
        }
    }

    /// What holds for a domain. Its own name is protected as one of `protected_names` is.
    pub(super) fn of_domain<'t>(&self, w: &Walk<'t>, s: &Section<'t>, domain: &str) -> Delivery {
        let mut protected = sound_rules(w, w.list(s, "protected_names"), |r| NameTable::parse(r).err());
        if NameTable::parse(&[domain]).is_ok() {
            protected.push(domain);
        }
        let mut tables = self.shared.clone();
        tables.extend(NameTable::parse(&protected).ok().map(Arc::new));
        Delivery {
            names: Names::new(tables),
            ..delivery(w, s, &self.common)
        }
    }
}

/// `[checks]`, as far as it is about senders.
pub(super) fn sender_checks<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> SenderChecks {
    let s = w.section(root, "checks", false);
    let ids = w.parsed_list(&s, "authserv_ids", |id| {
        // RFC 8601, 2.2: a value of RFC 2045, most often a host name.
        let sound = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b));
        sound.then(|| id.to_ascii_lowercase())
    });
    SenderChecks { authserv_ids: ids }
}

fn delivery<'t>(w: &Walk<'t>, s: &Section<'t>, inherited: &Delivery) -> Delivery {
    let points = |name| w.integer(s, name).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Delivery {
        suspicious_score: points("suspicious_score").unwrap_or(inherited.suspicious_score),
        at_delivery: w.choice(s, "at_delivery").unwrap_or(inherited.at_delivery),
        delivery_score: points("delivery_score").unwrap_or(inherited.delivery_score),
        names: Names::default(),
    }
}
