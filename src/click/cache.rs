//! A bounded cache whose entries each have their own end, and what is known of URLs from memory alone.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::Evidence;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

/// URLs in a [`LocalCache`]: many readers of a newsletter open the same link.
const LOCAL_ENTRIES: usize = 4096;

/// How long a [`LocalCache`] keeps an entry at most. A change of lists or revocations ends it at once; this bounds how late
/// it is seen that a domain is no longer new.
const LOCAL_LIFE: Duration = Duration::from_secs(60);

/// A cache of bounded size, from which each entry is gone when its own life is over.
#[derive(Debug)]
pub(super) struct ExpiringCache<K, V>(Cache<K, (V, Instant)>);

impl<K: Hash + Eq, V: Clone> ExpiringCache<K, V> {
    /// Room for `entries`; the least used give way.
    pub(super) fn new(entries: usize) -> Self {
        Self(Cache::new(entries))
    }

    /// The value of a key whose life is not over.
    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let (value, until) = self.0.get(key)?;
        (Instant::now() < until).then_some(value)
    }

    /// Keeps a value for `life`; not at all when that is zero.
    pub(super) fn insert(&self, key: K, value: V, life: Duration) {
        if !life.is_zero() {
            self.0.insert(key, (value, Instant::now() + life));
        }
    }
}

/// Answers of revocations, lists in memory and the signs of a URL, under one state of the settings.
#[derive(Debug)]
pub(super) struct LocalCache {
    entries: ExpiringCache<LocalKey, (u64, Arc<[Evidence]>)>,
    life: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LocalKey {
    url: Box<str>,
    /// The domain whose rules hold.
    domain: Box<str>,
}

/// A [`LocalKey`] that need not be copied to be looked up. Has to hash as that does.
#[derive(Hash)]
struct LocalKeyRef<'a> {
    url: &'a str,
    domain: &'a str,
}

impl Equivalent<LocalKey> for LocalKeyRef<'_> {
    fn equivalent(&self, key: &LocalKey) -> bool {
        *self.url == *key.url && *self.domain == *key.domain
    }
}

impl LocalCache {
    /// Keeps nothing longer than `life`, and nothing at all when that is zero.
    pub(super) fn new(life: Duration) -> Self {
        Self {
            entries: ExpiringCache::new(LOCAL_ENTRIES),
            life: life.min(LOCAL_LIFE),
        }
    }

    /// The evidence about `url` under the rules of `domain`: that of this `generation` if it is kept, else what `compute`
    /// gives.
    pub(super) fn get_or(
        &self,
        url: &str,
        domain: &str,
        generation: u64,
        compute: impl FnOnce() -> Vec<Evidence>,
    ) -> Arc<[Evidence]> {
        if let Some((of, evidence)) = self.entries.get(&LocalKeyRef { url, domain })
            && of == generation
        {
            return evidence;
        }
        let evidence: Arc<[Evidence]> = compute().into();
        let key = LocalKey {
            url: url.into(),
            domain: domain.into(),
        };
        self.entries.insert(key, (generation, Arc::clone(&evidence)), self.life);
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
        let cache = LocalCache::new(Duration::from_millis(200));
        let ask = |cache: &LocalCache, url: &str, domain: &str, generation| {
            let found = cache.get_or(url, domain, generation, || {
                looks.set(looks.get() + 1);
                Vec::new()
            });
            assert!(found.is_empty());
            looks.get()
        };
        assert_eq!(ask(&cache, "https://a.example/", "x.example", 1), 1);
        assert_eq!(ask(&cache, "https://a.example/", "x.example", 1), 1, "kept");
        assert_eq!(ask(&cache, "https://a.example/b", "x.example", 1), 2);
        assert_eq!(ask(&cache, "https://a.example/", "y.example", 1), 3);
        assert_eq!(ask(&cache, "https://a.example/", "x.example", 2), 4);
        assert_eq!(
            ask(&cache, "https://a.example/", "x.example", 1),
            5,
            "an older one is another"
        );
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(ask(&cache, "https://a.example/", "x.example", 1), 6);
        let nothing = LocalCache::new(Duration::ZERO);
        ask(&nothing, "https://a.example/", "x.example", 1);
        assert_eq!(ask(&nothing, "https://a.example/", "x.example", 1), 8);
    }
}
