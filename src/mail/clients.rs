//! Counts the sessions of each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::net::Peer;

/// The sessions of one listener, by client.
///
/// An IPv4 address is a client; of IPv6 it is the /64, all of which one machine may have.
#[derive(Debug, Default)]
pub(super) struct Clients {
    sessions: Mutex<HashMap<IpAddr, usize>>,
}

/// A client's right to one session; given back on drop.
#[derive(Debug)]
pub(super) struct Admission {
    clients: Arc<Clients>,
    client: Option<IpAddr>,
}

impl Clients {
    /// Admits one more session of a client; `None` if it has `limit` of them. 0 is no limit, and a unix socket
    /// has none either: all its sessions look the same.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer, limit: usize) -> Option<Admission> {
        let client = peer.ip().filter(|_| limit > 0).map(network);
        if let Some(client) = client {
            let mut sessions = self.sessions.lock();
            let count = sessions.entry(client).or_default();
            if *count >= limit {
                return None;
            }
            *count += 1;
        }
        Some(Admission {
            clients: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut sessions = self.clients.sessions.lock();
        if let Some(count) = sessions.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&client);
            }
        }
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn each_client_has_its_own_count() {
        let clients = Arc::new(Clients::default());
        let admit = |address: &str| clients.admit(peer(address), 2);
        let (first, second) = (admit("192.0.2.1:1"), admit("192.0.2.1:2"));
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1:3").is_none());
        assert!(admit("[::ffff:192.0.2.1]:4").is_none(), "the same address");
        assert!(admit("192.0.2.2:1").is_some());
        drop(first);
        let third = admit("192.0.2.1:3");
        assert!(third.is_some());
        drop((second, third));
        assert!(
            clients.sessions.lock().is_empty(),
            "nothing is kept of clients that have gone"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let clients = Arc::new(Clients::default());
        let _first = clients.admit(peer("[2001:db8::1]:1"), 1);
        assert!(clients.admit(peer("[2001:db8::ffff:1]:1"), 1).is_none());
        assert!(clients.admit(peer("[2001:db8:0:1::1]:1"), 1).is_some());
    }

    #[test]
    fn no_limit_and_unix_sockets() {
        let clients = Arc::new(Clients::default());
        let many: Vec<_> = (0..10).map(|_| clients.admit(peer("192.0.2.1:1"), 0)).collect();
        assert!(many.iter().all(Option::is_some));
        let many: Vec<_> = (0..10).map(|_| clients.admit(Peer::Unix, 1)).collect();
        assert!(many.iter().all(Option::is_some));
    }
}
