//! Matching earlier clicks against lists and revocations that have changed: links may turn harmful after delivery.
//!
//! A target that was clean when its readers were let through, and is listed now, raises one alert that says how many people
//! opened it. Lists in memory alone are asked, in the background, page by page; nothing here contacts anyone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::{Evidence, Finding, Listing, Target, Word};
use store::{AlertKind, AlertRow, EventId, LetThrough, Reader, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::click::visitor::relabel::Tally;
use crate::click::visitor::{self, RecentClicks};
use crate::clock::now_us;
use crate::config::{Machines, Settings};
use crate::intel::sources::Sources;
use crate::ledger::Ledger;

/// Time within which changes are matched in one go: lists tend to change together.
const GATHER: Duration = Duration::from_secs(1);

/// Pause between two pages of rows.
const PAUSE: Duration = Duration::from_millis(5);

/// URLs of which it is remembered whether they are listed, in one sweep.
const MAX_URLS: usize = 200_000;

/// Alerts of one sweep; a list that names more than that has gone wrong.
const MAX_ALERTS: usize = 1_000;

/// Clicks that one alert names, and whose label is computed anew with what happened around them.
const MAX_EVENTS: usize = 500;

/// Microseconds around a click that say something about who made it.
const AROUND: i64 = 15_000_000;

/// Matches clicks again whenever what `sources` say changes, and once at the start; ends when the sender of `settings` is gone.
///
/// To be spawned; `[checks] hindsight_h` is read anew each time.
pub async fn watch(settings: watch::Receiver<Arc<Settings>>, ledger: Ledger, sources: Arc<dyn Sources>) {
    let (send, mut changed) = tokio::sync::mpsc::channel(1);
    let mut watching = JoinSet::new();
    for mut changes in sources.changes() {
        let send = send.clone();
        watching.spawn(async move {
            while changes.changed().await.is_ok() {
                // No room: a sweep is due already.
                let _ = send.try_send(());
            }
        });
    }
    drop(send);
    let mut ended = settings.clone();
    let mut ended = std::pin::pin!(async move { while ended.changed().await.is_ok() {} });
    let mut alerted = LastAlerted::default();
    loop {
        let snapshot = Arc::clone(&settings.borrow());
        let (ledger, sources) = (ledger.clone(), Arc::clone(&sources));
        let sweep = tokio::task::spawn_blocking(move || {
            let done = sweep(&ledger, &*sources, &snapshot, now_us(), &mut alerted);
            (alerted, done)
        });
        alerted = match sweep.await {
            Ok((alerted, Ok(raised))) => {
                debug!(target: "linkgate::click", raised, "clicks were matched against the lists again");
                alerted
            }
            Ok((alerted, Err(e))) => {
                warn!(target: "linkgate::click", error = %e, "clicks cannot be matched against the lists again for now");
                alerted
            }
            Err(e) => {
                error!(target: "linkgate::click", cause = %e, "clicks were not matched against the lists again");
                LastAlerted::default()
            }
        };
        tokio::select! {
            next = changed.recv() => if next.is_none() { return },
            () = &mut ended => return,
        }
        tokio::time::sleep(GATHER).await;
        let _ = changed.try_recv();
    }
}

/// The last click that an alert spoke of, by target. The store knows it too, once it has written the alert.
#[derive(Debug, Default)]
struct LastAlerted(HashMap<String, i64>);

/// Clicks on a target that was listed after them.
#[derive(Debug)]
struct LateListed {
    source: String,
    listing: Listing,
    about: String,
    events: Vec<LetThrough>,
    tally: Tally,
    first_us: i64,
    last_us: i64,
}

/// Matches the clicks of the window against what `sources` say now; gives the number of alerts raised.
fn sweep(
    ledger: &Ledger,
    sources: &dyn Sources,
    settings: &Settings,
    now_us: i64,
    alerted: &mut LastAlerted,
) -> Result<usize, StoreError> {
    let window = i64::try_from(settings.hindsight.window.as_micros()).unwrap_or(i64::MAX);
    if window == 0 {
        return Ok(0);
    }
    let reader = ledger.store().reader();
    let from = now_us.saturating_sub(window);
    alerted.0.retain(|_, last| *last >= from);
    let mut lookups = ListLookups {
        sources,
        by_url: HashMap::new(),
    };
    let mut late: HashMap<String, LateListed> = HashMap::new();
    let mut last = (from, i64::MIN);
    loop {
        let page = reader.let_through(last)?;
        let Some(end) = page.last() else { break };
        last = (end.at_us, end.id);
        for click in page {
            let mut urls = std::iter::once(&click.url).chain(&click.chain);
            let Some(finding) = urls.find_map(|url| {
                let found = lookups.find(url);
                found.iter().find(|e| is_new_to_reader(e, &click)).cloned()
            }) else {
                continue;
            };
            let last_alerted = match alerted.0.get(&click.url) {
                Some(at_us) => Some(*at_us),
                None => reader.last_alerted(AlertKind::LateListing, &click.url)?,
            };
            if last_alerted.is_some_and(|at_us| click.at_us <= at_us)
                || (late.len() >= MAX_ALERTS && !late.contains_key(&click.url))
            {
                continue;
            }
            let Finding::Listed(listing) = finding.finding else {
                continue;
            };
            late.entry(click.url.clone())
                .or_insert_with(|| LateListed {
                    source: finding.source.clone().into_owned(),
                    listing,
                    about: finding.about.clone(),
                    events: Vec::new(),
                    tally: Tally::default(),
                    first_us: click.at_us,
                    last_us: click.at_us,
                })
                .add(click);
        }
        std::thread::sleep(PAUSE);
    }
    let mut raised = 0;
    for (url, mut late) in late {
        late.count(reader, &settings.machines)?;
        // What only machines opened harmed nobody. Should a person have been behind one, the next sweep finds that.
        if late.tally.people + late.tally.unknown > 0 {
            alerted.0.insert(url.clone(), late.last_us);
            ledger.alert(late.alert(url, now_us));
            raised += 1;
        }
    }
    Ok(raised)
}

/// Listings of URLs, each looked up once in a sweep.
struct ListLookups<'a> {
    sources: &'a dyn Sources,
    by_url: HashMap<String, Arc<[Evidence]>>,
}

