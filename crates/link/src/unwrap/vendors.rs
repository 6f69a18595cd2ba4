//! The wrappers of other vendors: their hosts and shapes, and the targets in them.
//!
//! Shapes are facts about public services, taken from links in mail.

use std::borrow::Cow;
use std::sync::LazyLock;

use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};
use url::{Host, Position, Url};

use super::{Opaque, Wrapper, proofpoint};
use crate::click_link;
use crate::escapes::{base64_decoded, hidden_target, is_web, percent_decoded, tail, value, web_target};
use crate::redirectors::{Words, is_host, last_labels};
use crate::target::Target;
use crate::token;

/// A service that wraps the links of mail.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumMessage, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Vendor {
    /// Microsoft Defender Safe Links.
    #[strum(message = "Microsoft Safe Links")]
    Microsoft,
    /// Proofpoint URL Defense, versions 1 to 3.
    #[strum(message = "Proofpoint URL Defense")]
    Proofpoint,
    /// Mimecast; opaque, but for the host.
    #[strum(message = "Mimecast")]
    Mimecast,
    /// Barracuda Link Protection.
    #[strum(message = "Barracuda Link Protection")]
    Barracuda,
    /// Cisco Secure Email.
    #[strum(message = "Cisco Secure Email")]
    Cisco,
    /// Sophos Central.
    #[strum(message = "Sophos Email")]
    Sophos,
    /// FortiMail; on its users' hosts.
    #[strum(message = "FortiMail")]
    Fortinet,
    /// Hornetsecurity.
    #[strum(message = "Hornetsecurity")]
    Hornetsecurity,
    /// Libraesva URLSand.
    #[strum(message = "Libraesva")]
    Libraesva,
    /// LinkScan; opaque.
    #[strum(serialize = "linkscan", message = "LinkScan")]
    LinkScan,
    /// Darktrace; opaque.
    #[strum(message = "Darktrace")]
    Darktrace,
    /// Intermedia LinkSafe; opaque.
    #[strum(message = "Intermedia LinkSafe")]
    Intermedia,
    /// Check Point Harmony Email, formerly Avanan.
    #[strum(message = "Check Point")]
    CheckPoint,
    /// Trend Micro.
    #[strum(message = "Trend Micro")]
    TrendMicro,
    /// Trellix, formerly FireEye.
    #[strum(message = "Trellix")]
    Trellix,
    /// Symantec Click-time Protection.
    #[strum(message = "Symantec")]
    Symantec,
    /// Trustwave MailMarshal.
    #[strum(message = "Trustwave")]
    Trustwave,
    /// Vade Secure.
    #[strum(message = "Vade")]
    Vade,
    /// TitanHQ Link Lock.
    #[strum(serialize = "titanhq", message = "TitanHQ Link Lock")]
    TitanHq,
    /// AppRiver, EdgePilot.
    #[strum(serialize = "appriver", message = "AppRiver EdgePilot")]
    AppRiver,
    /// Hermes Link Guard; on its users' hosts, partly opaque.
    #[strum(message = "Hermes Link Guard")]
    Hermes,
    /// Another installation of ours, or a click link of ours whose key is gone; opaque.
    #[strum(message = "linkgate")]
    Linkgate,
    /// Postal, which counts clicks and does not protect; on its users' hosts, opaque.
    #[strum(message = "Postal")]
    Postal,
}

impl Vendor {
    /// The product's name, as readers know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.get_message().unwrap_or_default()
    }

    /// Whether it wraps links of received mail for protection, and not links of sent mail to count clicks.
    #[must_use]
    pub fn protects(self) -> bool {
        self != Self::Postal
    }
}

