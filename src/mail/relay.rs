//! Passes the messages of a session on to the next hop, without a queue.
//!
//! The envelope is repeated to the next hop as it comes, and its replies go back as they are. The message itself follows
//! when it is complete and decided on, or while it comes in if no policy may change it. Whatever fails before the final dot
//! closes the connection without it, so that the next hop never holds half a message for a whole one.

mod connection;
mod hops;
mod transfer;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use wire::{Capabilities, PathLine, Reply, Sent};

use self::connection::Connection;
pub use self::hops::Hops;
use self::transfer::DataState;
pub use self::transfer::Sending;
pub(crate) use self::transfer::{read_block, sound_line_ends};
use crate::config::{Dialect, Limits, NextHops};
use crate::failure::{Cause, Failure, Phase, Side};
use crate::metrics::{Metrics, NextHopCounts};

/// Octets of message data that are written at a time.
const BLOCK: usize = 32 << 10;

/// Transactions in a row that are ended with RSET on one connection. Exim closes it after ten (`smtp_accept_max_nonmail`), Postfix
/// slows it down after a hundred (`smtpd_junk_command_limit`).
const MAX_RESETS: u32 = 8;

/// XFORWARD lines kept for a transaction; Postfix sends two.
const MAX_XFORWARD_LINES: usize = 8;

/// Recipients of a copy that are asked for at a time: the replies to more could fill the buffers of the connection while
/// they are not read (RFC 2920 3.1).
const RCPTS_AT_A_TIME: usize = 100;

/// The next-hop side of one client session.
#[derive(Debug)]
pub struct Relay {
    to: NextHops,
    hops: Arc<Hops>,
    hostname: String,
    /// The keywords of the next hop that the client was offered.
    offered: Option<Capabilities>,
    connection: Option<Connection>,
    /// The next hop has heard MAIL, and no end of that transaction.
    open: bool,
    /// XFORWARD lines since the last transaction, to be said again on a new connection.
    xforward: Vec<Vec<u8>>,
    /// The next hop knows these lines, for the transaction that is open or comes next.
    xforward_said: bool,
    /// The counters of each next hop, in the order of `to`.
    counts: Vec<Arc<NextHopCounts>>,
    /// Which of them this session has chosen.
    chosen: usize,
    /// When the message that is under way was complete here.
    sending_since: Instant,
    data: DataState,
    /// Transactions on this connection that failed, since one that did not.
    resets: u32,
}

/// The replies of the next hop to a transaction that was begun for some of the recipients.
#[derive(Debug, PartialEq, Eq)]
pub enum EnvelopeReply {
    /// MAIL was refused, with this reply.
    Refused(Vec<u8>),
    /// MAIL was accepted; the replies to recipients that were refused.
    Recipients(Vec<Option<Vec<u8>>>),
}

impl Relay {
    /// A relay that is not connected yet; `hops` know which of the next hops work, `hostname` is our name in EHLO.
    #[must_use]
    pub fn new(to: NextHops, hops: Arc<Hops>, hostname: String, metrics: &Metrics) -> Self {
        let counts = to.all.iter().map(|hop| metrics.next_hop(&hop.to_string()));
        Self {
            counts: counts.collect(),
            to,
            hops,
            hostname,
            offered: None,
            connection: None,
            open: false,
            xforward: Vec::new(),
            xforward_said: false,
            chosen: 0,
            sending_since: Instant::now(),
            data: DataState::None,
            resets: 0,
        }
    }

    /// The counters of the next hop that was chosen last, or else of the first one; `None` if the list is empty.
    #[must_use]
    pub fn counts(&self) -> Option<&NextHopCounts> {
        self.counts.get(self.chosen).map(AsRef::as_ref)
    }

    /// Whether the next hop answers the final dot for each recipient.
    #[must_use]
    pub fn replies_for_each(&self) -> bool {
        self.to.dialect() == Dialect::Lmtp
    }

    /// Makes a connection if there is none that works; gives what the next hop offers on it.
    ///
    /// # Errors
    /// The next hop cannot be reached, or does not want us.
    pub async fn connect(&mut self, limits: &Limits) -> Result<&Capabilities, Failure> {
        let wait = limits.next_hop_timeout;
        self.abandon();
        self.retire();
        let live = match self
            .connection
            .take()
            .and_then(|mut old| (!old.is_stale()).then_some(old))
        {
            Some(old) => old,
            None => {
                self.open = false;
                let (chosen, mut new) = self
                    .hops
                    .connect(&self.to, &self.counts, &self.hostname, limits)
                    .await?;
                self.chosen = chosen;
                self.resets = 0;
                if new.offers.xforward.is_some() {
                    for line in &self.xforward {
                        new.queue(Sent::Xforward, line);
                        new.reply(Phase::Envelope, wait)
                            .await
                            .inspect_err(|failure| self.count_failure(failure))?;
                    }
                }
                self.xforward_said = true;
                new
            }
        };
        Ok(&self.connection.insert(live).offers)
    }

