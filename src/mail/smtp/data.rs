//! Message data of a session: DATA and BDAT, kept or passed on.

use tokio::time::Instant;
use wire::{Answer, BareLineEnds, DataEnd, Form};

use super::{Conversation, Flow};
use crate::failure::Failure;

impl Conversation {
    pub(super) async fn data(&mut self) {
        let Some(transaction) = &self.transaction else {
            return self.session.data(BareLineEnds::Refuse).write(&mut self.out);
        };
        if transaction.lost {
            return Answer::NEXT_HOP_LOST.write_with_id(transaction.id(), &mut self.out);
        }
        // A message that nobody wants changed is refused for its form at most: the next hop makes ready for it meanwhile.
        let unchanged = !transaction.wants_rewriting();
        self.session
            .data(self.context.listener.bare_line_ends)
            .write(&mut self.out);
        self.message_may_begin();
        if self.session.in_data()
            && unchanged
            && let Err(failure) = self.relay.announce(&self.settings.limits).await
        {
            self.fail(failure);
        }
    }

    /// BDAT: what becomes of it is said behind its payload.
    pub(super) fn chunk(&mut self) {
        let lost = self.transaction.as_ref().is_some_and(|t| t.lost);
        let policy = self.context.listener.bare_line_ends;
        self.session.chunk(policy, lost.then_some(Answer::NEXT_HOP_LOST));
        self.message_may_begin();
    }

    /// A chunk is there, and more will follow.
    pub(super) async fn chunk_taken(&mut self) -> Flow {
        self.context.counts.bdat_chunks.inc();
        // A message that comes to nothing is not waited for. With a reply for each recipient they may only come at the end.
        let by_recipient = self.form != Form::One;
        match self.transaction.take_if(|t| !by_recipient && t.has_failed()) {
            Some(transaction) => {
                self.session.give_up_chunks();
                self.message_deadline = None;
                self.complete(transaction, DataEnd::default()).await
            }
            None => {
                Answer::CHUNK_TAKEN.write(&mut self.out);
                Flow::Continue
            }
        }
    }

    /// Starts the clock of a message with its first data.
    fn message_may_begin(&mut self) {
        if self.session.in_message() && self.message_deadline.is_none() {
            self.message_deadline = Some(Instant::now() + self.settings.limits.message_timeout);
        }
    }

    /// Keeps message content, or passes it on if nobody wants it changed.
    pub(super) async fn content(&mut self, bytes: &[u8]) {
        let max_message = self.context.listener.max_message;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let limits = &self.settings.limits;
        let passed = if transaction.flows() {
            if !transaction.let_pass(bytes, max_message) {
                return self.relay.abandon();
            }
            self.relay.pass(bytes, limits).await
        } else {
            transaction.take_in(bytes, max_message).await;
            match transaction.begin_to_flow(&self.context) {
                Some(begin) => self.relay.pass(&begin, limits).await,
                None => return,
            }
        };
        if let Err(failure) = passed {
            self.fail(failure);
        }
    }

    /// The message that is coming in comes to nothing; the client hears it when it has sent it all.
    fn fail(&mut self, failure: Failure) {
        if let Some(transaction) = &mut self.transaction {
            transaction.fail(failure);
        }
    }
}
