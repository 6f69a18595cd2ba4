//! The table that all lists are looked up in.

use link::{Listing, Scope, Weight};
use regex::RegexSet;
use siphasher::sip::SipHasher13;

use crate::canonical::{Canonical, suffixes};
use crate::copy::{ListCopy, Meta, Packed, low};
use crate::entry::{Extent, MAX_DEPTH, Role};

/// The key of the hashes that expressions are kept as: whoever does not know it cannot make URLs that collide. Copies and
/// tables that work together have the same; it is drawn at random when the program starts.
#[derive(Clone, Copy)]
pub struct HashKey(SipHasher13);

impl HashKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&key))
    }

    /// SipHash-1-3.
    pub(crate) fn hash(&self, expression: &str) -> u64 {
        self.0.hash(expression.as_bytes())
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}

/// What several sources list, to be looked up by URL. It does not change; a new one takes its place.
///
/// An open table of 64-bit hashes, 12 octets a slot, two thirds full, and a bit map of 16 bits for each entry that says
/// at once, for nearly every host there is, that no list has anything on it.
#[derive(Debug)]
pub struct ListTable {
    key: HashKey,
    generation: u64,
    /// Zero where a slot is empty.
    hashes: Vec<u64>,
    metas: Vec<Meta>,
    /// One bit for each host that an entry is about.
    hosts: Vec<u64>,
    /// Whether any entry is a [`Extent::Tree`], and whether one is a [`Extent::DomainTree`].
    trees: bool,
    domain_trees: bool,
    patterns: Vec<Patterns>,
    len: usize,
}

/// One source that names a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The number that the source was given in [`ListTable::build`].
    pub source: u16,
    /// What it says.
    pub listing: Listing,
    /// The expression that is on the list, such as `a.example/b`, or the pattern that fits.
    pub expression: &'a str,
}

impl ListTable {
    /// Makes a table of the copies of several sources, each with the number that hits will name it by.
    ///
    /// `generation` tells this table from others, for whoever keeps verdicts.
    #[must_use]
    pub fn build(key: &HashKey, generation: u64, sources: &[(u16, &ListCopy)]) -> Self {
        let len: usize = sources.iter().map(|(_, copy)| copy.entries.len()).sum();
        // A slot stays empty, so that every search ends.
        let slots = len + len / 2 + 1;
        let mut table = Self {
            key: *key,
            generation,
            hashes: vec![0; slots],
            metas: vec![Meta::default(); slots],
            hosts: vec![0; len / 4 + 1],
            trees: false,
            domain_trees: false,
            patterns: Vec::new(),
            len: sources.iter().map(|(_, copy)| copy.len()).sum(),
        };
        for (source, copy) in sources {
            for packed in &copy.entries {
                table.insert(packed, *source);
            }
            if !copy.patterns.is_empty() {
                table.patterns.push(Patterns {
                    set: copy.patterns.clone(),
                    metas: copy.pattern_metas.iter().map(|m| m.with_source(*source)).collect(),
                });
            }
        }
        table
    }

    /// What the sources have to say about a URL. Empty when none lists it.
    #[must_use]
    pub fn find<'a>(&'a self, url: &'a Canonical) -> Vec<Hit<'a>> {
        let mut found: Vec<Found<'a>> = Vec::new();
        let (host_start, host_end, path_end) = url.marks();
        let text = url.as_str();
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        for name in suffixes(url.host()) {
            let whole = name.len() == host_end - host_start;
            if !whole && url.is_address() {
                break;
            }
            let hash = self.key.hash(name);
            if !self.knows_host(low(hash)) {
                continue;
            }
            for meta in self.slots(hash) {
                let named = match meta.extent() {
                    Extent::Host => whole,
                    Extent::Domain => true,
                    Extent::Below => !whole,
                    _ => false,
                };
                if named {
                    found.push(Found::new(meta, name));
                }
            }
            let start = host_end - name.len();
            if whole {
                self.find_url(part(start, text.len()), part(start, path_end), &mut found);
            }
            if self.domain_trees || whole && self.trees {
                self.find_trees(part(start, path_end), name.len(), whole, &mut found);
            }
        }
        for patterns in &self.patterns {
            for at in patterns.set.matches(text) {
                if let (Some(meta), Some(pattern)) = (patterns.metas.get(at), patterns.set.patterns().get(at)) {
                    found.push(Found::new(*meta, pattern));
                }
            }
        }
        settled(&found)
    }

