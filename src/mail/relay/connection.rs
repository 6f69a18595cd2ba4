//! One connection to the next hop.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use wire::{Capabilities, Reply, ReplyMatcher, Sent};

use crate::config::{self, Dialect};
use crate::failure::{Cause, Failure, Phase};
use crate::net::tls::{NextHopTls, Trust};
use crate::net::{Endpoint, EndpointAddress, Inbox, Stream};

/// Octets read at a time: replies are short.
const BLOCK: usize = 4096;

/// How long the answer to QUIT is waited for.
const QUIT_WAIT: Duration = Duration::from_secs(1);

/// A connection that has been greeted, and what the next hop offers on it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    inbox: Inbox,
    /// Commands that are not written yet: what is said in one turn goes out in one write.
    out: Vec<u8>,
    replies: ReplyMatcher,
    /// Octets and code of the reply that was read last.
    read: usize,
    code: u16,
    /// The keywords of its EHLO or LHLO reply; none after HELO.
    pub(super) offers: Capabilities,
    /// Why it is not encrypted, although it might be.
    pub(super) plain_because: Option<String>,
}

/// The next hop to call, and our name.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) to: &'a config::NextHop,
    pub(super) trust: Option<&'a Trust>,
    /// Our name in EHLO.
    pub(super) hostname: &'a str,
}

impl Connection {
    /// Connects to one of the next hop's addresses, reads the greeting, encrypts as `tls` says, and says EHLO, or HELO to a
    /// server that does not know it. Every address gets its share of the time up to `deadline`, and none more than `connect`
    /// to accept the connection.
    pub(super) async fn open(call: &Call<'_>, connect: Duration, deadline: Instant) -> Result<Self, Failure> {
        let failed = |e| Failure::next_hop(Phase::Connect, e);
        let targets = timeout_at(deadline, call.to.to.targets()).await;
        let targets = targets
            .map_err(|_| Failure::next_hop(Phase::Connect, Cause::Timeout(connect)))?
            .map_err(failed)?;
        let mut outcome = Err(super::lost());
        for (left, target) in (1..=targets.len()).rev().zip(&targets) {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
            outcome = Self::open_at(target, call, connect.min(share), now + share).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// As [`open`](Self::open), with one address. A next hop that need not be encrypted and cannot shake hands is called
    /// again in plain text.
    async fn open_at(
        target: &EndpointAddress<'_>,
        call: &Call<'_>,
        connect: Duration,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let in_plain = call.to.tls == NextHopTls::Opportunistic && !call.to.implicit_tls;
        match Self::dial(target, call, connect, deadline, call.to.tls).await {
            Err(failure) if in_plain && failure.phase == Phase::Tls && !matches!(failure.cause, Cause::Broken(_)) => {
                let mut connection = Self::dial(target, call, connect, deadline, NextHopTls::Off).await?;
                connection.plain_because = Some(failure.cause.to_string());
                Ok(connection)
            }
            outcome => outcome,
        }
    }

    async fn dial(
        target: &EndpointAddress<'_>,
        call: &Call<'_>,
        connect: Duration,
        deadline: Instant,
        tls: NextHopTls,
    ) -> Result<Self, Failure> {
        let wait = || deadline.saturating_duration_since(Instant::now());
        let stream = match timeout(connect.min(wait()), Stream::connect(target)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(Failure::next_hop(Phase::Connect, e)),
            Err(_) => return Err(Failure::next_hop(Phase::Connect, Cause::Timeout(connect))),
        };
        let mut connection = Self {
            stream,
            inbox: Inbox::default(),
            out: Vec::new(),
            replies: ReplyMatcher::connecting(),
            read: 0,
            code: 0,
            offers: Capabilities::default(),
            plain_because: None,
        };
        if call.to.implicit_tls {
            connection.shake_hands(call, tls, wait()).await?;
        }
        connection.accepted(Phase::Connect, wait()).await?;
        connection.hello(call, wait()).await?;
        if tls == NextHopTls::Off || call.to.implicit_tls {
            return Ok(connection);
        }
        if connection.offers.starttls {
            // Where it can do without, some time must be left for the second call.
            let left = if tls == NextHopTls::Opportunistic {
                wait() / 2
            } else {
                wait()
            };
            connection.queue(Sent::StartTls, b"STARTTLS\r\n");
            connection.reply(Phase::Tls, left).await?;
            if connection.last().class() == 2 {
                connection.nothing_behind_reply()?;
                connection.shake_hands(call, tls, left.min(wait())).await?;
                // What was offered in plain text may have been changed on the way (RFC 3207 4.2).
                connection.offers = Capabilities::default();
                connection.hello(call, wait()).await?;
                return Ok(connection);
            }
        }
        let why = if connection.offers.starttls {
            refused(Phase::Tls, &connection.last())
        } else {
            Failure::next_hop(Phase::Tls, Cause::Other("STARTTLS is not offered".into()))
        };
        if tls == NextHopTls::Verify {
            return Err(why);
        }
        connection.plain_because = Some(why.cause.to_string());
        Ok(connection)
    }

    /// EHLO, or HELO to a server that does not know it; LHLO to a LMTP server. Takes note of what is offered.
    async fn hello(&mut self, call: &Call<'_>, wait: Duration) -> Result<(), Failure> {
        let (hello, verb) = match call.to.dialect {
            Dialect::Smtp => (Sent::Ehlo, "EHLO"),
            Dialect::Lmtp => (Sent::Lhlo, "LHLO"),
        };
        let hostname = call.hostname;
        self.queue(hello, format!("{verb} {hostname}\r\n").as_bytes());
        self.reply(Phase::Hello, wait).await?;
        let reply = self.last();
        match reply.code {
            200..=299 => self.offers = Capabilities::read(&reply),
            // RFC 5321 3.2: a server that does not know EHLO.
            500..=504 if hello == Sent::Ehlo => {
                self.queue(Sent::Helo, format!("HELO {hostname}\r\n").as_bytes());
                self.accepted(Phase::Hello, wait).await?;
            }
            _ => return Err(refused(Phase::Hello, &reply)),
        }
        Ok(())
    }

    /// The TLS handshake.
    async fn shake_hands(&mut self, call: &Call<'_>, tls: NextHopTls, wait: Duration) -> Result<(), Failure> {
        let fault = |text: &str| Failure::next_hop(Phase::Tls, Cause::Other(text.into()));
        let name = match &call.to.to {
            Endpoint::Tcp { host, .. } => ServerName::try_from(host.clone()).ok(),
            Endpoint::Unix(_) => None,
        };
        let name = name.ok_or_else(|| fault("the next hop has no name that could stand in a certificate"))?;
        let config = call.trust.and_then(|trust| trust.config(tls));
        let config = config.ok_or_else(|| fault("there are no root certificates"))?;
        match timeout(wait, self.stream.connect_tls(config, name)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Failure::next_hop(Phase::Tls, e)),
            Err(_) => Err(Failure::next_hop(Phase::Tls, Cause::Timeout(wait))),
        }
    }

    /// Fails if anything stands behind the reply that was read last.
    fn nothing_behind_reply(&mut self) -> Result<(), Failure> {
        self.drop_last_reply();
        match self.inbox.filled().len() {
            0 => Ok(()),
            n => Err(Failure::next_hop(Phase::Tls, wire::Broken::Injected(n))),
        }
    }

    /// Version and cipher suite, if the connection is encrypted.
    pub(super) fn cipher(&self) -> Option<String> {
        self.stream.cipher()
    }

    /// Whether the connection cannot be used any more: the next hop has closed it, or said goodbye on it, or was left with a
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
        self.replies.sent(what);
        self.out.extend_from_slice(line);
    }

