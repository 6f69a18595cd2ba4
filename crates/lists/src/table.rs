//! The table that all lists are looked up in.

use link::{Listing, Scope, Weight};
use regex::RegexSet;

use crate::canonical::{Canonical, suffixes};
use crate::copy::{ListCopy, Meta, Packed, low};
use crate::entry::{Extent, MAX_DEPTH, Role};
use crate::hash_key::{EMPTY, HashKey};
use crate::hosts::{Counts, Hosts, Kind};
use crate::slice::{part, part_mut};

/// Entries of several sources, looked up by URL. A table never changes; a new one takes its place.
///
/// An open table of 64-bit hashes, 16 octets a slot, three quarters full, and bit maps of 16 bits for each entry that tell
/// most unlisted hosts at once. Copies need not be kept beside it: when one source changes, [`Self::rebuild`] takes the
/// others from the table before.
#[derive(Debug)]
pub struct ListTable {
    key: HashKey,
    generation: u64,
    slots: Vec<Packed>,
    hosts: Hosts,
    patterns: Vec<Patterns>,
    /// Slots that are not empty.
    taken: usize,
}

/// One source that names a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The number that the source was given in [`ListTable::build`].
    pub source: u16,
    /// The source's finding on the URL.
    pub listing: Listing,
    /// The expression on the list, such as `a.example/b`, or the pattern that fits.
    pub expression: &'a str,
}

impl ListTable {
    /// Makes a table of the copies of several sources, each with the number that hits name it by.
    ///
    /// `generation` tells this table from others in caches of verdicts.
    #[must_use]
    pub fn build(key: &HashKey, generation: u64, sources: &[(u16, &ListCopy)]) -> Self {
        Self::with_room(key, 0, Counts::default()).rebuild(generation, |_| None, sources)
    }

    /// Makes a table in which some sources have other copies. `keep` gives the others their new number, or `None` to drop
    /// them; it must drop a source that has another copy.
    #[must_use]
    pub fn rebuild(&self, generation: u64, keep: impl Fn(u16) -> Option<u16>, sources: &[(u16, &ListCopy)]) -> Self {
        let kept = || {
            let taken = self.slots.iter().filter(|slot| slot.key != EMPTY);
            taken.filter_map(|slot| Some(slot.with_source(keep(slot.meta.source())?)))
        };
        let mut counts = Counts::default();
        for entry in kept() {
            counts.add(entry.meta.extent());
        }
        for (_, copy) in sources {
            copy.count(&mut counts);
        }
        let mut table = Self::with_room(&self.key, generation, counts);
        for entry in kept() {
            table.insert(entry);
        }
        for patterns in &self.patterns {
            if let Some(number) = keep(patterns.source) {
                table.patterns.push(patterns.with_source(number));
            }
        }
        for (source, copy) in sources {
            table.add(*source, copy);
        }
        table
    }

    /// The listings of a URL in all sources.
    #[must_use]
    pub fn find<'a>(&'a self, url: &'a Canonical) -> Vec<Hit<'a>> {
        let mut found: Vec<Found<'a>> = Vec::new();
        let (host_start, host_end, path_end) = url.marks();
        let text = url.as_str();
        for name in suffixes(url.host()) {
            let whole = name.len() == host_end - host_start;
            // Nothing is below an address, and no list names a single label with all below it.
            if !whole && (url.is_address() || !self.reaches_below() || !name.contains('.')) {
                break;
            }
            let hash = self.key.hash(name);
            let may_have = |kind| self.hosts.may_have(kind, low(hash));
            if may_have(Kind::Domain) || whole && may_have(Kind::Host) {
                self.find_host(name, hash, whole, &mut found);
            }
            let start = host_end - name.len();
            if whole && may_have(Kind::Url) {
                self.find_url(part(text, start..), part(text, start..path_end), &mut found);
            }
            if may_have(Kind::Tree) {
                self.find_trees(part(text, start..path_end), name.len(), whole, &mut found);
            }
        }
        for patterns in &self.patterns {
            for at in patterns.set.matches(text) {
                found.push(Found::new(
                    *part(&patterns.metas, at),
                    part(patterns.set.patterns(), at),
                ));
            }
        }
        without_excepted(found)
    }

