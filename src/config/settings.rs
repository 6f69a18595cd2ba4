//! Settings as meant: what the configuration file says, checked, with matchers compiled and defaults filled in.
//!
//! One `Arc<Settings>` is a snapshot: a mail transaction or an HTTP request takes one and keeps it to its end.

mod clicks;
mod contact;
mod delivery;
mod listener;
mod machines;
mod sources;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use link::{ClickBase, KeyRing, Policy, Target};

use crate::mail::budget::{RewriteBudget, SpoolBudget};
use crate::mail::spool::Spool;
use crate::pages::Pages;

pub use self::clicks::{CheckLimits, ClickRules, DomainRules};
pub use self::contact::{Allowed, ContactSettings};
pub use self::delivery::SenderChecks;
pub use self::listener::{
    BareLineEnds, Dialect, Direction, Listener, ListenerTls, NextHop, NextHopOrder, NextHops, OnError, Protocol,
};
pub use self::machines::{Hindsight, Machines, NeutralPage};
pub use self::sources::{Checks, DnsKind, ListKind, Origin, Secret, Source, SourceKind, Terms, Usage};

/// Everything a running linkgate goes by.
#[derive(Debug)]
pub struct Settings {
    /// `[click]`
    pub click: Click,
    /// `[admin] listen`
    pub admin_listen: SocketAddr,
    /// `[store] url`: the SQLite file.
    pub store: PathBuf,
    /// `[keys] file`
    pub keys_file: PathBuf,
    /// The keys themselves, read from `keys_file`.
    pub keys: Arc<KeyRing>,
    /// `[[listener]]`, in file order.
    pub listeners: Vec<Listener>,
    /// Policies by recipient domain.
    pub domains: Domains,
    /// What recipient domains want at a click.
    pub click_rules: ClickRules,
    /// How long a check may take, and how often links may be opened.
    pub check_limits: CheckLimits,
    /// `[log]`
    pub log: Log,
    /// `[limits]`
    pub limits: Limits,
    /// `[rewriting]`: how messages are worked on.
    pub rewriting: message::Options,
    /// `[checks]`, as far as it is about senders.
    pub sender_checks: SenderChecks,
    /// `page_name` and its like, in `[default]` and `[domain]`.
    pub pages: Pages,
    /// `[contact]`: how targets are asked where they lead.
    pub contact: ContactSettings,
    /// `[checks]`, `[[source]]`: who is asked about links.
    pub checks: Checks,
    /// `[machines]`: who is no reader.
    pub machines: Machines,
    /// What is made of clicks afterwards.
    pub hindsight: Hindsight,
}

/// `[click]`: the address that click links start with, and the pages behind it.
#[derive(Debug)]
pub struct Click {
    /// `public_url` and `link_style`: writes and recognises click links.
    pub base: ClickBase,
    /// `listen`
    pub listen: SocketAddr,
    /// `client_ip`: how much of a reader's address is recorded.
    pub client_ip: ClientIp,
    /// `trusted_proxies`: peers whose `X-Forwarded-For` / `Forwarded` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// How much of a reader's network address is recorded with a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum ClientIp {
    /// Nothing.
    None,
    /// The network only: /24 of IPv4, /48 of IPv6.
    #[default]
    Truncated,
    /// The whole address.
    Full,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `level`: error, warn, info, debug or trace.
    pub level: String,
    /// `format`
    pub format: LogFormat,
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// `spool_memory_kib`: message bytes held in memory before they go to an unlinked file; in octets here.
    pub spool_memory: usize,
    /// `spool_memory_total_mib`: message bytes that all messages together hold in memory.
    pub spool_budget: Arc<SpoolBudget>,
    /// `rewrite_memory_mib`: memory in which messages are rewritten, all together.
    pub rewrite_budget: Arc<RewriteBudget>,
    /// `spool_dir`: where that file is made.
    pub spool_dir: PathBuf,
    /// `max_transactions`: messages on their way at a time, over all listeners.
    pub max_transactions: usize,
    /// `command_line_octets`: longest command line taken, with its CRLF.
    pub command_line: usize,
    /// `text_line_kib`: longest line of message data taken, in octets here; `u64::MAX` is no limit.
    pub text_line: u64,
    /// `command_timeout_s`: how long a client may take for a command.
    pub command_timeout: Duration,
    /// `next_hop_connect_timeout_s`: how long a next hop may take to become ready when another could be tried instead, and
    /// any one to accept a connection.
    pub next_hop_connect_timeout: Duration,
    /// `data_timeout_s`: how long a client may take for a block of message data.
    pub data_timeout: Duration,
    /// `message_timeout_s`: how long a client may take for all the data of a message.
    pub message_timeout: Duration,
    /// `next_hop_timeout_s`: how long the next hop may take for a reply (other than the one to the final dot).
    pub next_hop_timeout: Duration,
    /// `final_reply_timeout_s`: how long the next hop may take for the reply to the final dot.
    pub final_reply_timeout: Duration,
    /// `drain_s`: how long open sessions may go on after SIGTERM.
    pub drain: Duration,
}