impl ListLookups<'_> {
    fn find(&mut self, url: &str) -> Arc<[Evidence]> {
        if let Some(found) = self.by_url.get(url) {
            return Arc::clone(found);
        }
        if self.by_url.len() >= MAX_URLS {
            self.by_url.clear();
        }
        let mut found = Vec::new();
        if let Ok(target) = Target::parse(url) {
            found = self.sources.local(&target);
            found.retain(|e| matches!(e.finding, Finding::Listed(_)));
        }
        let found: Arc<[Evidence]> = found.into();
        self.by_url.insert(url.to_owned(), Arc::clone(&found));
        found
    }
}

/// Whether a listing was not known at the click: the source did not name the URL then, and no rule of the operator let it
/// pass.
fn is_new_to_reader(evidence: &Evidence, click: &LetThrough) -> bool {
    let Finding::Listed(listing) = evidence.finding else {
        return false;
    };
    let was_known = |r: &store::Reason| {
        r.code == "bypassed" || (r.source == evidence.source && r.code == listing.category.as_str())
    };
    !click.reasons.iter().any(was_known)
}

impl LateListed {
    fn add(&mut self, click: LetThrough) {
        self.first_us = self.first_us.min(click.at_us);
        self.last_us = self.last_us.max(click.at_us);
        // Labels of older clicks are taken as they are; the newest are looked at again.
        if self.events.len() >= MAX_EVENTS {
            let oldest = self.events.remove(0);
            self.tally.add(oldest.label);
        }
        self.events.push(click);
    }

    /// Counts people and machines, by today's rules and with what happened around each click, also after it.
    fn count(&mut self, reader: &Reader, machines: &Machines) -> Result<(), StoreError> {
        for click in &self.events {
            let (from, to) = (click.at_us.saturating_sub(AROUND), click.at_us.saturating_add(AROUND));
            let rows = reader.clicks_of_mail(&click.mail_id, from, to, 256)?;
            let mut recent = RecentClicks::new(rows.len().max(1));
            rows.iter().for_each(|row| recent.add(row));
            let own = rows.iter().find(|row| row.event_id == click.event_id);
            let label = own.map_or(click.label, |row| {
                visitor::label(row, recent.neighbours(row), machines).label
            });
            self.tally.add(label);
        }
        Ok(())
    }

    fn alert(self, url: String, at_us: i64) -> AlertRow {
        let on_the_way = match self.about == url {
            true => String::new(),
            false => format!(", on the way: {}", self.about),
        };
        let (category, scope) = (self.listing.category.as_str(), self.listing.scope.as_str());
        AlertRow {
            kind: AlertKind::LateListing,
            url,
            detail: format!("{category} ({scope}){on_the_way}"),
            source: self.source,
            at_us,
            first_click_us: self.first_us,
            last_click_us: self.last_us,
            people: self.tally.people,
            machines: self.tally.machines,
            unknown: self.tally.unknown,
            events: self.events.iter().map(|e| e.event_id).collect::<Vec<EventId>>(),
        }
    }
}

#[cfg(test)]
mod tests;
