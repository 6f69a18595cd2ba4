//! `[[source]]`: one list, or one service that is asked about links.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use link::{Category, Listing, Weight, Word, ascii_domain};
use strum::{IntoStaticStr, VariantArray};

use super::checks::{Usage, usage_of};
use super::keyfile::{HOW_TO_CLOSE, TOO_OPEN};
use super::option::{Fallback, FromSection, Key, Opt, flag, mib, one_of, seconds, section, text};
use super::tls::ROOTS;
use super::walk::{Item, Section, Walk, path};
use crate::net::tls::Trust;

section! {
    /// `[[source]]`: one list, or one service that is asked.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Source {
        /// Its name: lower-case letters, digits, `-`, `_` and `.`.
        pub name: Arc<str> = text("name", NAME, |name| source_name(name).map(Into::into)),
        /// The kind of source, which says how it is asked.
        pub kind: SourceKind = kind(),
        /// Where it is.
        pub from: Origin = Opt::new(from_key(), origin).with(flag("enabled", true).key),
        /// How often a list is fetched.
        pub refresh: Duration = refresh(),
        /// The content of `key_file`.
        pub key: Option<Secret> = Opt::new(key_file(), key),
        /// The reason why it names URLs, where it does not say so itself.
        pub category: Option<Category> = one_of("category", categories()).optional("what the list says"),
        /// The most that a listing is worth.
        pub weight: Weight = one_of("weight", [("block", Weight::Block), ("warn", Weight::Warn)]).or("block"),
        /// Whether an agreement with the source covers the use.
        pub licensed: bool = flag("licensed", false),
        /// Octets of the largest copy that is taken.
        pub max_size: u64 = mib("max_size_mib", 1..=1_024, 128),
        /// `ca_file`: by what the server's certificate is judged; `None` where nothing is fetched over TLS.
        pub trust: Option<Trust> = Opt::new(ca_file(), trust),
    }
}

impl Source {
    /// A source of this type with everything else by default.
    #[must_use]
    pub fn new(name: &str, kind: SourceKind, from: Origin) -> Self {
        Self {
            name: name.into(),
            kind,
            from,
            refresh: Duration::from_secs(3600),
            key: None,
            category: None,
            weight: Weight::Block,
            licensed: false,
            max_size: 128 << 20,
            trust: None,
        }
    }

    /// A listing of this source, with the word of the configuration on its category and weight.
    #[must_use]
    pub fn judged(&self, listing: Listing) -> Listing {
        Listing {
            category: match listing.category {
                Category::Unspecified => self.category.unwrap_or(Category::Unspecified),
                said => said,
            },
            weight: listing.weight.min(self.weight),
            ..listing
        }
    }

    /// Why the source must not be asked for this use; `None` when it may.
    #[must_use]
    pub fn refused_for(&self, usage: Usage) -> Option<&'static str> {
        self.kind.refused_for(usage, self.licensed)
    }
}

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file; a folder for a MISP feed.
    File(PathBuf),
    /// An http or https URL; `{key}` in it stands for the key.
    Url(String),
    /// A DNS zone in lower case, without a final dot; `{key}` in it stands for the key.
    Zone(String),
}

impl fmt::Display for Origin {
    /// As configured: never with the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(text) | Self::Zone(text) => text.fmt(f),
        }
    }
}

impl Origin {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Url(_) | Self::Zone(_) => None,
        }
    }
}

/// `type`: what a source is and how it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum SourceKind {
    /// A list that is fetched or read, and looked up in memory.
    #[strum(transparent)]
    List(ListKind),
    /// A list that is asked by DNS.
    #[strum(transparent)]
    Dns(DnsKind),
    /// Google Safe Browsing, version 5.
    SafeBrowsing,
    /// Google Web Risk.
    WebRisk,
}

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ListKind {
    /// A hosts file.
    Hosts,
    /// A host name on each line.
    Domains,
    /// A URL on each line.
    Urls,
    /// Comma-separated values with a column `url`.
    Csv,
    /// The CSV dumps of URLhaus.
    UrlhausCsv,
    /// Its JSON dump.
    UrlhausJson,
    /// OpenPhish's feed.
    Openphish,
    /// Lines of ad blockers.
    Adblock,
    /// A regular expression on each line.
    Regex,
    /// A MISP feed.
    Misp,
    /// A response policy zone.
    Rpz,
    /// A data set of rbldnsd.
    Dnset,
}

/// A list that is asked by DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum DnsKind {
    /// Spamhaus DBL.
    SpamhausDbl,
    /// Spamhaus ZRD.
    SpamhausZrd,
    /// SURBL multi.
    Surbl,
    /// URIBL multi.
    Uribl,
    /// Any other: an answer is a listing.
    #[strum(serialize = "dns")]
    Generic,
}

