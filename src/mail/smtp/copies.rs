//! One message for several recipients who are answered one by one: which of them share a copy, and how each copy goes to the
//! next hop.
//!
//! A copy that is changed for a recipient is theirs alone: no other recipient's address or token is in it. All who get the
//! message as it came share one copy.

use std::sync::Arc;
use std::time::Duration;

use message::Patch;
use tokio::time::Instant;
use wire::{Answer, Command, FinalReplies, Form, Reply, classify};

use super::Conversation;
use crate::config::Limits;
use crate::failure::{Cause, Failure, Phase};
use crate::mail::context::ListenerContext;
use crate::mail::relay::{EnvelopeReply, Sending};
use crate::mail::rewrite::{RewriteAction, RewriteOutcome};
use crate::mail::spool::Spool;
use crate::mail::transaction::{Disposition, LogNames, Recipient, Summary, Transaction};
use crate::metrics::MessageResult;

/// The shortest wait for a reply to a dot: with less, what the next hop takes would often arrive twice.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// A message on its way to all of its recipients.
pub(super) struct Copies {
    pub(super) parts: Vec<TransactionPart>,
    /// The replies to the final dot, for the client.
    pub(super) replies: FinalReplies,
    /// Recipients that the next hop has accepted in the transaction that is open.
    pub(super) recipients: usize,
    /// The client does not hear us any more.
    pub(super) client_gone: bool,
    /// Recipients for whom it is not known whether the next hop has taken the message.
    pub(super) uncertain: usize,
    pub(super) clock: Clock,
}

/// Recipients for whom a message is judged as one, with an id, a line in the log and a row of their own.
pub(super) struct TransactionPart {
    pub(super) transaction: Transaction,
    /// The summary, until it is written down.
    summary: Option<Summary>,
    /// For each recipient the place among the replies, and the reply once it is known.
    slots: Vec<(usize, Option<Vec<u8>>)>,
    plan: CopyPlan,
}

/// The work that is left for a part.
enum CopyPlan {
    /// It shares the message as it came. This is what was found in it.
    Original(RewriteOutcome),
    /// It gets a copy of its own, which may have been rewritten already.
    Own(Option<RewriteOutcome>),
    /// It could not be rewritten; the recipients get this answer.
    Failed(Answer),
    /// All is done.
    Nothing,
}

/// The time that the copies of one message may take.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// No further copy is begun later than this, and no reply is waited for longer than that.
    ends: Option<(Instant, Instant)>,
}

impl Clock {
    /// A clock that starts now.
    ///
    /// With a reply for each recipient the client waits for each of them as long as for a whole message, so that all
    /// together may take twice as long as one. With PRDR it hears nothing before all are known.
    pub(super) fn new(form: Form, now: Instant, limits: &Limits) -> Self {
        let one = limits.final_reply_timeout;
        Self {
            ends: match form {
                Form::One => None,
                Form::Each => Some((now + one, now + one * 2)),
                Form::Prdr => Some((now + one / 2, now + one)),
            },
        }
    }

    fn may_begin(&self) -> bool {
        self.ends.is_none_or(|(begin, _)| Instant::now() < begin)
    }

    /// The time that is left for the next reply to a dot.
    fn wait(&self, limits: &Limits) -> Duration {
        let left = self
            .ends
            .map(|(_, end)| end.saturating_duration_since(Instant::now()).max(LEAST_WAIT));
        limits.final_reply_timeout.min(left.unwrap_or(Duration::MAX))
    }
}

impl TransactionPart {
    /// All recipients of a transaction, with `slots` replies for them: one, or one for each.
    pub(super) fn whole(transaction: Transaction, summary: Summary, slots: usize) -> Self {
        let last = slots.saturating_sub(1);
        let slots = (0..transaction.recipients().len()).map(|at| (at.min(last), None));
        Self {
            slots: slots.collect(),
            transaction,
            summary: Some(summary),
            plan: CopyPlan::Own(None),
        }
    }

