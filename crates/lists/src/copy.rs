//! A copy of a list as it was read, and whether it may take the place of the one before.

use std::collections::HashSet;

use link::{Category, Weight};
use regex::RegexSet;

use crate::canonical::suffixes;
use crate::entry::{Entry, Extent, Role, host_expression};
use crate::hash_key::HashKey;
use crate::hosts::Counts;
use crate::report::Report;
use crate::slice::part;

/// The entries of one source, ready for [`crate::ListTable::build`]: 16 octets each.
#[derive(Debug, Clone)]
pub struct ListCopy {
    pub(crate) entries: Vec<Packed>,
    pub(crate) patterns: RegexSet,
    pub(crate) pattern_metas: Vec<Meta>,
    pub(crate) report: Report,
    pub(crate) protected: Vec<String>,
}

impl ListCopy {
    /// Number of entries, each counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.patterns.len()
    }

    /// Whether it lists nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The report of the reading.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first entries that name something protected.
    #[must_use]
    pub fn protected(&self) -> &[String] {
        &self.protected
    }

    /// Memory taken up, in octets, without patterns.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Packed>()
    }

    /// Counts its entries by their kind.
    pub(crate) fn count(&self, counts: &mut Counts) {
        for entry in &self.entries {
            counts.add(entry.meta.extent());
        }
    }
}

/// Names that no list may name: a copy that does is refused as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Domains with all hosts below.
    domains: HashSet<String>,
    /// Single hosts.
    hosts: HashSet<String>,
    /// Names above one of those: listed with all below, they would list those too.
    above: HashSet<String>,
}

impl Protected {
    /// Protects a domain and every host below it, as for the operator's own. A text that is no name is left out.
    pub fn add_domain(&mut self, name: &str) {
        if let Ok(name) = host_expression(name, Extent::Url) {
            self.above.extend(suffixes(&name).skip(1).map(str::to_owned));
            self.domains.insert(name.into_owned());
        }
    }

    /// Protects one host; hosts below may be listed, as for services whose customers have hosts there.
    pub fn add_host(&mut self, name: &str) {
        if let Ok(name) = host_expression(name, Extent::Url) {
            self.above.extend(suffixes(&name).skip(1).map(str::to_owned));
            self.hosts.insert(name.into_owned());
        }
    }

    /// Whether an entry lists a protected host or its front page.
    pub(crate) fn forbids(&self, entry: &Entry<'_>) -> bool {
        if entry.role != Role::Listed {
            return false;
        }
        let expression: &str = &entry.expression;
        match entry.extent {
            Extent::Host => self.hosts.contains(expression) || self.under(expression),
            Extent::Domain | Extent::Below => {
                self.hosts.contains(expression) || self.above.contains(expression) || self.under(expression)
            }
            Extent::Url => expression
                .strip_suffix('/')
                .is_some_and(|host| !host.contains('/') && (self.hosts.contains(host) || self.domains.contains(host))),
            Extent::Tree | Extent::DomainTree => false,
        }
    }

    fn under(&self, name: &str) -> bool {
        suffixes(name).any(|s| self.domains.contains(s))
    }
}

/// The reason a copy may not take the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no entry, and the copy before had some.
    #[error("it is empty; the copy before it had {was} entries")]
    Empty {
        /// Entries of the copy before.
        was: usize,
    },
    /// It has less than half of the entries of the copy before.
    #[error("it shrank by more than half, from {was} entries to {is}")]
    Shrunk {
        /// Entries of the copy before.
        was: usize,
        /// Entries of this one.
        is: usize,
    },
    /// More than one line in a hundred cannot be read.
    #[error("{bad} of {lines} lines cannot be read, more than 1 %; the first, line {line}: {why}")]
    Broken {
        /// Lines that cannot be read.
        bad: u64,
        /// All lines.
        lines: u64,
        /// The first bad line, counted from 1.
        line: u64,
        /// The fault found.
        why: String,
    },
    /// It ends too early, or is something else altogether.
    #[error("it cannot be used: {0}")]
    NotWhole(String),
    /// It lists a protected name.
    #[error("it lists what is protected: {}", .names.join(", "))]
    Protected {
        /// The first few.
        names: Vec<String>,
    },
}

