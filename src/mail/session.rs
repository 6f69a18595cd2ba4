//! The parts that SMTP and milter sessions share: the connection to the client, the settings it goes by, and how the session ends.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::field::display;
use tracing::{debug, info, warn};
use wire::Printable;

use crate::config::Settings;
use crate::failure::Failure;
use crate::mail::context::{ListenerContext, stopped};
use crate::metrics::{SessionEnd, Silence};
use crate::net::{Inbox, Peer, Stream};

/// Octets of the buffer for output that are kept between turns.
const OUT_KEPT: usize = 4096;

/// The connection to the client of one session.
pub(super) struct ClientConnection {
    pub(super) stream: Stream,
    /// The client: at the other end of the connection, or the one that a proxy there names.
    pub(super) peer: Peer,
    pub(super) context: Arc<ListenerContext>,
    /// The snapshot of the settings for the message under way, or for the last one.
    pub(super) settings: Arc<Settings>,
    pub(super) shutdown: watch::Receiver<bool>,
    /// Octets not written yet: all that is said in one turn goes out in one write.
    pub(super) out: Vec<u8>,
    /// How the session ends, as far as is known.
    pub(super) end: SessionEnd,
}

/// The result of a wait for octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are some.
    Octets,
    /// The client closed the connection.
    Closed,
    /// linkgate was stopped.
    Shutdown,
    /// The client was silent for too long.
    Timeout,
}

impl ClientConnection {
    pub(super) fn new(
        stream: Stream,
        peer: Peer,
        context: Arc<ListenerContext>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let settings = context.settings.borrow().clone();
        Self {
            stream,
            peer,
            settings,
            context,
            shutdown,
            out: Vec::new(),
            end: SessionEnd::Closed,
        }
    }

    /// Takes a new snapshot of the settings, for the next message.
    pub(super) fn renew_settings(&mut self) {
        self.settings = self.context.settings.borrow().clone();
    }

    /// Whether linkgate is about to stop.
    pub(super) fn is_stopping(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Writes what is not written yet.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            // TLS keeps what the socket would not take.
            self.stream.flush().await
        };
        timeout(self.settings.limits.command_timeout, written).await??;
        if self.out.capacity() > OUT_KEPT {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more from the client, `block` octets at a time; for the order to stop as well where the session is `idle`.
    /// `in_data` says what a client that is silent has not finished.
    pub(super) async fn fill(
        &mut self,
        inbox: &mut Inbox,
        block: usize,
        deadline: Instant,
        idle: bool,
        in_data: bool,
    ) -> io::Result<Filled> {
        tokio::select! {
            biased;
            () = stopped(&mut self.shutdown), if idle => {
                self.end = SessionEnd::Shutdown;
                Ok(Filled::Shutdown)
            }
            filled = timeout_at(deadline, inbox.fill(&mut self.stream, block)) => match filled {
                Ok(n) => Ok(if n? > 0 { Filled::Octets } else { Filled::Closed }),
                Err(_) => {
                    self.end = SessionEnd::Timeout;
                    self.context.counts.timeout(if in_data { Silence::Data } else { Silence::Command });
                    Ok(Filled::Timeout)
                }
            },
        }
    }

    /// Counts and logs a failure of a message or of the next hop. `xforward` is what is known of the client behind the
    /// client; `left_out`, where there is a next hop, how many such lines were not written.
    pub(super) fn log_failure(
        &self,
        failure: &Failure,
        id: &str,
        helo: &[u8],
        xforward: Option<&[u8]>,
        left_out: Option<u64>,
    ) {
        let listener = &self.context.listener;
        let xforward = xforward.map(|attributes| display(Printable(attributes)));
        let next_hop = left_out.map(|_| display(&listener.next_hops));
        self.context.counts.failure(failure);
        warn!(
            target: "linkgate::mail",
            id,
            listener = %listener.listen,
            client = %self.peer,
            helo = %Printable(helo),
            xforward,
            next_hop,
            left_out,
            "{failure}"
        );
    }

    /// Counts and logs the end of the session; `message` is the id of the message that it left unfinished.
    pub(super) fn log_end(&self, error: Option<&io::Error>, helo: &[u8], message: Option<&str>) {
        let counts = &self.context.counts;
        let end = match error.map(io::Error::kind) {
            None => self.end,
            // The first cause counts: clients that have what they want often do not wait for the last reply.
            Some(_) if self.end != SessionEnd::Closed => self.end,
            Some(io::ErrorKind::TimedOut) => {
                counts.timeout(Silence::Reply);
                SessionEnd::Timeout
            }
            Some(_) => SessionEnd::Broken,
        };
        counts.ended.inc(end);
        let cause = error.map_or_else(|| "connection closed".to_owned(), io::Error::to_string);
        let (client, helo) = (self.peer, Printable(helo));
        match message {
            Some(id) => {
                info!(target: "linkgate::mail", id, %client, %helo, cause, "session ended before its message did");
            }
            None => debug!(target: "linkgate::mail", %client, %helo, cause, "session ended"),
        }
    }
}
