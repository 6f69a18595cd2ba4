//! Labelling stored clicks anew, by today's rules and with what happened around each (`linkgate clicks relabel`).

use std::collections::VecDeque;

use store::{ClickQuery, ClickRow, Label, LabelRow, Store, StoreError};

use crate::click::visitor::{RecentClicks, label};
use crate::config::Machines;

/// Microseconds around a click that say something about who made it.
const AROUND: i64 = 15_000_000;

/// Labels written at a time: a server beside us has rows of its own to write.
const GROUP: usize = 500;

/// Mails whose clicks are remembered at a time.
const MAX_MAILS: usize = 65_536;

/// How many clicks are by whom. Neither number is ever shown without the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// By people or likely people.
    pub people: u64,
    /// By machines or likely machines.
    pub machines: u64,
    /// By visitors of whom that cannot be told.
    pub unknown: u64,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, label: Label) {
        if label.is_person() {
            self.people += 1;
        } else if label.is_machine() {
            self.machines += 1;
        } else {
            self.unknown += 1;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            people,
            machines,
            unknown,
        } = self;
        write!(
            f,
            "{people} by people or likely people, {machines} set aside as machines, {unknown} unknown"
        )
    }
}

/// How many clicks were labelled anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relabelled {
    /// Clicks that were looked at.
    pub seen: u64,
    /// Those whose label, reasons or version of the rules are others now.
    pub changed: u64,
}

/// Gives each click since `since_us` the label that it has by today's rules. Raw facts stay as they are; a second run
/// changes nothing.
///
/// # Errors
/// The store cannot be read or written to. Some labels have been written until then.
pub fn relabel(store: &Store, machines: &Machines, since_us: Option<i64>) -> Result<Relabelled, StoreError> {
    let query = ClickQuery {
        // Those just before say something about the first ones.
        since_us: since_us.map(|since| since.saturating_sub(AROUND)),
        ..ClickQuery::default()
    };
    let mut work = Relabelling {
        store,
        machines,
        since_us: since_us.unwrap_or(i64::MIN),
        recent: RecentClicks::new(MAX_MAILS),
        waiting: VecDeque::new(),
        labels: Vec::new(),
        done: Relabelled::default(),
    };
    for click in store.clicks(&query) {
        let click = click?;
        // All that can say something about these has been read.
        work.label_before(Some(click.at_us.saturating_sub(AROUND)))?;
        work.recent.add(&click);
        work.waiting.push_back(click);
    }
    work.label_before(None)?;
    work.write()?;
    Ok(work.done)
}

struct Relabelling<'a> {
    store: &'a Store,
    machines: &'a Machines,
    since_us: i64,
    recent: RecentClicks,
    /// Clicks about which later ones may say something.
    waiting: VecDeque<ClickRow>,
    labels: Vec<LabelRow>,
    done: Relabelled,
}

impl Relabelling<'_> {
    /// Judges what waits and came in before `at_us`; all of it without.
    fn label_before(&mut self, at_us: Option<i64>) -> Result<(), StoreError> {
        let due = |click: &mut ClickRow| at_us.is_none_or(|at_us| click.at_us < at_us);
        while let Some(click) = self.waiting.pop_front_if(due) {
            if click.at_us < self.since_us {
                continue;
            }
            self.done.seen += 1;
            let label = label(&click, self.recent.neighbours(&click), self.machines);
            self.labels.extend(label.relabel(&click));
            if self.labels.len() >= GROUP {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let labels = std::mem::take(&mut self.labels);
        let count = labels.len() as u64;
        self.store.relabel(labels).wait()?;
        self.done.changed += count;
        Ok(())
    }
}
