//! What is counted of targets that are asked where they lead.

use link::Obstacle;
use prometheus_client::metrics::gauge::Gauge;

use super::Book;
use super::labels::{Asked, Counters, Label};
use super::seconds::{self, Seconds};

/// Counts of chains that are followed.
#[derive(Debug)]
pub struct ContactCounts {
    /// Chains that are being followed.
    pub(crate) chains: Gauge,
    /// Requests, by what came back.
    pub(crate) requests: Counters<Asked>,
    /// How long an answer took.
    pub(crate) seconds: Seconds,
    /// What kept us from looking into a target.
    pub(crate) obstacles: Counters<Obstacle>,
}

impl ContactCounts {
    pub(super) fn new(book: &mut Book) -> Self {
        let requests = book.counters("contact_requests", "Requests to targets, by what came back");
        let obstacles = book.counters("contact_obstacles", "Targets that could not be looked into, by why");
        let seconds = Seconds::new(seconds::WAIT);
        let help = "From the request to a target to the head of its answer";
        book.0.register("contact_request_seconds", help, seconds.clone());
        Self {
            chains: book.gauge("contact_chains", "Chains of redirects that are being followed"),
            requests: Counters::of(&requests, &[]),
            seconds,
            obstacles: Counters::of(&obstacles, &[]),
        }
    }

    /// Requests that have come to this.
    #[must_use]
    pub fn requests(&self, asked: Asked) -> u64 {
        self.requests.get(asked)
    }
}

impl Default for ContactCounts {
    fn default() -> Self {
        Self {
            chains: Gauge::default(),
            requests: Counters::default(),
            seconds: Seconds::new(seconds::WAIT),
            obstacles: Counters::default(),
        }
    }
}

impl Label for Obstacle {
    const NAME: &'static str = "obstacle";
    const ALL: &'static [Self] = &[
        Self::Captcha,
        Self::Login,
        Self::Encrypted,
        Self::TooManyHops,
        Self::Loop,
        Self::NeedsScript,
        Self::Forbidden,
        Self::Certificate,
        Self::NoAnswer,
        Self::TooLarge,
        Self::Busy,
    ];

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_obstacle_has_a_counter_of_its_own() {
        assert_eq!(Obstacle::ALL.len(), Obstacle::WORDS.len());
        for (i, obstacle) in Obstacle::ALL.iter().enumerate() {
            assert_eq!(obstacle.index(), i, "{}", obstacle.as_str());
        }
    }
}
