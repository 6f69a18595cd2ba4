//! Checking a target: what is known at once, and what has to be asked for.
//!
//! What lists in memory say and what the URL itself shows is kept for a minute at most ([`Known`]). What other hosts say (DNS
//! lists, Safe Browsing, the target itself) is asked for once, however many wait for it, in a task of its own that goes on when
//! a reader does not wait; it is kept for some minutes. Both are forgotten at once when a list, a revocation or the settings
//! change.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use link::{Contact, Evidence, Finding, Target, Verdict, combine};
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use super::known::Known;
use crate::config::{CheckLimits, Settings};
use crate::intel::sources::Sources;
use crate::metrics::CheckCounts;

/// How long is believed that someone could not be asked: a source that is down is not asked again at each click.
const FAILED: Duration = Duration::from_secs(30);

/// How long an outcome is kept at least for the readers who were told to come again for it.
const PICK_UP: Duration = Duration::from_secs(15);

/// Targets of which outcomes are kept at least: those that readers come again for.
const LEAST_ENTRIES: usize = 1024;

/// Names this room in evidence.
const CHECK: &str = "check";

/// Checks targets.
#[derive(Debug)]
pub(crate) struct Checker {
    sources: Arc<dyn Sources>,
    kept: Mutex<Arc<Kept>>,
    running: Mutex<HashMap<Key, Arc<Flight>>>,
    counts: Arc<CheckCounts>,
}

/// What is to be checked.
pub(crate) struct Question<'a> {
    /// The URL a browser would be sent to.
    pub(crate) target: &'a Target,
    /// Every URL to be checked: it, or what is wrapped in it.
    pub(crate) urls: &'a [&'a Target],
    /// Where following begins.
    pub(crate) start: &'a Target,
    /// How far the check may go.
    pub(crate) contact: Contact,
    /// Whether the link looks as if it worked only once.
    pub(crate) one_time: bool,
    /// What is known already.
    pub(crate) known: &'a [Evidence],
    /// Points of signs that warrant a warning.
    pub(crate) warn_score: u32,
    /// The domain whose rules hold.
    pub(crate) domain: &'a str,
    /// Signs of a URL that can be seen without asking anyone, and whether its domain is new here.
    pub(crate) signs: &'a (dyn Fn(&Target, bool) -> Vec<Evidence> + Sync),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// All in all.
    pub(crate) verdict: Verdict,
    /// What it rests on.
    pub(crate) evidence: Vec<Evidence>,
    /// Where the target led when it was followed.
    pub(crate) hops: Vec<String>,
    /// Why the target was not asked although the policy allows it.
    pub(crate) skipped: Option<&'static str>,
}

impl Checked {
    /// A rule of the operator lets the target pass.
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

    /// It could not be checked.
    pub(crate) fn failed(target: &Target) -> Self {
        Self {
            verdict: Verdict::Unchecked,
            evidence: Asked::failed(target, "the check failed").evidence,
            hops: Vec::new(),
            skipped: None,
        }
    }
}

/// A check that was begun.
pub(crate) enum Begun {
    /// Nothing had to be asked for.
    Done(Checked),
    /// Others are being asked.
    Running(Arc<Flight>),
}

/// Others being asked about a target.
#[derive(Debug)]
pub(crate) struct Flight {
    /// When the first reader asked.
    began: Instant,
    /// What is kept under the settings it was begun with.
    kept: Arc<Kept>,
    landed: watch::Receiver<Option<Arc<Asked>>>,
    /// Someone was told to come again.
    awaited: std::sync::atomic::AtomicBool,
}

/// What others said.
#[derive(Debug, Clone, Default)]
struct Asked {
    evidence: Vec<Evidence>,
    /// Where the chain led.
    hops: Vec<Target>,
    skipped: Option<&'static str>,
}

/// What others said, and until when that is believed.
#[derive(Debug, Clone)]
struct Entry {
    asked: Arc<Asked>,
    until: Instant,
}

/// What is kept under the settings of the moment.
#[derive(Debug)]
struct Kept {
    /// Held, so that no other settings can come to stand at the same address.
    settings: Arc<Settings>,
    /// Tells what was asked under other settings.
    epoch: u64,
    cache: Cache<Key, Entry>,
    /// What needs nobody to be asked.
    known: Known,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    url: Box<str>,
    contact: Contact,
    generation: u64,
    epoch: u64,
}

static EPOCHS: AtomicU64 = AtomicU64::new(0);

impl Kept {
    fn new(settings: Arc<Settings>) -> Arc<Self> {
        let limits = &settings.check_limits;
        let entries = limits.cache_entries.max(LEAST_ENTRIES);
        let known = Known::new(limits.cache);
        Arc::new(Self {
            known,
            settings,
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            cache: Cache::new(entries),
        })
    }
}

