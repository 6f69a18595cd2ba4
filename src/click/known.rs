//! What is known of a URL without asking anyone, kept for a moment: many readers of a newsletter open the same link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use link::Evidence;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

/// URLs of which it is kept.
const ENTRIES: usize = 4096;

/// How long at most. A change of lists or revocations ends it at once; this bounds how late is seen that a domain is new no
/// longer.
const LIFE: Duration = Duration::from_secs(60);

/// Kept evidence, under the settings of the moment.
#[derive(Debug)]
pub(super) struct Known {
    cache: Cache<Key, Entry>,
    life: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    url: Box<str>,
    /// The domain whose rules hold.
    domain: Box<str>,
}

/// A [`Key`] that need not be copied to be looked up. Has to hash as that does.
#[derive(Hash)]
struct KeyRef<'a> {
    url: &'a str,
    domain: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.url == *key.url && *self.domain == *key.domain
    }
}

#[derive(Debug, Clone)]
struct Entry {
    evidence: Arc<[Evidence]>,
    generation: u64,
    until: Instant,
}

impl Known {
    /// Keeps nothing longer than `life`, and nothing at all when that is zero.
    pub(super) fn new(life: Duration) -> Self {
        Self {
            cache: Cache::new(ENTRIES),
            life: life.min(LIFE),
        }
    }

    /// What is known of `url` under the rules of `domain`: what is kept from this `generation`, else what `look` finds.
    pub(super) fn of(
        &self,
        url: &str,
        domain: &str,
        generation: u64,
        look: impl FnOnce() -> Vec<Evidence>,
    ) -> Arc<[Evidence]> {
        let now = Instant::now();
        let kept = self.cache.get(&KeyRef { url, domain });
        if let Some(entry) = kept.filter(|entry| entry.generation == generation && now < entry.until) {
            return entry.evidence;
        }
        let evidence: Arc<[Evidence]> = look().into();
        if !self.life.is_zero() {
            let key = Key {
                url: url.into(),
                domain: domain.into(),
            };
            let entry = Entry {
                evidence: Arc::clone(&evidence),
                generation,
                until: now + self.life,
            };
            self.cache.insert(key, entry);
        }
        evidence
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_url_is_looked_at_again_under_other_rules_a_new_generation_and_after_its_time() {
        let looks = Cell::new(0);
        let known = Known::new(Duration::from_millis(200));
        let ask = |known: &Known, url: &str, domain: &str, generation| {
            let found = known.of(url, domain, generation, || {
                looks.set(looks.get() + 1);
                Vec::new()
            });
            assert!(found.is_empty());
            looks.get()
        };
        assert_eq!(ask(&known, "https://a.example/", "x.example", 1), 1);
        assert_eq!(ask(&known, "https://a.example/", "x.example", 1), 1, "kept");
        assert_eq!(ask(&known, "https://a.example/b", "x.example", 1), 2);
        assert_eq!(ask(&known, "https://a.example/", "y.example", 1), 3);
        assert_eq!(ask(&known, "https://a.example/", "x.example", 2), 4);
        assert_eq!(
            ask(&known, "https://a.example/", "x.example", 1),
            5,
            "an older one is another"
        );
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(ask(&known, "https://a.example/", "x.example", 1), 6);
        let nothing = Known::new(Duration::ZERO);
        ask(&nothing, "https://a.example/", "x.example", 1);
        assert_eq!(ask(&nothing, "https://a.example/", "x.example", 1), 8);
    }
}
