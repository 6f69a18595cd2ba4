//! Answering clicks on click links: a redirect to the target when nothing speaks against it, or a page.
//!
//! The order of work: open the token, label the visitor (`visitor`), take apart what is wrapped in the target (`layers`),
//! check it (`check`): the operator's rules, lists in memory and signs of the URL itself, other hosts, the target where the
//! policy says so; then choose the answer and record the click (`request`), and only then answer. A machine gets a page that
//! says nothing about the target, before anything is checked.
//!
//! Beside these: `client` finds the reader's address, `rates` bounds how often links are opened, `form` reads the buttons of
//! pages, `cache` keeps what was found, `once` remembers what counts once, `api` checks URLs for programs, and [`hindsight`]
//! matches earlier clicks against changed lists.

mod api;
mod cache;
mod check;
mod client;
mod form;
pub mod hindsight;
mod layers;
mod once;
mod rates;
mod request;
pub mod visitor;

use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use link::{OpenError, Opened, Opener, Word};
use store::Outcome;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinError;
use tracing::{error, info};

pub use self::api::{ApiAnswer, ApiError, ApiQuestion};
use self::check::Checker;
use self::form::{Sent, Used};
use self::once::Once;
use self::rates::{Rates, TooMany};
use crate::click::request::Visit;
use crate::click::visitor::VisitorHistory;
use crate::config::Settings;
use crate::http::{HttpLimits, serve};
use crate::intel::sources::Sources;
use crate::ledger::{EventIds, Ledger};
use crate::metrics::{ClickMetrics, ClickRefusal, HttpCounts};
use crate::pages::{self, PageKind, View};

/// Links remembered of which an alert was raised.
const ALERTED: usize = 100_000;

/// How long the same sign of the same link raises no second alert.
const ALERT_PAUSE: Duration = Duration::from_secs(86_400);

/// Answers requests to the click address.
#[derive(Debug)]
pub struct ClickPages {
    settings: watch::Receiver<Arc<Settings>>,
    ledger: Ledger,
    ids: EventIds,
    visitors: Arc<VisitorHistory>,
    checker: Arc<Checker>,
    rates: Rates,
    used: Used,
    /// Links and the signs of them that an alert was raised for.
    alerted: Once<(String, &'static str)>,
    counts: Arc<ClickMetrics>,
}

/// Why a click link leads nowhere.
enum LinkRefusal {
    /// Not a link of ours, or not as we made it.
    NotOurs(OpenError),
    /// Genuine, but the store does not have its target.
    TargetMissing { mail_id: String },
    /// Genuine, but the store does not answer.
    Unavailable { mail_id: String, why: String },
}

/// A request whose link was opened.
struct ClickRequest {
    settings: Arc<Settings>,
    /// The path as the browser sees it, with that of the public URL.
    path: String,
    client: Option<IpAddr>,
    headers: HeaderMap,
    version: axum::http::Version,
    method: store::Method,
    began: Instant,
}

impl ClickPages {
    /// Click pages by the newest settings at each request, which ask `sources` about targets, label readers by `visitors`, and
    /// record clicks in `ledger`.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        ledger: Ledger,
        sources: Arc<dyn Sources>,
        visitors: Arc<VisitorHistory>,
        counts: Arc<ClickMetrics>,
    ) -> Self {
        let now = Arc::clone(&settings.borrow());
        Self {
            settings,
            ledger,
            ids: EventIds::default(),
            visitors,
            checker: Checker::new(sources, now, Arc::clone(&counts.checks)),
            rates: Rates::new(),
            used: Used::new(),
            alerted: Once::new(ALERT_PAUSE, ALERTED),
            counts,
        }
    }

    /// The counters of clicks.
    #[must_use]
    pub fn counts(&self) -> &ClickMetrics {
        &self.counts
    }

    /// Answers one request that came from `peer`. A click is on disk before its answer goes out, and it counts even if nobody
    /// waits for the answer.
    pub async fn answer<B>(self: &Arc<Self>, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let began = Instant::now();
        // One snapshot for the whole request.
        let settings = Arc::clone(&self.settings.borrow());
        let (head, body) = request.into_parts();
        let method = match head.method {
            Method::GET => store::Method::Get,
            Method::HEAD => store::Method::Head,
            Method::POST => store::Method::Post,
            _ => return plain(&settings, &head.headers, PageKind::WrongMethod),
        };
        let path = head.uri.path();
        let Some(link) = settings.click.base.parse_path(path) else {
            return pages::asset(path, &settings.pages)
                .filter(|_| method != store::Method::Post)
                .unwrap_or_else(|| plain(&settings, &head.headers, PageKind::NotOurs));
        };
        let client = client::address(peer.ip(), &head.headers, &settings.click.trusted_proxies);
        let shortened = || client.and_then(|ip| client::shorten(ip, settings.click.client_ip));
        self.rates.clean();
        let too_many = self.rates.network(&settings.check_limits, client).err();
        if let Some(too_many) = too_many.filter(|t| !t.first) {
            self.counts.outcomes.inc(Outcome::RefusedRate);
            return wait_page(&settings, &head.headers, too_many);
        }
        let opener = Opener::new(&settings.keys, &settings.click.base);
        let opened = match opener.open_link(&link) {
            Ok(opened) => self.with_target(&opener, opened).await,
            Err(e) => Err(LinkRefusal::NotOurs(e)),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(&refusal, shortened().as_deref(), &settings, &head.headers),
        };
        let sent = match method {
            store::Method::Post => form::read(&head.headers, Body::new(body)).await,
            _ => None,
        };
        let request = ClickRequest {
            path: settings.click.base.public_path(path),
            client,
            version: head.version,
            method,
            began,
            headers: head.headers,
            settings,
        };
        // In a task of its own: the click counts even if the connection goes. Boxed, for it is large and would be moved often.
        let answer = tokio::spawn(Box::pin(Arc::clone(self).opened(request, opened, sent, too_many)));
        match answer.await.map_err(JoinError::try_into_panic) {
            Ok(response) => response,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is being shut down.
            Err(Err(_)) => Response::new(Body::empty()),
        }
    }

