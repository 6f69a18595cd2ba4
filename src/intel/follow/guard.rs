//! Judging whether a target may be asked, by scheme, port, name and address, before anything is sent.

use std::net::{IpAddr, SocketAddr};

use link::Target;
use url::Host;

use crate::config::{Allowed, Settings};
use crate::net::public::is_public;

/// The rules for every target.
#[derive(Debug)]
pub(super) struct Guard {
    ports: Vec<u16>,
    allow: Vec<Allowed>,
    /// The host of our click links.
    own_host: String,
    /// Where we listen ourselves.
    own_sockets: [SocketAddr; 2],
}

/// Why a target is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskRefusal {
    /// Neither http nor https.
    Scheme,
    /// A port that is not asked.
    Port,
    /// It is linkgate itself.
    Own,
    /// A name that is only known on this machine or its network, or an address that is not public.
    Address,
}

/// The address of a target, or the name to resolve.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TargetPlace<'a> {
    /// At this address.
    At(SocketAddr),
    /// At the addresses of this name, on this port.
    Named(&'a str, u16),
}

impl Guard {
    pub(super) fn new(settings: &Settings) -> Self {
        let own = Target::parse(settings.click.base.as_str());
        Self {
            ports: settings.contact.ports.clone(),
            allow: settings.contact.allow.clone(),
            own_host: own.map(|t| bare(t.host()).to_owned()).unwrap_or_default(),
            own_sockets: [settings.click.listen, settings.admin_listen],
        }
    }

    /// Where `target` is, as far as can be said without asking anyone.
    pub(super) fn place<'a>(&self, target: &'a Target) -> Result<TargetPlace<'a>, AskRefusal> {
        let url = target.url();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AskRefusal::Scheme);
        }
        let port = url.port_or_known_default().ok_or(AskRefusal::Scheme)?;
        // The URL parser has read every spelling of an address by now: octal, hexadecimal, short, in wide digits.
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return Err(AskRefusal::Address),
        };
        if bare(target.host()) == self.own_host {
            return Err(AskRefusal::Own);
        }
        if let Some(ip) = literal {
            let address = SocketAddr::new(ip, port);
            return self.address(address).map(|()| TargetPlace::At(address));
        }
        let name = bare(target.host());
        if !self.is_port_possible(port) {
            return Err(AskRefusal::Port);
        }
        // RFC 6761, 6.3, and RFC 6762, 3: known here only. RFC 7686: not to be looked up.
        let last = name.rsplit('.').next().unwrap_or_default();
        // The client would take it for an address.
        let literal = name.parse::<IpAddr>().is_ok();
        if literal || name.is_empty() || matches!(last, "localhost" | "local" | "onion" | "alt") {
            return Err(AskRefusal::Address);
        }
        Ok(TargetPlace::Named(name, port))
    }

    /// Whether an address may be asked.
    pub(super) fn address(&self, address: SocketAddr) -> Result<(), AskRefusal> {
        let ip = address.ip().to_canonical();
        let address = SocketAddr::new(ip, address.port());
        if self.allow.contains(&Allowed::Socket(address)) {
            return Ok(());
        }
        if self.own_sockets.iter().any(|own| is_ours(*own, address)) {
            return Err(AskRefusal::Own);
        }
        if !self.is_usual(address.port()) {
            return Err(AskRefusal::Port);
        }
        let allowed = |a: &Allowed| matches!(a, Allowed::Network(network) if network.contains(&ip));
        if is_public(ip) || self.allow.iter().any(allowed) {
            Ok(())
        } else {
            Err(AskRefusal::Address)
        }
    }

    fn is_usual(&self, port: u16) -> bool {
        matches!(port, 80 | 443) || self.ports.contains(&port)
    }

    fn is_port_possible(&self, port: u16) -> bool {
        let allowed = |a: &Allowed| matches!(a, Allowed::Socket(address) if address.port() == port);
        self.is_usual(port) || self.allow.iter().any(allowed)
    }
}

/// Whether a connection to `address` may reach our own listener at `own`. Which public addresses are ours is not known.
fn is_ours(own: SocketAddr, address: SocketAddr) -> bool {
    own == address || (own.ip().is_unspecified() && own.port() == address.port() && !is_public(address.ip()))
}

/// A host without the dot of the root.
pub(super) fn bare(host: &str) -> &str {
    host.trim_end_matches('.')
}
