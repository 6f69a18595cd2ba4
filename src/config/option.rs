//! One option of the file: its key with all that is allowed, and how it is read. Sections declare theirs with `section!`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use strum::VariantArray;
use toml::de::DeTable;

use super::walk::{KIB, MIB, Section, Walk, network, path};

/// One key of the file.
#[derive(Debug, Clone)]
pub struct Key {
    /// The section it belongs to: `click`, `listener`, `domain` ...
    pub section: &'static str,
    /// Its name; it ends in the unit where it has one.
    pub name: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// The value where the file does not say.
    pub fallback: Fallback,
}

/// The values a key takes.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A string that holds this.
    Text(&'static str),
    /// One of these strings.
    Choice(Vec<&'static str>),
    /// A whole number within these limits.
    Integer {
        /// The least.
        min: u64,
        /// The largest.
        max: u64,
        /// The thing counted.
        unit: &'static str,
    },
    /// `true` or `false`.
    Flag,
    /// An array of strings, each of which holds this.
    List(&'static str),
    /// A string that holds this, or an array of at least one such string.
    OneOrMore(&'static str),
}

/// The value of a key that the file does not have.
#[derive(Debug, Clone)]
pub enum Fallback {
    /// The file must say.
    Required,
    /// This string.
    Text(&'static str),
    /// This number.
    Integer(u64),
    /// This.
    Flag(bool),
    /// This array.
    List(Vec<&'static str>),
    /// Something the machine knows, in words.
    Machine(&'static str),
    /// The value of `[default]`.
    Inherited,
}

impl Key {
    /// A key that the file must have, until [`or`](Self::or) says otherwise.
    pub(super) fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            section: "",
            name,
            kind,
            fallback: Fallback::Required,
        }
    }

    /// A key for a string.
    pub(super) fn text(name: &'static str, allowed: &'static str) -> Self {
        Self::new(name, Kind::Text(allowed))
    }

    pub(super) fn or(self, fallback: Fallback) -> Self {
        Self { fallback, ..self }
    }

    /// The same key where a section inherits from `[default]`. Lists add up, so they still have nothing by themselves.
    pub(super) fn inherited(self) -> Self {
        match self.kind {
            Kind::List(_) => self,
            _ => self.or(Fallback::Inherited),
        }
    }
}

/// An option whose value is a `T`.
pub(super) struct Opt<T> {
    pub(super) key: Key,
    /// Keys that are read together with `key`, or next to it in the documentation.
    more: Vec<Key>,
    read: Box<Reader<T>>,
    /// Joins what a weaker layer has with what this one adds.
    join: Option<fn(&T, T) -> T>,
}

type Reader<T> = dyn for<'t> Fn(&Walk<'t>, &Section<'t>, &Key) -> Option<T>;

impl<T: 'static> Opt<T> {
    /// An option that is read by hand; faults are noted in the walk.
    pub(super) fn new(key: Key, read: impl for<'t> Fn(&Walk<'t>, &Section<'t>, &Key) -> Option<T> + 'static) -> Self {
        Self {
            key,
            more: Vec::new(),
            read: Box::new(read),
            join: None,
        }
    }

    /// A value that other sections give.
    pub(super) fn beside(read: impl for<'t> Fn(&Walk<'t>) -> Option<T> + 'static) -> Self {
        Self::new(Key::text("", ""), move |w, _, _| read(w))
    }

    /// Lists another key behind this one, which the same reader, or one beside it, looks at.
    pub(super) fn with(mut self, key: Key) -> Self {
        self.more.push(key);
        self
    }

    /// This value, as the file would write it, when the file does not say.
    pub(super) fn or(mut self, fallback: impl Into<Fallback>) -> Self {
        self.key.fallback = fallback.into();
        self
    }

    /// Takes the value that `make` gives where the file does not say; `words` describe it.
    pub(super) fn or_else(self, words: &'static str, make: impl for<'t> Fn(&Walk<'t>) -> T + 'static) -> Self {
        let Self { key, more, read, .. } = self;
        let made = move |w: &Walk<'_>, s: &Section<'_>, key: &Key| {
            if w.says(s, key) { read(w, s, key) } else { Some(make(w)) }
        };
        Self {
            more,
            ..Self::new(key.or(Fallback::Machine(words)), made)
        }
    }

    /// `None` when the file does not say; `words` describe what that means.
    pub(super) fn optional(self, words: &'static str) -> Opt<Option<T>> {
        self.map(Some).or_else(words, |_| None)
    }

    pub(super) fn map<U: 'static>(self, change: impl Fn(T) -> U + 'static) -> Opt<U> {
        let Self { key, more, read, .. } = self;
        Opt {
            more,
            ..Opt::new(key, move |w, s, key| read(w, s, key).map(&change))
        }
    }

    /// Refuses values that will be allowed one day with a word on that.
    pub(super) fn not_yet(self, planned: fn(&str) -> bool) -> Self {
        let Self { key, more, read, .. } = self;
        let refused = move |w: &Walk<'_>, s: &Section<'_>, key: &Key| {
            if !w.given(s, key.name).is_some_and(planned) {
                return read(w, s, key);
            }
            w.fault_with(s, key, ", which is not yet supported");
            None
        };
        Self {
            more,
            ..Self::new(key, refused)
        }
    }

    /// An option of one section that is read with those of another.
    pub(super) fn of(mut self, section: &'static str) -> Self {
        self.key.section = section;
        self
    }

    /// The value that a section says; `None` when it has a fault, or leaves the value to a weaker layer.
    pub(super) fn read<'t>(&self, w: &Walk<'t>, s: &Section<'t>) -> Option<T> {
        match self.key.section {
            "" => (self.read)(w, s, &self.key),
            other => (self.read)(w, &w.section(other, false), &self.key),
        }
    }

    /// The value that holds when a section says something or nothing, and a weaker layer has said `weaker`.
    pub(super) fn over<'t>(&self, w: &Walk<'t>, s: &Section<'t>, weaker: Option<&T>) -> Option<T>
    where
        T: Clone,
    {
        match (self.read(w, s), weaker, self.join) {
            (Some(own), Some(weaker), Some(join)) => Some(join(weaker, own)),
            (Some(own), ..) => Some(own),
            (None, weaker, _) => weaker.cloned(),
        }
    }

    /// All keys of the option.
    pub(super) fn keys(self) -> impl Iterator<Item = Key> {
        std::iter::once(self.key)
            .chain(self.more)
            .filter(|key| !key.name.is_empty())
    }
}

impl<T: Clone + 'static> Opt<Vec<T>> {
    /// Adds the values of a layer to those of weaker layers.
    pub(super) fn adding_up(mut self) -> Self {
        self.join = Some(|weaker, own| weaker.iter().cloned().chain(own).collect());
        self
    }
}

