//! Chooses which of several next hops is called, and leaves out for a while those that fail.
//!
//! A connection that does not come about counts against a next hop: it cannot be reached, does not greet, or
//! refuses EHLO or TLS. A refused sender or message says nothing about the server.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::connection::{Call, Connection};
use crate::config::{Limits, NextHop, NextHopOrder, NextHops};
use crate::failure::Failure;
use crate::metrics::NextHopCounts;

/// How long a next hop is left out after its first failure; twice as long after each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// How long it is left out at most.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// The state of next hops as all sessions of a listener have found it, across reloads.
#[derive(Debug, Default)]
pub struct Hops {
    states: Mutex<HopStates>,
    jitter: RandomState,
}

#[derive(Debug, Default)]
struct HopStates {
    /// Connections that were asked for, for `round-robin`.
    turn: usize,
    /// Next hops that failed last time.
    down: HashMap<NextHop, Down>,
    /// Next hops that could be encrypted as far as the settings go, but are not.
    plain: HashSet<NextHop>,
}

#[derive(Debug)]
struct Down {
    failures: u32,
    /// When it is tried again.
    until: Instant,
    /// A session tries it now.
    probing: bool,
}

impl Hops {
    /// A connection to one of `to`, which has been greeted. Tries one after the other; all of it takes no longer than
    /// `next_hop_timeout`.
    ///
    /// # Errors
    /// The failure of the last one tried.
    pub(super) async fn connect(
        &self,
        to: &NextHops,
        counts: &[Arc<NextHopCounts>],
        hostname: &str,
        limits: &Limits,
    ) -> Result<(usize, Connection), Failure> {
        let overall = Instant::now() + limits.next_hop_timeout;
        let first = self.first(to);
        let mut tried = Vec::new();
        let mut outcome = Err(super::lost());
        while let Some(attempt) = self.choose(to, first, &tried, Instant::now()) {
            let (hop, ready, is_last) = (attempt.hop, attempt.ready, tried.len() + 1 == to.all.len());
            let call = Call {
                to: hop,
                trust: to.trust.as_ref(),
                hostname,
            };
            let connect = limits.next_hop_connect_timeout;
            // No other stands in for the last one, so it may be as slow as it likes.
            let deadline = if is_last {
                overall
            } else {
                overall.min(Instant::now() + connect)
            };
            let index = to.all.iter().position(|h| h == hop);
            let began = std::time::Instant::now();
            let opened = Connection::open(&call, connect, deadline).await;
            if let Some(counts) = index.and_then(|i| counts.get(i)) {
                count(counts, hop, &opened, began.elapsed());
            }
            match opened {
                Ok(connection) => {
                    self.note_cipher(hop, &connection);
                    attempt.worked();
                    outcome = Ok((index.unwrap_or_default(), connection));
                    break;
                }
                Err(failure) => {
                    attempt.failed(&failure, Instant::now());
                    outcome = Err(failure);
                }
            }
            // A next hop that was left out is tried when there is nothing else, but only one of them.
            if !ready || Instant::now() >= overall {
                break;
            }
            tried.extend(index);
        }
        outcome
    }

    /// The place in the list to begin at.
    fn first(&self, to: &NextHops) -> usize {
        match to.order {
            NextHopOrder::InOrder => 0,
            NextHopOrder::RoundRobin => {
                let mut states = self.states.lock();
                states.turn = states.turn.wrapping_add(1);
                states.turn.wrapping_sub(1) % to.all.len().max(1)
            }
        }
    }

