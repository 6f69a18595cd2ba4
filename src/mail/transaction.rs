//! One message of a session: its envelope, its bytes, what is decided about it, and what became of it.

mod outcome;
mod recipient;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use message::{Patch, Source};
use tracing::warn;
use wire::{Answer, LineMeter, PathLine};

pub(in crate::mail) use self::recipient::Recipient;
use crate::clock::since_1970;
use crate::config::{OnError, Settings};
use crate::failure::{Cause, Failure, Phase};
use crate::mail::id as mail_id;
use crate::mail::listen::Context;
use crate::mail::listen::in_flight::Place;
use crate::mail::ports::Rewriter;
use crate::mail::rewrite::{Action, Job, Outcome};
use crate::mail::spool::Spool;
use crate::mail::trace::{self, Way};
pub(in crate::mail) use crate::mail::transaction::outcome::{Origin, Story};
use crate::metrics::{GaugeGuard, MessageResult};

/// Up to this size, in octets, a message is rewritten where it is: moving it to another thread would cost more.
const INLINE: u64 = 16 << 10;

/// A transaction from MAIL on, or the part of one that concerns some of its recipients.
pub(crate) struct Transaction {
    envelope: Arc<Envelope>,
    recipients: Vec<Recipient>,
    /// The next hop was lost: nothing can come of this transaction.
    pub(crate) lost: bool,
    spool: Spool,
    /// Octets of message content so far.
    octets: u64,
    /// The content is not kept: it goes to the next hop as it comes.
    flows: bool,
    /// Octets of the beginning that were looked through for the end of the header.
    looked_at: usize,
    /// The way the message came, once its header is known.
    way: Way,
    too_large: bool,
    lines: LineMeter,
    /// Its place among the messages that may be on their way, for protocols in which a client can be told to wait.
    pub(crate) place: Option<Place>,
    fault: Option<Failure>,
    started: Instant,
    /// The mark that it is open.
    pub(crate) open: Option<GaugeGuard>,
}

/// What does not change after MAIL.
#[derive(Clone)]
struct Envelope {
    id: String,
    settings: Arc<Settings>,
    sender: String,
    /// The MAIL line as it came.
    mail_line: Vec<u8>,
    /// The id of the transaction that brought the message: another than `id` for a part of it.
    transaction: String,
    received_us: i64,
}

impl Envelope {
    /// Seconds since 1970.
    fn received_s(&self) -> i64 {
        self.received_us / 1_000_000
    }
}

/// What becomes of a message.
pub(crate) enum Verdict {
    /// It is refused for its form.
    Refuse(Answer),
    /// It is refused for what is in it; the answer goes out with the id.
    RefuseContent(Answer),
    /// It goes on, with the patch.
    Forward {
        /// The message as it came.
        spool: Arc<Spool>,
        /// What changes in it.
        patch: Patch,
    },
}

impl Transaction {
    pub(crate) fn new(path: &PathLine<'_>, settings: Arc<Settings>) -> Self {
        let spool = settings.limits.spool();
        let now = since_1970();
        let id = mail_id::next();
        let envelope = Envelope {
            id: id.clone(),
            settings,
            sender: path.address().into_owned(),
            mail_line: path.line.to_vec(),
            transaction: id,
            received_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        };
        Self::of(envelope, spool)
    }

    fn of(envelope: Envelope, spool: Spool) -> Self {
        let lines = LineMeter::new(envelope.settings.limits.text_line);
        Self {
            envelope: Arc::new(envelope),
            recipients: Vec::new(),
            lost: false,
            spool,
            octets: 0,
            flows: false,
            looked_at: 0,
            way: Way::default(),
            too_large: false,
            lines,
            place: None,
            fault: None,
            started: Instant::now(),
            open: None,
        }
    }

    /// Keeps the mark that it is open for as long as it is.
    pub(crate) fn counted(mut self, open: GaugeGuard) -> Self {
        self.open = Some(open);
        self
    }

    /// Adds a recipient whose policy goes for the whole message, whoever was added before.
    pub(crate) fn add_in_front(&mut self, recipient: Recipient) {
        self.recipients.insert(0, recipient);
    }

    /// The message becomes one that is too large, whatever its size.
    pub(crate) fn give_up_as_too_large(&mut self) {
        self.too_large = true;
        self.spool = self.envelope.settings.limits.no_spool();
    }

    /// The snapshot of settings that this transaction goes by.
    pub(crate) fn settings(&self) -> &Settings {
        &self.envelope.settings
    }

    /// The part of this transaction that concerns these of its recipients, under an id of its own. The message itself stays
    /// behind: see [`close`](Self::close).
    pub(crate) fn part(&self, recipients: Vec<Recipient>) -> Self {
        let envelope = Envelope {
            id: mail_id::next(),
            ..Envelope::clone(&self.envelope)
        };
        Self {
            recipients,
            octets: self.octets,
            flows: self.flows,
            way: self.way,
            started: self.started,
            ..Self::of(envelope, self.envelope.settings.limits.no_spool())
        }
    }