/// A type that is read from a section of the file.
pub(super) trait FromSection: Sized {
    /// Its keys, in the order in which faults name them.
    fn keys() -> Vec<Key>;

    /// The values of this section over those of a weaker layer; `None` when there is a fault.
    fn over<'t>(w: &Walk<'t>, s: &Section<'t>, weaker: Option<&Self>) -> Option<Self>;

    /// The values of the section.
    fn read<'t>(w: &Walk<'t>, s: &Section<'t>) -> Option<Self> {
        Self::over(w, s, None)
    }
}

/// The values of a section that the file does not have.
///
/// # Panics
/// When a key of it is required, which a test of ours shows.
pub(super) fn defaults<T: FromSection>() -> T {
    let root = DeTable::new();
    let w = Walk::new(Path::new(""), "", &root);
    T::read(&w, &w.section("", false)).expect("a section that may be left out")
}

/// Declares a section: a struct, and for each field the option that it is read from. With `for`, the struct is declared
/// elsewhere.
macro_rules! section {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$doc:meta])* $field_vis:vis $field:ident: $type:ty = $option:expr,)*
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$doc])* $field_vis $field: $type,)*
        }
        section! { for $name { $($field: $type = $option,)* } }
    };
    (for $name:ty { $($field:ident: $type:ty = $option:expr,)* }) => {
        impl $crate::config::option::FromSection for $name {
            fn keys() -> Vec<$crate::config::option::Key> {
                let mut keys = Vec::new();
                $(
                    let option: $crate::config::option::Opt<$type> = $option;
                    keys.extend(option.keys());
                )*
                keys
            }

            fn over<'t>(
                w: &$crate::config::walk::Walk<'t>,
                s: &$crate::config::walk::Section<'t>,
                weaker: Option<&Self>,
            ) -> Option<Self> {
                $(
                    let option: $crate::config::option::Opt<$type> = $option;
                    let $field = option.over(w, s, weaker.map(|weaker| &weaker.$field));
                )*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(super) use section;

/// A string that `parse` takes.
pub(super) fn text<T: 'static>(
    name: &'static str,
    allowed: &'static str,
    parse: impl Fn(&str) -> Option<T> + 'static,
) -> Opt<T> {
    Opt::new(Key::text(name, allowed), move |w, s, key| {
        Some(w.parsed(s, key, &parse)?.value)
    })
}

/// The path of a file or folder; a relative one starts from the working directory.
pub(super) fn place(name: &'static str, allowed: &'static str) -> Opt<PathBuf> {
    text(name, allowed, path)
}

/// An array of strings, each of which `parse` takes; empty when the file does not say.
pub(super) fn list<T: 'static>(
    name: &'static str,
    allowed: &'static str,
    parse: impl Fn(&str) -> Option<T> + 'static,
) -> Opt<Vec<T>> {
    let read = move |w: &Walk<'_>, s: &Section<'_>, key: &Key| Some(w.parsed_list(s, key, &parse));
    Opt::new(Key::new(name, Kind::List(allowed)), read).or([])
}