    /// The next hop to try: the first, from `first` on, that works, or whose time has come; if there is none, the one whose
    /// time comes first.
    fn choose<'a>(&'a self, to: &'a NextHops, first: usize, tried: &[usize], now: Instant) -> Option<Attempt<'a>> {
        let mut states = self.states.lock();
        let (before, from) = to.all.split_at_checked(first)?;
        let left: Vec<&NextHop> = from
            .iter()
            .chain(before)
            .filter(|hop| !tried.iter().any(|t| to.all.get(*t) == Some(hop)))
            .collect();
        let is_ready = |hop: &NextHop| states.down.get(hop).is_none_or(|d| d.until <= now && !d.probing);
        let ready = left.iter().find(|hop| is_ready(hop));
        let by_time = || left.iter().min_by_key(|hop| states.down.get(**hop).map(|d| d.until));
        let hop: &NextHop = ready.or_else(by_time)?;
        let ready = ready.is_some();
        let down = states.down.get_mut(hop);
        let seen = down.as_ref().map_or(0, |d| d.failures);
        let probes = match down {
            Some(down) if !down.probing => {
                down.probing = true;
                true
            }
            _ => false,
        };
        Some(Attempt {
            hops: self,
            hop,
            ready,
            seen,
            probes,
        })
    }

    /// Says when a next hop begins or ceases to be spoken to in plain text.
    fn note_cipher(&self, hop: &NextHop, connection: &Connection) {
        if !hop.may_encrypt() {
            return;
        }
        let mut states = self.states.lock();
        match (&connection.plain_because, connection.cipher()) {
            (Some(cause), _) if states.plain.insert(hop.clone()) => {
                warn!(target: "linkgate::mail", next_hop = %hop, cause, "mail to the next hop is not encrypted");
            }
            (None, Some(cipher)) if states.plain.remove(hop) => {
                info!(target: "linkgate::mail", next_hop = %hop, cipher, "mail to the next hop is encrypted again");
            }
            _ => {}
        }
    }

    /// How long to leave a next hop out after so many failures: a little longer each time than others do, lest all come
    /// back at once.
    fn back_off(&self, failures: u32, now: Instant) -> Duration {
        let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(6));
        let base = doubled.min(LONGEST_BACK_OFF * 4 / 5);
        let random = u32::try_from(self.jitter.hash_one(now) % 256).unwrap_or_default();
        base + base / 4 * random / 256
    }
}

/// A next hop that is being tried. Given up without an outcome, it leaves the try to others.
struct Attempt<'a> {
    hops: &'a Hops,
    hop: &'a NextHop,
    /// It was its turn; otherwise there was no better one.
    ready: bool,
    /// Its failures when the attempt began.
    seen: u32,
    probes: bool,
}

impl Attempt<'_> {
    fn worked(self) {
        self.hops.states.lock().down.remove(self.hop);
    }

    fn failed(self, failure: &Failure, now: Instant) {
        let mut states = self.hops.states.lock();
        let failures = states.down.get(self.hop).map_or(0, |d| d.failures);
        // Sessions that fail together count once.
        if failures != self.seen {
            return;
        }
        let wait = self.hops.back_off(failures + 1, now);
        let down = Down {
            failures: failures.saturating_add(1),
            until: now + wait,
            probing: false,
        };
        states.down.insert(self.hop.clone(), down);
        if failures == 0 {
            warn!(target: "linkgate::mail", next_hop = %self.hop, "the next hop is left out for a while: {failure}");
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.probes
            && let Some(down) = self.hops.states.lock().down.get_mut(self.hop)
        {
            down.probing = false;
        }
    }
}

