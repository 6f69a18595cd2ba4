//! Counters of targets that are asked where they lead.

use link::Obstacle;
use prometheus_client::metrics::gauge::Gauge;

use super::Book;
use super::labels::{ContactResult, Counters};
use super::seconds::{self, Seconds};

/// Counts of chains that are followed.
#[derive(Debug)]
pub struct ContactCounts {
    /// Chains that are being followed.
    pub(crate) chains: Gauge,
    /// Requests, by what came back.
    pub(crate) requests: Counters<ContactResult>,
    /// How long an answer took.
    pub(crate) seconds: Seconds,
    /// Obstacles that kept us from looking into a target.
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
    pub fn requests(&self, asked: ContactResult) -> u64 {
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
