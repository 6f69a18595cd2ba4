//! `[[listener]]`: from the sections of the file to listeners and next hops, and the checks that look across addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::build::{MIB, Root, network, path};
use super::tls::{listener_tls, next_hop_tls};
use super::walk::{Item, Section, Walk};
use crate::config::{Dialect, Listener, ListenerTls, NextHop, NextHopOrder, NextHops, Protocol, ascii_domain};
use crate::net::{Address, Endpoint};

/// Addresses from all sections, for the checks that look across them: one section's fault must not hide another's.
#[derive(Default)]
pub(super) struct Addresses {
    own: Vec<Item<Address>>,
    next_hops: Vec<Item<NextHop>>,
}

/// The listeners that the file describes soundly.
pub(super) fn listeners<'t>(w: &Walk<'t>, root: &'t Root<'t>, addresses: &mut Addresses) -> Vec<Listener> {
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
    let protocol = w.choice(s, "protocol");
    let listen = w.parsed(s, "listen", address);
    if let Some(listen) = &listen {
        addresses.add_own(listen, listen.value.clone());
    }
    let socket_mode = w.parsed(s, "socket_mode", mode).map(|i| i.value);
    let next_hops = match protocol {
        Some(Protocol::Milter) => {
            refuse_what_milter_lacks(w, s);
            Some(NextHops {
                all: Vec::new(),
                trust: None,
                order: NextHopOrder::default(),
            })
        }
        _ => next_hops(w, s, addresses),
    };
    let direction = w.choice(s, "direction");
    let bare_line_ends = w.choice(s, "bare_line_ends");
    let on_error = w.choice(s, "on_error");
    let tls = match protocol {
        // What is said of it is a fault already.
        Some(Protocol::Milter) => Some(ListenerTls::Off),
        _ => listener_tls(w, s),
    };
    let proxy_from = w.parsed_list(s, "proxy_from", network);
    if let (Some(Address::Unix(_)), false) = (listen.as_ref().map(|l| &l.value), proxy_from.is_empty()) {
        let what =
            "found it beside a unix socket, allowed: where listen is an address; peers of a unix socket have none";
        w.fault(s.at, format!("{}.proxy_from", s.shown), what);
    }
    let xforward_from = w.parsed_list(s, "xforward_from", network);
    let xclient_from = w.parsed_list(s, "xclient_from", network);
    let count = |name| w.integer(s, name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let max_connections = count("max_connections");
    let max_connections_per_client = count("max_connections_per_client");
    let max_recipients = count("max_recipients");
    let max_passes = count("max_passes");
    let max_message_mib = w.integer(s, "max_message_mib");
    let hostname = if w.says(s, "hostname") {
        w.parsed(s, "hostname", ascii_domain).map(|i| i.value)
    } else {
        Some(machine_name())
    };
    Some(Listener {
        protocol: protocol?,
        listen: listen?.value,
        socket_mode: socket_mode?,
        next_hops: next_hops?,
        direction: direction?,
        bare_line_ends: bare_line_ends?,
        on_error: on_error?,
        tls: tls?,
        proxy_from,
        xforward_from,
        xclient_from,
        max_connections: max_connections?,
        max_connections_per_client: max_connections_per_client?,
        max_recipients: max_recipients?,
        max_message: max_message_mib? * MIB,
        max_passes: max_passes?,
        hostname: hostname?,
    })
}

/// Keys of SMTP that would be read and never used.
fn refuse_what_milter_lacks<'t>(w: &Walk<'t>, s: &Section<'t>) {
    const KEEPS: &str = "the MTA keeps the mail and hands it on itself";
    const PLAIN: &str = "the MTA connects in plain text";
    const NAMES: &str = "the MTA names its client without being asked";
    for (name, why) in [
        ("next_hop", KEEPS),
        ("next_hop_order", KEEPS),
        ("next_hop_tls", KEEPS),
        ("next_hop_ca", KEEPS),
        ("tls_certificate", PLAIN),
        ("tls_key", PLAIN),
        ("proxy_from", "the MTA connects itself"),
        ("xforward_from", NAMES),
        ("xclient_from", NAMES),
        ("hostname", "nothing is greeted"),
    ] {
        w.refuse_key(s, name, &format!("nothing with protocol = \"milter\", where {why}"));
    }
    // "off" says what holds anyway.
    let tls = [("off", true), ("starttls", false), ("implicit", false)];
    if w.choice_among(s, "tls", &tls) == Some(false) {
        w.refuse_key(s, "tls", &format!("\"off\" with protocol = \"milter\", where {PLAIN}"));
    }
}