impl Checker {
    pub(crate) fn new(sources: Arc<dyn Sources>, settings: Arc<Settings>, counts: Arc<CheckCounts>) -> Arc<Self> {
        Arc::new(Self {
            sources,
            kept: Mutex::new(Kept::new(settings)),
            running: Mutex::default(),
            counts,
        })
    }

    /// Checks what can be checked at once, and has others asked where that is needed and was not done lately.
    pub(crate) fn begin(self: &Arc<Self>, settings: &Arc<Settings>, question: &Question<'_>) -> Begun {
        let contact = effective(question);
        let kept = self.kept(settings);
        let conclude = |asked: &Asked| Begun::Done(self.conclude(question, asked, &kept.known));
        // Nobody else is to be asked: nothing to look up or to keep.
        if contact == Contact::Lists && !self.sources.has_remote() {
            return conclude(&Asked::not_asked(question));
        }
        let at_once = self.conclude(question, &Asked::default(), &kept.known);
        if at_once.verdict == Verdict::Block {
            return Begun::Done(at_once);
        }
        let key = Key {
            url: question.target.as_str().into(),
            contact,
            generation: self.sources.generation(),
            epoch: kept.epoch,
        };
        if let Some(entry) = kept.cache.get(&key)
            && entry.until > Instant::now()
        {
            self.counts.cached();
            return conclude(&entry.asked);
        }
        let mut running = lock(&self.running);
        if let Some(flight) = running.get(&key) {
            self.counts.joined();
            return Begun::Running(Arc::clone(flight));
        }
        if running.len() >= settings.check_limits.max_running {
            drop(running);
            self.counts.refused();
            return conclude(&Asked::failed(question.target, "too many checks are running"));
        }
        let (landing, landed) = watch::channel(None);
        let flight = Arc::new(Flight {
            began: Instant::now(),
            kept: Arc::clone(&kept),
            landed,
            awaited: false.into(),
        });
        running.insert(key.clone(), Arc::clone(&flight));
        drop(running);
        self.counts.started();
        let trip = Trip {
            target: question.target.clone(),
            urls: question.urls.iter().map(|url| (*url).clone()).collect(),
            start: question.start.clone(),
            contact,
        };
        let (checker, begun) = (Arc::clone(self), Arc::clone(&flight));
        let limits = settings.check_limits.clone();
        let not_asked = Asked::not_asked(question).skipped;
        tokio::spawn(async move {
            let mut asked = checker.fly(trip, begun.began, &limits).await;
            asked.skipped = asked.skipped.or(not_asked);
            let asked = Arc::new(asked);
            checker.land(key, &begun, &asked, &limits);
            landing.send_replace(Some(asked));
        });
        Begun::Running(flight)
    }

