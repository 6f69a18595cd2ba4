//! Query names and codes of DNS lists.
//!
//! Only domains are queried; these lists hold no addresses. A code for a refusal is never a listing.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use link::{Category, Listing, Scope, Weight};

use crate::canonical::{ipv4, registrable};

/// A DNS list, by the meaning of its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsList {
    /// Spamhaus Domain Block List. It answers for hosts, below listed domains too.
    SpamhausDbl,
    /// Spamhaus Zero Reputation Domains: first seen in the last 24 hours.
    SpamhausZrd,
    /// SURBL's combined list, `multi`.
    SurblMulti,
    /// URIBL's combined list, `multi`.
    UriblMulti,
    /// Any other list: each answer from 127.0.0.0/8 that is no code for an error is a listing.
    Other {
        /// The meaning of an answer.
        listing: Listing,
        /// Whether the host is queried, or its registrable domain.
        by_host: bool,
    },
}

/// The answer of a DNS list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// The name is listed, with at least one code.
    Listed(Vec<Code>),
    /// The name is not listed.
    NotListed,
    /// No answer about the name, with the reason. Never the same as [`DnsAnswer::NotListed`].
    Error(Cow<'static, str>),
}

/// The meaning of one code of a DNS list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The listing, for verdicts.
    pub listing: Listing,
    /// The meaning in words.
    pub words: Cow<'static, str>,
}

impl DnsList {
    /// The name to query, with its final dot. `host`: as in [`crate::Canonical::host`]; `zone`: the zone of the list, with
    /// the key where it takes one.
    ///
    /// None for an address, a name that is no domain, and one that gets too long.
    #[must_use]
    pub fn query_name(self, host: &str, zone: &str) -> Option<String> {
        let by_host = match self {
            Self::SpamhausDbl => true,
            Self::SpamhausZrd | Self::SurblMulti | Self::UriblMulti => false,
            Self::Other { by_host, .. } => by_host,
        };
        let domain = registrable(host)?;
        if ipv4(host.as_bytes()).is_some() {
            return None;
        }
        let asked = if by_host { host } else { domain };
        let is_name = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let zone = zone.trim_matches('.');
        let name = format!("{asked}.{zone}.");
        // RFC 1035 section 2.3.4, less the octet of the root.
        (!zone.is_empty() && name.len() <= 254 && asked.split('.').all(is_name)).then_some(name)
    }

    /// Reads the addresses of an answer; none when the name does not exist.
    #[must_use]
    pub fn read(self, answers: &[IpAddr]) -> DnsAnswer {
        let mut codes: Vec<Code> = Vec::new();
        for answer in answers {
            let IpAddr::V4(address) = answer else {
                return error("an answer that is no code: an IPv6 address");
            };
            match self.code(*address) {
                Ok(more) => codes.extend(more),
                Err(why) => return DnsAnswer::Error(why),
            }
        }
        if codes.is_empty() {
            DnsAnswer::NotListed
        } else {
            DnsAnswer::Listed(codes)
        }
    }

    /// The codes of one address, at least one.
    fn code(self, address: Ipv4Addr) -> Result<Vec<Code>, Cow<'static, str>> {
        let refused = match address.octets() {
            [127, 255, 255, 252] => "refused: the zone's name is misspelt",
            [127, 255, 255, 254] => "refused: asked through a public resolver",
            [127, 255, 255, 255] => "refused: too many queries",
            [127, 255, 255, _] => "refused",
            [127, ..] => "",
            _ => return Err(format!("an answer that is no code, {address}: the resolver makes up answers").into()),
        };
        if !refused.is_empty() {
            return Err(refused.into());
        }
        let codes = match (self, address.octets()) {
            (Self::SpamhausDbl, [127, 0, 1, 255]) => return Err("refused: asked about an address".into()),
            (Self::SpamhausDbl, [127, 0, 1, code @ 2..=254]) => vec![dbl(code)],
            (Self::SpamhausZrd, [127, 0, 2, hours @ 2..=24]) => vec![Code {
                listing: listing(Category::NewDomain, Scope::Domain, Weight::Warn),
                words: format!("first seen within the last {hours} hours").into(),
            }],
            (Self::SurblMulti, [127, 0, 0, 1]) => return Err("refused".into()),
            // The two in the middle are reserved, and to be ignored.
            (Self::SurblMulti, [127, _, _, bits]) => by_bits(bits, &SURBL),
            (Self::UriblMulti, [127, 0, 0, bits]) if bits & 1 != 0 => {
                return Err("refused: too many queries, or asked through a public resolver".into());
            }
            (Self::UriblMulti, [127, 0, 0, bits]) => by_bits(bits, &URIBL),
            (Self::Other { .. }, [127, 0, 0, 1]) => return Err("refused".into()),
            (Self::Other { listing, .. }, _) => vec![Code {
                listing,
                words: format!("listed, code {address}").into(),
            }],
            _ => Vec::new(),
        };
        if codes.is_empty() {
            return Err(format!("a code that the list does not have, {address}").into());
        }
        Ok(codes)
    }
}

