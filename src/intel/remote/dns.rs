//! Lists that are asked by DNS, one A query for each host.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use link::{Category, Listing, Scope, Target, Weight};
use lists::{Canonical, DnsAnswer};
use quick_cache::sync::Cache;

use crate::config::{DnsKind, Origin, Source};
use crate::intel::remote::SourceFailure;

/// How long one attempt may take, and how many there are.
const TIMEOUT: Duration = Duration::from_millis(1_000);
const ATTEMPTS: usize = 2;
/// How long a question may take, all attempts included.
const WHOLE: Duration = Duration::from_millis(3_500);
/// Answers that are remembered.
const REMEMBERED: usize = 16_384;
/// Bounds of how long answers are remembered, whatever their time to live says: a name that is listed a minute from now must
/// not stay clean for a day.
const LEAST_TTL: Duration = Duration::from_secs(30);
const MOST_TTL_LISTED: Duration = Duration::from_secs(3_600);
const MOST_TTL_NOT_LISTED: Duration = Duration::from_secs(600);

/// A list that is asked by DNS.
pub(crate) struct DnsList {
    list: lists::DnsList,
    /// With the key, as are the names that are asked for: none of them may get into the log.
    zone: String,
    resolver: Result<Arc<TokioResolver>, String>,
    remembered: Cache<Arc<str>, RememberedListings>,
}

#[derive(Debug, Clone)]
struct RememberedListings {
    listings: Vec<Listing>,
    until: Instant,
}

impl fmt::Debug for DnsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsList")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl DnsList {
    pub(crate) fn new(source: &Source, kind: DnsKind, resolver: &Result<Arc<TokioResolver>, String>) -> Self {
        let zone = match &source.from {
            Origin::Zone(zone) => zone.as_str(),
            Origin::File(_) | Origin::Url(_) => "",
        };
        Self {
            list: list(kind),
            zone: zone.replace("{key}", source.key.as_ref().map_or("", |k| k.reveal())),
            resolver: resolver.clone(),
            remembered: Cache::new(REMEMBERED),
        }
    }

    /// The name to ask for; `None` when the list cannot know such a target.
    pub(crate) fn question(&self, target: &Target) -> Option<Arc<str>> {
        let url = Canonical::of(target.as_str().as_bytes()).ok()?;
        self.list.query_name(url.host(), &self.zone).map(Arc::from)
    }

    pub(crate) fn known(&self, name: &Arc<str>, now: Instant) -> Option<Vec<Listing>> {
        let known = self.remembered.get(name)?;
        (now < known.until).then_some(known.listings)
    }

    pub(crate) async fn ask(&self, name: &Arc<str>) -> Result<Vec<Listing>, SourceFailure> {
        let resolver = self.resolver.as_ref().map_err(|why| SourceFailure::new(why.clone()))?;
        let asked = Name::from_ascii(name).map_err(|_| SourceFailure::new("the name cannot be asked for"))?;
        let answer = tokio::time::timeout(WHOLE, resolver.lookup(asked, RecordType::A))
            .await
            .unwrap_or(Err(NetError::Timeout));
        let now = Instant::now();
        let (listings, until) = match answer {
            Ok(found) => {
                let addresses: Vec<IpAddr> = found
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::A(a) => Some(a.0.into()),
                        _ => None,
                    })
                    .collect();
                let until = found.valid_until().clamp(now + LEAST_TTL, now + MOST_TTL_LISTED);
                match self.list.read(&addresses) {
                    DnsAnswer::Listed(codes) => (codes.into_iter().map(|code| code.listing).collect(), until),
                    DnsAnswer::NotListed => (Vec::new(), until.min(now + MOST_TTL_NOT_LISTED)),
                    DnsAnswer::Error(why) => return Err(SourceFailure::new(why)),
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let ttl = Duration::from_secs(u64::from(none.negative_ttl.unwrap_or(0)));
                (Vec::new(), now + ttl.clamp(LEAST_TTL, MOST_TTL_NOT_LISTED))
            }
            Err(e) => return Err(SourceFailure::new(in_words(&e))),
        };
        let known = RememberedListings {
            listings: listings.clone(),
            until,
        };
        self.remembered.insert(Arc::clone(name), known);
        Ok(listings)
    }
}

/// A resolver that asks these servers, or those of the system. `hosts`: whether the system's file of hosts counts.
pub(crate) fn resolver(servers: &[SocketAddr], hosts: bool) -> Result<Arc<TokioResolver>, String> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|e| format!("the system names no DNS server: {e}"))?
    } else {
        let servers = servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.trust_negative_responses = true;
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    options.use_hosts_file = if hosts {
        ResolveHosts::Always
    } else {
        ResolveHosts::Never
    };
    if !hosts {
        // Answers are remembered as verdicts of their lists.
        options.cache_size = 0;
    }
    builder.build().map(Arc::new).map_err(|e| in_words(&e))
}

/// An error of the library in words, without the name that was asked for, in which a key may stand.
fn in_words(e: &NetError) -> String {
    match e {
        NetError::Timeout => "it did not answer in time".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("its answer was an error: {code}"),
        NetError::NoConnections => "no DNS server can be reached".to_owned(),
        NetError::Busy => "too many questions at a time".to_owned(),
        NetError::Io(e) => format!("no DNS server can be reached: {}", e.kind()),
        NetError::Proto(_) => "its answer makes no sense".to_owned(),
        _ => "the DNS question failed".to_owned(),
    }
}

fn list(kind: DnsKind) -> lists::DnsList {
    match kind {
        DnsKind::SpamhausDbl => lists::DnsList::SpamhausDbl,
        DnsKind::SpamhausZrd => lists::DnsList::SpamhausZrd,
        DnsKind::Surbl => lists::DnsList::SurblMulti,
        DnsKind::Uribl => lists::DnsList::UriblMulti,
        // Its zone says by a wildcard whether hosts below a name are meant.
        DnsKind::Generic => lists::DnsList::Other {
            listing: Listing {
                category: Category::Unspecified,
                scope: Scope::Host,
                weight: Weight::Block,
            },
            by_host: true,
        },
    }
}
