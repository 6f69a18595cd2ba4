//! Checking a target: evidence from memory at once, and answers of other hosts where they are needed.
//!
//! Answers of lists in memory and of the URL itself are kept for a minute at most ([`LocalCache`]). Those of other hosts
//! (DNS lists, Safe Browsing, the target itself) are looked up once for all readers who wait for them, in a task that goes
//! on when a reader does not wait; they are kept for some minutes. Both are forgotten at once when a list, a revocation or the
//! settings change.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use link::{Contact, Evidence, Finding, Target, Verdict, combine, registrable_domain};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use super::cache::{ExpiringCache, LocalCache};
use super::layers::{self, Layers};
use crate::clock::now_s;
use crate::config::{CheckLimits, DomainRules, Settings};
use crate::intel::sources::Sources;
use crate::metrics::CheckCounts;

/// How long it is believed that a source could not be asked: one that is down is not asked again at each click.
const FAILED: Duration = Duration::from_secs(30);

/// How long answers are kept at least for readers whose page asks again for them.
const PICK_UP: Duration = Duration::from_secs(15);

/// Targets whose answers are kept at least: those that a page asks again for.
const LEAST_ENTRIES: usize = 1024;

/// The source that evidence of this module names.
const CHECK: &str = "check";

/// Checks targets.
#[derive(Debug)]
pub(crate) struct Checker {
    sources: Arc<dyn Sources>,
    caches: Mutex<Arc<Caches>>,
    running: Mutex<HashMap<LookupKey, Arc<InFlight>>>,
    counts: Arc<CheckCounts>,
}

/// A link to be checked under the rules of a domain.
pub(crate) struct LinkCheck<'a> {
    /// The settings of the moment.
    pub(crate) settings: &'a Arc<Settings>,
    /// The domain whose rules hold.
    pub(crate) domain: &'a str,
    /// The rules of that domain.
    pub(crate) rules: &'a DomainRules,
    /// The URL a browser would be sent to.
    pub(crate) target: &'a Target,
    /// The same, taken apart.
    pub(crate) layers: &'a Layers,
    /// How far the check may go.
    pub(crate) contact: Contact,
    /// How long to wait for it.
    pub(crate) patience: Duration,
}

/// The link and the rules that a check goes by.
struct CheckRequest<'a> {
    /// The URL a browser would be sent to.
    target: &'a Target,
    /// Every URL to be checked: the target, or what is wrapped in it.
    urls: &'a [&'a Target],
    /// Where following begins.
    start: &'a Target,
    /// How far the check may go.
    contact: Contact,
    /// Whether the link looks as if it worked only once.
    one_time: bool,
    /// Evidence found before the check.
    evidence: &'a [Evidence],
    /// Points of signs that warrant a warning.
    warn_score: u32,
    /// The domain whose rules hold.
    domain: &'a str,
    /// Signs of a URL that can be seen without asking anyone; told whether its domain is new here.
    signs: &'a (dyn Fn(&Target, bool) -> Vec<Evidence> + Sync),
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The verdict that all evidence comes to.
    pub(crate) verdict: Verdict,
    /// The evidence it rests on.
    pub(crate) evidence: Vec<Evidence>,
    /// URLs that the target led to when it was followed.
    pub(crate) hops: Vec<String>,
    /// Why the target was not asked although the policy allows it.
    pub(crate) skipped: Option<&'static str>,
}

impl Checked {
    /// The outcome for a target that a rule of the operator lets pass.
    pub(crate) fn bypassed(target: &Target, rule: &str) -> Self {
        Self {
            verdict: Verdict::Allow,
            evidence: vec![Evidence {
                source: Cow::Borrowed("bypass_urls"),
                about: target.as_str().to_owned(),
                finding: Finding::Bypassed(rule.to_owned()),
            }],
            hops: Vec::new(),
            skipped: None,
        }
    }

    /// The outcome for a target whose check failed.
    pub(crate) fn failed(target: &Target) -> Self {
        Self {
            verdict: Verdict::Unchecked,
            evidence: RemoteAnswers::failed(target, "the check failed").evidence,
            hops: Vec::new(),
            skipped: None,
        }
    }
}

/// A check that was begun.
enum Begun {
    /// It is done: no other host had to be asked.
    Done(Checked),
    /// Other hosts are being asked.
    Running(Arc<InFlight>),
}

