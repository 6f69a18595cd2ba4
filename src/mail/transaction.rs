//! One message of a session: its envelope, its content as it comes in, what is decided about it, and what becomes of it.

mod outcome;
mod recipient;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use message::{Patch, Source};
use tracing::warn;
use wire::{Answer, LineMeter, PathLine};

pub(in crate::mail) use self::outcome::{LogNames, Summary};
pub(in crate::mail) use self::recipient::Recipient;
use crate::clock::since_1970;
use crate::config::{OnError, Settings};
use crate::failure::{Cause, Failure, Phase};
use crate::mail::budget::Budgets;
use crate::mail::context::ListenerContext;
use crate::mail::id as mail_id;
use crate::mail::in_flight::InFlightSlot;
use crate::mail::rewrite::{Job, RewriteAction, RewriteOutcome};
use crate::mail::spool::Spool;
use crate::mail::trace::Trace;
use crate::metrics::{GaugeGuard, MessageResult};

/// Up to this size, in octets, a message is rewritten on the session's own thread: moving it to another would cost more.
const INLINE: u64 = 16 << 10;

/// From this size on, in octets, a message that no policy may change is passed on as it comes in.
const PASS_FROM: usize = 32 << 10;

/// A transaction from MAIL on, or the part of one that concerns some of its recipients.
///
/// Its content goes through the states of [`Content`]:
///
/// ```text
///          begin_to_pass               end
///   Kept ────────────────► Passing ─────────► Passing
///    │ │                      │ fault
///    │ │ fault                ▼               end, in any of these two: the refusal
///    │ └────► Dropped        Cut ───────────► Ended
///    │ end
///    └──────► Ended
/// ```
///
/// A session hands all content to [`receive`](Self::receive) (or, where nothing can be passed on early, to
/// [`take_in`](Self::take_in)) and calls [`end`](Self::end) or [`decide`](Self::decide) once, after the last of it. What is
/// wrong with a message is answered there and not earlier, because a client that is still sending does not read replies.
/// Only where the protocol lets the client be answered in between (a chunk of BDAT, SKIP of a milter) does the session ask
/// [`has_failed`](Self::has_failed) before. After the end, [`part`](Self::part) divides the transaction among its
/// recipients, and each part is rewritten, sent, logged and recorded by itself.
pub(in crate::mail) struct Transaction {
    id: String,
    envelope: Arc<Envelope>,
    recipients: Vec<Recipient>,
    content: Content,
    /// Octets of message content so far.
    octets: u64,
    lines: LineMeter,
}

/// The content of a message: where it is, or why it is not kept.
enum Content {
    /// All of it so far is in the spool.
    Kept {
        spool: Spool,
        /// Octets at the front in which no end of the header was found.
        searched: usize,
    },
    /// The next hop gets it as it comes in; nothing of it is here.
    Passing,
    /// It was kept until this fault; what still comes in is dropped, and not counted.
    Dropped(Fault),
    /// It was passed on until this fault; what still comes in is counted, and not passed on.
    Cut(Fault),
    /// The end was reached, and the spool given to those who send it on.
    Ended(Trace),
}

/// The fault for which a message is refused or put off.
enum Fault {
    TooLarge,
    TextLineTooLong,
    /// The next hop was lost before the content began.
    NextHopLost,
    Failed(Failure),
}

/// The content that goes to the next hop now.
pub(in crate::mail) enum Passed<'a> {
    /// Nothing: it is kept or dropped.
    Nothing,
    /// To give these octets to the next hop.
    Octets(Cow<'a, [u8]>),
    /// To break off what the next hop was given so far: it must not get the rest.
    BreakOff,
}

/// The envelope as it is fixed at MAIL; all parts of a transaction share it.
struct Envelope {
    /// The id of the transaction: a part of it has another.
    id: String,
    settings: Arc<Settings>,
    sender: String,
    /// The MAIL line as it came.
    mail_line: Vec<u8>,
    received_us: i64,
    started: Instant,
    /// Counts the transaction as open, and takes its slot among the messages that are on their way. Freed with the last
    /// part.
    _under_way: UnderWay,
}

