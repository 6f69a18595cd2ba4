//! Accepts the connections of one listener, bounds their number, and drains them at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{ListenerTls, Protocol};
use crate::log::Limiter;
use crate::mail::arrival;
use crate::mail::clients::Admission;
use crate::mail::context::{ListenerContext, stopped};
use crate::metrics::Limit;
use crate::net::{Peer, Socket, Stream};

/// The pause after the system could not accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the refusal of a connection may take.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// Serves one listener until `shutdown` becomes true, then drains.
///
/// Draining: nothing more is accepted, sessions without an open transaction get 421 at once, the others may finish
/// theirs for as long as `drain_s` says. What is left then is cut off; a client that got no reply tries again.
pub async fn serve(listener: Socket, mut context: Arc<ListenerContext>, mut shutdown: watch::Receiver<bool>) {
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

async fn session(mut stream: Stream, peer: Peer, context: Arc<ListenerContext>, mut shutdown: watch::Receiver<bool>) {
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
async fn receive(stream: &mut Stream, peer: Peer, context: &ListenerContext) -> Option<(Peer, Admission)> {
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
async fn turn_away(stream: &mut Stream, peer: Peer, context: &ListenerContext) {
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

fn report(ended: Result<(), tokio::task::JoinError>, context: &ListenerContext) {
    if let Err(e) = ended
        && e.is_panic()
    {
        context.counts.session_panicked();
        error!(target: "linkgate::mail", cause = %e, "a session panicked; its client was cut off");
    }
}