fn next_hops<'t>(w: &Walk<'t>, s: &Section<'t>, addresses: &mut Addresses) -> Option<NextHops> {
    let order = w.choice(s, "next_hop_order");
    let mut hops = w.parsed_one_or_more(s, "next_hop", next_hop)?;
    addresses.next_hops.extend(hops.iter().cloned());
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
    let trust = next_hop_tls(w, s, &mut hops)?;
    Some(NextHops {
        all: hops.into_iter().map(|h| h.value).collect(),
        trust,
        order: order?,
    })
}

impl Addresses {
    /// Notes an address of ours.
    pub(super) fn add_own<T>(&mut self, item: &Item<T>, value: Address) {
        self.own.push(Item {
            value,
            at: item.at,
            key: item.key.clone(),
        });
    }

    /// Two addresses that the system would not bind side by side. Port 0 is a new port each time.
    pub(super) fn refuse_shared(&self, w: &Walk<'_>) {
        for (i, second) in self.own.iter().enumerate() {
            let Some(first) = self.own.iter().take(i).find(|first| clash(&first.value, &second.value)) else {
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

    /// A next hop that is one of our own addresses sends each message in circles. Names other than `localhost` are not
    /// looked up: they may mean another machine tomorrow.
    pub(super) fn refuse_loops(&self, w: &Walk<'_>) {
        for hop in &self.next_hops {
            if let Some(ours) = self.own.iter().find(|o| leads_to(&hop.value.to, &o.value)) {
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
}

fn clash(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => tcp_clash(*a, *b),
        (Address::Unix(a), Address::Unix(b)) => a == b,
        _ => false,
    }
}

fn tcp_clash(a: SocketAddr, b: SocketAddr) -> bool {
    // A wildcard takes the port on every address; [::] takes it for IPv4 as well.
    let covers = |x: IpAddr, y: IpAddr| x == y || (x.is_unspecified() && (x.is_ipv6() || y.is_ipv4()));
    a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

fn leads_to(hop: &Endpoint, ours: &Address) -> bool {
    match (hop, ours) {
        (Endpoint::Unix(hop), Address::Unix(ours)) => hop == ours,
        (Endpoint::Tcp { host, port }, Address::Tcp(ours)) if *port == ours.port() => {
            let hosts = match host.parse::<IpAddr>() {
                Ok(ip) => vec![ip],
                Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                Err(_) => return false,
            };
            // Which outer addresses a wildcard has, only the machine knows.
            let reaches = |ip: &IpAddr, here: IpAddr| {
                *ip == here || ip.is_unspecified() || (here.is_unspecified() && ip.is_loopback())
            };
            hosts.iter().any(|ip| reaches(ip, ours.ip()))
        }
        _ => false,
    }
}

fn address(s: &str) -> Option<Address> {
    match s.strip_prefix("unix:") {
        Some(socket) => socket_path(socket).map(Address::Unix),
        None => s.parse().ok().map(Address::Tcp),
    }
}

/// Unix: an address has 108 octets, the last of which is NUL.
const MAX_SOCKET_PATH: usize = 107;

fn socket_path(s: &str) -> Option<std::path::PathBuf> {
    path(s).filter(|p| s.starts_with('/') && p.as_os_str().len() <= MAX_SOCKET_PATH)
}

/// Permission bits in octal.
fn mode(s: &str) -> Option<u32> {
    let digits = (3..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| u32::from_str_radix(s, 8).ok())?.filter(|m| *m <= 0o777)
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
        let clash = |a: &str, b: &str| clash(&address(a).unwrap(), &address(b).unwrap());
        assert!(clash("127.0.0.1:25", "127.0.0.1:25"));
        assert!(clash("0.0.0.0:25", "127.0.0.1:25"));
        assert!(clash("127.0.0.1:25", "[::]:25"));
        assert!(clash("0.0.0.0:25", "[::]:25"));
        assert!(clash("unix:/run/a", "unix:/run/a"));
        assert!(!clash("unix:/run/a", "unix:/run/b"));
        assert!(!clash("0.0.0.0:25", "[::1]:25"));
        assert!(!clash("127.0.0.1:25", "127.0.0.2:25"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clash("127.0.0.1:25", "127.0.0.1:26"));
    }

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

    #[test]
    fn permission_bits() {
        assert_eq!((mode("0660"), mode("666")), (Some(0o660), Some(0o666)));
        for bad in ["660 ", "0888", "66", "+660", "7777", ""] {
            assert_eq!(mode(bad), None, "{bad}");
        }
    }
}