/// A code of the Domain Block List, by its last octet.
fn dbl(code: u8) -> Code {
    use Category::{Abuse, Botnet, Malware, Phishing, Unspecified};
    use Scope::{Domain, Url};
    use Weight::{Block, Warn};
    let (category, scope, weight, words) = match code {
        2 => (Abuse, Domain, Block, "a domain of low reputation"),
        4 => (Phishing, Domain, Block, "a phishing domain"),
        5 => (Malware, Domain, Block, "a malware domain"),
        6 => (Botnet, Domain, Block, "a domain that commands a botnet"),
        102 => (Abuse, Url, Warn, "a legitimate site, abused for spam"),
        103 => (Abuse, Url, Warn, "a legitimate redirector, abused for spam"),
        104 => (Phishing, Url, Warn, "a legitimate site, abused for phishing"),
        105 => (Malware, Url, Warn, "a legitimate site, abused for malware"),
        106 => (Botnet, Url, Warn, "a legitimate site, abused to command a botnet"),
        100.. => (
            Unspecified,
            Url,
            Warn,
            "a legitimate site, abused in a way that is not known here",
        ),
        _ => (Unspecified, Domain, Warn, "listed for a reason that is not known here"),
    };
    Code {
        listing: listing(category, scope, weight),
        words: words.into(),
    }
}

