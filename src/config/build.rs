//! From the sections of the file to [`Settings`]. One function per section, in the order of the documentation.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use link::{ClickBase, ClickPolicy, Policy, Rewrite, SenderRules, UrlRules};
use message::{Ambiguous, Amp, MarkupFiles};
use toml::Spanned;
use toml::de::DeTable;

use super::clicks;
use super::contact::contact;
use super::delivery::{Deliveries, sender_checks};
use super::machines;
use super::pages::pages;
use super::walk::{Item, Section, Walk};
use crate::config::keyfile::{self, Absent};
use crate::config::listener::{self, Addresses};
use crate::config::sources::checks;
use crate::config::{Click, ClickRules, DomainRules, Domains, Limits, Log, Settings, ascii_domain};
use crate::mail::budget::{RewriteBudget, SpoolBudget};
use crate::net::Address;

const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * 1024;

pub(super) type Root<'t> = Spanned<DeTable<'t>>;

/// The settings, or `None` when the walk has found a fault.
pub(super) fn settings<'t>(w: &Walk<'t>, root: &'t Root<'t>, absent: Absent) -> Option<Settings> {
    let mut addresses = Addresses::default();
    let click_section = w.section(root, "click", true);
    let click = click(w, &click_section, &mut addresses);
    let admin_listen = listen(w, &w.section(root, "admin", true), &mut addresses);
    let store = store(w, &w.section(root, "store", true));
    let keys_file = w.parsed(&w.section(root, "keys", true), "file", path);
    let listeners = listener::listeners(w, root, &mut addresses);
    let (domains, mut click_rules) = domains(w, root);
    let checks_section = w.section(root, "checks", false);
    let check_limits = clicks::limits(w, &checks_section, &click_section);
    click_rules.own_wrappers = clicks::own_wrappers(w, &checks_section);
    click_rules.sender_wrappers = clicks::sender_wrappers(w, &checks_section);
    let hindsight = machines::hindsight(w, &checks_section);
    let machines = machines::machines(w, root);
    let rewriting = rewriting(w, root);
    let sender_checks = sender_checks(w, root);
    let checks = checks(w, root, store.as_ref().map(|s| &*s.value));
    let log = log(w, root);
    let limits = limits(w, root);
    let public_url = click.as_ref().map_or("", |c| c.base.as_str());
    let contact = contact(w, root, public_url);
    let pages = pages(w, root, &click_section, public_url);
    addresses.refuse_shared(w);
    addresses.refuse_loops(w);

    // The key file comes last: a configuration with a fault must not leave one behind.
    let keys_file = keys_file?;
    let absent = if w.is_clean() || absent == Absent::Refuse {
        absent
    } else {
        Absent::Pretend
    };
    let keys = keyfile::load(&keys_file.value, absent)
        .map_err(|faults| faults.into_iter().for_each(|f| w.other_file(&keys_file, f)))
        .ok()?;
    if !w.is_clean() {
        return None;
    }
    Some(Settings {
        click: click?,
        admin_listen: admin_listen?,
        store: store?.value,
        keys_file: keys_file.value,
        keys: Arc::new(keys),
        listeners,
        domains,
        click_rules,
        check_limits: check_limits?,
        log: log?,
        limits: limits?,
        rewriting: rewriting?,
        sender_checks,
        pages,
        contact: contact?,
        checks: checks?,
        machines: machines?,
        hindsight: hindsight?,
    })
}

fn listen<'t>(w: &Walk<'t>, s: &Section<'t>, addresses: &mut Addresses) -> Option<SocketAddr> {
    let item = w.parsed(s, "listen", |a| a.parse().ok())?;
    let address = item.value;
    addresses.add_own(&item, Address::Tcp(address));
    Some(address)
}

fn store<'t>(w: &Walk<'t>, s: &Section<'t>) -> Option<Item<PathBuf>> {
    if w.planned(s, "url", &["postgres:", "postgresql:"]) {
        return None;
    }
    w.parsed(s, "url", |url| path(url.strip_prefix("sqlite:")?))
}