    /// The generation that [`Self::build`] was given.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of entries and patterns of all sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken + self.patterns.iter().map(|p| p.set.len()).sum::<usize>()
    }

    /// Whether no source lists anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory taken up, in octets, without patterns.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Packed>() + self.hosts.memory()
    }

    fn with_room(key: &HashKey, generation: u64, counts: Counts) -> Self {
        let entries = counts.all();
        // A slot stays empty, so that every search ends.
        let slots = entries + entries / 3 + 1;
        Self {
            key: *key,
            generation,
            slots: vec![Packed::default(); slots],
            hosts: Hosts::with_room(counts),
            taken: 0,
            patterns: Vec::new(),
        }
    }

    fn add(&mut self, source: u16, copy: &ListCopy) {
        for entry in &copy.entries {
            self.insert(entry.with_source(source));
        }
        if !copy.patterns.is_empty() {
            let patterns = Patterns {
                source,
                set: copy.patterns.clone(),
                metas: copy.pattern_metas.clone(),
            };
            self.patterns.push(patterns.with_source(source));
        }
    }

    fn insert(&mut self, entry: Packed) {
        self.hosts.add(entry.meta.extent().into(), entry.host);
        let mut at = slot(entry.key, self.slots.len());
        while part(&self.slots, at).key != EMPTY {
            at = self.after(at);
        }
        *part_mut(&mut self.slots, at) = entry;
        self.taken += 1;
    }

    /// The entries with this hash.
    fn slots(&self, hash: u64) -> impl Iterator<Item = Meta> {
        let mut at = slot(hash, self.slots.len());
        std::iter::from_fn(move || {
            loop {
                let here = part(&self.slots, at);
                at = self.after(at);
                match here.key {
                    EMPTY => return None,
                    key if key == hash => return Some(here.meta),
                    _ => {}
                }
            }
        })
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// Whether any entry covers more than the host it names.
    fn reaches_below(&self) -> bool {
        self.hosts.any(Kind::Domain) || self.hosts.any(Kind::Tree)
    }

    /// Finds entries for a host by its hash; without `whole`, `name` is a name above the host of the URL.
    fn find_host<'a>(&self, name: &'a str, hash: u64, whole: bool, found: &mut Vec<Found<'a>>) {
        let listed = self.slots(hash).filter(|meta| match meta.extent() {
            Extent::Host => whole,
            Extent::Domain => true,
            Extent::Below => !whole,
            _ => false,
        });
        found.extend(listed.map(|meta| Found::new(meta, name)));
    }

    /// Finds entries for one URL. `full`: with the query; `path`: without.
    fn find_url<'a>(&self, full: &'a str, path: &'a str, found: &mut Vec<Found<'a>>) {
        let front_page = path.find('/').is_some_and(|at| at + 1 == path.len());
        let hash = self.key.hash(full);
        let without_query = (full.len() != path.len() && !front_page).then(|| self.key.hash(path));
        let listed = |hash| self.slots(hash).filter(|m| m.extent() == Extent::Url);
        found.extend(listed(hash).map(|meta| Found::new(meta, full)));
        found.extend(without_query.into_iter().flat_map(listed).map(|meta| {
            let mut found = Found::new(meta, path);
            found.listing.scope = Scope::Path;
            found.listing.weight = Weight::Warn;
            found
        }));
    }

    /// Finds entries for a path and all below it.
    fn find_trees<'a>(&self, path: &'a str, host: usize, whole: bool, found: &mut Vec<Found<'a>>) {
        let after_first = part(path, host + 1..);
        let ends = after_first.match_indices('/').map(|(at, _)| host + 1 + at);
        let ends = ends.chain((!path.ends_with('/')).then_some(path.len()));
        for end in ends.take(MAX_DEPTH) {
            let above = part(path, ..end);
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

impl Patterns {
    fn with_source(&self, source: u16) -> Self {
        Self {
            source,
            set: self.set.clone(),
            metas: self.metas.iter().map(|m| m.with_source(source)).collect(),
        }
    }
}

/// An entry that covers the URL.
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

/// The listings that no exception takes back.
fn without_excepted(mut found: Vec<Found<'_>>) -> Vec<Hit<'_>> {
    let exceptions: Vec<_> = found.extract_if(.., |f| f.role != Role::Listed).collect();
    found
        .into_iter()
        .filter(|f| !exceptions.iter().any(|e| e.excepts(f)))
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
    #[should_panic(expected = "index out of bounds")]
    fn a_pattern_without_its_entry_is_not_passed_over() {
        let mut table = table(&[(Format::Regex, "^http://odd\n")]);
        table.patterns[0].metas.clear();
        hits(&table, "http://odd.example/");
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
        // The last becomes the first but one.
        let number = |source| match source {
            1 => Some(3),
            2 => Some(1),
            _ => None,
        };
        let after = before.rebuild(2, number, &[(0, &other)]);
        assert_eq!((before.len(), after.len(), after.generation()), (5, 4, 2));
        for (url, wanted) in [
            ("http://a.example/", &[][..]),
            (
                "http://c.example/pattern",
                &["0 Host Block c.example", "1 Url Block pattern"],
            ),
            ("http://x.b.example/dir/y", &["3 Path Block b.example/dir"]),
            ("http://both.example/", &["3 Domain Block both.example"]),
        ] {
            let got: Vec<String> = hits(&after, url).iter().map(|h| h.replace("x.b.", "b.")).collect();
            assert_eq!(got, wanted, "{url}");
        }
        assert!(after.rebuild(3, |_| None, &[]).is_empty());
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
