//! Sources that are asked about links, with stand-ins that speak what the real ones do.

mod browsing;
mod dns;
mod feed;
mod feeds;
mod files;
mod follow;
mod nameserver;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Category, Evidence, Finding, Listing, Scope, Target, Weight};
use linkgate::config::keyfile::Absent;
use linkgate::config::{Checks, ListKind, Origin, Settings, Source, SourceKind, Usage};
use linkgate::intel::Intel;
use linkgate::metrics::{Metrics, SourceCounts};
use linkgate::net::tls::Trust;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long a test waits for what must happen, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everyone who is asked, as `serve` runs them.
struct Stand {
    runtime: Runtime,
    settings: watch::Sender<Arc<Settings>>,
    metrics: Arc<Metrics>,
    intel: Arc<Intel>,
    dir: Arc<tempfile::TempDir>,
}

impl Stand {
    fn new(sources: Vec<Source>) -> Self {
        Self::with(sources, |_| ())
    }

    fn with(sources: Vec<Source>, change: impl FnOnce(&mut Checks)) -> Self {
        Self::start(Arc::new(tempfile::tempdir().unwrap()), sources, change)
    }

    /// As after a restart: with the folder of an earlier one.
    fn again(dir: &Arc<tempfile::TempDir>, sources: Vec<Source>) -> Self {
        Self::start(Arc::clone(dir), sources, |_| ())
    }

    fn start(dir: Arc<tempfile::TempDir>, sources: Vec<Source>, change: impl FnOnce(&mut Checks)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (settings, watched) = watch::channel(settings(&dir, sources, change));
        let metrics = Arc::new(Metrics::new());
        let intel = {
            let _inside = runtime.enter();
            Intel::start(watched, &metrics)
        };
        Self {
            runtime,
            settings,
            metrics,
            intel,
            dir,
        }
    }

    /// As SIGHUP does.
    fn reload(&self, sources: Vec<Source>) {
        self.settings.send_replace(settings(&self.dir, sources, |_| ()));
    }

    fn counts(&self, name: &str) -> Arc<SourceCounts> {
        self.metrics.source(name)
    }

    fn local(&self, url: &str) -> Vec<Evidence> {
        self.intel.local(&target(url))
    }

    fn is_listed(&self, url: &str) -> bool {
        self.local(url).iter().any(|e| matches!(e.finding, Finding::Listed(_)))
    }

    fn until_listed(&self, url: &str) {
        eventually(&format!("{url} to be listed"), || self.is_listed(url));
    }

    fn remote(&self, url: &str) -> Vec<Evidence> {
        self.remote_within(url, Duration::from_secs(5))
    }

    fn remote_within(&self, url: &str, time: Duration) -> Vec<Evidence> {
        self.runtime
            .block_on(self.intel.remote(&target(url), Instant::now() + time))
    }
}

fn settings(dir: &tempfile::TempDir, sources: Vec<Source>, change: impl FnOnce(&mut Checks)) -> Arc<Settings> {
    let text = include_str!("../fixtures/config/good/least.toml");
    let mut settings = Settings::from_toml(text, Path::new("least.toml"), Absent::Pretend).unwrap();
    settings.checks = Checks {
        usage: Usage::Private,
        lists_dir: dir.path().join("lists"),
        list_contact: "admin@us.example".into(),
        protected: vec!["good.example".into()],
        sources: sources.into_iter().map(Arc::new).collect(),
        ..Checks::default()
    };
    change(&mut settings.checks);
    Arc::new(settings)
}

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

/// A list that is fetched ten times a second.
fn list(name: &str, kind: ListKind, url: &str) -> Source {
    Source {
        refresh: Duration::from_millis(100),
        trust: Some(Trust::load(None).unwrap()),
        ..Source::new(name, SourceKind::List(kind), Origin::Url(url.into()))
    }
}

fn file(name: &str, kind: ListKind, path: &Path) -> Source {
    Source::new(name, SourceKind::List(kind), Origin::File(path.to_owned()))
}

fn listing(category: Category, scope: Scope, weight: Weight) -> Finding {
    Finding::Listed(Listing {
        category,
        scope,
        weight,
    })
}

fn eventually(what: &str, probe: impl Fn() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
