//! Counters of one source that is asked about links, and whether it answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use strum::VariantArray;

use super::labels::{Counters, MetricLabel, Refresh, SourceAnswer, SourceHealth};
use crate::log::Limiter;

/// The counters of one source; resolved once. Counting is an atomic addition.
#[derive(Debug, Default)]
pub struct SourceCounts {
    /// One for each value of [`SourceHealth`]; the one that holds is 1.
    pub(super) health: Box<[Gauge]>,
    pub(super) entries: Gauge,
    pub(super) refreshes: Counters<Refresh>,
    pub(super) answers: Counters<SourceAnswer>,
    /// Seconds since 1970; 0 is never.
    pub(super) confirmed: AtomicU64,
    /// For lines that say that it could not be asked.
    pub(crate) log: Limiter,
}

impl SourceCounts {
    /// How it is doing.
    pub fn set_health(&self, now: SourceHealth) {
        for (gauge, health) in self.health.iter().zip(SourceHealth::VARIANTS) {
            gauge.set(i64::from(*health == now));
        }
    }

    /// Whether this is how it is doing.
    #[must_use]
    pub fn is(&self, health: SourceHealth) -> bool {
        self.health.get(health.index()).is_some_and(|gauge| gauge.get() == 1)
    }

    /// So many entries are in force.
    pub fn set_entries(&self, n: usize) {
        self.entries.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// How many entries are in force.
    #[must_use]
    pub fn entries(&self) -> u64 {
        u64::try_from(self.entries.get()).unwrap_or(0)
    }

    /// An attempt to refresh the list came to this.
    pub fn refreshed(&self, result: Refresh) {
        self.refreshes.inc(result);
    }

    /// How many attempts came to this.
    #[must_use]
    pub fn refreshes(&self, result: Refresh) -> u64 {
        self.refreshes.get(result)
    }

    /// It was asked about a URL.
    pub fn answered(&self, answer: SourceAnswer) {
        self.answers.inc(answer);
    }

    /// How often it answered this.
    #[must_use]
    pub fn answers(&self, answer: SourceAnswer) -> u64 {
        self.answers.get(answer)
    }

    /// The list in force was the current one of its source at this time.
    pub fn set_confirmed(&self, at: SystemTime) {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.confirmed.store(seconds, Ordering::Relaxed);
    }

    /// How long ago what is in force was what the source has; `None` when nothing is in force.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        (confirmed > 0).then(|| Duration::from_secs(now.saturating_sub(confirmed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn one_health_holds_at_a_time() {
        let metrics = Metrics::new();
        let counts = metrics.source("a");
        for health in SourceHealth::VARIANTS {
            counts.set_health(*health);
            let held: Vec<_> = SourceHealth::VARIANTS.iter().filter(|h| counts.is(**h)).collect();
            assert_eq!(held, [health]);
        }
    }

    #[test]
    fn the_age_is_that_of_the_last_confirmation_and_never_negative() {
        let counts = SourceCounts::default();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(counts.age(now), None);
        counts.set_confirmed(now - Duration::from_secs(90));
        assert_eq!(counts.age(now), Some(Duration::from_secs(90)));
        // The clock was set back.
        counts.set_confirmed(now + Duration::from_secs(90));
        assert_eq!(counts.age(now), Some(Duration::ZERO));
    }
}