    /// As [`connect`](Self::connect), for the answer to EHLO: the client will go by what is offered to it now.
    ///
    /// # Errors
    /// The next hop cannot be reached, or does not want us.
    pub async fn hello(&mut self, limits: &Limits) -> Result<&Capabilities, Failure> {
        let offers = self.connect(limits).await?.clone();
        Ok(self.offered.insert(offers))
    }

    /// The keyword that a MAIL or RCPT line relies on because it was offered to the client, and the next hop that is connected now does not
    /// offer. Next hops that stand in for each other need not offer the same.
    #[must_use]
    pub fn lost_keyword(&self, path: &PathLine<'_>) -> Option<&'static str> {
        self.offered.as_ref()?.lost(&self.connection.as_ref()?.offers, path)
    }

    /// Whether several commands may be on their way to the next hop at a time.
    #[must_use]
    pub fn pipelining(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.offers.pipelining)
    }

    /// Passes an XFORWARD line on, if the next hop takes them; `None` if not. The line is said again should the connection
    /// have to be made anew before MAIL.
    ///
    /// # Errors
    /// The next hop cannot be reached, or is lost.
    pub async fn xforward(&mut self, line: &[u8], limits: &Limits) -> Result<Option<Reply<'_>>, Failure> {
        if self.connect(limits).await?.xforward.is_none() {
            return Ok(None);
        }
        self.end_transaction(limits).await?;
        let line = [line, b"\r\n"].concat();
        self.queue(Sent::Xforward, &line)?;
        self.xforward_said = true;
        if self.xforward.len() < MAX_XFORWARD_LINES {
            self.xforward.push(line);
        }
        self.reply(limits).await.map(Some)
    }

    /// Whether XFORWARD was said for the transaction that comes next, or is going on.
    #[must_use]
    pub fn has_xforward(&self) -> bool {
        !self.xforward.is_empty()
    }

    /// Begins a transaction: queues MAIL for the next write. Its reply comes from [`reply`](Self::reply).
    ///
    /// A declared size is raised by what rewriting may add, but not over the limit that the next hop sets if the message as
    /// it is fits; a next hop that does not know SIZE gets none. All else goes on as it came.
    ///
    /// # Errors
    /// The next hop cannot be reached, or is lost, or is another one than before and cannot take this MAIL.
    pub async fn mail(&mut self, path: &PathLine<'_>, limits: &Limits) -> Result<(), Failure> {
        self.connect(limits).await?;
        if let Some(keyword) = self.lost_keyword(path) {
            let cause = format!("{keyword} was offered by the next hop of before, and is not by this one");
            return Err(Failure::next_hop(Phase::Hello, Cause::Other(cause.into())));
        }
        self.end_transaction(limits).await?;
        self.queue_mail(path)
    }

    /// Queues RCPT for the next write. Its reply comes from [`reply`](Self::reply).
    ///
    /// # Errors
    /// There is no connection.
    pub fn rcpt(&mut self, path: &PathLine<'_>) -> Result<(), Failure> {
        self.queue(Sent::Rcpt, &[path.line, b"\r\n"].concat())
    }

    /// Whether a reply can be had without waiting.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::has_reply)
    }

    /// Writes what is queued and waits for the reply to the oldest command that has none.
    ///
    /// # Errors
    /// The next hop is lost; so is the transaction.
    pub async fn reply(&mut self, limits: &Limits) -> Result<Reply<'_>, Failure> {
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let wait = limits.next_hop_timeout;
        let mut outcome = Ok(());
        while outcome.is_ok() && connection.awaiting() == Some(Sent::Rset) {
            outcome = connection.accepted(Phase::Envelope, wait).await;
        }
        if outcome.is_ok() {
            outcome = connection.reply(Phase::Envelope, wait).await;
        }
        if let Err(failure) = &outcome {
            self.lose(failure);
        }
        outcome?;
        self.count_reply();
        self.last()
    }

    /// Ends the transaction that is open, if one is, and begins one for some recipients: XFORWARD as it was said for the
    /// message, MAIL, RCPT.
    ///
    /// `recipients` are RCPT lines without their ends. Each goes on as it came, and MAIL as with [`mail`](Self::mail).
    ///
    /// # Errors
    /// The next hop cannot be reached, or is lost.
    pub async fn begin(
        &mut self,
        mail: &PathLine<'_>,
        recipients: &[&[u8]],
        limits: &Limits,
    ) -> Result<EnvelopeReply, Failure> {
        let offers = self.connect(limits).await?;
        let (pipelining, xforward) = (offers.pipelining, offers.xforward.is_some());
        self.end_transaction(limits).await?;
        let again = if xforward && !self.xforward_said {
            self.xforward.clone()
        } else {
            Vec::new()
        };
        self.xforward_said = true;
        for line in &again {
            self.queue(Sent::Xforward, line)?;
            if !pipelining {
                self.reply(limits).await?;
            }
        }
        self.queue_mail(mail)?;
        let at_a_time = if pipelining { RCPTS_AT_A_TIME } else { 1 };
        let mut asked = 0;
        if pipelining {
            // All in one go. What is said of XFORWARD the client has heard when it said the line.
            asked = self.queue_rcpts(recipients, 0..at_a_time)?;
            for _ in &again {
                self.reply(limits).await?;
            }
        }
        let refused = self.refusal(limits).await?;
        let mut replies = Vec::with_capacity(recipients.len());
        loop {
            while replies.len() < asked {
                replies.push(self.refusal(limits).await?);
            }
            if let Some(reply) = refused {
                return Ok(EnvelopeReply::Refused(reply));
            }
            if asked == recipients.len() {
                return Ok(EnvelopeReply::Recipients(replies));
            }
            asked = self.queue_rcpts(recipients, asked..asked + at_a_time)?;
        }
    }

    /// The client's transaction is over. Forgets the XFORWARD lines, which hold for one transaction, and leaves a next hop that
    /// still waits for the rest of a message.
    pub fn end_of_transaction(&mut self) {
        self.abandon();
        self.xforward.clear();
    }

    /// Gives the connection up as it is.
    pub fn close(&mut self) {
        self.connection = None;
        self.resets = 0;
        self.open = false;
        self.data = DataState::None;
    }

    /// Closes the connection, with QUIT if the next hop still hears it.
    pub async fn quit(mut self) {
        self.abandon();
        if let Some(mut connection) = self.connection.take()
            && !connection.is_stale()
        {
            connection.quit().await;
        }
    }

    /// Gives the connection up because of a failure.
    fn lose(&mut self, failure: &Failure) {
        self.count_failure(failure);
        self.close();
    }

    fn count_failure(&self, failure: &Failure) {
        if let Some(counts) = self.counts()
            && failure.side == Side::NextHop
        {
            counts.failed(failure);
        }
    }

    /// Counts the reply that was read last.
    fn count_reply(&self) {
        if let (Some(counts), Ok(last)) = (self.counts(), self.last()) {
            counts.replied(last.code);
        }
    }

    /// Waits for the reply to the oldest command; gives it if it is no success.
    async fn refusal(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, Failure> {
        let reply = self.reply(limits).await?;
        Ok((reply.class() != 2).then(|| reply.bytes.to_vec()))
    }

    fn queue_mail(&mut self, path: &PathLine<'_>) -> Result<(), Failure> {
        let limit = self.connection.as_ref().ok_or_else(lost)?.offers.size;
        let size = path.size().zip(limit).map(|(size, limit)| grown(size, limit));
        let mut line = Vec::with_capacity(path.line.len() + 16);
        path.write_with_size(size, &mut line);
        self.open = true;
        self.queue(Sent::Mail, &line)
    }

    /// Queues some of these RCPT lines; gives how many of all are asked for then.
    fn queue_rcpts(&mut self, lines: &[&[u8]], some: Range<usize>) -> Result<usize, Failure> {
        let end = some.end.min(lines.len());
        for line in lines.get(some.start..end).unwrap_or_default() {
            self.queue(Sent::Rcpt, &[line, &b"\r\n"[..]].concat())?;
        }
        Ok(end)
    }

    /// Leaves a connection on which transaction after transaction failed, before the next hop throttles us.
    fn retire(&mut self) {
        if self.open
            && self.resets >= MAX_RESETS
            && let Some(connection) = self.connection.take()
        {
            self.close();
            // The client need not wait until the next hop has said goodbye.
            tokio::spawn(connection.quit());
        }
    }

    /// Makes the next hop forget a transaction that failed; RSET goes out with what follows if it may.
    async fn end_transaction(&mut self, limits: &Limits) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        connection.queue(Sent::Rset, b"RSET\r\n");
        self.resets += 1;
        self.xforward_said = false;
        if !connection.offers.pipelining {
            let outcome = connection.accepted(Phase::Envelope, limits.next_hop_timeout).await;
            if let Err(failure) = &outcome {
                self.lose(failure);
            }
            return outcome;
        }
        Ok(())
    }

    fn queue(&mut self, what: Sent, line: &[u8]) -> Result<(), Failure> {
        self.connection.as_mut().ok_or_else(lost)?.queue(what, line);
        Ok(())
    }

    fn last(&self) -> Result<Reply<'_>, Failure> {
        self.connection.as_ref().map(Connection::last).ok_or_else(lost)
    }
}

fn lost() -> Failure {
    Failure::next_hop(Phase::Envelope, Cause::Closed)
}

/// The size to declare for a message of `size` octets, whose links grow: a sixteenth more, at least 4 KiB. A next hop with a
/// limit must not refuse for the margin what fits without it.
fn grown(size: u64, limit: Option<u64>) -> u64 {
    let margin = (size / 16).max(4096);
    match limit {
        Some(limit) if size <= limit => size.saturating_add(margin).min(limit),
        Some(_) => size,
        None => size.saturating_add(margin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_size_is_raised_but_not_over_the_limit() {
        assert_eq!(grown(100, None), 4196);
        assert_eq!(grown(1_600_000, None), 1_700_000);
        assert_eq!(grown(100, Some(1000)), 1000);
        assert_eq!(grown(2000, Some(1000)), 2000, "the next hop refuses this itself");
        assert_eq!(grown(u64::MAX, None), u64::MAX);
    }
}
