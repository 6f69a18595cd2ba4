//! What is known of a message when all is over: its log line, its row, its counters.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use link::{Decision, LinkDecision};
use store::{LinkRow, MessageRow};
use tracing::{info, warn};
use wire::{Answer, DataEnd, Printable};

use super::Transaction;
use crate::failure::{Cause, Failure, Side};
use crate::mail::listen::Context;
use crate::mail::rewrite::{Grade, LinkReport, Report, Suspicion};
use crate::metrics::MessageResult;
use crate::net::Peer;

/// Octets of recipients' addresses in a line of the log.
const MAX_ADDRESSEES: usize = 1000;

/// What is known of a message when its log line is written.
#[derive(Clone)]
pub(in crate::mail) struct Story {
    pub(super) end: DataEnd,
    pub(super) octets_in: u64,
    pub(super) report: Report,
    pub(super) octets_out: u64,
    pub(super) refused_because: Option<String>,
    /// Whether what goes on is not what came.
    pub(super) changed: bool,
    pub(super) result: Option<MessageResult>,
    pub(super) ended: Instant,
}

impl Story {
    /// The story of a message whose data has ended.
    pub(in crate::mail) fn new(transaction: &Transaction, end: DataEnd) -> Self {
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
    pub(in crate::mail) fn ends(&mut self, result: MessageResult) {
        self.result.get_or_insert(result);
    }

    /// The message came to grief.
    pub(in crate::mail) fn fails(&mut self, failure: &Failure) {
        self.ends(match (&failure.cause, failure.side) {
            (Cause::Refused(reply), Side::NextHop) if reply.first() == Some(&b'5') => MessageResult::NextHopRefused,
            (Cause::Refused(_), Side::NextHop) => MessageResult::NextHopDeferred,
            (_, Side::NextHop) => MessageResult::NextHopLost,
            (_, Side::Client | Side::Ours) => MessageResult::Deferred,
        });
    }

    /// The message was refused for its form.
    pub(in crate::mail) fn is_refused(&mut self, refusal: Answer) {
        self.ends(match refusal {
            Answer::TOO_LARGE => MessageResult::TooLarge,
            Answer::TEXT_LINE_TOO_LONG => MessageResult::TextLine,
            Answer::ROUTING_LOOP => MessageResult::Loop,
            _ => MessageResult::BareLineEnd,
        });
    }

    /// Counts the octets of the message, once for all of its copies.
    pub(in crate::mail) fn count_received(&self, context: &Context) {
        context.counts.received(self.octets_in);
    }

    /// Counts the message, or one copy of it, when it is answered; `class` is the first digit of the best reply.
    pub(in crate::mail) fn count(&self, context: &Context, class: u8) {
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
    pub(in crate::mail) fn unchanged(&mut self) {
        self.report = Report::default();
        self.octets_out = self.octets_in;
        self.changed = false;
    }
}

/// Where a message came from, for its log line.
pub(in crate::mail) struct Origin<'a> {
    /// Who is connected to us.
    pub(in crate::mail) client: Peer,
    /// What it calls itself.
    pub(in crate::mail) helo: &'a [u8],
    /// What it says about its own client, as XFORWARD attributes.
    pub(in crate::mail) xforward: &'a [u8],
}

impl Transaction {
    /// The one line of the message in the log; `reply` is what the client is told.
    pub(in crate::mail) fn log(&self, story: &Story, origin: &Origin<'_>, reply: &[u8]) {
        let report = &story.report;
        let (mut wrapped, mut disarmed) = (0u32, 0u32);
        let mut kept = BTreeMap::<&str, u32>::new();
        for link in &report.links {
            match link.decision {
                Decision::Wrap(_) => wrapped += 1,
                Decision::Disarm(_) => disarmed += 1,
                Decision::Keep(_) => *kept.entry(link.decision.reason()).or_default() += 1,
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

    /// A line for each kind of bad link, with the first of them; what is merely odd is told at a lower level.
    pub(super) fn tell_of_suspicious_links(&self, report: &Report) {
        let of = |link: &LinkReport| {
            let suspicion = link.suspicion.as_deref()?;
            Some(match suspicion.grade {
                _ if suspicion.is_smuggled() => "own-link-smuggled",
                _ if !suspicion.listed.is_empty() => "listed-link",
                Grade::Bad => "suspicious-link",
                Grade::Doubtful => "misplaced-link",
                Grade::None => return None,
            })
        };
        let mut events = BTreeMap::<&str, (u32, &LinkReport)>::new();
        for link in &report.links {
            if let Some(event) = of(link) {
                events.entry(event).or_insert((0, link)).0 += 1;
            }
        }
        for (event, (links, first)) in events {
            let why = first.suspicion.as_deref().map(Suspicion::why).unwrap_or_default();
            let (id, from, to) = (self.id(), self.envelope.sender.as_bytes(), self.addressees());
            let (from, to, why) = (Printable(from), Printable(to.as_bytes()), Printable(why.as_bytes()));
            let url = Printable(first.url.as_bytes());
            if event == "misplaced-link" {
                info!(target: "linkgate::mail", event, id, %from, %to, links, %url, %why, "links that do not belong here");
            } else {
                warn!(target: "linkgate::mail", event, id, %from, %to, links, %url, %why, "suspicious links");
            }
        }
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
    pub(in crate::mail) fn record(self, story: Story, context: &Context) {
        // Domains that did not opt in leave no trace in the store.
        let Some(policy) = self.first().and_then(|first| first.policy.clone()) else {
            return;
        };
        let count = |decision| {
            let n = story
                .report
                .links
                .iter()
                .filter(|link| link.decision.kind() == decision)
                .count();
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        let (links_wrapped, links_kept) = (count(LinkDecision::Wrap), count(LinkDecision::Keep));
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
                    decision: link.decision.kind(),
                    reason: link.decision.reason().to_owned(),
                })
                .collect(),
        });
    }
}
