//! Names for what is to be told apart, and not to be told: networks of readers, links of recipients.

use ring::hmac;

use crate::keyring::KeyRing;

/// Octets of a pseudonym: two different things share one by accident as good as never.
pub const PSEUDONYM: usize = 8;

impl KeyRing {
    /// The same for the same `parts`, as long as the sealing key is the same; nobody without the key can find out what it
    /// stands for.
    #[must_use]
    pub fn pseudonym(&self, parts: &[&[u8]]) -> [u8; PSEUDONYM] {
        let mut mac = hmac::Context::with_key(&self.sealing().pseudonym);
        for part in parts {
            // With its length, so that parts do not run into each other.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_are_the_same_for_the_same_parts_and_key_only() {
        let ring = KeyRing::generate([7; 32], 0);
        let name = ring.pseudonym(&[b"ab", b"c"]);
        assert_eq!(ring.pseudonym(&[b"ab", b"c"]), name);
        assert_ne!(ring.pseudonym(&[b"a", b"bc"]), name);
        assert_ne!(ring.pseudonym(&[b"ab", b"c", b""]), name);
        assert_ne!(KeyRing::generate([8; 32], 0).pseudonym(&[b"ab", b"c"]), name);
    }
}
