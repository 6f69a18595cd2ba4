//! Fetching a list by HTTP: conditional, bounded, and with words for what goes wrong.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use hickory_resolver::TokioResolver;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};

use crate::clock;
use crate::config::{Origin, Source, SourceKind};
use crate::intel::kinds;
use crate::net::public::is_public;

/// Most redirects followed.
const MAX_REDIRECTS: usize = 5;
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long fetching a whole list may take.
const WHOLE: Duration = Duration::from_secs(600);
/// Longest `Retry-After` that is heeded.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Fetches the list of one source.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    /// For redirects of a server on the public network: reaches public addresses only.
    guarded: Client,
    source: Arc<Source>,
}

/// Validators of the copy that is in force (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Validators {
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
}

/// The result of a fetch.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The copy that we have is current.
    Unchanged,
    /// Another copy, with these validators; its body was written.
    Copy(Validators),
}

/// Why a fetch failed.
#[derive(Debug)]
pub(crate) struct FetchError {
    /// In words; never with a key.
    pub(crate) why: String,
    /// How long the server wants to be left alone.
    pub(crate) wait: Option<Duration>,
}

impl FetchError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            wait: None,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Fetcher {
    /// A fetcher for a source whose `from` is a URL. `contact`: what the user agent says.
    pub(crate) fn new(source: Arc<Source>, resolver: &Arc<TokioResolver>, contact: &str) -> Result<Self, String> {
        Ok(Self {
            client: client(&source, resolver, contact)?,
            guarded: client_by(&source, contact, FeedResolver::public(resolver))?,
            source,
        })
    }

    /// Fetches the list itself into `into`.
    pub(crate) async fn list(&self, known: &Validators, into: &mut impl Write) -> Result<Fetched, FetchError> {
        let Origin::Url(from) = &self.source.from else {
            return Err(FetchError::new("it has no URL"));
        };
        tokio::time::timeout(WHOLE, self.get(from, known, into))
            .await
            .unwrap_or_else(|_| Err(FetchError::new("it takes too long")))
    }

    /// Fetches a file beside the list, which a MISP feed has: `name` takes the place of the last segment of the path.
    pub(crate) async fn beside(&self, name: &str, into: &mut impl Write) -> Result<Fetched, FetchError> {
        let Origin::Url(from) = &self.source.from else {
            return Err(FetchError::new("it has no URL"));
        };
        let (path, query) = from
            .split_once('?')
            .map_or((from.as_str(), None), |(p, q)| (p, Some(q)));
        let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
        let query = query.map(|q| format!("?{q}")).unwrap_or_default();
        let url = format!("{folder}/{name}{query}");
        tokio::time::timeout(WHOLE, self.get(&url, &Validators::default(), into))
            .await
            .unwrap_or_else(|_| Err(FetchError::new("it takes too long")))
    }

    async fn get(&self, from: &str, known: &Validators, into: &mut impl Write) -> Result<Fetched, FetchError> {
        let key = self.source.key.as_ref().map(|k| k.reveal());
        let in_url = from.contains("{key}");
        let mut url = Url::parse(&from.replace("{key}", &key.map(encoded).unwrap_or_default()))
            .map_err(|e| FetchError::new(e.to_string()))?;
        let home = url.origin();
        let home_is_public = !is_private(&url);
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = HeaderMap::new();
            let validators = [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)];
            for (name, value) in validators {
                if let Some(value) = value.as_ref().and_then(|v| HeaderValue::from_str(v).ok()) {
                    headers.insert(name, value);
                }
            }
            // A key is for the server that it is from, not for those it sends us to.
            if let (Some(key), false, true) = (key, in_url, url.origin() == home) {
                key_header(&mut headers, self.source.kind, key);
            }
            let guarded = url.origin() != home && home_is_public;
            // The resolver is not asked about an address.
            if guarded && is_private(&url) {
                return Err(FetchError::new(NOT_PUBLIC));
            }
            let client = if guarded { &self.guarded } else { &self.client };
            let answer = client
                .get(url.clone())
                .headers(headers)
                .send()
                .await
                .map_err(|e| in_words(&e))?;
            if !answer.status().is_redirection() || answer.status() == StatusCode::NOT_MODIFIED {
                return self.taken(answer, into).await;
            }
            url = redirected(&url, &answer)?;
        }
        Err(FetchError::new(format!("more than {MAX_REDIRECTS} redirects")))
    }

    async fn taken(&self, answer: Response, into: &mut impl Write) -> Result<Fetched, FetchError> {
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(Fetched::Unchanged),
            StatusCode::OK => {}
            status => return Err(refusal(status, answer.headers(), self.source.key.is_some())),
        }
        let text = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        if text(CONTENT_TYPE).is_some_and(|t| t.to_ascii_lowercase().starts_with("text/html")) {
            return Err(FetchError::new("it sent a web page instead of a list"));
        }
        let validators = Validators {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        };
        let limit = self.source.max_size;
        let too_large = || FetchError::new(format!("it sent more than {} MiB (max_size_mib)", limit >> 20));
        let mut octets = 0;
        let mut body = answer.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| in_words(&e))?;
            octets += piece.len() as u64;
            // After decompression: this is what counts.
            if octets > limit {
                return Err(too_large());
            }
            into.write_all(&piece)
                .map_err(|e| FetchError::new(format!("its copy cannot be written: {e}")))?;
        }
        Ok(Fetched::Copy(validators))
    }
}

