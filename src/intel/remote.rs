//! Sources that are asked over the network about each URL: all at once, each with its breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Evidence, Finding, Listing, Target};
use lists::Canonical;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::breaker::{Breaker, Leave};
use super::browsing::Browsing;
use super::dns::DnsList;
use crate::metrics::{Answered, SourceCounts, SourceHealth};
use crate::settings::Source;

/// Questions to one source that may be under way at a time.
const AT_A_TIME: usize = 64;

/// One source.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) source: Arc<Source>,
    pub(super) asker: Asker,
    pub(super) counts: Arc<SourceCounts>,
    breaker: Breaker,
    slots: Semaphore,
    /// Where they run: connections to a source must outlive whoever asked first.
    questions: Handle,
}

/// How it is asked.
#[derive(Debug)]
pub(super) enum Asker {
    Dns(DnsList),
    Browsing(Browsing),
    /// Not at all: why.
    Unable(String),
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// In words; never with a key.
    pub(super) why: String,
    /// How long the source wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Failed {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            wait: None,
        }
    }
}

/// What is asked.
pub(super) enum Question {
    /// A name, with that of the zone. It may hold a key.
    Name(Arc<str>),
    /// A URL, whole or in hashes.
    Url(Arc<Canonical>),
}

impl Remote {
    pub(super) fn new(source: Arc<Source>, asker: Asker, counts: Arc<SourceCounts>, questions: Handle) -> Arc<Self> {
        counts.set_health(SourceHealth::Up);
        Arc::new(Self {
            source,
            asker,
            counts,
            breaker: Breaker::default(),
            slots: Semaphore::new(AT_A_TIME),
            questions,
        })
    }

    /// What it says by `until`; nothing when it cannot know such a target.
    pub(super) async fn evidence(self: Arc<Self>, target: &Target, until: Instant) -> Vec<Evidence> {
        let Some(question) = self.asker.question(target) else {
            return Vec::new();
        };
        let answer = match self.asker.known(&question, Instant::now()) {
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
                self.counts.answered(Answered::NotListed);
                vec![evidence(Finding::NotListed)]
            }
            Ok(listings) => {
                self.counts.answered(Answered::Listed);
                let listings = listings.into_iter().map(|l| self.source.judged(l));
                listings.map(|l| evidence(Finding::Listed(l))).collect()
            }
            Err(why) => {
                self.counts.answered(Answered::CouldNotAsk);
                vec![evidence(Finding::CouldNotAsk(why))]
            }
        }
    }

    /// Asks, unless the breaker is open. The question goes on when the asker has gone: the next one may need its answer.
    async fn answer(self: &Arc<Self>, question: Question, until: Instant) -> Result<Vec<Listing>, String> {
        let leave = self.breaker.leave(Instant::now());
        if leave == Leave::Not {
            return Err("it did not answer lately".to_owned());
        }
        let this = Arc::clone(self);
        let asked = self.questions.spawn(async move { this.ask(&question).await });
        if leave == Leave::Probe {
            return Err("it did not answer lately".to_owned());
        }
        match tokio::time::timeout_at(until.into(), asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("an internal fault".to_owned()),
            Err(_) => Err("it did not answer in time".to_owned()),
        }
    }

    async fn ask(&self, question: &Question) -> Result<Vec<Listing>, String> {
        // Never closed.
        let Ok(_slot) = self.slots.acquire().await else {
            return Err("an internal fault".to_owned());
        };
        match self.asker.ask(question).await {
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

impl Asker {
    fn question(&self, target: &Target) -> Option<Question> {
        match self {
            Self::Dns(list) => list.question(target).map(Question::Name),
            Self::Browsing(_) | Self::Unable(_) => Canonical::of(target.as_str().as_bytes())
                .ok()
                .map(|url| Question::Url(Arc::new(url))),
        }
    }

    /// The answer that is known from before.
    fn known(&self, question: &Question, now: Instant) -> Option<Vec<Listing>> {
        match (self, question) {
            (Self::Dns(list), Question::Name(name)) => list.known(name, now),
            (Self::Browsing(browsing), Question::Url(url)) => browsing.known(url, now),
            _ => None,
        }
    }

    async fn ask(&self, question: &Question) -> Result<Vec<Listing>, Failed> {
        match (self, question) {
            (Self::Dns(list), Question::Name(name)) => list.ask(name).await,
            (Self::Browsing(browsing), Question::Url(url)) => browsing.ask(url).await,
            (Self::Unable(why), _) => Err(Failed::new(why.clone())),
            _ => Err(Failed::new("an internal fault")),
        }
    }
}
