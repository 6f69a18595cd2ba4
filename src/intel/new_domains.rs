//! Telling new domains: the registrable domains that links led to and senders wrote from so far. The one sign of a new domain
//! that needs no other source.

use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;
use store::Store;

/// How long a domain is new here, in seconds.
const NEW_FOR_S: i64 = 7 * 86_400;

/// How long domains are watched before any of them is called new, in seconds: at first all of them are.
const LEARNING_S: i64 = 14 * 86_400;

/// While it is not known since when domains are watched, the store is asked this often at most, in seconds.
const ASK_AGAIN_S: u64 = 60;

/// Domains remembered in memory.
const REMEMBERED: usize = 20_000;

const US: i64 = 1_000_000;

/// The store's table of domains, with a cache in front. While the store cannot be read no domain is new.
#[derive(Debug)]
pub struct NewDomains {
    store: Store,
    /// First times, in microseconds since 1970; of a domain that the store did not have, when it was looked up.
    first: Cache<String, i64>,
    /// Domains that were handed to the store.
    noted: Cache<String, ()>,
    /// When the first of all domains was seen, in microseconds since 1970; 0 while that is not known.
    began_us: AtomicI64,
    /// When the store was last asked for that, in seconds since 1970: each click and mail would ask.
    asked_s: AtomicI64,
}

impl NewDomains {
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

    /// Whether a domain was first seen within [`NEW_FOR_S`]. Looks into memory only; false for a domain that is not there,
    /// and as long as there is too little to compare with.
    #[must_use]
    pub fn is_new(&self, domain: &str, now_s: i64) -> bool {
        self.has_learned(now_s)
            && self
                .first
                .get(domain)
                .is_some_and(|first| now_s.saturating_sub(first / US) < NEW_FOR_S)
    }

    /// Domains that [`NewDomains::recall`] would read; none as long as there is too little to compare with.
    #[must_use]
    pub fn missing(&self, domains: &[&str], now_s: i64) -> Vec<String> {
        let began = self.began_us.load(Ordering::Relaxed);
        if began == 0 && !self.may_ask(now_s) || began != 0 && !self.has_learned(now_s) {
            return Vec::new();
        }
        let missing = domains.iter().filter(|domain| self.first.get(**domain).is_none());
        missing.map(|domain| (*domain).to_owned()).collect()
    }

    /// Reads domains into memory that are not there. Reads the disk.
    pub fn recall(&self, domains: &[&str], now_s: i64) {
        self.read_beginning(now_s);
        if !self.has_learned(now_s) {
            return;
        }
        for domain in domains {
            if self.first.get(*domain).is_some() {
                continue;
            }
            if let Ok(first) = self.store.reader().domain_seen(domain) {
                let first = first.unwrap_or(now_s.saturating_mul(US));
                self.first.insert((*domain).to_owned(), first);
            }
        }
    }

    /// Notes that domains were seen now.
    pub fn note(&self, domains: &mut dyn Iterator<Item = &str>, now_s: i64) {
        let mut fresh = Vec::new();
        for domain in domains {
            if self.noted.get(domain).is_none() {
                self.noted.insert(domain.to_owned(), ());
                fresh.push(domain.to_owned());
            }
        }
        self.store.note_domains(fresh, now_s.saturating_mul(US));
    }

    /// Whether domains have been watched long enough.
    fn has_learned(&self, now_s: i64) -> bool {
        let began = self.began_us.load(Ordering::Relaxed);
        began != 0 && now_s.saturating_sub(began / US) >= LEARNING_S
    }

    /// Whether the store may be asked again since when domains are watched.
    fn may_ask(&self, now_s: i64) -> bool {
        // Not the other way round: a clock that was put back must not make this wait.
        self.asked_s.load(Ordering::Relaxed).abs_diff(now_s) >= ASK_AGAIN_S
    }

    fn read_beginning(&self, now_s: i64) {
        if self.began_us.load(Ordering::Relaxed) != 0 || !self.may_ask(now_s) {
            return;
        }
        self.asked_s.store(now_s, Ordering::Relaxed);
        if let Ok(Some(first)) = self.store.reader().first_domain_seen() {
            self.began_us.store(first, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const START: i64 = 1_767_603_600;

    /// Asks as readers and mails do: read into memory, then looked up there.
    fn is_new(domains: &NewDomains, domain: &str, now_s: i64) -> bool {
        let missing = domains.missing(&[domain], now_s);
        domains.recall(&missing.iter().map(String::as_str).collect::<Vec<_>>(), now_s);
        domains.is_new(domain, now_s)
    }

    #[test]
    fn a_domain_is_new_for_a_week_once_there_is_something_to_compare() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let seen = NewDomains::new(store.clone());
        assert!(!is_new(&seen, "a.example", START), "nothing was learnt yet");
        seen.note(&mut ["a.example"].into_iter(), START);
        store.flush().wait().unwrap();
        assert!(!is_new(&seen, "b.example", START + 13 * DAY));
        let later = START + 14 * DAY;
        assert!(is_new(&seen, "b.example", later) && !is_new(&seen, "a.example", later));
        seen.note(&mut ["a.example", "b.example"].into_iter(), later);
        store.flush().wait().unwrap();
        assert_eq!(
            store.reader().domain_seen("a.example").unwrap(),
            Some(START * US),
            "the first time stays"
        );
        assert!(is_new(&seen, "b.example", later + 6 * DAY) && !is_new(&seen, "b.example", later + 7 * DAY));
        // Another process, or the next run, knows the same.
        let again = NewDomains::new(store);
        assert!(is_new(&again, "b.example", later) && is_new(&again, "c.example", later));
        assert!(!is_new(&again, "a.example", later));
    }

    #[test]
    fn a_look_into_memory_never_reads_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let domains = NewDomains::new(store.clone());
        domains.note(&mut ["a.example"].into_iter(), START);
        store.flush().wait().unwrap();
        let later = START + 14 * DAY;
        assert!(!domains.is_new("b.example", later), "nothing was read yet");
        assert_eq!(
            domains.missing(&["a.example", "b.example"], later),
            ["a.example", "b.example"]
        );
        domains.recall(&["b.example"], later);
        assert_eq!(domains.missing(&["a.example", "b.example"], later), ["a.example"]);
        assert!(domains.is_new("b.example", later) && !domains.is_new("a.example", later));
    }
}
