//! From the sections of the file to [`Settings`]. One function per section, in the order of the documentation.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use link::{ClickBase, Policy, Rewrite, SenderRules, Style, UrlRules};
use message::{Ambiguous, Amp, MarkupFiles};
use toml::Spanned;
use toml::de::DeTable;

use super::walk::{Item, Section, Walk};
use crate::keyfile::{self, Absent};
use crate::settings::{
    BareLineEnds, Click, ClientIp, Direction, Domains, Limits, Listener, Log, LogFormat, NextHop, OnError, Protocol,
    Settings, ascii_domain,
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

type Root<'t> = Spanned<DeTable<'t>>;

/// Addresses from all sections, for the checks that look across them: one section's fault must not hide another's.
#[derive(Default)]
struct Addresses {
    own: Vec<Item<SocketAddr>>,
    next_hops: Vec<Item<NextHop>>,
}

/// The settings, or `None` when the walk has found a fault.
pub(super) fn settings<'t>(w: &Walk<'t>, root: &'t Root<'t>, absent: Absent) -> Option<Settings> {
    let mut addresses = Addresses::default();
    let click = click(w, root, &mut addresses);
    let admin_listen = listen(w, &w.section(root, "admin", true), &mut addresses);
    let store = store(w, &w.section(root, "store", true));
    let keys_file = w.parsed(&w.section(root, "keys", true), "file", path);
    let listeners = listeners(w, root, &mut addresses);
    let domains = domains(w, root);
    let rewriting = rewriting(w, root);
    let log = log(w, root);
    let limits = limits(w, root);
    refuse_shared_addresses(w, &addresses.own);
    refuse_loops(w, &addresses);

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
        log: log?,
        limits: limits?,
        rewriting: rewriting?,
    })
}

fn listen<'t>(w: &Walk<'t>, s: &Section<'t>, addresses: &mut Addresses) -> Option<SocketAddr> {
    let item = w.parsed(s, "listen", |a| a.parse().ok())?;
    let address = item.value;
    addresses.own.push(item);
    Some(address)
}

fn store<'t>(w: &Walk<'t>, s: &Section<'t>) -> Option<Item<PathBuf>> {
    if w.planned(s, "url", &["postgres:", "postgresql:"]) {
        return None;
    }
    w.parsed(s, "url", |url| path(url.strip_prefix("sqlite:")?))
}

fn click<'t>(w: &Walk<'t>, root: &'t Root<'t>, addresses: &mut Addresses) -> Option<Click> {
    let s = w.section(root, "click", true);
    let style = w.choice(
        &s,
        "link_style",
        &[("readable", Style::Readable), ("short", Style::Short)],
    );
    let client_ip = w.choice(
        &s,
        "client_ip",
        &[
            ("none", ClientIp::None),
            ("truncated", ClientIp::Truncated),
            ("full", ClientIp::Full),
        ],
    );
    let trusted_proxies = w.parsed_list(&s, "trusted_proxies", network);
    let listen = listen(w, &s, addresses);
    let base = w.parsed_or_why(&s, "public_url", |url| ClickBase::new(url, style.unwrap_or_default()));
    Some(Click {
        base: base?,
        listen: listen?,
        client_ip: client_ip?,
        trusted_proxies,
    })
}

fn listeners<'t>(w: &Walk<'t>, root: &'t Root<'t>, addresses: &mut Addresses) -> Vec<Listener> {
    if !root.get_ref().contains_key("listener") {
        w.fault(
            0,
            "listener",
            "found nothing, allowed: one section [[listener]] or more, with protocol, listen, next_hop",
        );
    }
    let sections = w.sections(root, "listener");
    sections.iter().filter_map(|s| listener(w, s, addresses)).collect()
}

