//! Counters, gauges and histograms of a running server, for Prometheus.
//!
//! Code that counts holds handles that were resolved beforehand ([`ListenerCounts`] for a listener, [`NextHopCounts`] for
//! a next hop): counting takes no lock and allocates nothing. Every metric stands in `docs/metrics.md`.

mod checks;
mod contact;
pub(crate) mod labels;
mod listener;
mod next_hop;
mod seconds;
mod source;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use link::Word;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use strum::VariantArray;

pub use self::checks::{CheckCounts, ClickMetrics};
pub use self::contact::ContactCounts;
pub use self::labels::{
    CheckStep, ClickRefusal, Connect, ContactResult, Counters, FormResult, Handshake, Limit, MessageResult, PanicPlace,
    Refresh, Reload, ReplyClass, SessionEnd, Silence, SourceAnswer, SourceHealth, Speaker, Suspect,
};
use self::labels::{Labels, MetricLabel};
use self::listener::Shared;
pub use self::listener::{GaugeGuard, ListenerCounts};
pub use self::next_hop::NextHopCounts;
pub use self::seconds::Seconds;
pub use self::source::SourceCounts;
use crate::clock::since_1970;
use crate::failure::Phase;

/// The word that every name begins with.
pub(crate) const PREFIX: &str = "linkgate";

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) registry: Registry,
    families: Families,
    shared: Arc<Shared>,
    listeners: Mutex<HashMap<String, Arc<ListenerCounts>>>,
    next_hops: Mutex<HashMap<String, Arc<NextHopCounts>>>,
    pub(crate) sources: Mutex<HashMap<String, Arc<SourceCounts>>>,
    reloads: Counters<Reload>,
    last_reload: Gauge,
    pub(crate) started: Instant,
    /// Clicks and checks.
    pub clicks: Arc<ClickMetrics>,
    /// Requests to the click address.
    pub click_http: Arc<HttpCounts>,
    /// Requests to the admin address.
    pub admin_http: Arc<HttpCounts>,
    /// Targets that are asked where they lead.
    pub contact: Arc<ContactCounts>,
}

/// Series by listener or next hop, of which a reload may bring new ones.
#[derive(Debug)]
struct Families {
    connections: Family<Labels, Gauge>,
    max_connections: Family<Labels, Gauge>,
    accepting: Family<Labels, Gauge>,
    accepted: Family<Labels, Counter>,
    ended: Family<Labels, Counter>,
    limits: Family<Labels, Counter>,
    tls: Family<Labels, Counter>,
    possible_duplicates: Family<Labels, Counter>,
    bdat_chunks: Family<Labels, Counter>,
    xclient: Family<Labels, Counter>,
    proxy_refused: Family<Labels, Counter>,
    transactions: Family<Labels, Gauge>,
    messages: Family<Labels, Counter>,
    received: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
    reply_seconds: Histograms,
    rewrite_seconds: Histograms,
    passed_on_error: Family<Labels, Counter>,
    timeouts: Family<Labels, Counter>,
    protocol_errors: Family<Labels, Counter>,
    up: Family<Labels, Gauge>,
    connects: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    replies: Family<Labels, Counter>,
    lost_final_replies: Family<Labels, Counter>,
    connect_seconds: Histograms,
    delivery_seconds: Histograms,
    source_health: Family<Labels, Gauge>,
    source_entries: Family<Labels, Gauge>,
    source_refreshes: Family<Labels, Counter>,
    source_answers: Family<Labels, Counter>,
}

type Histograms = Family<Labels, Seconds, fn() -> Seconds>;

