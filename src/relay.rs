//! The way to the next hop: a proxy without a queue.
//!
//! The envelope is repeated to the next hop as it comes, and its replies go back as they are. The message itself follows
//! only when it is complete and decided on. Whatever fails before the final dot closes the connection without it, so that
//! the next hop never holds half a message for a whole one.

mod connection;
mod inbox;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use message::{Patch, Segment, Source};
use wire::{Capabilities, PathLine, Reply, Sent, Stuffer};

use self::connection::Connection;
pub use self::inbox::Inbox;
use crate::failure::{Cause, Failure, Phase};
use crate::settings::{Dialect, Limits, NextHops};
use crate::spool::Spool;

/// Octets of message data that are written at a time.
const BLOCK: usize = 32 << 10;

/// XFORWARD lines kept for a transaction; Postfix sends two.
const MAX_XFORWARD_LINES: usize = 8;

/// Recipients of a copy that are asked for at a time: the replies to more could fill the way back while nobody reads it
/// (RFC 2920 3.1).
const RCPTS_AT_A_TIME: usize = 100;

/// The next-hop side of one client session.
#[derive(Debug)]
pub struct Relay {
    to: NextHops,
    hostname: String,
    connection: Option<Connection>,
    /// The next hop has heard MAIL, and no end of that transaction.
    open: bool,
    /// XFORWARD lines since the last transaction, to be said again on a new connection.
    xforward: Vec<Vec<u8>>,
    /// The next hop knows these lines, for the transaction that is open or comes next.
    xforward_said: bool,
    data: Data,
}

/// How far the message of the open transaction is.
#[derive(Debug)]
enum Data {
    /// DATA has not been said.
    None,
    /// DATA has been said; the reply has not been read.
    Said,
    /// DATA was refused, with this reply.
    Refused(Vec<u8>),
    /// The next hop is hearing the message.
    Open(Box<Outgoing>),
}

/// Message data in its form for the wire.
#[derive(Debug, Default)]
struct Outgoing {
    stuffer: Stuffer,
    /// What is not written yet.
    out: Vec<u8>,
}

/// What the next hop says to a transaction that was begun for some of the recipients.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// MAIL was refused, with this reply.
    Refused(Vec<u8>),
    /// MAIL was accepted; the replies to recipients that were refused.
    Recipients(Vec<Option<Vec<u8>>>),
}

/// How far a message came on its way to the next hop.
#[derive(Debug, PartialEq, Eq)]
pub enum Sending {
    /// DATA was refused, with this reply; nothing was sent.
    Refused(Vec<u8>),
    /// The final dot went out. So many replies are to be had from [`Relay::final_reply`]: one, or one for each recipient.
    Sent(usize),
}

impl Relay {
    /// A relay that is not connected yet; `hostname` is our name in EHLO.
    #[must_use]
    pub fn new(to: NextHops, hostname: String) -> Self {
        Self {
            to,
            hostname,
            connection: None,
            open: false,
            xforward: Vec::new(),
            xforward_said: false,
            data: Data::None,
        }
    }

    /// Whether the next hop answers the final dot for each recipient.
    #[must_use]
    pub fn replies_for_each(&self) -> bool {
        self.to.dialect() == Dialect::Lmtp
    }

