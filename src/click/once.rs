//! Remembering what counts once: forms of pages, and alerts. The oldest is forgotten first, so that a flood of others does
//! not make a recent one count again, as it would in a cache.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Keys seen lately, of bounded number.
#[derive(Debug)]
pub(super) struct Once<K> {
    seen: Mutex<OnceKeys<K>>,
    life: Duration,
    room: usize,
}

#[derive(Debug)]
struct OnceKeys<K> {
    keys: HashSet<K>,
    /// In the order in which they came, with when.
    order: VecDeque<(Instant, K)>,
}

impl<K: Hash + Eq + Clone> Once<K> {
    /// Keys are known for `life`, and no more than `room` of them: the oldest are forgotten first.
    pub(super) fn new(life: Duration, room: usize) -> Self {
        let seen = OnceKeys {
            keys: HashSet::new(),
            order: VecDeque::new(),
        };
        Self {
            seen: Mutex::new(seen),
            life,
            room,
        }
    }

    /// Whether this is the first time.
    pub(super) fn first(&self, key: K) -> bool {
        let mut seen = self.seen.lock();
        let seen = &mut *seen;
        let now = Instant::now();
        while let Some((at, _)) = seen.order.front() {
            if seen.order.len() < self.room && now.duration_since(*at) < self.life {
                break;
            }
            if let Some((_, old)) = seen.order.pop_front() {
                seen.keys.remove(&old);
            }
        }
        let new = seen.keys.insert(key.clone());
        if new {
            seen.order.push_back((now, key));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_once_until_its_time_is_over() {
        let once = Once::new(Duration::from_millis(40), 100);
        assert!(once.first(1) && once.first(2));
        assert!(!once.first(1));
        std::thread::sleep(Duration::from_millis(60));
        assert!(once.first(1));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let once = Once::new(Duration::from_secs(60), 10);
        assert!((0..1000).all(|n| once.first(n)));
        let seen = once.seen.lock();
        assert_eq!((seen.keys.len(), seen.order.len()), (10, 10));
        drop(seen);
        assert!(!once.first(999) && once.first(0));
    }
}
