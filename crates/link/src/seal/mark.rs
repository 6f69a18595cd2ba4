//! Seals for marks, which stand in a mail for a part that was taken out, and keep it.
//!
//! Marks can be forged. Only those with a seal of the key ring are obeyed when a mail is restored.

use ring::hmac;

use crate::keyring::{Key, KeyRing};

/// Octets of a seal. They suffice, as a forger learns of no success.
pub const MARK_SEAL: usize = 9;

impl KeyRing {
    /// Seals the content of a mark.
    #[must_use]
    pub fn seal_mark(&self, kept: &[u8]) -> [u8; MARK_SEAL] {
        seal(self.sealing(), kept)
    }

    /// Whether `seal` was made by a key of the ring that is not retired.
    #[must_use]
    pub fn knows_mark(&self, kept: &[u8], sealed: &[u8; MARK_SEAL]) -> bool {
        // No constant time: a forger gets no answer.
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