fn click<'t>(w: &Walk<'t>, s: &Section<'t>, addresses: &mut Addresses) -> Option<Click> {
    let style = w.choice(s, "link_style");
    let client_ip = w.choice(s, "client_ip");
    let trusted_proxies = w.parsed_list(s, "trusted_proxies", network);
    let listen = listen(w, s, addresses);
    let base = w.parsed_or_why(s, "public_url", |url| ClickBase::new(url, style.unwrap_or_default()));
    Some(Click {
        base: base?,
        listen: listen?,
        client_ip: client_ip?,
        trusted_proxies,
    })
}

fn domains<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> (Domains, ClickRules) {
    let all = w.section(root, "default", false);
    let rewrite = w.choice(&all, "rewrite").unwrap_or(Rewrite::Off);
    let common = Rules::read(w, &all);
    let deliveries = Deliveries::read(w, root, &all);
    let at_click = clicks::policy(w, &all, &ClickPolicy::default());
    let mut click_rules = HashMap::new();

    let mut by_name: HashMap<String, (usize, Arc<Policy>)> = HashMap::new();
    for (name, s) in w.named_sections(root, "domain") {
        let own = Rules::read(w, &s);
        let own_at_click = clicks::policy(w, &s, &at_click);
        let rewrite = w.choice(&s, "rewrite").unwrap_or(rewrite);
        let Some(domain) = ascii_domain(name.value) else {
            w.fault(
                name.at,
                name.key,
                format!("found {:?}, allowed: a domain name such as \"example.com\"", name.value),
            );
            continue;
        };
        if let Some((line, _)) = by_name.get(&domain) {
            let what = format!("found a second section for {domain} (the first is in line {line}), allowed: one");
            w.fault(name.at, name.key, what);
            continue;
        }
        let line = w.line(&name);
        let policy = Policy {
            delivery: deliveries.of_domain(w, &s, &domain),
            ..common.with(&own).policy(domain.clone(), rewrite)
        };
        let rules = DomainRules {
            policy: own_at_click,
            bypass_urls: policy.bypass_urls.clone(),
        };
        click_rules.insert(domain.clone(), Arc::new(rules));
        by_name.insert(domain, (line, Arc::new(policy)));
    }
    let of_no_domain = DomainRules {
        policy: at_click,
        bypass_urls: UrlRules::parse(&common.urls).unwrap_or_default(),
    };
    let domains = Domains::new(by_name.into_iter().map(|(k, (_, p))| (k, p)).collect());
    (domains, ClickRules::new(of_no_domain, click_rules))
}

/// Bypass rules as typed; those of a domain follow those of `[default]`.
#[derive(Clone)]
struct Rules<'t> {
    senders: Vec<&'t str>,
    urls: Vec<&'t str>,
}

impl<'t> Rules<'t> {
    /// Reads both lists of a section; rules that cannot be are faults and are left out.
    fn read(w: &Walk<'t>, s: &Section<'t>) -> Self {
        Self {
            senders: sound_rules(w, w.list(s, "bypass_senders"), |r| SenderRules::parse(r).err()),
            urls: sound_rules(w, w.list(s, "bypass_urls"), |r| UrlRules::parse(r).err()),
        }
    }

    fn with(&self, own: &Self) -> Self {
        let mut all = self.clone();
        all.senders.extend(&own.senders);
        all.urls.extend(&own.urls);
        all
    }

    fn policy(&self, domain: String, rewrite: Rewrite) -> Policy {
        Policy {
            domain,
            rewrite,
            bypass_senders: SenderRules::parse(&self.senders).unwrap_or_default(),
            bypass_urls: UrlRules::parse(&self.urls).unwrap_or_default(),
            ..Policy::default()
        }
    }
}

pub(super) fn sound_rules<'t>(
    w: &Walk<'t>,
    items: Vec<Item<&'t str>>,
    faults: impl Fn(&[&str]) -> Option<Vec<link::RuleError>>,
) -> Vec<&'t str> {
    let mut rules: Vec<_> = items.iter().map(|i| i.value).collect();
    let mut bad: Vec<_> = faults(&rules).unwrap_or_default();
    bad.sort_by_key(|e| std::cmp::Reverse(e.index));
    for e in bad {
        if let Some(item) = items.get(e.index) {
            w.fault(
                item.at,
                &*item.key,
                format!("found {:?} ({}), allowed: {}", item.value, e.why, e.allowed),
            );
            rules.remove(e.index);
        }
    }
    rules
}

