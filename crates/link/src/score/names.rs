//! Protected names, and hosts that imitate them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use super::brands;
use super::host::{Place, look, shown};
use super::{Code, Found, text};
use crate::escapes::clip;
use crate::rule_error::RuleError;

/// Names that a table protects: `protected_names`, the operator's own domains, or the most imitated ones.
#[derive(Debug, Default)]
pub struct NameTable {
    /// As readers see them, in lower case.
    names: Vec<Name>,
    /// Hashes of names less one character, with the place of the name; sorted.
    shortened: Vec<(u64, u32)>,
    by_name: HashMap<String, u32>,
    by_look: HashMap<String, u32>,
    /// The genuine registrable domains.
    domains: HashSet<String>,
    reach: Reach,
}

#[derive(Debug, PartialEq, Eq)]
struct Name {
    text: String,
    /// A genuine domain is known; a bare name has no owner.
    has_domain: bool,
}

/// The names that phishing imitates most, built at first use.
static BRANDS: LazyLock<NameTable> = LazyLock::new(|| NameTable::of_brands(brands::DOMAINS.iter().copied()));

/// Names that are ordinary words or very short, and more domains of those firms: only look-alikes count.
static SHORT_NAMES: LazyLock<NameTable> = LazyLock::new(|| NameTable::of_own_domains(brands::SHORT.iter().copied()));

/// The signs that a table's names give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reach {
    /// Every sign.
    #[default]
    Full,
    /// Every sign, but under the endings of countries the name is its owner's.
    World,
    /// Look-alikes only: with thousands of names other signs would be chance.
    Looks,
}

/// Shortest name that counts as a part of another: shorter ones occur by chance.
const MIN_PART: usize = 5;

/// Shortest name that counts when it is one character away.
const MIN_NEAR: usize = 6;

/// Longest label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

impl NameTable {
    /// The allowed forms of an entry.
    pub const ALLOWED: &'static str = "a domain such as \"example.com\", or a bare name of three characters or more";