/// A lookup that is being run.
#[derive(Debug)]
struct InFlight {
    /// When the first reader asked for it.
    began: Instant,
    /// The caches of the settings it was begun with.
    caches: Arc<Caches>,
    answers: watch::Receiver<Option<Arc<RemoteAnswers>>>,
    /// Whether a reader's page will ask again for the answers.
    awaited: AtomicBool,
}

/// The answers of other hosts about a target.
#[derive(Debug, Clone, Default)]
struct RemoteAnswers {
    evidence: Vec<Evidence>,
    /// URLs that the target led to.
    hops: Vec<Target>,
    skipped: Option<&'static str>,
}

/// The caches of one state of the settings.
#[derive(Debug)]
struct Caches {
    /// Held, so that no other settings can come to stand at the same address.
    settings: Arc<Settings>,
    /// Tells lookups begun under other settings from those of now.
    epoch: u64,
    remote: ExpiringCache<LookupKey, Arc<RemoteAnswers>>,
    local: LocalCache,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LookupKey {
    url: Box<str>,
    contact: Contact,
    generation: u64,
    epoch: u64,
}

static EPOCHS: AtomicU64 = AtomicU64::new(0);

impl Caches {
    fn new(settings: Arc<Settings>) -> Arc<Self> {
        let limits = &settings.check_limits;
        Arc::new(Self {
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            remote: ExpiringCache::new(limits.cache_entries.max(LEAST_ENTRIES)),
            local: LocalCache::new(limits.cache),
            settings,
        })
    }
}

impl Checker {
    /// Checks by asking `sources`; nothing is kept yet.
    pub(crate) fn new(sources: Arc<dyn Sources>, settings: Arc<Settings>, counts: Arc<CheckCounts>) -> Arc<Self> {
        Arc::new(Self {
            sources,
            caches: Mutex::new(Caches::new(settings)),
            running: Mutex::default(),
            counts,
        })
    }

    /// Checks a link; `None` when that was not done within its patience, and goes on. A rule of the operator may let it pass
    /// unchecked, but for what is revoked.
    pub(crate) async fn check(self: &Arc<Self>, link: &LinkCheck<'_>) -> Option<Checked> {
        let LinkCheck {
            settings,
            domain,
            rules,
            target,
            layers,
            contact,
            patience,
        } = *link;
        let urls = layers.urls();
        let is_revoked = || urls.iter().any(|url| self.sources.revoked(url).is_some());
        if let Some(rule) = layers.bypassed(rules)
            && !is_revoked()
        {
            return Some(Checked::bypassed(target, rule));
        }
        let request = CheckRequest {
            target,
            urls: &urls,
            start: layers.certain(),
            contact,
            one_time: contact > Contact::Lists && layers.is_one_time(),
            evidence: &layers.evidence,
            warn_score: rules.policy.warn_score,
            domain,
            signs: &|url, is_new| layers::signs_of(settings, domain, url, is_new),
        };
        self.recall(&urls).await;
        let begun = self.begin(settings, &request);
        self.finish(&request, begun, patience, &settings.check_limits).await
    }

    /// Checks what can be checked at once, and starts a lookup at other hosts where one is needed and none was done lately.
    fn begin(self: &Arc<Self>, settings: &Arc<Settings>, request: &CheckRequest<'_>) -> Begun {
        let contact = effective(request);
        let caches = self.caches(settings);
        let conclude = |answers: &RemoteAnswers| Begun::Done(self.conclude(request, answers, &caches.local));
        // No other host is to be asked: nothing to look up or to keep.
        if contact == Contact::Lists && !self.sources.has_remote() {
            return conclude(&RemoteAnswers::not_asked(request));
        }
        let at_once = self.conclude(request, &RemoteAnswers::default(), &caches.local);
        if at_once.verdict == Verdict::Block {
            return Begun::Done(at_once);
        }
        let key = LookupKey {
            url: request.target.as_str().into(),
            contact,
            generation: self.sources.generation(),
            epoch: caches.epoch,
        };
        if let Some(answers) = caches.remote.get(&key) {
            self.counts.cached();
            return conclude(&answers);
        }
        let mut running = self.running.lock();
        if let Some(in_flight) = running.get(&key) {
            self.counts.joined();
            return Begun::Running(Arc::clone(in_flight));
        }
        if running.len() >= settings.check_limits.max_running {
            drop(running);
            self.counts.refused();
            return conclude(&RemoteAnswers::failed(request.target, "too many checks are running"));
        }
        let (tell, answers) = watch::channel(None);
        let in_flight = Arc::new(InFlight {
            began: Instant::now(),
            caches: Arc::clone(&caches),
            answers,
            awaited: AtomicBool::new(false),
        });
        running.insert(key.clone(), Arc::clone(&in_flight));
        drop(running);
        self.counts.started();
        let lookup = Lookup {
            target: request.target.clone(),
            urls: request.urls.iter().map(|url| (*url).clone()).collect(),
            start: request.start.clone(),
            contact,
        };
        let (checker, begun) = (Arc::clone(self), Arc::clone(&in_flight));
        let limits = settings.check_limits.clone();
        let not_asked = RemoteAnswers::not_asked(request).skipped;
        tokio::spawn(async move {
            let mut answers = checker.run(lookup, begun.began, &limits).await;
            answers.skipped = answers.skipped.or(not_asked);
            let answers = Arc::new(answers);
            checker.store(key, &begun, &answers, &limits);
            tell.send_replace(Some(answers));
        });
        Begun::Running(in_flight)
    }

