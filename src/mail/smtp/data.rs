//! Message data of a session: DATA and BDAT, kept or passed on.

use tokio::time::Instant;
use wire::{Answer, BareLineEnds, DataEnd, Form};

use super::{Conversation, Next};
use crate::mail::transaction::{Passed, Transaction};

impl Conversation {
    pub(super) async fn data(&mut self) {
        let Some(transaction) = &self.incoming.transaction else {
            return self.session.data(BareLineEnds::Refuse).write(&mut self.client.out);
        };
        if transaction.has_lost_next_hop() {
            return Answer::NEXT_HOP_LOST.write_with_id(transaction.id(), &mut self.client.out);
        }
        // A message that no policy may change is refused for its form at most: the next hop makes ready for it meanwhile.
        let unchanged = !transaction.wants_rewriting();
        self.session
            .data(self.client.context.listener.bare_line_ends)
            .write(&mut self.client.out);
        self.message_may_begin();
        if self.session.in_data()
            && unchanged
            && let Err(failure) = self.relay.announce(&self.client.settings.limits).await
            && let Some(transaction) = &mut self.incoming.transaction
        {
            transaction.fail(failure);
        }
    }

    /// BDAT: what becomes of it is said behind its payload.
    pub(super) fn chunk(&mut self) {
        let lost = (self.incoming.transaction.as_ref()).is_some_and(Transaction::has_lost_next_hop);
        let policy = self.client.context.listener.bare_line_ends;
        self.session.chunk(policy, lost.then_some(Answer::NEXT_HOP_LOST));
        self.message_may_begin();
    }

    /// A chunk is there, and more will follow.
    pub(super) async fn chunk_taken(&mut self) -> Next {
        self.client.context.counts.bdat_chunks.inc();
        // A message that has failed is not waited for. With a reply for each recipient they may only come at the end.
        let by_recipient = self.incoming.form != Form::One;
        match self.incoming.transaction.take_if(|t| !by_recipient && t.has_failed()) {
            Some(transaction) => {
                self.session.give_up_chunks();
                self.incoming.deadline = None;
                self.complete(transaction, DataEnd::default()).await
            }
            None => {
                Answer::CHUNK_TAKEN.write(&mut self.client.out);
                Next::Continue
            }
        }
    }

    /// Starts the clock of a message with its first data.
    fn message_may_begin(&mut self) {
        if self.session.in_message() && self.incoming.deadline.is_none() {
            self.incoming.deadline = Some(Instant::now() + self.client.settings.limits.message_timeout);
        }
    }

    /// Keeps message content, or passes it on if no policy may change it.
    pub(super) async fn content(&mut self, bytes: &[u8]) {
        let Some(transaction) = &mut self.incoming.transaction else {
            return;
        };
        let passed = match transaction.receive(bytes, &self.client.context).await {
            Passed::Nothing => return,
            Passed::BreakOff => return self.relay.abandon(),
            Passed::Octets(octets) => self.relay.pass(&octets, &self.client.settings.limits).await,
        };
        if let Err(failure) = passed {
            transaction.fail(failure);
        }
    }
}
