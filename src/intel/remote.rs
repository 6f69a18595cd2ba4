//! Asking sources over the network about a URL: all at once, each behind a breaker.

mod breaker;
pub(super) mod dns;
pub(super) mod google;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use link::{Evidence, Finding, Listing, Target};
use lists::Canonical;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::config::Source;
use crate::intel::remote::breaker::{Breaker, Permission};
use crate::intel::remote::dns::DnsList;
use crate::intel::remote::google::Browsing;
use crate::metrics::{SourceAnswer, SourceCounts, SourceHealth};

/// Questions to one source that may be under way at a time.
const AT_A_TIME: usize = 64;

/// Pause before a source that failed is asked again to see whether it is dead.
const AGAIN: Duration = Duration::from_millis(250);

/// A source that is asked over the network.
pub(super) struct Remote {
    pub(super) source: Arc<Source>,
    pub(super) client: SourceClient,
    pub(super) counts: Arc<SourceCounts>,
    breaker: Breaker,
    slots: Semaphore,
    under_way: Mutex<UnderWay>,
    /// Someone is at [`Remote::resolve_doubt`].
    in_doubt: AtomicBool,
    /// The runtime of questions: connections to a source must outlive the request that needed them first.
    questions: Handle,
}

/// The listings that a source answers, or why it could not be asked.
type QueryResult = Result<Vec<Listing>, String>;

/// Questions without an answer yet.
type UnderWay = HashMap<Arc<str>, watch::Receiver<Option<QueryResult>>>;

const INTERNAL: &str = "an internal fault";

/// Removes a question from those that are under way when dropped, also by a panic.
struct UnderWayEntry<'a> {
    remote: &'a Remote,
    key: Arc<str>,
}

impl Drop for UnderWayEntry<'_> {
    fn drop(&mut self) {
        self.remote.under_way().remove(&self.key);
    }
}

/// Clears a flag when dropped, also by a panic.
struct FlagGuard<'a>(&'a AtomicBool);

impl Drop for FlagGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The protocol by which a source is asked.
#[derive(Debug)]
pub(super) enum SourceClient {
    Dns(DnsList),
    Browsing(Browsing),
    /// The source cannot be asked, for this reason.
    Unable(String),
}

/// A question that a source did not answer.
#[derive(Debug)]
pub(super) struct SourceFailure {
    /// In words; never with a key.
    pub(super) why: String,
    /// How long the source wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl SourceFailure {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            wait: None,
        }
    }
}

/// A question to a source.
pub(super) enum SourceQuery {
    /// A name, with that of the zone. It may hold a key.
    Name(Arc<str>),
    /// A URL, whole or in hashes.
    Url(Arc<Canonical>),
}

impl fmt::Debug for Remote {
    /// Without questions: names of a zone may hold its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("source", &self.source)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl SourceQuery {
    /// The text that tells a question from others to the same source.
    fn text(&self) -> Arc<str> {
        match self {
            Self::Name(name) => Arc::clone(name),
            Self::Url(url) => url.as_str().into(),
        }
    }
}

impl Remote {
    pub(super) fn new(
        source: Arc<Source>,
        client: SourceClient,
        counts: Arc<SourceCounts>,
        questions: Handle,
    ) -> Arc<Self> {
        counts.set_health(SourceHealth::Up);
        Arc::new(Self {
            source,
            client,
            counts,
            breaker: Breaker::default(),
            slots: Semaphore::new(AT_A_TIME),
            under_way: Mutex::default(),
            in_doubt: AtomicBool::new(false),
            questions,
        })
    }

    /// The evidence of the source by `until`; none when it cannot know such a target.
    pub(super) async fn evidence(self: Arc<Self>, target: &Target, until: Instant) -> Vec<Evidence> {
        let Some(question) = self.client.question(target) else {
            return Vec::new();
        };
        let answer = match self.client.known(&question, Instant::now()) {
            Some(listings) => Ok(listings),
            None => self.answer(question, until).await,
        };
        let evidence = |finding| Evidence {
            source: self.source.name.to_string().into(),
            about: target.as_str().to_owned(),
            finding,
        };
        match answer {
            Ok(listings) if listings.is_empty() => {
                self.counts.answered(SourceAnswer::NotListed);
                vec![evidence(Finding::NotListed)]
            }
            Ok(listings) => {
                self.counts.answered(SourceAnswer::Listed);
                let listings = listings.into_iter().map(|l| self.source.judged(l));
                listings.map(|l| evidence(Finding::Listed(l))).collect()
            }
            Err(why) => {
                self.counts.answered(SourceAnswer::CouldNotAsk);
                vec![evidence(Finding::CouldNotAsk(why))]
            }
        }
    }

