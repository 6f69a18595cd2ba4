//! TLS keys of `[[listener]]`: towards clients, and towards next hops.

use std::net::IpAddr;

use super::listener::is_milter;
use super::next_hop::NextHop;
use super::option::{Fallback, Key, Opt, one_of};
use super::walk::{Item, Section, Walk, path};
use crate::net::Endpoint;
use crate::net::tls::{BadIdentity, Identity, NextHopTls, Trust};

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
    /// The identity by which the listener proves itself.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Off => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}

const CERTIFICATE: &str = "the path of a PEM file with the certificate, and behind it those of its issuers";
const PRIVATE_KEY: &str = "the path of a PEM file with the private key of tls_certificate, not encrypted";
/// The form of a file of authorities, in words.
pub(super) const ROOTS: &str = "the path of a PEM file with the certificates of authorities";

/// The use of an identity.
type Mode = fn(Identity) -> ListenerTls;

/// `tls`
pub(super) fn tls_mode() -> Opt<Option<Mode>> {
    let modes: [(_, Option<Mode>); 3] = [
        ("off", None),
        ("starttls", Some(ListenerTls::StartTls)),
        ("implicit", Some(ListenerTls::Implicit)),
    ];
    one_of("tls", modes).or("off")
}

/// `tls_certificate`
pub(super) fn certificate() -> Key {
    Key::text("tls_certificate", CERTIFICATE).or(Fallback::Machine("none"))
}

/// `tls_key`
pub(super) fn private_key() -> Key {
    Key::text("tls_key", PRIVATE_KEY).or(Fallback::Machine("none"))
}

/// `next_hop_tls`
pub(super) fn next_hop_tls() -> Opt<Option<NextHopTls>> {
    let modes = [
        ("off", NextHopTls::Off),
        ("opportunistic", NextHopTls::Opportunistic),
        ("verify", NextHopTls::Verify),
    ];
    one_of("next_hop_tls", modes).optional(
        "`\"off\"` for loopback and unix sockets, `\"verify\"` for `smtps://`, `\"opportunistic\"` for all others",
    )
}

/// `next_hop_ca`
pub(super) fn next_hop_ca() -> Key {
    Key::text("next_hop_ca", ROOTS).or(Fallback::Machine("those that the system trusts"))
}

/// `tls`, `tls_certificate`, `tls_key`: off, or an identity that works.
pub(super) fn listener_tls<'t>(w: &Walk<'t>, s: &Section<'t>, tls: &Key) -> Option<ListenerTls> {
    if is_milter(w, s) {
        // What is said of it is a fault already.
        return Some(ListenerTls::Off);
    }
    let mode = tls_mode().read(w, s)?;
    let file = |key: Key, allowed| {
        let given = w.says(s, &key);
        let file = if given { w.parsed(s, &key, path) } else { None };
        match (&file, mode) {
            (None, Some(_)) if !given => {
                w.fault(
                    s.at,
                    format!("{}.{}", s.shown, key.name),
                    format!("found nothing, allowed: {allowed}"),
                );
            }
            // With an explicit "off" the files may be kept for later; without it something was forgotten.
            (Some(file), None) if !w.says(s, tls) => {
                let what = format!(
                    "found {:?} although tls is off, allowed: nothing, or tls = \"starttls\" or \"implicit\"",
                    file.value
                );
                w.fault(file.at, &*file.key, what);
            }
            _ => {}
        }
        file
    };
    let (certificate, key) = (file(certificate(), CERTIFICATE), file(private_key(), PRIVATE_KEY));
    let Some(mode) = mode else {
        return Some(ListenerTls::Off);
    };
    let (certificate, key) = (certificate?, key?);
    let (item, why, allowed) = match Identity::load(&certificate.value, &key.value) {
        Ok(identity) => return Some(mode(identity)),
        Err(BadIdentity::Certificate(why)) => (certificate, why, CERTIFICATE),
        Err(BadIdentity::Key(why)) => (key, why, PRIVATE_KEY),
    };
    w.fault(
        item.at,
        &*item.key,
        format!("found {:?} ({why}), allowed: {allowed}", item.value),
    );
    None
}

/// Decides how each next hop is encrypted, and reads what their certificates are judged by.
pub(super) fn tls_of_next_hops<'t>(w: &Walk<'t>, s: &Section<'t>, hops: &mut [Item<NextHop>]) -> Option<Option<Trust>> {
    let said = next_hop_tls().read(w, s)?;
    let mut sound = true;
    for item in &mut *hops {
        let hop = &mut item.value;
        hop.tls = match (&hop.to, said) {
            (Endpoint::Unix(_), Some(NextHopTls::Verify)) => {
                let what = format!(
                    "found \"{hop}\" with next_hop_tls = \"verify\", allowed: next hops with a host, for a socket has no \
                     certificate"
                );
                w.fault(item.at, &*item.key, what);
                sound = false;
                continue;
            }
            (Endpoint::Tcp { .. }, Some(NextHopTls::Off)) if hop.implicit_tls => {
                let what = format!(
                    "found \"{hop}\" with next_hop_tls = \"off\", allowed: \"opportunistic\", \"verify\" with smtps://"
                );
                w.fault(item.at, &*item.key, what);
                sound = false;
                continue;
            }
            (Endpoint::Unix(_), _) => NextHopTls::Off,
            (_, Some(said)) => said,
            _ if hop.implicit_tls => NextHopTls::Verify,
            (Endpoint::Tcp { host, .. }, None) if is_loopback(host) => NextHopTls::Off,
            // Nothing is read on the wire, and a next hop that has no TLS, or a certificate of its own making, goes on working
            // as before.
            _ => NextHopTls::Opportunistic,
        };
    }
    let ca = if w.says(s, &next_hop_ca()) {
        Some(w.parsed(s, &next_hop_ca(), path)?)
    } else {
        None
    };
    if !sound {
        return None;
    }
    let verified = hops.iter().any(|h| h.value.tls == NextHopTls::Verify);
    let key = || format!("{}.next_hop_ca", s.shown);
    let trust = match &ca {
        // With an explicit "off" or "opportunistic" the file may be kept for later; without it something was forgotten.
        Some(item) if !verified && said.is_none() => {
            let what = format!(
                "found {:?} although no next hop is verified, allowed: nothing, or next_hop_tls = \"verify\"",
                item.value
            );
            w.fault(item.at, key(), what);
            return None;
        }
        _ if verified => Trust::load(ca.as_ref().map(|item| &*item.value)),
        _ if hops.iter().any(|h| h.value.may_encrypt()) => Trust::none(),
        _ => return Some(None),
    };
    let fault = |why: String| match &ca {
        Some(item) => w.fault(
            item.at,
            key(),
            format!("found {:?} ({why}), allowed: {ROOTS}", item.value),
        ),
        None => w.fault(s.at, key(), format!("found nothing ({why}), allowed: {ROOTS}")),
    };
    trust.map_err(fault).ok().map(Some)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
