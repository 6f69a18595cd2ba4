//! One connection to the next hop.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use wire::{Capabilities, NextHop, Reply, Sent};

use super::Inbox;
use crate::failure::{Cause, Failure, Phase};
use crate::net::Stream;
use crate::settings::{self, Dialect};

/// Octets read at a time: replies are short.
const BLOCK: usize = 4096;

/// How long a connection that was told QUIT is waited for.
const QUIT_WAIT: Duration = Duration::from_secs(1);

/// A connection that has been greeted, and what the next hop offers on it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    inbox: Inbox,
    /// Commands that are not written yet: what is said in one turn goes out in one write.
    out: Vec<u8>,
    dialogue: NextHop,
    /// Octets and code of the reply that was read last.
    read: usize,
    code: u16,
    /// The keywords of its EHLO or LHLO reply; none after HELO.
    pub(super) offers: Capabilities,
}

impl Connection {
    /// Connects, reads the greeting, and says EHLO, or HELO to a server that does not know it; LHLO to a LMTP server.
    pub(super) async fn open(to: &settings::NextHop, hostname: &str, wait: Duration) -> Result<Self, Failure> {
        let connected = timeout(wait, Stream::connect(&to.to)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(Failure::next_hop(Phase::Connect, e)),
            Err(_) => return Err(Failure::next_hop(Phase::Connect, Cause::Timeout(wait))),
        };
        let mut connection = Self {
            stream,
            inbox: Inbox::default(),
            out: Vec::new(),
            dialogue: NextHop::connecting(),
            read: 0,
            code: 0,
            offers: Capabilities::default(),
        };
        connection.accepted(Phase::Connect, wait).await?;
        let (hello, verb) = match to.dialect {
            Dialect::Smtp => (Sent::Ehlo, "EHLO"),
            Dialect::Lmtp => (Sent::Lhlo, "LHLO"),
        };
        connection.queue(hello, format!("{verb} {hostname}\r\n").as_bytes());
        connection.reply(Phase::Hello, wait).await?;
        let reply = connection.last();
        match reply.code {
            200..=299 => connection.offers = Capabilities::read(&reply),
            // RFC 5321 3.2: a server that does not know EHLO.
            500..=504 if hello == Sent::Ehlo => {
                connection.queue(Sent::Helo, format!("HELO {hostname}\r\n").as_bytes());
                connection.accepted(Phase::Hello, wait).await?;
            }
            _ => return Err(refused(Phase::Hello, &reply)),
        }
        Ok(connection)
    }

    /// Whether the connection is of no more use: the next hop has closed it, or said goodbye on it, or was left with a
    /// command unanswered.
    pub(super) fn is_stale(&mut self) -> bool {
        let unread = self.inbox.filled().len() > self.read;
        // Nothing is awaited, so anything that is there is a farewell; the system is asked only if there is something.
        let would_wait = |e: io::Error| e.kind() == io::ErrorKind::WouldBlock;
        self.code == 421
            || self.awaiting().is_some()
            || unread
            || !self
                .stream
                .try_read_buf(&mut Vec::with_capacity(1))
                .is_err_and(would_wait)
    }

    /// Adds a command to what goes out next.
    pub(super) fn queue(&mut self, what: Sent, line: &[u8]) {
        self.dialogue.sent(what);
        self.out.extend_from_slice(line);
    }

    /// What the next reply will answer.
    pub(super) fn awaiting(&self) -> Option<Sent> {
        self.dialogue.awaiting()
    }

    /// Whether the reply that comes next has been received already.
    pub(super) fn has_reply(&self) -> bool {
        self.out.is_empty()
            && matches!(
                Reply::read(self.inbox.filled().get(self.read..).unwrap_or_default()),
                Ok(Some(_))
            )
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self, phase: Phase, wait: Duration) -> Result<(), Failure> {
        if !self.out.is_empty() {
            let mut out = std::mem::take(&mut self.out);
            self.write(&out, phase, wait).await?;
            // The buffer of an envelope is kept for the next one.
            out.clear();
            self.out = out;
        }
        Ok(())
    }