/// An array of addresses and networks.
pub(super) fn networks(name: &'static str) -> Opt<Vec<IpNet>> {
    list(name, "an address or network such as \"10.0.0.0/8\" or \"::1\"", network)
}

/// An array of rules, as typed; what `parse` refuses of them is a fault.
pub(super) fn rules<T: 'static>(
    name: &'static str,
    allowed: &'static str,
    parse: fn(&[&str]) -> Result<T, Vec<link::RuleError>>,
) -> Opt<Vec<String>> {
    let read = move |w: &Walk<'_>, s: &Section<'_>, key: &Key| Some(w.sound_rules(s, key, |rules| parse(rules).err()));
    Opt::new(Key::new(name, Kind::List(allowed)), read).or([])
}

/// One of the words of an enum.
pub(super) fn choice<T: VariantArray + Copy + Into<&'static str>>(name: &'static str) -> Opt<T> {
    one_of(name, T::VARIANTS.iter().map(|value| ((*value).into(), *value)))
}

/// One of these words.
pub(super) fn one_of<T: Copy + 'static>(
    name: &'static str,
    words: impl IntoIterator<Item = (&'static str, T)>,
) -> Opt<T> {
    let (words, values): (Vec<_>, Vec<_>) = words.into_iter().unzip();
    Opt::new(Key::new(name, Kind::Choice(words)), move |w, s, key| {
        values.get(w.choice(s, key)?).copied()
    })
}

/// `true` or `false`.
pub(super) fn flag(name: &'static str, default: bool) -> Opt<bool> {
    Opt::new(Key::new(name, Kind::Flag), |w, s, key| w.flag(s, key)).or(default)
}

/// A whole number.
pub(super) fn number<T: Count>(
    name: &'static str,
    range: RangeInclusive<u64>,
    unit: &'static str,
    default: u64,
) -> Opt<T> {
    let (min, max) = range.into_inner();
    let key = Key::new(name, Kind::Integer { min, max, unit });
    Opt::new(key, |w, s, key| w.integer(s, key)).or(default).map(T::at_most)
}

/// A size in KiB, as octets.
pub(super) fn kib<T: Count>(name: &'static str, range: RangeInclusive<u64>, default: u64) -> Opt<T> {
    number(name, range, "KiB", default).map(|n: u64| T::at_most(n * KIB))
}

/// A size in MiB, as octets.
pub(super) fn mib<T: Count>(name: &'static str, range: RangeInclusive<u64>, default: u64) -> Opt<T> {
    number(name, range, "MiB", default).map(|n: u64| T::at_most(n * MIB))
}

/// A time in seconds.
pub(super) fn seconds(name: &'static str, range: RangeInclusive<u64>, default: u64) -> Opt<Duration> {
    number(name, range, "seconds", default).map(Duration::from_secs)
}

/// A time in milliseconds.
pub(super) fn milliseconds(name: &'static str, range: RangeInclusive<u64>, default: u64) -> Opt<Duration> {
    number(name, range, "milliseconds", default).map(Duration::from_millis)
}

/// A type that holds whole numbers, its largest in place of those that are too large for it.
pub(super) trait Count: 'static {
    fn at_most(n: u64) -> Self;
}

impl Count for u64 {
    fn at_most(n: u64) -> Self {
        n
    }
}

impl Count for u32 {
    fn at_most(n: u64) -> Self {
        n.try_into().unwrap_or(Self::MAX)
    }
}

impl Count for usize {
    fn at_most(n: u64) -> Self {
        n.try_into().unwrap_or(Self::MAX)
    }
}

impl From<&'static str> for Fallback {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

impl<const N: usize> From<[&'static str; N]> for Fallback {
    fn from(list: [&'static str; N]) -> Self {
        Self::List(list.to_vec())
    }
}

impl From<u64> for Fallback {
    fn from(n: u64) -> Self {
        Self::Integer(n)
    }
}

impl From<bool> for Fallback {
    fn from(on: bool) -> Self {
        Self::Flag(on)
    }
}