    /// The command that the next reply will answer.
    pub(super) fn awaiting(&self) -> Option<Sent> {
        self.replies.awaiting()
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
        self.drop_last_reply();
        loop {
            match self.replies.reply(self.inbox.filled()) {
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
            self.replies.sent(Sent::Dot);
        }
        self.write(block, Phase::FinalReply, wait).await
    }

    /// Says QUIT and waits a moment for the answer, so that the next hop does not see a connection that broke.
    pub(super) async fn quit(mut self) {
        self.out.clear();
        self.queue(Sent::Quit, b"QUIT\r\n");
        while self.awaiting().is_some() && self.reply(Phase::Envelope, QUIT_WAIT).await.is_ok() {}
        self.stream.close().await;
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
        let written = async {
            self.stream.write_all(bytes).await?;
            // TLS keeps what the socket would not take.
            self.stream.flush().await
        };
        match timeout(wait, written).await {
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
        if self.replies.awaiting().is_some() {
            return Ok(());
        }
        self.drop_last_reply();
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

    fn drop_last_reply(&mut self) {
        self.inbox.consume(std::mem::take(&mut self.read));
    }
}

fn refused(phase: Phase, reply: &Reply<'_>) -> Failure {
    Failure::next_hop(phase, Cause::Refused(reply.bytes.to_vec()))
}
