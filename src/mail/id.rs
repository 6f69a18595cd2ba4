//! Names each message: in our log, in its click links and in the store.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::{Encoding, Specification};
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::since_1970;

/// A new id: 18 letters and digits, unique over processes and machines, sorting by time.
///
/// 48 bits of milliseconds since 1970, then 40 bits of a count that starts at a random number. It names a message, it is
/// no secret.
#[must_use]
pub fn next() -> String {
    static COUNT: OnceLock<AtomicU64> = OnceLock::new();
    let count = COUNT
        .get_or_init(|| AtomicU64::new(random_start()))
        .fetch_add(1, Ordering::Relaxed);
    encode(since_1970().as_millis() as u64, count)
}

fn encode(ms: u64, count: u64) -> String {
    let mut bytes = [0; 11];
    let (time, rest) = bytes.split_at_mut(6);
    time.copy_from_slice(&ms.to_be_bytes()[2..]);
    rest.copy_from_slice(&count.to_be_bytes()[3..]);
    alphabet().encode(&bytes)
}

fn random_start() -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // Without a random source two processes started in one millisecond might share an id; mail goes on.
        Err(_) => u64::from(std::process::id()) << 24,
    }
}

/// Base 32 whose digits sort as their values do.
fn alphabet() -> &'static Encoding {
    static ALPHABET: OnceLock<Encoding> = OnceLock::new();
    ALPHABET.get_or_init(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("0123456789abcdefghijklmnopqrstuv");
        spec.encoding().expect("32 distinct symbols")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_fit_for_a_reply() {
        let ids: std::collections::HashSet<String> = (0..10_000).map(|_| next()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(
            ids.iter()
                .all(|id| id.len() == 18 && id.bytes().all(|b| b.is_ascii_alphanumeric()))
        );
    }

    #[test]
    fn ids_sort_by_time() {
        assert!(encode(1_700_000_000_000, u64::MAX) < encode(1_700_000_000_001, 0));
    }
}