impl Envelope {
    /// Seconds since 1970.
    fn received_s(&self) -> i64 {
        self.received_us / 1_000_000
    }
}

/// Marks a message as under way for as long as it lives.
pub(in crate::mail) struct UnderWay {
    /// Counts it among the open transactions.
    pub(in crate::mail) _open: GaugeGuard,
    /// Its slot, for protocols in which a client can be made to wait for one.
    pub(in crate::mail) _slot: Option<InFlightSlot>,
}

/// The decision about a whole message.
pub(in crate::mail) enum Disposition {
    /// It is refused for its form.
    Refuse(Answer),
    /// It is refused for what is in it; the answer goes out with the id.
    RefuseContent(Answer),
    /// It goes on, with the patch.
    Forward {
        /// The message as it came.
        spool: Arc<Spool>,
        /// The changes to it.
        patch: Patch,
    },
}

impl Transaction {
    pub(in crate::mail) fn new(
        path: &PathLine<'_>,
        settings: Arc<Settings>,
        budgets: &Budgets,
        under_way: UnderWay,
    ) -> Self {
        let id = mail_id::next();
        let content = Content::Kept {
            spool: Spool::new(&settings.limits, &budgets.spool),
            searched: 0,
        };
        let envelope = Envelope {
            id: id.clone(),
            settings,
            sender: path.address().into_owned(),
            mail_line: path.line.to_vec(),
            received_us: i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX),
            started: Instant::now(),
            _under_way: under_way,
        };
        Self {
            id,
            recipients: Vec::new(),
            content,
            octets: 0,
            lines: LineMeter::new(envelope.settings.limits.text_line),
            envelope: Arc::new(envelope),
        }
    }

    /// The part of a transaction that has ended which concerns these of its recipients, under an id of its own.
    pub(in crate::mail) fn part(&self, recipients: Vec<Recipient>) -> Self {
        Self {
            id: mail_id::next(),
            envelope: Arc::clone(&self.envelope),
            recipients,
            content: match &self.content {
                Content::Ended(trace) => Content::Ended(*trace),
                _ => Content::Passing,
            },
            octets: self.octets,
            lines: LineMeter::new(self.envelope.settings.limits.text_line),
        }
    }

    pub(in crate::mail) fn id(&self) -> &str {
        &self.id
    }

    /// The id of the transaction that brought the message; a part of it has another one.
    pub(in crate::mail) fn transaction_id(&self) -> &str {
        &self.envelope.id
    }

    /// The snapshot of settings that this transaction goes by.
    pub(in crate::mail) fn settings(&self) -> &Settings {
        &self.envelope.settings
    }

    /// The MAIL line as it came, without its end.
    pub(in crate::mail) fn mail_line(&self) -> &[u8] {
        &self.envelope.mail_line
    }

    pub(in crate::mail) fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The recipient that decides which others may share the copy.
    pub(in crate::mail) fn first(&self) -> Option<&Recipient> {
        self.recipients.first()
    }

    pub(in crate::mail) fn add(&mut self, recipient: Recipient) {
        self.recipients.push(recipient);
    }

    /// Adds a recipient whose policy holds for the whole message, in place of the first one's.
    pub(in crate::mail) fn add_in_front(&mut self, recipient: Recipient) {
        self.recipients.insert(0, recipient);
    }

    /// Whether the policy of any recipient may change the message.
    pub(in crate::mail) fn wants_rewriting(&self) -> bool {
        self.recipients.iter().any(Recipient::wants_rewriting)
    }

    /// Whether the message will be refused whatever else comes of it.
    pub(in crate::mail) fn has_failed(&self) -> bool {
        matches!(self.content, Content::Dropped(_) | Content::Cut(_))
    }

    /// Whether the next hop was lost before the message began.
    pub(in crate::mail) fn has_lost_next_hop(&self) -> bool {
        matches!(self.content, Content::Dropped(Fault::NextHopLost))
    }

    /// The next hop is lost before the message began.
    pub(in crate::mail) fn lose_next_hop(&mut self) {
        self.set_fault(Fault::NextHopLost);
    }

    /// The message fails; the first fault is the one that is answered.
    pub(in crate::mail) fn fail(&mut self, failure: Failure) {
        self.set_fault(Fault::Failed(failure));
    }

    /// The message is refused as too large, whatever its size.
    pub(in crate::mail) fn refuse_as_too_large(&mut self) {
        self.set_fault(Fault::TooLarge);
    }

    fn set_fault(&mut self, fault: Fault) {
        match &self.content {
            Content::Kept { .. } => self.content = Content::Dropped(fault),
            Content::Passing => self.content = Content::Cut(fault),
            Content::Dropped(_) | Content::Cut(_) | Content::Ended(_) => {}
        }
    }

    /// Takes content in, of at most `max_message` octets in all: keeps it, or says what of it goes to the next hop now.
    pub(in crate::mail) async fn receive<'a>(&mut self, bytes: &'a [u8], context: &ListenerContext) -> Passed<'a> {
        let max_message = context.listener.max_message;
        match self.content {
            Content::Kept { .. } => {
                self.take_in(bytes, max_message).await;
                let begin = self.begin_to_pass(context);
                begin.map_or(Passed::Nothing, |begin| Passed::Octets(Cow::Owned(begin)))
            }
            Content::Passing => match self.measure(bytes, max_message) {
                None => Passed::Octets(Cow::Borrowed(bytes)),
                Some(fault) => {
                    self.content = Content::Cut(fault);
                    Passed::BreakOff
                }
            },
            Content::Cut(_) => {
                let fault = self.measure(bytes, max_message);
                if let (Content::Cut(first @ Fault::TextLineTooLong), Some(Fault::TooLarge)) =
                    (&mut self.content, fault)
                {
                    *first = Fault::TooLarge;
                }
                Passed::Nothing
            }
            Content::Dropped(_) | Content::Ended(_) => Passed::Nothing,
        }
    }

    /// Keeps content; once something is wrong with the message, drops it.
    pub(in crate::mail) async fn take_in(&mut self, bytes: &[u8], max_message: u64) {
        if !matches!(self.content, Content::Kept { .. }) {
            return;
        }
        let mut fault = self.measure(bytes, max_message);
        if fault.is_none()
            && let Err(e) = self.append(bytes).await
        {
            fault = Some(Fault::Failed(Failure::ours(Phase::Receive, e)));
        }
        if let Some(fault) = fault {
            self.content = Content::Dropped(fault);
        }
    }

    /// Counts content; the fault if the message is too large or has too long a line by now.
    fn measure(&mut self, bytes: &[u8], max_message: u64) -> Option<Fault> {
        self.octets += bytes.len() as u64;
        self.lines.count(bytes);
        if self.octets > max_message {
            Some(Fault::TooLarge)
        } else {
            self.lines.exceeded().then_some(Fault::TextLineTooLong)
        }
    }

    /// Appends to the spool; writes its file on another thread, so that other sessions do not wait for the disk.
    async fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Content::Kept { spool, .. } = &mut self.content else {
            return Ok(());
        };
        spool.append(bytes)?;
        if !spool.wants_flush() {
            return Ok(());
        }
        let mut full = std::mem::take(spool);
        let flushed = tokio::task::spawn_blocking(move || (full.flush(), full)).await;
        let (written, full) = flushed.map_err(std::io::Error::other)?;
        *spool = full;
        written
    }

    /// Begins to pass the message on as it comes, if no policy may change it and it is large: from here on it is not kept.
    /// Gives what of it the next hop gets at once.
    fn begin_to_pass(&mut self, context: &ListenerContext) -> Option<Vec<u8>> {
        let Content::Kept { spool, searched } = &mut self.content else {
            return None;
        };
        let bytes = spool.as_slice()?;
        // A long header is searched again when it has doubled.
        let early = bytes.len() < PASS_FROM.max(*searched * 2);
        if early || self.recipients.iter().any(Recipient::wants_rewriting) {
            return None;
        }
        *searched = bytes.len();
        memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let trace = Trace::read(bytes, &context.instance);
        if trace.passes >= context.listener.max_passes {
            return None;
        }
        let mark = trace.mark(Patch::default(), &context.instance, self.envelope.received_s());
        let begin = mark.apply(bytes);
        self.content = Content::Passing;
        Some(begin)
    }

    /// Works out what becomes of a message that is complete. The targets of its long links are stored when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(in crate::mail) async fn decide(
        &mut self,
        summary: &mut Summary,
        context: &ListenerContext,
    ) -> Result<Disposition, Failure> {
        let spool = match self.end(summary, context).await? {
            Ok(spool) => spool,
            Err(refusal) => {
                summary.set_refused(refusal);
                return Ok(Disposition::Refuse(refusal));
            }
        };
        let outcome = self.rewrite(&spool, context).await?;
        self.apply(outcome, spool, summary, context).await
    }

    /// Ends the content: gives the message as it came if its form lets it go on, else the refusal.
    ///
    /// The spool of a message that was passed on is empty.
    ///
    /// # Errors
    /// It could not be kept or passed on.
    pub(in crate::mail) async fn end(
        &mut self,
        summary: &mut Summary,
        context: &ListenerContext,
    ) -> Result<Result<Arc<Spool>, Answer>, Failure> {
        let kept = match std::mem::replace(&mut self.content, Content::Ended(Trace::default())) {
            Content::Kept { spool, .. } => Some(spool),
            Content::Passing => None,
            Content::Dropped(fault) | Content::Cut(fault) => return fault.refusal().map(Err),
            Content::Ended(_) => {
                return Err(Failure::ours(
                    Phase::Receive,
                    Cause::Other("the message has ended before".into()),
                ));
            }
        };
        if summary.end.refuse {
            return Ok(Err(Answer::BARE_LINE_END));
        }
        let Some(spool) = kept.map(Arc::new) else {
            self.content = Content::Passing;
            return Ok(Ok(Arc::new(Spool::default())));
        };
        let trace = Trace::of(&spool, &context.instance).await;
        let trace = trace.map_err(|e| Failure::ours(Phase::Receive, e))?;
        self.content = Content::Ended(trace);
        if trace.passes >= context.listener.max_passes {
            summary.refused_because = Some(format!("it has come through here {} times", trace.passes));
            return Ok(Err(Answer::ROUTING_LOOP));
        }
        Ok(Ok(spool))
    }

    /// Has the message rewritten for the recipients of this transaction, if their policy wants that.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(in crate::mail) async fn rewrite(
        &self,
        spool: &Arc<Spool>,
        context: &ListenerContext,
    ) -> Result<RewriteOutcome, Failure> {
        match self.run_rewriter(spool, context).await {
            Ok(outcome) => Ok(outcome),
            Err(failure) => self.pass_or(failure, context),
        }
    }

    /// Turns what the rewriter found into what is done. The targets of long links are stored when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(in crate::mail) async fn apply(
        &self,
        mut outcome: RewriteOutcome,
        spool: Arc<Spool>,
        summary: &mut Summary,
        context: &ListenerContext,
    ) -> Result<Disposition, Failure> {
        self.log_suspicious_links(&outcome.report);
        if let RewriteAction::Refuse(reason) = outcome.action {
            summary.refused_because = Some(reason);
            summary.report = outcome.report;
            summary.set_result(MessageResult::ContentRefused);
            return Ok(Disposition::RefuseContent(Answer::CONTENT_REFUSED));
        }
        if !outcome.references.is_empty() {
            let rows = std::mem::take(&mut outcome.references);
            // A link that points to a row must never be read before the row is there.
            if let Err(failure) = context.recorder.store_references(rows).await {
                outcome = self.pass_or(failure, context)?;
            }
        }
        summary.report = outcome.report;
        let (patch, octets_out) = match &self.content {
            Content::Ended(trace) => {
                let patch = trace.mark(outcome.patch, &context.instance, self.envelope.received_s());
                let octets = patch.patched_len(spool.len());
                (patch, octets)
            }
            _ => (outcome.patch, self.octets),
        };
        summary.octets_out = octets_out;
        summary.changed = !patch.is_empty();
        Ok(Disposition::Forward { spool, patch })
    }

    async fn run_rewriter(&self, spool: &Arc<Spool>, context: &ListenerContext) -> Result<RewriteOutcome, Failure> {
        if !self.first().is_some_and(Recipient::wants_rewriting) {
            return Ok(RewriteOutcome::default());
        }
        let recipients: Vec<String> = self.recipients.iter().map(|r| r.address.clone()).collect();
        let _under_way = context.counts.rewrite();
        let began = Instant::now();
        let rewriter = Arc::clone(&context.rewriter);
        let (id, envelope) = (self.id.clone(), Arc::clone(&self.envelope));
        let work = move |spool: &Spool| {
            // A panic costs this message, and no other.
            Failure::catch(Phase::Rewrite, || {
                let job = Job {
                    settings: &envelope.settings,
                    sender: &envelope.sender,
                    recipients: &recipients,
                    mail_id: &id,
                    now_s: envelope.received_s(),
                };
                let outcome = rewriter.rewrite(spool, &job)?;
                let end = outcome.patch.changes().last().map_or(0, |change| change.at.end);
                if end > spool.len() {
                    let cause = "a change lies beyond the end of the message".into();
                    return Err(Failure::ours(Phase::Rewrite, Cause::Other(cause)));
                }
                Ok(outcome)
            })
        };
        if spool.len() <= INLINE {
            let outcome = work(spool);
            context.counts.rewritten(began.elapsed());
            return outcome;
        }
        let closed = |e| Failure::ours(Phase::Rewrite, Cause::Other(Box::new(e)));
        let budget = context.budgets.rewrite(&context.settings.borrow().limits);
        let permit = budget.acquire(spool.len()).await.map_err(closed)?;
        let spool = Arc::clone(spool);
        let outcome = tokio::task::spawn_blocking(move || work(&spool)).await;
        drop(permit);
        context.counts.rewritten(began.elapsed());
        outcome.map_err(|e| Failure::ours(Phase::Rewrite, Cause::Panic(e.to_string())))?
    }

    /// Turns a failure of ours into the message as it came, if the listener says so.
    ///
    /// # Errors
    /// The failure, if it does not.
    pub(in crate::mail) fn pass_or(
        &self,
        failure: Failure,
        context: &ListenerContext,
    ) -> Result<RewriteOutcome, Failure> {
        match context.listener.on_error {
            OnError::Tempfail => Err(failure),
            OnError::Pass => {
                context.counts.failure(&failure);
                context.counts.passed_on_error();
                warn!(target: "linkgate::mail", id = self.id(), "passing the message on unchanged: {failure}");
                Ok(RewriteOutcome::default())
            }
        }
    }
}

impl Fault {
    /// The refusal that answers it.
    ///
    /// # Errors
    /// The failure, where there is one.
    fn refusal(self) -> Result<Answer, Failure> {
        match self {
            Self::TooLarge => Ok(Answer::TOO_LARGE),
            Self::TextLineTooLong => Ok(Answer::TEXT_LINE_TOO_LONG),
            Self::NextHopLost => Err(Failure::next_hop(Phase::Envelope, Cause::Closed)),
            Self::Failed(failure) => Err(failure),
        }
    }
}