    /// Reads `protected_names`: domains, whose first registrable label is protected, and bare names without owner.
    ///
    /// # Errors
    /// Every entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<RuleError>> {
        let mut table = Self::default();
        let mut errors = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let entry = entry.as_ref();
            if let Err(why) = table.add(entry.trim()) {
                errors.push(RuleError {
                    index,
                    rule: entry.into(),
                    why,
                    allowed: Self::ALLOWED,
                });
            }
        }
        table.finish();
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// A table of the operator's own domains, which may be many: only look-alikes count.
    #[must_use]
    pub fn of_own_domains<'s>(domains: impl IntoIterator<Item = &'s str>) -> Self {
        Self::of(domains, Reach::Looks)
    }

    /// A table of firms that hold their name under the endings of countries.
    pub(super) fn of_brands<'s>(domains: impl IntoIterator<Item = &'s str>) -> Self {
        Self::of(domains, Reach::World)
    }

    fn of<'s>(domains: impl IntoIterator<Item = &'s str>, reach: Reach) -> Self {
        let mut table = Self {
            reach,
            ..Self::default()
        };
        for domain in domains {
            let _ = table.add(domain);
        }
        table.finish();
        table
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        let ascii = idna::domain_to_ascii(entry).map_err(|_| "not a name of domains".to_owned())?;
        let ascii = ascii.trim_end_matches('.');
        let last = ascii.rsplit('.').next().unwrap_or_default();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !ascii.bytes().all(legal) || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err("not a name of domains".into());
        }
        let name = if ascii.contains('.') {
            let place = Place::of_name(ascii);
            if place.domain.is_empty() {
                return Err("a public suffix, which belongs to nobody".into());
            }
            self.domains.insert(place.domain.to_owned());
            place.label.into_owned()
        } else {
            shown(ascii).into_owned()
        };
        if name.is_empty() {
            return Err("not a name of domains".into());
        }
        if !ascii.contains('.') && name.chars().count() < 3 {
            return Err("too short: it would turn up everywhere".into());
        }
        let has_domain = ascii.contains('.');
        if let Some(known) = self.by_name.get(&name) {
            if let Some(known) = self.names.get_mut(*known as usize) {
                known.has_domain |= has_domain;
            }
            return Ok(());
        }
        let place = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.by_look.entry(look(&name)).or_insert(place);
        self.by_name.insert(name.clone(), place);
        if self.reach != Reach::Looks && name.chars().count() >= MIN_NEAR {
            self.shortened.extend(without_one(&name).map(|s| (hash(&s), place)));
        }
        self.names.push(Name { text: name, has_domain });
        Ok(())
    }

    fn finish(&mut self) {
        self.shortened.sort_unstable();
        self.shortened.dedup();
    }

    fn is_same(&self, other: &Self) -> bool {
        self.names == other.names && self.domains == other.domains && self.reach == other.reach
    }

    fn name(&self, place: u32) -> &str {
        self.names.get(place as usize).map_or("", |n| &*n.text)
    }

    /// The name that one inserted, left out, replaced or swapped character makes of `label`.
    fn near(&self, label: &str) -> Option<&str> {
        if self.shortened.is_empty() || label.chars().count() + 1 < MIN_NEAR || label.len() > MAX_LABEL {
            return None;
        }
        let of_hash = |text: &str| {
            let hash = hash(text);
            let from = self.shortened.partition_point(|(h, _)| *h < hash);
            let (_, rest) = self.shortened.split_at(from);
            rest.iter()
                .take_while(move |(h, _)| *h == hash)
                .map(|(_, place)| self.name(*place))
        };
        // One character is missing.
        if let Some(name) = of_hash(label).find(|name| is_one_away(label, name)) {
            return Some(name);
        }
        without_one(label).find_map(|short| {
            // One is added, or replaced.
            let whole = self.by_name.get(&*short).map(|p| self.name(*p));
            whole
                .filter(|name| name.chars().count() >= MIN_NEAR)
                .or_else(|| of_hash(&short).find(|name| is_one_away(label, name)))
        })
    }

    /// Whether a text is one of these names, or looks like one, and `place` is not its owner's.
    fn is_shown_by(&self, text: &str, place: &Place<'_>) -> bool {
        let long = |name: &u32| self.name(*name).chars().count() >= MIN_PART;
        let meant = self
            .by_name
            .get(text)
            .or_else(|| self.by_look.get(&look(text)).filter(|n| long(n)));
        meant.is_some_and(|name| self.name(*name) != place.label || !self.is_at_home(*name, place))
    }

    /// Whether a domain with this name as its label counts as its owner's without being listed.
    fn is_at_home(&self, name: u32, place: &Place<'_>) -> bool {
        match self.reach {
            Reach::Full => self.names.get(name as usize).is_none_or(|n| !n.has_domain),
            Reach::World => is_of_a_country(place.ending),
            Reach::Looks => true,
        }
    }

    /// The worst sign of a host; `looks`: the skeleton of its label.
    fn judge(&self, place: &Place<'_>, looks: &str) -> Option<(Code, &str)> {
        let label = &*place.label;
        if let Some(name) = self.by_name.get(label) {
            return (!self.is_at_home(*name, place)).then(|| (Code::OtherEnding, self.name(*name)));
        }
        if let Some(name) = self.by_look.get(looks) {
            let digits = label.is_ascii() && label.contains(|c: char| c.is_ascii_digit());
            let code = if digits {
                Code::DigitsForLetters
            } else {
                Code::LookAlike
            };
            return Some((code, self.name(*name)));
        }
        if let Some(name) = letters_for_digits(label).find_map(|l| self.by_name.get(&l)) {
            return Some((Code::DigitsForLetters, self.name(*name)));
        }
        if self.reach == Reach::Looks {
            return None;
        }
        let part = |text: &str| {
            let name = self.by_name.get(text).or_else(|| self.by_look.get(&look(text)))?;
            Some(self.name(*name)).filter(|name| name.chars().count() >= MIN_PART)
        };
        let parts = |label: &str| label.split('-').filter(|p| p.len() >= MIN_PART).find_map(part);
        let near = || self.near(label).map(|name| (Code::NearName, name));
        let in_front = || {
            let labels = place.front.split('.').filter(|l| l.len() >= MIN_PART);
            labels
                .filter_map(|l| parts(&shown(l)))
                .map(|name| (Code::NameInSubdomain, name))
                .next()
        };
        let within = || {
            let found = label.contains('-').then(|| parts(label)).flatten();
            found.map(|name| (Code::NamePart, name))
        };
        near().or_else(in_front).or_else(within)
    }
}

/// The names that one recipient domain protects.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<Arc<NameTable>>);

impl Names {
    /// Joins tables; each may be shared by many domains.
    #[must_use]
    pub fn new(tables: Vec<Arc<NameTable>>) -> Self {
        Self(tables)
    }
}

impl PartialEq for Names {
    /// Compares without the operator's own domains: they are the same for every recipient.
    fn eq(&self, other: &Self) -> bool {
        fn chosen(names: &Names) -> impl Iterator<Item = &Arc<NameTable>> {
            names.0.iter().filter(|table| table.reach != Reach::Looks)
        }
        let same = |(a, b): (&Arc<NameTable>, &Arc<NameTable>)| Arc::ptr_eq(a, b) || a.is_same(b);
        chosen(self).count() == chosen(other).count() && chosen(self).zip(chosen(other)).all(same)
    }
}

impl Eq for Names {}

