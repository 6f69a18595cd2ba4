//! Everything that can be asked about a URL, behind the one trait of [`sources`].
//!
//! Lists in memory ([`Intel::local`], `lists`) never wait; lists that are asked by DNS, Safe Browsing and Web Risk
//! ([`Intel::remote`], `remote`) are asked all at once; [`follow`] asks targets themselves; [`revoked`] holds the operator's
//! revocations, [`new_domains`] the domains seen so far. `kinds` says what differs between kinds of sources.
//!
//! Lists are fetched, read and put in force on a thread of their own: neither a feed that hangs nor a list of a million lines
//! is felt by mail or clicks.

pub mod follow;
mod kinds;
mod lists;
pub mod new_domains;
mod remote;
pub mod revoked;
pub(crate) mod smuggling;
pub mod sources;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ::lists::{HashKey, Protected};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use link::{Evidence, Target};
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use self::remote::{Remote, SourceClient};
use crate::config::{Origin, Settings, Source, SourceKind};
use crate::intel::lists::disk::CopyStore;
use crate::intel::lists::fetch::Fetcher;
pub(crate) use crate::intel::lists::offline::{OfflineAnswer, ask as ask_offline};
use crate::intel::lists::refresh::List;
use crate::intel::lists::tables::Tables;
use crate::intel::remote::dns::DnsList;
use crate::intel::remote::google::Browsing;
use crate::metrics::{Metrics, SourceCounts, SourceHealth};

/// All `[[source]]` of the configuration, loaded and kept fresh by tasks of their own.
#[derive(Debug)]
pub struct Intel {
    tables: Arc<Tables>,
    remotes: Arc<RwLock<Arc<[Arc<Remote>]>>>,
}

impl Intel {
    /// Starts the tasks that load lists and refresh them, and that take up new settings; must be called within a runtime,
    /// in which everyone else is asked. They end with the sender of `settings`.
    ///
    /// Lists that were kept from an earlier run are in force shortly after; until then they count as lists that could
    /// not be asked.
    #[must_use]
    pub fn start(settings: watch::Receiver<Arc<Settings>>, metrics: &Arc<Metrics>) -> Arc<Self> {
        let mut key = [0; 16];
        if SystemRandom::new().fill(&mut key).is_err() {
            // Lists can be looked up all the same; only hash collisions can be made then.
            error!(target: "linkgate::lists", "the system gives no randomness");
        }
        let tables = Arc::new(Tables::new(HashKey::new(key)));
        let remotes = Arc::new(RwLock::new(Arc::from([])));
        let mut upkeep = Upkeep {
            tables: Arc::clone(&tables),
            remotes: Arc::clone(&remotes),
            metrics: Arc::clone(metrics),
            questions: Handle::current(),
            base: None,
            pending: Vec::new(),
            running: HashMap::new(),
            off: HashSet::new(),
            poke: watch::Sender::new(0),
        };
        let mut watched = settings;
        let first = Arc::clone(&watched.borrow_and_update());
        upkeep.take_up(&first);
        let thread = std::thread::Builder::new().name("linkgate-lists".to_owned());
        let started = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(2)
                .thread_name("linkgate-lists")
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(upkeep.run(watched)),
                Err(e) => error!(target: "linkgate::lists", cause = %e, "no list will be loaded"),
            }
        });
        if let Err(e) = started {
            error!(target: "linkgate::lists", cause = %e, "no list will be loaded");
        }
        Arc::new(Self { tables, remotes })
    }

    /// Listings of a target in memory, and lists that could not be asked because there is no copy of them yet.
    #[must_use]
    pub fn local(&self, target: &Target) -> Vec<Evidence> {
        self.tables.find(target)
    }

    /// The answers of sources that are asked over the network, all of them at once. One that has not answered by `until` could
    /// not be asked. Lists of domains say nothing about targets whose host is an address.
    pub async fn remote(&self, target: &Target, until: Instant) -> Vec<Evidence> {
        let remotes = self.remotes();
        let asked = remotes.iter().map(|r| Arc::clone(r).evidence(target, until));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether any source is asked over the network.
    #[must_use]
    pub fn has_remote(&self) -> bool {
        !self.remotes().is_empty()
    }

    /// Whether a source of this name is one of Google's, whose warnings have to say so.
    #[must_use]
    pub fn is_google(&self, source: &str) -> bool {
        let google = |kind| matches!(kind, SourceKind::SafeBrowsing | SourceKind::WebRisk);
        self.remotes()
            .iter()
            .any(|r| *r.source.name == *source && google(r.source.kind))
    }

    /// A number that grows when the answers of [`Intel::local`] may have changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.tables.generation()
    }

    /// The generation, to wait for the next one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.tables.changes()
    }

    fn remotes(&self) -> Arc<[Arc<Remote>]> {
        Arc::clone(&self.remotes.read())
    }
}

/// Settings that all sources share; when they change, all sources begin anew.
#[derive(Debug, Clone, PartialEq)]
struct SourceSetup {
    dns_servers: Vec<SocketAddr>,
    contact: String,
    lists_dir: PathBuf,
    protected: Arc<Protected>,
}

/// Brings what is running in line with the settings.
struct Upkeep {
    tables: Arc<Tables>,
    remotes: Arc<RwLock<Arc<[Arc<Remote>]>>>,
    metrics: Arc<Metrics>,
    /// Where questions run.
    questions: Handle,
    base: Option<SourceSetup>,
    /// Lists to be started.
    pending: Vec<List>,
    /// Lists that are followed, by name.
    running: HashMap<Arc<str>, (Arc<Source>, AbortHandle)>,
    /// Names of sources that are off, and reported as such.
    off: HashSet<Arc<str>>,
    poke: watch::Sender<u64>,
}