fn listener<'t>(w: &Walk<'t>, s: &Section<'t>, addresses: &mut Addresses) -> Option<Listener> {
    let protocol = w.choice(s, "protocol", &[("smtp", Protocol::Smtp), ("milter", Protocol::Milter)]);
    let listen = listen(w, s, addresses);
    let next_hop = match protocol {
        Some(Protocol::Milter) => {
            refuse_what_milter_lacks(w, s);
            None
        }
        _ => Some(next_hop(w, s)),
    };
    addresses.next_hops.extend(next_hop.iter().flatten().cloned());
    let direction = w.choice(s, "direction", &[("inbound", Direction::Inbound)]);
    let bare_line_ends = w.choice(
        s,
        "bare_line_ends",
        &[("refuse", BareLineEnds::Refuse), ("normalise", BareLineEnds::Normalise)],
    );
    let on_error = w.choice(
        s,
        "on_error",
        &[("tempfail", OnError::Tempfail), ("pass", OnError::Pass)],
    );
    let xforward_from = w.parsed_list(s, "xforward_from", network);
    let max_connections = w.integer(s, "max_connections");
    let max_message_mib = w.integer(s, "max_message_mib");
    let hostname = if w.says(s, "hostname") {
        w.parsed(s, "hostname", ascii_domain).map(|i| i.value)
    } else {
        Some(machine_name())
    };
    Some(Listener {
        protocol: protocol?,
        listen: listen?,
        next_hop: match next_hop {
            Some(hop) => Some(hop?.value),
            None => None,
        },
        direction: direction?,
        bare_line_ends: bare_line_ends?,
        on_error: on_error?,
        xforward_from,
        max_connections: usize::try_from(max_connections?).unwrap_or(usize::MAX),
        max_message: max_message_mib? * MIB,
        hostname: hostname?,
    })
}

/// Keys of SMTP that would be read and never used.
fn refuse_what_milter_lacks<'t>(w: &Walk<'t>, s: &Section<'t>) {
    for (name, why) in [
        ("next_hop", "the MTA keeps the mail and hands it on itself"),
        ("xforward_from", "the MTA names its client without being asked"),
        ("hostname", "nothing is greeted"),
    ] {
        w.refuse_key(s, name, &format!("nothing with protocol = \"milter\", where {why}"));
    }
}

fn next_hop<'t>(w: &Walk<'t>, s: &Section<'t>) -> Option<Item<NextHop>> {
    if w.planned(s, "next_hop", &["lmtp:", "unix:"]) {
        return None;
    }
    w.parsed(s, "next_hop", smtp_next_hop)
}

fn domains<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Domains {
    let rewrite_words = [
        ("off", Rewrite::Off),
        ("all", Rewrite::All),
        ("suspicious", Rewrite::Suspicious),
    ];
    let all = w.section(root, "default", false);
    let rewrite = w.choice(&all, "rewrite", &rewrite_words).unwrap_or(Rewrite::Off);
    let common = Rules::read(w, &all);

    let mut by_name: HashMap<String, (usize, Arc<Policy>)> = HashMap::new();
    for (name, s) in w.named_sections(root, "domain") {
        let own = Rules::read(w, &s);
        let rewrite = w.choice(&s, "rewrite", &rewrite_words).unwrap_or(rewrite);
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
        let policy = common.with(&own).policy(domain.clone(), rewrite);
        by_name.insert(domain, (line, Arc::new(policy)));
    }
    Domains::new(by_name.into_iter().map(|(k, (_, p))| (k, p)).collect())
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
        }
    }
}

fn sound_rules<'t>(
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
    let ambiguous = w.choice(
        &s,
        "ambiguous",
        &[
            ("normalise", Ambiguous::Normalise),
            ("refuse", Ambiguous::Refuse),
            ("pass", Ambiguous::Pass),
        ],
    );
    let bare_domains = w.flag(&s, "bare_domains");
    let amp = w.choice(&s, "amp", &[("rewrite", Amp::Rewrite), ("strip", Amp::Strip)]);
    let markup_files = w.choice(
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
    let levels = ["error", "warn", "info", "debug", "trace"].map(|l| (l, l));
    let level = w.choice(&s, "level", &levels);
    let format = w.choice(&s, "format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    Some(Log {
        level: level?.to_owned(),
        format: format?,
    })
}

fn limits<'t>(w: &Walk<'t>, root: &'t Root<'t>) -> Option<Limits> {
    let s = w.section(root, "limits", false);
    let seconds = |name| w.integer(&s, name).map(Duration::from_secs);
    let command_timeout = seconds("command_timeout_s");
    let next_hop_timeout = seconds("next_hop_timeout_s");
    let final_reply_timeout = seconds("final_reply_timeout_s");
    let drain = seconds("drain_s");
    let spool_memory = w.integer(&s, "spool_memory_kib").map(|n| n * KIB);
    let spool_dir = if w.says(&s, "spool_dir") {
        w.parsed(&s, "spool_dir", |dir| path(dir).filter(|d| d.is_dir()))
            .map(|i| i.value)
    } else {
        Some(std::env::temp_dir())
    };
    Some(Limits {
        spool_memory: usize::try_from(spool_memory?).unwrap_or(usize::MAX),
        spool_dir: spool_dir?,
        command_timeout: command_timeout?,
        next_hop_timeout: next_hop_timeout?,
        final_reply_timeout: final_reply_timeout?,
        drain: drain?,
    })
}

