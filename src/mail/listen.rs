//! Accepts the connections of one listener, bounds their number, and drains them at the end.

pub(super) mod arrival;
mod clients;
pub(super) mod in_flight;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::clients::{Admission, Clients};
pub use self::in_flight::InFlight;
use crate::config::{Listener, ListenerTls, Protocol, Settings};
use crate::log::Limiter;
use crate::mail::budget::Budgets;
use crate::mail::ports::{Recorder, Rewriter};
use crate::mail::relay::Hops;
use crate::mail::trace::Instance;
use crate::metrics::{Limit, ListenerCounts, Metrics};
use crate::net::tls::Identity;
use crate::net::{Peer, Socket, Stream};

/// The pause after the system could not accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the refusal of a connection may take.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// The state that the sessions of one listener share. A reload that changes the listener's section makes a new one, for the sessions
/// that come after it.
#[derive(Clone)]
pub struct Context {
    /// The listener's own section: a session goes by one to its end.
    pub listener: Listener,
    /// Its place among the listeners of the settings.
    index: usize,
    /// The settings of the moment: a session takes a snapshot for each transaction.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// Which next hops work.
    pub hops: Arc<Hops>,
    /// Memory for the messages of all listeners.
    pub budgets: Arc<Budgets>,
    /// The messages on their way through all listeners.
    pub(super) in_flight: Arc<InFlight>,
    /// The sessions of this listener, by client.
    clients: Arc<Clients>,
    /// The name by which a message that comes back is recognised.
    pub(super) instance: Instance,
    /// Everything that is counted, for what a session looks up by name.
    pub metrics: Arc<Metrics>,
    /// The listener's own counters.
    pub counts: Arc<ListenerCounts>,
}

/// The state that all listeners share.
#[derive(Clone)]
pub struct Shared {
    /// The settings of the moment.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// The messages on their way.
    pub in_flight: Arc<InFlight>,
    /// Memory for the messages of all listeners.
    pub budgets: Arc<Budgets>,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// The context of the `index`th listener of the settings, as it stands in them now.
    #[must_use]
    pub fn new(listener: Listener, index: usize, shared: &Shared) -> Self {
        let shared = shared.clone();
        Self {
            index,
            settings: shared.settings,
            rewriter: shared.rewriter,
            recorder: shared.recorder,
            hops: Arc::default(),
            in_flight: shared.in_flight,
            budgets: shared.budgets,
            clients: Arc::default(),
            instance: Instance::of(&listener, index),
            counts: shared.metrics.listener(&listener.listen.to_string()),
            metrics: shared.metrics,
            listener,
        }
    }

    /// The context for new sessions, if the settings of the moment want another one.
    fn renewed(&self) -> Option<Self> {
        let settings = self.settings.borrow();
        let listener = settings.listeners.get(self.index)?;
        (*listener != self.listener).then(|| Self {
            listener: listener.clone(),
            ..self.clone()
        })
    }

    /// The certificate to show in a handshake that begins now: that of the settings of the moment, so that a renewed one
    /// needs no restart.
    fn identity(&self) -> Option<Identity> {
        let settings = self.settings.borrow();
        let now = settings.listeners.get(self.index);
        now.and_then(|listener| listener.tls.identity())
            .or_else(|| self.listener.tls.identity())
            .cloned()
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
/// Draining: nothing more is accepted, sessions without an open transaction get 421 at once, the others may finish
/// theirs for as long as `drain_s` says. What is left then is cut off; a client that got no reply tries again.
pub async fn serve(listener: Socket, mut context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let for_sessions = shutdown.clone();
    let mut settings = context.settings.clone();
    let mut reloads = true;
    let mut sessions = JoinSet::new();
    let complaints = Limiter::default();
    context.counts.set_max_connections(context.listener.max_connections);
    context.counts.set_accepting(true);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            changed = settings.changed(), if reloads => {
                reloads = changed.is_ok();
                if let Some(new) = context.renewed() {
                    context = Arc::new(new);
                    context.counts.set_max_connections(context.listener.max_connections);
                }
            }
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(ended, &context),
            // Who has to wait, waits in the system's queue.
            accepted = listener.accept(), if sessions.len() < context.listener.max_connections => match accepted {
                Ok((stream, peer)) => {
                    context.counts.set_accepting(true);
                    sessions.spawn(session(stream, peer, Arc::clone(&context), for_sessions.clone()));
                    if sessions.len() == context.listener.max_connections {
                        context.counts.limits.inc(Limit::Connections);
                    }
                }
                Err(e) => {
                    context.counts.set_accepting(false);
                    if let Some(left_out) = complaints.admit() {
                        warn!(target: "linkgate::mail", listener = %context.listener.listen, cause = %e, left_out, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    context.counts.set_accepting(false);
    let limit = context.settings.borrow().limits.drain;
    let drained = tokio::time::timeout(limit, async {
        while let Some(ended) = sessions.join_next().await {
            report(ended, &context);
        }
    });
    if drained.await.is_err() {
        warn!(target: "linkgate::mail", sessions = sessions.len(), "cutting off sessions that did not end in time");
        sessions.shutdown().await;
    }
    info!(target: "linkgate::mail", listener = %context.listener.listen, "listener closed");
}

/// Waits for the order to stop; an owner that is gone counts as one.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn session(mut stream: Stream, peer: Peer, context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let _open = context.counts.session();
    let received = tokio::select! {
        biased;
        () = stopped(&mut shutdown) => None,
        received = receive(&mut stream, peer, &context) => received,
    };
    let Some((peer, admission)) = received else {
        return;
    };
    match context.listener.protocol {
        Protocol::Smtp | Protocol::Lmtp => crate::mail::smtp::session(stream, peer, context, shutdown).await,
        Protocol::Milter => crate::mail::milter::session(stream, peer, context, shutdown).await,
    }
    drop(admission);
}

/// Readies an accepted connection for its session: who made it, and its admission. `None` when it was closed or refused.
async fn receive(stream: &mut Stream, peer: Peer, context: &Context) -> Option<(Peer, Admission)> {
    let peer = arrival::introduce(stream, peer, context).await?;
    let limit = context.listener.max_connections_per_client;
    let Some(admission) = context.clients.admit(peer, limit) else {
        context.counts.limits.inc(Limit::ConnectionsPerClient);
        turn_away(stream, peer, context).await;
        return None;
    };
    arrival::encrypt(stream, peer, context)
        .await
        .then_some((peer, admission))
}

/// Tells a client that it has as many sessions as one may have.
async fn turn_away(stream: &mut Stream, peer: Peer, context: &Context) {
    info!(target: "linkgate::mail", listener = %context.listener.listen, client = %peer, "too many connections of one client");
    if context.listener.protocol == Protocol::Milter {
        // There is no word for it before terms are agreed on: the MTA sees a filter that is away.
        return;
    }
    if let ListenerTls::Implicit(_) = context.listener.tls {
        // A client that waits for a handshake would not understand it, and a handshake is what costs.
        return;
    }
    let mut reply = Vec::new();
    wire::Answer::TOO_MANY_CONNECTIONS.write(&mut reply);
    // A client that does not read this will see the end of the connection.
    let _ = tokio::time::timeout(TURN_AWAY, stream.write_all(&reply)).await;
}

fn report(ended: Result<(), tokio::task::JoinError>, context: &Context) {
    if let Err(e) = ended
        && e.is_panic()
    {
        context.counts.session_panicked();
        error!(target: "linkgate::mail", cause = %e, "a session panicked; its client was cut off");
    }
}
