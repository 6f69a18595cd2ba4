//! Logging and counting alerts, without repeating the same one.
//!
//! There are two bounds, on purpose: the click path raises the same sign of one link once a day, so that a reader who
//! opens it often raises one alert; here one URL is logged once an hour, so that a mail to a thousand readers does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use link::Word;
use parking_lot::Mutex;
use store::{AlertKind, AlertRow};
use tracing::warn;

/// Microseconds within which an alert of the same kind about the same URL says nothing new.
const QUIET: i64 = 3_600_000_000;

/// Alerts that are remembered for that.
const REMEMBERED: usize = 4096;

/// Alerts logged lately, and how many there were.
#[derive(Debug, Default)]
pub(super) struct AlertLog {
    logged: Mutex<HashMap<(AlertKind, String), i64>>,
    late_listings: AtomicU64,
    smuggled: AtomicU64,
}

/// Alerts raised since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertCounts {
    /// Targets listed after readers had been let through.
    pub late_listings: u64,
    /// Links that turned up where they do not belong.
    pub smuggled: u64,
}

impl AlertLog {
    /// Logs and counts an alert; false when the same was logged within the hour.
    pub(super) fn raise(&self, row: &AlertRow) -> bool {
        // Late listings are raised once each, and what the operator does is always new.
        if row.kind == AlertKind::Smuggled && !self.is_news(row) {
            return false;
        }
        match row.kind {
            AlertKind::LateListing => self.late_listings.fetch_add(1, Ordering::Relaxed),
            AlertKind::Smuggled => self.smuggled.fetch_add(1, Ordering::Relaxed),
            AlertKind::Revoked | AlertKind::Unrevoked | AlertKind::ReviewAsked => 0,
        };
        let AlertRow {
            url,
            source,
            detail,
            people,
            machines,
            unknown,
            ..
        } = row;
        let what = match row.kind {
            AlertKind::LateListing => match people {
                0 => "opened, nobody can tell whether by people; it is listed now".to_owned(),
                1 => "opened once by a person or likely person; it is listed now".to_owned(),
                n => format!("opened {n} times by people or likely people; it is listed now"),
            },
            AlertKind::Smuggled => "a link turned up where it does not belong".to_owned(),
            AlertKind::Revoked => "revoked".to_owned(),
            AlertKind::ReviewAsked => "a reader asks for a review".to_owned(),
            AlertKind::Unrevoked => "a revocation was taken back".to_owned(),
        };
        warn!(
            target: "linkgate::alert",
            event = row.kind.as_str(), url, source, detail, people, machines, unknown,
            "{what}"
        );
        true
    }

    pub(super) fn counts(&self) -> AlertCounts {
        AlertCounts {
            late_listings: self.late_listings.load(Ordering::Relaxed),
            smuggled: self.smuggled.load(Ordering::Relaxed),
        }
    }

    fn is_news(&self, row: &AlertRow) -> bool {
        let mut logged = self.logged.lock();
        // A clock that jumps back must not keep alerts quiet.
        let recent = |at: i64| at.abs_diff(row.at_us) < QUIET.unsigned_abs();
        let key = (row.kind, row.url.clone());
        if logged.get(&key).is_some_and(|at| recent(*at)) {
            return false;
        }
        if logged.len() >= REMEMBERED {
            logged.retain(|_, at| recent(*at));
            // A flood: better logged twice than memory without bound.
            if logged.len() >= REMEMBERED {
                logged.clear();
            }
        }
        logged.insert(key, row.at_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(kind: AlertKind, url: &str, at_us: i64) -> AlertRow {
        AlertRow {
            kind,
            url: url.to_owned(),
            source: "link".to_owned(),
            detail: String::new(),
            at_us,
            first_click_us: at_us,
            last_click_us: at_us,
            people: 1,
            machines: 0,
            unknown: 0,
            events: Vec::new(),
        }
    }

    #[test]
    fn the_same_smuggled_link_is_told_once_an_hour() {
        let alert_log = AlertLog::default();
        let raise = |url: &str, at| alert_log.raise(&alert(AlertKind::Smuggled, url, at));
        assert_eq!(
            [raise("a", 0), raise("a", 1), raise("b", 1), raise("a", QUIET)],
            [true, false, true, true]
        );
        // The clock jumps back by a day.
        assert!(raise("a", QUIET - 86_400_000_000));
        assert_eq!(alert_log.counts().smuggled, 4);
        assert!(
            alert_log.raise(&alert(AlertKind::Revoked, "a", 0)) && alert_log.raise(&alert(AlertKind::Revoked, "a", 0))
        );
    }

    #[test]
    fn a_flood_of_alerts_takes_no_more_memory() {
        let alert_log = AlertLog::default();
        for n in 0..3 * REMEMBERED {
            alert_log.raise(&alert(AlertKind::Smuggled, &n.to_string(), 0));
        }
        assert!(alert_log.logged.lock().len() <= REMEMBERED);
    }
}