/// The terms that the free use of a source is tied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// Nothing that we know of.
    None,
    /// No commerce.
    NonCommercial,
}

impl SourceKind {
    /// Every type, in the order of the documentation.
    fn all() -> impl Iterator<Item = Self> {
        let lists = ListKind::VARIANTS.iter().copied().map(Self::List);
        let zones = DnsKind::VARIANTS.iter().copied().map(Self::Dns);
        lists.chain(zones).chain([Self::SafeBrowsing, Self::WebRisk])
    }

    /// The terms that its free use is tied to.
    #[must_use]
    pub fn terms(self) -> Terms {
        match self {
            Self::List(ListKind::UrlhausCsv | ListKind::UrlhausJson | ListKind::Openphish)
            | Self::Dns(DnsKind::SpamhausDbl | DnsKind::SpamhausZrd | DnsKind::Surbl | DnsKind::Uribl)
            | Self::SafeBrowsing => Terms::NonCommercial,
            // Web Risk is billed, and for everyone who pays.
            Self::List(_) | Self::Dns(DnsKind::Generic) | Self::WebRisk => Terms::None,
        }
    }

    /// Why a source of this type must not be asked for this use.
    fn refused_for(self, usage: Usage, licensed: bool) -> Option<&'static str> {
        match (self.terms(), usage) {
            (Terms::None, _) => None,
            (_, Usage::Unstated) => Some("it has terms of use: say in [checks] use what linkgate is used for"),
            (Terms::NonCommercial, Usage::Commercial) if !licensed => {
                Some("its free use is not for commerce: say licensed = true when an agreement covers yours")
            }
            (Terms::NonCommercial, _) => None,
        }
    }
}

/// A key of a service. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A key: printable ASCII without blanks.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let sound = !text.is_empty() && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    /// The key itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Names that evidence of other kinds has.
const RESERVED: &[&str] = &[
    "bypass_urls",
    "check",
    "contact",
    "delivery",
    "link",
    "revoked",
    "score",
    "wrapper",
];
const NAME: &str = "up to 64 lower-case letters, digits, \"-\", \"_\" and \".\"; not score, contact, wrapper, link";
const MAX_NAME: usize = 64;
const KEY_FILE: &str = "the path of a file with the source's key in it and nothing else, which others cannot read";
/// More than this is no key.
const MAX_KEY_OCTETS: u64 = 4096;
/// Where the key goes.
const KEY: &str = "{key}";

/// The sections that are enabled. Faults of the others are faults as well.
pub(super) fn sources(w: &Walk<'_>) -> Vec<Arc<Source>> {
    let mut sources = Vec::new();
    let mut lines: HashMap<Arc<str>, usize> = HashMap::new();
    for s in w.sections("source") {
        let source = Source::read(w, &s);
        if let Some(name) = w.parsed(&s, &Key::text("name", NAME), source_name) {
            if let Some(line) = lines.get(&*name.value) {
                let what = format!(
                    "found {:?}, which the source in line {line} is called too, allowed: a name of its own",
                    name.value
                );
                w.fault(name.at, &*name.key, what);
            }
            lines.entry(name.value.as_str().into()).or_insert_with(|| w.line(&name));
        }
        let enabled = flag("enabled", true).read(w, &s);
        sources.extend(source.filter(|_| enabled == Some(true)).map(Arc::new));
    }
    sources
}

fn kind() -> Opt<SourceKind> {
    one_of("type", SourceKind::all().map(|kind| (kind.as_str(), kind)))
}

fn refresh() -> Opt<Duration> {
    let plain = seconds("refresh_s", 60..=604_800, 3_600);
    Opt::new(plain.key.clone(), move |w, s, key| {
        let refresh = plain.read(w, s)?;
        let kind = kind().read(w, s)?;
        let least = least_refresh(kind);
        if refresh.as_secs() >= least {
            return Some(refresh);
        }
        let what = format!(
            "found {} with type = {:?}, allowed: at least {least}, which is what its terms ask for",
            refresh.as_secs(),
            kind.as_str()
        );
        w.fault_at(s, key.name, what);
        None
    })
}

fn from_key() -> Key {
    let allowed = "the path of a file, an http or https URL, or a DNS zone, as the type has it";
    Key::text("from", allowed).or(Fallback::Machine("by `type`, where it has one of its own"))
}

fn key_file() -> Key {
    Key::text("key_file", KEY_FILE).or(Fallback::Machine("none"))
}

fn ca_file() -> Key {
    Key::text("ca_file", ROOTS).or(Fallback::Machine("those that the system trusts"))
}

/// The categories that a list can be said to name URLs for.
fn categories() -> Vec<(&'static str, Category)> {
    let not_of_lists = [Category::Revoked, Category::Unspecified];
    let all = Category::VARIANTS.iter().filter(|c| !not_of_lists.contains(c));
    all.map(|category| (category.as_str(), *category)).collect()
}