/// Reads a wrapper of another vendor; `None` when it is none. One without an http or https URL inside is opaque.
pub(super) fn read(target: &Target) -> Option<Result<(Wrapper, Target), Opaque>> {
    let url = target.url();
    let Some(Host::Domain(host)) = url.host() else {
        return None;
    };
    let link = Link {
        host: host.trim_end_matches('.'),
        path: url.path(),
        query: mended(url.query().unwrap_or_default()),
        url,
    };
    FORMS.iter().find_map(|form| {
        let stands = match form.host {
            At::Host(name) => url.port().is_none() && is_host(link.host, name),
            At::Ending(end) => url.port().is_none() && link.host.len() > end.len() && link.host.ends_with(end),
            At::Anywhere => true,
        };
        if !stands || !form.paths.iter().any(|path| link.path.starts_with(path)) {
            return None;
        }
        let by_path = form.host == At::Anywhere;
        match (form.read)(&link)? {
            Reading::Opaque(host) => Some(Err(Opaque {
                vendor: form.vendor,
                host,
            })),
            Reading::Text { text, recipient, shown } => Some(match web_target(unquoted(&text)) {
                Some(inside) => {
                    let shown_host = shown.filter(|shown| !agrees(shown, inside.host()));
                    let wrapper = Wrapper {
                        vendor: form.vendor,
                        by_path,
                        recipient,
                        shown_host,
                    };
                    Ok((wrapper, inside))
                }
                None => Err(Opaque {
                    vendor: form.vendor,
                    host: None,
                }),
            }),
        }
    })
}

/// Whether vendors' wrappers stand on a host without final dot.
pub(crate) fn is_vendors_host(host: &str) -> bool {
    /// The last two labels of each host that has forms.
    static ENDS: LazyLock<Words> = LazyLock::new(|| {
        FORMS
            .iter()
            .filter_map(|form| match form.host {
                At::Host(name) => Some(last_labels(name)),
                At::Ending(_) | At::Anywhere => None,
            })
            .collect()
    });
    let may_be = ENDS.contains(last_labels(host));
    FORMS.iter().any(|form| match form.host {
        At::Host(name) => may_be && is_host(host, name),
        At::Ending(end) => host.ends_with(end),
        At::Anywhere => false,
    })
}

/// Whether a link may be one of the wrappers on users' hosts.
pub(crate) fn stands_anywhere(target: &Target) -> bool {
    let url = target.url();
    let link = Link {
        host: target.host().trim_end_matches('.'),
        path: url.path(),
        query: Cow::Borrowed(url.query().unwrap_or_default()),
        url,
    };
    let anywhere = FORMS.iter().filter(|form| form.host == At::Anywhere);
    anywhere.into_iter().any(|form| match form.paths {
        // Known by the path alone.
        ["/"] => (form.read)(&link).is_some(),
        paths => paths.iter().any(|path| link.path.starts_with(path)),
    })
}