fn rewriting<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Option<message::Options> {
    let s = w.section(root, "rewriting", false);
    let ambiguous = w.choice_among(
        &s,
        "ambiguous",
        &[
            ("normalise", Ambiguous::Normalise),
            ("refuse", Ambiguous::Refuse),
            ("pass", Ambiguous::Pass),
        ],
    );
    let bare_domains = w.flag(&s, "bare_domains");
    let amp = w.choice_among(&s, "amp", &[("rewrite", Amp::Rewrite), ("strip", Amp::Strip)]);
    let markup_files = w.choice_among(
        &s,
        "markup_files",
        &[
            ("leave", MarkupFiles::Leave),
            ("typed", MarkupFiles::Typed),
            ("named", MarkupFiles::Named),
        ],
    );
    Some(message::Options {
        ambiguous: ambiguous?,
        bare_domains: bare_domains?,
        amp: amp?,
        markup_files: markup_files?,
    })
}

fn log<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Option<Log> {
    let s = w.section(root, "log", false);
    let level: Option<String> = w.choice(&s, "level");
    let format = w.choice(&s, "format");
    Some(Log {
        level: level?,
        format: format?,
    })
}

fn limits<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Option<Limits> {
    let s = w.section(root, "limits", false);
    let seconds = |name| w.integer(&s, name).map(Duration::from_secs);
    let command_timeout = seconds("command_timeout_s");
    let next_hop_connect_timeout = seconds("next_hop_connect_timeout_s");
    let data_timeout = seconds("data_timeout_s");
    let message_timeout = seconds("message_timeout_s");
    let next_hop_timeout = seconds("next_hop_timeout_s");
    let final_reply_timeout = seconds("final_reply_timeout_s");
    let drain = seconds("drain_s");
    let count = |name| w.integer(&s, name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let max_transactions = count("max_transactions");
    let command_line = count("command_line_octets");
    let text_line = w
        .integer(&s, "text_line_kib")
        .map(|n| if n == 0 { u64::MAX } else { n * KIB });
    let octets = |n| usize::try_from(n).unwrap_or(usize::MAX);
    let spool_memory = w.integer(&s, "spool_memory_kib").map(|n| octets(n * KIB));
    let rewrite_memory = w.integer(&s, "rewrite_memory_mib");
    let spool_total = w.integer(&s, "spool_memory_total_mib").map(|n| octets(n * MIB));
    let spool_dir = if w.says(&s, "spool_dir") {
        w.parsed(&s, "spool_dir", |dir| path(dir).filter(|d| d.is_dir()))
            .map(|i| i.value)
    } else {
        Some(std::env::temp_dir())
    };
    Some(Limits {
        spool_memory: spool_memory?,
        spool_budget: Arc::new(SpoolBudget::new(spool_total?)),
        rewrite_budget: Arc::new(RewriteBudget::new(u32::try_from(rewrite_memory?).unwrap_or(u32::MAX))),
        spool_dir: spool_dir?,
        max_transactions: max_transactions?,
        command_line: command_line?,
        text_line: text_line?,
        command_timeout: command_timeout?,
        next_hop_connect_timeout: next_hop_connect_timeout?,
        data_timeout: data_timeout?,
        message_timeout: message_timeout?,
        next_hop_timeout: next_hop_timeout?,
        final_reply_timeout: final_reply_timeout?,
        drain: drain?,
    })
}

pub(super) fn network(s: &str) -> Option<IpNet> {
    s.parse().ok().or_else(|| s.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A path as it is from here: a relative one starts from the working directory.
pub(super) fn path(s: &str) -> Option<PathBuf> {
    if s.is_empty() || s.contains('\0') {
        return None;
    }
    std::path::absolute(Path::new(s)).ok()
}
