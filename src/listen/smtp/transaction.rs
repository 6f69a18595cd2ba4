//! One message of a session: its envelope, its bytes, what is decided about it, and what became of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use link::{Policy, Rewrite};
use message::Source;
use store::{LinkRow, MessageRow};
use tracing::{info, warn};
use wire::{Answer, DataEnd, PathLine, Printable, Reply};

use super::{Conversation, Flow};
use crate::failure::{Cause, Failure, Phase, Side};
use crate::job::Rewriter;
use crate::mail_id;
use crate::metrics::{Held, MessageResult, SessionEnd};
use crate::rewrite::{Action, Job, Outcome, Report};
use crate::settings::{OnError, Settings};
use crate::spool::Spool;

/// Up to this size, in octets, a message is rewritten where it is: moving it to another thread would cost more.
const INLINE: u64 = 16 << 10;

/// A transaction from MAIL on.
pub(super) struct Transaction {
    envelope: Arc<Envelope>,
    recipients: Vec<Recipient>,
    /// The next hop was lost: nothing can come of this transaction.
    pub(super) lost: bool,
    spool: Spool,
    too_large: bool,
    fault: Option<Failure>,
    started: Instant,
    open: Option<Held>,
}

/// What does not change after MAIL.
struct Envelope {
    id: String,
    settings: Arc<Settings>,
    sender: String,
    received_us: i64,
}

/// A recipient, and the policy for mail to it.
pub(super) struct Recipient {
    address: String,
    /// `None` when its domain is off.
    policy: Option<Arc<Policy>>,
}

