//! `[default]` and `[domain]`: what recipient domains want, of mail and at a click. Both have the same options, declared
//! once: a domain's go over those of `[default]`.

use std::collections::HashMap;
use std::sync::Arc;

use link::{
    AtDelivery, ClickPolicy, Contact, Delivery, Flow, NameTable, Names, OnFailure, OnThreat, OnUnknown, Policy,
    Rewrite, SenderRules, UrlRules, Vendor, ascii_domain,
};

use super::option::{FromSection, Key, choice, flag, number, one_of, rules, section};
use super::pages::languages;
use super::walk::Walk;
use crate::pages::{Brand, Pages};

section! {
    /// How mail to a domain is worked on.
    struct MailRules {
        rewrite: Rewrite = one_of("rewrite", [
            ("off", Rewrite::Off),
            ("all", Rewrite::All),
            ("suspicious", Rewrite::Suspicious),
        ]).or("all"),
        bypass_senders: Vec<String> = rules("bypass_senders", SENDERS, |rules| SenderRules::parse(rules)).adding_up(),
        bypass_urls: Vec<String> = rules("bypass_urls", URLS, |rules| UrlRules::parse(rules)).adding_up(),
        suspicious_score: u32 = number("suspicious_score", 1..=1_000, "points", 30),
        protected_names: Vec<Arc<NameTable>> = rules("protected_names", NameTable::ALLOWED, |rules| NameTable::parse(rules))
            .map(|names| table(&names))
            .adding_up(),
        at_delivery: AtDelivery = choice("at_delivery").or("wrap"),
        delivery_score: u32 = number("delivery_score", 0..=1_000, "points", 0),
    }
}

section! {
    for ClickPolicy {
        flow: Flow = choice("flow").or("redirect"),
        on_threat: OnThreat = choice("on_threat").or("block"),
        click_through: bool = flag("click_through", true),
        show_target: bool = flag("show_target", true),
        on_unknown: OnUnknown = choice("on_unknown").or("warn"),
        on_failure: OnFailure = choice("on_failure").or("open"),
        track_clicks: bool = flag("track_clicks", true),
        contact: Contact = choice("contact").or("lists"),
        warn_score: u32 = number("warn_score", 0..=1_000, "points", 60),
    }
}

const SENDERS: &str = "an address, \"@domain\" or \"*.domain\"";
/// The forms of a rule for targets, in words.
pub(super) const URLS: &str = "a host, \"*.host\", a host and path, or \"re:\" and a regular expression";

/// The keys of `[default]`, which are those of `[domain]`.
pub(super) fn keys() -> Vec<Key> {
    [MailRules::keys(), ClickPolicy::keys(), Brand::keys()].concat()
}

/// Policies by recipient domain. A domain without a section has none.
#[derive(Debug, Clone, Default)]
pub struct Domains {
    by_name: HashMap<String, Arc<Policy>>,
}

impl Domains {
    /// Policies under their lower-case domain names.
    #[must_use]
    pub fn new(by_name: HashMap<String, Arc<Policy>>) -> Self {
        Self { by_name }
    }

    /// The policy for mail to `address`; `None` when its domain did not opt in.
    ///
    /// The domain is what follows the last `@`, compared without case and without a final dot; U-labels (RFC 6531)
    /// find their A-labels.
    #[must_use]
    pub fn policy(&self, address: &str) -> Option<&Arc<Policy>> {
        let (_, domain) = address.rsplit_once('@')?;
        if domain.is_ascii() {
            return self
                .by_name
                .get(domain.trim_end_matches('.').to_ascii_lowercase().as_str());
        }
        // RFC 6531 lets a client write U-labels.
        self.by_name.get(ascii_domain(domain)?.as_str())
    }

    /// The policy of a domain, by its lower-case name.
    #[must_use]
    pub fn of(&self, domain: &str) -> Option<&Arc<Policy>> {
        self.by_name.get(domain)
    }

    /// Whether a lower-case domain name has a section.
    #[must_use]
    pub fn is_ours(&self, domain: &str) -> bool {
        self.by_name.contains_key(domain)
    }

    /// All domains that have a section.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Policy>)> {
        self.by_name.iter().map(|(k, v)| (k.as_str(), v))
    }
}

/// The policies of recipient domains at a click.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClickRules {
    /// Vendors that wrap our own mail as well, or did: `[checks] own_wrappers`.
    pub own_wrappers: Vec<Vendor>,
    /// Vendors with the senders whose links they wrap: `[checks] sender_wrappers`.
    pub sender_wrappers: Vec<(Vendor, SenderRules)>,
    pub(crate) common: Arc<DomainRules>,
    pub(crate) by_name: HashMap<String, Arc<DomainRules>>,
}