    /// Some of the recipients.
    fn of(all: &Transaction, summary: &Summary, who: &[usize], plan: CopyPlan) -> Self {
        Self {
            transaction: all.part(chosen(all, who)),
            summary: Some(summary.clone()),
            slots: who.iter().map(|at| (*at, None)).collect(),
            plan,
        }
    }

    /// The reply for one recipient, as the next hop gave it.
    fn reply_to(&mut self, at: usize, reply: &Reply<'_>, replies: &mut FinalReplies) {
        let mut bytes = Vec::with_capacity(reply.bytes.len());
        reply.write(&mut bytes);
        self.set(at, bytes, replies);
    }

    /// The same reply of ours for all who have none.
    pub(super) fn reply_to_all(&mut self, answer: Answer, replies: &mut FinalReplies) {
        for at in 0..self.slots.len() {
            let mut bytes = Vec::new();
            answer.write(&mut bytes);
            self.set(at, bytes, replies);
        }
    }

    /// The same reply of ours for all who have none, with the id under which the log has the cause.
    pub(super) fn reply_to_all_with_id(&mut self, answer: Answer, replies: &mut FinalReplies) {
        for at in 0..self.slots.len() {
            self.reply_to_with_id(at, answer, replies);
        }
    }

    fn reply_to_with_id(&mut self, at: usize, answer: Answer, replies: &mut FinalReplies) {
        let mut bytes = Vec::new();
        answer.write_with_id(self.transaction.id(), &mut bytes);
        self.set(at, bytes, replies);
    }

    fn set(&mut self, at: usize, reply: Vec<u8>, replies: &mut FinalReplies) {
        if let Some((slot, known @ None)) = self.slots.get_mut(at) {
            replies.set(*slot, &reply);
            *known = Some(reply);
        }
    }

    /// Changes the summary, until it is written down.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut Summary)) {
        if let Some(summary) = &mut self.summary {
            change(summary);
        }
    }

    /// Counts the recipients for whom the next hop has taken the message.
    pub(super) fn taken(&self) -> usize {
        self.slots.iter().filter(|(_, reply)| is_success(reply)).count()
    }

    /// The replies for the log: one for all, or each.
    fn replies_for_log(&self) -> Vec<u8> {
        let mut replies: Vec<&[u8]> = self
            .slots
            .iter()
            .filter_map(|(_, reply)| reply.as_deref())
            .map(<[u8]>::trim_ascii_end)
            .collect();
        replies.dedup();
        replies.join(&b" | "[..])
    }

    /// Whether all of its recipients have a reply, and nothing is written down yet.
    fn is_through(&self) -> bool {
        self.summary.is_some() && self.slots.iter().all(|(_, reply)| reply.is_some())
    }

    /// Writes down what became of it: the line of the log, and the row for those recipients who get the message.
    fn write_down(&mut self, names: &LogNames<'_>, context: &ListenerContext) {
        let Some(summary) = self.summary.take() else { return };
        let replies = self.slots.iter().filter_map(|(_, reply)| reply.as_deref());
        let best = replies.filter_map(|reply| reply.first()).min().copied();
        summary.count(context, best.unwrap_or(b'4'));
        self.transaction.log(&summary, names, &self.replies_for_log());
        let recipients = self.transaction.recipients().iter().zip(&self.slots);
        let taken = recipients.filter(|(_, (_, reply))| is_success(reply));
        self.transaction
            .record(taken.map(|(recipient, _)| recipient), summary, context);
    }
}

