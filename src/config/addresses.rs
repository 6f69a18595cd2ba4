//! Addresses of all sections: two that clash, and next hops that lead back to ourselves. All are compared at the end, so
//! that one section's fault does not hide another's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::next_hop::NextHop;
use super::option::{Key, Opt};
use super::walk::{Item, Walk};
use crate::net::{Address, Endpoint};

/// The addresses in the file that are our own, and those of next hops.
#[derive(Default)]
pub(super) struct Addresses {
    own: Vec<Item<Address>>,
    next_hops: Vec<Item<NextHop>>,
}

/// The forms of an address for HTTP or DNS, in words.
pub(super) const ADDRESS: &str = "an address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";

/// `listen`, where a section takes HTTP.
pub(super) fn listen() -> Opt<SocketAddr> {
    Opt::new(Key::text("listen", ADDRESS), |w, s, key| {
        let item = w.parsed(s, key, |text| text.parse().ok())?;
        w.addresses.borrow_mut().add_own(&item, Address::Tcp(item.value));
        Some(item.value)
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

    /// Notes next hops.
    pub(super) fn add_next_hops(&mut self, hops: &[Item<NextHop>]) {
        self.next_hops.extend(hops.iter().cloned());
    }

    /// Refuses two addresses that the system would not bind side by side. Port 0 is a new port each time.
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

    /// Refuses a next hop that is one of our own addresses: it would send each message in circles. Names other than `localhost` are not
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listener::address;

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
}
