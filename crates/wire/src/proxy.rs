//! The header of the PROXY protocol (HAProxy, versions 1 and 2), which names the client of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header taken, in octets. Version 1 has at most 107. Version 2 could have 65,551, but what proxies put behind the
/// addresses (names, TLS facts, ids) is far shorter.
pub const MAX_PROXY_HEADER: usize = 4096;

/// Longest header of version 1, with its CRLF, in octets.
const MAX_V1: usize = 107;

/// The front of version 2.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of a version 2 header up to the addresses.
const V2_FIXED: usize = 16;

/// The client of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A client at this address, by way of the proxy.
    Client(SocketAddr),
    /// The proxy itself (LOCAL), or a client without network address (UNKNOWN, UNSPEC, a unix socket).
    Nobody,
}

/// The reason octets are no header of the PROXY protocol for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadProxyHeader(&'static str);

impl ProxyHeader {
    /// Reads the header at the front of `input`: its length in octets, and the client. `None` while it is not complete: then
    /// all of `input` belongs to it.
    ///
    /// The fields behind the addresses of version 2 are skipped; its checksum is not computed, for TCP has one.
    ///
    /// # Errors
    /// [`BadProxyHeader`]: close the connection.
    pub fn read(input: &[u8]) -> Result<Option<(usize, Self)>, BadProxyHeader> {
        let starts_as = |signature: &[u8]| input.iter().zip(signature).all(|(a, b)| a == b);
        if starts_as(&V2_SIGNATURE) {
            read_v2(input)
        } else if starts_as(b"PROXY ") {
            read_v1(input)
        } else {
            Err(BadProxyHeader("no PROXY header"))
        }
    }
}

fn read_v1(input: &[u8]) -> Result<Option<(usize, ProxyHeader)>, BadProxyHeader> {
    let head = input.get(..MAX_V1).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', head) else {
        return if head.len() < MAX_V1 {
            Ok(None)
        } else {
            Err(BadProxyHeader("a PROXY line of more than 107 octets"))
        };
    };
    let line = head.get(..end).and_then(|l| l.strip_suffix(b"\r"));
    let line = line.ok_or(BadProxyHeader("a PROXY line that does not end in CRLF"))?;
    let text = std::str::from_utf8(line).map_err(|_| BadProxyHeader("a PROXY line that is not ASCII"))?;
    let mut words = text.split(' ').skip(1);
    let header = match words.next() {
        // What else the line says must be ignored.
        Some("UNKNOWN") => ProxyHeader::Nobody,
        Some(family @ ("TCP4" | "TCP6")) => {
            let rest: Vec<&str> = words.collect();
            let [source, destination, source_port, destination_port] = rest[..] else {
                return Err(BadProxyHeader("a PROXY line without two addresses and two ports"));
            };
            let address = |text: &str| -> Option<IpAddr> {
                let address: IpAddr = text.parse().ok()?;
                (address.is_ipv4() == (family == "TCP4")).then_some(address)
            };
            let ends = address(source).zip(port(source_port));
            let others = address(destination).zip(port(destination_port));
            match (ends, others) {
                (Some(client), Some(_)) => ProxyHeader::Client(client.into()),
                _ => return Err(BadProxyHeader("a PROXY line with an address or port that is none")),
            }
        }
        _ => return Err(BadProxyHeader("a PROXY line for a protocol other than TCP")),
    };
    Ok(Some((end + 1, header)))
}