    /// Answers a request for a genuine link.
    async fn opened(
        self: Arc<Self>,
        request: ClickRequest,
        opened: Opened,
        sent: Option<Sent>,
        too_many: Option<TooMany>,
    ) -> Response<Body> {
        let Some(visit) = Visit::new(&self, &request, &opened) else {
            // Only a link whose target was looked up comes here.
            return plain(&request.settings, &request.headers, PageKind::NotOurs);
        };
        let too_many = too_many.or_else(|| {
            // A link that names no reader is everyone's whom the mail went to: many may open it at once.
            let named = opened.message().recipient.is_some();
            let limits = &request.settings.check_limits;
            self.rates
                .link(limits, request.client.filter(|_| named), visit.link())
                .err()
        });
        match too_many {
            Some(too_many) => {
                // What is recorded is counted there.
                match too_many.first {
                    true => visit.record_refusal().await,
                    false => self.counts.outcomes.inc(Outcome::RefusedRate),
                }
                wait_page(&request.settings, &request.headers, too_many)
            }
            None => visit.answer(sent).await,
        }
    }

    /// Looks up the target of a reference; other links have theirs in the token.
    async fn with_target(&self, opener: &Opener<'_>, opened: Opened) -> Result<Opened, LinkRefusal> {
        let Some(id) = opened.reference_id().filter(|_| opened.target().is_none()) else {
            return Ok(opened);
        };
        let mail_id = opened.message().message_id.clone();
        let reader = self.ledger.store().reader().clone();
        let unavailable = |why: String| LinkRefusal::Unavailable {
            mail_id: mail_id.clone(),
            why,
        };
        match tokio::task::spawn_blocking(move || reader.reference(&id)).await {
            Ok(Ok(Some(row))) => opener
                .complete(opened, &row.target, row.written.as_deref())
                .map_err(LinkRefusal::NotOurs),
            Ok(Ok(None)) => Err(LinkRefusal::TargetMissing { mail_id }),
            Ok(Err(e)) => Err(unavailable(e.to_string())),
            Err(e) => Err(unavailable(e.to_string())),
        }
    }

    fn refuse(
        &self,
        refusal: &LinkRefusal,
        client: Option<&str>,
        settings: &Settings,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let client = client.unwrap_or("-");
        match refusal {
            LinkRefusal::NotOurs(why) => {
                self.counts.refusals.inc(ClickRefusal::Refused);
                info!(target: "linkgate::click", outcome = "refused", reason = why.as_str(), client, "click");
                let kind = match why {
                    OpenError::RetiredKey(_) => PageKind::Expired,
                    _ => PageKind::NotOurs,
                };
                plain(settings, headers, kind)
            }
            LinkRefusal::TargetMissing { mail_id } => {
                self.counts.refusals.inc(ClickRefusal::TargetMissing);
                error!(
                    target: "linkgate::click", outcome = "target-missing", mail_id, client,
                    "a genuine link refers to a target that is not in the store: was an older copy of it put back?"
                );
                plain(settings, headers, PageKind::NotOurs)
            }
            LinkRefusal::Unavailable { mail_id, why } => {
                self.counts.refusals.inc(ClickRefusal::Unavailable);
                error!(
                    target: "linkgate::click", outcome = "unavailable", mail_id, client, error = why,
                    "the target of a link could not be looked up"
                );
                plain(settings, headers, PageKind::TryLater { retry_after_s: 60 })
            }
        }
    }
}

/// The page that says when to come again.
fn wait_page(settings: &Settings, headers: &HeaderMap, too_many: TooMany) -> Response<Body> {
    let seconds = too_many.after.as_secs().saturating_add(1);
    let retry_after_s = u32::try_from(seconds).unwrap_or(u32::MAX);
    plain(settings, headers, PageKind::TooMany { retry_after_s })
}

/// A page that belongs to no link.
fn plain(settings: &Settings, headers: &HeaderMap, kind: PageKind<'_>) -> Response<Body> {
    let brand = &settings.pages.common;
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let lang = pages::language(
        wanted.unwrap_or_default(),
        &settings.pages.languages,
        brand.language.as_deref(),
    );
    pages::answer(&View::plain(kind, brand, lang))
}

/// The redirect to the target: the only way to write one, and it takes the proof that the link is ours.
///
/// `None` for a target that cannot stand in a header, which no serialised URL is.
fn redirect(opened: &Opened) -> Option<Response<Body>> {
    let location = HeaderValue::from_str(opened.target()?.as_str()).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    // With room for the fields that every answer gets.
    *response.headers_mut() = HeaderMap::with_capacity(8);
    response.headers_mut().insert(header::LOCATION, location);
    // Said, so that HEAD says it as well.
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Some(response)
}

/// Serves the click pages until `shutdown` turns true, then lets open requests finish.
pub async fn serve_click(
    listener: TcpListener,
    pages: Arc<ClickPages>,
    limits: HttpLimits,
    counts: Arc<HttpCounts>,
    shutdown: watch::Receiver<bool>,
) {
    serve(listener, limits, counts, shutdown, move |request, peer| {
        let pages = Arc::clone(&pages);
        async move { pages.answer(request, peer).await }
    })
    .await;
}