    /// The MAIL line as it came, without its end.
    pub(crate) fn mail_line(&self) -> &[u8] {
        &self.envelope.mail_line
    }

    pub(crate) fn id(&self) -> &str {
        &self.envelope.id
    }

    /// The id of the transaction that brought the message.
    pub(crate) fn transaction_id(&self) -> &str {
        &self.envelope.transaction
    }

    /// Keeps the recipients that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Recipient) -> bool) {
        self.recipients.retain(keep);
    }

    /// The recipient that decides which others may share the copy.
    pub(crate) fn first(&self) -> Option<&Recipient> {
        self.recipients.first()
    }

    pub(crate) fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    pub(crate) fn add(&mut self, recipient: Recipient) {
        self.recipients.push(recipient);
    }

    /// Whether anybody may want the message changed.
    pub(crate) fn wants_rewriting(&self) -> bool {
        self.recipients.iter().any(Recipient::wants_rewriting)
    }

    /// Whether the message will be refused whatever else comes of it.
    pub(crate) fn has_failed(&self) -> bool {
        self.too_large || self.lines.exceeded() || self.fault.is_some()
    }

    /// Takes message content in. Once something is wrong with the message the rest is dropped: the verdict waits for the
    /// end of data, because a client that is answered earlier does not hear it.
    pub(crate) async fn take_in(&mut self, bytes: &[u8], max_message: u64) {
        if self.has_failed() {
            return;
        }
        self.lines.count(bytes);
        let limits = &self.envelope.settings.limits;
        self.octets += bytes.len() as u64;
        self.too_large = self.octets > max_message;
        if self.has_failed() {
            self.spool = limits.no_spool();
            return;
        }
        let mut kept = self.spool.append(bytes);
        if kept.is_ok() && self.spool.wants_flush() {
            let mut spool = std::mem::replace(&mut self.spool, limits.no_spool());
            let flushed = tokio::task::spawn_blocking(move || (spool.flush(), spool));
            kept = match flushed.await {
                Ok((kept, spool)) => {
                    self.spool = spool;
                    kept
                }
                Err(e) => Err(std::io::Error::other(e)),
            };
        }
        self.fault = kept.err().map(|e| Failure::ours(Phase::Receive, e));
    }

    /// What the next hop is given of the message so far, if the rest may go on as it comes: nobody wants it changed, and it
    /// is large. From then on it is not kept here.
    pub(crate) fn begin_to_flow(&mut self, context: &Context) -> Option<Vec<u8>> {
        const FLOW_FROM: usize = 32 << 10;
        let bytes = self.spool.as_slice()?;
        // A long header is looked through again when it has doubled.
        let early = bytes.len() < FLOW_FROM.max(self.looked_at * 2);
        if early || self.has_failed() || self.wants_rewriting() {
            return None;
        }
        self.looked_at = bytes.len();
        memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let way = Way::read(bytes, &context.instance);
        if way.passes >= context.listener.max_passes {
            return None;
        }
        let mark = way.mark(Patch::default(), &context.instance, self.envelope.received_s());
        let begin = mark.apply(bytes);
        self.flows = true;
        self.spool = self.envelope.settings.limits.no_spool();
        Some(begin)
    }

    /// Whether the message goes to the next hop as it comes in.
    pub(crate) fn flows(&self) -> bool {
        self.flows
    }

    /// Counts content that goes past; `false` if it must not go on.
    pub(crate) fn let_pass(&mut self, bytes: &[u8], max_message: u64) -> bool {
        self.octets += bytes.len() as u64;
        self.lines.count(bytes);
        self.too_large |= self.octets > max_message;
        !self.has_failed()
    }

    /// The message comes to nothing for this reason.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.fault.get_or_insert(failure);
    }

    /// The message is there: works out what becomes of it. What it refers to is in the store when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(crate) async fn decide(&mut self, story: &mut Story, context: &Context) -> Result<Verdict, Failure> {
        let spool = match self.close(story, context).await? {
            Ok(spool) => spool,
            Err(refusal) => {
                story.is_refused(refusal);
                return Ok(Verdict::Refuse(refusal));
            }
        };
        let outcome = self.judge(&spool, context).await?;
        self.settle(outcome, spool, story, context).await
    }

    /// The message as it came, if its form lets it go on; else the refusal.
    ///
    /// # Errors
    /// It could not be kept.
    pub(crate) async fn close(
        &mut self,
        story: &mut Story,
        context: &Context,
    ) -> Result<Result<Arc<Spool>, Answer>, Failure> {
        if let Some(failure) = self.fault.take() {
            return Err(failure);
        }
        if self.too_large {
            return Ok(Err(Answer::TOO_LARGE));
        }
        if self.lines.exceeded() {
            return Ok(Err(Answer::TEXT_LINE_TOO_LONG));
        }
        if story.end.refuse {
            return Ok(Err(Answer::BARE_LINE_END));
        }
        let spool = Arc::new(std::mem::replace(
            &mut self.spool,
            self.envelope.settings.limits.no_spool(),
        ));
        if self.flows {
            return Ok(Ok(spool));
        }
        self.way = trace::way(&spool, &context.instance)
            .await
            .map_err(|e| Failure::ours(Phase::Receive, e))?;
        if self.way.passes >= context.listener.max_passes {
            story.refused_because = Some(format!("it has come through here {} times", self.way.passes));
            return Ok(Err(Answer::ROUTING_LOOP));
        }
        Ok(Ok(spool))
    }

    /// Has the message rewritten for the recipients of this transaction, if they want that.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(crate) async fn judge(&self, spool: &Arc<Spool>, context: &Context) -> Result<Outcome, Failure> {
        match self.rewrite(spool, context).await {
            Ok(outcome) => Ok(outcome),
            Err(failure) => self.pass_or(failure, context),
        }
    }

    /// Turns what was judged into what is done. What it refers to is in the store when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(crate) async fn settle(
        &self,
        mut outcome: Outcome,
        spool: Arc<Spool>,
        story: &mut Story,
        context: &Context,
    ) -> Result<Verdict, Failure> {
        self.tell_of_suspicious_links(&outcome.report);
        if let Action::Refuse(reason) = outcome.action {
            story.refused_because = Some(reason);
            story.report = outcome.report;
            story.ends(MessageResult::ContentRefused);
            return Ok(Verdict::RefuseContent(Answer::CONTENT_REFUSED));
        }
        if !outcome.references.is_empty() {
            let rows = std::mem::take(&mut outcome.references);
            // A link that points to a row must never be read before the row is there.
            if let Err(failure) = context.recorder.store_references(rows).await {
                outcome = self.pass_or(failure, context)?;
            }
        }
        story.report = outcome.report;
        let (patch, octets_out) = if self.flows {
            (outcome.patch, self.octets)
        } else {
            let patch = self
                .way
                .mark(outcome.patch, &context.instance, self.envelope.received_s());
            let octets = patch.patched_len(spool.len());
            (patch, octets)
        };
        story.octets_out = octets_out;
        story.changed = !patch.is_empty();
        Ok(Verdict::Forward { spool, patch })
    }

    async fn rewrite(&self, spool: &Arc<Spool>, context: &Context) -> Result<Outcome, Failure> {
        if self.first().is_none_or(|first| first.policy.is_none()) {
            return Ok(Outcome::default());
        }
        let recipients: Vec<String> = self.recipients.iter().map(|r| r.address.clone()).collect();
        let _under_way = context.counts.rewrite();
        let began = Instant::now();
        if spool.len() <= INLINE {
            let judged = rewrite(&*context.rewriter, spool, &self.envelope, &recipients);
            context.counts.rewritten(began.elapsed());
            return judged;
        }
        let closed = |e| Failure::ours(Phase::Rewrite, Cause::Other(Box::new(e)));
        let budget = &self.envelope.settings.limits.rewrite_budget;
        let permit = budget.acquire(spool.len()).await.map_err(closed)?;
        let (rewriter, spool) = (Arc::clone(&context.rewriter), Arc::clone(spool));
        let envelope = Arc::clone(&self.envelope);
        let judged = tokio::task::spawn_blocking(move || rewrite(&*rewriter, &spool, &envelope, &recipients)).await;
        drop(permit);
        context.counts.rewritten(began.elapsed());
        judged.map_err(|e| Failure::ours(Phase::Rewrite, Cause::Panic(e.to_string())))?
    }

    /// Our own failure: the message as it came if the listener says so, else the failure.
    pub(crate) fn pass_or(&self, failure: Failure, context: &Context) -> Result<Outcome, Failure> {
        match context.listener.on_error {
            OnError::Tempfail => Err(failure),
            OnError::Pass => {
                context.counts.failure(&failure);
                context.counts.passed_on_error();
                warn!(target: "linkgate::mail", id = self.id(), "passing the message on unchanged: {failure}");
                Ok(Outcome::default())
            }
        }
    }
}

/// Calls the rewriter; a panic in it costs one message.
fn rewrite(
    rewriter: &dyn Rewriter,
    spool: &Spool,
    envelope: &Envelope,
    recipients: &[String],
) -> Result<Outcome, Failure> {
    let job = Job {
        settings: &envelope.settings,
        sender: &envelope.sender,
        recipients,
        mail_id: &envelope.id,
        now_s: envelope.received_s(),
    };
    catch_unwind(AssertUnwindSafe(|| rewriter.rewrite(spool, &job))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(Failure::ours(Phase::Rewrite, Cause::Panic(text)))
    })
}
