//! The end of a message: what is decided about it goes to the next hop, and the next hop's replies to the client.

use tokio::time::Instant;
use tracing::warn;
use wire::{Answer, DataEnd, FinalReplies, Form};

use super::copies::{Clock, Copies, Part};
use super::{Conversation, Flow};
use crate::mail::transaction::{Story, Transaction};
use crate::metrics::SessionEnd;

impl Conversation {
    /// The message is there: decides about it, gives it to the next hop, answers the client.
    pub(super) async fn complete(&mut self, mut transaction: Transaction, end: DataEnd) -> Flow {
        // Divided among its recipients it is still one message on its way.
        let _place = transaction.place.take();
        let mut story = Story::new(&transaction, end);
        let _open = transaction.open.take();
        story.count_received(&self.context);
        let recipients = transaction.recipients().len();
        let slots = if self.form == Form::One { 1 } else { recipients };
        let mut copies = Copies {
            parts: Vec::new(),
            replies: FinalReplies::new(self.form, slots),
            recipients,
            client_gone: false,
            uncertain: 0,
            clock: Clock::new(self.form, Instant::now(), &transaction.settings().limits),
        };
        match transaction.close(&mut story, &self.context).await {
            Ok(Ok(spool)) => {
                copies.parts = self.divide(transaction, &story, &spool).await;
                self.hand_on(&mut copies, &spool).await;
            }
            Ok(Err(refusal)) => {
                let mut part = Part::whole(transaction, story, slots);
                part.ends(|story| story.is_refused(refusal));
                part.tell_all(refusal, &mut copies.replies);
                copies.parts.push(part);
            }
            Err(failure) => {
                copies.parts.push(Part::whole(transaction, story, slots));
                let all = copies.addressees(&[0]);
                self.fail_for(&mut copies, &all, &failure);
            }
        }
        self.conclude(copies).await
    }

    /// Everything that will be known is known: says what is not said, and writes it down.
    async fn conclude(&mut self, mut copies: Copies) -> Flow {
        for part in &mut copies.parts {
            part.tell_all_with_id(Answer::NEXT_HOP_LOST, &mut copies.replies);
        }
        // Every slot belongs to a part; were one left, its recipient would still be owed a reply.
        let mut instead = Vec::new();
        Answer::INTERNAL.write(&mut instead);
        copies.replies.finish(&instead, &mut self.out);
        self.say(&mut copies).await;
        let mut duplicates = copies.uncertain;
        if copies.client_gone {
            duplicates += copies.parts.iter().map(Part::taken).sum::<usize>();
        }
        self.write_down(&mut copies);
        if duplicates > 0 {
            let id = copies
                .parts
                .first()
                .map_or("", |part| part.transaction.transaction_id());
            warn!(
                target: "linkgate::mail",
                transaction = id,
                client = %self.peer,
                recipients = duplicates,
                client_gone = copies.client_gone,
                "possible duplicate: the next hop has taken a message, or may have, and the client was not told so"
            );
            let n = u64::try_from(duplicates).unwrap_or(u64::MAX);
            self.context.counts.possible_duplicates.inc_by(n);
        }
        self.end_of_transaction();
        if copies.client_gone {
            self.end = SessionEnd::Broken;
            return Flow::Close;
        }
        if copies.replies.closing() {
            self.end = SessionEnd::NextHop;
            return Flow::Close;
        }
        Flow::Continue
    }

    /// Says the replies that can be said by now.
    pub(super) async fn say(&mut self, copies: &mut Copies) {
        copies.replies.write(&mut self.out);
        if !copies.client_gone && self.flush().await.is_err() {
            copies.client_gone = true;
        }
    }
}
