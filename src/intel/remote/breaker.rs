//! A circuit breaker: a source that fails several times in a row is not asked for a while, so that no click waits for it.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 4;
/// How long it stays open at first; each further failure doubles that, up to the longest.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// How long a probe may take before it counts as lost.
const PROBE: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<BreakerState>);

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    /// Until when only a probe may ask; `None` while the breaker is closed.
    open_until: Option<Instant>,
    probing_since: Option<Instant>,
}

/// Whether a source may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Yes.
    Ask,
    /// Once, in the background: to see whether it answers again.
    Probe,
    /// No.
    Not,
}

impl Breaker {
    /// Whether the source may be asked now. After [`Permission::Ask`] or [`Permission::Probe`] the outcome has to be
    /// reported.
    pub(crate) fn leave(&self, now: Instant) -> Permission {
        let mut state = self.state();
        let Some(until) = state.open_until else {
            return Permission::Ask;
        };
        let probing = state
            .probing_since
            .is_some_and(|since| now.saturating_duration_since(since) < PROBE);
        if now < until || probing {
            return Permission::Not;
        }
        state.probing_since = Some(now);
        Permission::Probe
    }

    /// Whether the last question failed, and it may be asked all the same.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let state = self.state();
        state.failures > 0 && state.open_until.is_none()
    }

    /// It answered. True when it was left alone before.
    pub(crate) fn succeeded(&self) -> bool {
        std::mem::take(&mut *self.state()).open_until.is_some()
    }

    /// It did not answer, or asks to be left alone for `wait`. True when that opens the breaker.
    pub(crate) fn failed(&self, now: Instant, wait: Option<Duration>) -> bool {
        let mut state = self.state();
        let was_open = state.open_until.is_some();
        // Questions that were under way when it opened say nothing new.
        if was_open && state.probing_since.is_none() && wait.is_none() {
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        state.probing_since = None;
        let doublings = state.failures.saturating_sub(FAILURES).min(16);
        let grown = SHORTEST.saturating_mul(1 << doublings).min(LONGEST);
        if state.failures >= FAILURES || wait.is_some() {
            state.open_until = Some(now + grown.max(wait.unwrap_or_default().min(LONGEST)));
        }
        !was_open && state.open_until.is_some()
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for n in 1..=FAILURES {
            assert_eq!(breaker.leave(now), Permission::Ask);
            assert_eq!(breaker.failed(now, None), n == FAILURES);
            assert_eq!(breaker.is_in_doubt(), n < FAILURES);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..3 * FAILURES {
            breaker.failed(now, None);
            assert!(!breaker.succeeded());
            assert!(!breaker.is_in_doubt());
        }
        assert_eq!(breaker.leave(now), Permission::Ask);
        assert_eq!(opened(now).leave(now), Permission::Not);
    }

    #[test]
    fn one_probe_at_a_time_and_the_wait_grows_to_its_limit() {
        let mut now = Instant::now();
        let breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let asked = now;
            while breaker.leave(now) == Permission::Not {
                now += Duration::from_secs(1);
            }
            waits.push(now.saturating_duration_since(asked).as_secs());
            assert_eq!(breaker.leave(now), Permission::Not, "a second probe");
            breaker.failed(now, None);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        now += LONGEST;
        assert_eq!(breaker.leave(now), Permission::Probe);
        assert!(breaker.succeeded());
        assert_eq!(breaker.leave(now), Permission::Ask);
    }

    #[test]
    fn who_asks_to_be_left_alone_is_at_once() {
        let now = Instant::now();
        let breaker = Breaker::default();
        assert!(breaker.failed(now, Some(Duration::from_secs(60))));
        assert_eq!(breaker.leave(now + Duration::from_secs(59)), Permission::Not);
        assert_eq!(breaker.leave(now + Duration::from_secs(60)), Permission::Probe);
    }

    #[test]
    fn late_failures_do_not_prolong_it_and_a_lost_probe_is_replaced() {
        let now = Instant::now();
        let breaker = opened(now);
        for _ in 0..10 {
            assert!(!breaker.failed(now, None));
        }
        let later = now + SHORTEST;
        assert_eq!(breaker.leave(later), Permission::Probe);
        assert_eq!(breaker.leave(later + PROBE), Permission::Probe);
    }
}