    /// What [`Self::build`] was given to tell tables apart.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many entries and patterns all sources have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no source lists anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it takes up in memory, in octets, patterns aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>()
            + self.metas.capacity() * size_of::<Meta>()
            + self.hosts.capacity() * size_of::<u64>()
    }

    fn insert(&mut self, packed: &Packed, source: u16) {
        match packed.meta.extent() {
            Extent::Tree => self.trees = true,
            Extent::DomainTree => (self.trees, self.domain_trees) = (true, true),
            _ => {}
        }
        let (word, bit) = self.host_bit(packed.host);
        if let Some(word) = self.hosts.get_mut(word) {
            *word |= bit;
        }
        let key = packed.key.max(1);
        let slots = self.hashes.len();
        let mut at = slot(key, slots);
        while let Some(hash) = self.hashes.get_mut(at) {
            if *hash == 0 {
                *hash = key;
                if let Some(meta) = self.metas.get_mut(at) {
                    *meta = packed.meta.with_source(source);
                }
                return;
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
    }

    /// The entries with this hash.
    fn slots(&self, hash: u64) -> impl Iterator<Item = Meta> {
        let key = hash.max(1);
        let slots = self.hashes.len();
        let mut at = slot(key, slots);
        std::iter::from_fn(move || {
            loop {
                let here = at;
                at = if at + 1 == slots { 0 } else { at + 1 };
                match self.hashes.get(here) {
                    None | Some(0) => return None,
                    Some(hash) if *hash == key => return self.metas.get(here).copied(),
                    Some(_) => {}
                }
            }
        })
    }

    fn host_bit(&self, host: u32) -> (usize, u64) {
        let bits = u64::try_from(self.hosts.len()).unwrap_or(u64::MAX).saturating_mul(64);
        let bit = (u64::from(host).saturating_mul(bits)) >> 32;
        (usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
    }

    /// Whether an entry may be about this host; when not, none is.
    fn knows_host(&self, host: u32) -> bool {
        let (word, bit) = self.host_bit(host);
        self.hosts.get(word).is_some_and(|w| w & bit != 0)
    }

    /// Looks for entries for one URL. `full`: with the query; `path`: without.
    fn find_url<'a>(&self, full: &'a str, path: &'a str, found: &mut Vec<Found<'a>>) {
        let listed = |text: &str| self.slots(self.key.hash(text)).filter(|m| m.extent() == Extent::Url);
        found.extend(listed(full).map(|meta| Found::new(meta, full)));
        let front_page = path.find('/').is_some_and(|at| at + 1 == path.len());
        if full.len() != path.len() && !front_page {
            found.extend(listed(path).map(|meta| {
                let mut found = Found::new(meta, path);
                found.listing.scope = Scope::Path;
                found.listing.weight = Weight::Warn;
                found
            }));
        }
    }

    /// Looks for entries for a path and all below it.
    fn find_trees<'a>(&self, path: &'a str, host: usize, whole: bool, found: &mut Vec<Found<'a>>) {
        let after_first = path.get(host + 1..).unwrap_or_default();
        let ends = after_first.match_indices('/').map(|(at, _)| host + 1 + at);
        let ends = ends.chain((!path.ends_with('/')).then_some(path.len()));
        for end in ends.take(MAX_DEPTH) {
            let above = path.get(..end).unwrap_or_default();
            for meta in self.slots(self.key.hash(above)) {
                match meta.extent() {
                    Extent::DomainTree => found.push(Found::new(meta, above)),
                    Extent::Tree if whole => found.push(Found::new(meta, above)),
                    _ => {}
                }
            }
        }
    }
}

/// The patterns of one source.
#[derive(Debug)]
struct Patterns {
    set: RegexSet,
    metas: Vec<Meta>,
}

/// An entry that is about the URL.
struct Found<'a> {
    source: u16,
    role: Role,
    listing: Listing,
    expression: &'a str,
}

impl<'a> Found<'a> {
    fn new(meta: Meta, expression: &'a str) -> Self {
        let listing = Listing {
            category: meta.category(),
            scope: meta.extent().scope(),
            weight: meta.weight(),
        };
        Self {
            source: meta.source(),
            role: meta.role(),
            listing,
            expression,
        }
    }

    fn excepts(&self, other: &Self) -> bool {
        self.source == other.source
            && match self.role {
                Role::Listed => false,
                Role::Excepted => true,
                Role::ExceptedHere => self.expression.len() >= other.expression.len(),
            }
    }
}

/// What is listed and not excepted.
fn settled<'a>(found: &[Found<'a>]) -> Vec<Hit<'a>> {
    found
        .iter()
        .filter(|f| f.role == Role::Listed && !found.iter().any(|other| other.excepts(f)))
        .map(|f| Hit {
            source: f.source,
            listing: f.listing,
            expression: f.expression,
        })
        .collect()
}

/// The slot where the search for a hash begins.
fn slot(hash: u64, slots: usize) -> usize {
    let slots = u128::try_from(slots).unwrap_or(0);
    usize::try_from((u128::from(hash) * slots) >> 64).unwrap_or(0)
}
