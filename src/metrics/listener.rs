//! Counters of one listener and its sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::LinkDecision;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use wire::Answer;

use super::labels::{Counters, Handshake, Limit, MessageResult, PanicPlace, SessionEnd, Silence, Speaker, Suspect};
use super::seconds::Seconds;
use crate::failure::{Cause, Failure, Phase, Side};

/// The counters of one listener; resolved once, shared by its sessions. Counting is an atomic addition.
#[derive(Debug)]
pub struct ListenerCounts {
    /// Sessions that are open.
    pub(super) connections: Gauge,
    /// `max_connections`.
    pub(super) max_connections: Gauge,
    /// 1 while connections are accepted.
    pub(super) accepting: Gauge,
    /// Connections accepted so far.
    pub(super) accepted: Counter,
    /// How sessions ended.
    pub ended: Counters<SessionEnd>,
    /// Bounds that clients ran into.
    pub limits: Counters<Limit>,
    /// TLS handshakes.
    pub tls: Counters<Handshake>,
    /// Recipients that may get a message twice: the next hop has taken it, or may have, and the client was not told so.
    pub possible_duplicates: Counter,
    /// Chunks taken by BDAT (RFC 3030).
    pub bdat_chunks: Counter,
    /// Sessions that XCLIENT gave another client.
    pub xclient: Counter,
    /// Connections refused for their PROXY header.
    pub proxy_refused: Counter,
    pub(super) transactions: Gauge,
    /// Messages, and copies of them, by what became of them.
    pub messages: Counters<MessageResult>,
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) reply_seconds: Seconds,
    pub(super) rewrite_seconds: Seconds,
    pub(super) passed_on_error: Counter,
    pub(super) timeouts: Counters<Silence>,
    pub(super) protocol_errors: Counters<Speaker>,
    pub(super) shared: Arc<Shared>,
}

/// The counters that all listeners have together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) links: Counters<LinkDecision>,
    pub(super) suspicious: Counters<Suspect>,
    pub(super) quirks: HashMap<&'static str, Counter>,
    pub(super) panics: Counters<PanicPlace>,
    pub(super) lines_left_out: Counter,
    pub(super) rewrites: Gauge,
}

/// Adds one to a gauge for as long as it lives.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ListenerCounts {
    /// A connection was accepted; its session is open for as long as the result lives.
    #[must_use]
    pub fn session(&self) -> GaugeGuard {
        self.accepted.inc();
        GaugeGuard::new(&self.connections)
    }

    /// A transaction is open for as long as the result lives.
    #[must_use]
    pub fn transaction(&self) -> GaugeGuard {
        GaugeGuard::new(&self.transactions)
    }

    /// Links of a message are looked for as long as the result lives.
    #[must_use]
    pub fn rewrite(&self) -> GaugeGuard {
        GaugeGuard::new(&self.shared.rewrites)
    }

    /// Whether connections are accepted.
    pub fn set_accepting(&self, accepting: bool) {
        self.accepting.set(i64::from(accepting));
    }

    /// How many sessions there may be at a time.
    pub fn set_max_connections(&self, n: usize) {
        self.max_connections.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// A message of that many octets came in.
    pub fn received(&self, octets: u64) {
        self.received.inc_by(octets);
    }

    /// A message, or a copy of one, ended like this; `took` from its final dot to our reply, `sent` as far as the next hop was given it.
    pub fn message(&self, result: MessageResult, sent: u64, took: Duration) {
        self.messages.inc(result);
        self.sent.inc_by(sent);
        self.reply_seconds.observe(took);
        if result == MessageResult::TooLarge {
            self.limits.inc(Limit::MessageSize);
        }
    }

    /// Counts a link of a message by what was decided about it.
    pub fn link(&self, decision: LinkDecision) {
        self.shared.links.inc(decision);
    }

    /// Counts a link that looked bad when its mail came in.
    pub fn suspicious_link(&self, reason: Suspect) {
        self.shared.suspicious.inc(reason);
    }

    /// Counts a doubtful structure of a message, by its name.
    pub fn quirk(&self, name: &str) {
        if let Some(quirk) = self.shared.quirks.get(name) {
            quirk.inc();
        }
    }

    /// Links were found and decided on in that time.
    pub fn rewritten(&self, took: Duration) {
        self.rewrite_seconds.observe(took);
    }

    /// A message went on unchanged because we failed (`on_error = "pass"`).
    pub fn passed_on_error(&self) {
        self.passed_on_error.inc();
    }

    /// Something failed on the way of a message.
    pub fn failure(&self, failure: &Failure) {
        match (&failure.cause, failure.side) {
            (Cause::Panic(_), _) => self.shared.panics.inc(PanicPlace::Message),
            (Cause::Broken(_), Side::NextHop) => self.protocol_errors.inc(Speaker::NextHop),
            (Cause::Timeout(_), _) => self.timeouts.inc(match failure.phase {
                Phase::Connect => Silence::Connect,
                Phase::Tls => Silence::Tls,
                Phase::Hello => Silence::Hello,
                Phase::Envelope => Silence::Envelope,
                Phase::Transfer => Silence::Transfer,
                Phase::FinalReply => Silence::FinalReply,
                Phase::Receive | Phase::Rewrite | Phase::References => Silence::Data,
            }),
            _ => {}
        }
    }

    /// A client was silent for too long.
    pub fn timeout(&self, silence: Silence) {
        self.timeouts.inc(silence);
    }

    /// The client was told this in answer to a command.
    pub fn said(&self, answer: Answer) {
        if matches!(answer.code(), 500..=504) {
            self.protocol_errors.inc(Speaker::Client);
        }
    }

    /// The client broke a protocol that has no reply for that.
    pub fn client_broke_protocol(&self) {
        self.protocol_errors.inc(Speaker::Client);
    }

    /// A session panicked.
    pub fn session_panicked(&self) {
        self.ended.inc(SessionEnd::Panic);
        self.shared.panics.inc(PanicPlace::Session);
    }

    /// A log line was left out because there were too many like it.
    pub fn line_left_out(&self) {
        self.shared.lines_left_out.inc();
    }

    /// Whether connections are accepted.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.accepting.get() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_failure_is_counted_where_it_belongs() {
        let counts = Metrics::new().listener("192.0.2.1:25");
        let wait = Duration::from_secs(1);
        counts.failure(&Failure::next_hop(Phase::FinalReply, Cause::Timeout(wait)));
        counts.failure(&Failure::ours(Phase::Rewrite, Cause::Panic("told to".to_owned())));
        counts.failure(&Failure::next_hop(Phase::Envelope, wire::Broken::Unasked(250)));
        counts.failure(&Failure::next_hop(Phase::Connect, Cause::Closed));
        assert_eq!(counts.timeouts.get(Silence::FinalReply), 1);
        assert_eq!(counts.shared.panics.get(PanicPlace::Message), 1);
        assert_eq!(counts.protocol_errors.get(Speaker::NextHop), 1);
        assert_eq!(counts.protocol_errors.get(Speaker::Client), 0);
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let counts = Metrics::new().listener("192.0.2.1:25");
        let (first, second) = (counts.session(), counts.session());
        let under_way = counts.rewrite();
        drop(first);
        assert_eq!((counts.connections.get(), counts.accepted.get()), (1, 2));
        assert_eq!(counts.shared.rewrites.get(), 1);
        drop((second, under_way));
        assert_eq!((counts.connections.get(), counts.shared.rewrites.get()), (0, 0));
    }
}