/// A vendor's links: their place, and the function that reads them.
struct Form {
    vendor: Vendor,
    host: At,
    /// The front of the path.
    paths: &'static [&'static str],
    /// Reads a link; `None` when its shape does not fit.
    read: fn(&Link<'_>) -> Option<Reading>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// On this host, or below it.
    Host(&'static str),
    /// On a host whose name ends so, which is not at a dot.
    Ending(&'static str),
    /// On any host.
    Anywhere,
}

/// A link to be read.
struct Link<'u> {
    url: &'u Url,
    host: &'u str,
    path: &'u str,
    /// The query, mended after faults of copying.
    query: Cow<'u, str>,
}

/// The content of a wrapper.
enum Reading {
    /// Unreadable, perhaps with the target's host.
    Opaque(Option<String>),
    /// The target, not yet parsed.
    Text {
        text: String,
        recipient: Option<String>,
        shown: Option<String>,
    },
}

const fn form(
    vendor: Vendor,
    host: At,
    paths: &'static [&'static str],
    read: fn(&Link<'_>) -> Option<Reading>,
) -> Form {
    Form {
        vendor,
        host,
        paths,
        read,
    }
}

const FORMS: &[Form] = &[
    form(
        Vendor::Microsoft,
        At::Host("safelinks.protection.outlook.com"),
        &["/"],
        safe_links,
    ),
    form(
        Vendor::Microsoft,
        At::Host("safelinks.protection.office365.us"),
        &["/"],
        safe_links,
    ),
    form(
        Vendor::Microsoft,
        At::Host("safelinks.protection.partner.outlook.cn"),
        &["/"],
        safe_links,
    ),
    form(
        Vendor::Microsoft,
        At::Host("statics.teams.cdn.office.net"),
        &["/"],
        |l| l.path.ends_with("/atp-safelinks.html").then(|| safe_links(l)).flatten(),
    ),
    form(
        Vendor::Proofpoint,
        At::Host("urldefense.proofpoint.com"),
        &["/v1/url"],
        |l| value(&l.query, "u").map(|u| plain(proofpoint::version_1(u))),
    ),
    form(
        Vendor::Proofpoint,
        At::Host("urldefense.proofpoint.com"),
        &["/v2/url"],
        |l| value(&l.query, "u").map(|u| plain(proofpoint::version_2(u))),
    ),
    form(
        Vendor::Proofpoint,
        At::Host("urldefense.com"),
        &["/v3/__"],
        proofpoint_3,
    ),
    form(Vendor::Proofpoint, At::Host("urldefense.us"), &["/v3/__"], proofpoint_3),
    form(
        Vendor::Proofpoint,
        At::Host("urldefense.proofpoint.com"),
        &["/v3/__"],
        proofpoint_3,
    ),
    form(Vendor::Mimecast, At::Host("mimecast.com"), &["/s/", "/r/"], |l| {
        l.host.starts_with("protect-").then(|| mimecast(l)).flatten()
    }),
    form(
        Vendor::Mimecast,
        At::Host("mimecastprotect.com"),
        &["/s/", "/r/"],
        mimecast,
    ),
    form(
        Vendor::Barracuda,
        At::Host("linkprotect.cudasvc.com"),
        &["/url"],
        barracuda,
    ),
    form(Vendor::Cisco, At::Host("secure-web.cisco.com"), &["/1"], cisco),
    form(Vendor::Sophos, At::Host("protection.sophos.com"), &["/"], sophos),
    form(Vendor::Fortinet, At::Anywhere, &["/fmlurlsvc"], fortimail),
    form(
        Vendor::Hornetsecurity,
        At::Host("atpscan.global.hornetsecurity.com"),
        &["/"],
        u,
    ),
    form(
        Vendor::Hornetsecurity,
        At::Host("seclinks.cloud-security.net"),
        &["/"],
        secure_links,
    ),
    form(Vendor::Libraesva, At::Host("urlsand.esvalabs.com"), &["/"], u),
    form(Vendor::LinkScan, At::Host("linkscan.io"), &["/scan/ux/"], opaque),
    form(Vendor::Darktrace, At::Host("antigena.com"), &["/l/"], opaque),
    form(Vendor::Intermedia, At::Host("url.emailprotection.link"), &["/"], |l| {
        l.query.starts_with('b').then_some(Reading::Opaque(None))
    }),
    form(
        Vendor::CheckPoint,
        At::Host("protect.checkpoint.com"),
        &["/v2/"],
        check_point,
    ),
    form(Vendor::CheckPoint, At::Host("url.avanan.click"), &["/v2/"], check_point),
    form(
        Vendor::TrendMicro,
        At::Ending("-ctp.trendmicro.com"),
        &["/wis/clicktime/"],
        url_value,
    ),
    form(
        Vendor::TrendMicro,
        At::Host("ctp.trendmicro.com"),
        &["/wis/clicktime/"],
        url_value,
    ),
    form(Vendor::Trellix, At::Host("fireeye.com"), &["/v1/url", "/url"], |l| {
        l.host.starts_with("protect").then(|| u(l)).flatten()
    }),
    form(Vendor::Symantec, At::Host("clicktime.symantec.com"), &["/"], u),
    form(Vendor::Trustwave, At::Host("scanmail.trustwave.com"), &["/"], u),
    form(Vendor::Vade, At::Host("vadesecure.com"), &["/v", "/safeproxy/v"], u),
    form(
        Vendor::TitanHq,
        At::Host("linklock.titanhq.com"),
        &["/analyse"],
        url_value,
    ),
    form(Vendor::AppRiver, At::Host("link.edgepilot.com"), &["/s/", "/x/"], u),
    form(Vendor::Hermes, At::Anywhere, &["/lg/"], hermes),
    form(Vendor::Linkgate, At::Anywhere, &["/"], linkgate),
    form(Vendor::Postal, At::Anywhere, &["/"], postal),
];

fn plain(text: String) -> Reading {
    Reading::Text {
        text,
        recipient: None,
        shown: None,
    }
}

/// A value, percent-decoded once like on the vendor's server.
fn decoded(value: &str) -> String {
    percent_decoded(unquoted(value)).into_owned()
}

fn opaque(_: &Link<'_>) -> Option<Reading> {
    Some(Reading::Opaque(None))
}

fn url_value(link: &Link<'_>) -> Option<Reading> {
    value(&link.query, "url").map(|v| plain(decoded(v)))
}

/// `u=`, the last value: percent-encoded, or as it is with a query of its own.
fn u(link: &Link<'_>) -> Option<Reading> {
    let rest = unquoted(tail(&link.query, "u")?);
    if is_web(rest) {
        return Some(plain(with_fragment(link, rest)));
    }
    value(&link.query, "u").map(|v| plain(decoded(v)))
}

/// A raw target takes its fragment from the link.
fn with_fragment(link: &Link<'_>, text: &str) -> String {
    match link.url.fragment() {
        Some(fragment) => format!("{text}#{fragment}"),
        None => text.to_owned(),
    }
}

fn safe_links(link: &Link<'_>) -> Option<Reading> {
    let text = decoded(value(&link.query, "url")?);
    let recipient = value(&link.query, "data").and_then(|data| {
        percent_decoded(data)
            .split('|')
            .nth(2)
            .filter(|r| r.contains('@') && r.len() <= 320)
            .map(str::to_owned)
    });
    Some(Reading::Text {
        text,
        recipient,
        shown: None,
    })
}

fn proofpoint_3(link: &Link<'_>) -> Option<Reading> {
    let text = after_origin(link).strip_prefix("/v3/__")?;
    Some(proofpoint::version_3(text).map_or(Reading::Opaque(None), plain))
}

fn mimecast(link: &Link<'_>) -> Option<Reading> {
    let host = value(&link.query, "domain")
        .and_then(|v| Target::parse(&format!("http://{}/", percent_decoded(v))).ok())
        .map(|t| t.host().to_owned());
    Some(Reading::Opaque(host))
}

/// Old ones are not encoded, and go on until Barracuda's own values.
fn barracuda(link: &Link<'_>) -> Option<Reading> {
    let rest = unquoted(tail(&link.query, "a")?);
    if is_web(rest) {
        let end = rest.rfind("&c=E,").or_else(|| rest.rfind("&amp;c=E,"));
        return Some(plain(rest.get(..end.unwrap_or(rest.len()))?.to_owned()));
    }
    value(&link.query, "a").map(|v| plain(decoded(v)))
}

/// Everything behind the second slash of the path: parts of the target may follow unescaped.
fn cisco(link: &Link<'_>) -> Option<Reading> {
    let (_, rest) = after_origin(link).strip_prefix('/')?.split_once('/')?;
    Some(plain(percent_decoded(rest).into_owned()))
}

fn sophos(link: &Link<'_>) -> Option<Reading> {
    let octets = base64_decoded(&percent_decoded(value(&link.query, "u")?));
    let Some(text) = octets.and_then(|o| String::from_utf8(o).ok()) else {
        return Some(Reading::Opaque(None));
    };
    Some(Reading::Text {
        text,
        recipient: None,
        shown: value(&link.query, "d").map(|d| percent_decoded(d).to_ascii_lowercase()),
    })
}

fn fortimail(link: &Link<'_>) -> Option<Reading> {
    let request = percent_decoded(value(&link.query, "fewReq")?);
    (matches!(link.path, "/fmlurlsvc" | "/fmlurlsvc/") && request.starts_with(":B:"))
        .then(|| url_value(link))
        .flatten()
}

/// The original stands last; otherwise the wrapper is opaque.
fn secure_links(link: &Link<'_>) -> Option<Reading> {
    let text = after_origin(link);
    if text.len() < 2 {
        return None;
    }
    let inside = ["/http:", "/https:", "/http%3", "/https%3"]
        .iter()
        .filter_map(|front| text.find(front))
        .min()
        .and_then(|at| text.get(at + 1..))
        .and_then(hidden_target);
    Some(match inside {
        Some(inside) => plain(inside.as_str().to_owned()),
        None => Reading::Opaque(None),
    })
}

fn check_point(link: &Link<'_>) -> Option<Reading> {
    let (_, rest) = after_origin(link).split_once("___")?;
    Some(match rest.rsplit_once("___.") {
        Some((inside, _)) => plain(inside.to_owned()),
        None => Reading::Opaque(None),
    })
}

/// Version 1 carries the target somewhere between dots, version 2 only an id.
fn hermes(link: &Link<'_>) -> Option<Reading> {
    if link.path != "/lg/" {
        return None;
    }
    let token = percent_decoded(value(&link.query, "t")?);
    let rest = token.strip_prefix("1.").or_else(|| token.strip_prefix("2."))?;
    let inside = token
        .starts_with('1')
        .then(|| rest.split('.').find_map(hidden_target))
        .flatten();
    Some(match inside {
        Some(inside) => plain(inside.as_str().to_owned()),
        None => Reading::Opaque(None),
    })
}

/// A path that ends with `/c/`, perhaps a host, and what reads as a token to its last character.
fn linkgate(link: &Link<'_>) -> Option<Reading> {
    let mark = memchr::memmem::rfind(link.path.as_bytes(), b"/c/")?;
    let rest = link.path.get(mark + 3..).filter(|rest| rest.len() >= token::SHORTEST)?;
    let parts = click_link::pieces(rest)?;
    (token::extent(parts.token)? == parts.token.len()).then(|| Reading::Opaque(parts.host.map(str::to_owned)))
}

/// `/<token of the server>/<16 characters>` on a host for tracking; the shape is narrow, as there is no other sign.
fn postal(link: &Link<'_>) -> Option<Reading> {
    let (server, id) = link.path.strip_prefix('/')?.split_once('/')?;
    let front = link.host.split('.').next()?;
    let digit_or = |other: fn(&u8) -> bool| move |b: &u8| b.is_ascii_digit() || other(b);
    let mixed = id.bytes().any(|b| b.is_ascii_uppercase()) && id.bytes().any(|b| b.is_ascii_lowercase());
    (matches!(front, "track" | "click" | "clicks" | "postal" | "psrp")
        && (6..=8).contains(&server.len())
        && server.as_bytes().iter().all(digit_or(u8::is_ascii_lowercase))
        && id.len() == 16
        && id.as_bytes().iter().all(digit_or(u8::is_ascii_alphabetic))
        && mixed
        && link.query.is_empty())
    .then_some(Reading::Opaque(None))
}

/// Path, query and fragment.
fn after_origin<'u>(link: &Link<'u>) -> &'u str {
    &link.url[Position::BeforePath..]
}

