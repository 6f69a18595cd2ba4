//! The page that Prometheus reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use store::Health;

use crate::clock;
use crate::config::Limits;
use crate::ledger::Ledger;
use crate::mail::budget::Budgets;
use crate::mail::spool;
use crate::metrics::labels::Labels;
use crate::metrics::{HttpCounts, Metrics, PREFIX, SourceCounts};

/// The media type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where numbers come from that are looked up for each page.
#[derive(Debug, Clone, Copy)]
pub struct ScrapeInput<'a> {
    /// Store and spill.
    pub ledger: &'a Ledger,
    /// How much messages use of their budgets.
    pub budgets: &'a Budgets,
    /// How much they may use.
    pub limits: &'a Limits,
}

impl Metrics {
    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn page(&self, sources: &ScrapeInput<'_>) -> String {
        let mut page = String::with_capacity(32 << 10);
        let looked_up = self.look_up(sources);
        // Writing to a string does not fail.
        let _ = text::encode_registry(&mut page, &self.registry);
        let _ = text::encode_registry(&mut page, &looked_up);
        let _ = text::encode_eof(&mut page);
        page
    }

    fn look_up(&self, sources: &ScrapeInput<'_>) -> Registry {
        let mut now = Now(Registry::with_prefix(PREFIX));
        let uptime = self.started.elapsed().as_secs_f64();
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(uptime);
        now.0
            .register("uptime_seconds", "How long the server has been running", gauge);
        now.ages(&self.sources.lock());
        now.spool();
        now.budgets(sources.budgets, sources.limits);
        now.store(sources.ledger);
        now.http(&[("click", &self.click_http), ("admin", &self.admin_http)]);
        now.0
    }
}

/// A registry for one page.
struct Now(Registry);

impl Now {
    fn counter(&mut self, name: &str, help: &str, n: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(n);
        self.0.register(name, help, counter);
    }

    fn gauge(&mut self, name: &str, help: &str, n: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn counters(&mut self, name: &str, help: &str, label: &'static str, values: &[(&str, u64)]) {
        let family = Family::<Labels, Counter>::default();
        for (value, n) in values {
            family.get_or_create(&vec![(label, (*value).to_owned())]).inc_by(*n);
        }
        self.0.register(name, help, family);
    }

    fn ages(&mut self, sources: &HashMap<String, Arc<SourceCounts>>) {
        let ages = Family::<Labels, Gauge>::default();
        let now = clock::now();
        for (name, counts) in sources {
            if let Some(age) = counts.age(now) {
                let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                ages.get_or_create(&vec![("source", name.clone())]).set(age);
            }
        }
        self.0.register(
            "source_age_seconds",
            "How long ago the list in force was what its source has",
            ages,
        );
    }

    fn spool(&mut self) {
        let usage = spool::usage();
        let octets = Family::<Labels, Gauge>::default();
        for (place, n) in [("memory", usage.in_memory), ("file", usage.in_files)] {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            octets.get_or_create(&vec![("place", place.to_owned())]).set(n);
        }
        self.0
            .register("spool_bytes", "Octets of messages that are held, by place", octets);
        self.gauge("spool_files", "Files of the spool that are open", usage.files);
    }

    fn budgets(&mut self, budgets: &Budgets, limits: &Limits) {
        let mib = |n: u32| u64::from(n) << 20;
        for (name, help, n) in [
            (
                "spool_memory_bytes",
                "Memory that messages take from their budget",
                budgets.spool.used() as u64,
            ),
            (
                "spool_memory_limit_bytes",
                "Memory that all messages together may take",
                limits.spool_memory_total as u64,
            ),
            (
                "rewrite_memory_bytes",
                "Memory set aside for messages that are being rewritten",
                mib(budgets.rewrite_used_mib()),
            ),
            (
                "rewrite_memory_limit_bytes",
                "Memory that may be set aside for rewriting",
                mib(limits.rewrite_memory_mib),
            ),
        ] {
            self.gauge(name, help, n);
        }
    }

    fn store(&mut self, ledger: &Ledger) {
        let healthy = u64::from(ledger.store().health() == Health::Writing);
        let counts = ledger.store().counts();
        let unstored = ledger.unstored();
        self.gauge("store_healthy", "1 while the store takes rows", healthy);
        self.gauge(
            "store_rows_waiting",
            "Rows held in memory because the last commit failed",
            counts.waiting,
        );
        self.counters(
            "store_rows",
            "Rows committed, by kind",
            "kind",
            &[
                ("click", counts.clicks),
                ("message", counts.messages),
                ("reference", counts.references),
            ],
        );
        self.counters(
            "store_commits",
            "Commits, by result",
            "result",
            &[("done", counts.commits), ("failed", counts.failures)],
        );
        self.counters(
            "store_rows_lost",
            "Rows that will never be stored, by kind",
            "kind",
            &[("click", unstored.lost), ("message", counts.lost)],
        );
        let alerts = ledger.alerts();
        self.counters(
            "alerts",
            "Alerts raised, by kind",
            "kind",
            &[("late-listing", alerts.late_listings), ("smuggled", alerts.smuggled)],
        );
        self.counter(
            "clicks_spilled",
            "Clicks that went to the file beside the store",
            unstored.spilled,
        );
    }

    fn http(&mut self, servers: &[(&str, &HttpCounts)]) {
        let answers = Family::<Labels, Counter>::default();
        let broken = Family::<Labels, Counter>::default();
        for (server, counts) in servers {
            let named = vec![("server", (*server).to_owned())];
            broken
                .get_or_create(&named)
                .inc_by(counts.broken.load(Ordering::Relaxed));
            for (status, n) in counts.answers.iter().enumerate() {
                let n = n.load(Ordering::Relaxed);
                // What every server has said is there from the start; the rest as it comes.
                if n > 0 || status == 200 {
                    let labels = vec![("server", (*server).to_owned()), ("status", status.to_string())];
                    answers.get_or_create(&labels).inc_by(n);
                }
            }
        }
        self.0
            .register("http_requests", "Requests answered, by server and status", answers);
        self.0.register(
            "http_connections_broken",
            "Connections that ended in an error, by server",
            broken,
        );
    }
}
