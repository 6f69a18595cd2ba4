//! Lists in memory: the copies of all sources, and the one table that they are looked up in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use link::{Evidence, Finding, Target};
use lists::{Canonical, HashKey, ListCopy, ListTable};
use tokio::sync::watch;

use crate::metrics::{Answered, SourceCounts};
use crate::settings::Source;

/// What all lists say, to be looked up while they change.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) key: HashKey,
    /// Held for as long as it takes to clone or replace the pointer.
    current: RwLock<Arc<Snapshot>>,
    /// Held while a table is built: one at a time, and in order.
    copies: Mutex<Copies>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Copies {
    /// In the order of the configuration.
    sources: Vec<(Arc<Source>, Arc<SourceCounts>)>,
    by_name: HashMap<Arc<str>, Arc<ListCopy>>,
}

/// All lists at one moment.
#[derive(Debug)]
struct Snapshot {
    table: ListTable,
    /// By the numbers that the table knows them by.
    sources: Vec<InForce>,
    /// Lists of which there is no copy.
    missing: Vec<(Arc<Source>, Arc<SourceCounts>)>,
}

#[derive(Debug)]
struct InForce {
    source: Arc<Source>,
    counts: Arc<SourceCounts>,
}

impl Tables {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            key,
            current: RwLock::new(Arc::new(Snapshot {
                table: ListTable::build(&key, 0, &[]),
                sources: Vec::new(),
                missing: Vec::new(),
            })),
            copies: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What the lists say: listings, and who has no copy yet.
    pub(super) fn find(&self, target: &Target) -> Vec<Evidence> {
        let now = self.current();
        if now.sources.is_empty() && now.missing.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut add = |source: &Source, finding| {
            found.push(Evidence {
                source: source.name.to_string().into(),
                about: target.as_str().to_owned(),
                finding,
            });
        };
        for (source, counts) in &now.missing {
            counts.answered(Answered::CouldNotAsk);
            add(
                source,
                Finding::CouldNotAsk("there is no copy of the list yet".to_owned()),
            );
        }
        let url = match Canonical::of(target.as_str().as_bytes()) {
            Ok(url) => url,
            Err(e) => {
                for list in &now.sources {
                    list.counts.answered(Answered::CouldNotAsk);
                    add(&list.source, Finding::CouldNotAsk(e.to_string()));
                }
                return found;
            }
        };
        let hits = now.table.find(&url);
        for (number, list) in now.sources.iter().enumerate() {
            let mut own = hits.iter().filter(|hit| usize::from(hit.source) == number).peekable();
            list.counts.answered(if own.peek().is_some() {
                Answered::Listed
            } else {
                Answered::NotListed
            });
            let mut said = Vec::new();
            for hit in own {
                let listing = list.source.judged(hit.listing);
                // A host with several entries of one kind is named once.
                if !said.contains(&listing) {
                    said.push(listing);
                    add(&list.source, Finding::Listed(listing));
                }
            }
        }
        found
    }

    /// Only these lists are in use from now on; those that were and stay keep their copies. Builds a table.
    pub(super) fn set_sources(&self, sources: &[(Arc<Source>, Arc<SourceCounts>)]) {
        let mut copies = self.copies();
        let same = |((a, _), (b, _)): (&(Arc<Source>, _), &(Arc<Source>, _))| a == b;
        if copies.sources.len() == sources.len() && copies.sources.iter().zip(sources).all(same) {
            return;
        }
        let names: Vec<_> = sources.iter().map(|(s, _)| Arc::clone(&s.name)).collect();
        copies.by_name.retain(|name, _| names.contains(name));
        copies.sources = sources.to_vec();
        self.swap(&copies);
    }

    /// Another copy of a list is in force from now on, unless the list is not in use any more. Builds a table, which takes
    /// as long as the lists are.
    pub(super) fn put(&self, source: &Arc<Source>, copy: Arc<ListCopy>) {
        let mut copies = self.copies();
        let Some((_, counts)) = copies.sources.iter().find(|(s, _)| s == source) else {
            return;
        };
        counts.set_entries(copy.len());
        copies.by_name.insert(Arc::clone(&source.name), copy);
        self.swap(&copies);
    }

    pub(super) fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn swap(&self, copies: &Copies) {
        let generation = self.generation() + 1;
        let mut sources = Vec::new();
        let mut missing = Vec::new();
        let mut numbered = Vec::new();
        for (source, counts) in &copies.sources {
            let number = u16::try_from(sources.len());
            if let (Some(copy), Ok(number)) = (copies.by_name.get(&source.name), number) {
                numbered.push((number, &**copy));
                sources.push(InForce {
                    source: Arc::clone(source),
                    counts: Arc::clone(counts),
                });
            } else {
                missing.push((Arc::clone(source), Arc::clone(counts)));
            }
        }
        let next = Arc::new(Snapshot {
            table: ListTable::build(&self.key, generation, &numbered),
            sources,
            missing,
        });
        let before = std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), next);
        // Freed here, not by a click that happens to be the last to hold it, unless there is one.
        drop(before);
        self.changes.send_replace(generation);
    }

    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