impl Recipient {
    pub(super) fn new(path: &PathLine<'_>, settings: &Settings) -> Self {
        let address = path.address().into_owned();
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
                policy: Some(policy),
            },
            Some((policy, _)) => Self {
                address,
                policy: Some(policy),
            },
            None => Self { address, policy: None },
        }
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
        let spool = Spool::new(settings.limits.spool_memory, &settings.limits.spool_dir);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            envelope: Arc::new(Envelope {
                id: mail_id::next(),
                settings,
                sender: path.address().into_owned(),
                received_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
            }),
            recipients: Vec::new(),
            lost: false,
            spool,
            too_large: false,
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

    pub(super) fn id(&self) -> &str {
        &self.envelope.id
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

    /// Takes message content in. Once something is wrong with the message the rest is dropped: the verdict waits for the
    /// end of data, because a client that is answered earlier does not hear it.
    pub(super) async fn take_in(&mut self, bytes: &[u8], max_message: u64) {
        if self.too_large || self.fault.is_some() {
            return;
        }
        let limits = &self.envelope.settings.limits;
        if self.spool.len() + bytes.len() as u64 > max_message {
            self.too_large = true;
            self.spool = Spool::new(0, &limits.spool_dir);
            return;
        }
        let mut kept = self.spool.append(bytes);
        if kept.is_ok() && self.spool.wants_flush() {
            let mut spool = std::mem::replace(&mut self.spool, Spool::new(0, &limits.spool_dir));
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
}

/// What is known of a message when its log line is written.
#[derive(Default)]
struct Story {
    report: Report,
    octets_out: u64,
    result: Option<MessageResult>,
    refused_because: Option<String>,
}

impl Conversation {
    /// The message is there: decides about it, gives it to the next hop, answers the client.
    pub(super) async fn complete(&mut self, mut transaction: Transaction, end: DataEnd) -> Flow {
        let spool = std::mem::replace(&mut transaction.spool, Spool::new(0, std::path::Path::new("")));
        let octets_in = spool.len();
        let mut story = Story::default();
        let said_from = self.out.len();
        let ended = Instant::now();
        if let Err(failure) = self.pass_on(&mut transaction, spool, end, &mut story).await {
            story.result = Some(failed(&failure));
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
        let counts = &self.context.counts;
        let result = story.result.unwrap_or(MessageResult::Deferred);
        counts.message(result, octets_in, story.octets_out, ended.elapsed());
        counts.report(&story.report, end);
        self.log(&transaction, &story, end, octets_in, reply);
        self.end_of_transaction();
        if code / 100 == 2 {
            self.record(transaction, story);
        }
        if code == 421 {
            self.end = SessionEnd::NextHop;
            return Flow::Close;
        }
        Flow::Continue
    }

    /// Appends the reply to the final dot.
    async fn pass_on(
        &mut self,
        transaction: &mut Transaction,
        spool: Spool,
        end: DataEnd,
        story: &mut Story,
    ) -> Result<(), Failure> {
        if let Some(failure) = transaction.fault.take() {
            return Err(failure);
        }
        if transaction.too_large {
            story.result = Some(MessageResult::TooLarge);
            Answer::TOO_LARGE.write(&mut self.out);
            return Ok(());
        }
        if end.refuse {
            story.result = Some(MessageResult::BareLineEnd);
            Answer::BARE_LINE_END.write(&mut self.out);
            return Ok(());
        }
        let spool = Arc::new(spool);
        let mut outcome = match self.judge(transaction, &spool).await {
            Ok(outcome) => outcome,
            Err(failure) => self.pass_or(failure, transaction.id())?,
        };
        if let Action::Refuse(reason) = outcome.action {
            story.refused_because = Some(reason);
            story.report = outcome.report;
            story.result = Some(MessageResult::ContentRefused);
            Answer::CONTENT_REFUSED.write_with_id(transaction.id(), &mut self.out);
            return Ok(());
        }
        if !outcome.references.is_empty() {
            let rows = std::mem::take(&mut outcome.references);
            // A link that points to a row must never be read before the row is there.
            if let Err(failure) = self.context.recorder.store_references(rows).await {
                outcome = self.pass_or(failure, transaction.id())?;
            }
        }
        story.report = outcome.report;
        story.octets_out = outcome.patch.patched_len(spool.len());
        let limits = &transaction.envelope.settings.limits;
        let reply = self.relay.deliver(&spool, &outcome.patch, limits).await?;
        story.result = Some(match reply.class() {
            2 if outcome.patch.is_empty() => MessageResult::Unchanged,
            2 => MessageResult::Rewritten,
            5 => MessageResult::NextHopRefused,
            _ => MessageResult::NextHopDeferred,
        });
        reply.write(&mut self.out);
        Ok(())
    }

    /// Has the message rewritten, if any of its recipients wants that.
    async fn judge(&self, transaction: &Transaction, spool: &Arc<Spool>) -> Result<Outcome, Failure> {
        if transaction.first().is_none_or(|first| first.policy.is_none()) {
            return Ok(Outcome::default());
        }
        let recipients: Vec<String> = transaction.recipients.iter().map(|r| r.address.clone()).collect();
        let counts = &self.context.counts;
        let _under_way = counts.rewrite(spool.len());
        let began = Instant::now();
        if spool.len() <= INLINE {
            let judged = rewrite(&*self.context.rewriter, spool, &transaction.envelope, &recipients);
            counts.rewritten(began.elapsed());
            return judged;
        }
        let closed = |e| Failure::ours(Phase::Rewrite, Cause::Other(Box::new(e)));
        let permit = self.context.rewriting.acquire().await.map_err(closed)?;
        let (rewriter, spool) = (Arc::clone(&self.context.rewriter), Arc::clone(spool));
        let envelope = Arc::clone(&transaction.envelope);
        let judged = tokio::task::spawn_blocking(move || rewrite(&*rewriter, &spool, &envelope, &recipients)).await;
        drop(permit);
        counts.rewritten(began.elapsed());
        judged.map_err(|e| Failure::ours(Phase::Rewrite, Cause::Panic(e.to_string())))?
    }

    /// Our own failure: the message as it came if the listener says so, else the failure.
    fn pass_or(&self, failure: Failure, id: &str) -> Result<Outcome, Failure> {
        match self.context.listener.on_error {
            OnError::Tempfail => Err(failure),
            OnError::Pass => {
                self.context.counts.failure(&failure);
                self.context.counts.passed_on_error();
                warn!(target: "linkgate::mail", id, "passing the message on unchanged: {failure}");
                Ok(Outcome::default())
            }
        }
    }

    fn log(&self, transaction: &Transaction, story: &Story, end: DataEnd, octets_in: u64, reply: &[u8]) {
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
        for (seen, name) in [(end.bare_cr, "bare-cr"), (end.bare_lf, "bare-lf")] {
            if seen {
                let _ = write!(quirks, "{}{name}", if quirks.is_empty() { "" } else { "," });
            }
        }
        info!(
            target: "linkgate::mail",
            id = transaction.id(),
            client = %self.peer,
            helo = %Printable(&self.name),
            xforward = %Printable(self.xforward.trim_ascii()),
            from = %Printable(transaction.envelope.sender.as_bytes()),
            to = %Printable(transaction.first().map_or(&b""[..], |r| r.address.as_bytes())),
            recipients = transaction.recipients.len(),
            message_id = %Printable(report.message_id.as_deref().unwrap_or_default().as_bytes()),
            octets_in,
            octets_out = story.octets_out,
            parts = report.parts,
            links = report.links.len(),
            wrapped,
            disarmed,
            kept = %kept_by_reason,
            quirks = %Printable(quirks.as_bytes()),
            refused_because = %Printable(story.refused_because.as_deref().unwrap_or_default().as_bytes()),
            ms = transaction.started.elapsed().as_millis() as u64,
            reply = %Printable(reply.trim_ascii_end()),
            "message"
        );
    }

    fn record(&self, transaction: Transaction, story: Story) {
        // Domains that did not opt in leave no trace in the store.
        let Some(policy) = transaction.first().and_then(|first| first.policy.clone()) else {
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
        self.context.recorder.message(MessageRow {
            mail_id: transaction.envelope.id.clone(),
            message_id: story.report.message_id,
            sender: transaction.envelope.sender.clone(),
            recipients: transaction.recipients.into_iter().map(|r| r.address).collect(),
            received_at_us: transaction.envelope.received_us,
            listener: self.context.listener.listen.to_string(),
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

/// What a failure makes of a message.
fn failed(failure: &Failure) -> MessageResult {
    match (&failure.cause, failure.side) {
        (Cause::Refused(reply), Side::NextHop) if reply.first() == Some(&b'5') => MessageResult::NextHopRefused,
        (Cause::Refused(_), Side::NextHop) => MessageResult::NextHopDeferred,
        (_, Side::NextHop) => MessageResult::NextHopLost,
        (_, Side::Client | Side::Ours) => MessageResult::Deferred,
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