impl Conversation {
    /// Divides a message among its recipients: who shares the message as it came, who gets a copy of their own.
    ///
    /// For each policy the message is judged once, for the first of its recipients: what changes nothing for one of them
    /// changes nothing for any, for the others differ in name only.
    pub(super) async fn divide(&self, all: Transaction, summary: &Summary, spool: &Arc<Spool>) -> Vec<TransactionPart> {
        if self.incoming.form == Form::One || all.recipients().len() <= 1 {
            return vec![TransactionPart::whole(all, summary.clone(), 1)];
        }
        let mut parts = Vec::new();
        // One patch is held at a time.
        let mut holding = false;
        for group in groups(all.recipients()) {
            let Some((first, others)) = group.split_first() else {
                continue;
            };
            let mut part = TransactionPart::of(&all, summary, std::slice::from_ref(first), CopyPlan::Nothing);
            if part
                .transaction
                .first()
                .is_none_or(|recipient| !recipient.wants_rewriting())
            {
                parts.push(TransactionPart::of(
                    &all,
                    summary,
                    &group,
                    CopyPlan::Original(RewriteOutcome::default()),
                ));
                continue;
            }
            match part.transaction.rewrite(spool, &self.client.context).await {
                Ok(outcome) if outcome.action == RewriteAction::Forward && !outcome.patch.is_empty() => {
                    part.plan = CopyPlan::Own((!holding).then_some(outcome));
                    holding = true;
                    parts.push(part);
                    let own =
                        |at: &usize| TransactionPart::of(&all, summary, std::slice::from_ref(at), CopyPlan::Own(None));
                    parts.extend(others.iter().map(own));
                }
                Ok(outcome) if outcome.action == RewriteAction::Forward => {
                    parts.push(TransactionPart::of(&all, summary, &group, CopyPlan::Original(outcome)));
                }
                // For the same cause for all of them, without a further look.
                Ok(outcome) => parts.push(TransactionPart::of(&all, summary, &group, CopyPlan::Own(Some(outcome)))),
                Err(failure) => {
                    let part = TransactionPart::of(&all, summary, &group, CopyPlan::Failed(failure.answer()));
                    self.log_failure(&failure, part.transaction.id());
                    parts.push(part);
                }
            }
        }
        parts
    }

    /// Gives each copy to the next hop, in the order of the first recipient of each, and says the replies as they come.
    pub(super) async fn hand_on(&mut self, copies: &mut Copies, spool: &Arc<Spool>) {
        let mut rounds = Vec::new();
        let mut original = Vec::new();
        for (at, part) in copies.parts.iter().enumerate() {
            match part.plan {
                CopyPlan::Original(_) => original.push(at),
                _ => rounds.push(vec![at]),
            }
        }
        if !original.is_empty() {
            rounds.push(original);
        }
        let first = |round: &Vec<usize>| {
            let parts = round.iter().filter_map(|at| copies.parts.get(*at));
            parts.flat_map(|part| &part.slots).map(|(slot, _)| *slot).min()
        };
        rounds.sort_by_key(first);
        for (n, round) in rounds.iter().enumerate() {
            if copies.client_gone {
                return;
            }
            if n > 0 && !copies.clock.may_begin() {
                let cause = format!("no time is left for {} of {} copies", rounds.len() - n, rounds.len());
                let failure = Failure::next_hop(Phase::Envelope, Cause::Other(cause.into()));
                let id = copies
                    .parts
                    .first()
                    .map_or("", |part| part.transaction.transaction_id());
                return self.log_failure(&failure, id);
            }
            if let Some(patch) = self.prepare(copies, round, spool).await {
                self.hand_on_one(copies, round, spool, &patch).await;
            }
            self.say(copies).await;
            self.write_down(copies);
        }
    }

    /// Writes down what became of the parts that are through: what was found in a copy is not kept until the last one is.
    pub(super) fn write_down(&self, copies: &mut Copies) {
        let names = LogNames {
            client: self.client.peer,
            helo: &self.identity.name,
            xforward: self.identity.xforward.trim_ascii(),
        };
        for part in copies.parts.iter_mut().filter(|part| part.is_through()) {
            part.write_down(&names, &self.client.context);
        }
    }

