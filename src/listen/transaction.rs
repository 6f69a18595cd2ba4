//! One message of a session: its envelope, its bytes, what is decided about it, and what became of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use link::{Policy, Rewrite};
use message::{Patch, Source};
use store::{LinkRow, MessageRow};
use tracing::{info, warn};
use wire::{Answer, DataEnd, LineMeter, PathLine, Printable};

use super::Context;
use super::in_flight::Place;
use super::trace::{self, Way};
use crate::failure::{Cause, Failure, Phase, Side};
use crate::job::Rewriter;
use crate::mail_id;
use crate::metrics::{Held, MessageResult};
use crate::net::Peer;
use crate::rewrite::{Action, Job, Outcome, Report};
use crate::settings::{OnError, Settings};
use crate::spool::Spool;

/// Up to this size, in octets, a message is rewritten where it is: moving it to another thread would cost more.
const INLINE: u64 = 16 << 10;

/// Octets of recipients' addresses in a line of the log.
const MAX_ADDRESSEES: usize = 1000;

/// A transaction from MAIL on, or the part of one that concerns some of its recipients.
pub(super) struct Transaction {
    envelope: Arc<Envelope>,
    recipients: Vec<Recipient>,
    /// The next hop was lost: nothing can come of this transaction.
    pub(super) lost: bool,
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
    pub(super) place: Option<Place>,
    fault: Option<Failure>,
    started: Instant,
    /// The mark that it is open.
    pub(super) open: Option<Held>,
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

/// A recipient, and the policy for mail to it.
#[derive(Clone)]
pub(super) struct Recipient {
    address: String,
    /// The RCPT line as it came.
    pub(super) line: Vec<u8>,
    /// `None` when its domain is off.
    policy: Option<Arc<Policy>>,
}

/// What is known of a message when its log line is written.
#[derive(Clone)]
pub(super) struct Story {
    end: DataEnd,
    octets_in: u64,
    report: Report,
    octets_out: u64,
    refused_because: Option<String>,
    /// Whether what goes on is not what came.
    changed: bool,
    result: Option<MessageResult>,
    ended: Instant,
}

impl Story {
    /// The story of a message whose data has ended.
    pub(super) fn new(transaction: &Transaction, end: DataEnd) -> Self {
        Self {
            end,
            octets_in: transaction.octets,
            report: Report::default(),
            octets_out: 0,
            refused_because: None,
            changed: false,
            result: None,
            ended: Instant::now(),
        }
    }

    /// What became of the message. What was said first counts.
    pub(super) fn ends(&mut self, result: MessageResult) {
        self.result.get_or_insert(result);
    }

    /// The message came to grief.
    pub(super) fn fails(&mut self, failure: &Failure) {
        self.ends(match (&failure.cause, failure.side) {
            (Cause::Refused(reply), Side::NextHop) if reply.first() == Some(&b'5') => MessageResult::NextHopRefused,
            (Cause::Refused(_), Side::NextHop) => MessageResult::NextHopDeferred,
            (_, Side::NextHop) => MessageResult::NextHopLost,
            (_, Side::Client | Side::Ours) => MessageResult::Deferred,
        });
    }

    /// The message was refused for its form.
    pub(super) fn is_refused(&mut self, refusal: Answer) {
        self.ends(match refusal {
            Answer::TOO_LARGE => MessageResult::TooLarge,
            Answer::TEXT_LINE_TOO_LONG => MessageResult::TextLine,
            Answer::ROUTING_LOOP => MessageResult::Loop,
            _ => MessageResult::BareLineEnd,
        });
    }

    /// Counts the octets of the message, once for all of its copies.
    pub(super) fn count_received(&self, context: &Context) {
        context.counts.received(self.octets_in);
    }