fn origin<'t>(w: &Walk<'t>, s: &Section<'t>, from: &Key) -> Option<Origin> {
    let kind = kind().read(w, s)?;
    let keyed = w.says(s, &key_file());
    let parse: fn(&str) -> Option<Origin> = match kind {
        SourceKind::List(_) => |t| url(t).or_else(|| (!t.contains("://")).then(|| path(t).map(Origin::File))?),
        // Their key goes into a header.
        SourceKind::SafeBrowsing | SourceKind::WebRisk => |t| url(t).filter(|_| !t.contains(KEY)),
        SourceKind::Dns(_) => zone,
    };
    let allowed = match kind {
        SourceKind::List(_) => "the path of a file, or an http or https URL",
        SourceKind::SafeBrowsing | SourceKind::WebRisk => "an http or https URL",
        SourceKind::Dns(_) => "a DNS zone such as \"bl.example.com\"",
    };
    let from = if w.says(s, from) {
        let item = w.text(s, from)?;
        let Some(origin) = parse(item.value) else {
            w.refuse(&item, allowed);
            return None;
        };
        origin
    } else if let Some(default) = default_origin(kind, keyed) {
        parse(default)?
    } else {
        let what = format!("found nothing with type = {:?}, allowed: {allowed}", kind.as_str());
        w.fault_at(s, "from", what);
        return None;
    };
    if let (Origin::Url(text) | Origin::Zone(text), false) = (&from, keyed)
        && text.contains(KEY)
    {
        let what = format!("found {text:?} without a key_file, allowed: {KEY} in it where there is one");
        w.fault_at(s, "from", what);
        return None;
    }
    if let (Origin::Zone(text), true) = (&from, keyed)
        && !text.contains(KEY)
    {
        let what = format!("found {text:?} with a key_file, allowed: a zone with {KEY} in it, where the key goes");
        w.fault_at(s, "from", what);
        return None;
    }
    Some(from)
}

/// Reads the key in `key_file`, where the source may be asked: files of others need not be there yet.
fn key<'t>(w: &Walk<'t>, s: &Section<'t>, key: &Key) -> Option<Option<Secret>> {
    let file = if w.says(s, key) {
        Some(w.parsed(s, key, path)?)
    } else {
        None
    };
    let (kind, from) = (kind().read(w, s)?, origin(w, s, &from_key())?);
    if let (Origin::File(_), Some(item)) = (&from, &file) {
        let what = "found a key for a file, allowed: key_file where from is a URL or a zone";
        w.fault(item.at, &*item.key, what);
        return None;
    }
    match file {
        _ if !is_asked(w, s, kind) => Some(None),
        Some(item) => secret(w, &item, matches!(from, Origin::Zone(_))).map(Some),
        None if needs_key(kind) => {
            let what = format!("found nothing with type = {:?}, allowed: {KEY_FILE}", kind.as_str());
            w.fault_at(s, key.name, what);
            None
        }
        None => Some(None),
    }
}

fn trust<'t>(w: &Walk<'t>, s: &Section<'t>, key: &Key) -> Option<Option<Trust>> {
    let file = if w.says(s, key) {
        Some(w.parsed(s, key, path)?)
    } else {
        None
    };
    let is_url = matches!(origin(w, s, &from_key())?, Origin::Url(_));
    if let (false, Some(item)) = (is_url, &file) {
        let what = "found it without a URL, allowed: ca_file where from is a https:// URL";
        w.fault(item.at, &*item.key, what);
        return None;
    }
    if !is_url || !is_asked(w, s, kind().read(w, s)?) {
        return Some(None);
    }
    let loaded = Trust::load(file.as_ref().map(|i| &*i.value));
    let fault = |why| match &file {
        Some(item) => format!("found {:?} ({why}), allowed: {ROOTS}", item.value),
        None => format!("found nothing ({why}), allowed: {ROOTS}"),
    };
    loaded.map_err(|why| w.fault_at(s, key.name, fault(why))).ok().map(Some)
}

/// Whether a source is enabled, and its terms allow the use.
fn is_asked<'t>(w: &Walk<'t>, s: &Section<'t>, kind: SourceKind) -> bool {
    let (enabled, licensed) = (flag("enabled", true).read(w, s), flag("licensed", false).read(w, s));
    let refused = |usage| kind.refused_for(usage, licensed == Some(true)).is_some();
    enabled == Some(true) && usage_of(w).is_some_and(|usage| !refused(usage))
}

