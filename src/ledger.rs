//! Recording clicks, messages and alerts: one handle to the store, and a file beside it for when the store fails.
//!
//! `spill` is that file, `alert_log` logs and counts alerts.
//!
//! A click is worth more than a store that is down: when it cannot be committed in time it goes to a file beside the
//! store, and from there back into the store as soon as that works again. Only when that file fails too is a click lost,
//! and then the log has all of it.

mod alert_log;
mod spill;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use store::{AlertRow, ClickRow, EventId, Health, MessageRow, Notice, ReferenceRow, Store, StoreError};
use tracing::{error, info, warn};

pub use alert_log::AlertCounts;
use alert_log::AlertLog;
use spill::Spill;

/// How long a reader waits for the commit of the click. A healthy store needs a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a store that failed is asked whether it takes back what was put beside it.
const RETRY: Duration = Duration::from_secs(2);

/// The store as the rest of linkgate uses it. Cheap to clone.
///
/// When the last clone goes, what waits in the queue is written first.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    spill: Spill,
    /// A thread is bringing spilled clicks back.
    returning: AtomicBool,
    spilled: AtomicU64,
    lost: AtomicU64,
    alert_log: AlertLog,
}

/// Where a click was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ClickRecorded {
    /// It is in the store.
    Stored,
    /// It is in the file beside the store, and will be in the store.
    Spilled,
    /// It is only in the log.
    Lost,
}

/// Clicks since the start that the store did not take at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnstoredClicks {
    /// Clicks that went to the file beside the store.
    pub spilled: u64,
    /// Clicks that are only in the log.
    pub lost: u64,
}

impl Ledger {
    /// Opens the store at `path`, makes it where there is none, and brings back clicks that an earlier run put beside it.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Store::open_watched(path, log_notice)?;
        let spill = Spill::beside(path);
        let left_over = !spill.is_empty();
        let ledger = Self(Arc::new(Inner {
            store,
            spill,
            returning: AtomicBool::new(false),
            spilled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            alert_log: AlertLog::default(),
        }));
        if left_over {
            ledger.bring_back();
        }
        Ok(ledger)
    }

    /// The store itself, for queries and health.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Clicks that the store did not take at once.
    #[must_use]
    pub fn unstored(&self) -> UnstoredClicks {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        UnstoredClicks {
            spilled: load(&self.0.spilled),
            lost: load(&self.0.lost),
        }
    }

    /// Records a click. It is on disk when this returns, unless it is [`ClickRecorded::Lost`]; takes about a second at worst.
    pub async fn click(&self, row: impl Into<Arc<ClickRow>>) -> ClickRecorded {
        let row = row.into();
        let why = match tokio::time::timeout(PATIENCE, self.0.store.record_click(Arc::clone(&row))).await {
            Ok(Ok(())) => return ClickRecorded::Stored,
            // No use in trying again: this row will never fit.
            Ok(Err(e @ StoreError::Row(_))) => return self.lose(&row, &e.to_string()),
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no commit within {} ms", PATIENCE.as_millis()),
        };
        let inner = Arc::clone(&self.0);
        let spilled = {
            let row = Arc::clone(&row);
            tokio::task::spawn_blocking(move || inner.spill.append(&row)).await
        };
        match spilled {
            Ok(Ok(())) => {
                self.0.spilled.fetch_add(1, Ordering::Relaxed);
                if self.bring_back() {
                    let file = self.0.spill.path().display();
                    warn!(target: "linkgate::store", why, %file, "clicks are put beside the store until it takes them");
                }
                ClickRecorded::Spilled
            }
            Ok(Err(e)) => self.lose(&row, &format!("{why}; and {}: {e}", self.0.spill.path().display())),
            Err(e) => self.lose(&row, &format!("{why}; and {e}")),
        }
    }

    /// Logs an alert and has it recorded. Never waits. False, and nothing is logged or recorded, when the same smuggled URL
    /// raised one within the hour.
    pub fn alert(&self, row: AlertRow) -> bool {
        let news = self.0.alert_log.raise(&row);
        if news {
            // Not waited for: the log has it already, and the store holds it until its disk takes it.
            drop(self.0.store.record_alert(row));
        }
        news
    }

    /// Alerts raised since the start.
    #[must_use]
    pub fn alerts(&self) -> AlertCounts {
        self.0.alert_log.counts()
    }

    /// Records a message some time soon. Never waits.
    pub fn message(&self, row: MessageRow) {
        self.0.store.record_message(row);
    }

    /// Stores targets that click links of a mail refer to. They are on disk when this returns without an error, and only
    /// then may the mail go on.
    ///
    /// # Errors
    /// They are not: the mail has to wait.
    pub async fn store_references(&self, rows: Vec<ReferenceRow>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.0.store.store_references(rows).await
    }

    /// Returns when everything recorded before is on disk; for the end of a run.
    ///
    /// # Errors
    /// It is not, for now.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.store.flush().await
    }

    fn lose(&self, row: &ClickRow, why: &str) -> ClickRecorded {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
        // The log is the last place this click can be found in, so it gets all of it.
        let click = serde_json::to_string(row).unwrap_or_default();
        error!(target: "linkgate::store", click, why, "click not stored");
        ClickRecorded::Lost
    }

    /// Starts the thread that takes spilled clicks back, if it is not at work already. It ends when none is left, or
    /// with the ledger. True when it was not.
    fn bring_back(&self) -> bool {
        if self.0.returning.swap(true, Ordering::AcqRel) {
            return false;
        }
        let inner = Arc::downgrade(&self.0);
        let thread = thread::Builder::new()
            .name("spill".to_owned())
            .spawn(move || bring_back(&inner));
        if let Err(e) = thread {
            self.0.returning.store(false, Ordering::Release);
            warn!(target: "linkgate::store", error = %e, "spilled clicks stay in their file until the next spill or start");
        }
        true
    }
}

