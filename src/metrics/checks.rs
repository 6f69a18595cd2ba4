//! Counters of clicks, and of the checks behind them.

use std::sync::Arc;
use std::time::Duration;

use link::Verdict;
use prometheus_client::metrics::gauge::Gauge;

use super::Book;
use super::labels::{CheckStep, ClickRefusal, Counters, FormResult};
use super::seconds::{self, Seconds};

/// Clicks, by how they were answered, for what verdict, and for whom.
#[derive(Debug, Default)]
pub struct ClickMetrics {
    /// By answer, where the link was genuine and its target known.
    pub outcomes: Counters<store::Outcome>,
    /// By refusal, where it was not. The same series, under words of its own.
    pub refusals: Counters<ClickRefusal>,
    /// By verdict, where a target was checked.
    pub verdicts: Counters<Verdict>,
    /// By label of the visitor.
    pub labels: Counters<store::Label>,
    /// Forms of pages that came back.
    pub forms: Counters<FormResult>,
    /// Checks asked for over the API, by verdict.
    pub api: Counters<Verdict>,
    /// Checks.
    pub checks: Arc<CheckCounts>,
}

/// Checks that ask other hosts.
#[derive(Debug)]
pub struct CheckCounts {
    steps: Counters<CheckStep>,
    running: Gauge,
    seconds: Seconds,
}

impl ClickMetrics {
    pub(super) fn new(book: &mut Book) -> Self {
        let clicks = book.counters("clicks", "Requests for click links, by outcome");
        let verdicts = book.counters("click_verdicts", "Targets that were checked at a click, by verdict");
        let labels = book.counters("click_labels", "Requests for click links, by who seems to have asked");
        let forms = book.counters("click_forms", "Forms of pages that came back, by result");
        let api = book.counters("api_checks", "Checks asked for over the API, by verdict");
        let steps = book.counters(
            "checks",
            "Targets about which other hosts had to be asked, by how that went",
        );
        let running = book.gauge("checks_running", "Checks that wait for other hosts");
        let seconds = Seconds::new(seconds::WAIT);
        book.0.register(
            "check_seconds",
            "How long checks took that asked other hosts",
            seconds.clone(),
        );
        Self {
            outcomes: Counters::of(&clicks, &[]),
            refusals: Counters::of(&clicks, &[]),
            verdicts: Counters::of(&verdicts, &[]),
            labels: Counters::of(&labels, &[]),
            forms: Counters::of(&forms, &[]),
            api: Counters::of(&api, &[]),
            checks: Arc::new(CheckCounts {
                steps: Counters::of(&steps, &[]),
                running,
                seconds,
            }),
        }
    }
}

impl Default for CheckCounts {
    fn default() -> Self {
        Self {
            steps: Counters::default(),
            running: Gauge::default(),
            seconds: Seconds::new(seconds::WAIT),
        }
    }
}

impl CheckCounts {
    /// The answers of a while ago served.
    pub(crate) fn cached(&self) {
        self.steps.inc(CheckStep::Cached);
    }

    /// Someone else's check served.
    pub(crate) fn joined(&self) {
        self.steps.inc(CheckStep::Joined);
    }

    /// There were too many checks.
    pub(crate) fn refused(&self) {
        self.steps.inc(CheckStep::Refused);
    }

    /// Others are asked.
    pub(crate) fn started(&self) {
        self.steps.inc(CheckStep::Started);
        self.running.inc();
    }

    /// A check took too long.
    pub(crate) fn over_time(&self) {
        self.steps.inc(CheckStep::OverTime);
    }

    /// A check that was started is over.
    pub(crate) fn ended(&self) {
        self.running.dec();
    }

    /// A check took this long.
    pub(crate) fn took(&self, time: Duration) {
        self.seconds.observe(time);
    }

    /// How often this happened.
    #[must_use]
    pub fn get(&self, step: CheckStep) -> u64 {
        self.steps.get(step)
    }
}
