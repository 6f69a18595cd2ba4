//! `[contact]`: how targets are asked where they lead, by domains whose policy says so.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use link::UrlRules;

use super::click;
use super::domain::URLS;
use super::option::{Key, Opt, list, milliseconds, number, rules, section, text};
use super::tls::ROOTS;
use super::walk::{Section, Walk, network, path};
use crate::net::tls::Trust;

section! {
    /// `[contact]`: how targets are asked where they lead.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ContactSettings {
        /// The `User-Agent` that targets are asked with.
        pub user_agent: String = text("user_agent", "printable ASCII that is not blank", agent)
            .or_else("`linkgate/VERSION (checks a link for its reader; +PUBLIC_URL)`", usual_agent),
        /// Ports besides 80 and 443 that are asked.
        pub ports: Vec<u16> = list("ports", "a port such as \"8443\"", |text| text.parse().ok().filter(|n| *n != 0)),
        /// Places that are asked although they are not of the public network.
        pub allow: Vec<Allowed> = list("allow", PLACE, Allowed::parse),
        /// Targets that are never asked.
        pub never: UrlRules = rules("never", URLS, |rules| UrlRules::parse(rules))
            .map(|never| UrlRules::parse(&never).unwrap_or_default()),
        /// A PEM file with the authorities that certificates are judged by; those of the system when absent.
        pub ca_file: Option<PathBuf> = Opt::new(Key::text("ca_file", ROOTS), ca_file)
            .optional("those that the system trusts"),
        /// Redirects that are followed.
        pub max_hops: usize = number("max_hops", 1..=50, "redirects", 10),
        /// How long one target may take for its answer.
        pub hop_timeout: Duration = milliseconds("hop_timeout_ms", 100..=60_000, 4_000),
        /// Chains that are followed at a time. As many more wait for their turn.
        pub max_concurrent: usize = number("max_concurrent", 1..=10_000, "chains", 32),
    }
}

const PLACE: &str = "an address and port such as \"10.0.0.5:8080\", an address, or a network such as \"10.0.0.0/8\"";

impl Default for ContactSettings {
    fn default() -> Self {
        Self {
            user_agent: format!("linkgate/{}", env!("CARGO_PKG_VERSION")),
            ports: Vec::new(),
            allow: Vec::new(),
            never: UrlRules::default(),
            ca_file: None,
            max_hops: 10,
            hop_timeout: Duration::from_millis(4_000),
            max_concurrent: 32,
        }
    }
}

/// A place that may be asked although its address is not of the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// This address, on the ports that are asked anyway; all addresses of a network.
    Network(IpNet),
    /// This address on this port.
    Socket(SocketAddr),
}

impl Allowed {
    /// Reads an address and port, an address or a network.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let socket = text.parse().ok().map(Self::Socket);
        socket.or_else(|| network(text).map(Self::Network))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}

/// Takes a user agent that can stand in a header field.
fn agent(text: &str) -> Option<String> {
    let sound = !text.trim().is_empty() && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    sound.then(|| text.trim().to_owned())
}

fn usual_agent(w: &Walk<'_>) -> String {
    let base = click::public_url_of(w);
    format!(
        "linkgate/{} (checks a link for its reader; +{})",
        env!("CARGO_PKG_VERSION"),
        base.as_ref().map_or("", |base| base.as_str())
    )
}

fn ca_file<'t>(w: &Walk<'t>, s: &Section<'t>, key: &Key) -> Option<PathBuf> {
    let file = w.parsed(s, key, path)?;
    if let Err(why) = Trust::load(Some(&file.value)) {
        let found = file.value.display();
        w.fault(file.at, file.key, format!("found {found} ({why}), allowed: {ROOTS}"));
    }
    Some(file.value)
}