/// Checks whether a copy may take the place of the one before, which had `was` entries; `None` when there was none.
///
/// # Errors
/// [`Refused`]
pub fn accept(was: Option<usize>, copy: &ListCopy) -> Result<(), Refused> {
    let report = &copy.report;
    if !copy.protected.is_empty() {
        return Err(Refused::Protected {
            names: copy.protected.clone(),
        });
    }
    if let Some(broken) = &report.broken {
        return Err(Refused::NotWhole(broken.clone()));
    }
    if report.bad.saturating_mul(100) > report.lines {
        let first = report.faults.first();
        return Err(Refused::Broken {
            bad: report.bad,
            lines: report.lines,
            line: first.map_or(0, |f| f.line),
            why: first.map_or_else(String::new, |f| f.why.to_string()),
        });
    }
    let is = copy.len();
    match was {
        Some(was) if was > 0 && is == 0 => Err(Refused::Empty { was }),
        Some(was) if is < was.div_ceil(2) => Err(Refused::Shrunk { was, is }),
        _ => Ok(()),
    }
}

/// An entry as the table keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packed {
    /// Hash of the expression.
    pub(crate) key: u64,
    /// Low half of the hash of its host.
    pub(crate) host: u32,
    pub(crate) meta: Meta,
}

/// Source, category, weight, extent and role in 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Meta(u32);

impl Packed {
    pub(crate) fn new(key: &HashKey, entry: &Entry<'_>) -> Self {
        let expression: &str = &entry.expression;
        let host = expression.split('/').next().unwrap_or_default();
        let hash = key.hash(expression);
        let of_host = if host.len() == expression.len() {
            hash
        } else {
            key.hash(host)
        };
        Self {
            key: hash,
            host: low(of_host),
            meta: Meta::new(entry),
        }
    }

    pub(crate) fn with_source(self, source: u16) -> Self {
        Self {
            meta: self.meta.with_source(source),
            ..self
        }
    }
}

/// The low half of a hash.
pub(crate) fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

const CATEGORIES: [Category; 7] = [
    Category::Unspecified,
    Category::Phishing,
    Category::Malware,
    Category::Botnet,
    Category::Abuse,
    Category::NewDomain,
    Category::Revoked,
];
const EXTENTS: [Extent; 6] = [
    Extent::Url,
    Extent::Tree,
    Extent::DomainTree,
    Extent::Host,
    Extent::Domain,
    Extent::Below,
];
const ROLES: [Role; 3] = [Role::Listed, Role::Excepted, Role::ExceptedHere];

impl Meta {
    pub(crate) fn new(entry: &Entry<'_>) -> Self {
        let category = place(&CATEGORIES, entry.category);
        let extent = place(&EXTENTS, entry.extent);
        let role = place(&ROLES, entry.role);
        let weight = u32::from(entry.weight == Weight::Block);
        Self((category << 16) | (extent << 20) | (role << 24) | (weight << 28))
    }

    pub(crate) fn with_source(self, source: u16) -> Self {
        Self((self.0 & 0xffff_0000) | u32::from(source))
    }

    pub(crate) fn source(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or_default()
    }

    pub(crate) fn category(self) -> Category {
        self.of(&CATEGORIES, 16)
    }

    pub(crate) fn extent(self) -> Extent {
        self.of(&EXTENTS, 20)
    }

    pub(crate) fn role(self) -> Role {
        self.of(&ROLES, 24)
    }

    pub(crate) fn weight(self) -> Weight {
        if self.0 >> 28 & 1 == 1 {
            Weight::Block
        } else {
            Weight::Warn
        }
    }

    fn of<T: Copy>(self, all: &[T], shift: u32) -> T {
        *part(all, (self.0 >> shift & 15) as usize)
    }
}

