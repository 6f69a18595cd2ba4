//! Signs that a link is suspicious, as far as its text alone can tell.
//!
//! They are coarse on purpose: `rewrite = "suspicious"` keeps what shows none of them, so a sign that is missed leaves a
//! link unprotected, while one too many costs nothing but a click link.

use url::Host;

use crate::target::Target;

/// A sign that a link is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign {
    /// The host is an IP address.
    IpAddress,
    /// There is a user name or password in front of the host.
    UserInfo,
    /// A label of the host stands for other characters than ASCII ones (`xn--`).
    Punycode,
    /// The port is not the usual one.
    OddPort,
    /// The host has more than five labels.
    ManyLabels,
    /// A label in front of the registered domain looks like the end of another: `bank.com.evil.example`.
    EmbeddedDomain,
    /// Without encryption to a page that is about signing in or paying.
    PlainLogin,
}

impl Sign {
    /// A stable word for reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpAddress => "ip-address",
            Self::UserInfo => "user-info",
            Self::Punycode => "punycode",
            Self::OddPort => "odd-port",
            Self::ManyLabels => "many-labels",
            Self::EmbeddedDomain => "embedded-domain",
            Self::PlainLogin => "plain-login",
        }
    }
}

/// The signs that `target` shows.
pub(super) fn of(target: &Target) -> impl Iterator<Item = Sign> {
    TABLE.iter().filter(|(_, shows)| shows(target)).map(|(sign, _)| *sign)
}

type Test = fn(&Target) -> bool;

const TABLE: [(Sign, Test); 7] = [
    (Sign::IpAddress, |t| !matches!(t.url().host(), Some(Host::Domain(_)))),
    (Sign::UserInfo, |t| {
        !t.url().username().is_empty() || t.url().password().is_some()
    }),
    (Sign::Punycode, |t| labels(t).any(|l| l.starts_with("xn--"))),
    // The parser leaves out a port that is the usual one of the scheme.
    (Sign::OddPort, |t| t.url().port().is_some()),
    (Sign::ManyLabels, |t| labels(t).count() > MAX_LABELS),
    (Sign::EmbeddedDomain, |t| {
        in_front_of_domain(t).is_some_and(|f| f.split('.').skip(1).any(|l| ENDS.contains(&l)))
    }),
    (Sign::PlainLogin, |t| {
        t.scheme() != "https" && words(t).any(|w| LOGIN.iter().any(|l| w.eq_ignore_ascii_case(l)))
    }),
];

const MAX_LABELS: usize = 5;

/// Ends of domains that are copied in front of others.
const ENDS: [&str; 7] = ["com", "net", "org", "gov", "edu", "de", "uk"];

/// Words of pages that ask for secrets.
const LOGIN: [&str; 12] = [
    "account", "auth", "banking", "invoice", "login", "logon", "password", "payment", "signin", "verify", "wallet",
    "webmail",
];

fn labels(target: &Target) -> impl Iterator<Item = &str> {
    let name = if let Some(Host::Domain(name)) = target.url().host() {
        name
    } else {
        ""
    };
    name.trim_end_matches('.').split('.')
}

fn in_front_of_domain(target: &Target) -> Option<&str> {
    let Some(Host::Domain(name)) = target.url().host() else {
        return None;
    };
    let name = name.trim_end_matches('.');
    let domain = psl::domain_str(name)?;
    name.strip_suffix(domain)?.strip_suffix('.')
}

fn words(target: &Target) -> impl Iterator<Item = &str> {
    target
        .host()
        .split(not_a_letter)
        .chain(target.url().path().split(not_a_letter))
}

fn not_a_letter(c: char) -> bool {
    !c.is_ascii_alphabetic()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_has_its_text() {
        for (url, want) in [
            ("https://www.a.example/login", &[][..]),
            ("https://mail.google.com/", &[]),
            ("https://www.bbc.co.uk/news", &[]),
            ("http://a.example/blogging", &[]),
            ("https://192.0.2.1/", &[Sign::IpAddress]),
            ("https://[2001:db8::1]/", &[Sign::IpAddress]),
            ("https://bank.example@a.example/", &[Sign::UserInfo]),
            ("https://:x@a.example/", &[Sign::UserInfo]),
            ("https://b\u{fc}cher.example/", &[Sign::Punycode]),
            ("https://a.example:8443/", &[Sign::OddPort]),
            ("https://a.b.c.d.e.example/", &[Sign::ManyLabels]),
            ("https://a.b.c.d.e.example./", &[Sign::ManyLabels]),
            ("https://bank.com.evil.example/", &[Sign::EmbeddedDomain]),
            ("https://com.evil.example/", &[]),
            ("http://a.example/Sign-in/LOGIN.php", &[Sign::PlainLogin]),
            ("ftp://webmail.a.example/", &[Sign::PlainLogin]),
        ] {
            let found: Vec<_> = of(&Target::parse(url).unwrap()).collect();
            assert_eq!(found, want, "{url}");
        }
    }
}
