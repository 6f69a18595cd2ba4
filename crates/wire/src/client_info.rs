//! The client behind a trusted peer: read from XCLIENT, written as XFORWARD (both Postfix extensions).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::slice::part;

/// Longest attribute value, in octets as it stands on the line (Postfix's XCLIENT_README).
const MAX_VALUE: usize = 255;

/// Longest XFORWARD line with its CRLF, in octets (Postfix's XFORWARD_README).
const MAX_LINE: usize = 512;

/// One attribute as a peer states it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Told<T> {
    /// Not stated: the facts of the connection hold.
    #[default]
    Nothing,
    /// Stated as unknown.
    Unknown,
    /// Stated.
    Is(T),
}

/// Attributes of the client behind a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientInfo {
    /// NAME: its host name.
    pub name: Told<Vec<u8>>,
    /// ADDR: its address.
    pub address: Told<IpAddr>,
    /// PORT: its port.
    pub port: Told<u16>,
    /// PROTO: SMTP or ESMTP.
    pub protocol: Told<Vec<u8>>,
    /// HELO: its name for itself.
    pub helo: Told<Vec<u8>>,
    /// LOGIN: its login name.
    pub login: Told<Vec<u8>>,
    /// DESTADDR: the address it connected to.
    pub destination: Told<IpAddr>,
    /// DESTPORT: the port it connected to.
    pub destination_port: Told<u16>,
}

/// An attribute of an unknown name, too long, or with a bad value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attribute that cannot be read")]
pub struct BadAttribute;

impl<T> Told<T> {
    /// The value, if known.
    #[must_use]
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

impl ClientInfo {
    /// Reads the attributes of an XCLIENT line without its CRLF; the others stay as they were.
    ///
    /// # Errors
    /// No attribute, or one that cannot be read: then all stay as they were.
    pub fn read_xclient(&mut self, line: &[u8]) -> Result<(), BadAttribute> {
        let mut read = self.clone();
        let mut words = line
            .split(|b| matches!(b, b' ' | b'\t'))
            .filter(|word| !word.is_empty())
            .skip(1)
            .peekable();
        words.peek().ok_or(BadAttribute)?;
        for word in words {
            read.take(word).ok_or(BadAttribute)?;
        }
        *self = read;
        Ok(())
    }

    /// Whether any attribute is stated.
    #[must_use]
    pub fn is_told(&self) -> bool {
        *self != Self::default()
    }

    /// XFORWARD lines, without their CRLF, with the attributes that the next hop offers (`offered`: names with blanks
    /// between); `helo` is the client's name if [`helo`](Self::helo) is not stated.
    #[must_use]
    pub fn xforward(&self, offered: &str, helo: &[u8]) -> Vec<Vec<u8>> {
        let text = |told: &Told<Vec<u8>>| told.known().map(|value| xtext(value));
        let helo = match &self.helo {
            Told::Nothing if !helo.is_empty() => Some(xtext(helo)),
            told => text(told),
        };
        let values = [
            ("NAME", text(&self.name)),
            ("ADDR", self.address.known().map(|ip| address_text(*ip))),
            ("PORT", self.port.known().map(u16::to_string)),
            ("PROTO", text(&self.protocol)),
            ("HELO", helo),
            ("SOURCE", Some("REMOTE".to_owned())),
        ];
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let takes = |name: &str| offered.split_ascii_whitespace().any(|o| o.eq_ignore_ascii_case(name));
        for (name, value) in values.into_iter().filter(|(name, _)| takes(name)) {
            let value = value.filter(|v| !v.is_empty() && v.len() <= MAX_VALUE);
            let word = format!(" {name}={}", value.as_deref().unwrap_or("[UNAVAILABLE]"));
            match lines.last_mut() {
                Some(line) if line.len() + word.len() + 2 <= MAX_LINE => line.extend_from_slice(word.as_bytes()),
                _ => lines.push([b"XFORWARD", word.as_bytes()].concat()),
            }
        }
        lines
    }

    fn take(&mut self, word: &[u8]) -> Option<()> {
        let at = memchr::memchr(b'=', word)?;
        let (name, value) = (word.get(..at)?, word.get(at + 1..)?);
        if value.is_empty() || value.len() > MAX_VALUE {
            return None;
        }
        let value = if value.eq_ignore_ascii_case(b"[UNAVAILABLE]") || value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]") {
            None
        } else {
            Some(from_xtext(value))
        };
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("NAME") {
            self.name = told(value, |v| is_name(&v).then_some(v))?;
        } else if is("ADDR") {
            self.address = told(value, |v| address(&v))?;
        } else if is("PORT") {
            self.port = told(value, |v| number(&v))?;
        } else if is("PROTO") {
            self.protocol = told(value, |v| v.iter().all(u8::is_ascii_alphanumeric).then_some(v))?;
        } else if is("HELO") {
            self.helo = told(value, Some)?;
        } else if is("LOGIN") {
            self.login = told(value, Some)?;
        } else if is("DESTADDR") {
            self.destination = told(value, |v| address(&v))?;
        } else if is("DESTPORT") {
            self.destination_port = told(value, |v| number(&v))?;
        } else {
            return None;
        }
        Some(())
    }
}