/// Whether the name that a sender shows is a protected one of another owner, or holds an address of another domain.
pub(crate) fn is_posed(shown: &str, domain: &str, names: &Names) -> bool {
    /// Most octets of a name read.
    const MAX_SHOWN: usize = 512;
    /// Most words of a protected name: "American Express".
    const MAX_WORDS: usize = 3;
    let shown = clip(shown, MAX_SHOWN);
    let words = text::words(shown);
    // Mailing lists name themselves and the member; the reader knows them.
    if words.iter().any(|w| w == "via") {
        return false;
    }
    let place = Place::of_name(domain);
    if shows_address(shown, place.domain) {
        return true;
    }
    let tables = || names.0.iter().map(AsRef::as_ref).chain([&*BRANDS]);
    if tables().any(|t| t.domains.contains(place.domain)) {
        return false;
    }
    let mut tables = tables().filter(|t| t.reach != Reach::Looks);
    tables.any(|table| {
        let starts = 0..words.len();
        starts
            .flat_map(|from| (1..=MAX_WORDS).filter_map(move |many| Some((from, from.checked_add(many)?))))
            .filter_map(|(from, to)| words.get(from..to))
            .any(|some| table.is_shown_by(&some.concat(), &place))
    })
}

/// Whether a text holds a mail address of another registrable domain.
fn shows_address(shown: &str, domain: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.');
    shown.match_indices('@').any(|(at, _)| {
        let before = shown.get(..at).unwrap_or_default();
        let behind = shown.get(at.saturating_add(1)..).unwrap_or_default();
        let name = behind.split(|c| !is_of_name(c)).next().unwrap_or_default();
        before.ends_with(char::is_alphanumeric)
            && text::host_of(name).is_some_and(|name| Place::of_name(&name).domain != domain)
    })
}

/// The worst sign of all tables.
pub(super) fn signs(place: &Place<'_>, names: Option<&Names>, found: &mut Found) {
    if place.domain.is_empty() {
        return;
    }
    let tables = || {
        let own = names.map(|n| n.0.as_slice()).unwrap_or_default();
        own.iter().map(AsRef::as_ref).chain([&*BRANDS, &*SHORT_NAMES])
    };
    if tables().any(|t| t.domains.contains(place.domain)) {
        return;
    }
    let looks = look(&place.label);
    let worst = tables()
        .filter_map(|t| t.judge(place, &looks))
        .max_by_key(|(code, _)| code.points());
    if let Some((code, name)) = worst {
        found.add(code, name);
    }
}

/// Endings of countries sold to anybody at once, for next to nothing.
const OPEN_COUNTRIES: [&str; 22] = [
    "ai", "am", "bz", "cc", "cf", "co", "fm", "ga", "gg", "gq", "io", "la", "ly", "me", "ml", "pw", "sh", "st", "tk",
    "to", "vc", "ws",
];

fn is_of_a_country(ending: &str) -> bool {
    let last = ending.rsplit('.').next().unwrap_or_default();
    let general = matches!(ending.split('.').next(), Some("com" | "co" | "net" | "org"));
    last.len() == 2 && !OPEN_COUNTRIES.contains(&last) && (ending.len() == 2 || general)
}

/// A label with letters for the digits that resemble them, in two readings.
fn letters_for_digits(label: &str) -> impl Iterator<Item = String> {
    let worth =
        label.is_ascii() && label.bytes().any(|b| b.is_ascii_digit()) && label.bytes().any(|b| b.is_ascii_alphabetic());
    let ways = if worth { [Some(false), Some(true)] } else { [None, None] };
    ways.into_iter().flatten().map(move |other| {
        let letter = |c| match c {
            '0' => 'o',
            '1' if other => 'i',
            '1' => 'l',
            '2' => 'z',
            '3' => 'e',
            '4' => 'a',
            '5' => 's',
            '6' if other => 'g',
            '6' => 'b',
            '7' => 't',
            '8' => 'b',
            '9' => 'g',
            _ => c,
        };
        label.chars().map(letter).collect()
    })
}

/// The text with each of its characters left out in turn.
fn without_one(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.char_indices().map(|(at, c)| {
        let (head, tail) = text.split_at(at);
        let mut short = String::with_capacity(text.len());
        short.push_str(head);
        short.extend(tail.get(c.len_utf8()..));
        Cow::Owned(short)
    })
}

/// Whether one inserted, left out, replaced or swapped character makes `b` of `a`.
fn is_one_away(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let rest = |v: &[char], skip: usize| v.get(head + skip..).unwrap_or_default().to_vec();
    let (ra, rb) = (rest(&a, 0), rest(&b, 0));
    let swapped = match (ra.as_slice(), rb.as_slice()) {
        ([a1, a2, at @ ..], [b1, b2, bt @ ..]) => a1 == b2 && a2 == b1 && at == bt,
        _ => false,
    };
    a != b && (swapped || rest(&a, 1) == rb || ra == rest(&b, 1) || rest(&a, 1) == rest(&b, 1))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