impl Metrics {
    /// Metrics at zero; the process counts as started now.
    #[must_use]
    pub fn new() -> Self {
        let mut book = Book(Registry::with_prefix(PREFIX));
        let families = Families::new(&mut book);
        let clicks = Arc::new(ClickMetrics::new(&mut book));
        let shared = Arc::new(Shared::new(&mut book));
        let reloads = book.counters("reloads", "Reloads, by result");
        let last_reload = book.gauge(
            "last_reload_successful",
            "1 when the settings in force are those of the file as it was last read",
        );
        last_reload.set(1);
        let contact = Arc::new(ContactCounts::new(&mut book));
        book.start();
        let http = || {
            Arc::new(HttpCounts {
                panics: shared.panics.counter(PanicPlace::Page),
                ..HttpCounts::default()
            })
        };
        let (click_http, admin_http) = (http(), http());
        Self {
            registry: book.0,
            families,
            shared,
            listeners: Mutex::default(),
            next_hops: Mutex::default(),
            sources: Mutex::default(),
            reloads: Counters::of(&reloads, &[]),
            last_reload,
            started: Instant::now(),
            clicks,
            click_http,
            admin_http,
            contact,
        }
    }

    /// The counters of a listener, by its address as configured. The same ones for the same name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerCounts> {
        let mut known = self.listeners.lock();
        if let Some(counts) = known.get(name) {
            return Arc::clone(counts);
        }
        let counts = Arc::new(self.families.listener(name, &self.shared));
        known.insert(name.to_owned(), Arc::clone(&counts));
        counts
    }

    /// The counters of a next hop, by its name as configured. The same ones for the same name.
    #[must_use]
    pub fn next_hop(&self, name: &str) -> Arc<NextHopCounts> {
        let mut known = self.next_hops.lock();
        if let Some(counts) = known.get(name) {
            return Arc::clone(counts);
        }
        let counts = Arc::new(self.families.next_hop(name));
        known.insert(name.to_owned(), Arc::clone(&counts));
        counts
    }

    /// Only these next hops are in use from now on. Whether another one answers is no news any more, and what was seen last
    /// must not stay an alert for ever; what was counted of it stays.
    pub fn set_next_hops(&self, names: &[String]) {
        self.next_hops.lock().retain(|name, _| {
            let used = names.contains(name);
            if !used {
                self.families.up.remove(&vec![("next_hop", name.clone())]);
            }
            used
        });
        for name in names {
            let _ = self.next_hop(name);
        }
    }

    /// The counters of a source, by its name. The same ones for the same name.
    #[must_use]
    pub fn source(&self, name: &str) -> Arc<SourceCounts> {
        let mut known = self.sources.lock();
        if let Some(counts) = known.get(name) {
            return Arc::clone(counts);
        }
        let counts = Arc::new(self.families.source(name));
        known.insert(name.to_owned(), Arc::clone(&counts));
        counts
    }

    /// Only these sources are in use from now on. What was counted of another one stays.
    pub fn set_sources(&self, names: &[&str]) {
        self.sources.lock().retain(|name, _| {
            let used = names.contains(&name.as_str());
            if !used {
                self.families.forget_source(name);
            }
            used
        });
        for name in names {
            let _ = self.source(name);
        }
    }

    /// The configuration was read again.
    pub fn reloaded(&self, result: Reload) {
        self.reloads.inc(result);
        self.last_reload.set(i64::from(result == Reload::Applied));
    }

    /// A listener panicked.
    pub fn listener_panicked(&self) {
        self.shared.panics.inc(PanicPlace::Listener);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers of one HTTP listener.
#[derive(Debug)]
pub struct HttpCounts {
    /// By status code.
    pub(crate) answers: Box<[AtomicU64]>,
    pub(crate) broken: AtomicU64,
    panics: Counter,
}

/// One more than the largest status code.
const STATUSES: usize = 600;

impl HttpCounts {
    /// A request was answered with this status.
    pub fn answered(&self, status: u16) {
        if let Some(n) = self.answers.get(usize::from(status)) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection ended in an error: a head that is no HTTP, a timeout, a reset.
    pub fn broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// A bug of ours ended a connection.
    pub fn panicked(&self) {
        self.panics.inc();
    }
}

impl Default for HttpCounts {
    fn default() -> Self {
        Self {
            answers: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            broken: AtomicU64::new(0),
            panics: Counter::default(),
        }
    }
}

/// A registry that hands back what it registers.
struct Book(Registry);

impl Book {
    fn counters(&mut self, name: &str, help: &str) -> Family<Labels, Counter> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn gauges(&mut self, name: &str, help: &str) -> Family<Labels, Gauge> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn histograms(&mut self, name: &str, help: &str, new: fn() -> Seconds) -> Histograms {
        let family = Family::new_with_constructor(new);
        self.0.register(name, help, family.clone());
        family
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    /// Registers what does not change: the version and the time of the start.
    fn start(&mut self) {
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.0.register("build", "The program", info);
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(since_1970().as_secs_f64());
        self.0.register(
            "start_time_seconds",
            "When the server started, in seconds since 1970",
            started,
        );
    }
}

impl Families {
    fn new(book: &mut Book) -> Self {
        fn wait() -> Seconds {
            Seconds::new(seconds::WAIT)
        }
        fn work() -> Seconds {
            Seconds::new(seconds::WORK)
        }
        Self {
            connections: book.gauges("connections", "Sessions with clients that are open"),
            max_connections: book.gauges("max_connections", "Sessions with clients that may be open at a time"),
            accepting: book.gauges("accepting", "1 while the listener accepts connections"),
            accepted: book.counters("connections_accepted", "Connections of clients"),
            ended: book.counters("connections_ended", "Sessions that ended, by how"),
            limits: book.counters("limit_hits", "Clients that ran into a limit, by limit"),
            tls: book.counters("tls_handshakes", "TLS handshakes with clients, by result"),
            possible_duplicates: book.counters(
                "possible_duplicates",
                "Recipients that may get a message twice: the next hop has taken it, or may have, and the client was not told",
            ),
            bdat_chunks: book.counters("bdat_chunks", "Chunks of messages taken by BDAT"),
            xclient: book.counters("xclient_sessions", "Sessions that XCLIENT gave another client"),
            proxy_refused: book.counters("proxy_headers_refused", "Connections refused for their PROXY header"),
            transactions: book.gauges("transactions", "Transactions that are open"),
            messages: book.counters("messages", "Messages whose end was seen, by result"),
            received: book.counters("received_bytes", "Message octets from clients"),
            sent: book.counters("sent_bytes", "Message octets to next hops"),
            reply_seconds: book.histograms("message_seconds", "From a message's final dot to our reply", wait),
            rewrite_seconds: book.histograms("rewrite_seconds", "Finding links, deciding and sealing, per message", work),
            passed_on_error: book.counters(
                "messages_passed_on_error",
                "Messages that went on as they came because linkgate failed",
            ),
            timeouts: book.counters("timeouts", "Peers that were silent for too long, by phase"),
            protocol_errors: book.counters("protocol_errors", "What peers said against the protocol, by side"),
            up: book.gauges("next_hop_up", "0 when the last attempt to reach the next hop failed"),
            connects: book.counters("next_hop_connects", "Attempts to reach the next hop, by result"),
            failures: book.counters("next_hop_failures", "Failures of the next hop, by phase"),
            replies: book.counters("next_hop_replies", "Replies of the next hop, by class"),
            lost_final_replies: book.counters(
                "lost_final_replies",
                "Messages whose final dot went out and whose reply never came: the client tries again, and the next hop may have both",
            ),
            connect_seconds: book.histograms(
                "next_hop_connect_seconds",
                "From the attempt to connect to the reply to EHLO",
                wait,
            ),
            delivery_seconds: book.histograms(
                "next_hop_delivery_seconds",
                "From the moment that a message may go on to the reply to its final dot",
                wait,
            ),
            source_health: book.gauges("source_health", "How a source is doing: 1 for what holds"),
            source_entries: book.gauges("source_entries", "Entries of a list that are in force"),
            source_refreshes: book.counters("source_refreshes", "Attempts to refresh a list, by result"),
            source_answers: book.counters("source_answers", "What a source said of URLs, by answer"),
        }
    }

    fn source(&self, name: &str) -> SourceCounts {
        let base = [("source", name)];
        let labels = vec![("source", name.to_owned())];
        let health = SourceHealth::VARIANTS.iter();
        SourceCounts {
            health: health
                .map(|h| self.source_health.get_or_create_owned(&health_labels(name, *h)))
                .collect(),
            entries: self.source_entries.get_or_create_owned(&labels),
            refreshes: Counters::of(&self.source_refreshes, &base),
            answers: Counters::of(&self.source_answers, &base),
            ..SourceCounts::default()
        }
    }

    /// Removes the values of a source that is no more.
    fn forget_source(&self, name: &str) {
        for health in SourceHealth::VARIANTS {
            self.source_health.remove(&health_labels(name, *health));
        }
        self.source_entries.remove(&vec![("source", name.to_owned())]);
    }

    fn listener(&self, name: &str, shared: &Arc<Shared>) -> ListenerCounts {
        let base = [("listener", name)];
        let labels = vec![("listener", name.to_owned())];
        ListenerCounts {
            connections: self.connections.get_or_create_owned(&labels),
            max_connections: self.max_connections.get_or_create_owned(&labels),
            accepting: self.accepting.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            ended: Counters::of(&self.ended, &base),
            limits: Counters::of(&self.limits, &base),
            tls: Counters::of(&self.tls, &base),
            possible_duplicates: self.possible_duplicates.get_or_create_owned(&labels),
            bdat_chunks: self.bdat_chunks.get_or_create_owned(&labels),
            xclient: self.xclient.get_or_create_owned(&labels),
            proxy_refused: self.proxy_refused.get_or_create_owned(&labels),
            transactions: self.transactions.get_or_create_owned(&labels),
            messages: Counters::of(&self.messages, &base),
            received: self.received.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
            reply_seconds: self.reply_seconds.get_or_create_owned(&labels),
            rewrite_seconds: self.rewrite_seconds.get_or_create_owned(&labels),
            passed_on_error: self.passed_on_error.get_or_create_owned(&labels),
            timeouts: Counters::of(&self.timeouts, &base),
            protocol_errors: Counters::of(&self.protocol_errors, &base),
            shared: Arc::clone(shared),
        }
    }

    fn next_hop(&self, name: &str) -> NextHopCounts {
        let base = [("next_hop", name)];
        let labels = vec![("next_hop", name.to_owned())];
        let up = self.up.get_or_create_owned(&labels);
        // Nobody has asked it yet; a fault is not to be claimed before it is seen.
        up.set(1);
        NextHopCounts {
            up,
            connects: Counters::of(&self.connects, &base),
            failures: Counters::<Phase>::of(&self.failures, &base),
            replies: Counters::of(&self.replies, &base),
            lost_final_replies: self.lost_final_replies.get_or_create_owned(&labels),
            connect_seconds: self.connect_seconds.get_or_create_owned(&labels),
            delivery_seconds: self.delivery_seconds.get_or_create_owned(&labels),
            ..NextHopCounts::default()
        }
    }
}

fn health_labels(name: &str, health: SourceHealth) -> Labels {
    vec![
        ("source", name.to_owned()),
        (SourceHealth::NAME, health.as_str().to_owned()),
    ]
}

impl Shared {
    fn new(book: &mut Book) -> Self {
        let links = book.counters("links", "Links found in messages, by decision");
        let suspicious = book.counters(
            "suspicious_links",
            "Links that looked bad when their mail came in, by reason",
        );
        let quirks = book.counters("quirks", "Doubtful structures found in messages, by name");
        let panics = book.counters("panics", "Panics that were caught, by place");
        let names = message::Quirk::ALL.iter().map(|q| q.as_str());
        let quirk = |name: &'static str| {
            let counter = quirks.get_or_create_owned(&vec![("quirk", name.to_owned())]);
            (name, counter)
        };
        Self {
            links: Counters::of(&links, &[]),
            suspicious: Counters::of(&suspicious, &[]),
            quirks: names.chain(["bare-cr", "bare-lf"]).map(quirk).collect(),
            panics: Counters::of(&panics, &[]),
            lines_left_out: book.counter(
                "log_lines_left_out",
                "Log lines left out because there were too many like them",
            ),
            rewrites: book.gauge("rewrites", "Messages whose links are being looked for"),
        }
    }
}