    /// Works out the patch of a copy; `None` when no recipient gets it.
    async fn prepare(&mut self, copies: &mut Copies, round: &[usize], spool: &Arc<Spool>) -> Option<Patch> {
        let mut found = None;
        for at in round {
            let part = copies.parts.get_mut(*at)?;
            let judged = match std::mem::replace(&mut part.plan, CopyPlan::Nothing) {
                CopyPlan::Original(outcome) | CopyPlan::Own(Some(outcome)) => Ok(outcome),
                CopyPlan::Own(None) => part.transaction.rewrite(spool, &self.client.context).await,
                CopyPlan::Failed(answer) => {
                    part.update(|summary| summary.set_result(MessageResult::Deferred));
                    part.reply_to_all_with_id(answer, &mut copies.replies);
                    continue;
                }
                CopyPlan::Nothing => continue,
            };
            let disposition = match (judged, &mut part.summary) {
                (Ok(outcome), Some(summary)) => {
                    let spool = Arc::clone(spool);
                    part.transaction
                        .apply(outcome, spool, summary, &self.client.context)
                        .await
                }
                (Err(failure), _) => Err(failure),
                // It is written down already.
                (_, None) => continue,
            };
            match disposition {
                // The parts of the original have no patch, the others are alone.
                Ok(Disposition::Forward { patch, .. }) => found = Some(patch),
                Ok(Disposition::Refuse(answer)) => part.reply_to_all(answer, &mut copies.replies),
                Ok(Disposition::RefuseContent(answer)) => part.reply_to_all_with_id(answer, &mut copies.replies),
                Err(failure) => {
                    part.update(|summary| summary.set_failed(&failure));
                    part.reply_to_all_with_id(failure.answer(), &mut copies.replies);
                    let id = part.transaction.id().to_owned();
                    self.log_failure(&failure, &id);
                }
            }
        }
        found
    }

    /// Gives one copy to the next hop: in the transaction that is open if it is for all of its recipients, else in one of
    /// its own.
    async fn hand_on_one(&mut self, copies: &mut Copies, round: &[usize], spool: &Arc<Spool>, patch: &Patch) {
        let settings = Arc::clone(&self.client.settings);
        let limits = &settings.limits;
        let mut to = copies.addressees(round);
        if to.len() != copies.recipients {
            let mail = copies.mail_line(round);
            let lines: Vec<Vec<u8>> = to.iter().map(|who| copies.rcpt_line(*who)).collect();
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let Command::Mail(path) = classify(&mail) else {
                return;
            };
            match self.relay.begin(&path, &lines, limits).await {
                Ok(EnvelopeReply::Recipients(refused)) => {
                    let mut refused = refused.into_iter();
                    to.retain(|who| match refused.next().flatten() {
                        Some(reply) => {
                            copies.reply_to(*who, &reply);
                            false
                        }
                        None => true,
                    });
                }
                Ok(EnvelopeReply::Refused(reply)) => return to.iter().for_each(|who| copies.reply_to(*who, &reply)),
                Err(failure) => return self.fail_for(copies, &to, &failure),
            }
            if to.is_empty() {
                return;
            }
        }
        let replies = match self.relay.send(spool, patch, to.len(), limits).await {
            Ok(Sending::Sent(replies)) => replies,
            Ok(Sending::Refused(reply)) => return to.iter().for_each(|who| copies.reply_to(*who, &reply)),
            Err(failure) => return self.fail_for(copies, &to, &failure),
        };
        // One reply for all of them, or one for each.
        let each = to.len().div_ceil(replies.max(1));
        for (n, some) in to.chunks(each).enumerate() {
            match self.relay.final_reply(copies.clock.wait(limits)).await {
                Ok(reply) => {
                    for who in some {
                        copies.reply_to(*who, reply.bytes);
                    }
                }
                Err(failure) => {
                    let rest = to.get(n * each..).unwrap_or_default();
                    return self.fail_for(copies, rest, &failure);
                }
            }
            self.say(copies).await;
        }
    }

