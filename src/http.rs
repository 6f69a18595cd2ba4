//! HTTP/1.1 listeners: limits, keep-alive and drain around a handler.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::log::Limiter;
use crate::metrics::HttpCounts;

/// How a listener guards itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// For a whole request head, and for the next one on a kept connection.
    pub head: Duration,
    /// For requests that are being answered when the server stops.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 2048,
            head: Duration::from_secs(15),
            drain: Duration::from_secs(10),
        }
    }
}

/// Octets of a request head. A click link has 900 at most; the rest is for what browsers and proxies put in.
const MAX_HEAD: usize = 16 * 1024;

/// Fields of a request head.
const MAX_FIELDS: usize = 64;

/// Puts the headers that every answer of ours carries.
pub(crate) fn guard(response: &mut Response<Body>) {
    const FIELDS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        // The path holds a token: it is nobody else's business.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ];
    let headers = response.headers_mut();
    headers.reserve(FIELDS.len() + 2);
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(NO_CONTENT));
}

/// The content security policy of a page without anything in it.
const NO_CONTENT: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Serves requests by `handler` until `shutdown` turns true, then lets open ones finish.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    limits: HttpLimits,
    counts: Arc<HttpCounts>,
    mut shutdown: watch::Receiver<bool>,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    let complaints = Limiter::default();
    loop {
        // The permit before the connection: what we cannot serve waits in the kernel's queue, not in our memory.
        let accepted = tokio::select! {
            biased;
            () = stopping(&mut shutdown) => break,
            // Before the next one: under load there always is a next one, and what has ended still takes up room.
            Some(ended) = open.join_next() => {
                if let Err(e) = ended
                    && e.is_panic()
                {
                    counts.panicked();
                    error!(target: "linkgate::http", cause = %e, "a request panicked; its connection was cut off");
                }
                continue;
            }
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                open.spawn(connection(
                    stream,
                    peer,
                    permit,
                    limits,
                    Arc::clone(&counts),
                    shutdown.clone(),
                    handler.clone(),
                ));
            }
            Err(e) => {
                // Out of file descriptors, mostly: going round at once would only burn the processor.
                if let Some(left_out) = complaints.admit() {
                    warn!(target: "linkgate::http", error = %e, left_out, "cannot accept");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(limits.drain, async { while open.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        warn!(target: "linkgate::http", connections = open.len(), "cut off: not finished in time");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
    limits: HttpLimits,
    counts: Arc<HttpCounts>,
    mut shutdown: watch::Receiver<bool>,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send,
    F: Future<Output = Response<Body>> + Send,
{
    // Answers are one small write each: waiting for more of them only delays the reader.
    let _ = stream.set_nodelay(true);
    let answered = Arc::clone(&counts);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = handler(request, peer);
        let counts = Arc::clone(&answered);
        async move {
            let mut response = answer.await;
            counts.answered(response.status().as_u16());
            guard(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        // Answers are small: one buffer is cheaper to hand over than a list of them.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = stopping(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = end {
        counts.broken();
        debug!(target: "linkgate::http", %peer, error = %e, "connection ended");
    }
}

/// Returns when the server has to stop, or when nobody is left to say so.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
