//! Google's Safe Browsing (version 5, without a local list) and Web Risk.
//!
//! Safe Browsing gets the first four octets of hashes of a URL's expressions; Web Risk gets the URL. Neither gets the
//! user name, password or fragment of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use link::{Listing, Scope, Weight};
use lists::Canonical;
use lists::safe_browsing::{self, Answered, Prefix, Threat};
use quick_cache::sync::Cache;
use reqwest::{Client, StatusCode};

use crate::clock::since_1970;
use crate::config::{Origin, Source, SourceKind};
use crate::intel::lists::fetch::{self, FetchError};
use crate::intel::remote::SourceFailure;

/// How long a question may take, body included.
const WHOLE: Duration = Duration::from_secs(4);
/// Longest time for which a listing may be acted on (terms of use).
const LISTED_FOR: Duration = Duration::from_secs(30 * 60);
/// Longest time for which the lack of a listing is believed.
const MOST: Duration = Duration::from_secs(24 * 3600);
/// Answers that are remembered.
const REMEMBERED: usize = 16_384;
/// Most octets of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// One of the two services.
#[derive(Debug)]
pub(crate) struct Browsing {
    source: Arc<Source>,
    client: Client,
    /// The answers of the service about prefixes of hashes.
    prefixes: Cache<Prefix, RememberedThreats>,
    /// Its answers about whole URLs: listings only, for nothing says how long the lack of one holds.
    urls: Cache<Box<str>, RememberedThreats>,
}

/// An answer and how long it holds.
#[derive(Debug, Clone)]
struct RememberedThreats {
    answered: Instant,
    holds: Duration,
    threats: Arc<[Threat]>,
}

impl RememberedThreats {
    /// Whether it may still be acted on.
    fn is_fresh(&self, now: Instant) -> bool {
        let most = if self.threats.is_empty() { MOST } else { LISTED_FOR };
        now.saturating_duration_since(self.answered) < self.holds.min(most)
    }
}

impl Browsing {
    pub(crate) fn new(
        source: &Arc<Source>,
        resolver: &Arc<hickory_resolver::TokioResolver>,
        contact: &str,
    ) -> Result<Self, String> {
        Ok(Self {
            client: fetch::client(source, resolver, contact)?,
            source: Arc::clone(source),
            prefixes: Cache::new(REMEMBERED),
            urls: Cache::new(REMEMBERED),
        })
    }

    /// The listings remembered of a URL; `None` unless everything about it is.
    pub(crate) fn known(&self, url: &Canonical, now: Instant) -> Option<Vec<Listing>> {
        if self.source.kind == SourceKind::WebRisk {
            let known = self.urls.get(url.as_str()).filter(|known| known.is_fresh(now))?;
            return Some(known.threats.iter().map(|t| listing(t, Scope::Url)).collect());
        }
        let mut threats = Vec::new();
        for hashed in safe_browsing::hashes_v5(url) {
            let known = self.prefixes.get(&safe_browsing::prefix(&hashed.hash))?;
            if !known.is_fresh(now) {
                return None;
            }
            threats.extend(known.threats.iter().cloned());
        }
        Some(listings(url, threats))
    }

    pub(crate) async fn ask(&self, url: &Canonical) -> Result<Vec<Listing>, SourceFailure> {
        let asked = async {
            if self.source.kind == SourceKind::WebRisk {
                self.ask_for_url(url).await
            } else {
                self.ask_for_prefixes(url).await
            }
        };
        tokio::time::timeout(WHOLE, asked)
            .await
            .unwrap_or_else(|_| Err(SourceFailure::new("it did not answer in time")))
    }

    async fn ask_for_prefixes(&self, url: &Canonical) -> Result<Vec<Listing>, SourceFailure> {
        let now = Instant::now();
        let mut threats: Vec<Threat> = Vec::new();
        let mut unknown = Vec::new();
        for hashed in safe_browsing::hashes_v5(url) {
            let prefix = safe_browsing::prefix(&hashed.hash);
            match self.prefixes.get(&prefix).filter(|known| known.is_fresh(now)) {
                Some(known) => threats.extend(known.threats.iter().cloned()),
                None => unknown.push(prefix),
            }
        }
        let body = self.get(&safe_browsing::v5_request(&unknown)).await?;
        let answer = safe_browsing::v5_answer(&body).map_err(SourceFailure::new)?;
        for prefix in unknown {
            let own = |threat: &&Threat| threat.hash.is_some_and(|h| safe_browsing::prefix(&h) == prefix);
            let known = RememberedThreats {
                answered: now,
                holds: Duration::from_secs(answer.cache_seconds),
                threats: answer.threats.iter().filter(own).cloned().collect(),
            };
            self.prefixes.insert(prefix, known);
        }
        threats.extend(answer.threats);
        Ok(listings(url, threats))
    }

