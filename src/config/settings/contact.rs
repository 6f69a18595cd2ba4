//! `[contact]`: how targets are asked where they lead, by domains whose policy says so.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use link::UrlRules;

/// `[contact]`
#[derive(Debug, Clone)]
pub struct ContactSettings {
    /// `user_agent`: what targets are told of who asks.
    pub user_agent: String,
    /// `ports`: ports besides 80 and 443 that are asked.
    pub ports: Vec<u16>,
    /// `allow`: what is asked although it is not of the public network.
    pub allow: Vec<Allowed>,
    /// `never`: targets that are never asked.
    pub never: UrlRules,
    /// `ca_file`: a PEM file with the authorities that certificates are judged by; those of the system when absent.
    pub ca_file: Option<PathBuf>,
    /// `max_hops`: redirects that are followed.
    pub max_hops: usize,
    /// `hop_timeout_ms`: what one target may take for its answer.
    pub hop_timeout: Duration,
    /// `max_concurrent`: chains that are followed at a time. As many more wait for their turn.
    pub max_concurrent: usize,
}

impl ContactSettings {
    /// What targets are told of who asks when the configuration does not say.
    #[must_use]
    pub fn default_user_agent(public_url: &str) -> String {
        format!(
            "linkgate/{} (checks a link for its reader; +{public_url})",
            env!("CARGO_PKG_VERSION")
        )
    }
}

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
        if let Ok(socket) = text.parse() {
            return Some(Self::Socket(socket));
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.ok().map(Self::Network)
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