/// An address as XCLIENT and XFORWARD write it: IPv6 with its tag.
fn address_text(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    }
}

fn told<T>(value: Option<Vec<u8>>, read: impl FnOnce(Vec<u8>) -> Option<T>) -> Option<Told<T>> {
    match value {
        None => Some(Told::Unknown),
        Some(value) => read(value).map(Told::Is),
    }
}

fn is_name(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || !b.is_ascii() || matches!(b, b'.' | b'-' | b'_'))
}

fn number(value: &[u8]) -> Option<u16> {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPV6:") => rest.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Decodes xtext (RFC 3461 section 4). Old servers do not encode: octets that are no code stand for themselves.
fn from_xtext(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, behind @ ..] = rest {
        let code = match behind {
            [a, b, ..] if *first == b'+' => hex(*a).zip(hex(*b)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = part(behind, 2..);
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

fn xtext(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for b in value {
        if b.is_ascii_graphic() && !matches!(b, b'+' | b'=') {
            out.push(char::from(*b));
        } else {
            out.push_str(&format!("+{b:02X}"));
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<ClientInfo, BadAttribute> {
        let mut info = ClientInfo::default();
        info.read_xclient(line.as_bytes()).map(|()| info)
    }

    #[test]
    fn every_attribute_is_read() {
        let info = read(
            "XCLIENT NAME=spike.test addr=IPV6:2001:db8::1 PORT=4711 PROTO=ESMTP HELO=a+2Bb LOGIN=u+40x.test \
             DESTADDR=192.0.2.1 DESTPORT=25",
        );
        let wanted = ClientInfo {
            name: Told::Is(b"spike.test".to_vec()),
            address: Told::Is("2001:db8::1".parse().unwrap()),
            port: Told::Is(4711),
            protocol: Told::Is(b"ESMTP".to_vec()),
            helo: Told::Is(b"a+b".to_vec()),
            login: Told::Is(b"u@x.test".to_vec()),
            destination: Told::Is("192.0.2.1".parse().unwrap()),
            destination_port: Told::Is(25),
        };
        assert_eq!(info, Ok(wanted));
        let unknown = read("XCLIENT NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]").unwrap();
        assert_eq!((unknown.name, unknown.address), (Told::Unknown, Told::Unknown));
        assert_eq!(unknown.port, Told::Nothing);
    }

    #[test]
    fn one_bad_attribute_spoils_the_line() {
        for bad in [
            "XCLIENT",
            "XCLIENT ",
            "XCLIENT NAME",
            "XCLIENT NAME=",
            "XCLIENT FOO=bar",
            "XCLIENT NAME=ok ADDR=nowhere",
            "XCLIENT ADDR=2001:db8::1",
            "XCLIENT ADDR=IPV6:192.0.2.1",
            "XCLIENT PORT=65536",
            "XCLIENT PORT=+1",
            "XCLIENT NAME=a+20b",
            "XCLIENT PROTO=E+0D+0A",
        ] {
            assert_eq!(read(bad), Err(BadAttribute), "{bad}");
        }
        let long = format!("XCLIENT HELO={}", "x".repeat(256));
        assert_eq!(read(&long), Err(BadAttribute));
        let mut info = read("XCLIENT NAME=first.test").unwrap();
        let before = info.clone();
        assert!(info.read_xclient(b"XCLIENT NAME=second.test PORT=x").is_err());
        assert_eq!(info, before);
        info.read_xclient(b"XCLIENT PORT=7").unwrap();
        assert_eq!((info.name, info.port), (before.name, Told::Is(7)));
    }

    #[test]
    fn values_that_were_not_encoded_stand_for_themselves() {
        assert_eq!(read("XCLIENT HELO=a+zb+").unwrap().helo, Told::Is(b"a+zb+".to_vec()));
    }

    #[test]
    fn a_next_hop_is_told_what_it_takes() {
        let info = read("XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=4711 LOGIN=secret").unwrap();
        let lines = info.xforward("NAME ADDR PORT HELO IDENT SOURCE", b"my host+");
        assert_eq!(
            String::from_utf8(lines.concat()).unwrap(),
            "XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=4711 HELO=my+20host+2B SOURCE=REMOTE"
        );
        assert!(info.xforward("", b"x").is_empty());
    }

    proptest! {
        #[test]
        fn what_is_told_on_is_short_lines_that_read_back(
            name in "[a-z.]{1,255}",
            helo in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let info = ClientInfo { name: Told::Is(name.clone().into_bytes()), helo: Told::Is(helo.clone()), ..ClientInfo::default() };
            let lines = info.xforward("NAME ADDR HELO", b"");
            let mut back = ClientInfo::default();
            for line in &lines {
                prop_assert!(line.len() + 2 <= MAX_LINE);
                prop_assert!(line.iter().all(|b| b.is_ascii() && !b.is_ascii_control()));
                prop_assert!(back.read_xclient(line).is_ok());
            }
            prop_assert_eq!(back.name, Told::Is(name.into_bytes()));
            if !helo.is_empty() && xtext(&helo).len() <= MAX_VALUE {
                prop_assert_eq!(back.helo, Told::Is(helo));
            }
        }
    }
}