    /// Asks, unless the breaker is open. A question that is under way already is not asked again, and goes on when the client
    /// has gone: the next one may need its answer.
    async fn answer(self: &Arc<Self>, question: SourceQuery, until: Instant) -> Result<Vec<Listing>, String> {
        let mut answer = self.asked(question).ok_or("it did not answer lately")?;
        let said = tokio::time::timeout_at(until.into(), answer.wait_for(Option::is_some)).await;
        match said {
            Ok(Ok(said)) => said.clone().unwrap_or_else(|| Err(INTERNAL.to_owned())),
            Ok(Err(_)) => Err(INTERNAL.to_owned()),
            Err(_) => Err("it did not answer in time".to_owned()),
        }
    }

    /// The pending answer of a question; `None` when the breaker is open and no reader should wait.
    fn asked(self: &Arc<Self>, question: SourceQuery) -> Option<watch::Receiver<Option<QueryResult>>> {
        let mut under_way = self.under_way();
        let key = question.text();
        if let Some(answer) = under_way.get(&key) {
            return Some(answer.clone());
        }
        // SourceAnswer a moment ago: what is answered is remembered first, and no longer under way after that.
        if let Some(listings) = self.client.known(&question, Instant::now()) {
            return Some(watch::channel(Some(Ok(listings))).1);
        }
        let leave = self.breaker.leave(Instant::now());
        if leave == Permission::Not {
            return None;
        }
        let (tell, answer) = watch::channel(None);
        let this = Arc::clone(self);
        if leave == Permission::Probe {
            self.questions.spawn(async move { this.ask(&question).await });
            return None;
        }
        under_way.insert(Arc::clone(&key), answer.clone());
        self.questions.spawn(async move {
            // Also when there is a panic on the way: then the sender is gone, and those who wait learn that.
            let settled = UnderWayEntry { remote: &this, key };
            let said = this.ask(&question).await;
            drop(settled);
            tell.send_replace(Some(said));
            this.resolve_doubt(&question).await;
        });
        Some(answer)
    }

    /// Asks again after a failure until there is an answer or the breaker opens: one lost answer says little, and what it
    /// says in the end must not cost the next readers the same wait again.
    async fn resolve_doubt(&self, question: &SourceQuery) {
        if !self.breaker.is_in_doubt() || self.in_doubt.swap(true, Ordering::AcqRel) {
            return;
        }
        // Also when there is a panic on the way.
        let _over = FlagGuard(&self.in_doubt);
        while self.breaker.is_in_doubt() {
            tokio::time::sleep(AGAIN).await;
            let _ = self.ask(question).await;
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock()
    }

    async fn ask(&self, question: &SourceQuery) -> Result<Vec<Listing>, String> {
        // Never closed.
        let Ok(_slot) = self.slots.acquire().await else {
            return Err(INTERNAL.to_owned());
        };
        match self.client.ask(question).await {
            Ok(listings) => {
                if self.breaker.succeeded() {
                    info!(target: "linkgate::lists", source = &*self.source.name, "it answers again");
                }
                self.counts.set_health(SourceHealth::Up);
                Ok(listings)
            }
            Err(failed) => {
                let why = failed.why;
                let name = &*self.source.name;
                if self.breaker.failed(Instant::now(), failed.wait) {
                    self.counts.set_health(SourceHealth::Open);
                    warn!(target: "linkgate::lists", source = name, why, "it is left alone for a while: clicks go on without it");
                } else {
                    if !self.counts.is(SourceHealth::Open) {
                        self.counts.set_health(SourceHealth::Failing);
                    }
                    if let Some(left_out) = self.counts.log.admit() {
                        info!(target: "linkgate::lists", source = name, why, left_out, "could not be asked");
                    }
                }
                Err(why)
            }
        }
    }
}

impl SourceClient {
    fn question(&self, target: &Target) -> Option<SourceQuery> {
        match self {
            Self::Dns(list) => list.question(target).map(SourceQuery::Name),
            Self::Browsing(_) | Self::Unable(_) => Canonical::of(target.as_str().as_bytes())
                .ok()
                .map(|url| SourceQuery::Url(Arc::new(url))),
        }
    }

    /// The answer that is known from before.
    fn known(&self, question: &SourceQuery, now: Instant) -> Option<Vec<Listing>> {
        match (self, question) {
            (Self::Dns(list), SourceQuery::Name(name)) => list.known(name, now),
            (Self::Browsing(browsing), SourceQuery::Url(url)) => browsing.known(url, now),
            _ => None,
        }
    }

    async fn ask(&self, question: &SourceQuery) -> Result<Vec<Listing>, SourceFailure> {
        match (self, question) {
            (Self::Dns(list), SourceQuery::Name(name)) => list.ask(name).await,
            (Self::Browsing(browsing), SourceQuery::Url(url)) => browsing.ask(url).await,
            (Self::Unable(why), _) => Err(SourceFailure::new(why.clone())),
            _ => Err(SourceFailure::new(INTERNAL)),
        }
    }
}
