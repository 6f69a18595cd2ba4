//! Decides which addresses belong to the public network.
//!
//! By the IANA registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890 and what was registered since), the
//! multicast and reserved space, and the addresses at which cloud machines fetch their secrets. What the
//! registries call reachable but no web site lives on (AS112, relays, anycast for protocols) is left out as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a web site of the public network can live there. An IPv4 address within an IPv6 address is what counts where a
/// translator or tunnel would get it out.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Network and prefix length.
const V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network, RFC 791
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private, RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared, RFC 6598; 100.100.100.200 has secrets at Alibaba
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback, RFC 1122
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, RFC 3927; 169.254.169.254 has secrets nearly everywhere
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private, RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments, RFC 6890; 192.0.0.192 has secrets at Oracle
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation, RFC 5737
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112, RFC 7535
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // AMT, RFC 7450
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays, RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private, RFC 1918
    (Ipv4Addr::new(192, 175, 48, 0), 24),  // AS112, RFC 7534
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks, RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation, RFC 5737
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation, RFC 5737
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast, RFC 5771
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, RFC 1112, and broadcast
];

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

/// Special-purpose networks within 2000::/3; outside of it nothing is global unicast (RFC 4291, 2.4).
const V6: &[(Ipv6Addr, u32)] = &[
    (v6(0x2001, 0, 0), 23),         // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
    (v6(0x2001, 0xdb8, 0), 32),     // documentation, RFC 3849
    (v6(0x2002, 0, 0), 16),         // 6to4, RFC 3056: a tunnel to an IPv4 address of the sender's choice
    (v6(0x2620, 0x4f, 0x8000), 48), // AS112, RFC 7534
    (v6(0x3ffe, 0, 0), 16),         // 6bone, given back, RFC 3701
    (v6(0x3fff, 0, 0), 20),         // documentation, RFC 9637
];

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let bits = ip.to_bits();
    !V4.iter()
        .any(|(network, length)| (bits ^ network.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = translated(ip) {
        return is_public_v4(inner);
    }
    let bits = ip.to_bits();
    let within = |(network, length): &(Ipv6Addr, u32)| (bits ^ network.to_bits()) >> (128 - length) == 0;
    bits >> 125 == 0b001 && !V6.iter().any(within) && isatap(ip).is_none_or(is_public_v4)
}

/// The IPv4 address that a packet to `ip` goes to: mapped (RFC 4291, 2.5.5.2) or by the well-known prefix of NAT64
/// (RFC 6052). The deprecated forms and the local-use prefix of NAT64 (64:ff9b:1::/48, RFC 8215) are no global unicast.
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    const NAT64: u128 = 0x0064_ff9b << 96;
    let bits = ip.to_bits();
    let low = u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0);
    ip.to_ipv4_mapped()
        .or_else(|| (bits ^ NAT64 <= u128::from(u32::MAX)).then(|| Ipv4Addr::from_bits(low)))
}

/// The IPv4 address in an interface identifier of ISATAP (RFC 5214, 6.1).
fn isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, _, _, e, f, g, h] = ip.segments();
    let is = matches!(e, 0 | 0x0200) && f == 0x5efe;
    is.then(|| Ipv4Addr::from_bits(u32::from(g) << 16 | u32::from(h)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_public_network() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700:4700::1111",
            "3ffd::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::5efe:808:808",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn addresses_that_are_not() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.0.192",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.1.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:0:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2620:4f:8000::1",
            "2606:4700::5efe:7f00:1",
            "2606:4700::200:5efe:a9fe:a9fe",
            "3ffe::1",
            "3fff:0fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
