//! Counters of one next hop, and whether it answers.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::{Connect, Counters, ReplyClass};
use super::seconds::{self, Seconds};
use crate::failure::{Failure, Phase};
use crate::log::Limiter;

/// The counters of one next hop; resolved once for each session. Counting is an atomic addition.
#[derive(Debug)]
pub struct NextHopCounts {
    pub(super) up: Gauge,
    pub(super) connects: Counters<Connect>,
    pub(super) failures: Counters<Phase>,
    pub(super) replies: Counters<ReplyClass>,
    pub(super) lost_final_replies: Counter,
    pub(super) connect_seconds: Seconds,
    pub(super) delivery_seconds: Seconds,
    /// When it last could not be reached, if it has not answered since.
    pub(super) down: Mutex<Option<Instant>>,
    /// For lines that say that it cannot be reached.
    pub(crate) log: Limiter,
}

impl Default for NextHopCounts {
    fn default() -> Self {
        let up = Gauge::default();
        up.set(1);
        Self {
            up,
            connects: Counters::default(),
            failures: Counters::default(),
            replies: Counters::default(),
            lost_final_replies: Counter::default(),
            connect_seconds: Seconds::new(seconds::WAIT),
            delivery_seconds: Seconds::new(seconds::WAIT),
            down: Mutex::default(),
            log: Limiter::default(),
        }
    }
}

impl NextHopCounts {
    /// A connection was made and greeted, in that time. True when it could not be reached before.
    pub fn connected(&self, took: Duration) -> bool {
        self.connects.inc(Connect::Connected);
        self.connect_seconds.observe(took);
        if self.up.get() == 1 {
            return false;
        }
        self.up.set(1);
        self.down().take().is_some()
    }

    /// Something failed on its side. That it cannot be reached or does not greet us makes it a next hop that is down.
    pub fn failed(&self, failure: &Failure) {
        self.failures.inc(failure.phase);
        match failure.phase {
            Phase::Connect | Phase::Hello => {
                self.connects.inc(Connect::Failed);
                *self.down() = Some(Instant::now());
                self.up.set(0);
            }
            // The dot went out, and nobody knows what became of the message.
            Phase::FinalReply => {
                self.lost_final_replies.inc();
            }
            _ => {}
        }
    }

    /// It replied with this code.
    pub fn replied(&self, code: u16) {
        match code / 100 {
            2 => self.replies.inc(ReplyClass::Done),
            3 => self.replies.inc(ReplyClass::More),
            4 => self.replies.inc(ReplyClass::Deferred),
            5 => self.replies.inc(ReplyClass::Refused),
            _ => {}
        }
    }

    /// It replied to the final dot, that long after the message could go on.
    pub fn delivered(&self, took: Duration) {
        self.delivery_seconds.observe(took);
    }

    /// How long ago it last could not be reached; `None` when it has answered since, or was never asked.
    #[must_use]
    pub fn down_for(&self) -> Option<Duration> {
        if self.up.get() == 1 {
            return None;
        }
        self.down().map(|since| since.elapsed())
    }

    fn down(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Cause;

    #[test]
    fn only_who_cannot_be_reached_is_down() {
        let counts = NextHopCounts::default();
        counts.failed(&Failure::next_hop(Phase::Transfer, Cause::Closed));
        assert_eq!(counts.down_for(), None);
        counts.failed(&Failure::next_hop(Phase::Connect, Cause::Closed));
        assert!(counts.down_for().is_some());
        assert!(counts.connected(Duration::ZERO), "it was down");
        assert_eq!(counts.down_for(), None);
        assert!(!counts.connected(Duration::ZERO), "it was not");
    }
}
