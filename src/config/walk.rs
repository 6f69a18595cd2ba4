//! A walk through a parsed TOML file that collects faults instead of stopping at the first.

use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::addresses::Addresses;
use super::fault::{ConfigError, did_you_mean, place};
use super::option::{Fallback, Key, Kind};
use super::settings::{KEYS, SECTIONS};
use crate::pages::Languages;

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * 1024;

/// The file, the faults found so far, and what sections have in common.
pub(super) struct Walk<'t> {
    file: &'t Path,
    text: &'t str,
    root: &'t DeTable<'t>,
    faults: RefCell<Vec<(usize, ConfigError)>>,
    /// The addresses of all sections, which must not clash.
    pub(super) addresses: RefCell<Addresses>,
    /// The languages of pages, which are read once.
    pub(super) languages: OnceCell<Arc<Languages>>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Item<T> {
    pub(super) value: T,
    /// Offset in the file; that of the section when the value is a default.
    pub(super) at: usize,
    /// As shown in faults: `listener[2].listen`.
    pub(super) key: String,
}

/// One table of the file.
pub(super) struct Section<'t> {
    /// Its name in the list of keys.
    schema: &'static str,
    /// Its name in faults.
    pub(super) shown: String,
    pub(super) at: usize,
    table: Option<&'t DeTable<'t>>,
}

