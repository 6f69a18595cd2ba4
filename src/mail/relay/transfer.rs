//! A message on its way to the next hop: DATA, its content as a whole or while it comes in, the final dot and its replies.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use message::{Patch, Segment, Source};
use wire::{Reply, Sent, Stuffer};

use super::connection::Connection;
use super::{BLOCK, Relay, lost};
use crate::config::Limits;
use crate::failure::{Cause, Failure, Phase};
use crate::mail::spool::Spool;

/// The progress of the message of the open transaction.
#[derive(Debug)]
pub(super) enum DataState {
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
pub(super) struct Outgoing {
    stuffer: Stuffer,
    /// Octets not written yet.
    out: Vec<u8>,
}

/// The outcome of sending a message to the next hop.
#[derive(Debug, PartialEq, Eq)]
pub enum Sending {
    /// DATA was refused, with this reply; nothing was sent.
    Refused(Vec<u8>),
    /// The final dot went out. So many replies are to be had from [`Relay::final_reply`]: one, or one for each recipient.
    Sent(usize),
}

impl Relay {
    /// Says DATA ahead of the message, so that its reply is there when the message is.
    ///
    /// A transaction that fails after this costs the connection.
    ///
    /// # Errors
    /// The next hop is lost; so is the transaction.
    pub async fn announce(&mut self, limits: &Limits) -> Result<(), Failure> {
        if !matches!(self.data, DataState::None) {
            return Ok(());
        }
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        connection.queue(Sent::Data, b"DATA\r\n");
        let outcome = connection.flush(Phase::Transfer, limits.next_hop_timeout).await;
        match &outcome {
            Ok(()) => self.data = DataState::Said,
            Err(failure) => self.lose(failure),
        }
        outcome
    }

    /// Passes message content on as it comes. What the next hop refuses is not sent; [`send`](Self::send) gives the refusal.
    ///
    /// # Errors
    /// The next hop is lost, or refuses while the message is on its way; the connection is closed.
    pub async fn pass(&mut self, content: &[u8], limits: &Limits) -> Result<(), Failure> {
        let outcome = self.pass_block(content, limits.next_hop_timeout).await;
        if let Err(failure) = &outcome {
            self.lose(failure);
        }
        outcome
    }

    async fn pass_block(&mut self, content: &[u8], wait: Duration) -> Result<(), Failure> {
        self.open_data(wait).await?;
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let DataState::Open(data) = &mut self.data else {
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
            DataState::None => connection.queue(Sent::Data, b"DATA\r\n"),
            DataState::Said => {}
            DataState::Refused(_) | DataState::Open(_) => return Ok(()),
        }
        connection.reply(Phase::Transfer, wait).await?;
        let reply = connection.last();
        self.data = match reply.class() {
            3 => DataState::Open(Box::default()),
            _ => DataState::Refused(reply.bytes.to_vec()),
        };
        self.count_reply();
        Ok(())
    }

    /// Gives the message, or what is left of it, to the next hop, for so many accepted recipients: DATA unless that has been
    /// said, the patched message, the final dot.
    ///
    /// # Errors
    /// The message was not taken, or it is not known whether it was ([`Phase::FinalReply`]); the connection is closed. A
    /// next hop that refuses while the message is on its way ([`Cause::Refused`]) has said so in a reply.
    pub async fn send(
        &mut self,
        spool: &Arc<Spool>,
        patch: &Patch,
        recipients: usize,
        limits: &Limits,
    ) -> Result<Sending, Failure> {
        let replies = if self.replies_for_each() { recipients } else { 1 };
        self.sending_since = Instant::now();
        let outcome = self.transfer(spool, patch, replies, limits).await;
        if let Err(failure) = &outcome {
            self.lose(failure);
        }
        outcome
    }

    /// The next of the replies to the final dot, for which the next hop may take `wait`.
    ///
    /// # Errors
    /// The next hop is lost: it is not known whether it has taken the message for those whose replies are missing.
    pub async fn final_reply(&mut self, wait: Duration) -> Result<Reply<'_>, Failure> {
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let outcome = connection.reply(Phase::FinalReply, wait).await;
        let complete = connection.awaiting().is_none();
        if complete {
            self.open = false;
            self.resets = 0;
            self.xforward_said = false;
        }
        if let Err(failure) = &outcome {
            self.lose(failure);
        }
        outcome?;
        self.count_reply();
        if let Some(counts) = self.counts().filter(|_| complete) {
            counts.delivered(self.sending_since.elapsed());
        }
        self.last()
    }

    /// Gives the connection up if the next hop is in the middle of a message: without the final dot it forgets it.
    pub fn abandon(&mut self) {
        match self.data {
            DataState::None => {}
            // Nothing was begun.
            DataState::Refused(_) => self.data = DataState::None,
            DataState::Said | DataState::Open(_) => self.close(),
        }
    }

    async fn transfer(
        &mut self,
        spool: &Arc<Spool>,
        patch: &Patch,
        replies: usize,
        limits: &Limits,
    ) -> Result<Sending, Failure> {
        sound_line_ends(patch)?;
        let wait = limits.next_hop_timeout;
        self.open_data(wait).await?;
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let Outgoing { mut stuffer, mut out } = match std::mem::replace(&mut self.data, DataState::None) {
            DataState::Refused(reply) => return Ok(Sending::Refused(reply)),
            DataState::Open(data) => *data,
            DataState::None | DataState::Said => return Err(lost()),
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
                        stuffer.encode(&read_block(spool, from..to).await?, &mut out);
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
}

async fn send_full(connection: &mut Connection, out: &mut Vec<u8>, wait: Duration) -> Result<(), Failure> {
    if out.len() >= BLOCK {
        connection.send_block(out, wait).await?;
        out.clear();
    }
    Ok(())
}

/// A piece of a message. What is in a file is read elsewhere, so that other sessions are not held up.
///
/// # Errors
/// The file cannot be read.
pub(crate) async fn read_block(spool: &Arc<Spool>, range: Range<u64>) -> Result<Cow<'_, [u8]>, Failure> {
    let failed = |e| Failure::ours(Phase::Transfer, Cause::Io(e));
    if spool.as_slice().is_some() {
        return spool.read(range).map_err(failed);
    }
    let spool = Arc::clone(spool);
    match tokio::task::spawn_blocking(move || spool.read(range).map(Cow::into_owned)).await {
        Ok(read) => read.map(Cow::Owned).map_err(failed),
        Err(e) => Err(Failure::ours(Phase::Transfer, Cause::Panic(e.to_string()))),
    }
}

/// A patch of ours must not bring line ends that some server would take for the end of the message.
///
/// # Errors
/// It holds a lone CR or LF.
pub(crate) fn sound_line_ends(patch: &Patch) -> Result<(), Failure> {
    if patch.changes().iter().any(|c| wire::stray_line_end(&c.with)) {
        let cause = "the patch holds a lone CR or LF".into();
        return Err(Failure::ours(Phase::Rewrite, Cause::Other(cause)));
    }
    Ok(())
}
