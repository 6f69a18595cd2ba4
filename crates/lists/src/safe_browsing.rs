//! Requests and answers of Google's Safe Browsing (edition 5, without local storage) and Web Risk.
//!
//! Requests are path and query; the key goes into the header `X-Goog-Api-Key`, so that no log has it. Safe Browsing gets
//! the first 4 octets of hashes only, Web Risk's `uris:search` the whole URL.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64URL};
use link::{Category, Scope};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;

use crate::canonical::Canonical;

/// A full hash: SHA-256 of an expression.
pub type FullHash = [u8; 32];

/// The first octets of a full hash, which are sent.
pub type Prefix = [u8; 4];

/// An expression of a URL with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Such as `a.example/b/`.
    pub expression: String,
    /// Its SHA-256.
    pub hash: FullHash,
}

/// One listing of a full hash or a URL by a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threat {
    /// The hash that is listed; none in answers for whole URLs.
    pub hash: Option<FullHash>,
    /// Category of the listing.
    pub category: Category,
    /// The service's own word, such as `SOCIAL_ENGINEERING`.
    pub name: &'static str,
    /// Until when this may be acted on, in seconds since 1970; none where the answer as a whole has a duration.
    pub expires: Option<u64>,
}

/// The answer of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// Threats listed, those of other hashes with the same prefix among them.
    pub threats: Vec<Threat>,
    /// For how many seconds the answer holds (edition 5).
    pub cache_seconds: u64,
}

impl Answered {
    /// The threats whose hash is one of these, with their expressions.
    pub fn matching<'a>(&'a self, hashes: &'a [Hashed]) -> impl Iterator<Item = (&'a Hashed, &'a Threat)> {
        hashes.iter().flat_map(move |hashed| {
            let meant = self.threats.iter().filter(move |t| t.hash == Some(hashed.hash));
            meant.map(move |threat| (hashed, threat))
        })
    }
}

/// The hashes that edition 5 asks for.
#[must_use]
pub fn hashes_v5(url: &Canonical) -> Vec<Hashed> {
    hashed(url.expressions_v5())
}

/// The prefix of a hash.
#[must_use]
pub fn prefix(hash: &FullHash) -> Prefix {
    let [a, b, c, d, ..] = *hash;
    [a, b, c, d]
}

/// The part of a URL that a listed expression stands for.
#[must_use]
pub fn scope(url: &Canonical, expression: &str) -> Scope {
    let (host, path) = match expression.find('/') {
        Some(at) => expression.split_at(at),
        None => (expression, "/"),
    };
    if expression == url.expression() {
        Scope::Url
    } else if path != "/" {
        Scope::Path
    } else if host == url.host() {
        Scope::Host
    } else {
        Scope::Domain
    }
}

/// The most prefixes that one request may have.
pub const MAX_PREFIXES: usize = 1000;

/// The request of edition 5 for up to [`MAX_PREFIXES`] prefixes; those beyond are left out. They are sorted, which hides
/// which belong together.
#[must_use]
pub fn v5_request(prefixes: &[Prefix]) -> String {
    let mut prefixes = prefixes.to_vec();
    prefixes.sort_unstable();
    prefixes.dedup();
    let mut request = "/v5/hashes:search?alt=json".to_owned();
    for prefix in prefixes.iter().take(MAX_PREFIXES) {
        request.push_str("&hashPrefixes=");
        request.extend(query_value(&BASE64.encode(prefix)));
    }
    request
}

/// Reads the answer of edition 5, in JSON. Details with an unknown value are left out, and so are those on trial (`CANARY`)
/// or for frames only (`FRAME_ONLY`): a click opens a page.
///
/// # Errors
/// The reason it cannot be read, or the error that the service reports.
pub fn v5_answer(body: &[u8]) -> Result<Answered, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(default)]
        full_hashes: Vec<Full>,
        cache_duration: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Full {
        full_hash: String,
        #[serde(default)]
        full_hash_details: Vec<Detail>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail {
        #[serde(default)]
        threat_type: Value,
        #[serde(default)]
        attributes: Vec<Value>,
    }
    let body: Body = read(body)?;
    let mut answered = Answered {
        cache_seconds: body.cache_duration.as_deref().map_or(Ok(0), seconds)?,
        ..Answered::default()
    };
    for full in body.full_hashes {
        let hash = full_hash(&full.full_hash)?;
        for detail in full.full_hash_details {
            // A detail with any attribute, known or not, is not about pages.
            let Some((category, name)) = detail.threat_type.as_str().and_then(threat) else {
                continue;
            };
            if detail.attributes.is_empty() {
                answered.threats.push(Threat {
                    hash: Some(hash),
                    category,
                    name,
                    expires: None,
                });
            }
        }
    }
    Ok(answered)
}