/// Two addresses that the system would not bind side by side. Port 0 is a new port each time.
fn refuse_shared_addresses(w: &Walk<'_>, own: &[Item<SocketAddr>]) {
    for (i, second) in own.iter().enumerate() {
        let Some(first) = own.iter().take(i).find(|first| clash(first.value, second.value)) else {
            continue;
        };
        let (first, second) = if first.at <= second.at {
            (first, second)
        } else {
            (second, first)
        };
        let what = format!(
            "found {:?}, which {} in line {} has too, allowed: an address of its own",
            second.value.to_string(),
            first.key,
            w.line(first),
        );
        w.fault(second.at, &*second.key, what);
    }
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    // A wildcard takes the port on every address; [::] takes it for IPv4 as well.
    let covers = |x: IpAddr, y: IpAddr| x == y || (x.is_unspecified() && (x.is_ipv6() || y.is_ipv4()));
    a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

/// A next hop that is one of our own addresses sends each message in circles. Names other than `localhost` are not
/// looked up: they may mean another machine tomorrow.
fn refuse_loops(w: &Walk<'_>, addresses: &Addresses) {
    for hop in &addresses.next_hops {
        let NextHop::Smtp { host, port } = &hop.value;
        let hosts = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Err(_) => continue,
        };
        // Which outer addresses a wildcard has, only the machine knows.
        let reaches = |ip: &IpAddr, here: IpAddr| {
            *ip == here || ip.is_unspecified() || (here.is_unspecified() && ip.is_loopback())
        };
        let hit = |o: &&Item<SocketAddr>| o.value.port() == *port && hosts.iter().any(|ip| reaches(ip, o.value.ip()));
        if let Some(ours) = addresses.own.iter().find(hit) {
            let what = format!(
                "found \"{}\", which is our own {} in line {}: mail would go in circles, allowed: the server \
                 behind linkgate",
                hop.value,
                ours.key,
                w.line(ours),
            );
            w.fault(hop.at, &*hop.key, what);
        }
    }
}

fn network(s: &str) -> Option<IpNet> {
    s.parse().ok().or_else(|| s.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A path as it is from here: a relative one starts from the working directory.
fn path(s: &str) -> Option<PathBuf> {
    if s.is_empty() || s.contains('\0') {
        return None;
    }
    std::path::absolute(Path::new(s)).ok()
}

fn smtp_next_hop(s: &str) -> Option<NextHop> {
    let rest = s.strip_prefix("smtp://")?.trim_end_matches('/');
    if let Ok(addr) = rest.parse::<SocketAddr>() {
        let (host, port) = (addr.ip().to_string(), addr.port());
        return (port != 0).then_some(NextHop::Smtp { host, port });
    }
    let (host, port) = rest.rsplit_once(':')?;
    // Only digits: `parse` alone would take "+25".
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok())??;
    let host = ascii_domain(host)?;
    (port != 0).then_some(NextHop::Smtp { host, port })
}

/// What the machine calls itself; `localhost` when that is no host name.
fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .and_then(|n| ascii_domain(n.trim()))
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_clash_with_every_address() {
        let clash = |a: &str, b: &str| clash(a.parse().unwrap(), b.parse().unwrap());
        assert!(clash("127.0.0.1:25", "127.0.0.1:25"));
        assert!(clash("0.0.0.0:25", "127.0.0.1:25"));
        assert!(clash("127.0.0.1:25", "[::]:25"));
        assert!(clash("0.0.0.0:25", "[::]:25"));
        assert!(!clash("0.0.0.0:25", "[::1]:25"));
        assert!(!clash("127.0.0.1:25", "127.0.0.2:25"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clash("127.0.0.1:25", "127.0.0.1:26"));
    }

    #[test]
    fn next_hops() {
        let hop = |host: &str, port| {
            Some(NextHop::Smtp {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(smtp_next_hop("smtp://127.0.0.1:10026"), hop("127.0.0.1", 10026));
        assert_eq!(smtp_next_hop("smtp://[::1]:25/"), hop("::1", 25));
        assert_eq!(smtp_next_hop("smtp://Mail.Example.com:25"), hop("mail.example.com", 25));
        for bad in [
            "127.0.0.1:25",
            "smtp://127.0.0.1",
            "smtp://mail.example.com",
            "smtp://h:0",
            "smtp://h:+25",
            "smtp://h:65536",
            "smtp://:25",
            "smtp://a b:25",
            "smtp://u@h:25",
            "smtp://h/x:25",
        ] {
            assert_eq!(smtp_next_hop(bad), None, "{bad}");
        }
    }
}
