//! Lists in memory: the copies of all sources, and the one table that they are looked up in.

use std::sync::Arc;

use link::{Evidence, Finding, Target};
use lists::{Canonical, HashKey, ListCopy, ListTable};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use crate::config::Source;
use crate::metrics::{SourceAnswer, SourceCounts};

/// All lists in one table, to be looked up while lists change.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) key: HashKey,
    /// Held for as long as it takes to clone or replace the pointer.
    current: RwLock<Arc<Snapshot>>,
    /// Held while a table is built: one at a time, and in order.
    building: Mutex<()>,
    changes: watch::Sender<u64>,
}

/// All lists at one moment.
#[derive(Debug)]
struct Snapshot {
    table: Arc<ListTable>,
    /// In the order of the configuration.
    lists: Vec<TableList>,
}

/// A list in use.
#[derive(Debug, Clone)]
struct TableList {
    source: Arc<Source>,
    counts: Arc<SourceCounts>,
    /// Its number in the table, for as long as it is in use.
    number: u16,
    /// Whether there is a copy of it in the table.
    in_force: bool,
}

impl Tables {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            current: RwLock::new(Arc::new(Snapshot {
                table: Arc::new(ListTable::build(&key, 0, &[])),
                lists: Vec::new(),
            })),
            building: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Looks a target up: its listings, and lists of which there is no copy yet.
    pub(crate) fn find(&self, target: &Target) -> Vec<Evidence> {
        let now = self.current();
        if now.lists.is_empty() {
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
        let url = Canonical::of(target.as_str().as_bytes());
        let hits = url.as_ref().map(|url| now.table.find(url));
        for list in &now.lists {
            let hits = match &hits {
                Ok(hits) if list.in_force => hits,
                other => {
                    list.counts.answered(SourceAnswer::CouldNotAsk);
                    let why = match other {
                        Err(e) => e.to_string(),
                        Ok(_) => "there is no copy of the list yet".to_owned(),
                    };
                    add(&list.source, Finding::CouldNotAsk(why));
                    continue;
                }
            };
            let mut said = Vec::new();
            for hit in hits.iter().filter(|hit| hit.source == list.number) {
                let listing = list.source.judged(hit.listing);
                // What several entries say alike is said once.
                if !said.contains(&listing) {
                    said.push(listing);
                    add(&list.source, Finding::Listed(listing));
                }
            }
            list.counts.answered(if said.is_empty() {
                SourceAnswer::NotListed
            } else {
                SourceAnswer::Listed
            });
        }
        found
    }

    /// Only these lists are in use from now on. Those that were before, by their names, keep the copy that is in force.
    pub(crate) fn set_sources(&self, sources: &[(Arc<Source>, Arc<SourceCounts>)]) {
        let _one_at_a_time = self.building();
        let before = self.current();
        let same = |(list, (source, _)): (&TableList, &(Arc<Source>, _))| list.source == *source;
        if before.lists.len() == sources.len() && before.lists.iter().zip(sources).all(same) {
            return;
        }
        let mut lists: Vec<TableList> = Vec::with_capacity(sources.len());
        for (source, counts) in sources {
            let known = before.lists.iter().find(|l| l.source.name == source.name);
            let taken = |n: &u16| before.lists.iter().chain(&lists).any(|l| l.number == *n);
            let free = (0..=u16::MAX).find(|n| !taken(n));
            let Some(number) = known.map(|l| l.number).or(free) else {
                continue;
            };
            lists.push(TableList {
                source: Arc::clone(source),
                counts: Arc::clone(counts),
                number,
                in_force: known.is_some_and(|l| l.in_force),
            });
        }
        let generation = self.generation() + 1;
        let stays = |number: u16| lists.iter().any(|l| l.number == number);
        let table = if before.lists.iter().all(|l| !l.in_force || stays(l.number)) {
            Arc::clone(&before.table)
        } else {
            let keep = |number| stays(number).then_some(number);
            Arc::new(before.table.rebuild(generation, keep, &[]))
        };
        self.swap(generation, Snapshot { table, lists });
    }

    /// Another copy of a list is in force from now on, unless the list is not in use any more. Builds a table, which takes
    /// as long as all lists together are.
    pub(crate) fn put(&self, source: &Arc<Source>, copy: &ListCopy) {
        let _one_at_a_time = self.building();
        let before = self.current();
        let mut lists = before.lists.clone();
        let Some(list) = lists.iter_mut().find(|l| l.source == *source) else {
            return;
        };
        list.in_force = true;
        list.counts.set_entries(copy.len());
        let generation = self.generation() + 1;
        let number = list.number;
        let others = |other: u16| (other != number).then_some(other);
        let table = Arc::new(before.table.rebuild(generation, others, &[(number, copy)]));
        self.swap(generation, Snapshot { table, lists });
    }

    pub(crate) fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn swap(&self, generation: u64, next: Snapshot) {
        let next = Arc::new(next);
        let mut current = self.current.write();
        let before = std::mem::replace(&mut *current, next);
        drop(current);
        // Millions of entries are freed here, not by a click, unless one happens to hold them still.
        drop(before);
        self.changes.send_replace(generation);
    }

    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    fn building(&self) -> MutexGuard<'_, ()> {
        self.building.lock()
    }
}
