//! The end of a message: what is decided about it goes to the next hop, and the next hop's reply to the client.

use wire::{DataEnd, Reply};

use super::{Conversation, Flow};
use crate::failure::{Cause, Failure, Phase};
use crate::listen::transaction::{Origin, Story, Transaction, Verdict};
use crate::metrics::SessionEnd;

impl Conversation {
    /// The message is there: decides about it, gives it to the next hop, answers the client.
    pub(super) async fn complete(&mut self, mut transaction: Transaction, end: DataEnd) -> Flow {
        let mut story = Story::new(&transaction, end);
        let said_from = self.out.len();
        if let Err(failure) = self.pass_on(&mut transaction, &mut story).await {
            story.fails(&failure);
            self.complain(&failure, transaction.id());
            match &failure.cause {
                Cause::Refused(bytes) if failure.phase == Phase::Transfer => match Reply::read(bytes) {
                    Ok(Some((_, reply))) => reply.write(&mut self.out),
                    _ => failure.answer().write_with_id(transaction.id(), &mut self.out),
                },
                _ => failure.answer().write_with_id(transaction.id(), &mut self.out),
            }
        }
        let reply = self.out.get(said_from..).unwrap_or_default();
        let code = Reply::read(reply).ok().flatten().map_or(451, |(_, reply)| reply.code);
        let origin = Origin {
            client: self.peer,
            helo: &self.name,
            xforward: self.xforward.trim_ascii(),
        };
        story.count(&self.context);
        transaction.log(&story, &origin, reply);
        self.end_of_transaction();
        if code / 100 == 2 {
            transaction.record(story, &self.context);
        }
        if code == 421 {
            self.end = SessionEnd::NextHop;
            return Flow::Close;
        }
        Flow::Continue
    }

    /// Appends the reply to the final dot.
    async fn pass_on(&mut self, transaction: &mut Transaction, story: &mut Story) -> Result<(), Failure> {
        match transaction.decide(story, &self.context).await? {
            Verdict::Refuse(answer) => answer.write(&mut self.out),
            Verdict::RefuseContent(answer) => answer.write_with_id(transaction.id(), &mut self.out),
            Verdict::Forward { spool, patch } => {
                let limits = &transaction.settings().limits;
                let reply = self.relay.deliver(&spool, &patch, limits).await?;
                story.replied(reply.class());
                reply.write(&mut self.out);
            }
        }
        Ok(())
    }
}