    /// Waits for a check, `patience` at most; `None` when it was not done by then, and the reader should come again. A check
    /// that is over its time is done: it failed.
    pub(crate) async fn finish(
        &self,
        question: &Question<'_>,
        begun: Begun,
        patience: Duration,
        limits: &CheckLimits,
    ) -> Option<Checked> {
        let flight = match begun {
            Begun::Done(checked) => return Some(checked),
            Begun::Running(flight) => flight,
        };
        let left = limits.hard.saturating_sub(flight.began.elapsed());
        let mut landed = flight.landed.clone();
        let landed = timeout(patience.min(left), landed.wait_for(Option::is_some)).await;
        let conclude = |asked: &Asked| Some(self.conclude(question, asked, &flight.kept.known));
        match landed {
            Ok(Ok(asked)) => conclude(&asked.clone().unwrap_or_default()),
            // The task is gone without a word: a bug of ours must not send anyone on unchecked.
            Ok(Err(_)) => conclude(&Asked::failed(question.target, "the check failed")),
            Err(_) if patience >= left => conclude(&over_time(question.target, limits)),
            Err(_) => {
                flight.awaited.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Joins what is known by now without asking anyone with what others said.
    fn conclude(&self, question: &Question<'_>, asked: &Asked, known: &Known) -> Checked {
        // Before anything is looked up: what changes meanwhile must not pass for newer than it is.
        let generation = self.sources.generation();
        let mut evidence = question.known.to_vec();
        evidence.extend(asked.evidence.iter().cloned());
        for url in question.urls.iter().copied().chain(&asked.hops) {
            let found = known.of(url.as_str(), question.domain, generation, || self.look(question, url));
            evidence.extend(found.iter().cloned());
        }
        Checked {
            verdict: combine(&evidence, question.warn_score),
            evidence,
            hops: asked.hops.iter().map(|hop| hop.as_str().to_owned()).collect(),
            skipped: asked.skipped,
        }
    }

    /// What is known of a URL without asking anyone.
    fn look(&self, question: &Question<'_>, url: &Target) -> Vec<Evidence> {
        // Mail has brought the domain of the link itself; that of what is inside, or of a URL that a program asks about, is
        // seen here first. It stays new for some days, so it does not matter that it is noted before it is judged.
        self.sources.note(&[url]);
        let mut evidence: Vec<Evidence> = self.sources.revoked(url).into_iter().collect();
        evidence.append(&mut self.sources.local(url));
        evidence.append(&mut (question.signs)(url, self.sources.is_new(url)));
        evidence
    }

    /// Whether the operator has revoked one of these.
    pub(crate) fn is_revoked(&self, urls: &[&Target]) -> bool {
        urls.iter().any(|url| self.sources.revoked(url).is_some())
    }

    fn kept(&self, settings: &Arc<Settings>) -> Arc<Kept> {
        let mut kept = lock(&self.kept);
        if !Arc::ptr_eq(&kept.settings, settings) {
            *kept = Kept::new(Arc::clone(settings));
        }
        Arc::clone(&kept)
    }

    /// Asks, in a task of its own, so that a panic or a source that does not keep to its time stays there.
    async fn fly(self: &Arc<Self>, trip: Trip, began: Instant, limits: &CheckLimits) -> Asked {
        let (checker, target) = (Arc::clone(self), trip.target.clone());
        let hard = limits.hard;
        let mut asking = tokio::spawn(async move { checker.ask(trip, began, hard).await });
        let asked = match timeout(limits.hard, &mut asking).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(e)) => {
                error!(target: "linkgate::click", cause = %e, "a check failed");
                Asked::failed(&target, "the check failed")
            }
            Err(_) => {
                asking.abort();
                self.counts.over_time();
                over_time(&target, limits)
            }
        };
        self.counts.took(began.elapsed());
        asked
    }

    async fn ask(&self, trip: Trip, began: Instant, hard: Duration) -> Asked {
        // Whoever answers has to do so a little before the end, or all answers are lost with one that is late.
        let until = began + hard.mul_f32(0.95);
        let mut asked = Asked::default();
        let first: Vec<&Target> = trip.urls.iter().collect();
        asked.evidence = self.ask_all(&first, until).await;
        // The rest of the way matters no more.
        if trip.contact == Contact::Lists || combine(&asked.evidence, 0) == Verdict::Block {
            return asked;
        }
        let arrive = began + hard.mul_f32(0.75);
        let journey = self.sources.follow(&trip.start, trip.contact, false, arrive).await;
        asked.skipped = journey.skipped;
        asked.evidence.extend(journey.evidence);
        asked.hops = journey.hops;
        asked.hops.retain(|hop| !first.contains(&hop));
        let hops: Vec<&Target> = asked.hops.iter().collect();
        let about_hops = self.ask_all(&hops, until).await;
        asked.evidence.extend(about_hops);
        asked
    }

    async fn ask_all(&self, urls: &[&Target], until: Instant) -> Vec<Evidence> {
        if !self.sources.has_remote() {
            return Vec::new();
        }
        let all = join_all(urls.iter().map(|url| self.sources.remote(url, until))).await;
        all.into_iter().flatten().collect()
    }

    /// Keeps what was said, and makes room.
    fn land(&self, key: Key, flight: &Flight, asked: &Arc<Asked>, limits: &CheckLimits) {
        let failed = asked
            .evidence
            .iter()
            .any(|e| matches!(e.finding, Finding::CouldNotAsk(_)));
        let mut life = if failed { limits.cache.min(FAILED) } else { limits.cache };
        // Whoever was told to come again must find the outcome, and not another wait.
        if flight.awaited.load(Ordering::Relaxed) {
            life = life.max(PICK_UP);
        }
        if !life.is_zero() {
            let entry = Entry {
                asked: Arc::clone(asked),
                until: Instant::now() + life,
            };
            flight.kept.cache.insert(key.clone(), entry);
        }
        lock(&self.running).remove(&key);
        self.counts.ended();
    }
}

/// What a task needs to ask.
#[derive(Debug)]
struct Trip {
    target: Target,
    urls: Vec<Target>,
    start: Target,
    contact: Contact,
}

impl Asked {
    /// Nobody was asked.
    fn not_asked(question: &Question<'_>) -> Self {
        Self {
            skipped: (question.contact > Contact::Lists && question.one_time).then_some("looks-one-time"),
            ..Self::default()
        }
    }

    /// Nobody could be asked.
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
fn effective(question: &Question<'_>) -> Contact {
    if question.one_time {
        Contact::Lists
    } else {
        question.contact
    }
}

fn over_time(target: &Target, limits: &CheckLimits) -> Asked {
    Asked::failed(target, format!("not done within {} ms", limits.hard.as_millis()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