    async fn ask_for_url(&self, url: &Canonical) -> Result<Vec<Listing>, SourceFailure> {
        let now = Instant::now();
        let body = self.get(&safe_browsing::web_risk_uri_request(url.as_str())).await?;
        let answer = safe_browsing::web_risk_uri_answer(&body).map_err(SourceFailure::new)?;
        let Some(expires) = answer.threats.iter().filter_map(|t| t.expires).min() else {
            return Ok(answer.threats.iter().map(|t| listing(t, Scope::Url)).collect());
        };
        let known = RememberedThreats {
            answered: now,
            holds: Duration::from_secs(expires).saturating_sub(since_1970()),
            threats: answer.threats.into(),
        };
        let listings = known.threats.iter().map(|t| listing(t, Scope::Url)).collect();
        self.urls.insert(url.as_str().into(), known);
        Ok(listings)
    }

    /// Sends a request, and takes the body of its answer.
    async fn get(&self, request: &str) -> Result<Vec<u8>, SourceFailure> {
        let Origin::Url(base) = &self.source.from else {
            return Err(SourceFailure::new("it has no URL"));
        };
        let url = format!("{}{request}", base.trim_end_matches('/'));
        let sent = self.client.get(url).headers(fetch::key_headers(&self.source)).send();
        let answer = sent.await.map_err(|e| failed(fetch::in_words(&e)))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let mut failed = failed(fetch::refusal(status, answer.headers(), true));
            // A service in trouble is left alone, whether it says for how long or not.
            if failed.wait.is_none() && (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
                failed.wait = Some(Duration::ZERO);
            }
            return Err(failed);
        }
        let mut body = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece.map_err(|e| failed(fetch::in_words(&e)))?);
            if body.len() > MAX_ANSWER {
                return Err(SourceFailure::new("its answer is too large"));
            }
        }
        Ok(body)
    }
}

fn failed(e: FetchError) -> SourceFailure {
    SourceFailure {
        why: e.why,
        wait: e.wait,
    }
}

/// The listings of a URL among what was said of its prefixes.
fn listings(url: &Canonical, threats: Vec<Threat>) -> Vec<Listing> {
    let answered = Answered {
        threats,
        ..Answered::default()
    };
    let hashes = safe_browsing::hashes_v5(url);
    let mut listings: Vec<Listing> = Vec::new();
    for (hashed, threat) in answered.matching(&hashes) {
        let listing = listing(threat, safe_browsing::scope(url, &hashed.expression));
        if !listings.contains(&listing) {
            listings.push(listing);
        }
    }
    listings
}

fn listing(threat: &Threat, scope: Scope) -> Listing {
    Listing {
        category: threat.category,
        scope,
        weight: Weight::Block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_acted_on_for_half_an_hour_and_no_longer() {
        let answered = Instant::now();
        let threat = Threat {
            hash: None,
            category: link::Category::Malware,
            name: "MALWARE",
            expires: None,
        };
        let hour = Duration::from_secs(3600);
        let known = |holds, threats: &[Threat]| RememberedThreats {
            answered,
            holds,
            threats: threats.into(),
        };
        let listed = known(hour, std::slice::from_ref(&threat));
        assert!(listed.is_fresh(answered + LISTED_FOR - Duration::from_secs(1)));
        assert!(!listed.is_fresh(answered + LISTED_FOR));
        let short = known(Duration::from_secs(60), &[threat]);
        assert!(!short.is_fresh(answered + Duration::from_secs(60)));
        let clean = known(hour, &[]);
        assert!(clean.is_fresh(answered + LISTED_FOR));
        assert!(!clean.is_fresh(answered + hour));
        assert!(!known(Duration::ZERO, &[]).is_fresh(answered), "not to be remembered");
    }
}
