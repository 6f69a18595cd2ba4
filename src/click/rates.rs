//! How often links may be opened: per link, and per network.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;

use super::client::network;
use crate::config::CheckLimits;

/// How often keys not used lately are dropped.
const CLEAN: Duration = Duration::from_secs(60);

/// The rates of the settings in force.
#[derive(Debug)]
pub(super) struct Rates {
    now: RwLock<Arc<Limiters>>,
    hasher: RandomState,
    began: Instant,
    /// Milliseconds since `began`.
    cleaned: AtomicU64,
}

/// A request beyond a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany {
    /// When the next one may come.
    pub(super) after: Duration,
    /// Whether it is the first of a burst, which is recorded; the others are counted.
    pub(super) first: bool,
}

#[derive(Debug)]
struct Limiters {
    per_link: u32,
    per_network: u32,
    links: Option<DefaultKeyedRateLimiter<u64>>,
    networks: Option<DefaultKeyedRateLimiter<u64>>,
    /// Lets one refused request per key and minute through into the records.
    records: DefaultKeyedRateLimiter<u64>,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            now: RwLock::new(Arc::new(Limiters::new(0, 0))),
            hasher: RandomState::new(),
            began: Instant::now(),
            cleaned: AtomicU64::new(0),
        }
    }

    /// Counts a request of this client's network. Loopback is not counted: it is a proxy that was not
    /// named, with all readers behind it, or the operator.
    pub(super) fn network(&self, limits: &CheckLimits, client: Option<IpAddr>) -> Result<(), TooMany> {
        let Some(client) = client.filter(|c| limits.per_network > 0 && !c.is_loopback()) else {
            return Ok(());
        };
        let key = self.hasher.hash_one((0, network(client.to_canonical())));
        let limiters = self.limiters(limits);
        limiters.networks.as_ref().map_or(Ok(()), |l| limiters.check(l, key))
    }

    /// Counts a request for a link that names its reader, by whatever tells it from others; loopback as in
    /// [`Rates::network`].
    pub(super) fn link(&self, limits: &CheckLimits, client: Option<IpAddr>, link: impl Hash) -> Result<(), TooMany> {
        if limits.per_link == 0 || client.is_none_or(|c| c.is_loopback()) {
            return Ok(());
        }
        let key = self.hasher.hash_one((1, link));
        let limiters = self.limiters(limits);
        limiters.links.as_ref().map_or(Ok(()), |l| limiters.check(l, key))
    }

    /// Drops keys not used lately, once in a while.
    pub(super) fn clean(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.cleaned.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= CLEAN.as_millis() as u64;
        let ours = || {
            self.cleaned
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if due && ours().is_ok() {
            let limiters = self.current();
            // Long lists of keys are gone through; no request waits for that.
            tokio::task::spawn_blocking(move || {
                let all = [
                    limiters.links.as_ref(),
                    limiters.networks.as_ref(),
                    Some(&limiters.records),
                ];
                for limiter in all.into_iter().flatten() {
                    limiter.retain_recent();
                    limiter.shrink_to_fit();
                }
            });
        }
    }

    fn current(&self) -> Arc<Limiters> {
        Arc::clone(&self.now.read())
    }

    /// The limiters for these limits; a reload that changes them starts anew.
    fn limiters(&self, limits: &CheckLimits) -> Arc<Limiters> {
        let now = self.current();
        if (now.per_link, now.per_network) == (limits.per_link, limits.per_network) {
            return now;
        }
        let new = Arc::new(Limiters::new(limits.per_link, limits.per_network));
        *self.now.write() = Arc::clone(&new);
        new
    }
}

impl Limiters {
    fn new(per_link: u32, per_network: u32) -> Self {
        let limiter = |n| NonZeroU32::new(n).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self {
            per_link,
            per_network,
            links: limiter(per_link),
            networks: limiter(per_network),
            records: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
        }
    }

    fn check(&self, limiter: &DefaultKeyedRateLimiter<u64>, key: u64) -> Result<(), TooMany> {
        limiter.check_key(&key).map_err(|not_until| TooMany {
            after: not_until.wait_time_from(DefaultClock::default().now()),
            first: self.records.check_key(&key).is_ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const READER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

    fn limits(per_link: u32, per_network: u32) -> CheckLimits {
        CheckLimits {
            per_link,
            per_network,
            ..CheckLimits::default()
        }
    }

    #[test]
    fn each_link_has_its_own_rate_and_the_first_refusal_is_recorded() {
        let rates = Rates::new();
        let limits = limits(3, 0);
        for _ in 0..3 {
            assert_eq!(rates.link(&limits, READER, "a"), Ok(()));
        }
        let refused = rates.link(&limits, READER, "a").unwrap_err();
        assert!(refused.first && refused.after > Duration::from_secs(15), "{refused:?}");
        assert!(!rates.link(&limits, READER, "a").unwrap_err().first);
        assert_eq!(rates.link(&limits, READER, "b"), Ok(()));
        let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!((0..100).all(|_| rates.link(&limits, here, "a").is_ok()));
    }

    #[test]
    fn a_network_is_counted_as_one_client_and_loopback_not_at_all() {
        let rates = Rates::new();
        let limits = limits(0, 2);
        let ask = |a: &str| rates.network(&limits, Some(a.parse().unwrap())).is_ok();
        assert_eq!(
            ["192.0.2.1", "::ffff:192.0.2.200", "192.0.2.9", "192.0.3.1"].map(ask),
            [true, true, false, true]
        );
        assert_eq!(
            ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1::", "2001:db8:2::"].map(ask),
            [true, true, false, true]
        );
        assert!((0..100).all(|_| ask("127.0.0.1") && ask("::1")));
        assert!((0..100).all(|_| rates.network(&limits, None).is_ok()));
    }

    #[test]
    fn a_reload_changes_rates_and_zero_is_none() {
        let rates = Rates::new();
        assert!((0..10_000).all(|_| rates.link(&limits(0, 0), READER, "a").is_ok()));
        assert_eq!(rates.link(&limits(1, 0), READER, "a"), Ok(()));
        assert!(rates.link(&limits(1, 0), READER, "a").is_err());
        assert_eq!(rates.link(&limits(2, 0), READER, "a"), Ok(()));
    }

    #[tokio::test]
    async fn keys_that_nobody_uses_go() {
        let rates = Rates::new();
        // So many a minute that a key is as good as new after a few milliseconds.
        let limits = limits(1_000_000, 0);
        for n in 0..1000 {
            rates.link(&limits, READER, n).unwrap();
        }
        assert_eq!(rates.current().links.as_ref().unwrap().len(), 1000);
        rates.clean();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rates.current().links.as_ref().unwrap().len(), 1000, "not yet due");
        let later = Rates {
            began: Instant::now().checked_sub(CLEAN).unwrap(),
            ..rates
        };
        later.clean();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if later.current().links.as_ref().unwrap().is_empty() {
                return;
            }
        }
        panic!("keys are kept for ever");
    }
}
