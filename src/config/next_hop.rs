//! Next hops of `[[listener]]`: where messages go on to.

use std::fmt;
use std::net::SocketAddr;

use strum::{IntoStaticStr, VariantArray};

use super::listener::{is_milter, socket_path};
use super::option::{Key, Kind, Opt, choice};
use super::tls::{next_hop_ca, next_hop_tls, tls_of_next_hops};
use super::walk::{Section, Walk};
use crate::net::Endpoint;
use crate::net::tls::{NextHopTls, Trust};
use link::ascii_domain;

/// Where messages go on to: one server, or several that can stand in for each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHops {
    /// At least one (but with milter), in file order. All speak one dialect.
    pub all: Vec<NextHop>,
    /// `next_hop_ca`; `None` when nothing is encrypted.
    pub trust: Option<Trust>,
    /// `next_hop_order`
    pub order: NextHopOrder,
}

/// Which of several next hops is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum NextHopOrder {
    /// The first that works, in file order.
    #[default]
    InOrder,
    /// Each in turn.
    RoundRobin,
}

impl NextHops {
    /// The protocol that all of them speak.
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
    /// The protocol it speaks.
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

/// The protocol of a next hop.
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

const NEXT_HOP: &str = "\"smtp://HOST:PORT\", \"smtps://HOST:PORT\", \"lmtp://HOST:PORT\", or \"unix:\" and the path of a LMTP server's socket";

/// `next_hop` and the keys beside it.
pub(super) fn next_hops() -> Opt<NextHops> {
    Opt::new(Key::new("next_hop", Kind::OneOrMore(NEXT_HOP)), read)
        .with(order().key)
        .with(next_hop_tls().key)
        .with(next_hop_ca())
}

fn order() -> Opt<NextHopOrder> {
    choice("next_hop_order").or("in-order")
}

fn read<'t>(w: &Walk<'t>, s: &Section<'t>, key: &Key) -> Option<NextHops> {
    if is_milter(w, s) {
        return Some(NextHops::default());
    }
    let order = order().read(w, s);
    let mut hops = w.parsed_one_or_more(s, key, next_hop)?;
    w.addresses.borrow_mut().add_next_hops(&hops);
    if let Some((first, other)) = hops
        .first()
        .and_then(|first| Some((first, hops.iter().find(|h| h.value.dialect != first.value.dialect)?)))
    {
        let what = format!(
            "found \"{}\" beside \"{}\", allowed: next hops that all speak the same protocol",
            other.value, first.value
        );
        w.fault(other.at, &*other.key, what);
        return None;
    }
    let trust = tls_of_next_hops(w, s, &mut hops)?;
    Some(NextHops {
        all: hops.into_iter().map(|h| h.value).collect(),
        trust,
        order: order?,
    })
}

fn next_hop(s: &str) -> Option<NextHop> {
    let unix = |dialect, socket| {
        let to = Endpoint::Unix(socket_path(socket)?);
        Some(NextHop::plain(dialect, to))
    };
    // What listens on a unix socket is nearly always a LMTP server.
    if let Some(socket) = s.strip_prefix("unix:").or_else(|| s.strip_prefix("lmtp+unix:")) {
        return unix(Dialect::Lmtp, socket);
    }
    if let Some(socket) = s.strip_prefix("smtp+unix:") {
        return unix(Dialect::Smtp, socket);
    }
    if let Some(rest) = s.strip_prefix("smtps://") {
        let to = host_and_port(rest.trim_end_matches('/'))?;
        return Some(NextHop {
            implicit_tls: true,
            ..NextHop::plain(Dialect::Smtp, to)
        });
    }
    let (dialect, rest) = match s.strip_prefix("lmtp://") {
        Some(rest) => (Dialect::Lmtp, rest),
        None => (Dialect::Smtp, s.strip_prefix("smtp://")?),
    };
    let to = host_and_port(rest.trim_end_matches('/'))?;
    Some(NextHop::plain(dialect, to))
}

fn host_and_port(s: &str) -> Option<Endpoint> {
    let (host, port) = if let Ok(addr) = s.parse::<SocketAddr>() {
        (addr.ip().to_string(), addr.port())
    } else {
        let (host, port) = s.rsplit_once(':')?;
        // Only digits: `parse` alone would take "+25".
        let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok())??;
        (ascii_domain(host)?, port)
    };
    (port != 0).then_some(Endpoint::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops() {
        let hop = |dialect, host: &str, port| {
            let host = host.to_owned();
            let to = Endpoint::Tcp { host, port };
            Some(NextHop::plain(dialect, to))
        };
        let unix = |dialect, path: &str| {
            let to = Endpoint::Unix(path.into());
            Some(NextHop::plain(dialect, to))
        };
        use Dialect::{Lmtp, Smtp};
        for (text, wanted) in [
            ("smtp://127.0.0.1:10026", hop(Smtp, "127.0.0.1", 10026)),
            ("smtp://[::1]:25/", hop(Smtp, "::1", 25)),
            ("smtp://Mail.Example.com:25", hop(Smtp, "mail.example.com", 25)),
            ("lmtp://127.0.0.1:24", hop(Lmtp, "127.0.0.1", 24)),
            ("unix:/run/lmtp", unix(Lmtp, "/run/lmtp")),
            ("lmtp+unix:/run/lmtp", unix(Lmtp, "/run/lmtp")),
            ("smtp+unix:/run/smtp", unix(Smtp, "/run/smtp")),
        ] {
            assert_eq!(next_hop(text), wanted, "{text}");
        }
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
            "unix:",
            "unix:relative/path",
            "lmtp:unix:/run/lmtp",
        ] {
            assert_eq!(next_hop(bad), None, "{bad}");
        }
        assert_eq!(next_hop(&format!("unix:/{}", "x".repeat(107))), None);
    }
}