type Bit = (u8, Category, Scope, Weight, &'static str);

const SURBL: [Bit; 4] = [
    (8, Category::Phishing, Scope::Domain, Weight::Block, "a phishing site"),
    (16, Category::Malware, Scope::Domain, Weight::Block, "a malware site"),
    (
        64,
        Category::Abuse,
        Scope::Domain,
        Weight::Block,
        "a site that spam or abuse leads to",
    ),
    (
        128,
        Category::Abuse,
        Scope::Url,
        Weight::Warn,
        "a legitimate site that was broken into",
    ),
];

const URIBL: [Bit; 3] = [
    (2, Category::Abuse, Scope::Domain, Weight::Block, "a domain of spam"),
    (
        4,
        Category::Abuse,
        Scope::Domain,
        Weight::Warn,
        "a domain of bulk mail that may be unwanted",
    ),
    (
        8,
        Category::Abuse,
        Scope::Domain,
        Weight::Warn,
        "a young domain, or one whose owner hides, that turns up in mail",
    ),
];

fn by_bits(bits: u8, table: &[Bit]) -> Vec<Code> {
    let known: Vec<Code> = table
        .iter()
        .filter(|(bit, ..)| bits & bit != 0)
        .map(|(_, category, scope, weight, words)| Code {
            listing: listing(*category, *scope, *weight),
            words: (*words).into(),
        })
        .collect();
    if known.is_empty() && bits != 0 {
        return vec![Code {
            listing: listing(Category::Unspecified, Scope::Domain, Weight::Warn),
            words: "listed for a reason that is not known here".into(),
        }];
    }
    known
}

fn listing(category: Category, scope: Scope, weight: Weight) -> Listing {
    Listing {
        category,
        scope,
        weight,
    }
}

fn error(why: &'static str) -> DnsAnswer {
    DnsAnswer::Error(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: DnsList, answers: &[[u8; 4]]) -> String {
        let answers: Vec<IpAddr> = answers.iter().map(|a| IpAddr::from(*a)).collect();
        match list.read(&answers) {
            DnsAnswer::Listed(codes) => codes
                .iter()
                .map(|c| format!("{:?} {:?} {:?}", c.listing.category, c.listing.scope, c.listing.weight))
                .collect::<Vec<_>>()
                .join(" + "),
            DnsAnswer::NotListed => "not listed".to_owned(),
            DnsAnswer::Error(why) => why.into_owned(),
        }
    }

    #[test]
    fn every_code() {
        use DnsList::{SpamhausDbl, SpamhausZrd, SurblMulti, UriblMulti};
        let other = DnsList::Other {
            listing: listing(Category::Malware, Scope::Host, Weight::Block),
            by_host: true,
        };
        let table = [
            (SpamhausDbl, [127, 0, 1, 2], "Abuse Domain Block"),
            (SpamhausDbl, [127, 0, 1, 3], "Unspecified Domain Warn"),
            (SpamhausDbl, [127, 0, 1, 4], "Phishing Domain Block"),
            (SpamhausDbl, [127, 0, 1, 5], "Malware Domain Block"),
            (SpamhausDbl, [127, 0, 1, 6], "Botnet Domain Block"),
            (SpamhausDbl, [127, 0, 1, 9], "Unspecified Domain Warn"),
            (SpamhausDbl, [127, 0, 1, 102], "Abuse Url Warn"),
            (SpamhausDbl, [127, 0, 1, 103], "Abuse Url Warn"),
            (SpamhausDbl, [127, 0, 1, 104], "Phishing Url Warn"),
            (SpamhausDbl, [127, 0, 1, 105], "Malware Url Warn"),
            (SpamhausDbl, [127, 0, 1, 106], "Botnet Url Warn"),
            (SpamhausDbl, [127, 0, 1, 107], "Unspecified Url Warn"),
            (SpamhausDbl, [127, 0, 1, 255], "refused: asked about an address"),
            (
                SpamhausDbl,
                [127, 0, 1, 1],
                "a code that the list does not have, 127.0.1.1",
            ),
            (
                SpamhausDbl,
                [127, 0, 0, 2],
                "a code that the list does not have, 127.0.0.2",
            ),
            (
                SpamhausDbl,
                [127, 255, 255, 252],
                "refused: the zone's name is misspelt",
            ),
            (
                SpamhausDbl,
                [127, 255, 255, 254],
                "refused: asked through a public resolver",
            ),
            (SpamhausDbl, [127, 255, 255, 255], "refused: too many queries"),
            (SpamhausZrd, [127, 0, 2, 2], "NewDomain Domain Warn"),
            (SpamhausZrd, [127, 0, 2, 24], "NewDomain Domain Warn"),
            (
                SpamhausZrd,
                [127, 0, 2, 25],
                "a code that the list does not have, 127.0.2.25",
            ),
            (
                SpamhausZrd,
                [127, 255, 255, 254],
                "refused: asked through a public resolver",
            ),
            (SurblMulti, [127, 0, 0, 8], "Phishing Domain Block"),
            (SurblMulti, [127, 3, 1, 8], "Phishing Domain Block"),
            (SurblMulti, [127, 0, 0, 16], "Malware Domain Block"),
            (SurblMulti, [127, 0, 0, 64], "Abuse Domain Block"),
            (SurblMulti, [127, 0, 0, 80], "Malware Domain Block + Abuse Domain Block"),
            (SurblMulti, [127, 0, 0, 128], "Abuse Url Warn"),
            (SurblMulti, [127, 0, 0, 4], "Unspecified Domain Warn"),
            (SurblMulti, [127, 0, 0, 1], "refused"),
            (
                SurblMulti,
                [127, 0, 0, 0],
                "a code that the list does not have, 127.0.0.0",
            ),
            (UriblMulti, [127, 0, 0, 2], "Abuse Domain Block"),
            (UriblMulti, [127, 0, 0, 4], "Abuse Domain Warn"),
            (UriblMulti, [127, 0, 0, 8], "Abuse Domain Warn"),
            (UriblMulti, [127, 0, 0, 10], "Abuse Domain Block + Abuse Domain Warn"),
            (
                UriblMulti,
                [127, 0, 0, 1],
                "refused: too many queries, or asked through a public resolver",
            ),
            (
                UriblMulti,
                [127, 0, 0, 255],
                "refused: too many queries, or asked through a public resolver",
            ),
            (other, [127, 0, 0, 2], "Malware Host Block"),
            (other, [127, 1, 2, 3], "Malware Host Block"),
            (other, [127, 0, 0, 1], "refused"),
            (other, [127, 255, 255, 7], "refused"),
            (
                other,
                [0, 0, 0, 0],
                "an answer that is no code, 0.0.0.0: the resolver makes up answers",
            ),
            (
                SpamhausDbl,
                [192, 0, 2, 1],
                "an answer that is no code, 192.0.2.1: the resolver makes up answers",
            ),
        ];
        for (list, answer, wanted) in table {
            assert_eq!(read(list, &[answer]), wanted, "{list:?} {answer:?}");
        }
        assert_eq!(read(SpamhausDbl, &[]), "not listed");
    }

    #[test]
    fn an_error_among_codes_is_an_error() {
        let answers = [[127, 0, 1, 4], [127, 255, 255, 254]];
        assert_eq!(
            read(DnsList::SpamhausDbl, &answers),
            "refused: asked through a public resolver"
        );
        let v6 = DnsList::SpamhausDbl.read(&["::1".parse().unwrap()]);
        assert!(matches!(v6, DnsAnswer::Error(_)));
    }

    #[test]
    fn names_to_ask_for() {
        let surbl = |host| DnsList::SurblMulti.query_name(host, "multi.surbl.example");
        assert_eq!(
            surbl("a.b.evil.co.uk").as_deref(),
            Some("evil.co.uk.multi.surbl.example.")
        );
        assert_eq!(
            surbl("me.github.io").as_deref(),
            Some("me.github.io.multi.surbl.example.")
        );
        for none in [
            "1.2.3.4",
            "[::1]",
            "github.io",
            "localhost",
            "a%20b.example",
            "a..example",
        ] {
            assert_eq!(surbl(none), None, "{none}");
        }
        let dbl = |host: &str| DnsList::SpamhausDbl.query_name(host, ".key.dbl.example.");
        assert_eq!(
            dbl("a.evil.example").as_deref(),
            Some("a.evil.example.key.dbl.example.")
        );
        assert_eq!(dbl("1.2.3.4"), None);
        let long = format!("{}evil.example", "abcdefghi.".repeat(24));
        assert_eq!(dbl(&long), None);
    }
}