/// A query in which every `=` has become `=3D`, as in the source of a mail.
fn mended(query: &str) -> Cow<'_, str> {
    let signs = query.matches('=').count();
    if signs > 0 && query.matches("=3D").count() == signs {
        Cow::Owned(query.replace("=3D", "="))
    } else {
        Cow::Borrowed(query)
    }
}

/// A value without the `3D` of a single `=3D`.
fn unquoted(text: &str) -> &str {
    text.strip_prefix("3D")
        .filter(|rest| rest.starts_with("http"))
        .unwrap_or(text)
}

/// Whether a shown host is the target's, or a part of it.
fn agrees(shown: &str, host: &str) -> bool {
    let shown = shown.trim_end_matches('.');
    let shown = Target::parse(&format!("http://{shown}/")).map_or_else(|_| shown.to_owned(), |t| t.host().to_owned());
    is_host(host, &shown) || is_host(&shown, host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Word;

    #[test]
    fn words_are_found_again() {
        for vendor in Vendor::VARIANTS {
            let word = vendor.as_str();
            assert_eq!(word.parse(), Ok(*vendor));
            assert!(!vendor.name().is_empty(), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{word}");
        }
        assert!("Microsoft".parse::<Vendor>().is_err());
    }

    #[test]
    fn a_shown_host_may_be_a_part_of_the_real_one() {
        for (shown, host, want) in [
            ("shop.example", "www.shop.example", true),
            ("www.shop.example", "shop.example", true),
            ("SHOP.example.", "shop.example", true),
            ("b\u{fc}cher.example", "xn--bcher-kva.example", true),
            ("shop.example", "bishop.example", false),
            ("shop.example", "shop.example.evil.example", false),
            ("", "shop.example", false),
        ] {
            assert_eq!(agrees(shown, host), want, "{shown} {host}");
        }
    }
}