/// Where a type is by itself.
fn default_origin(kind: SourceKind, keyed: bool) -> Option<&'static str> {
    match kind {
        SourceKind::List(ListKind::Openphish) => Some("https://openphish.com/feed.txt"),
        SourceKind::Dns(DnsKind::SpamhausDbl) if keyed => Some("{key}.dbl.dq.spamhaus.net"),
        SourceKind::Dns(DnsKind::SpamhausDbl) => Some("dbl.spamhaus.org"),
        SourceKind::Dns(DnsKind::SpamhausZrd) => Some("{key}.zrd.dq.spamhaus.net"),
        SourceKind::Dns(DnsKind::Surbl) => Some("multi.surbl.org"),
        SourceKind::Dns(DnsKind::Uribl) => Some("multi.uribl.com"),
        SourceKind::SafeBrowsing => Some("https://safebrowsing.googleapis.com"),
        SourceKind::WebRisk => Some("https://webrisk.googleapis.com"),
        SourceKind::List(_) | SourceKind::Dns(DnsKind::Generic) => None,
    }
}

fn needs_key(kind: SourceKind) -> bool {
    matches!(kind, SourceKind::SafeBrowsing | SourceKind::WebRisk)
}

/// The least `refresh_s` that a source's operator bears.
fn least_refresh(kind: SourceKind) -> u64 {
    match kind {
        SourceKind::List(ListKind::UrlhausCsv | ListKind::UrlhausJson) => 300,
        SourceKind::List(ListKind::Openphish) => 3_600,
        _ => 60,
    }
}

fn source_name(s: &str) -> Option<String> {
    let sound = (1..=MAX_NAME).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && !s.starts_with('.')
        && !RESERVED.contains(&s);
    sound.then(|| s.to_owned())
}

fn url(s: &str) -> Option<Origin> {
    let parsed = reqwest::Url::parse(&s.replace(KEY, "key")).ok()?;
    let web = matches!(parsed.scheme(), "http" | "https") && parsed.host_str().is_some_and(|h| !h.is_empty());
    let plain = parsed.username().is_empty() && parsed.password().is_none() && parsed.fragment().is_none();
    // A key in the host would be asked for by DNS in plain text.
    let host_is_ours = !s.split('/').nth(2).is_some_and(|authority| authority.contains(KEY));
    (web && plain && host_is_ours).then(|| Origin::Url(s.to_owned()))
}

fn zone(s: &str) -> Option<Origin> {
    let name = ascii_domain(&s.replace(KEY, "key"))?;
    if !s.contains(KEY) {
        return Some(Origin::Zone(name));
    }
    Some(Origin::Zone(s.trim_end_matches('.').to_ascii_lowercase()))
}

/// Reads a key; the file must not be open to others.
fn secret(w: &Walk<'_>, item: &Item<std::path::PathBuf>, in_zone: bool) -> Option<Secret> {
    let found = |why: String| {
        w.fault(
            item.at,
            &*item.key,
            format!("found {:?} ({why}), allowed: {KEY_FILE}", item.value),
        );
    };
    let read = || -> std::io::Result<(u32, String)> {
        let file = File::open(&item.value)?;
        let mode = file.metadata()?.mode() & 0o777;
        let mut text = String::new();
        file.take(MAX_KEY_OCTETS).read_to_string(&mut text)?;
        Ok((mode, text))
    };
    match read() {
        Err(e) => found(e.to_string()),
        Ok((mode, _)) if mode & TOO_OPEN != 0 => found(format!("its mode is {mode:04o}; {HOW_TO_CLOSE}")),
        Ok((_, text)) => {
            let text = text.trim();
            let sound = !in_zone || (text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            match Secret::new(text).filter(|_| sound) {
                Some(secret) => return Some(secret),
                None => found("what it holds is no key".to_owned()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for good in [
            "https://lists.example/a?b={key}",
            "http://127.0.0.1:8/x",
            "https://a.example/{key}/x.csv",
        ] {
            assert!(url(good).is_some(), "{good}");
        }
        for bad in [
            "ftp://a.example/",
            "https://",
            "https://u:p@a.example/",
            "https://{key}.a.example/",
            "x",
        ] {
            assert_eq!(url(bad), None, "{bad}");
        }
        assert_eq!(zone("BL.Example."), Some(Origin::Zone("bl.example".into())));
        assert_eq!(zone("{key}.dq.Example"), Some(Origin::Zone("{key}.dq.example".into())));
        assert_eq!(zone("127.0.0.1"), None);
    }

    #[test]
    fn names() {
        assert!(source_name("urlhaus-1.x_y").is_some());
        for bad in ["", "A", "a b", "../x", ".x", "score", "ä"] {
            assert_eq!(source_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_type_with_an_address_of_its_own_has_one_that_is_taken() {
        for kind in SourceKind::all() {
            for keyed in [false, true] {
                let Some(default) = default_origin(kind, keyed) else {
                    continue;
                };
                let taken = match kind {
                    SourceKind::Dns(_) => zone(default),
                    _ => url(default),
                };
                assert!(taken.is_some(), "{} {default}", kind.as_str());
            }
        }
    }
}