impl<'t> Walk<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str, root: &'t DeTable<'t>) -> Self {
        Self {
            file,
            text,
            root,
            faults: RefCell::default(),
            addresses: RefCell::default(),
            languages: OnceCell::new(),
        }
    }

    /// The faults in file order, none twice.
    pub(super) fn into_faults(self) -> Vec<ConfigError> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(at, _)| *at);
        let mut once: Vec<(usize, ConfigError)> = Vec::with_capacity(faults.len());
        for fault in faults {
            let mut beside = once.iter().rev().take_while(|(at, _)| *at == fault.0);
            if !beside.any(|other| *other == fault) {
                once.push(fault);
            }
        }
        once.into_iter().map(|(_, f)| f).collect()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// Notes a fault in words.
    pub(super) fn fault(&self, at: usize, key: impl Into<String>, what: impl Into<String>) {
        let e = ConfigError {
            file: self.file.to_owned(),
            place: Some(place(self.text, at)),
            key: key.into(),
            what: what.into(),
        };
        self.faults.borrow_mut().push((at, e));
    }

    /// Notes that `item` holds something that is not allowed.
    pub(super) fn refuse<T: std::fmt::Debug>(&self, item: &Item<T>, allowed: &str) {
        self.fault(
            item.at,
            &*item.key,
            format!("found {:?}, allowed: {allowed}", item.value),
        );
    }

    /// Takes over a fault with another file that `item` names.
    pub(super) fn other_file<T>(&self, item: &Item<T>, fault: ConfigError) {
        self.faults.borrow_mut().push((item.at, fault));
    }

    /// The line on which an item stands.
    pub(super) fn line<T>(&self, item: &Item<T>) -> usize {
        place(self.text, item.at).0
    }

    /// Refuses top-level names that are no sections.
    pub(super) fn check_sections(&self) {
        let sections = || SECTIONS.iter().map(|(name, _)| *name);
        for (name, value) in self.root {
            if sections().any(|known| known == name.get_ref()) {
                continue;
            }
            let home = KEYS.iter().find(|k| k.name == name.get_ref().as_ref());
            let hint = match home {
                Some(k) if !value.get_ref().is_table() => format!(" (it belongs into [{}])", k.section),
                _ => meant(name.get_ref(), sections()),
            };
            let listed = sections().collect::<Vec<_>>().join(", ");
            self.fault(
                name.span().start,
                name.get_ref().escape_debug().to_string(),
                format!("found an unknown section, allowed: {listed}{hint}"),
            );
        }
    }

    /// A section that may stand once; `required` says whether it must.
    pub(super) fn section(&self, name: &'static str, required: bool) -> Section<'t> {
        let found = self.root.get(name);
        if found.is_none() && required {
            self.fault(
                0,
                name,
                format!("found nothing, allowed: a section [{name}] {}", needs(name)),
            );
        }
        match found {
            Some(v) => self.open(name, name.to_owned(), v),
            None => Section {
                schema: name,
                shown: name.to_owned(),
                at: 0,
                table: None,
            },
        }
    }

    /// Notes a fault when the file has no `[[name]]`.
    pub(super) fn require_sections(&self, name: &'static str) {
        if !self.root.contains_key(name) {
            let what = format!(
                "found nothing, allowed: one section [[{name}]] or more, {}",
                needs(name)
            );
            self.fault(0, name, what);
        }
    }

    /// The tables of `[[name]]`.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'t>> {
        let Some(v) = self.root.get(name) else {
            return Vec::new();
        };
        match v.get_ref() {
            DeValue::Array(a) => a
                .iter()
                .enumerate()
                .map(|(i, v)| self.open(name, format!("{name}[{}]", i + 1), v))
                .collect(),
            other => {
                let found = kind_of(other);
                self.fault(
                    v.span().start,
                    name,
                    format!("found {found}, allowed: sections in double brackets, [[{name}]]"),
                );
                Vec::new()
            }
        }
    }

    /// The tables of `[name."x"]`, with `x` and where it stands.
    pub(super) fn named_sections(&self, name: &'static str) -> Vec<(Item<&'t str>, Section<'t>)> {
        let Some(v) = self.root.get(name) else {
            return Vec::new();
        };
        let DeValue::Table(t) = v.get_ref() else {
            self.fault(
                v.span().start,
                name,
                format!(
                    "found {}, allowed: a section for each, [{name}.\"example.com\"]",
                    kind_of(v.get_ref())
                ),
            );
            return Vec::new();
        };
        let mut all: Vec<_> = t.iter().collect();
        all.sort_by_key(|(k, _)| k.span().start);
        all.into_iter()
            .map(|(k, v)| {
                let shown = format!("{name}.{:?}", k.get_ref());
                let item = Item {
                    value: k.get_ref().as_ref(),
                    at: k.span().start,
                    key: shown.clone(),
                };
                (item, self.open(name, shown, v))
            })
            .collect()
    }

    /// Opens a table and refuses its unknown keys.
    fn open(&self, schema: &'static str, shown: String, value: &'t Spanned<DeValue<'t>>) -> Section<'t> {
        let at = value.span().start;
        let known = || KEYS.iter().filter(|k| k.section == schema).map(|k| k.name);
        let table = match value.get_ref() {
            DeValue::Table(t) => Some(t),
            other => {
                self.fault(
                    at,
                    &*shown,
                    format!("found {}, allowed: a section [{shown}]", kind_of(other)),
                );
                None
            }
        };
        for (k, _) in table.into_iter().flatten() {
            if known().any(|n| n == k.get_ref().as_ref()) {
                continue;
            }
            let mut hint = meant(k.get_ref(), known());
            if hint.is_empty()
                && let Some(other) = KEYS.iter().find(|o| o.name == k.get_ref().as_ref())
            {
                hint = format!(" (it belongs into [{}])", other.section);
            }
            let listed = known().collect::<Vec<_>>().join(", ");
            let name = k.get_ref().escape_debug();
            self.fault(
                k.span().start,
                format!("{shown}.{name}"),
                format!("found an unknown key, allowed: {listed}{hint}"),
            );
        }
        Section {
            schema,
            shown,
            at,
            table,
        }
    }

    /// A string; a required one that is absent is a fault.
    pub(super) fn text(&self, s: &Section<'t>, key: &Key) -> Option<Item<&'t str>> {
        let name = key.name;
        match self.value(s, name) {
            Some(v) => match v.get_ref().as_str() {
                Some(t) => Some(self.item(s, name, v.span(), t)),
                None => {
                    self.wrong_kind(s, name, v, &allowed_kind(&key.kind));
                    None
                }
            },
            None => match key.fallback {
                Fallback::Text(_) if s.inherits() => None,
                Fallback::Text(t) => Some(default(s, name, t)),
                Fallback::Required => {
                    // A section that is absent as a whole has been reported as such.
                    if s.table.is_some() {
                        let allowed = allowed_kind(&key.kind);
                        self.fault(
                            s.at,
                            format!("{}.{name}", s.shown),
                            format!("found nothing, allowed: {allowed}"),
                        );
                    }
                    None
                }
                _ => None,
            },
        }
    }

    /// The position of a string among the words that the key allows.
    pub(super) fn choice(&self, s: &Section<'t>, key: &Key) -> Option<usize> {
        let item = self.text(s, key)?;
        let Kind::Choice(words) = &key.kind else {
            return None;
        };
        let found = words.iter().position(|word| *word == item.value);
        if found.is_none() {
            let allowed = allowed_kind(&key.kind);
            let hint = meant(item.value, words.iter().copied());
            let what = format!("found {:?}, allowed: {allowed}{hint}", item.value);
            self.fault(item.at, item.key, what);
        }
        found
    }

    /// A whole number within its limits.
    pub(super) fn integer(&self, s: &Section<'t>, key: &Key) -> Option<u64> {
        let name = key.name;
        let Some(v) = self.value(s, name) else {
            return match key.fallback {
                Fallback::Integer(n) if !s.inherits() => Some(n),
                _ => None,
            };
        };
        let Kind::Integer { min, max, .. } = key.kind else {
            return None;
        };
        let Some(i) = v.get_ref().as_integer() else {
            self.wrong_kind(s, name, v, &allowed_kind(&key.kind));
            return None;
        };
        // Out of i64 counts as out of range; the digits are shown as typed.
        let n = u64::from_str_radix(i.as_str(), i.radix()).ok();
        let n = n.filter(|n| (min..=max).contains(n));
        if n.is_none() {
            let allowed = allowed_kind(&key.kind);
            self.fault(
                v.span().start,
                format!("{}.{name}", s.shown),
                format!("found {i}, allowed: {allowed}"),
            );
        }
        n
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, s: &Section<'t>, key: &Key) -> Option<bool> {
        let Some(v) = self.value(s, key.name) else {
            return match key.fallback {
                Fallback::Flag(on) if !s.inherits() => Some(on),
                _ => None,
            };
        };
        let on = v.get_ref().as_bool();
        if on.is_none() {
            self.wrong_kind(s, key.name, v, &allowed_kind(&key.kind));
        }
        on
    }

    /// An array of strings; entries of another kind are faults and are left out.
    pub(super) fn list(&self, s: &Section<'t>, key: &Key) -> Vec<Item<&'t str>> {
        let name = key.name;
        let Some(v) = self.value(s, name) else {
            return match &key.fallback {
                Fallback::List(l) => l.iter().map(|t| default(s, name, t)).collect(),
                _ => Vec::new(),
            };
        };
        let Some(array) = v.get_ref().as_array() else {
            self.wrong_kind(s, name, v, &allowed_kind(&key.kind));
            return Vec::new();
        };
        let mut items = Vec::with_capacity(array.len());
        for (i, v) in array.iter().enumerate() {
            let shown = format!("{name}[{}]", i + 1);
            match v.get_ref().as_str() {
                Some(t) => items.push(self.item(s, &shown, v.span(), t)),
                None => self.wrong_kind(s, &shown, v, "a string in quotes"),
            }
        }
        items
    }

    /// Parses a string with `parse`; one that it refuses is a fault.
    pub(super) fn parsed<T>(
        &self,
        s: &Section<'t>,
        key: &Key,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Item<T>> {
        let item = self.text(s, key)?;
        self.parse_item(&item, key, parse)
    }

    /// As `parsed`, for a parser that says why it refuses.
    pub(super) fn parsed_or_why<T, E: std::fmt::Display>(
        &self,
        s: &Section<'t>,
        key: &Key,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let item = self.text(s, key)?;
        let allowed = allowed_kind(&key.kind);
        parse(item.value)
            .map_err(|why| {
                let what = format!("found {:?} ({why}), allowed: {allowed}", item.value);
                self.fault(item.at, item.key, what);
            })
            .ok()
    }

    /// Refuses a key that has no place in this section, if the file has it.
    pub(super) fn refuse_key(&self, s: &Section<'t>, name: &str, allowed: &str) {
        if let Some(v) = self.value(s, name) {
            self.wrong_kind(s, name, v, allowed);
        }
    }

    /// Notes a fault with a key of this section: where it stands, or where the section does if it is absent.
    pub(super) fn fault_at(&self, s: &Section<'t>, name: &str, what: impl Into<String>) {
        let at = self.value(s, name).map_or(s.at, |v| v.span().start);
        self.fault(at, format!("{}.{name}", s.shown), what);
    }

    /// Notes that a key of this section holds something that is not allowed, and why, if there is more to say.
    pub(super) fn fault_with(&self, s: &Section<'t>, key: &Key, why: &str) {
        let found = match self.given(s, key.name) {
            Some(text) => format!("{text:?}"),
            None => "nothing".to_owned(),
        };
        self.fault_at(
            s,
            key.name,
            format!("found {found}{why}, allowed: {}", allowed_kind(&key.kind)),
        );
    }

    /// Whether the file has this key.
    pub(super) fn says(&self, s: &Section<'t>, key: &Key) -> bool {
        self.value(s, key.name).is_some()
    }

    /// The string that the file has for a key, allowed or not: for what depends on another key.
    pub(super) fn given(&self, s: &Section<'t>, name: &str) -> Option<&'t str> {
        self.value(s, name)?.get_ref().as_str()
    }

    /// As `parsed`, for each entry of an array.
    pub(super) fn parsed_list<T>(&self, s: &Section<'t>, key: &Key, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.list(s, key)
            .iter()
            .filter_map(|i| self.parse_item(i, key, &parse))
            .map(|i| i.value)
            .collect()
    }

    /// The rules of an array, as typed, without those that `faults` refuses.
    pub(super) fn sound_rules(
        &self,
        s: &Section<'t>,
        key: &Key,
        faults: impl Fn(&[&str]) -> Option<Vec<link::RuleError>>,
    ) -> Vec<String> {
        let items = self.list(s, key);
        let rules: Vec<_> = items.iter().map(|i| i.value).collect();
        let bad = faults(&rules).unwrap_or_default();
        for e in &bad {
            if let Some(item) = items.get(e.index) {
                let what = format!("found {:?} ({}), allowed: {}", item.value, e.why, e.allowed);
                self.fault(item.at, &*item.key, what);
            }
        }
        let sound = |(index, _): &(usize, &str)| !bad.iter().any(|e| e.index == *index);
        rules
            .into_iter()
            .enumerate()
            .filter(sound)
            .map(|(_, rule)| rule.to_owned())
            .collect()
    }

    /// As `parsed_list`, for a key that takes a single string as well and needs at least one; what is refused makes it `None`.
    pub(super) fn parsed_one_or_more<T>(
        &self,
        s: &Section<'t>,
        key: &Key,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<Item<T>>> {
        let given = self.value(s, key.name).map(Spanned::get_ref);
        let items = match given {
            Some(DeValue::Array(a)) if !a.is_empty() => {
                let items = self.list(s, key);
                if items.len() < a.len() {
                    return None;
                }
                items
            }
            _ => vec![self.text(s, key)?],
        };
        let parsed: Vec<_> = items.iter().map(|i| self.parse_item(i, key, &parse)).collect();
        parsed.into_iter().collect()
    }

    fn parse_item<T>(&self, item: &Item<&str>, key: &Key, parse: impl FnOnce(&str) -> Option<T>) -> Option<Item<T>> {
        let Some(value) = parse(item.value) else {
            if let Kind::Text(what) | Kind::List(what) | Kind::OneOrMore(what) = key.kind {
                self.refuse(item, what);
            }
            return None;
        };
        Some(Item {
            value,
            at: item.at,
            key: item.key.clone(),
        })
    }

    fn value(&self, s: &Section<'t>, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        s.table.and_then(|t| t.get(name))
    }

    fn item(&self, s: &Section<'t>, name: &str, span: Range<usize>, value: &'t str) -> Item<&'t str> {
        Item {
            value,
            at: span.start,
            key: format!("{}.{name}", s.shown),
        }
    }

    fn wrong_kind(&self, s: &Section<'t>, name: &str, v: &Spanned<DeValue<'_>>, allowed: &str) {
        self.fault(
            v.span().start,
            format!("{}.{name}", s.shown),
            format!("found {}, allowed: {allowed}", kind_of(v.get_ref())),
        );
    }
}

fn default<'t>(s: &Section<'_>, name: &str, value: &'t str) -> Item<&'t str> {
    Item {
        value,
        at: s.at,
        key: format!("{}.{name}", s.shown),
    }
}

impl Section<'_> {
    /// Whether what it does not say is as in `[default]`.
    pub(super) fn inherits(&self) -> bool {
        self.schema == "domain"
    }
}

fn allowed_kind(kind: &Kind) -> String {
    match kind {
        Kind::Text(what) => (*what).to_owned(),
        Kind::Choice(words) => words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", "),
        Kind::Integer { min, max, unit } => format!("a whole number from {min} to {max} ({unit})"),
        Kind::Flag => "true, false".to_owned(),
        Kind::List(what) => format!("an array of strings, each {what}"),
        Kind::OneOrMore(what) => format!("{what}, or an array of such"),
    }
}

fn kind_of(v: &DeValue<'_>) -> String {
    match v {
        DeValue::String(s) => format!("the string {s:?}"),
        DeValue::Integer(i) => format!("the number {i}"),
        DeValue::Float(f) => format!("the number {f}"),
        DeValue::Boolean(b) => format!("{b}"),
        DeValue::Datetime(d) => format!("the time {d}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn meant<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(found, allowed).map_or_else(String::new, |w| format!(" (did you mean {w:?}?)"))
}

/// The keys that a section cannot do without, in words.
fn needs(section: &str) -> String {
    let names: Vec<_> = KEYS
        .iter()
        .filter(|k| k.section == section && matches!(k.fallback, Fallback::Required))
        .map(|k| k.name)
        .collect();
    format!("with {}", names.join(", "))
}

/// An address, or all of a network.
pub(super) fn network(s: &str) -> Option<IpNet> {
    s.parse().ok().or_else(|| s.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A path as it is from here: a relative one starts from the working directory.
pub(super) fn path(s: &str) -> Option<PathBuf> {
    if s.is_empty() || s.contains('\0') {
        return None;
    }
    std::path::absolute(Path::new(s)).ok()
}

/// The path of a folder that exists.
pub(super) fn folder(s: &str) -> Option<PathBuf> {
    path(s).filter(|dir| dir.is_dir())
}