const NOT_PUBLIC: &str = "it redirects to an address that is not of the public network";

/// Whether a URL names a place that is not of the public network, without asking for its address.
fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    ip.map_or(host == "localhost", |ip| !is_public(ip))
}

/// A client for a source whose `from` is a URL.
pub(crate) fn client(source: &Source, resolver: &Arc<TokioResolver>, contact: &str) -> Result<Client, String> {
    client_by(source, contact, FeedResolver::all(resolver))
}

fn client_by(source: &Source, contact: &str, names: FeedResolver) -> Result<Client, String> {
    let mut agent = format!("linkgate/{}", env!("CARGO_PKG_VERSION"));
    if !contact.is_empty() {
        agent = format!("{agent} ({contact})");
    }
    let trust = source.trust.as_ref().ok_or("it has no certificates to trust")?;
    let tls = trust.verifying().ok_or("it has no certificates to trust")?;
    Client::builder()
        .user_agent(agent)
        .tls_backend_preconfigured(tls.as_ref().clone())
        .dns_resolver(names)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .pool_max_idle_per_host(kinds::idle_connections(source.kind))
        .build()
        .map_err(|e| in_words(&e).why)
}

/// An error of the library in words, without the URL, in which a key may stand.
pub(crate) fn in_words(e: &reqwest::Error) -> FetchError {
    let mut why = if e.is_timeout() {
        "it did not answer in time".to_owned()
    } else if e.is_connect() {
        "it cannot be reached".to_owned()
    } else if e.is_decode() || e.is_body() {
        "it broke off in the middle, or sent what cannot be unpacked".to_owned()
    } else {
        "the request failed".to_owned()
    };
    // The causes below name addresses and certificates; only the outermost names the URL.
    let mut cause = std::error::Error::source(e);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if inner.source().is_none() && !text.contains("://") {
            why = format!("{why} ({text})");
        }
        cause = inner.source();
    }
    FetchError::new(why)
}

/// The error for a status other than 200.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, has_key: bool) -> FetchError {
    let why = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_key => {
            format!("it refuses our key ({status}): see key_file")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!("it wants a key ({status}): see key_file"),
        StatusCode::NOT_FOUND | StatusCode::GONE => format!("there is nothing at its address ({status})"),
        StatusCode::TOO_MANY_REQUESTS => format!("we ask too often ({status}): see refresh_s"),
        _ => format!("it said {status}"),
    };
    FetchError {
        why,
        wait: headers
            .get(RETRY_AFTER)
            .and_then(|v| retry_after(v.to_str().ok()?, clock::now())),
    }
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
            SystemTime::from(at).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_WAIT))
}

/// Where a redirect leads.
fn redirected(from: &Url, answer: &Response) -> Result<Url, FetchError> {
    let to = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok());
    let to = to.and_then(|t| from.join(t).ok());
    let to = to.ok_or_else(|| FetchError::new("it redirects to nowhere"))?;
    match (from.scheme(), to.scheme()) {
        ("http", "http") | (_, "https") => Ok(to),
        // What came over the network in plain text is not the list of a server that has TLS.
        ("https", "http") => Err(FetchError::new("it redirects from https to http")),
        (_, scheme) => Err(FetchError::new(format!("it redirects to {scheme}:, not http or https"))),
    }
}

/// Adds the header in which a kind of source expects its key.
fn key_header(headers: &mut HeaderMap, kind: SourceKind, key: &str) {
    let (name, value) = kinds::key_header(kind, key);
    if let Ok(mut value) = HeaderValue::from_str(&value) {
        value.set_sensitive(true);
        if let Ok(name) = reqwest::header::HeaderName::from_bytes(name.as_bytes()) {
            headers.insert(name, value);
        }
    }
}

/// The headers of a question to a service.
pub(crate) fn key_headers(source: &Source) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(key) = &source.key {
        key_header(&mut headers, source.kind, key.reveal());
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// All that RFC 3986, 2.3, does not call unreserved.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key as a part of a path or query.
fn encoded(key: &str) -> String {
    utf8_percent_encode(key, &RESERVED).to_string()
}

/// FeedResolver of feed hosts, through our own resolver: that of the C library would hold a thread for as long as it hangs.
#[derive(Debug)]
struct FeedResolver {
    resolver: Arc<TokioResolver>,
    /// Whether other addresses than those of the public network are left out.
    public: bool,
}

impl FeedResolver {
    fn all(resolver: &Arc<TokioResolver>) -> Self {
        let resolver = Arc::clone(resolver);
        Self {
            resolver,
            public: false,
        }
    }

    fn public(resolver: &Arc<TokioResolver>) -> Self {
        let resolver = Arc::clone(resolver);
        Self { resolver, public: true }
    }
}

impl reqwest::dns::Resolve for FeedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (resolver, public) = (Arc::clone(&self.resolver), self.public);
        Box::pin(async move {
            let found = resolver.lookup_ip(name.as_str()).await?;
            let addresses: Vec<SocketAddr> = found
                .iter()
                .filter(|ip| !public || is_public(*ip))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if addresses.is_empty() {
                return Err(NOT_PUBLIC.into());
            }
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let wait = |value| retry_after(value, now).map(|w| w.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(wait("99999999"), Some(MAX_WAIT.as_secs()));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn keys_are_encoded_for_urls() {
        assert_eq!(encoded("aZ9-._~"), "aZ9-._~");
        assert_eq!(encoded("a/b?c&d%"), "a%2Fb%3Fc%26d%25");
    }
}
