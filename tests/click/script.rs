//! Sources that say what a test wants, when it wants it, and count who asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use link::{Category, ClickPolicy, Contact, Evidence, Finding, Listing, Scope, Target, Verdict, Weight};
use linkgate::intel::follow::ChainReport;
use linkgate::intel::sources::Sources;

use super::server::{Server, Setup};

/// What is said of a host.
#[derive(Debug, Default)]
pub(crate) struct Script {
    local: Mutex<HashMap<&'static str, Finding>>,
    remote: Mutex<HashMap<&'static str, Finding>>,
    revoked: Mutex<Vec<&'static str>>,
    /// Hosts that turned up a short while ago.
    pub(crate) new: Mutex<Vec<&'static str>>,
    pub(crate) noted: Mutex<Vec<String>>,
    hops: Mutex<HashMap<&'static str, Vec<&'static str>>>,
    /// What a remote answer takes; all else is at once.
    delay: Mutex<Duration>,
    has_remote: bool,
    generation: AtomicU64,
    pub(crate) asked: AtomicUsize,
    pub(crate) followed: AtomicUsize,
}

pub(crate) fn listed(weight: Weight) -> Finding {
    Finding::Listed(Listing {
        category: Category::Phishing,
        scope: Scope::Host,
        weight,
    })
}

/// A host about which `finding` says what comes to this verdict.
pub(crate) fn finding(verdict: Verdict) -> Option<Finding> {
    match verdict {
        Verdict::Allow => None,
        Verdict::Unchecked => Some(Finding::CouldNotAsk("timed out".into())),
        Verdict::Unknown => Some(Finding::CouldNotInspect(link::Obstacle::Captcha)),
        Verdict::Warn => Some(listed(Weight::Warn)),
        Verdict::Block => Some(listed(Weight::Block)),
    }
}

/// A server with this policy, whose sources say what the script does.
pub(crate) fn started(script: Script, policy: ClickPolicy) -> (Server, Arc<Script>) {
    let script = script.shared();
    let server = Setup {
        policy,
        sources: Some(script.clone()),
        ..Setup::default()
    }
    .start();
    (server, script)
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Asks over a network as well, which takes so long.
    pub(crate) fn remote(delay: Duration) -> Self {
        Self {
            delay: Mutex::new(delay),
            has_remote: true,
            ..Self::default()
        }
    }

    pub(crate) fn says(self, host: &'static str, finding: Option<Finding>) -> Self {
        self.say(host, finding);
        self
    }

    pub(crate) fn says_from_afar(self, host: &'static str, finding: Finding) -> Self {
        self.remote.lock().unwrap().insert(host, finding);
        self
    }

    pub(crate) fn leads(self, host: &'static str, to: &[&'static str]) -> Self {
        self.hops.lock().unwrap().insert(host, to.to_vec());
        self
    }

    /// Changes a list.
    pub(crate) fn say(&self, host: &'static str, finding: Option<Finding>) {
        let mut local = self.local.lock().unwrap();
        match finding {
            Some(finding) => local.insert(host, finding),
            None => local.remove(host),
        };
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn revoke(&self, host: &'static str) {
        self.revoked.lock().unwrap().push(host);
    }

    pub(crate) fn take(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn followed(&self) -> usize {
        self.followed.load(Ordering::SeqCst)
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

fn evidence(source: &'static str, target: &Target, finding: &Finding) -> Evidence {
    Evidence {
        source: source.into(),
        about: target.as_str().to_owned(),
        finding: finding.clone(),
    }
}

impl Sources for Script {
    fn revoked(&self, target: &Target) -> Option<Evidence> {
        let revoked = self.revoked.lock().unwrap();
        revoked
            .contains(&target.host())
            .then(|| evidence("revoked", target, &listed(Weight::Block)))
    }

    fn local(&self, target: &Target) -> Vec<Evidence> {
        let local = self.local.lock().unwrap();
        let found = local.get(target.host()).map(|f| evidence("list", target, f));
        self.revoked(target).into_iter().chain(found).collect()
    }

    fn is_new(&self, domain: &str, _: i64) -> bool {
        self.new.lock().unwrap().contains(&domain)
    }

    fn note(&self, domains: &mut dyn Iterator<Item = &str>, _: i64) {
        self.noted.lock().unwrap().extend(domains.map(str::to_owned));
    }

    fn has_remote(&self) -> bool {
        self.has_remote
    }

    fn remote<'a>(&'a self, target: &'a Target, until: Instant) -> BoxFuture<'a, Vec<Evidence>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        let found = self.remote.lock().unwrap().get(target.host()).cloned();
        Box::pin(async move {
            let left = until.saturating_duration_since(Instant::now());
            // A source that does not keep to its time is one of the things to be tested.
            tokio::time::sleep(if delay == Duration::MAX { left * 100 } else { delay }).await;
            vec![evidence("afar", target, &found.unwrap_or(Finding::NotListed))]
        })
    }

    fn follow<'a>(&'a self, target: &'a Target, _: Contact, one_time: bool, _: Instant) -> BoxFuture<'a, ChainReport> {
        assert!(!one_time, "a link that works once is never followed");
        self.followed.fetch_add(1, Ordering::SeqCst);
        let hops = self
            .hops
            .lock()
            .unwrap()
            .get(target.host())
            .cloned()
            .unwrap_or_default();
        Box::pin(async move {
            ChainReport {
                hops: hops.iter().map(|hop| Target::parse(hop).unwrap()).collect(),
                fetched: 1,
                ..ChainReport::default()
            }
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}
