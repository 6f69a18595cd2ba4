//! The end of a message: what is decided about it goes to the next hop, and the next hop's replies to the client.

use tokio::time::Instant;
use tracing::warn;
use wire::{Answer, DataEnd, FinalReplies, Form};

use super::copies::{Clock, Copies, TransactionPart};
use super::{Conversation, Next};
use crate::mail::transaction::{Summary, Transaction};
use crate::metrics::SessionEnd;

impl Conversation {
    /// The message is there: decides about it, gives it to the next hop, answers the client.
    pub(super) async fn complete(&mut self, mut transaction: Transaction, end: DataEnd) -> Next {
        let mut summary = Summary::new(&transaction, end);
        summary.count_received(&self.client.context);
        let recipients = transaction.recipients().len();
        let slots = if self.incoming.form == Form::One { 1 } else { recipients };
        let mut copies = Copies {
            parts: Vec::new(),
            replies: FinalReplies::new(self.incoming.form, slots),
            recipients,
            client_gone: false,
            uncertain: 0,
            clock: Clock::new(self.incoming.form, Instant::now(), &transaction.settings().limits),
        };
        match transaction.end(&mut summary, &self.client.context).await {
            Ok(Ok(spool)) => {
                copies.parts = self.divide(transaction, &summary, &spool).await;
                self.hand_on(&mut copies, &spool).await;
            }
            Ok(Err(refusal)) => {
                let mut part = TransactionPart::whole(transaction, summary, slots);
                part.update(|summary| summary.set_refused(refusal));
                part.reply_to_all(refusal, &mut copies.replies);
                copies.parts.push(part);
            }
            Err(failure) => {
                copies.parts.push(TransactionPart::whole(transaction, summary, slots));
                let all = copies.addressees(&[0]);
                self.fail_for(&mut copies, &all, &failure);
            }
        }
        self.conclude(copies).await
    }

    /// Everything that will be known is known: says what is not said, and writes it down.
    async fn conclude(&mut self, mut copies: Copies) -> Next {
        for part in &mut copies.parts {
            part.reply_to_all_with_id(Answer::NEXT_HOP_LOST, &mut copies.replies);
        }
        // Every slot belongs to a part; were one left, its recipient would still be owed a reply.
        let mut instead = Vec::new();
        Answer::INTERNAL.write(&mut instead);
        copies.replies.finish(&instead, &mut self.client.out);
        self.say(&mut copies).await;
        let mut duplicates = copies.uncertain;
        if copies.client_gone {
            duplicates += copies.parts.iter().map(TransactionPart::taken).sum::<usize>();
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
                client = %self.client.peer,
                recipients = duplicates,
                client_gone = copies.client_gone,
                "possible duplicate: the next hop has taken a message, or may have, and the client was not told so"
            );
            let n = u64::try_from(duplicates).unwrap_or(u64::MAX);
            self.client.context.counts.possible_duplicates.inc_by(n);
        }
        self.end_of_transaction();
        if copies.client_gone {
            self.client.end = SessionEnd::Broken;
            return Next::Close;
        }
        if copies.replies.closing() {
            self.client.end = SessionEnd::NextHop;
            return Next::Close;
        }
        Next::Continue
    }

    /// Says the replies that can be said by now.
    pub(super) async fn say(&mut self, copies: &mut Copies) {
        copies.replies.write(&mut self.client.out);
        if !copies.client_gone && self.client.flush().await.is_err() {
            copies.client_gone = true;
        }
    }
}
