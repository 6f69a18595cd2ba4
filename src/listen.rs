//! Ports that mail comes in by: accept, bound, drain.

mod milter;
pub mod smtp;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::job::{Recorder, Rewriter};
use crate::settings::{Listener, Protocol, Settings};

/// How long to wait after the system could not accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the sessions of one listener share.
pub struct Context {
    /// The listener's own section, as it was at start.
    pub listener: Listener,
    /// The settings of the moment: a session takes a snapshot for each transaction.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// Messages that may be rewritten at a time on the blocking pool: more than there are processors would only hold more
    /// memory.
    rewriting: Semaphore,
}

impl Context {
    /// The context of `listener`.
    #[must_use]
    pub fn new(
        listener: Listener,
        settings: watch::Receiver<Arc<Settings>>,
        rewriter: Arc<dyn Rewriter>,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listener,
            settings,
            rewriter,
            recorder,
            rewriting: Semaphore::new(processors + 1),
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Serves one listener until `shutdown` becomes true, then drains.
///
/// Draining: nothing more is accepted, sessions without an open transaction are told 421 at once, the others may finish
/// theirs for as long as `drain_s` says. What is left then is cut off; a client that got no reply tries again.
pub async fn serve(listener: TcpListener, context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(context.listener.max_connections));
    let for_sessions = shutdown.clone();
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(ended),
            accepted = accept(&listener, &permits) => match accepted {
                Ok((stream, peer, permit)) => {
                    sessions.spawn(session(stream, peer, permit, Arc::clone(&context), for_sessions.clone()));
                }
                Err(e) => {
                    warn!(target: "linkgate::mail", listener = %context.listener.listen, cause = %e, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let limit = context.settings.borrow().limits.drain;
    let drained = tokio::time::timeout(limit, async {
        while let Some(ended) = sessions.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        warn!(target: "linkgate::mail", sessions = sessions.len(), "cutting off sessions that did not end in time");
        sessions.shutdown().await;
    }
    info!(target: "linkgate::mail", listener = %context.listener.listen, "listener closed");
}

/// Waits for the order to stop; an owner that is gone counts as one.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// A connection with the permit it needs: who has to wait, waits in the system's queue.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

async fn session(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    context: Arc<Context>,
    shutdown: watch::Receiver<bool>,
) {
    match context.listener.protocol {
        Protocol::Smtp => smtp::session(stream, peer, context, shutdown).await,
        Protocol::Milter => milter::session(stream, peer, context, shutdown).await,
    }
    drop(permit);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        error!(target: "linkgate::mail", cause = %e, "a session panicked; its client was cut off");
    }
}