/// Web Risk's request, which discloses the whole URL.
#[must_use]
pub fn web_risk_uri_request(url: &str) -> String {
    let threats = "threatTypes=MALWARE&threatTypes=SOCIAL_ENGINEERING&threatTypes=UNWANTED_SOFTWARE";
    format!("/v1/uris:search?{threats}&uri={}", query_value(url))
}

/// Reads Web Risk's answer for a URL.
///
/// # Errors
/// The reason it cannot be read, or the error that the service reports.
pub fn web_risk_uri_answer(body: &[u8]) -> Result<Answered, String> {
    #[derive(Deserialize)]
    struct Body {
        threat: Option<RiskThreat>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RiskThreat {
        #[serde(default)]
        threat_types: Vec<Value>,
        expire_time: Option<String>,
    }
    let body: Body = read(body)?;
    let mut answered = Answered::default();
    if let Some(listed) = body.threat {
        let expires = listed.expire_time.as_deref().map(instant).transpose()?;
        for (category, name) in listed.threat_types.iter().filter_map(|t| threat(t.as_str()?)) {
            answered.threats.push(Threat {
                hash: None,
                category,
                name,
                expires,
            });
        }
    }
    Ok(answered)
}

/// The threat types that are asked for and known.
const THREATS: [(&str, Category); 5] = [
    ("MALWARE", Category::Malware),
    ("SOCIAL_ENGINEERING", Category::Phishing),
    ("UNWANTED_SOFTWARE", Category::Malware),
    ("POTENTIALLY_HARMFUL_APPLICATION", Category::Malware),
    ("SOCIAL_ENGINEERING_EXTENDED_COVERAGE", Category::Phishing),
];

fn threat(name: &str) -> Option<(Category, &'static str)> {
    THREATS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(known, category)| (*category, *known))
}

fn hashed(expressions: Vec<String>) -> Vec<Hashed> {
    expressions
        .into_iter()
        .map(|expression| Hashed {
            hash: sha256(expression.as_bytes()),
            expression,
        })
        .collect()
}

fn sha256(text: &[u8]) -> FullHash {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, text).as_ref()) {
        *to = *from;
    }
    hash
}

/// A text as the value of a query.
fn query_value(text: &str) -> PercentEncode<'_> {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ESCAPED)
}

/// Reads a JSON object; an `error` object in its place is an error.
fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    let all: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|e| format!("not the answer asked for: {e}"))?;
    if let Some(error) = all.get("error") {
        let word = |name: &str| error.get(name).map_or_else(|| "?".to_owned(), Value::to_string);
        return Err(format!("the service reports error {} {}", word("code"), word("status")));
    }
    T::deserialize(Value::Object(all.into_iter().collect())).map_err(|e| format!("not the answer asked for: {e}"))
}

/// A hash in base64, in either alphabet.
fn full_hash(text: &str) -> Result<FullHash, String> {
    let bytes = BASE64
        .decode(text.as_bytes())
        .or_else(|_| BASE64URL.decode(text.as_bytes()))
        .map_err(|_| "a hash that is not base64".to_owned())?;
    FullHash::try_from(bytes).map_err(|_| "a hash that is not 32 octets long".to_owned())
}

/// A duration as protocol buffers write it in JSON: `300s`, `300.5s`. Whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').and_then(|n| n.split('.').next()?.parse().ok());
    number.ok_or_else(|| "a duration that is none".to_owned())
}

