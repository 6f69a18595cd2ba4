//! Ports that mail comes in by: accept, bound, drain.

mod clients;
mod in_flight;
mod milter;
pub mod smtp;
mod trace;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::clients::{Admission, Clients};
pub use self::in_flight::InFlight;
use self::trace::Instance;
use crate::job::{Recorder, Rewriter};
use crate::net::{Peer, Socket, Stream};
use crate::settings::{Listener, Protocol, Settings};

/// How long to wait after the system could not accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the refusal of a connection may take.
const TURN_AWAY: Duration = Duration::from_secs(1);

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
    /// Recipients that may get a message twice: the next hop has taken it, or may have, and the client was not told so.
    pub possible_duplicates: AtomicU64,
    /// The messages on their way through all listeners.
    in_flight: Arc<InFlight>,
    /// The sessions of this listener, by client.
    clients: Arc<Clients>,
    /// By this name a message is known again that comes back.
    instance: Instance,
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
        let instance = Instance::of(&listener, 0);
        Self {
            listener,
            settings,
            rewriter,
            recorder,
            possible_duplicates: AtomicU64::new(0),
            in_flight: Arc::default(),
            clients: Arc::default(),
            instance,
        }
    }

    /// The context of the `index`th of several listeners, which share the limit of messages on their way.
    #[must_use]
    pub fn among(self, in_flight: Arc<InFlight>, index: usize) -> Self {
        Self {
            in_flight,
            instance: Instance::of(&self.listener, index),
            ..self
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
pub async fn serve(listener: Socket, context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
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
                    let context = Arc::clone(&context);
                    match context.clients.admit(peer, context.listener.max_connections_per_client) {
                        Some(admission) => {
                            let rights = (permit, admission);
                            sessions.spawn(session(stream, peer, rights, context, for_sessions.clone()));
                        }
                        None => {
                            sessions.spawn(turn_away(stream, peer, context));
                        }
                    }
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
async fn accept(listener: &Socket, permits: &Arc<Semaphore>) -> std::io::Result<(Stream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn session(
    stream: Stream,
    peer: Peer,
    rights: (OwnedSemaphorePermit, Admission),
    context: Arc<Context>,
    shutdown: watch::Receiver<bool>,
) {
    match context.listener.protocol {
        Protocol::Smtp | Protocol::Lmtp => smtp::session(stream, peer, context, shutdown).await,
        Protocol::Milter => milter::session(stream, peer, context, shutdown).await,
    }
    drop(rights);
}

/// Tells a client that it has as many sessions as one may have.
async fn turn_away(mut stream: Stream, peer: Peer, context: Arc<Context>) {
    info!(target: "linkgate::mail", listener = %context.listener.listen, client = %peer, "too many connections of one client");
    if context.listener.protocol == Protocol::Milter {
        // There is no word for it before terms are agreed on: the MTA sees a filter that is away.
        return;
    }
    let mut reply = Vec::new();
    wire::Answer::TOO_MANY_CONNECTIONS.write(&mut reply);
    // A client that does not read this will see the end of the connection.
    let _ = tokio::time::timeout(TURN_AWAY, stream.write_all(&reply)).await;
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        error!(target: "linkgate::mail", cause = %e, "a session panicked; its client was cut off");
    }
}