fn place<T: PartialEq>(all: &[T], one: T) -> u32 {
    let at = all.iter().position(|t| *t == one).unwrap_or(0);
    u32::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Reading};

    fn copy(format: Format, text: &str, protected: &Protected) -> ListCopy {
        let key = HashKey::new([7; 16]);
        let mut reading = Reading::new(format, Category::Malware, Weight::Block, &key, protected);
        reading.push(text.as_bytes());
        reading.finish()
    }

    fn names(n: usize) -> String {
        (0..n).map(|i| format!("host{i}.example\n")).collect()
    }

    #[test]
    fn an_entry_survives_packing() {
        for category in CATEGORIES {
            for extent in EXTENTS {
                for role in ROLES {
                    for weight in [Weight::Warn, Weight::Block] {
                        let entry = Entry {
                            expression: "a.example/b".into(),
                            extent,
                            role,
                            category,
                            weight,
                        };
                        let meta = Meta::new(&entry).with_source(u16::MAX).with_source(513);
                        let got = (
                            meta.category(),
                            meta.extent(),
                            meta.role(),
                            meta.weight(),
                            meta.source(),
                        );
                        assert_eq!(got, (category, extent, role, weight, 513));
                    }
                }
            }
        }
        assert_eq!(size_of::<Packed>(), 16);
    }

    #[test]
    fn a_copy_that_shrank_broke_or_emptied_is_refused() {
        let none = Protected::default();
        let copy = |text: &str| copy(Format::Domains, text, &none);
        let hundred = copy(&names(100));
        assert_eq!(accept(None, &hundred), Ok(()));
        assert_eq!(accept(Some(200), &hundred), Ok(()));
        let refused = accept(Some(201), &hundred).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "it shrank by more than half, from 201 entries to 100"
        );
        assert_eq!(accept(Some(0), &copy("# nothing")), Ok(()));
        assert_eq!(accept(None, &copy("")), Ok(()));
        let refused = accept(Some(1), &copy("# nothing")).unwrap_err();
        assert_eq!(refused.to_string(), "it is empty; the copy before it had 1 entries");
        assert_eq!(accept(None, &copy(&format!("{}not a name\n", names(99)))), Ok(()));
        let refused = accept(None, &copy(&format!("not a name\n{}<p>\n", names(100)))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "2 of 102 lines cannot be read, more than 1 %; the first, line 1: not a URL or host"
        );
    }

    #[test]
    fn a_page_instead_of_a_list_is_refused() {
        let page = "<!DOCTYPE html>\n<html><head><title>Sorry</title></head>\n<body>\nMaintenance\n</body></html>\n";
        let none = Protected::default();
        for format in Format::ALL {
            if format != Format::Regex {
                assert!(accept(None, &copy(format, page, &none)).is_err(), "{format:?}");
            }
        }
    }

    #[test]
    fn an_entry_that_stands_twice_counts_once() {
        let copy = copy(
            Format::Domains,
            "a.example\nb.example\nA.example.\n",
            &Protected::default(),
        );
        assert_eq!((copy.len(), copy.report().lines), (2, 3));
    }

    #[test]
    fn what_is_protected() {
        let mut protected = Protected::default();
        protected.add_domain("Mail.Own.example");
        protected.add_host("service.example");
        protected.add_domain("not a name");
        let lists = |format, text: &str| !copy(format, text, &protected).protected().is_empty();
        for named in [
            "mail.own.example",
            "x.mail.own.example",
            "service.example",
            "*.own.example",
            ".service.example",
        ] {
            assert!(lists(Format::Domains, named), "{named}");
        }
        for free in [
            "own.example",
            "other.own.example",
            "customer.service.example",
            "example.net",
        ] {
            assert!(!lists(Format::Domains, free), "{free}");
        }
        assert!(lists(Format::Urls, "https://mail.own.example"));
        assert!(lists(Format::Urls, "https://service.example/"));
        assert!(!lists(Format::Urls, "https://service.example/forms/1"));
        assert!(!lists(Format::Adblock, "@@||mail.own.example^"));
        assert!(lists(Format::Adblock, "||own.example^"));
        let copy = copy(Format::Domains, "fine.example\nmail.own.example\n", &protected);
        assert_eq!(
            accept(None, &copy).unwrap_err().to_string(),
            "it lists what is protected: mail.own.example"
        );
    }
}
