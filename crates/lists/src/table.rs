//! The table that all lists are looked up in.

use link::{Listing, Scope, Weight};
use regex::RegexSet;
use siphasher::sip::SipHasher13;

use crate::canonical::{Canonical, suffixes};
use crate::copy::{ListCopy, Meta, low};
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
/// An open table of 64-bit hashes, 16 octets a slot, three quarters full, and a bit map of 16 bits for each entry that says
/// at once, for nearly every host there is, that no list has anything on it. Copies need not be kept beside it: when one
/// source changes, [`Self::replace`] takes the others from the table before.
#[derive(Debug)]
pub struct ListTable {
    key: HashKey,
    generation: u64,
    /// Zero where a slot is empty.
    hashes: Vec<u64>,
    rests: Vec<Rest>,
    /// One bit for each host that an entry is about.
    hosts: Vec<u64>,
    /// Whether any entry is a [`Extent::Tree`], and whether one is a [`Extent::DomainTree`].
    trees: bool,
    domain_trees: bool,
    patterns: Vec<Patterns>,
    /// How many slots are not empty.
    taken: usize,
}

/// What a slot holds beside its hash.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    meta: Meta,
    /// Low half of the hash of the host.
    host: u32,
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
        let entries = sources.iter().map(|(_, copy)| copy.entries.len()).sum();
        let mut table = Self::with_room(key, generation, entries);
        for (source, copy) in sources {
            table.add(*source, copy);
        }
        table
    }

    /// Makes a table in which one source has another copy, or nothing any more; the other sources are as they are here.
    #[must_use]
    pub fn replace(&self, generation: u64, source: u16, copy: Option<&ListCopy>) -> Self {
        let others = || {
            let taken = self.hashes.iter().zip(&self.rests).filter(|(hash, _)| **hash != 0);
            taken.filter(|(_, rest)| rest.meta.source() != source)
        };
        let entries = others().count() + copy.map_or(0, |c| c.entries.len());
        let mut table = Self::with_room(&self.key, generation, entries);
        for (hash, rest) in others() {
            table.insert(*hash, *rest);
        }
        let others = self.patterns.iter().filter(|p| p.source != source);
        table.patterns.extend(others.cloned());
        if let Some(copy) = copy {
            table.add(source, copy);
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
            // Nothing is below an address, and no list names a single label with all below it.
            if !whole && (url.is_address() || !name.contains('.')) {
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
        self.taken + self.patterns.iter().map(|p| p.set.len()).sum::<usize>()
    }

    /// Whether no source lists anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes up in memory, in octets, patterns aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>()
            + self.rests.capacity() * size_of::<Rest>()
            + self.hosts.capacity() * size_of::<u64>()
    }

    fn with_room(key: &HashKey, generation: u64, entries: usize) -> Self {
        // A slot stays empty, so that every search ends.
        let slots = entries + entries / 3 + 1;
        Self {
            key: *key,
            generation,
            hashes: vec![0; slots],
            rests: vec![Rest::default(); slots],
            hosts: vec![0; entries / 4 + 1],
            taken: 0,
            trees: false,
            domain_trees: false,
            patterns: Vec::new(),
        }
    }

    fn add(&mut self, source: u16, copy: &ListCopy) {
        for packed in &copy.entries {
            let rest = Rest {
                meta: packed.meta.with_source(source),
                host: packed.host,
            };
            self.insert(packed.key.max(1), rest);
        }
        if !copy.patterns.is_empty() {
            self.patterns.push(Patterns {
                source,
                set: copy.patterns.clone(),
                metas: copy.pattern_metas.iter().map(|m| m.with_source(source)).collect(),
            });
        }
    }

    fn insert(&mut self, key: u64, rest: Rest) {
        match rest.meta.extent() {
            Extent::Tree => self.trees = true,
            Extent::DomainTree => (self.trees, self.domain_trees) = (true, true),
            _ => {}
        }
        let (word, bit) = self.host_bit(rest.host);
        if let Some(word) = self.hosts.get_mut(word) {
            *word |= bit;
        }
        let slots = self.hashes.len();
        let mut at = slot(key, slots);
        while let Some(hash) = self.hashes.get_mut(at) {
            if *hash == 0 {
                *hash = key;
                if let Some(slot) = self.rests.get_mut(at) {
                    *slot = rest;
                }
                self.taken += 1;
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
                    Some(hash) if *hash == key => return self.rests.get(here).map(|r| r.meta),
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
#[derive(Debug, Clone)]
struct Patterns {
    source: u16,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Protected;
    use crate::format::{Format, Reading};
    use link::Category;
    use proptest::prelude::*;

    fn key() -> HashKey {
        HashKey::new(*b"0123456789abcdef")
    }

    fn copy(format: Format, text: &str) -> ListCopy {
        let protected = Protected::default();
        let mut reading = Reading::new(format, Category::Malware, Weight::Block, &key(), &protected);
        reading.push(text.as_bytes());
        reading.finish()
    }

    fn table(lists: &[(Format, &str)]) -> ListTable {
        let copies: Vec<ListCopy> = lists.iter().map(|(format, text)| copy(*format, text)).collect();
        let sources: Vec<(u16, &ListCopy)> = (0..).zip(&copies).collect();
        ListTable::build(&key(), 1, &sources)
    }

    fn hits(table: &ListTable, url: &str) -> Vec<String> {
        let url = Canonical::of(url.as_bytes()).unwrap();
        table
            .find(&url)
            .iter()
            .map(|h| {
                format!(
                    "{} {:?} {:?} {}",
                    h.source, h.listing.scope, h.listing.weight, h.expression
                )
            })
            .collect()
    }

    #[test]
    fn hosts_domains_and_names_below() {
        let table = table(&[
            (Format::Domains, "host.example\n*.domain.example\n1.2.3.4\n"),
            (Format::Rpz, "*.below.example CNAME .\n"),
        ]);
        for (url, wanted) in [
            ("https://host.example/any?thing", &["0 Host Block host.example"][..]),
            ("https://www.host.example/", &[]),
            ("https://domain.example/", &["0 Domain Block domain.example"]),
            ("https://a.b.domain.example:81/x", &["0 Domain Block domain.example"]),
            ("https://notdomain.example/", &[]),
            ("https://below.example/", &[]),
            ("https://a.b.below.example/", &["1 Domain Block below.example"]),
            ("http://0x1020304/x", &["0 Host Block 1.2.3.4"]),
            ("http://9.1.2.3.4.example/", &[]),
            ("https://example/", &[]),
        ] {
            assert_eq!(hits(&table, url), wanted, "{url}");
        }
    }

    #[test]
    fn urls_are_exact() {
        let table = table(&[(
            Format::Urls,
            "https://evil.example/login?id=1\nhttp://evil.example:8080/page\nhttps://front.example/\n",
        )]);
        for (url, wanted) in [
            (
                "http://EVIL.example/x/../login?id=1#y",
                &["0 Url Block evil.example/login?id=1"][..],
            ),
            ("https://evil.example/login?id=2", &[]),
            ("https://evil.example/login", &[]),
            ("https://evil.example/page", &["0 Url Block evil.example/page"]),
            ("https://evil.example/page?mine=1", &["0 Path Warn evil.example/page"]),
            ("https://evil.example/page/", &[]),
            ("https://www.evil.example/page", &[]),
            ("https://front.example", &["0 Url Block front.example/"]),
            ("https://front.example/?x", &[]),
            ("https://front.example/x", &[]),
        ] {
            assert_eq!(hits(&table, url), wanted, "{url}");
        }
    }

    #[test]
    fn paths_with_all_below() {
        let table = table(&[(Format::Adblock, "||evil.example/dir^\n|https://one.example/a/b/\n")]);
        for (url, wanted) in [
            ("https://evil.example/dir", &["0 Path Block evil.example/dir"][..]),
            ("https://evil.example/dir?x", &["0 Path Block evil.example/dir"]),
            ("https://evil.example/dir/", &["0 Path Block evil.example/dir"]),
            (
                "https://sub.evil.example/dir/a/b/c?d",
                &["0 Path Block evil.example/dir"],
            ),
            ("https://evil.example/dirt", &[]),
            ("https://evil.example/", &[]),
            ("https://one.example/a/b/c", &["0 Path Block one.example/a/b"]),
            ("https://sub.one.example/a/b/c", &[]),
            ("https://one.example/a/", &[]),
        ] {
            let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
            let got: Vec<String> = hits(&table, url).iter().map(|h| h.replace("sub.", "")).collect();
            assert_eq!(got, wanted, "{url}");
        }
        let eight = "https://evil.example/dir/2/3/4/5/6/7/8/9/10";
        assert_eq!(hits(&table, eight).len(), 1);
    }

    #[test]
    fn exceptions_are_those_of_the_same_source() {
        let table = table(&[
            (
                Format::Adblock,
                "||evil.example^\n||x.good.evil.example^\n@@||good.evil.example^\n",
            ),
            (Format::Domains, "good.evil.example\n"),
            (
                Format::Rpz,
                "*.zone.example CNAME .\n*.ok.zone.example CNAME rpz-passthru.\nbad.ok.zone.example CNAME .\n",
            ),
        ]);
        for (url, wanted) in [
            ("https://evil.example/", &["0 Domain Block evil.example"][..]),
            ("https://good.evil.example/", &["1 Host Block good.evil.example"]),
            // A filter list's exception holds whatever the list says elsewhere.
            ("https://x.good.evil.example/", &[]),
            ("https://a.zone.example/", &["2 Domain Block zone.example"]),
            ("https://a.ok.zone.example/", &[]),
            // In a zone the longer name counts.
            ("https://bad.ok.zone.example/", &["2 Host Block bad.ok.zone.example"]),
        ] {
            assert_eq!(hits(&table, url), wanted, "{url}");
        }
    }

    #[test]
    fn patterns() {
        let table = table(&[
            (Format::Domains, "a.example\n"),
            (Format::Regex, "^https?://[^/]+/wp-.*\\.exe$\n^http://odd\n"),
        ]);
        assert_eq!(
            hits(&table, "http://odd.example/wp-x/y.exe"),
            ["1 Url Block ^https?://[^/]+/wp-.*\\.exe$", "1 Url Block ^http://odd"]
        );
        assert_eq!(hits(&table, "http://fine.example/wp-x/"), [] as [&str; 0]);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn several_sources_and_none() {
        let empty = ListTable::build(&key(), 9, &[]);
        assert_eq!(
            (empty.len(), empty.generation(), hits(&empty, "http://a.example/").len()),
            (0, 9, 0)
        );
        let text = "evil.example\n";
        let table = table(&[(Format::Domains, text); 20]);
        assert_eq!(hits(&table, "http://evil.example/").len(), 20);
    }

    #[test]
    fn one_source_is_replaced_and_the_others_stay() {
        let before = table(&[
            (Format::Domains, "a.example\nboth.example\n"),
            (Format::Adblock, "||b.example/dir^\n||both.example^\n"),
            (Format::Regex, "pattern"),
        ]);
        let other = copy(Format::Domains, "c.example\n");
        let after = before.replace(2, 0, Some(&other));
        assert_eq!((before.len(), after.len(), after.generation()), (5, 4, 2));
        for (url, wanted) in [
            ("http://a.example/", &[][..]),
            (
                "http://c.example/pattern",
                &["0 Host Block c.example", "2 Url Block pattern"],
            ),
            ("http://x.b.example/dir/y", &["1 Path Block b.example/dir"]),
            ("http://both.example/", &["1 Domain Block both.example"]),
        ] {
            let got: Vec<String> = hits(&after, url).iter().map(|h| h.replace("x.b.", "b.")).collect();
            assert_eq!(got, wanted, "{url}");
        }
        let none = after.replace(3, 1, None).replace(4, 0, None).replace(5, 2, None);
        assert!(none.is_empty());
    }

    #[test]
    fn the_category_of_a_record_is_kept() {
        let table = table(&[(
            Format::Csv,
            "url,threat\nhttp://a.example/,phishing\nhttp://b.example/,\n",
        )]);
        let category = |url: &str| table.find(&Canonical::of(url.as_bytes()).unwrap())[0].listing.category;
        assert_eq!(category("http://a.example/"), Category::Phishing);
        assert_eq!(category("http://b.example/"), Category::Malware);
    }

    /// Says that a table agrees with a plain reading of the rules.
    fn agrees(listed: &[String], asked: &str) -> bool {
        let text: String = listed.iter().map(|l| format!("{l}\n")).collect();
        let table = table(&[(Format::Domains, &text)]);
        let wanted = listed.iter().any(|l| match l.strip_prefix("*.") {
            Some(domain) => asked == domain || asked.ends_with(&format!(".{domain}")),
            None => asked == l,
        });
        wanted != hits(&table, &format!("http://{asked}/")).is_empty()
    }

    proptest! {
        #[test]
        fn a_table_says_what_its_lists_say(
            listed in prop::collection::vec("(\\*\\.)?([ab]\\.){0,3}[ab]\\.example", 0..12),
            asked in "([ab]\\.){0,4}[ab]\\.example",
        ) {
            prop_assert!(agrees(&listed, &asked), "{listed:?} {asked}");
        }
    }
}