/// A time of RFC 3339 in UTC, in seconds since 1970.
fn instant(text: &str) -> Result<u64, String> {
    let wrong = || "a time that is none".to_owned();
    let (date, time) = text
        .strip_suffix('Z')
        .and_then(|t| t.split_once('T'))
        .ok_or_else(wrong)?;
    let numbers = |text: &str, between: char| -> Option<[u64; 3]> {
        let all: Vec<u64> = text.split(between).map(|n| n.parse().ok()).collect::<Option<_>>()?;
        all.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let time = time.split('.').next().unwrap_or_default();
    let [hours, minutes, seconds] = numbers(time, ':').ok_or_else(wrong)?;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    if !sound {
        return Err(wrong());
    }
    // The year is taken to begin in March, so that a leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before_year = 365 * year + year / 4 - year / 100 + year / 400;
    let before_month = (153 * month + 2) / 5;
    // 1970-01-01 in the same count.
    const EPOCH: u64 = 719_468;
    let days = before_year + before_month + day - 1 - EPOCH;
    Ok(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: &[u8]) -> String {
        hash.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The vectors of FIPS 180-2, which the published rules point to.
    #[test]
    fn published_hashes() {
        assert_eq!(hex(&prefix(&sha256(b"abc"))), "ba7816bf");
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&prefix(&sha256(long))), "248d6a61");
        assert_eq!(hex(&sha256(long)[..6]), "248d6a61d206");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&prefix(&sha256(&million))), "cdc76e5c");
        assert_eq!(hex(&sha256(&million)[..12]), "cdc76e5c9914fb9281a1c7e2");
    }

    fn url(text: &str) -> Canonical {
        Canonical::of(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_edition_5_is_asked() {
        let hashes = hashes_v5(&url("https://www.evil.example/a?b"));
        assert_eq!(hashes.len(), 6);
        let prefixes: Vec<Prefix> = hashes.iter().map(|h| prefix(&h.hash)).collect();
        let request = v5_request(&prefixes);
        let query = request.strip_prefix("/v5/hashes:search?alt=json&").unwrap();
        let sent: Vec<Vec<u8>> = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| {
                assert_eq!(name, "hashPrefixes");
                BASE64.decode(value.as_bytes()).unwrap()
            })
            .collect();
        assert_eq!(sent.len(), 6);
        assert!(prefixes.iter().all(|p| sent.contains(&p.to_vec())));
        assert!(sent.is_sorted());
    }

    #[test]
    fn what_edition_5_answers() {
        let page = url("https://www.evil.example/a?b");
        let hashes = hashes_v5(&page);
        let encoded = |expression: &str| BASE64.encode(&sha256(expression.as_bytes()));
        // Same prefix as a hash that is asked for, other hash.
        let mut near = sha256(b"www.evil.example/");
        near[31] ^= 1;
        let body = serde_json::json!({
            "fullHashes": [
                {"fullHash": encoded("www.evil.example/a?b"), "fullHashDetails": [
                    {"threatType": "SOCIAL_ENGINEERING"},
                    {"threatType": "MALWARE", "attributes": ["CANARY"]},
                ]},
                {"fullHash": encoded("evil.example/"), "fullHashDetails": [{"threatType": "UNWANTED_SOFTWARE"}]},
                {"fullHash": encoded("evil.example/a"), "fullHashDetails": [
                    {"threatType": "MALWARE", "attributes": ["FRAME_ONLY"]},
                    {"threatType": "MALWARE", "attributes": ["SOMETHING_NEW"]},
                    {"threatType": "A_NEW_THREAT"},
                    {"threatType": 77},
                    {},
                ]},
                {"fullHash": BASE64.encode(&near), "fullHashDetails": [{"threatType": "MALWARE"}]},
                {"fullHash": encoded("www.evil.example/a")},
            ],
            "cacheDuration": "300.250s",
        });
        let answered = v5_answer(body.to_string().as_bytes()).unwrap();
        assert_eq!((answered.threats.len(), answered.cache_seconds), (3, 300));
        let found: Vec<(&str, &str, Scope)> = answered
            .matching(&hashes)
            .map(|(hashed, threat)| {
                (
                    hashed.expression.as_str(),
                    threat.name,
                    scope(&page, &hashed.expression),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("www.evil.example/a?b", "SOCIAL_ENGINEERING", Scope::Url),
                ("evil.example/", "UNWANTED_SOFTWARE", Scope::Domain),
            ]
        );
        assert_eq!(scope(&page, "www.evil.example/"), Scope::Host);
        assert_eq!(scope(&page, "evil.example/a"), Scope::Path);
        assert_eq!(v5_answer(b"{}"), Ok(Answered::default()));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_an_empty_one() {
        let error = br#"{"error": {"code": 429, "message": "a long story", "status": "RESOURCE_EXHAUSTED"}}"#;
        let wanted = "the service reports error 429 \"RESOURCE_EXHAUSTED\"";
        assert_eq!(v5_answer(error).unwrap_err(), wanted);
        assert_eq!(web_risk_uri_answer(error).unwrap_err(), wanted);
        for bad in [
            &b""[..],
            b"<html>",
            b"[]",
            br#"{"fullHashes": [{"fullHash": "AAAA"}]}"#,
            br#"{"fullHashes": 1}"#,
            br#"{"cacheDuration": "soon"}"#,
        ] {
            assert!(v5_answer(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn web_risk_by_url() {
        assert_eq!(
            web_risk_uri_request("http://evil.example/a?b=c&d"),
            "/v1/uris:search?threatTypes=MALWARE&threatTypes=SOCIAL_ENGINEERING&threatTypes=UNWANTED_SOFTWARE\
             &uri=http%3A%2F%2Fevil.example%2Fa%3Fb%3Dc%26d"
        );
        let body =
            br#"{"threat": {"threatTypes": ["MALWARE", "WHATEVER"], "expireTime": "2026-11-22T05:35:00.045123456Z"}}"#;
        let answered = web_risk_uri_answer(body).unwrap();
        assert_eq!(
            answered.threats,
            [Threat {
                hash: None,
                category: Category::Malware,
                name: "MALWARE",
                expires: Some(1_795_325_700),
            }]
        );
        assert_eq!(web_risk_uri_answer(b"{}"), Ok(Answered::default()));
    }

    #[test]
    fn times_and_what_is_none() {
        assert_eq!(instant("1970-01-01T00:00:01Z"), Ok(1));
        assert_eq!(instant("2000-02-29T00:00:00Z"), Ok(951_782_400));
        for bad in [
            "",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }
}
