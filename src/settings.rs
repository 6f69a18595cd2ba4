//! Settings as meant: what the configuration file says, checked, with matchers compiled and defaults filled in.
//!
//! One `Arc<Settings>` is a snapshot: a mail transaction or an HTTP request takes one and keeps it to its end.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use link::{ClickBase, KeyRing, Policy, Target};

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
    /// `[log]`
    pub log: Log,
    /// `[limits]`
    pub limits: Limits,
    /// `[rewriting]`: how messages are worked on.
    pub rewriting: message::Options,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientIp {
    /// Nothing.
    None,
    /// The network only: /24 of IPv4, /48 of IPv6.
    #[default]
    Truncated,
    /// The whole address.
    Full,
}

/// `[[listener]]`: where mail comes in, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `protocol`
    pub protocol: Protocol,
    /// `listen`
    pub listen: SocketAddr,
    /// `next_hop`; `None` with milter, where mail goes back to the client.
    pub next_hop: Option<NextHop>,
    /// `direction`
    pub direction: Direction,
    /// `bare_line_ends`: what becomes of a CR or LF that stands alone in message data.
    pub bare_line_ends: BareLineEnds,
    /// `on_error`: what becomes of a message that cannot be rewritten through a fault of ours.
    pub on_error: OnError,
    /// `xforward_from`: peers that are offered XFORWARD (loopback by default).
    pub xforward_from: Vec<IpNet>,
    /// `max_connections`: sessions at a time; more wait to be accepted.
    pub max_connections: usize,
    /// `max_message_mib`: largest message taken, in octets here; the smaller of this and the next hop's SIZE is offered.
    pub max_message: u64,
    /// `hostname`: the name in our greeting and in our EHLO.
    pub hostname: String,
}

/// The dialect of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// The protocol of Sendmail's libmilter, which Postfix speaks as well.
    Milter,
}

/// Which way mail flows through a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Links are wrapped.
    Inbound,
}

/// Where a message goes on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// `smtp://host:port`; the name is resolved anew for each connection.
    Smtp {
        /// Host name or address literal.
        host: String,
        /// TCP port.
        port: u16,
    },
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smtp { host, port } if host.contains(':') => write!(f, "smtp://[{host}]:{port}"),
            Self::Smtp { host, port } => write!(f, "smtp://{host}:{port}"),
        }
    }
}

/// What becomes of a CR or LF that stands alone in message data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLineEnds {
    /// 550 5.5.2 at the end of data.
    #[default]
    Refuse,
    /// LF becomes CRLF, a stray CR a space.
    Normalise,
}

/// What becomes of a message when linkgate itself fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// 451: the client tries again.
    #[default]
    Tempfail,
    /// The message goes on as it came.
    Pass,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `spool_memory_kib`: message bytes held in memory before they go to an unlinked file; in octets here.
    pub spool_memory: usize,
    /// `spool_dir`: where that file is made.
    pub spool_dir: PathBuf,
    /// `command_timeout_s`: how long a client may take for a command or a block of data.
    pub command_timeout: Duration,
    /// `next_hop_timeout_s`: how long the next hop may take for a reply (other than the one to the final dot).
    pub next_hop_timeout: Duration,
    /// `final_reply_timeout_s`: how long the next hop may take for the reply to the final dot.
    pub final_reply_timeout: Duration,
    /// `drain_s`: how long open sessions may go on after SIGTERM.
    pub drain: Duration,
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
