//! The key of the hashes of expressions.

use siphasher::sip::SipHasher13;

/// No expression has this hash.
pub(crate) const EMPTY: u64 = 0;

/// The key of the hashes of expressions: without it no colliding URLs can be made. A table and its copies share one, drawn
/// at random when the program starts.
#[derive(Clone, Copy)]
pub struct HashKey(SipHasher13);

impl HashKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&key))
    }

    /// SipHash-1-3, but never [`EMPTY`].
    pub(crate) fn hash(&self, expression: &str) -> u64 {
        self.0.hash(expression.as_bytes()).max(EMPTY + 1)
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}
