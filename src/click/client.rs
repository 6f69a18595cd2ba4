//! Finding the network address of a reader behind trusted proxies, and shortening it to what may be kept.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::config::ClientIp;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the peer's own, or, where the peer is a trusted proxy, the last address in its chain that is not one.
///
/// `X-Forwarded-For` counts when there is one, else `Forwarded` (RFC 7239). Anyone can write the front of either, so
/// they are read from the end, where our own proxies write. `None` when a trusted proxy says nothing we can read.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match headers.contains_key(FORWARDED_FOR) {
        true => (FORWARDED_FOR, node),
        false => (header::FORWARDED, forwarded),
    };
    let mut first = peer;
    for line in headers.get_all(name).iter().rev() {
        let line = line.to_str().ok()?;
        for element in line.rsplit(',') {
            let ip = read(element)?;
            if !is_trusted(&ip) {
                return Some(ip);
            }
            first = ip;
        }
    }
    // Trusted all the way: the client is one of our own machines.
    Some(first)
}

/// As much of an address as may be recorded.
pub(super) fn shorten(ip: IpAddr, how: ClientIp) -> Option<String> {
    match how {
        ClientIp::None => None,
        ClientIp::Full => Some(ip.to_string()),
        ClientIp::Truncated => Some(network(ip).to_string()),
    }
}

/// The network that stands for an address where the address itself is too much: /24 of IPv4, /48 of IPv6.
pub(super) fn network(ip: IpAddr) -> IpNet {
    let bits = if ip.is_ipv4() { 24 } else { 48 };
    IpNet::new(ip, bits).map_or_else(|_| ip.into(), |net| net.trunc())
}

/// `for=` of one element of `Forwarded`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// An address with or without port, in brackets or without.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            // One colon: IPv4 and a port. More: IPv6 without brackets.
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn ask(peer: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8:1::/48"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        address(peer.parse().unwrap(), &headers, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn a_stranger_cannot_name_another_client() {
        let fields = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(ask("203.0.113.9", &fields).as_deref(), Some("203.0.113.9"));
        // Nor through a trusted proxy, which appends the address it saw.
        let fields = [("x-forwarded-for", "198.51.100.1, 203.0.113.9")];
        assert_eq!(ask("10.1.1.1", &fields).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn chains_are_read_from_the_end_over_all_lines() {
        for (fields, want) in [
            (
                vec![
                    ("x-forwarded-for", "1.1.1.1, 203.0.113.9"),
                    ("x-forwarded-for", "10.2.2.2,10.3.3.3"),
                ],
                Some("203.0.113.9"),
            ),
            (vec![("x-forwarded-for", "203.0.113.9:4711")], Some("203.0.113.9")),
            (vec![("x-forwarded-for", "[2001:db8:2::1]:4711")], Some("2001:db8:2::1")),
            (vec![("x-forwarded-for", "2001:db8:2::1")], Some("2001:db8:2::1")),
            (vec![("x-forwarded-for", "::ffff:203.0.113.9")], Some("203.0.113.9")),
            (vec![("x-forwarded-for", "10.9.9.9")], Some("10.9.9.9")),
            (
                vec![(
                    "forwarded",
                    r#"for=1.1.1.1, For="[2001:db8:2::1]:80";proto=https;by=10.0.0.1"#,
                )],
                Some("2001:db8:2::1"),
            ),
            (vec![("forwarded", "proto=https;for=203.0.113.9")], Some("203.0.113.9")),
            // X-Forwarded-For counts when both are there.
            (
                vec![("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.9")],
                Some("203.0.113.9"),
            ),
            // What cannot be read hides everything in front of it.
            (vec![("x-forwarded-for", "1.1.1.1, unknown")], None),
            (vec![("forwarded", "for=1.1.1.1, for=_hidden")], None),
            (vec![("forwarded", "proto=https")], None),
            (vec![], Some("10.1.1.1")),
        ] {
            assert_eq!(ask("10.1.1.1", &fields).as_deref(), want, "{fields:?}");
        }
        assert_eq!(
            ask("::ffff:10.1.1.1", &[("x-forwarded-for", "203.0.113.9")]).as_deref(),
            Some("203.0.113.9")
        );
    }

    #[test]
    fn addresses_are_shortened_to_their_network() {
        let cases = [
            ("203.0.113.9", "203.0.113.0/24", "203.0.113.9"),
            ("2001:db8:1:2::3", "2001:db8:1::/48", "2001:db8:1:2::3"),
        ];
        for (ip, short, full) in cases {
            let ip = ip.parse().unwrap();
            assert_eq!(shorten(ip, ClientIp::Truncated).as_deref(), Some(short));
            assert_eq!(shorten(ip, ClientIp::Full).as_deref(), Some(full));
            assert_eq!(shorten(ip, ClientIp::None), None);
        }
    }
}
