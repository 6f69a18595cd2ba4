//! Seals for marks: what stands in a mail in the place of something that was taken out of it, and keeps it.
//!
//! Anybody can write what looks like a mark. The seal tells those that were written with the key ring; only they are obeyed
//! when a mail is restored.

use ring::hmac;

use crate::keyring::{Key, KeyRing};

/// Octets of a seal. A forger who has no key and is told of no success needs no more.
pub const MARK_SEAL: usize = 9;

impl KeyRing {
    /// The seal for what a mark keeps.
    #[must_use]
    pub fn seal_mark(&self, kept: &[u8]) -> [u8; MARK_SEAL] {
        seal(self.sealing(), kept)
    }

    /// Whether `seal` was made by a key of the ring that is not retired.
    #[must_use]
    pub fn knows_mark(&self, kept: &[u8], sealed: &[u8; MARK_SEAL]) -> bool {
        // Nothing answers a forger, so the time that this takes tells nobody anything.
        self.usable().any(|key| seal(key, kept) == *sealed)
    }
}

fn seal(key: &Key, kept: &[u8]) -> [u8; MARK_SEAL] {
    let tag = hmac::sign(&key.mark, kept);
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_known_until_their_key_is_retired() {
        let mut ring = KeyRing::generate([7; 32], 0);
        let sealed = ring.seal_mark(b"href");
        assert!(ring.knows_mark(b"href", &sealed));
        assert!(!ring.knows_mark(b"hrefs", &sealed));
        assert!(!ring.knows_mark(b"href", &[0; MARK_SEAL]));
        assert!(!KeyRing::generate([8; 32], 0).knows_mark(b"href", &sealed));
        let old = ring.keys().next().unwrap().id;
        ring.add([9; 32], 1).unwrap();
        assert!(ring.knows_mark(b"href", &sealed));
        ring.retire(old, 2).unwrap();
        assert!(!ring.knows_mark(b"href", &sealed));
    }
}