    /// Counts the message, or one copy of it, when it is answered; `class` is the first digit of the best reply.
    pub(super) fn count(&self, context: &Context, class: u8) {
        let result = self.result.unwrap_or(match class {
            b'2' if self.changed => MessageResult::Rewritten,
            b'2' => MessageResult::Unchanged,
            b'5' => MessageResult::NextHopRefused,
            _ => MessageResult::NextHopDeferred,
        });
        context.counts.message(result, self.octets_out, self.ended.elapsed());
        context.counts.report(&self.report, self.end);
    }

    /// The message goes on as it came after all.
    pub(super) fn unchanged(&mut self) {
        self.report = Report::default();
        self.octets_out = self.octets_in;
        self.changed = false;
    }
}

/// Where a message came from, for its log line.
pub(super) struct Origin<'a> {
    /// Who is connected to us.
    pub(super) client: Peer,
    /// What it calls itself.
    pub(super) helo: &'a [u8],
    /// What it says about its own client, as XFORWARD attributes.
    pub(super) xforward: &'a [u8],
}

/// What becomes of a message.
pub(super) enum Verdict {
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

impl Recipient {
    pub(super) fn new(path: &PathLine<'_>, settings: &Settings) -> Self {
        let address = path.address().into_owned();
        let line = path.line.to_vec();
        let on = |address: &str| {
            settings
                .domains
                .policy(address)
                .filter(|p| p.rewrite != Rewrite::Off)
                .cloned()
        };
        let mut found = path.domains().filter_map(|domain| {
            let policy = on(&format!("@{domain}"))?;
            Some((policy, domain))
        });
        match found.next() {
            // Named in a way that leads to the same policy for whoever asks again.
            Some((policy, domain)) if on(&address).is_none() => Self {
                address: format!("{address}@{domain}"),
                line,
                policy: Some(policy),
            },
            Some((policy, _)) => Self {
                address,
                line,
                policy: Some(policy),
            },
            None => Self {
                address,
                line,
                policy: None,
            },
        }
    }