    /// Waits for a check, `patience` at most; `None` when it was not done by then, and the reader's page should ask again. A
    /// check that is over its time is done: it failed.
    async fn finish(
        &self,
        request: &CheckRequest<'_>,
        begun: Begun,
        patience: Duration,
        limits: &CheckLimits,
    ) -> Option<Checked> {
        let in_flight = match begun {
            Begun::Done(checked) => return Some(checked),
            Begun::Running(in_flight) => in_flight,
        };
        let left = limits.hard.saturating_sub(in_flight.began.elapsed());
        let mut answers = in_flight.answers.clone();
        let answers = timeout(patience.min(left), answers.wait_for(Option::is_some)).await;
        let conclude = |answers: &RemoteAnswers| Some(self.conclude(request, answers, &in_flight.caches.local));
        match answers {
            Ok(Ok(answers)) => conclude(&answers.clone().unwrap_or_default()),
            // The task is gone without an answer: a bug of ours must not send a reader on unchecked.
            Ok(Err(_)) => conclude(&RemoteAnswers::failed(request.target, "the check failed")),
            Err(_) if patience >= left => conclude(&over_time(request.target, limits)),
            Err(_) => {
                in_flight.awaited.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Joins the evidence from memory with what other hosts said.
    fn conclude(&self, request: &CheckRequest<'_>, answers: &RemoteAnswers, local: &LocalCache) -> Checked {
        // Before anything is looked up: what changes meanwhile must not pass for newer than it is.
        let generation = self.sources.generation();
        let mut evidence = request.evidence.to_vec();
        evidence.extend(answers.evidence.iter().cloned());
        for url in request.urls.iter().copied().chain(&answers.hops) {
            let found = local.get_or(url.as_str(), request.domain, generation, || self.local(request, url));
            evidence.extend(found.iter().cloned());
        }
        Checked {
            verdict: combine(&evidence, request.warn_score),
            evidence,
            hops: answers.hops.iter().map(|hop| hop.as_str().to_owned()).collect(),
            skipped: answers.skipped,
        }
    }

    /// The evidence about a URL that needs no other host.
    fn local(&self, request: &CheckRequest<'_>, url: &Target) -> Vec<Evidence> {
        // Mail has brought the domain of the link itself; that of what is inside, or of a URL that a program asks about, is
        // seen here first. It stays new for some days, so it does not matter that it is noted before it is judged.
        let (domain, now_s) = (registrable_domain(url), now_s());
        self.sources.note(&mut domain.into_iter(), now_s);
        let is_new = domain.is_some_and(|domain| self.sources.is_new(domain, now_s));
        let mut evidence = self.sources.local(url);
        evidence.append(&mut (request.signs)(url, is_new));
        evidence
    }

    /// Reads into memory when the domains of these URLs were first seen. To be awaited before a check is begun.
    async fn recall(&self, urls: &[&Target]) {
        let domains: Vec<&str> = urls.iter().filter_map(|url| registrable_domain(url)).collect();
        if let Some(read) = self.sources.recalled(&domains, now_s()) {
            read.await;
        }
    }

    /// The caches of these settings; new ones when the settings have changed.
    fn caches(&self, settings: &Arc<Settings>) -> Arc<Caches> {
        let mut caches = self.caches.lock();
        if !Arc::ptr_eq(&caches.settings, settings) {
            *caches = Caches::new(Arc::clone(settings));
        }
        Arc::clone(&caches)
    }

    /// Runs a lookup in a task of its own, so that a panic or a source that does not keep to its time stays there.
    async fn run(self: &Arc<Self>, lookup: Lookup, began: Instant, limits: &CheckLimits) -> RemoteAnswers {
        let (checker, target) = (Arc::clone(self), lookup.target.clone());
        let hard = limits.hard;
        let mut asking = tokio::spawn(async move { checker.ask(lookup, began, hard).await });
        let answers = match timeout(limits.hard, &mut asking).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(e)) => {
                error!(target: "linkgate::click", cause = %e, "a check failed");
                RemoteAnswers::failed(&target, "the check failed")
            }
            Err(_) => {
                asking.abort();
                self.counts.over_time();
                over_time(&target, limits)
            }
        };
        self.counts.took(began.elapsed());
        answers
    }

    /// Asks services about the target, follows it where that is allowed, and asks about where it leads.
    async fn ask(&self, lookup: Lookup, began: Instant, hard: Duration) -> RemoteAnswers {
        // Sources have to answer a little before the end, or all answers are lost with one that is late.
        let until = began + hard.mul_f32(0.95);
        let mut answers = RemoteAnswers::default();
        let first: Vec<&Target> = lookup.urls.iter().collect();
        answers.evidence = self.ask_all(&first, until).await;
        // Where it leads matters no more when it is blocked already.
        if lookup.contact == Contact::Lists || combine(&answers.evidence, 0) == Verdict::Block {
            return answers;
        }
        let arrive = began + hard.mul_f32(0.75);
        let chain = self.sources.follow(&lookup.start, lookup.contact, false, arrive).await;
        answers.skipped = chain.skipped;
        answers.evidence.extend(chain.evidence);
        answers.hops = chain.hops;
        answers.hops.retain(|hop| !first.contains(&hop));
        let hops: Vec<&Target> = answers.hops.iter().collect();
        self.recall(&hops).await;
        let about_hops = self.ask_all(&hops, until).await;
        answers.evidence.extend(about_hops);
        answers
    }

    async fn ask_all(&self, urls: &[&Target], until: Instant) -> Vec<Evidence> {
        if !self.sources.has_remote() {
            return Vec::new();
        }
        let all = join_all(urls.iter().map(|url| self.sources.remote(url, until))).await;
        all.into_iter().flatten().collect()
    }

    /// Keeps the answers of a lookup that has ended, and makes room for another one.
    fn store(&self, key: LookupKey, in_flight: &InFlight, answers: &Arc<RemoteAnswers>, limits: &CheckLimits) {
        let failed = answers
            .evidence
            .iter()
            .any(|e| matches!(e.finding, Finding::CouldNotAsk(_)));
        let mut life = if failed { limits.cache.min(FAILED) } else { limits.cache };
        // A page that asks again must find the answers, and not another wait.
        if in_flight.awaited.load(Ordering::Relaxed) {
            life = life.max(PICK_UP);
        }
        in_flight.caches.remote.insert(key.clone(), Arc::clone(answers), life);
        self.running.lock().remove(&key);
        self.counts.ended();
    }
}

/// The parts that a task needs to ask other hosts about a target.
#[derive(Debug)]
struct Lookup {
    target: Target,
    urls: Vec<Target>,
    start: Target,
    contact: Contact,
}

impl RemoteAnswers {
    /// No other host was asked.
    fn not_asked(request: &CheckRequest<'_>) -> Self {
        Self {
            skipped: (request.contact > Contact::Lists && request.one_time).then_some("looks-one-time"),
            ..Self::default()
        }
    }

    /// No other host could be asked.
    fn failed(target: &Target, why: impl Into<String>) -> Self {
        Self {
            evidence: vec![Evidence {
                source: Cow::Borrowed(CHECK),
                about: target.as_str().to_owned(),
                finding: Finding::CouldNotAsk(why.into()),
            }],
            ..Self::default()
        }
    }
}

/// How far a check goes: not to a link that may work only once.
fn effective(request: &CheckRequest<'_>) -> Contact {
    if request.one_time {
        Contact::Lists
    } else {
        request.contact
    }
}

fn over_time(target: &Target, limits: &CheckLimits) -> RemoteAnswers {
    RemoteAnswers::failed(target, format!("not done within {} ms", limits.hard.as_millis()))
}
