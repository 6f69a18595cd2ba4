//! `[checks]`: how links are checked, whose word about senders is believed, and what is made of clicks afterwards.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use link::{SenderRules, Vendor, ascii_domain};
use strum::{IntoStaticStr, VariantArray};

use super::addresses::ADDRESS;
use super::option::{self, FromSection, Opt, choice, list, milliseconds, number, place, seconds, section, text};
use super::source::{self, Source};
use super::store::Store;
use super::walk::Walk;

section! {
    /// `[checks]`, with all of `[[source]]`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Checks {
        /// The use linkgate is put to, which decides whose terms are met.
        pub usage: Usage = usage(),
        /// DNS servers through which DNS lists are asked; none: those of the system.
        pub dns_servers: Vec<SocketAddr> = list("dns_servers", ADDRESS, |address| address.parse().ok()),
        /// The folder in which the last good copies of lists are kept.
        pub lists_dir: PathBuf = place("lists_dir", "the path of a folder")
            .or_else("`lists` beside the store's file", beside_the_store),
        /// Address of a person that the operator of a feed can write to, sent in the user agent; may be empty.
        pub list_contact: String = text("list_contact", "an address or URL, printable ASCII", list_contact).or(""),
        /// Domains that no list may name, in ASCII and lower case.
        pub protected: Vec<String> = list("protected", "a domain name such as \"example.com\"", ascii_domain),
        /// The sources, in file order; those that are not enabled are not among them.
        pub sources: Vec<Arc<Source>> = Opt::beside(|w| Some(source::sources(w))),
    }
}

/// The use linkgate is put to, which decides whose terms are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, IntoStaticStr, VariantArray)]
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

section! {
    /// `[checks]`, as far as it is about senders.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct SenderChecks {
        /// Servers whose `Authentication-Results` (RFC 8601) are believed, in lower case; with none, nobody's.
        pub authserv_ids: Vec<String> = list("authserv_ids", AUTHSERV, authserv_id),
    }
}

section! {
    /// How long a check may take, what is kept of it, and how often links may be opened.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CheckLimits {
        /// How long a reader waits before a page says that the check goes on.
        pub silent: Duration = silent(),
        /// How long a check may take in all.
        pub hard: Duration = hard(),
        /// How long the answers of sources are believed; nothing is kept at zero.
        pub cache: Duration = seconds("cache_s", 0..=3_600, 300),
        /// Targets of which that is kept.
        pub cache_entries: usize = number("cache_entries", 0..=10_000_000, "targets", 20_000)
            .with(own_wrappers().key)
            .with(sender_wrappers().key),
        /// Checks at a time that ask other hosts.
        pub max_running: usize = number("max_running", 1..=65_536, "checks", 256),
        /// How often a minute a link that names its reader may be opened; 0 is no limit.
        pub per_link: u32 = number("per_link_per_minute", 0..=1_000_000, "requests", 60).of("click"),
        /// How many links a minute a network (/24 of IPv4, /48 of IPv6) may open; 0 is no limit.
        pub per_network: u32 = number("per_network_per_minute", 0..=1_000_000, "requests", 600).of("click"),
    }
}

section! {
    /// Wrappers of other vendors. Their keys are listed with [`CheckLimits`].
    pub(super) struct Wrappers {
        /// Vendors that wrap our own mail as well, or did.
        pub(super) own: Vec<Vendor> = own_wrappers(),
        /// Vendors with the senders whose links they wrap.
        pub(super) of_senders: Vec<(Vendor, SenderRules)> = sender_wrappers(),
    }
}

section! {
    /// Matching of past clicks against later changes of lists.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Hindsight {
        /// How old a click may be that is matched again when lists change; never at zero.
        pub window: Duration = number("hindsight_h", 0..=720, "hours", 72).map(Duration::from_hours),
        /// From how many networks a link may be opened before that is strange; 0 is any number.
        pub many_networks: u32 = number("many_networks", 0..=1_000, "networks", 8),
        /// How long after it was made the first opening of a link from a network is strange; never at zero.
        pub long_after: Duration = number("long_after_days", 0..=36_500, "days", 180).map(|n: u64| Duration::from_hours(24 * n)),
    }
}

impl Default for Checks {
    fn default() -> Self {
        option::defaults()
    }
}

impl Default for CheckLimits {
    fn default() -> Self {
        option::defaults()
    }
}

impl Default for Hindsight {
    fn default() -> Self {
        option::defaults()
    }
}

const AUTHSERV: &str = "the name that a mail server of yours signs its checks of senders with";
const VENDOR: &str =
    "the word of a vendor of wrapped links, as `linkgate reveal` shows it, such as \"microsoft\" or \"proofpoint\"";
const SENDER_VENDOR: &str = "the word of a vendor and, behind a space, an address, \"@domain\" or \"*.domain\", such as \"proofpoint @partner.example\"";

fn usage() -> Opt<Usage> {
    choice("use").or("unstated")
}

/// `use`, for sections that go by it.
pub(super) fn usage_of(w: &Walk<'_>) -> Option<Usage> {
    usage().read(w, &w.section("checks", false))
}

fn beside_the_store(w: &Walk<'_>) -> PathBuf {
    let store = Store::read(w, &w.section("store", false));
    let folder = store.as_ref().and_then(|store| store.file.parent());
    folder.unwrap_or(Path::new("")).join("lists")
}

fn list_contact(text: &str) -> Option<String> {
    let sound = text.len() <= 200 && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    sound.then(|| text.trim().to_owned())
}

/// RFC 8601, 2.2: a value of RFC 2045, most often a host name.
fn authserv_id(id: &str) -> Option<String> {
    let sound = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    (!id.is_empty() && id.bytes().all(sound)).then(|| id.to_ascii_lowercase())
}

fn silent() -> Opt<Duration> {
    milliseconds("silent_ms", 0..=10_000, 2_000)
}

fn hard() -> Opt<Duration> {
    let plain = milliseconds("hard_ms", 100..=60_000, 10_000);
    Opt::new(plain.key.clone(), move |w, s, _| {
        let hard = plain.read(w, s)?;
        if let Some(silent) = silent().read(w, s).filter(|silent| hard < *silent) {
            let (silent, hard) = (silent.as_millis(), hard.as_millis());
            w.fault(
                s.at,
                "checks.hard_ms",
                format!("found {hard}, allowed: at least silent_ms, which is {silent}"),
            );
        }
        Some(hard)
    })
}

fn own_wrappers() -> Opt<Vec<Vendor>> {
    list("own_wrappers", VENDOR, |word| word.parse().ok())
}

fn sender_wrappers() -> Opt<Vec<(Vendor, SenderRules)>> {
    list("sender_wrappers", SENDER_VENDOR, sender_vendor)
}

/// The word of a vendor and a rule for senders.
fn sender_vendor(text: &str) -> Option<(Vendor, SenderRules)> {
    let (word, rule) = text.trim().split_once(char::is_whitespace)?;
    Some((word.parse().ok()?, SenderRules::parse(&[rule]).ok()?))
}