/// A port as version 1 writes it: decimal, without sign or needless zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn read_v2(input: &[u8]) -> Result<Option<(usize, ProxyHeader)>, BadProxyHeader> {
    let Some(([.., version_and_command, family, high, low], rest)) = input.split_first_chunk::<V2_FIXED>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if V2_FIXED + length > MAX_PROXY_HEADER {
        return Err(BadProxyHeader("a PROXY header of more than 4096 octets"));
    }
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadProxyHeader("a PROXY header of an unknown version or command")),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let short = || BadProxyHeader("a PROXY header that is too short for its addresses");
    let header = match (local, family) {
        // What else the header says must be ignored; and unix sockets have no network address.
        (true, _) | (false, 0x00 | 0x31) => ProxyHeader::Nobody,
        (false, 0x11) => {
            let (b, _) = body.split_first_chunk::<12>().ok_or_else(short)?;
            let [a1, a2, a3, a4, .., p1, p2, _, _] = *b;
            let ip = Ipv4Addr::new(a1, a2, a3, a4);
            ProxyHeader::Client((ip, u16::from_be_bytes([p1, p2])).into())
        }
        (false, 0x21) => {
            let (b, _) = body.split_first_chunk::<36>().ok_or_else(short)?;
            let (ip, rest) = b.split_first_chunk::<16>().ok_or_else(short)?;
            let [.., p1, p2, _, _] = *rest else {
                return Err(short());
            };
            ProxyHeader::Client((Ipv6Addr::from(*ip), u16::from_be_bytes([p1, p2])).into())
        }
        _ => return Err(BadProxyHeader("a PROXY header for a protocol other than TCP")),
    };
    Ok(Some((V2_FIXED + length, header)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_and_command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    fn client(text: &str) -> ProxyHeader {
        ProxyHeader::Client(text.parse().unwrap())
    }

    #[test]
    fn lines_of_version_1() {
        for (line, wanted) in [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
                client("192.0.2.7:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n",
                client("[2001:db8::7]:0"),
            ),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Nobody),
            ("PROXY UNKNOWN ffff::1 what ever 1 2 3\r\n", ProxyHeader::Nobody),
        ] {
            assert_eq!(
                ProxyHeader::read(line.as_bytes()),
                Ok(Some((line.len(), wanted))),
                "{line}"
            );
            let more = format!("{line}EHLO x\r\n");
            assert_eq!(
                ProxyHeader::read(more.as_bytes()),
                Ok(Some((line.len(), wanted))),
                "{line}"
            );
        }
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0, 25];
        let mut v6 = Vec::new();
        v6.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([0xdc, 4, 0, 25]);
        let tlv = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0x20, 0, 1, 9]].concat();
        for (header, wanted) in [
            (v2(0x21, 0x11, &v4), client("192.0.2.7:56324")),
            (v2(0x21, 0x11, &tlv), client("192.0.2.7:56324")),
            (v2(0x21, 0x21, &v6), client("[2001:db8::7]:56324")),
            (v2(0x21, 0x31, &[0; 216]), ProxyHeader::Nobody),
            (v2(0x21, 0x00, &[]), ProxyHeader::Nobody),
            (v2(0x20, 0x11, &v4), ProxyHeader::Nobody),
            (v2(0x20, 0x00, &[1, 2, 3]), ProxyHeader::Nobody),
        ] {
            assert_eq!(
                ProxyHeader::read(&header),
                Ok(Some((header.len(), wanted))),
                "{header:?}"
            );
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for line in [
            "EHLO client.test\r\n",
            "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 mail.example 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert!(ProxyHeader::read(line.as_bytes()).is_err(), "{line}");
        }
        assert!(
            ProxyHeader::read(&[&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat()).is_err(),
            "endless"
        );
        assert!(ProxyHeader::read(&v2(0x11, 0x11, &[0; 12])).is_err(), "version");
        assert!(ProxyHeader::read(&v2(0x22, 0x11, &[0; 12])).is_err(), "command");
        assert!(ProxyHeader::read(&v2(0x21, 0x12, &[0; 12])).is_err(), "datagrams");
        assert!(ProxyHeader::read(&v2(0x21, 0x11, &[0; 11])).is_err(), "short for IPv4");
        assert!(ProxyHeader::read(&v2(0x21, 0x21, &[0; 35])).is_err(), "short for IPv6");
        assert!(
            ProxyHeader::read(&v2(0x21, 0x11, &[0; MAX_PROXY_HEADER])).is_err(),
            "long"
        );
    }

    fn header() -> impl Strategy<Value = (Vec<u8>, ProxyHeader)> {
        let v1 = (any::<SocketAddr>(), any::<u16>()).prop_map(|(from, port)| {
            let (family, to) = if from.is_ipv4() {
                ("TCP4", "192.0.2.1")
            } else {
                ("TCP6", "2001:db8::1")
            };
            let line = format!("PROXY {family} {} {to} {} {port}\r\n", from.ip(), from.port());
            (
                line.into_bytes(),
                ProxyHeader::Client(SocketAddr::new(from.ip(), from.port())),
            )
        });
        let v2 = (
            any::<SocketAddr>(),
            any::<[u8; 2]>(),
            proptest::collection::vec(any::<u8>(), 0..600),
        )
            .prop_map(|(from, port, tlvs)| {
                let (family, mut body) = match from.ip() {
                    IpAddr::V4(ip) => (0x11, [ip.octets(), [10, 0, 0, 1]].concat()),
                    IpAddr::V6(ip) => (0x21, [ip.octets(), [7; 16]].concat()),
                };
                body.extend(from.port().to_be_bytes());
                body.extend(port);
                body.extend(tlvs);
                (
                    v2(0x21, family, &body),
                    ProxyHeader::Client(SocketAddr::new(from.ip(), from.port())),
                )
            });
        prop_oneof![v1, v2]
    }

    proptest! {
        #[test]
        fn a_header_is_incomplete_until_its_last_octet((header, wanted) in header(), behind in proptest::collection::vec(any::<u8>(), 0..20)) {
            for cut in 0..header.len() {
                prop_assert_eq!(ProxyHeader::read(&header[..cut]), Ok(None), "{}", cut);
            }
            let all = [&header[..], &behind].concat();
            prop_assert_eq!(ProxyHeader::read(&all), Ok(Some((header.len(), wanted))));
        }

        #[test]
        fn any_octets_are_decided_on_within_the_limit(
            start in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&V2_SIGNATURE[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let input = [start, &rest].concat();
            match ProxyHeader::read(&input) {
                Ok(Some((used, _))) => prop_assert!(used <= input.len() && used <= MAX_PROXY_HEADER),
                Ok(None) => prop_assert!(input.len() < MAX_PROXY_HEADER),
                Err(_) => {}
            }
        }
    }
}