    /// Writes what is queued, then waits for the next reply: [`last`](Self::last).
    pub(super) async fn reply(&mut self, phase: Phase, wait: Duration) -> Result<(), Failure> {
        self.flush(phase, wait).await?;
        self.settle_inbox();
        loop {
            match self.dialogue.reply(self.inbox.filled()) {
                Ok(Some((used, _, reply))) => {
                    self.code = reply.code;
                    self.read = used;
                    return Ok(());
                }
                Ok(None) => {}
                Err(broken) => return Err(Failure::next_hop(phase, broken)),
            }
            match timeout(wait, self.inbox.fill(&mut self.stream, BLOCK)).await {
                Ok(Ok(0)) => return Err(Failure::next_hop(phase, Cause::Closed)),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(Failure::next_hop(phase, e)),
                Err(_) => return Err(Failure::next_hop(phase, Cause::Timeout(wait))),
            }
        }
    }

    /// The reply that was read last.
    pub(super) fn last(&self) -> Reply<'_> {
        Reply {
            code: self.code,
            bytes: self.inbox.filled().get(..self.read).unwrap_or_default(),
        }
    }

    /// Writes a block of message data. It must not hold the final dot: see [`finish`](Self::finish).
    pub(super) async fn send_block(&mut self, block: &[u8], wait: Duration) -> Result<(), Failure> {
        self.no_early_reply()?;
        self.write(block, Phase::Transfer, wait).await
    }

    /// Writes the last block of message data, which ends with the final dot. So many replies are awaited then.
    pub(super) async fn finish(&mut self, block: &[u8], replies: usize, wait: Duration) -> Result<(), Failure> {
        // A reply that is there before the dot is no reply to the dot, whatever it says.
        self.no_early_reply()?;
        for _ in 0..replies {
            self.dialogue.sent(Sent::Dot);
        }
        self.write(block, Phase::FinalReply, wait).await
    }

    /// Says QUIT and waits a moment for the answer, so that the next hop does not see a connection that broke.
    pub(super) async fn quit(mut self) {
        self.out.clear();
        self.queue(Sent::Quit, b"QUIT\r\n");
        while self.awaiting().is_some() && self.reply(Phase::Envelope, QUIT_WAIT).await.is_ok() {}
    }

    /// Reads a reply that must be a positive one.
    pub(super) async fn accepted(&mut self, phase: Phase, wait: Duration) -> Result<(), Failure> {
        self.reply(phase, wait).await?;
        let reply = self.last();
        if reply.class() == 2 {
            Ok(())
        } else {
            Err(refused(phase, &reply))
        }
    }

    async fn write(&mut self, bytes: &[u8], phase: Phase, wait: Duration) -> Result<(), Failure> {
        match timeout(wait, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                // A next hop that closes often says why first.
                self.no_early_reply()?;
                Err(Failure::next_hop(phase, e))
            }
            Err(_) => Err(Failure::next_hop(phase, Cause::Timeout(wait))),
        }
    }

    /// Fails if the next hop has spoken although nothing is awaited from it: with its words if it refuses the message.
    fn no_early_reply(&mut self) -> Result<(), Failure> {
        if self.dialogue.awaiting().is_some() {
            return Ok(());
        }
        self.settle_inbox();
        let closed = match self.inbox.try_fill(&mut self.stream, BLOCK) {
            Ok(n) => n == 0,
            Err(e) => e.kind() != io::ErrorKind::WouldBlock,
        };
        match Reply::read(self.inbox.filled()) {
            Ok(Some((_, reply))) if reply.class() > 3 => Err(refused(Phase::Transfer, &reply)),
            Ok(Some((_, reply))) => Err(Failure::next_hop(Phase::Transfer, wire::Broken::Unasked(reply.code))),
            Ok(None) if closed => Err(Failure::next_hop(Phase::Transfer, Cause::Closed)),
            Ok(None) => Ok(()),
            Err(e) => Err(Failure::next_hop(Phase::Transfer, wire::Broken::from(e))),
        }
    }

    fn settle_inbox(&mut self) {
        self.inbox.consume(std::mem::take(&mut self.read));
    }
}

fn refused(phase: Phase, reply: &Reply<'_>) -> Failure {
    Failure::next_hop(phase, Cause::Refused(reply.bytes.to_vec()))
}