/// Makes ids for clicks. Random numbers are taken from the system in stocks, which costs less than a call for each.
#[derive(Debug, Default)]
pub struct EventIds {
    stock: Mutex<Vec<[u8; 10]>>,
}

/// Ids in a stock.
const STOCK: usize = 64;

impl EventIds {
    /// An id for a click at this time: unique, and growing with time so that the store's index stays compact.
    ///
    /// 48 bits of milliseconds, 80 random bits.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn at(&self, at_us: i64) -> Result<EventId, ring::error::Unspecified> {
        let mut stock = self.stock.lock();
        if stock.is_empty() {
            let mut octets = [0; 10 * STOCK];
            SystemRandom::new().fill(&mut octets)?;
            stock.extend(octets.as_chunks().0);
        }
        let tail = stock.pop().ok_or(ring::error::Unspecified)?;
        drop(stock);
        let [_, _, time @ ..] = (at_us / 1000).to_be_bytes();
        let mut id = [0; 16];
        let (head, rest) = id.split_at_mut(time.len());
        head.copy_from_slice(&time);
        rest.copy_from_slice(&tail);
        Ok(EventId(id))
    }
}

fn bring_back(inner: &Weak<Inner>) {
    let mut last_fault = String::new();
    loop {
        let Some(inner) = inner.upgrade() else { return };
        match inner.store.health() {
            Health::Writing => {}
            // What it holds in memory comes first; more would only use up the room there.
            Health::Failing(_) => {
                drop(inner);
                thread::sleep(RETRY);
                continue;
            }
            Health::Dead => return inner.returning.store(false, Ordering::Release),
        }
        let taken = inner.spill.take(
            |rows| {
                let receipts: Vec<_> = rows.into_iter().map(|row| inner.store.record_click(row)).collect();
                receipts.into_iter().try_for_each(|receipt| match receipt.wait() {
                    Err(StoreError::Row(why)) => {
                        warn!(target: "linkgate::store", %why, "spilled click not stored");
                        Ok(())
                    }
                    other => other,
                })
            },
            |line| {
                warn!(target: "linkgate::store", line, "not a click, left out: the file of spilled clicks was cut");
            },
        );
        match taken {
            Ok(count) => {
                if count > 0 {
                    info!(target: "linkgate::store", count, "spilled clicks are in the store now");
                }
                // The flag first, then the look: a click spilled in between starts a thread of its own.
                inner.returning.store(false, Ordering::Release);
                if inner.spill.is_empty() || inner.returning.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            Err(e) => {
                let fault = e.to_string();
                if fault != last_fault {
                    warn!(target: "linkgate::store", error = fault, "spilled clicks wait");
                    last_fault = fault;
                }
                // Not while the ledger is held: it must be able to go.
                drop(inner);
                thread::sleep(RETRY);
            }
        }
    }
}

fn log_notice(notice: &Notice) {
    match notice {
        Notice::Failing { error, waiting } => error!(
            target: "linkgate::store", %error, waiting,
            "the store takes no rows; clicks go to a file beside it, mail with long links is put off"
        ),
        Notice::Recovered { after } => {
            info!(target: "linkgate::store", after_ms = after.as_millis() as u64, "the store takes rows again");
        }
        Notice::MessageLost { mail_id, error } => {
            warn!(target: "linkgate::store", mail_id, %error, "message row not stored");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn event_ids_grow_with_time_and_differ_within_it() {
        let ids = EventIds::default();
        let now = 1_795_288_391_000_000;
        let same: HashSet<EventId> = (0..3 * STOCK).map(|_| ids.at(now).unwrap()).collect();
        assert_eq!(same.len(), 3 * STOCK);
        let later = ids.at(now + 1000).unwrap();
        assert!(same.iter().all(|id| *id < later));
        assert!(later.to_string().starts_with(&format!("{:012x}", now / 1000 + 1)));
    }
}