    /// Whether links are to be looked at in mail to this recipient.
    pub(super) fn wants_rewriting(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether one copy of a message is right for both.
    pub(super) fn shares_copy_with(&self, other: &Self) -> bool {
        match (&self.policy, &other.policy) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || link::same_policy(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Transaction {
    pub(super) fn new(path: &PathLine<'_>, settings: Arc<Settings>) -> Self {
        let spool = settings.limits.spool();
        let lines = LineMeter::new(settings.limits.text_line);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = mail_id::next();
        Self {
            envelope: Arc::new(Envelope {
                id: id.clone(),
                settings,
                sender: path.address().into_owned(),
                mail_line: path.line.to_vec(),
                transaction: id,
                received_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
            }),
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
    pub(super) fn counted(mut self, open: Held) -> Self {
        self.open = Some(open);
        self
    }

    /// Adds a recipient whose policy goes for the whole message, whoever was added before.
    pub(super) fn add_in_front(&mut self, recipient: Recipient) {
        self.recipients.insert(0, recipient);
    }

    /// The message becomes one that is too large, whatever its size.
    pub(super) fn give_up_as_too_large(&mut self) {
        self.too_large = true;
        self.spool = self.envelope.settings.limits.no_spool();
    }

    /// The snapshot of settings that this transaction goes by.
    pub(super) fn settings(&self) -> &Settings {
        &self.envelope.settings
    }

    /// The part of this transaction that concerns these of its recipients, under an id of its own. The message itself stays
    /// behind: see [`close`](Self::close).
    pub(super) fn part(&self, recipients: Vec<Recipient>) -> Self {
        Self {
            envelope: Arc::new(Envelope {
                id: mail_id::next(),
                ..Envelope::clone(&self.envelope)
            }),
            recipients,
            lost: false,
            spool: self.envelope.settings.limits.no_spool(),
            octets: self.octets,
            flows: self.flows,
            looked_at: 0,
            way: self.way,
            lines: LineMeter::new(self.envelope.settings.limits.text_line),
            place: None,
            too_large: false,
            fault: None,
            started: self.started,
            open: None,
        }
    }

    /// The MAIL line as it came, without its end.
    pub(super) fn mail_line(&self) -> &[u8] {
        &self.envelope.mail_line
    }

    pub(super) fn id(&self) -> &str {
        &self.envelope.id
    }

    /// The id of the transaction that brought the message.
    pub(super) fn transaction_id(&self) -> &str {
        &self.envelope.transaction
    }

    /// Keeps the recipients that `keep` says.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Recipient) -> bool) {
        self.recipients.retain(keep);
    }

    /// The recipient that decides which others may share the copy.
    pub(super) fn first(&self) -> Option<&Recipient> {
        self.recipients.first()
    }

    pub(super) fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    pub(super) fn add(&mut self, recipient: Recipient) {
        self.recipients.push(recipient);
    }

    /// Whether the message will be refused whatever else comes of it.
    pub(super) fn has_failed(&self) -> bool {
        self.too_large || self.lines.exceeded() || self.fault.is_some()
    }

    /// Takes message content in. Once something is wrong with the message the rest is dropped: the verdict waits for the
    /// end of data, because a client that is answered earlier does not hear it.
    pub(super) async fn take_in(&mut self, bytes: &[u8], max_message: u64) {
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
    pub(super) fn begin_to_flow(&mut self, context: &Context) -> Option<Vec<u8>> {
        const FLOW_FROM: usize = 16 << 10;
        let bytes = self.spool.as_slice()?;
        // A long header is looked through again when it has doubled.
        let early = bytes.len() < FLOW_FROM.max(self.looked_at * 2);
        if early || self.has_failed() || self.recipients.iter().any(|r| r.policy.is_some()) {
            return None;
        }
        self.looked_at = bytes.len();
        memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let way = Way::read(bytes, &context.instance);
        if way.passes >= context.listener.max_passes {
            return None;
        }
        let mark = way.mark(
            Patch::default(),
            &context.instance,
            self.envelope.received_us / 1_000_000,
        );
        let begin = mark.apply(bytes);
        self.flows = true;
        self.spool = self.envelope.settings.limits.no_spool();
        Some(begin)
    }

    /// Whether the message goes to the next hop as it comes in.
    pub(super) fn flows(&self) -> bool {
        self.flows
    }

    /// Counts content that goes past; `false` if it must not go on.
    pub(super) fn let_pass(&mut self, bytes: &[u8], max_message: u64) -> bool {
        self.octets += bytes.len() as u64;
        self.lines.count(bytes);
        self.too_large |= self.octets > max_message;
        !self.has_failed()
    }

    /// The message comes to nothing for this reason.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.fault.get_or_insert(failure);
    }

    /// The message is there: works out what becomes of it. What it refers to is in the store when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(super) async fn decide(&mut self, story: &mut Story, context: &Context) -> Result<Verdict, Failure> {
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
    pub(super) async fn close(
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
    pub(super) async fn judge(&self, spool: &Arc<Spool>, context: &Context) -> Result<Outcome, Failure> {
        match self.rewrite(spool, context).await {
            Ok(outcome) => Ok(outcome),
            Err(failure) => self.pass_or(failure, context),
        }
    }

    /// Turns what was judged into what is done. What it refers to is in the store when this returns.
    ///
    /// # Errors
    /// A fault of ours, unless the listener passes messages on then.
    pub(super) async fn settle(
        &self,
        mut outcome: Outcome,
        spool: Arc<Spool>,
        story: &mut Story,
        context: &Context,
    ) -> Result<Verdict, Failure> {
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
        let now_s = self.envelope.received_us / 1_000_000;
        let (patch, octets_out) = if self.flows {
            (outcome.patch, self.octets)
        } else {
            let patch = self.way.mark(outcome.patch, &context.instance, now_s);
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
    pub(super) fn pass_or(&self, failure: Failure, context: &Context) -> Result<Outcome, Failure> {
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

    /// The one line of the message in the log; `reply` is what the client is told.
    pub(super) fn log(&self, story: &Story, origin: &Origin<'_>, reply: &[u8]) {
        let report = &story.report;
        let (mut wrapped, mut disarmed) = (0u32, 0u32);
        let mut kept = BTreeMap::<&str, u32>::new();
        for link in &report.links {
            match link.decision {
                "wrapped" => wrapped += 1,
                "disarmed" => disarmed += 1,
                _ => *kept.entry(link.reason).or_default() += 1,
            }
        }
        let mut kept_by_reason = String::new();
        for (reason, n) in kept {
            let _ = write!(
                kept_by_reason,
                "{}{reason}={n}",
                if kept_by_reason.is_empty() { "" } else { "," }
            );
        }
        let mut quirks = report.quirks.join(",");
        for (seen, name) in [(story.end.bare_cr, "bare-cr"), (story.end.bare_lf, "bare-lf")] {
            if seen {
                let _ = write!(quirks, "{}{name}", if quirks.is_empty() { "" } else { "," });
            }
        }
        info!(
            target: "linkgate::mail",
            id = self.id(),
            transaction = %self.envelope.transaction,
            client = %origin.client,
            helo = %Printable(origin.helo),
            xforward = %Printable(origin.xforward),
            from = %Printable(self.envelope.sender.as_bytes()),
            to = %Printable(self.addressees().as_bytes()),
            recipients = self.recipients.len(),
            message_id = %Printable(report.message_id.as_deref().unwrap_or_default().as_bytes()),
            octets_in = story.octets_in,
            octets_out = story.octets_out,
            parts = report.parts,
            links = report.links.len(),
            wrapped,
            disarmed,
            kept = %kept_by_reason,
            quirks = %Printable(quirks.as_bytes()),
            refused_because = %Printable(story.refused_because.as_deref().unwrap_or_default().as_bytes()),
            ms = self.started.elapsed().as_millis() as u64,
            reply = %Printable(reply.trim_ascii_end()),
            "message"
        );
    }

    /// The recipients, by name as far as a line of the log has room.
    fn addressees(&self) -> String {
        let mut named = String::new();
        for recipient in &self.recipients {
            if !named.is_empty() && named.len() + recipient.address.len() > MAX_ADDRESSEES {
                named.push_str(",...");
                break;
            }
            let _ = write!(
                named,
                "{}{}",
                if named.is_empty() { "" } else { "," },
                recipient.address
            );
        }
        named
    }

    /// Queues the row of a message that was taken.
    pub(super) fn record(self, story: Story, context: &Context) {
        // Domains that did not opt in leave no trace in the store.
        let Some(policy) = self.first().and_then(|first| first.policy.clone()) else {
            return;
        };
        let count = |decision| {
            let n = story
                .report
                .links
                .iter()
                .filter(|link| link.decision == decision)
                .count();
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        let (links_wrapped, links_kept) = (count("wrapped"), count("kept"));
        context.recorder.message(MessageRow {
            mail_id: self.envelope.id.clone(),
            message_id: story.report.message_id,
            sender: self.envelope.sender.clone(),
            recipients: self.recipients.into_iter().map(|r| r.address).collect(),
            received_at_us: self.envelope.received_us,
            listener: context.listener.listen.to_string(),
            policy_domain: Some(policy.domain.clone()),
            links_found: u32::try_from(story.report.links.len()).unwrap_or(u32::MAX),
            links_wrapped,
            links_kept,
            links: story
                .report
                .links
                .into_iter()
                .map(|link| LinkRow {
                    url: link.url,
                    decision: link.decision.to_owned(),
                    reason: link.reason.to_owned(),
                })
                .collect(),
        });
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
        now_s: envelope.received_us / 1_000_000,
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
