//! `[[listener]]`: where mail comes in, and where it goes on.

use std::path::PathBuf;

use ipnet::IpNet;
use strum::{IntoStaticStr, VariantArray};
pub use wire::BareLineEnds;

use super::next_hop::{NextHops, next_hops};
use super::option::{FromSection, Key, Opt, choice, mib, networks, number, one_of, section, text};
use super::tls::{ListenerTls, certificate, listener_tls, private_key, tls_mode};
use super::walk::{Section, Walk, path};
use crate::net::Address;
use link::ascii_domain;

section! {
    /// `[[listener]]`: where mail comes in, and where it goes on.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Listener {
        /// The protocol that clients speak.
        pub protocol: Protocol = choice("protocol"),
        /// The address that mail is taken at.
        pub listen: Address = Opt::new(Key::text("listen", SOCKET), listen),
        /// Permission bits of a unix socket: the users who may connect.
        pub socket_mode: u32 = text("socket_mode", "permission bits in octal such as \"0660\"", mode).or("0660"),
        /// Where mail goes on to; none with milter, where it goes back to the client.
        pub next_hops: NextHops = next_hops().with(direction().key),
        /// Treatment of a CR or LF that stands alone in message data.
        pub bare_line_ends: BareLineEnds = one_of("bare_line_ends", [
            ("refuse", BareLineEnds::Refuse),
            ("normalise", BareLineEnds::Normalise),
        ]).or("refuse"),
        /// Treatment of a message that cannot be rewritten through a fault of ours.
        pub on_error: OnError = choice("on_error").or("tempfail"),
        /// Whether clients can, or must, encrypt.
        pub tls: ListenerTls = Opt::new(tls_mode().key, listener_tls).with(certificate()).with(private_key()),
        /// Peers that begin with a header of the PROXY protocol.
        pub proxy_from: Vec<IpNet> = proxy_from(),
        /// Peers that are offered XFORWARD. Unix sockets always are.
        pub xforward_from: Vec<IpNet> = networks("xforward_from").or(["127.0.0.0/8", "::1/128"]),
        /// Peers that may speak for other clients with XCLIENT. It changes who a client is taken for: nobody by default.
        pub xclient_from: Vec<IpNet> = networks("xclient_from"),
        /// Sessions at a time; more wait to be accepted.
        pub max_connections: usize = number("max_connections", 1..=65_536, "connections", 200),
        /// Sessions of one client at a time; 0 is no limit.
        pub max_connections_per_client: usize = number("max_connections_per_client", 0..=65_536, "connections", 0),
        /// Recipients of one transaction. RFC 5321, 4.5.3.1.8, asks for at least 100; Postfix takes 1000.
        pub max_recipients: usize = number("max_recipients", 1..=100_000, "recipients", 1_000),
        /// Octets of the largest message taken; the smaller of this and the next hop's SIZE is offered.
        pub max_message: u64 = mib("max_message_mib", 1..=4_096, 100),
        /// How often a message may come through this listener.
        pub max_passes: usize = number("max_passes", 1..=50, "passes", 5),
        /// The name in our greeting and in our EHLO.
        pub hostname: String = text("hostname", "a host name such as \"mail.example.com\"", ascii_domain)
            .or_else("the machine's host name", |_| machine_name()),
    }
}

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply, and a copy, for each recipient.
    Lmtp,
    /// The protocol of Sendmail's libmilter, which Postfix speaks as well.
    Milter,
}

/// Treatment of a message when linkgate itself fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum OnError {
    /// 451: the client tries again.
    #[default]
    Tempfail,
    /// The message goes on as it came.
    Pass,
}

const SOCKET: &str = "an address and port such as \"127.0.0.1:10025\", or \"unix:\" and the path of a socket such as \"unix:/run/linkgate/lmtp.sock\"";

/// The listeners that the file describes soundly.
pub(super) fn listeners(w: &Walk<'_>) -> Vec<Listener> {
    w.require_sections("listener");
    let sections = w.sections("listener");
    let read = |s: &Section<'_>| {
        if is_milter(w, s) {
            refuse_what_milter_lacks(w, s);
        }
        // Links are wrapped, which is the only direction there is.
        direction().read(w, s);
        Listener::read(w, s)
    };
    sections.iter().filter_map(read).collect()
}

/// Whether a section has `protocol = "milter"`.
pub(super) fn is_milter<'t>(w: &Walk<'t>, s: &Section<'t>) -> bool {
    w.given(s, "protocol") == Some(Protocol::Milter.into())
}

fn listen<'t>(w: &Walk<'t>, s: &Section<'t>, key: &Key) -> Option<Address> {
    let item = w.parsed(s, key, address)?;
    w.addresses.borrow_mut().add_own(&item, item.value.clone());
    Some(item.value)
}

fn direction() -> Opt<()> {
    let direction = one_of("direction", [("inbound", ())]).or("inbound");
    direction.not_yet(|word| word == "outbound")
}

fn proxy_from() -> Opt<Vec<IpNet>> {
    let plain = networks("proxy_from");
    Opt::new(plain.key.clone(), move |w, s, key| {
        let networks = plain.read(w, s)?;
        let listen = w.given(s, "listen").and_then(address);
        if matches!(listen, Some(Address::Unix(_))) && !networks.is_empty() {
            let what =
                "found it beside a unix socket, allowed: where listen is an address; peers of a unix socket have none";
            w.fault(s.at, format!("{}.{}", s.shown, key.name), what);
        }
        Some(networks)
    })
}

/// Refuses keys of SMTP, which would be read and never used.
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
    if tls_mode().read(w, s).is_some_and(|mode| mode.is_some()) {
        w.refuse_key(s, "tls", &format!("\"off\" with protocol = \"milter\", where {PLAIN}"));
    }
}

pub(super) fn address(s: &str) -> Option<Address> {
    match s.strip_prefix("unix:") {
        Some(socket) => socket_path(socket).map(Address::Unix),
        None => s.parse().ok().map(Address::Tcp),
    }
}

/// Unix: an address has 108 octets, the last of which is NUL.
const MAX_SOCKET_PATH: usize = 107;

pub(super) fn socket_path(s: &str) -> Option<PathBuf> {
    path(s).filter(|p| s.starts_with('/') && p.as_os_str().len() <= MAX_SOCKET_PATH)
}

/// Permission bits in octal.
fn mode(s: &str) -> Option<u32> {
    let digits = (3..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| u32::from_str_radix(s, 8).ok())?.filter(|m| *m <= 0o777)
}

/// The machine's own name for itself; `localhost` when that is no host name.
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
    fn permission_bits() {
        assert_eq!((mode("0660"), mode("666")), (Some(0o660), Some(0o666)));
        for bad in ["660 ", "0888", "66", "+660", "7777", ""] {
            assert_eq!(mode(bad), None, "{bad}");
        }
    }
}
