//! The pages of `[admin] listen`: whether the server is alive, whether it should get work, its metrics, and checks of URLs for
//! programs.

mod metrics;

use std::fmt::Write;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use store::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_service::Service;

pub use self::metrics::{CONTENT_TYPE, ScrapeInput};
use crate::click::{ApiQuestion, ClickPages};
use crate::config::Settings;
use crate::http::{HttpLimits, serve};
use crate::ledger::Ledger;
use crate::mail::budget::Budgets;
use crate::metrics::Metrics;

/// How long a failed attempt to reach a next hop makes us "not ready". Only mail makes another attempt: a server that gets
/// none while it is "not ready" would never be ready again.
const NEXT_HOP_MEMORY: Duration = Duration::from_secs(60);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Octets of a question that are read.
const MAX_QUESTION: usize = 64 * 1024;

/// How long a program may take to send it.
const QUESTION: Duration = Duration::from_secs(10);

/// The parts of the server that the admin pages show.
#[derive(Debug)]
pub struct Admin {
    /// Store and spill.
    pub ledger: Ledger,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// The click pages, which count for themselves.
    pub pages: Arc<ClickPages>,
    /// How much messages use of their budgets.
    pub budgets: Arc<Budgets>,
    /// The settings of the moment.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Whether the server is being stopped.
    pub stopping: watch::Receiver<bool>,
}

impl Admin {
    /// Routes to the pages.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/check", post(check))
            .with_state(self)
    }

    /// Why no work should be sent here now; nothing when it should.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if *self.stopping.borrow() {
            reasons.push("draining: nothing new is taken".to_owned());
        }
        let settings = Arc::clone(&self.settings.borrow());
        for (i, listener) in settings.listeners.iter().enumerate() {
            let (n, address) = (i + 1, listener.listen.to_string());
            if !self.metrics.listener(&address).is_accepting() {
                reasons.push(format!("listener[{n}]: {address} does not accept connections"));
            }
            // One next hop that answers is enough for a listener.
            let next_hops = &listener.next_hops.all;
            let down = next_hops.iter().filter_map(|hop| self.down(&hop.to_string()));
            let down: Vec<_> = down.collect();
            if down.len() == next_hops.len() && !down.is_empty() {
                reasons.push(format!("listener[{n}]: {}", down.join(", ")));
            }
        }
        match self.ledger.store().health() {
            Health::Writing => {}
            Health::Failing(why) => reasons.push(format!("store: failing: {why}")),
            Health::Dead => reasons.push("store: dead".to_owned()),
        }
        reasons
    }

    fn down(&self, next_hop: &str) -> Option<String> {
        let ago = self.metrics.next_hop(next_hop).down_for()?;
        (ago < NEXT_HOP_MEMORY).then(|| {
            let seconds = ago.as_secs();
            format!("{next_hop} could not be reached {seconds} s ago")
        })
    }
}

/// 200 as long as rows are taken, be it into memory; 503 when the store is gone for good.
async fn healthz(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let ledger = &admin.ledger;
    let (status, word, why) = match ledger.store().health() {
        Health::Writing => (StatusCode::OK, "ok", "writing".to_owned()),
        Health::Failing(why) => (StatusCode::OK, "ok", format!("failing: {why}")),
        Health::Dead => (StatusCode::SERVICE_UNAVAILABLE, "failed", "dead".to_owned()),
    };
    let counts = ledger.store().counts();
    let unstored = ledger.unstored();
    let body = format!(
        "{word}\nstore: {why}\nrows waiting: {}\nclicks stored: {}\nclicks spilled: {}\nclicks lost: {}\nmessages stored: {}\n\
         messages lost: {}\n",
        counts.waiting, counts.clicks, unstored.spilled, unstored.lost, counts.messages, counts.lost
    );
    (status, [(header::CONTENT_TYPE, TEXT)], body)
}

/// 200 when work may be sent here; else 503 and a line for each reason.
async fn readyz(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let reasons = admin.unready();
    if reasons.is_empty() {
        return (StatusCode::OK, [(header::CONTENT_TYPE, TEXT)], "ready\n".to_owned());
    }
    let mut body = "not ready\n".to_owned();
    for reason in reasons {
        let _ = writeln!(body, "{reason}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, TEXT)], body)
}

/// Checks a URL; 400 with the reason in words for what is no question.
async fn check(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Body) -> Response {
    let question = match question(&headers, body).await {
        Ok(question) => question,
        Err((status, why)) => return refusal(status, &why),
    };
    match admin.pages.check(&question).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(e) => refusal(StatusCode::BAD_REQUEST, &e.to_string()),
    }
}

async fn question(headers: &HeaderMap, body: Body) -> Result<ApiQuestion, (StatusCode, String)> {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let media_type = media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if !media_type.eq_ignore_ascii_case(JSON.as_bytes()) {
        let found = String::from_utf8_lossy(media_type);
        let why = format!("content-type: found {found:?}, allowed: {JSON:?}");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let octets = match tokio::time::timeout(QUESTION, to_bytes(body, MAX_QUESTION)).await {
        Ok(Ok(octets)) => octets,
        Ok(Err(_)) => {
            let why = format!("body: found more than {MAX_QUESTION} octets, or not all of it, allowed: less");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "body: it did not come in time".to_owned())),
    };
    serde_json::from_slice(&octets).map_err(|e| {
        let allowed = "allowed: an object with url, and domain or recipient if wanted";
        (StatusCode::BAD_REQUEST, format!("body: {e}; {allowed}"))
    })
}

fn refusal(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, JSON)], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let settings = Arc::clone(&admin.settings.borrow());
    let sources = ScrapeInput {
        ledger: &admin.ledger,
        budgets: &admin.budgets,
        limits: &settings.limits,
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], admin.metrics.page(&sources))
}

/// Serves the admin pages until `shutdown` turns true, then lets open requests finish.
pub async fn serve_admin(
    listener: TcpListener,
    admin: Arc<Admin>,
    limits: HttpLimits,
    shutdown: watch::Receiver<bool>,
) {
    let counts = Arc::clone(&admin.metrics.admin_http);
    let router = admin.router();
    serve(listener, limits, counts, shutdown, move |request, _| {
        let mut router = router.clone();
        async move {
            let router: &mut Router = &mut router;
            // A router is always ready; asking is what the trait wants.
            match poll_fn(|cx| Service::<Request<Incoming>>::poll_ready(router, cx)).await {
                Ok(()) => match router.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                Err(never) => match never {},
            }
        }
    })
    .await;
}
