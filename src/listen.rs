//! Ports that mail comes in by: accept, bound, drain.

pub mod smtp;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::job::{Recorder, Rewriter};
use crate::metrics::{Limit, ListenerCounts, Metrics};
use crate::net::{Peer, Socket, Stream};
use crate::settings::{Listener, Protocol, Settings};
use crate::telemetry::Limiter;

/// How long to wait after the system could not accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the sessions of one listener share. A reload that changes the listener's section makes a new one, for the sessions
/// that come after it.
#[derive(Clone)]
pub struct Context {
    /// The listener's own section: a session goes by one to its end.
    pub listener: Listener,
    /// Its place in the settings; `None` when no reload may change it.
    index: Option<usize>,
    /// The settings of the moment: a session takes a snapshot for each transaction.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// Everything that is counted, for what a session looks up by name.
    pub metrics: Arc<Metrics>,
    /// The listener's own counters.
    pub counts: Arc<ListenerCounts>,
}

impl Context {
    /// The context of `listener`, which no reload changes and which counts for itself.
    #[must_use]
    pub fn new(
        listener: Listener,
        settings: watch::Receiver<Arc<Settings>>,
        rewriter: Arc<dyn Rewriter>,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        Self {
            listener,
            index: None,
            settings,
            rewriter,
            recorder,
            metrics: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// Takes new settings up: those of the listener at `index` of the file.
    #[must_use]
    pub fn following(self, index: usize) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    /// Counts in `metrics`.
    #[must_use]
    pub fn counting(self, metrics: Arc<Metrics>) -> Self {
        let counts = metrics.listener(&self.listener.listen.to_string());
        Self {
            metrics,
            counts,
            ..self
        }
    }

    /// The context for new sessions, if the settings of the moment want another one.
    fn renewed(&self) -> Option<Self> {
        let settings = self.settings.borrow();
        let listener = settings.listeners.get(self.index?)?;
        (*listener != self.listener).then(|| Self {
            listener: listener.clone(),
            ..self.clone()
        })
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
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn session(stream: Stream, peer: Peer, context: Arc<Context>, shutdown: watch::Receiver<bool>) {
    let _open = context.counts.session();
    match context.listener.protocol {
        Protocol::Smtp | Protocol::Lmtp => smtp::session(stream, peer, context, shutdown).await,
    }
}

fn report(ended: Result<(), tokio::task::JoinError>, context: &Context) {
    if let Err(e) = ended
        && e.is_panic()
    {
        context.counts.session_panicked();
        error!(target: "linkgate::mail", cause = %e, "a session panicked; its client was cut off");
    }
}
