//! What a reader gets who opens a click link: a redirect to the target, or a page that says nothing about it.

pub mod asker;
mod client;
pub mod hindsight;
mod page;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use link::{OpenError, Opened, Opener};
use ring::rand::SystemRandom;
use store::{ClickRow, Outcome};
use tokio::sync::watch;
use tracing::{error, info};

use crate::http::Peer;
use crate::record::{Ledger, event_id};
use crate::settings::Settings;

/// Octets of `User-Agent` that are recorded.
const MAX_USER_AGENT: usize = 512;

/// Answers requests to the click address.
#[derive(Debug)]
pub struct ClickPages {
    settings: watch::Receiver<Arc<Settings>>,
    ledger: Ledger,
    random: SystemRandom,
    counts: Counters,
}

/// How click links were answered since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClickCounts {
    /// Redirected to the target.
    pub redirected: u64,
    /// Not a link of ours, or not as we made it.
    pub refused: u64,
    /// A genuine link whose stored target is not in the store.
    pub target_missing: u64,
    /// A genuine link whose stored target could not be looked up.
    pub unavailable: u64,
}

#[derive(Debug, Default)]
struct Counters {
    redirected: AtomicU64,
    refused: AtomicU64,
    target_missing: AtomicU64,
    unavailable: AtomicU64,
}

/// Why a click link leads nowhere.
enum Refusal {
    /// Not a link of ours, or not as we made it.
    NotOurs(OpenError),
    /// Genuine, but the store does not have its target.
    TargetMissing { mail_id: String },
    /// Genuine, but the store does not answer.
    Unavailable { mail_id: String, why: String },
}

impl ClickPages {
    /// Pages that go by the newest settings at each request and record clicks in `ledger`.
    #[must_use]
    pub fn new(settings: watch::Receiver<Arc<Settings>>, ledger: Ledger) -> Self {
        Self {
            settings,
            ledger,
            random: SystemRandom::new(),
            counts: Counters::default(),
        }
    }

    /// How click links were answered so far.
    #[must_use]
    pub fn counts(&self) -> ClickCounts {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        ClickCounts {
            redirected: load(&self.counts.redirected),
            refused: load(&self.counts.refused),
            target_missing: load(&self.counts.target_missing),
            unavailable: load(&self.counts.unavailable),
        }
    }

    /// Answers one request. A click is on disk before the redirect goes out.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let began = Instant::now();
        let method = match *request.method() {
            Method::GET => store::Method::Get,
            Method::HEAD => store::Method::Head,
            _ => return page::wrong_method(),
        };
        // One snapshot for the whole request.
        let settings = Arc::clone(&self.settings.borrow());
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
        let client = peer.and_then(|peer| {
            let client = client::address(peer, request.headers(), &settings.click.trusted_proxies)?;
            client::shorten(client, settings.click.client_ip)
        });
        let Some(link) = settings.click.base.parse_path(request.uri().path()) else {
            return page::not_found();
        };
        let opener = Opener::new(&settings.keys, &settings.click.base);
        let opened = match opener.open_link(&link) {
            Ok(opened) => self.with_target(&opener, opened).await,
            Err(e) => Err(Refusal::NotOurs(e)),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(&refusal, client.as_deref()),
        };
        let Some(response) = redirect(&opened) else {
            return self.refuse(&Refusal::NotOurs(OpenError::Malformed), client.as_deref());
        };
        let click = Click {
            opened,
            method,
            client,
            user_agent: user_agent(request),
            random: self.random.clone(),
            began,
        };
        // A task of its own: a click counts, and is logged, even if the reader does not wait for the answer.
        let recorded = tokio::spawn(click.record(self.ledger.clone())).await;
        if let Err(e) = recorded {
            error!(target: "linkgate::click", error = %e, "click not recorded");
        }
        self.counts.redirected.fetch_add(1, Ordering::Relaxed);
        response
    }

    /// Looks up the target of a reference; other links have theirs in the token.
    async fn with_target(&self, opener: &Opener<'_>, opened: Opened) -> Result<Opened, Refusal> {
        let Some(id) = opened.reference_id().filter(|_| opened.target().is_none()) else {
            return Ok(opened);
        };
        let mail_id = opened.message().message_id.clone();
        let reader = self.ledger.store().reader().clone();
        let unavailable = |why: String| Refusal::Unavailable {
            mail_id: mail_id.clone(),
            why,
        };
        match tokio::task::spawn_blocking(move || reader.reference(&id)).await {
            Ok(Ok(Some(row))) => opener
                .complete(opened, &row.target, row.written.as_deref())
                .map_err(Refusal::NotOurs),
            Ok(Ok(None)) => Err(Refusal::TargetMissing { mail_id }),
            Ok(Err(e)) => Err(unavailable(e.to_string())),
            Err(e) => Err(unavailable(e.to_string())),
        }
    }

    fn refuse(&self, refusal: &Refusal, client: Option<&str>) -> Response<Body> {
        let client = client.unwrap_or("-");
        match refusal {
            Refusal::NotOurs(why) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                info!(target: "linkgate::click", outcome = "refused", reason = why.as_str(), client, "click");
                page::not_found()
            }
            Refusal::TargetMissing { mail_id } => {
                self.counts.target_missing.fetch_add(1, Ordering::Relaxed);
                error!(
                    target: "linkgate::click", outcome = "target-missing", mail_id, client,
                    "a genuine link refers to a target that is not in the store: was an older copy of it put back?"
                );
                page::not_found()
            }
            Refusal::Unavailable { mail_id, why } => {
                self.counts.unavailable.fetch_add(1, Ordering::Relaxed);
                error!(
                    target: "linkgate::click", outcome = "unavailable", mail_id, client, error = why,
                    "the target of a link could not be looked up"
                );
                page::unavailable()
            }
        }
    }
}