    /// Makes sure of a connection; tells what the next hop offers on it.
    ///
    /// # Errors
    /// The next hop cannot be reached, or does not want us.
    pub async fn connect(&mut self, limits: &Limits) -> Result<&Capabilities, Failure> {
        let wait = limits.next_hop_timeout;
        self.abandon();
        let live = match self
            .connection
            .take()
            .and_then(|mut old| (!old.is_stale()).then_some(old))
        {
            Some(old) => old,
            None => {
                self.open = false;
                let mut new = Connection::open(self.to.all.first().ok_or_else(lost)?, &self.hostname, wait).await?;
                if new.offers.xforward.is_some() {
                    for line in &self.xforward {
                        new.queue(Sent::Xforward, line);
                        new.reply(Phase::Envelope, wait).await?;
                    }
                }
                self.xforward_said = true;
                new
            }
        };
        Ok(&self.connection.insert(live).offers)
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
    /// it is fits; a next hop that does not know SIZE is not told. All else goes on as it came.
    ///
    /// # Errors
    /// The next hop cannot be reached, or is lost.
    pub async fn mail(&mut self, path: &PathLine<'_>, limits: &Limits) -> Result<(), Failure> {
        self.connect(limits).await?;
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
        if outcome.is_err() {
            self.close();
        }
        outcome?;
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
    ) -> Result<Begun, Failure> {
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
                return Ok(Begun::Refused(reply));
            }
            if asked == recipients.len() {
                return Ok(Begun::Recipients(replies));
            }
            asked = self.queue_rcpts(recipients, asked..asked + at_a_time)?;
        }
    }

    /// Says DATA ahead of the message, so that its reply is there when the message is.
    ///
    /// A transaction that comes to nothing after this costs the connection.
    ///
    /// # Errors
    /// The next hop is lost; so is the transaction.
    pub async fn announce(&mut self, limits: &Limits) -> Result<(), Failure> {
        if !matches!(self.data, Data::None) {
            return Ok(());
        }
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        connection.queue(Sent::Data, b"DATA\r\n");
        let outcome = connection.flush(Phase::Transfer, limits.next_hop_timeout).await;
        match outcome {
            Ok(()) => self.data = Data::Said,
            Err(_) => self.close(),
        }
        outcome
    }

    /// Passes message content on as it comes. What the next hop refuses it is not given; [`send`](Self::send) tells.
    ///
    /// # Errors
    /// The next hop is lost, or refuses while the message is on its way; the connection is closed.
    pub async fn pass(&mut self, content: &[u8], limits: &Limits) -> Result<(), Failure> {
        let outcome = self.pass_block(content, limits.next_hop_timeout).await;
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    async fn pass_block(&mut self, content: &[u8], wait: Duration) -> Result<(), Failure> {
        self.open_data(wait).await?;
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let Data::Open(data) = &mut self.data else {
            return Ok(());
        };
        for block in content.chunks(BLOCK) {
            data.stuffer.encode(block, &mut data.out);
            send_full(connection, &mut data.out, wait).await?;
        }
        Ok(())
    }

    /// Has the next hop ready for message data, unless it refuses.
    async fn open_data(&mut self, wait: Duration) -> Result<(), Failure> {
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        match self.data {
            Data::None => connection.queue(Sent::Data, b"DATA\r\n"),
            Data::Said => {}
            Data::Refused(_) | Data::Open(_) => return Ok(()),
        }
        connection.reply(Phase::Transfer, wait).await?;
        let reply = connection.last();
        self.data = match reply.class() {
            3 => Data::Open(Box::default()),
            _ => Data::Refused(reply.bytes.to_vec()),
        };
        Ok(())
    }

    /// Gives the message, or what is left of it, to the next hop, for so many accepted recipients: DATA unless that has been
    /// said, the patched message, the final dot.
    ///
    /// # Errors
    /// The message was not taken, or nobody can tell whether it was ([`Phase::FinalReply`]); the connection is closed. A
    /// next hop that refuses while the message is on its way ([`Cause::Refused`]) has said so in a reply.
    pub async fn send(
        &mut self,
        spool: &Arc<Spool>,
        patch: &Patch,
        recipients: usize,
        limits: &Limits,
    ) -> Result<Sending, Failure> {
        let replies = if self.replies_for_each() { recipients } else { 1 };
        let outcome = self.transfer(spool, patch, replies, limits).await;
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// The next of the replies to the final dot, for which the next hop may take `wait`.
    ///
    /// # Errors
    /// The next hop is lost: nobody can tell whether it has taken the message for those whose replies are missing.
    pub async fn final_reply(&mut self, wait: Duration) -> Result<Reply<'_>, Failure> {
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let outcome = connection.reply(Phase::FinalReply, wait).await;
        if connection.awaiting().is_none() {
            self.open = false;
            self.xforward_said = false;
        }
        if outcome.is_err() {
            self.close();
        }
        outcome?;
        self.last()
    }

    /// Forgets the XFORWARD lines: they hold for one transaction.
    pub fn end_of_transaction(&mut self) {
        self.xforward.clear();
    }

    /// Gives the connection up as it is.
    pub fn close(&mut self) {
        self.connection = None;
        self.open = false;
        self.data = Data::None;
    }

    /// Gives the connection up if the next hop is in the middle of a message: without the final dot it forgets it.
    pub fn abandon(&mut self) {
        match self.data {
            Data::None => {}
            // Nothing was begun.
            Data::Refused(_) => self.data = Data::None,
            Data::Said | Data::Open(_) => self.close(),
        }
    }

    /// Takes leave of the next hop.
    pub async fn quit(mut self) {
        self.abandon();
        if let Some(mut connection) = self.connection.take()
            && !connection.is_stale()
        {
            connection.quit().await;
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

    async fn transfer(
        &mut self,
        spool: &Arc<Spool>,
        patch: &Patch,
        replies: usize,
        limits: &Limits,
    ) -> Result<Sending, Failure> {
        if patch.changes().iter().any(|c| wire::stray_line_end(&c.with)) {
            let cause = "the patch holds a lone CR or LF".into();
            return Err(Failure::ours(Phase::Rewrite, Cause::Other(cause)));
        }
        let wait = limits.next_hop_timeout;
        self.open_data(wait).await?;
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let Outgoing { mut stuffer, mut out } = match std::mem::replace(&mut self.data, Data::None) {
            Data::Refused(reply) => return Ok(Sending::Refused(reply)),
            Data::Open(data) => *data,
            Data::None | Data::Said => return Err(lost()),
        };
        let length = patch.patched_len(spool.len());
        out.reserve(usize::try_from(length).unwrap_or(BLOCK).min(BLOCK) + 1024);
        for segment in patch.segments(spool.len()) {
            match segment {
                Segment::New(bytes) => {
                    for block in bytes.chunks(BLOCK) {
                        stuffer.encode(block, &mut out);
                        send_full(connection, &mut out, wait).await?;
                    }
                }
                Segment::Source(range) => {
                    let mut from = range.start;
                    while from < range.end {
                        let to = range.end.min(from + BLOCK as u64);
                        match spool.as_slice() {
                            Some(_) => {
                                let block = spool.read(from..to).map_err(|e| Failure::ours(Phase::Transfer, e))?;
                                stuffer.encode(&block, &mut out);
                            }
                            None => stuffer.encode(&read_off_thread(spool, from..to).await?, &mut out),
                        }
                        send_full(connection, &mut out, wait).await?;
                        from = to;
                    }
                }
            }
        }
        stuffer.finish(&mut out);
        connection.finish(&out, replies, wait).await?;
        Ok(Sending::Sent(replies))
    }

    /// Makes the next hop forget a transaction that came to nothing; RSET goes out with what follows if it may.
    async fn end_transaction(&mut self, limits: &Limits) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        connection.queue(Sent::Rset, b"RSET\r\n");
        self.xforward_said = false;
        if !connection.offers.pipelining {
            let outcome = connection.accepted(Phase::Envelope, limits.next_hop_timeout).await;
            if outcome.is_err() {
                self.close();
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

async fn send_full(connection: &mut Connection, out: &mut Vec<u8>, wait: Duration) -> Result<(), Failure> {
    if out.len() >= BLOCK {
        connection.send_block(out, wait).await?;
        out.clear();
    }
    Ok(())
}

/// Reads from the spool's file without holding up other sessions.
async fn read_off_thread(spool: &Arc<Spool>, range: Range<u64>) -> Result<Vec<u8>, Failure> {
    let spool = Arc::clone(spool);
    match tokio::task::spawn_blocking(move || spool.read(range).map(Cow::into_owned)).await {
        Ok(read) => read.map_err(|e| Failure::ours(Phase::Transfer, e)),
        Err(e) => Err(Failure::ours(Phase::Transfer, Cause::Panic(e.to_string()))),
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
