//! Sending one request to addresses that were judged before, with limits on the answer.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use link::{Obstacle, Target};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, COOKIE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use rustls::ClientConfig;
use tokio::time::timeout_at;

use super::guard::{AskRefusal, Guard, TargetPlace};
use crate::config::Settings;
use crate::net::tls::{NextHopTls, Trust};

/// Octets of a head, names and values together.
const MAX_HEAD: usize = 32 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 100;
/// Addresses of a name: more are not tried.
const MAX_ADDRESSES: usize = 16;

/// The client that asks targets.
pub(super) struct TargetClient {
    resolver: TokioResolver,
    tls: ClientConfig,
    agent: HeaderValue,
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub(super) struct TargetAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Response,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// It was read whole, or as far as was asked for.
    Whole,
    /// There is more than is read.
    TooLarge,
    /// The rest did not come, or not in time, or is not what it says.
    Broken,
}

impl TargetClient {
    /// By the settings of the moment.
    ///
    /// # Errors
    /// The system has no resolver, or there is nothing to judge certificates by.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let contact = &settings.contact;
        let trust = Trust::load(contact.ca_file.as_deref())?;
        let tls = trust.config(NextHopTls::Verify).ok_or("no certificates to verify by")?;
        Ok(Self {
            resolver: resolver(&settings.checks.dns_servers, contact.hop_timeout)?,
            tls: ClientConfig::clone(&tls),
            agent: HeaderValue::from_str(&contact.user_agent).map_err(|e| e.to_string())?,
        })
    }

    /// The addresses of a place. All of them may be asked, or none is.
    pub(super) async fn addresses(
        &self,
        place: &TargetPlace<'_>,
        guard: &Guard,
        until: Instant,
    ) -> Result<Vec<SocketAddr>, Obstacle> {
        let (name, port) = match place {
            TargetPlace::At(address) => return Ok(vec![*address]),
            TargetPlace::Named(name, port) => (name, *port),
        };
        // Fully qualified: no search list, and nothing from a file of this machine.
        let answers = timeout_at(until.into(), self.resolver.lookup_ip(format!("{name}."))).await;
        let answers = answers
            .map_err(|_| Obstacle::NoAnswer)?
            .map_err(|_| Obstacle::NoAnswer)?;
        let addresses: Vec<SocketAddr> = answers.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            return Err(Obstacle::NoAnswer);
        }
        for address in &addresses {
            guard.address(*address).map_err(AskRefusal::obstacle)?;
        }
        Ok(addresses.into_iter().take(MAX_ADDRESSES).collect())
    }

    /// Sends one request to `addresses`, which are where `target` is.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &Target,
        addresses: &[SocketAddr],
        cookies: Option<&str>,
        until: Instant,
    ) -> Result<TargetAnswer, Obstacle> {
        let mut url = target.url().clone();
        // Or the client would make a password of it.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let left = until.saturating_duration_since(Instant::now());
        let client = self.client(addresses, left).map_err(|_| Obstacle::NoAnswer)?;
        let accept = HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8");
        let mut request = client.request(method, url).header(ACCEPT, accept);
        if let Some(cookies) = cookies {
            request = request.header(COOKIE, cookies);
        }
        let answer = timeout_at(until.into(), request.send()).await;
        let answer = answer.map_err(|_| Obstacle::NoAnswer)?.map_err(|e| obstacle(&e))?;
        let peer = answer.remote_addr().map(|peer| peer.ip().to_canonical());
        let known = |ip: IpAddr| addresses.iter().any(|a| a.ip().to_canonical() == ip);
        if !peer.is_some_and(known) {
            return Err(Obstacle::Forbidden);
        }
        let octets: usize = answer
            .headers()
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len() + 4)
            .sum();
        if octets > MAX_HEAD {
            return Err(Obstacle::TooLarge);
        }
        Ok(TargetAnswer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer,
        })
    }

    /// A client for one request: nothing is left for the next one, and it reaches `addresses` only.
    fn client(&self, addresses: &[SocketAddr], timeout: Duration) -> reqwest::Result<Client> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Arc::new(Fixed(addresses.to_vec())))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(self.agent.clone())
            .http1_only()
            .http1_max_headers(MAX_FIELDS)
            .pool_max_idle_per_host(0)
            .connect_timeout(timeout)
            .build()
    }
}

impl TargetAnswer {
    /// A field of the head as text.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Hands the octets of the body to `take`, unpacked, until it has enough or `most` were seen.
    pub(super) async fn read(&mut self, most: usize, until: Instant, mut take: impl FnMut(&[u8]) -> bool) -> BodyEnd {
        let mut seen = 0_usize;
        loop {
            match timeout_at(until.into(), self.body.chunk()).await {
                Ok(Ok(Some(octets))) => {
                    let left = octets.get(..most - seen).unwrap_or(&octets);
                    let more = take(left);
                    seen += left.len();
                    if !more {
                        return BodyEnd::Whole;
                    }
                    if left.len() < octets.len() {
                        return BodyEnd::TooLarge;
                    }
                }
                Ok(Ok(None)) => return BodyEnd::Whole,
                Ok(Err(_)) | Err(_) => return BodyEnd::Broken,
            }
        }
    }
}

impl AskRefusal {
    pub(super) fn obstacle(self) -> Obstacle {
        Obstacle::Forbidden
    }
}

/// A resolver that answers with these addresses, whatever the name.
struct Fixed(Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

fn resolver(servers: &[SocketAddr], timeout: Duration) -> Result<TokioResolver, String> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|e| e.to_string())?
    } else {
        let server = |address: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        };
        let servers = servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = timeout / 2;
    options.attempts = 2;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|e| e.to_string())
}

/// The obstacle that a failed request stands for.
fn obstacle(e: &(dyn Error + 'static)) -> Obstacle {
    if e.downcast_ref().is_some_and(hyper::Error::is_parse_too_large) {
        return Obstacle::TooLarge;
    }
    if let Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) = e.downcast_ref() {
        return Obstacle::Certificate;
    }
    // The source of such an error is that of what it holds, which is stepped over.
    let held = e.downcast_ref().and_then(std::io::Error::get_ref);
    match held {
        Some(held) => obstacle(held),
        None => e.source().map_or(Obstacle::NoAnswer, obstacle),
    }
}
