//! Sums up a message at its end: its line in the log, its row in the store, its counters.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use link::{Decision, LinkDecision};
use store::{LinkRow, MessageRow};
use tracing::{info, warn};
use wire::{Answer, DataEnd, Printable};

use super::{Recipient, Transaction};
use crate::failure::{Cause, Failure, Side};
use crate::mail::context::ListenerContext;
use crate::mail::rewrite::{Grade, LinkReport, MessageReport, Suspicion};
use crate::metrics::{ListenerCounts, MessageResult, Suspect};
use crate::net::Peer;

/// Octets of recipients' addresses in a line of the log.
const MAX_ADDRESSEES: usize = 1000;

/// The facts of a message for its log line, its row and its counters.
#[derive(Clone)]
pub(in crate::mail) struct Summary {
    pub(super) end: DataEnd,
    pub(super) octets_in: u64,
    pub(super) report: MessageReport,
    pub(super) octets_out: u64,
    pub(super) refused_because: Option<String>,
    /// Whether what goes on differs from what came.
    pub(super) changed: bool,
    /// The result, if another than the final reply says.
    result: Option<MessageResult>,
    ended: Instant,
}

impl Summary {
    /// The summary of a message whose data has ended.
    pub(in crate::mail) fn new(transaction: &Transaction, end: DataEnd) -> Self {
        Self {
            end,
            octets_in: transaction.octets,
            report: MessageReport::default(),
            octets_out: 0,
            refused_because: None,
            changed: false,
            result: None,
            ended: Instant::now(),
        }
    }

    /// Sets the result; the first one that is set counts.
    pub(in crate::mail) fn set_result(&mut self, result: MessageResult) {
        self.result.get_or_insert(result);
    }

    /// Sets the result that a failure leads to.
    pub(in crate::mail) fn set_failed(&mut self, failure: &Failure) {
        self.set_result(match (&failure.cause, failure.side) {
            (Cause::Refused(reply), Side::NextHop) if reply.first() == Some(&b'5') => MessageResult::NextHopRefused,
            (Cause::Refused(_), Side::NextHop) => MessageResult::NextHopDeferred,
            (_, Side::NextHop) => MessageResult::NextHopLost,
            (_, Side::Client | Side::Ours) => MessageResult::Deferred,
        });
    }

    /// Sets the result of a message that was refused for its form.
    pub(in crate::mail) fn set_refused(&mut self, refusal: Answer) {
        self.set_result(match refusal {
            Answer::TOO_LARGE => MessageResult::TooLarge,
            Answer::TEXT_LINE_TOO_LONG => MessageResult::TextLine,
            Answer::ROUTING_LOOP => MessageResult::Loop,
            _ => MessageResult::BareLineEnd,
        });
    }

    /// Forgets what was found and changed: the message goes on as it came after all.
    pub(in crate::mail) fn set_unchanged(&mut self) {
        self.report = MessageReport::default();
        self.octets_out = self.octets_in;
        self.changed = false;
    }

    /// Counts the octets of the message, once for all of its copies.
    pub(in crate::mail) fn count_received(&self, context: &ListenerContext) {
        context.counts.received(self.octets_in);
    }

    /// Counts the message, or one copy of it, when it is answered; `class` is the first digit of the best reply.
    pub(in crate::mail) fn count(&self, context: &ListenerContext, class: u8) {
        let result = self.result.unwrap_or(match class {
            b'2' if self.changed => MessageResult::Rewritten,
            b'2' => MessageResult::Unchanged,
            b'5' => MessageResult::NextHopRefused,
            _ => MessageResult::NextHopDeferred,
        });
        context.counts.message(result, self.octets_out, self.ended.elapsed());
        self.count_report(&context.counts);
    }

    /// Counts the links and quirks that were found.
    fn count_report(&self, counts: &ListenerCounts) {
        for link in &self.report.links {
            counts.link(link.decision.kind());
            if let Some(reason) = link.suspicion.as_deref().and_then(suspect) {
                counts.suspicious_link(reason);
            }
        }
        self.quirks().for_each(|quirk| counts.quirk(quirk));
    }

    /// The names of all quirks, those of line ends included.
    fn quirks(&self) -> impl Iterator<Item = &str> {
        let line_ends = [(self.end.bare_cr, "bare-cr"), (self.end.bare_lf, "bare-lf")];
        let line_ends = line_ends.into_iter().filter_map(|(seen, name)| seen.then_some(name));
        self.report.quirks.iter().map(String::as_str).chain(line_ends)
    }
}