/// The click rules of one recipient domain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainRules {
    /// The answers that readers get.
    pub policy: ClickPolicy,
    /// `bypass_urls`: targets that are not checked.
    pub bypass_urls: UrlRules,
}

impl ClickRules {
    /// Rules under their lower-case domain names; `common` holds for links of a domain that has no section any more.
    #[must_use]
    pub fn new(common: DomainRules, by_name: HashMap<String, Arc<DomainRules>>) -> Self {
        Self {
            own_wrappers: Vec::new(),
            sender_wrappers: Vec::new(),
            common: Arc::new(common),
            by_name,
        }
    }

    /// Whether links in mail from this address may be wrapped by this vendor, as the operator says.
    #[must_use]
    pub fn sender_uses(&self, sender: &str, vendor: Vendor) -> bool {
        let of_vendor = self.sender_wrappers.iter().filter(|(v, _)| *v == vendor);
        of_vendor.into_iter().any(|(_, senders)| senders.find(sender).is_some())
    }

    /// The rules of the domain that a token names.
    #[must_use]
    pub fn of(&self, domain: &str) -> &Arc<DomainRules> {
        self.by_name.get(domain).unwrap_or(&self.common)
    }
}

/// Reads `[default]` and all of `[domain]`.
pub(super) fn domains(w: &Walk<'_>) -> Option<(Domains, ClickRules, Pages)> {
    let default = w.section("default", false);
    let (mail, click, look) = (
        MailRules::read(w, &default),
        ClickPolicy::read(w, &default),
        Brand::read(w, &default),
    );
    let sections = w.named_sections("domain");
    let names: Vec<_> = sections
        .iter()
        .filter_map(|(name, _)| ascii_domain(name.value))
        .collect();
    let ours = Arc::new(NameTable::of_own_domains(names.iter().map(String::as_str)));
    let look = look.map(Arc::new);

    let mut lines: HashMap<String, usize> = HashMap::new();
    let (mut policies, mut rules, mut looks) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (name, s) in sections {
        let own_mail = MailRules::over(w, &s, mail.as_ref());
        let own_click = ClickPolicy::over(w, &s, click.as_ref());
        let own_look = Brand::over(w, &s, look.as_deref());
        let Some(domain) = ascii_domain(name.value) else {
            let what = format!("found {:?}, allowed: a domain name such as \"example.com\"", name.value);
            w.fault(name.at, name.key, what);
            continue;
        };
        if let Some(line) = lines.get(&domain) {
            let what = format!("found a second section for {domain} (the first is in line {line}), allowed: one");
            w.fault(name.at, name.key, what);
            continue;
        }
        lines.insert(domain.clone(), w.line(&name));
        if let (Some(mail), Some(click), Some(own_look)) = (own_mail, own_click, own_look) {
            let policy = mail.policy(&domain, &ours);
            let bypass_urls = policy.bypass_urls.clone();
            rules.insert(
                domain.clone(),
                Arc::new(DomainRules {
                    policy: click,
                    bypass_urls,
                }),
            );
            if look.as_deref() != Some(&own_look) {
                looks.insert(domain.clone(), Arc::new(own_look));
            }
            policies.insert(domain, Arc::new(policy));
        }
    }
    let of_no_domain = DomainRules {
        policy: click?,
        bypass_urls: UrlRules::parse(&mail?.bypass_urls).unwrap_or_default(),
    };
    let pages = Pages {
        common: look?,
        by_name: looks,
        languages: Arc::clone(languages(w)),
    };
    Some((Domains::new(policies), ClickRules::new(of_no_domain, rules), pages))
}

impl MailRules {
    /// The policy of a domain. Its own name is protected as one of `protected_names` is.
    fn policy(self, domain: &str, ours: &Arc<NameTable>) -> Policy {
        let mut tables = vec![Arc::clone(ours)];
        tables.extend(self.protected_names);
        tables.extend(table(&[domain.to_owned()]));
        Policy {
            domain: domain.to_owned(),
            rewrite: self.rewrite,
            bypass_senders: SenderRules::parse(&self.bypass_senders).unwrap_or_default(),
            bypass_urls: UrlRules::parse(&self.bypass_urls).unwrap_or_default(),
            delivery: Delivery {
                suspicious_score: self.suspicious_score,
                at_delivery: self.at_delivery,
                delivery_score: self.delivery_score,
                names: Names::new(tables),
            },
        }
    }
}

/// The table of some names, if there are any and all are sound.
fn table(names: &[String]) -> Vec<Arc<NameTable>> {
    let sound = (!names.is_empty()).then(|| NameTable::parse(names).ok()).flatten();
    sound.map(Arc::new).into_iter().collect()
}