    /// Replies to the recipients of a copy with which the next hop failed: in its words if it said any.
    pub(super) fn fail_for(&self, copies: &mut Copies, to: &[Addressee], failure: &Failure) {
        if failure.phase == Phase::FinalReply {
            copies.uncertain += to.len();
        }
        let mut complained = None;
        for who in to {
            if complained != Some(who.part) {
                complained = Some(who.part);
                self.log_failure(failure, copies.id(*who));
                copies.fails(*who, failure);
            }
            match &failure.cause {
                Cause::Refused(reply) if failure.phase == Phase::Transfer => copies.reply_to(*who, reply),
                _ => copies.reply_failure_to(*who, failure.answer()),
            }
        }
    }
}

/// One recipient of one part.
#[derive(Clone, Copy)]
pub(super) struct Addressee {
    slot: usize,
    part: usize,
    /// The place within the part.
    at: usize,
}

impl Copies {
    /// Recipients of these parts who have no reply yet, in the order of their RCPTs.
    pub(super) fn addressees(&self, round: &[usize]) -> Vec<Addressee> {
        let mut found = Vec::new();
        for part in round {
            let slots = self.parts.get(*part).map_or(&[][..], |p| &p.slots);
            let waiting = slots.iter().enumerate().filter(|(_, (_, reply))| reply.is_none());
            found.extend(waiting.map(|(at, (slot, _))| Addressee {
                slot: *slot,
                part: *part,
                at,
            }));
        }
        found.sort_by_key(|who| who.slot);
        found
    }

    fn mail_line(&self, round: &[usize]) -> Vec<u8> {
        let part = round.first().and_then(|at| self.parts.get(*at));
        part.map_or_else(Vec::new, |part| part.transaction.mail_line().to_vec())
    }

    fn rcpt_line(&self, who: Addressee) -> Vec<u8> {
        let part = self.parts.get(who.part);
        let recipient = part.and_then(|part| part.transaction.recipients().get(who.at));
        recipient.map_or_else(Vec::new, |recipient| recipient.line.clone())
    }

    fn id(&self, who: Addressee) -> &str {
        self.parts.get(who.part).map_or("", |part| part.transaction.id())
    }

    fn fails(&mut self, who: Addressee, failure: &Failure) {
        if let Some(part) = self.parts.get_mut(who.part).filter(|part| part.taken() == 0) {
            part.update(|summary| summary.set_failed(failure));
        }
    }

    /// The next hop's reply for a recipient.
    fn reply_to(&mut self, who: Addressee, reply: &[u8]) {
        let Some(part) = self.parts.get_mut(who.part) else {
            return;
        };
        match Reply::read(reply) {
            Ok(Some((_, reply))) => part.reply_to(who.at, &reply, &mut self.replies),
            _ => part.reply_to_with_id(who.at, Answer::NEXT_HOP_GARBLED, &mut self.replies),
        }
    }

    fn reply_failure_to(&mut self, who: Addressee, answer: Answer) {
        if let Some(part) = self.parts.get_mut(who.part) {
            part.reply_to_with_id(who.at, answer, &mut self.replies);
        }
    }
}

/// Recipients by policy, each group in the order of the first of its members.
fn groups(recipients: &[Recipient]) -> Vec<Vec<usize>> {
    let mut found: Vec<(&Recipient, Vec<usize>)> = Vec::new();
    for (at, recipient) in recipients.iter().enumerate() {
        match found.iter_mut().find(|(first, _)| first.shares_copy_with(recipient)) {
            Some((_, group)) => group.push(at),
            None => found.push((recipient, vec![at])),
        }
    }
    found.into_iter().map(|(_, group)| group).collect()
}

fn chosen(all: &Transaction, who: &[usize]) -> Vec<Recipient> {
    let recipients = all.recipients();
    who.iter().filter_map(|at| recipients.get(*at).cloned()).collect()
}

fn is_success(reply: &Option<Vec<u8>>) -> bool {
    reply.as_ref().is_some_and(|bytes| bytes.starts_with(b"2"))
}
