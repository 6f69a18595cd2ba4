//! `[[listener]]`: where mail comes in, and where it goes on.

use std::fmt;

use ipnet::IpNet;
pub use wire::BareLineEnds;

use crate::net::tls::{Identity, NextHopTls, Trust};
use crate::net::{Address, Endpoint};

/// `[[listener]]`: where mail comes in, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `protocol`
    pub protocol: Protocol,
    /// `listen`
    pub listen: Address,
    /// `socket_mode`: who may connect to a unix socket, as permission bits.
    pub socket_mode: u32,
    /// `next_hop`, `next_hop_order`; none with milter, where mail goes back to the client.
    pub next_hops: NextHops,
    /// `direction`
    pub direction: Direction,
    /// `bare_line_ends`: what becomes of a CR or LF that stands alone in message data.
    pub bare_line_ends: BareLineEnds,
    /// `on_error`: what becomes of a message that cannot be rewritten through a fault of ours.
    pub on_error: OnError,
    /// `xforward_from`: peers that are offered XFORWARD (loopback by default; unix sockets always).
    pub xforward_from: Vec<IpNet>,
    /// `tls`, `tls_certificate`, `tls_key`
    pub tls: ListenerTls,
    /// `proxy_from`: peers that begin with a header of the PROXY protocol.
    pub proxy_from: Vec<IpNet>,
    /// `xclient_from`: peers that may speak for other clients with XCLIENT (nobody by default).
    pub xclient_from: Vec<IpNet>,
    /// `max_connections`: sessions at a time; more wait to be accepted.
    pub max_connections: usize,
    /// `max_connections_per_client`: sessions of one client at a time; 0 is no limit.
    pub max_connections_per_client: usize,
    /// `max_recipients`: recipients of one transaction.
    pub max_recipients: usize,
    /// `max_message_mib`: largest message taken, in octets here; the smaller of this and the next hop's SIZE is offered.
    pub max_message: u64,
    /// `max_passes`: how often a message may come through this listener.
    pub max_passes: usize,
    /// `hostname`: the name in our greeting and in our EHLO.
    pub hostname: String,
}

/// `tls`: whether clients can, or must, encrypt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListenerTls {
    /// They cannot.
    #[default]
    Off,
    /// STARTTLS is offered (RFC 3207).
    StartTls(Identity),
    /// The connection begins with the handshake (RFC 8314).
    Implicit(Identity),
}

impl ListenerTls {
    /// What the listener proves itself with.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Off => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}

/// The dialect of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply, and a copy, for each recipient.
    Lmtp,
    /// The protocol of Sendmail's libmilter, which Postfix speaks as well.
    Milter,
}

/// Which way mail flows through a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Direction {
    /// Links are wrapped.
    Inbound,
}

/// Where messages go on to: one server, or several that can stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHops {
    /// At least one (but with milter), in file order. All speak one dialect.
    pub all: Vec<NextHop>,
    /// `next_hop_ca`; `None` when nothing is encrypted.
    pub trust: Option<Trust>,
    /// `next_hop_order`
    pub order: NextHopOrder,
}

/// Which of several next hops is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum NextHopOrder {
    /// The first that works, in file order.
    #[default]
    InOrder,
    /// Each in turn.
    RoundRobin,
}

impl NextHops {
    /// What all of them speak.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.all.first().map_or(Dialect::Smtp, |hop| hop.dialect)
    }
}

impl fmt::Display for NextHops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, hop) in self.all.iter().enumerate() {
            write!(f, "{}{hop}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A server that messages go on to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub to: Endpoint,
    /// `next_hop_tls`
    pub tls: NextHopTls,
    /// `smtps://`: the connection begins with the handshake.
    pub implicit_tls: bool,
}

impl NextHop {
    /// A next hop that is spoken to in plain text.
    #[must_use]
    pub fn plain(dialect: Dialect, to: Endpoint) -> Self {
        Self {
            dialect,
            to,
            tls: NextHopTls::Off,
            implicit_tls: false,
        }
    }

    /// Whether it is ever spoken to over TLS.
    #[must_use]
    pub fn may_encrypt(&self) -> bool {
        self.implicit_tls || self.tls != NextHopTls::Off
    }
}

/// What a next hop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RFC 5321: one reply for a message.
    Smtp,
    /// RFC 2033: one reply for each recipient.
    Lmtp,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialect = match self.dialect {
            Dialect::Smtp if self.implicit_tls => "smtps",
            Dialect::Smtp => "smtp",
            Dialect::Lmtp => "lmtp",
        };
        match &self.to {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "{dialect}://[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{dialect}://{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{dialect}+unix:{}", path.display()),
        }
    }
}

/// What becomes of a message when linkgate itself fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum OnError {
    /// 451: the client tries again.
    #[default]
    Tempfail,
    /// The message goes on as it came.
    Pass,
}