/// A click on its way into the store.
struct Click {
    opened: Opened,
    method: store::Method,
    client: Option<String>,
    user_agent: String,
    random: SystemRandom,
    began: Instant,
}

impl Click {
    async fn record(self, ledger: Ledger) {
        let at_us = now_us();
        let message = self.opened.message();
        let Ok(event_id) = event_id(at_us, &self.random) else {
            // Without random numbers no row can be told from another. The reader must not suffer for it.
            error!(target: "linkgate::click", mail_id = message.message_id, "no random numbers: click not stored");
            return;
        };
        let (url, host) = self.opened.target().map_or(("", ""), |t| (t.as_str(), t.host()));
        let row = ClickRow {
            user: message.recipient.clone(),
            url: url.to_owned(),
            host: host.to_owned(),
            mail_id: message.message_id.clone(),
            sender: message.sender.clone(),
            policy_domain: message.domain.clone(),
            user_agent: self.user_agent,
            client_ip: self.client.clone(),
            method: self.method,
            outcome: Outcome::Redirected,
            ..ClickRow::new(event_id, at_us)
        };
        let kept = ledger.click(row).await;
        info!(
            target: "linkgate::click",
            event_id = %event_id,
            outcome = Outcome::Redirected.as_str(),
            kept = kept.as_str(),
            mail_id = message.message_id,
            user = message.recipient.as_deref().unwrap_or("-"),
            host,
            client = self.client.as_deref().unwrap_or("-"),
            method = self.method.as_str(),
            ms = self.began.elapsed().as_millis() as u64,
            "click"
        );
    }
}

/// The redirect to the target: the only way to write one, and it takes the proof that the link is ours.
///
/// `None` for a target that cannot stand in a header, which no serialised URL is.
fn redirect(opened: &Opened) -> Option<Response<Body>> {
    let location = HeaderValue::from_str(opened.target()?.as_str()).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    // Said, so that HEAD says it as well.
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Some(response)
}

fn user_agent<B>(request: &Request<B>) -> String {
    let bytes = request
        .headers()
        .get(header::USER_AGENT)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let text = String::from_utf8_lossy(bytes);
    let end = text.floor_char_boundary(MAX_USER_AGENT);
    match text {
        Cow::Owned(mut text) => {
            text.truncate(end);
            text
        }
        Cow::Borrowed(text) => text.get(..end).unwrap_or_default().to_owned(),
    }
}

/// Microseconds since 1970 in UTC.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_are_cut_between_characters() {
        let long = "\u{e9}".repeat(400);
        let request = Request::builder()
            .header("user-agent", HeaderValue::from_bytes(long.as_bytes()).unwrap())
            .body(())
            .unwrap();
        assert_eq!(user_agent(&request), "\u{e9}".repeat(256));
        // Octets that are no UTF-8 grow threefold as they are replaced; the limit counts what is kept.
        let request = Request::builder()
            .header("user-agent", HeaderValue::from_bytes(&[0xff; 400]).unwrap())
            .body(())
            .unwrap();
        assert_eq!(user_agent(&request).len(), 510);
    }
}
