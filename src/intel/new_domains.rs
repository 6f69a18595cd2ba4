//! The registrable domains that links led to and senders wrote from so far: the one sign of a new domain that needs nobody
//! else.

use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;
use store::Store;

use crate::job::SeenDomains;

/// How long a domain is new here, in seconds.
const NEW_FOR_S: i64 = 7 * 86_400;

/// How long domains are watched before any of them is called new, in seconds: at first all of them are.
const LEARNING_S: i64 = 14 * 86_400;

/// While it is not known since when domains are watched, the store is asked this often at most, in seconds.
const ASK_AGAIN_S: u64 = 60;

/// Domains remembered in memory.
const REMEMBERED: usize = 20_000;

const US: i64 = 1_000_000;

/// The store's table of domains, with a cache in front. A store that cannot be read says of no domain that it is new.
#[derive(Debug)]
pub struct DomainsSeen {
    store: Store,
    /// First times, in microseconds since 1970, as the store has them.
    first: Cache<String, i64>,
    /// Domains that were handed to the store.
    noted: Cache<String, ()>,
    /// When the first of all domains was seen, in microseconds since 1970; 0 while that is not known.
    began_us: AtomicI64,
    /// When the store was last asked for that, in seconds since 1970: each click and mail would ask.
    asked_s: AtomicI64,
}

impl DomainsSeen {
    /// The table of this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            first: Cache::new(REMEMBERED),
            noted: Cache::new(REMEMBERED),
            began_us: AtomicI64::new(0),
            asked_s: AtomicI64::new(i64::MIN),
        }
    }

    fn has_learned(&self, now_s: i64) -> bool {
        let mut began = self.began_us.load(Ordering::Relaxed);
        if began == 0 {
            let last = self.asked_s.load(Ordering::Relaxed);
            // Not the other way round: a clock that was put back must not make this wait.
            if last.abs_diff(now_s) < ASK_AGAIN_S {
                return false;
            }
            self.asked_s.store(now_s, Ordering::Relaxed);
            let Ok(Some(first)) = self.store.reader().first_domain_seen() else {
                return false;
            };
            self.began_us.store(first, Ordering::Relaxed);
            began = first;
        }
        now_s.saturating_sub(began / US) >= LEARNING_S
    }
}

impl SeenDomains for DomainsSeen {
    fn is_new(&self, domain: &str, now_s: i64) -> bool {
        if !self.has_learned(now_s) {
            return false;
        }
        let first = match self.first.get(domain) {
            Some(first) => first,
            None => match self.store.reader().domain_seen(domain) {
                Ok(Some(first)) => {
                    self.first.insert(domain.to_owned(), first);
                    first
                }
                Ok(None) => return true,
                Err(_) => return false,
            },
        };
        now_s.saturating_sub(first / US) < NEW_FOR_S
    }

    fn note(&self, domains: &mut dyn Iterator<Item = &str>, now_s: i64) {
        let mut fresh = Vec::new();
        for domain in domains {
            if self.noted.get(domain).is_none() {
                self.noted.insert(domain.to_owned(), ());
                fresh.push(domain.to_owned());
            }
        }
        self.store.note_domains(fresh, now_s.saturating_mul(US));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const START: i64 = 1_767_603_600;

    #[test]
    fn a_domain_is_new_for_a_week_once_there_is_something_to_compare() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let seen = DomainsSeen::new(store.clone());
        assert!(!seen.is_new("a.example", START), "nothing was learnt yet");
        seen.note(&mut ["a.example"].into_iter(), START);
        store.flush().wait().unwrap();
        assert!(!seen.is_new("b.example", START + 13 * DAY));
        let later = START + 14 * DAY;
        assert!(seen.is_new("b.example", later) && !seen.is_new("a.example", later));
        seen.note(&mut ["a.example", "b.example"].into_iter(), later);
        store.flush().wait().unwrap();
        assert_eq!(
            store.reader().domain_seen("a.example").unwrap(),
            Some(START * US),
            "the first time stays"
        );
        assert!(seen.is_new("b.example", later + 6 * DAY) && !seen.is_new("b.example", later + 7 * DAY));
        // Another process, or the next run, knows the same.
        let again = DomainsSeen::new(store);
        assert!(again.is_new("b.example", later) && again.is_new("c.example", later));
        assert!(!again.is_new("a.example", later));
    }
}