/// The gravest of what speaks against a link; `None` for signs that no rule of the domain counts.
fn suspect(suspicion: &Suspicion) -> Option<Suspect> {
    if suspicion.is_smuggled() {
        Some(Suspect::OwnLinkSmuggled)
    } else if !suspicion.listed.is_empty() {
        Some(Suspect::Listed)
    } else {
        match suspicion.grade {
            Grade::Bad => Some(Suspect::Score),
            Grade::Doubtful => Some(Suspect::Misplaced),
            Grade::None => None,
        }
    }
}

/// The names of the client in the log line of a message.
pub(in crate::mail) struct LogNames<'a> {
    /// The client that is connected to us.
    pub(in crate::mail) client: Peer,
    /// The name that it gives itself.
    pub(in crate::mail) helo: &'a [u8],
    /// The attributes of its own client, as XFORWARD has them.
    pub(in crate::mail) xforward: &'a [u8],
}

impl Transaction {
    /// Writes the one line of the message in the log; `reply` is what the client is told.
    pub(in crate::mail) fn log(&self, summary: &Summary, names: &LogNames<'_>, reply: &[u8]) {
        let report = &summary.report;
        let (mut wrapped, mut disarmed) = (0u32, 0u32);
        let mut kept = BTreeMap::<&str, u32>::new();
        for link in &report.links {
            match link.decision {
                Decision::Wrap(_) => wrapped += 1,
                Decision::Disarm(_) => disarmed += 1,
                Decision::Keep(_) => *kept.entry(link.decision.reason()).or_default() += 1,
            }
        }
        let kept: Vec<String> = kept.iter().map(|(reason, n)| format!("{reason}={n}")).collect();
        let quirks: Vec<&str> = summary.quirks().collect();
        info!(
            target: "linkgate::mail",
            id = self.id(),
            transaction = %self.envelope.id,
            client = %names.client,
            helo = %Printable(names.helo),
            xforward = %Printable(names.xforward),
            from = %Printable(self.envelope.sender.as_bytes()),
            to = %Printable(self.addressees().as_bytes()),
            recipients = self.recipients.len(),
            message_id = %Printable(report.message_id.as_deref().unwrap_or_default().as_bytes()),
            octets_in = summary.octets_in,
            octets_out = summary.octets_out,
            parts = report.parts,
            links = report.links.len(),
            wrapped,
            disarmed,
            kept = %kept.join(","),
            quirks = %Printable(quirks.join(",").as_bytes()),
            refused_because = %Printable(summary.refused_because.as_deref().unwrap_or_default().as_bytes()),
            ms = self.envelope.started.elapsed().as_millis() as u64,
            reply = %Printable(reply.trim_ascii_end()),
            "message"
        );
    }

    /// Writes a line for each kind of bad link, with the first of them; links that are merely out of place at a lower level.
    pub(super) fn log_suspicious_links(&self, report: &MessageReport) {
        let of = |link: &LinkReport| {
            Some(match suspect(link.suspicion.as_deref()?)? {
                Suspect::OwnLinkSmuggled => "own-link-smuggled",
                Suspect::Listed => "listed-link",
                Suspect::Score => "suspicious-link",
                Suspect::Misplaced => "misplaced-link",
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
            let comma = if named.is_empty() { "" } else { "," };
            let _ = write!(named, "{comma}{}", recipient.address);
        }
        named
    }

    /// Queues the row of a message that the next hop has taken for these of its recipients.
    pub(in crate::mail) fn record<'a>(
        &self,
        recipients: impl IntoIterator<Item = &'a Recipient>,
        summary: Summary,
        context: &ListenerContext,
    ) {
        let mut recipients = recipients.into_iter().peekable();
        // Domains that did not opt in leave no trace in the store.
        let Some(policy) = recipients.peek().and_then(|first| first.policy.as_ref()) else {
            return;
        };
        let MessageReport { links, message_id, .. } = summary.report;
        let count = |kind| {
            let n = links.iter().filter(|link| link.decision.kind() == kind).count();
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        context.recorder.message(MessageRow {
            mail_id: self.id.clone(),
            message_id,
            sender: self.envelope.sender.clone(),
            policy_domain: Some(policy.domain.clone()),
            recipients: recipients.map(|r| r.address.clone()).collect(),
            received_at_us: self.envelope.received_us,
            listener: context.listener.listen.to_string(),
            links_found: u32::try_from(links.len()).unwrap_or(u32::MAX),
            links_wrapped: count(LinkDecision::Wrap),
            links_kept: count(LinkDecision::Keep),
            links: links
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
