//! Bit maps of the hosts that the entries of a table name: they tell most unlisted hosts at once.

use crate::entry::Extent;
use crate::slice::{part, part_mut};

/// Sixteen bits for each entry, a map for each kind: the map of a kind with few entries stays in the processor's cache.
#[derive(Debug)]
pub(crate) struct Hosts([Bits; KINDS]);

/// Numbers of entries by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts([usize; KINDS]);

/// Kinds of entries that are looked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One URL.
    Url,
    /// All of one host.
    Host,
    /// Hosts below, too.
    Domain,
    /// Paths with all below them.
    Tree,
}

const KINDS: usize = 4;

impl Counts {
    pub(crate) fn add(&mut self, extent: Extent) {
        *part_mut(&mut self.0, Kind::from(extent) as usize) += 1;
    }

    /// The entries of all kinds.
    pub(crate) fn all(self) -> usize {
        self.0.iter().sum()
    }
}

impl Hosts {
    /// Empty maps with room for so many entries.
    pub(crate) fn with_room(counts: Counts) -> Self {
        Self(counts.0.map(|count| Bits(vec![0; count.div_ceil(4)])))
    }

    /// Notes that an entry of this kind names the host with this hash.
    pub(crate) fn add(&mut self, kind: Kind, host: u32) {
        part_mut(&mut self.0, kind as usize).set(host);
    }

    /// Whether an entry of this kind may name a host; false is certain.
    pub(crate) fn may_have(&self, kind: Kind, host: u32) -> bool {
        part(&self.0, kind as usize).get(host)
    }

    /// Whether there is any entry of this kind.
    pub(crate) fn any(&self, kind: Kind) -> bool {
        !part(&self.0, kind as usize).0.is_empty()
    }

    /// Memory taken up, in octets.
    pub(crate) fn memory(&self) -> usize {
        self.0.iter().map(|bits| bits.0.capacity() * size_of::<u64>()).sum()
    }
}

impl From<Extent> for Kind {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::Url => Self::Url,
            Extent::Host => Self::Host,
            Extent::Domain | Extent::Below => Self::Domain,
            Extent::Tree | Extent::DomainTree => Self::Tree,
        }
    }
}

/// A Bloom filter whose bits for one host stand in one word, so that a look-up costs one access to memory.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, host: u32) {
        let (word, bits) = self.place(host);
        *part_mut(&mut self.0, word) |= bits;
    }

    fn get(&self, host: u32) -> bool {
        let (word, bits) = self.place(host);
        !self.0.is_empty() && part(&self.0, word) & bits == bits
    }

    /// A word, by the high bits of the hash, and three bits in it. The factor (2^32 by the golden ratio) moves the low bits
    /// of the hash to where the three are taken from.
    fn place(&self, host: u32) -> (usize, u64) {
        let words = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let word = u64::from(host).saturating_mul(words) >> 32;
        let mixed = host.wrapping_mul(0x9e37_79b1);
        let bits = [26, 20, 14].map(|shift| 1_u64 << (mixed >> shift & 63));
        (
            usize::try_from(word).unwrap_or(usize::MAX),
            bits.iter().fold(0, |all, bit| all | bit),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes, as far as a filter can tell.
    fn host(i: u32) -> u32 {
        let mixed = (u64::from(i) + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u32::try_from((mixed ^ mixed >> 29) >> 32).unwrap()
    }

    #[test]
    fn no_host_that_has_entries_is_missed_and_few_others_are_taken_for_one() {
        for count in [1, 10, 1_000, 100_000] {
            let mut counts = Counts::default();
            (0..count).for_each(|_| counts.add(Extent::Url));
            let mut hosts = Hosts::with_room(counts);
            (0..count).for_each(|i| hosts.add(Kind::Url, host(i)));
            assert!((0..count).all(|i| hosts.may_have(Kind::Url, host(i))), "{count}");
            assert!(!(0..count).any(|i| hosts.may_have(Kind::Tree, host(i))), "{count}");
            let wrong = (count..count + 100_000).filter(|i| hosts.may_have(Kind::Url, host(*i)));
            let wrong = wrong.count();
            assert!(wrong < 1_500, "{wrong} of 100000 beside {count}");
        }
    }

    #[test]
    fn what_is_empty_has_nothing() {
        let hosts = Hosts::with_room(Counts::default());
        for kind in [Kind::Url, Kind::Host, Kind::Domain, Kind::Tree] {
            assert!(!hosts.any(kind) && !hosts.may_have(kind, 0) && !hosts.may_have(kind, u32::MAX));
        }
    }
}
