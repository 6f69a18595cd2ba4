//! `[checks]` and `[[source]]`: who is asked about links.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use link::{Category, Listing, Weight};

use crate::net::tls::Trust;

/// `[checks]`, with all of `[[source]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// `use`
    pub usage: Usage,
    /// `dns_servers`: whom DNS lists are asked through; none: those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// `lists_dir`: where the last good copies of lists are kept.
    pub lists_dir: PathBuf,
    /// `list_contact`: what the user agent says of whom to write to; may be empty.
    pub list_contact: String,
    /// `protected`: domains that no list may name, in ASCII and lower case.
    pub protected: Vec<String>,
    /// `[[source]]`, in file order; those that are not enabled are not among them.
    pub sources: Vec<Arc<Source>>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            usage: Usage::Unstated,
            dns_servers: Vec::new(),
            lists_dir: PathBuf::from("lists"),
            list_contact: String::new(),
            protected: Vec::new(),
            sources: Vec::new(),
        }
    }
}

/// `use`: what linkgate is used for, which decides whose terms are met.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Usage {
    /// The administrator has not said.
    #[default]
    Unstated,
    /// For oneself and one's household.
    Private,
    /// For an organisation without commercial aims.
    NonCommercial,
    /// For a business, or sold.
    Commercial,
}

/// `[[source]]`: one list, or one service that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `name`: lower-case letters, digits, `-`, `_` and `.`.
    pub name: Arc<str>,
    /// `type`
    pub kind: SourceKind,
    /// `from`
    pub from: Origin,
    /// `refresh_s`: how often a list is fetched.
    pub refresh: Duration,
    /// What stands in `key_file`.
    pub key: Option<Secret>,
    /// `category`: for what it names URLs, where it does not say so itself.
    pub category: Option<Category>,
    /// `weight`: what a listing is worth at most.
    pub weight: Weight,
    /// `licensed`: an agreement with the source covers the use.
    pub licensed: bool,
    /// `max_size_mib`: the largest copy that is taken, in octets.
    pub max_size: u64,
    /// `ca_file`: by what the server's certificate is judged; `None` where nothing is fetched over TLS.
    pub trust: Option<Trust>,
}

impl Source {
    /// A source of this type with everything else by default, for whoever makes settings by hand.
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
        match (self.kind.terms(), usage) {
            (Terms::None, _) => None,
            (_, Usage::Unstated) => Some("it has terms of use: say in [checks] use what linkgate is used for"),
            (Terms::NonCommercial, Usage::Commercial) if !self.licensed => {
                Some("its free use is not for commerce: say licensed = true when an agreement covers yours")
            }
            (Terms::NonCommercial, _) => None,
        }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
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

/// What the free use of a source is tied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// Nothing that we know of.
    None,
    /// No commerce.
    NonCommercial,
}

impl SourceKind {
    /// What its free use is tied to.
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
}

impl FromStr for SourceKind {
    type Err = strum::ParseError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "safe-browsing" => Ok(Self::SafeBrowsing),
            "web-risk" => Ok(Self::WebRisk),
            _ => word.parse().map(Self::List).or_else(|_| word.parse().map(Self::Dns)),
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
