//! What holds at a click: a policy for each recipient domain, and the limits of checking.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::{ClickPolicy, SenderRules, UrlRules, Vendor};

/// The policies of recipient domains at a click.
#[derive(Debug, Default)]
pub struct ClickRules {
    /// `[checks] own_wrappers`: vendors that wrap our own mail as well, or did.
    pub own_wrappers: Vec<Vendor>,
    /// `[checks] sender_wrappers`: vendors with the senders whose links they wrap.
    pub sender_wrappers: Vec<(Vendor, SenderRules)>,
    common: Arc<DomainRules>,
    by_name: HashMap<String, Arc<DomainRules>>,
}

/// What one recipient domain wants at a click.
#[derive(Debug, Clone, Default)]
pub struct DomainRules {
    /// What readers get.
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

impl PartialEq for DomainRules {
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy && self.bypass_urls.texts() == other.bypass_urls.texts()
    }
}

impl PartialEq for ClickRules {
    fn eq(&self, other: &Self) -> bool {
        (&self.own_wrappers, &self.sender_wrappers) == (&other.own_wrappers, &other.sender_wrappers)
            && (&self.common, &self.by_name) == (&other.common, &other.by_name)
    }
}

/// How long a check may take, what is kept of it, and how often links may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLimits {
    /// `[checks] silent_ms`: how long a reader waits before a page says that the check goes on.
    pub silent: Duration,
    /// `[checks] hard_ms`: how long a check may take in all.
    pub hard: Duration,
    /// `[checks] cache_s`: how long what sources said is believed; nothing is kept at zero.
    pub cache: Duration,
    /// `[checks] cache_entries`: targets of which that is kept.
    pub cache_entries: usize,
    /// `[checks] max_running`: checks at a time that ask other hosts.
    pub max_running: usize,
    /// `[click] per_link_per_minute`: how often a link that names its reader may be opened; 0 is no limit.
    pub per_link: u32,
    /// `[click] per_network_per_minute`: how many links a network (/24 of IPv4, /48 of IPv6) may open; 0 is no limit.
    pub per_network: u32,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            silent: Duration::from_secs(2),
            hard: Duration::from_secs(10),
            cache: Duration::from_secs(300),
            cache_entries: 20_000,
            max_running: 256,
            per_link: 60,
            per_network: 600,
        }
    }
}