/// Counts an attempt at a connection; says when a next hop answers again.
fn count(counts: &NextHopCounts, hop: &NextHop, opened: &Result<Connection, Failure>, took: Duration) {
    match opened {
        Ok(_) if counts.connected(took) => {
            let left_out = counts.log.take_left_out();
            info!(target: "linkgate::mail", next_hop = %hop, left_out, "the next hop answers again");
        }
        Ok(_) => {}
        Err(failure) => counts.failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dialect;
    use crate::failure::{Cause, Phase};
    use crate::net::Endpoint;

    fn hops(n: u16, order: NextHopOrder) -> NextHops {
        let hop = |port| {
            let host = "192.0.2.1".to_owned();
            NextHop::plain(Dialect::Smtp, Endpoint::Tcp { host, port })
        };
        NextHops {
            all: (1..=n).map(hop).collect(),
            trust: None,
            order,
        }
    }

    fn port(attempt: &Attempt<'_>) -> u16 {
        match &attempt.hop.to {
            Endpoint::Tcp { port, .. } => *port,
            Endpoint::Unix(_) => 0,
        }
    }

    fn fail(attempt: Attempt<'_>, now: Instant) {
        attempt.failed(&Failure::next_hop(Phase::Connect, Cause::Closed), now);
    }

    #[test]
    fn one_that_fails_is_left_out_until_its_time_comes_and_then_probed_once() {
        let (known, to) = (Hops::default(), hops(2, NextHopOrder::InOrder));
        let start = Instant::now();
        let choose = |tried: &[usize], after_s: u64| {
            known
                .choose(&to, 0, tried, start + Duration::from_secs(after_s))
                .unwrap()
        };
        let first = choose(&[], 0);
        assert_eq!(port(&first), 1);
        fail(first, start);
        assert_eq!(port(&choose(&[0], 0)), 2, "the next one is tried at once");
        assert_eq!(port(&choose(&[], 0)), 2, "others do not try the first");
        let probe = choose(&[], 2);
        assert_eq!(port(&probe), 1);
        assert_eq!(port(&choose(&[], 2)), 2, "one probe at a time");
        drop(probe);
        let probe = choose(&[], 2);
        assert_eq!(port(&probe), 1, "a probe that came to nothing leaves it to others");
        fail(probe, start + Duration::from_secs(2));
        assert_eq!(port(&choose(&[], 3)), 2, "twice as long now");
        let probe = choose(&[], 5);
        assert_eq!(port(&probe), 1);
        probe.worked();
        assert_eq!(port(&choose(&[], 5)), 1);
    }

    #[test]
    fn when_all_are_left_out_the_one_whose_time_comes_first_is_tried() {
        let (known, to) = (Hops::default(), hops(2, NextHopOrder::InOrder));
        let start = Instant::now();
        for (tried, port_wanted) in [(&[][..], 1), (&[0], 2)] {
            let attempt = known.choose(&to, 0, tried, start).unwrap();
            assert!(attempt.ready);
            assert_eq!(port(&attempt), port_wanted);
            fail(
                attempt,
                start + Duration::from_secs(if port_wanted == 1 { 5 } else { 0 }),
            );
        }
        let attempt = known.choose(&to, 0, &[], start).unwrap();
        assert_eq!((port(&attempt), attempt.ready), (2, false));
        assert!(known.choose(&to, 0, &[0, 1], start).is_none());
    }

    #[test]
    fn a_single_one_is_always_tried() {
        let (known, to) = (Hops::default(), hops(1, NextHopOrder::RoundRobin));
        let start = Instant::now();
        for _ in 0..3 {
            let first = known.first(&to);
            let attempt = known.choose(&to, first, &[], start).unwrap();
            let beside = known.choose(&to, first, &[], start).unwrap();
            fail(attempt, start);
            fail(beside, start);
        }
        assert_eq!(
            known.states.lock().down[&to.all[0]].failures,
            3,
            "sessions that fail together count once"
        );
    }

    #[test]
    fn round_robin_takes_each_in_turn() {
        let (known, to) = (Hops::default(), hops(3, NextHopOrder::RoundRobin));
        let start = Instant::now();
        let next = |fails: bool| {
            let attempt = known.choose(&to, known.first(&to), &[], start).unwrap();
            let port = port(&attempt);
            if fails {
                fail(attempt, start);
            } else {
                attempt.worked();
            }
            port
        };
        assert_eq!([next(false), next(true), next(false), next(false)], [1, 2, 3, 1]);
        assert_eq!(next(false), 3, "the second is left out");
    }

    #[test]
    fn back_off_doubles_up_to_a_minute() {
        let known = Hops::default();
        let now = Instant::now();
        for (failures, from, to) in [
            (1, 1, 2),
            (2, 2, 3),
            (4, 8, 10),
            (6, 32, 40),
            (7, 48, 60),
            (1000, 48, 60),
        ] {
            let wait = known.back_off(failures, now);
            let range = Duration::from_secs(from)..=Duration::from_secs(to);
            assert!(range.contains(&wait), "{failures}: {wait:?}");
        }
    }
}