impl Limits {
    /// A place for the bytes of a message.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool::new(self.spool_memory, &self.spool_dir, &self.spool_budget)
    }

    /// A place for nothing, where a spool has been taken away.
    #[must_use]
    pub fn no_spool(&self) -> Spool {
        Spool::new(0, Path::new(""), &self.spool_budget)
    }
}

impl PartialEq for Limits {
    fn eq(&self, other: &Self) -> bool {
        // Every field is named, so that a new one is not forgotten.
        let Self {
            spool_memory,
            spool_budget,
            rewrite_budget,
            spool_dir,
            command_timeout,
            next_hop_connect_timeout,
            next_hop_timeout,
            final_reply_timeout,
            drain,
            max_transactions,
            command_line,
            text_line,
            data_timeout,
            message_timeout,
        } = self;
        *spool_memory == other.spool_memory
            && spool_budget.octets() == other.spool_budget.octets()
            && rewrite_budget.mib() == other.rewrite_budget.mib()
            && *spool_dir == other.spool_dir
            && *command_timeout == other.command_timeout
            && *next_hop_connect_timeout == other.next_hop_connect_timeout
            && *next_hop_timeout == other.next_hop_timeout
            && *final_reply_timeout == other.final_reply_timeout
            && *drain == other.drain
            && *max_transactions == other.max_transactions
            && *command_line == other.command_line
            && *text_line == other.text_line
            && *data_timeout == other.data_timeout
            && *message_timeout == other.message_timeout
    }
}

/// Policies by recipient domain: the exact name first, then `[default]`'s inherited values for names that opted in.
#[derive(Debug, Default)]
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

/// A domain name in lower case with A-labels and without a final dot; `None` for what is no domain name, such as an
/// address literal.
#[must_use]
pub fn ascii_domain(name: &str) -> Option<String> {
    const MAX_NAME: usize = 253; // RFC 1035, 2.3.4, without the dot of the root
    const MAX_LABEL: usize = 63;
    let name = name.strip_suffix('.').unwrap_or(name);
    let legal = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(legal) {
        return None;
    }
    let url = Target::parse(&format!("http://{name}/")).ok()?;
    let ascii = url.host();
    let sound = ascii.len() <= MAX_NAME
        && ascii.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()))
        && ascii.parse::<Ipv4Addr>().is_err();
    sound.then(|| ascii.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names() {
        assert_eq!(ascii_domain("Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(ascii_domain("Bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(ascii_domain("mail_1.local").as_deref(), Some("mail_1.local"));
        for bad in [
            "",
            ".",
            "a..b",
            "1.2.3.4",
            "[::1]",
            "a b",
            "user@a.example",
            "a.example/x",
            "a:25",
            "*.example",
        ] {
            assert_eq!(ascii_domain(bad), None, "{bad}");
        }
        assert_eq!(ascii_domain(&"a".repeat(64)), None);
    }
}