impl Upkeep {
    async fn run(mut self, mut settings: watch::Receiver<Arc<Settings>>) {
        loop {
            for list in std::mem::take(&mut self.pending) {
                let source = Arc::clone(&list.source);
                let task = tokio::spawn(list.run(self.poke.subscribe()));
                self.running
                    .insert(Arc::clone(&source.name), (source, task.abort_handle()));
            }
            if settings.changed().await.is_err() {
                return;
            }
            let new = Arc::clone(&settings.borrow_and_update());
            self.take_up(&new);
            // A list may have been written just before the reload.
            self.poke.send_modify(|n| *n += 1);
        }
    }

    /// Takes up settings: what is new is started or waits to be, what is no more ends, what is the same goes on.
    fn take_up(&mut self, settings: &Settings) {
        let base = setup_of(settings);
        let anew = self.base.as_ref() != Some(&base);
        let names: Vec<&str> = settings.checks.sources.iter().map(|s| &*s.name).collect();
        self.metrics.set_sources(&names);

        let mut lists: Vec<(Arc<Source>, Arc<SourceCounts>)> = Vec::new();
        let mut remotes: Vec<Arc<Remote>> = Vec::new();
        let mut off = HashSet::new();
        let before = Arc::clone(&self.remotes.read());
        // Built when first needed.
        let (mut for_lists, mut for_services, mut for_feeds) = (None, None, None);
        for source in &settings.checks.sources {
            let counts = self.metrics.source(&source.name);
            if let Some(why) = source.refused_for(settings.checks.usage) {
                counts.set_health(SourceHealth::Off);
                counts.set_entries(0);
                if !self.off.contains(&source.name) {
                    warn!(target: "linkgate::lists", source = &*source.name, why, "this source is off");
                }
                off.insert(Arc::clone(&source.name));
                continue;
            }
            if kinds::list(source.kind).is_some() {
                lists.push((Arc::clone(source), counts));
                continue;
            }
            let same = before.iter().find(|r| !anew && r.source == *source);
            remotes.push(same.cloned().unwrap_or_else(|| {
                let client = source_client(source, &base, &mut for_lists, &mut for_services);
                Remote::new(Arc::clone(source), client, counts, self.questions.clone())
            }));
        }
        self.running.retain(|_, (source, task)| {
            let stays = !anew && lists.iter().any(|(s, _)| s == source);
            if !stays {
                task.abort();
            }
            stays
        });
        self.off = off;
        self.tables.set_sources(&lists);
        let new = lists.into_iter().filter(|(s, _)| !self.running.contains_key(&s.name));
        self.pending = new
            .filter_map(|(s, counts)| list(s, counts, &base, &self.tables, &mut for_feeds))
            .collect();
        let (of_lists, asked) = (self.running.len() + self.pending.len(), remotes.len());
        if anew && of_lists + asked > 0 {
            info!(target: "linkgate::lists", lists = of_lists, asked, "sources");
        }
        *self.remotes.write() = remotes.into();
        self.base = Some(base);
    }
}

fn setup_of(settings: &Settings) -> SourceSetup {
    let checks = &settings.checks;
    let mut protected = Protected::default();
    for name in &checks.protected {
        protected.add_domain(name);
    }
    // Our own: on a list they would turn our readers away from us.
    for (name, _) in settings.domains.iter() {
        protected.add_domain(name);
    }
    if let Ok(public) = Target::parse(settings.click.base.as_str()) {
        protected.add_host(public.host());
    }
    SourceSetup {
        dns_servers: checks.dns_servers.clone(),
        contact: checks.list_contact.clone(),
        lists_dir: checks.lists_dir.clone(),
        protected: Arc::new(protected),
    }
}

type Resolver = Result<Arc<TokioResolver>, String>;

fn source_client(
    source: &Arc<Source>,
    base: &SourceSetup,
    lists: &mut Option<Resolver>,
    feeds: &mut Option<Resolver>,
) -> SourceClient {
    match source.kind {
        SourceKind::Dns(kind) => {
            let resolver = lists.get_or_insert_with(|| remote::dns::resolver(&base.dns_servers, false));
            SourceClient::Dns(DnsList::new(source, kind, resolver))
        }
        _ => {
            let resolver = feeds.get_or_insert_with(|| remote::dns::resolver(&base.dns_servers, true));
            let browsing = resolver
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|resolver| Browsing::new(source, resolver, &base.contact));
            browsing.map_or_else(SourceClient::Unable, SourceClient::Browsing)
        }
    }
}

/// The list of a source; `None` for a source that is none.
fn list(
    source: Arc<Source>,
    counts: Arc<SourceCounts>,
    base: &SourceSetup,
    tables: &Arc<Tables>,
    resolver: &mut Option<Resolver>,
) -> Option<List> {
    let kind = kinds::list(source.kind)?;
    let fetcher = matches!(source.from, Origin::Url(_)).then(|| {
        let resolver = resolver.get_or_insert_with(|| remote::dns::resolver(&base.dns_servers, true));
        Fetcher::new(
            Arc::clone(&source),
            resolver.as_ref().map_err(Clone::clone)?,
            &base.contact,
        )
    });
    Some(List {
        source,
        kind,
        counts,
        tables: Arc::clone(tables),
        keep: CopyStore::new(&base.lists_dir),
        protected: Arc::clone(&base.protected),
        fetcher,
    })
}
