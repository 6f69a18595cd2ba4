//! TLS keys of `[[listener]]`: towards clients, and towards next hops.

use std::net::IpAddr;

use super::build::path;
use super::keys::{CERTIFICATE, PRIVATE_KEY, ROOTS};
use super::walk::{Item, Section, Walk};
use crate::config::{ListenerTls, NextHop};
use crate::net::Endpoint;
use crate::net::tls::{BadIdentity, Identity, NextHopTls, Trust};

/// What an identity is used for.
type Mode = fn(Identity) -> ListenerTls;

/// `tls`, `tls_certificate`, `tls_key`: off, or an identity that works.
pub(super) fn listener_tls<'t>(w: &Walk<'t>, s: &Section<'t>) -> Option<ListenerTls> {
    let modes: [(&str, Option<Mode>); 3] = [
        ("off", None),
        ("starttls", Some(ListenerTls::StartTls)),
        ("implicit", Some(ListenerTls::Implicit)),
    ];
    let mode = w.choice_among(s, "tls", &modes)?;
    let file = |name, allowed| {
        let given = w.says(s, name);
        let file = if given { w.parsed(s, name, path) } else { None };
        match (&file, mode) {
            (None, Some(_)) if !given => {
                w.fault(
                    s.at,
                    format!("{}.{name}", s.shown),
                    format!("found nothing, allowed: {allowed}"),
                );
            }
            // Who says "off" may keep the files for later; who says nothing has forgotten something.
            (Some(file), None) if !w.says(s, "tls") => {
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
    let (certificate, key) = (file("tls_certificate", CERTIFICATE), file("tls_key", PRIVATE_KEY));
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

/// Settles how each next hop is encrypted, and reads what their certificates are judged by.
pub(super) fn next_hop_tls<'t>(w: &Walk<'t>, s: &Section<'t>, hops: &mut [Item<NextHop>]) -> Option<Option<Trust>> {
    let said = if w.says(s, "next_hop_tls") {
        Some(w.choice(s, "next_hop_tls")?)
    } else {
        None
    };
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
            // Whoever listens on the way learns nothing, and a next hop that has no TLS, or a certificate of its own making,
            // goes on working as before.
            _ => NextHopTls::Opportunistic,
        };
    }
    let ca = if w.says(s, "next_hop_ca") {
        Some(w.parsed(s, "next_hop_ca", path)?)
    } else {
        None
    };
    if !sound {
        return None;
    }
    let verified = hops.iter().any(|h| h.value.tls == NextHopTls::Verify);
    let key = || format!("{}.next_hop_ca", s.shown);
    let trust = match &ca {
        // Who says "off" or "opportunistic" may keep the file for later; who says nothing has forgotten something.
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
