//! From the configuration file to [`Settings`]: every fault at once, each with its place, what was found, what is allowed.
//!
//! One `Arc<Settings>` is a snapshot: a mail transaction or an HTTP request takes one and keeps it to its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use link::KeyRing;
use toml::de::DeTable;

use super::admin::Admin;
use super::checks::{CheckLimits, Checks, Hindsight, SenderChecks, Wrappers};
use super::click::Click;
use super::contact::ContactSettings;
use super::domain::{self, ClickRules, Domains};
use super::fault::{self, ConfigError};
use super::keyfile::{self, Absent};
use super::keys::Keys;
use super::limits::Limits;
use super::listener::{self, Listener};
use super::log::Log;
use super::machines::Machines;
use super::option::{FromSection, Key};
use super::pages::languages_dir;
use super::source::Source;
use super::store::Store;
use super::walk::Walk;
use crate::pages::Pages;

/// Everything a running linkgate goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[click]`
    pub click: Click,
    /// `[admin] listen`
    pub admin_listen: SocketAddr,
    /// `[store] url`: the SQLite file.
    pub store: PathBuf,
    /// `[keys] file`
    pub keys_file: PathBuf,
    /// The keys themselves, read from `keys_file`.
    pub keys: Arc<KeyRing>,
    /// `[[listener]]`, in file order.
    pub listeners: Vec<Listener>,
    /// Policies by recipient domain.
    pub domains: Domains,
    /// The wishes of recipient domains at a click.
    pub click_rules: ClickRules,
    /// How long a check may take, and how often links may be opened.
    pub check_limits: CheckLimits,
    /// `[log]`
    pub log: Log,
    /// `[limits]`
    pub limits: Limits,
    /// `[rewriting]`: how messages are worked on.
    pub rewriting: message::Options,
    /// `[checks]`, as far as it is about senders.
    pub sender_checks: SenderChecks,
    /// `page_name` and its like, in `[default]` and `[domain]`.
    pub pages: Pages,
    /// `[contact]`: how targets are asked where they lead.
    pub contact: ContactSettings,
    /// `[checks]`, `[[source]]`: the sources that are asked about links.
    pub checks: Checks,
    /// `[machines]`: visitors that are no readers.
    pub machines: Machines,
    /// Matching of past clicks against later changes of lists.
    pub hindsight: Hindsight,
}

/// Lists the keys of a section.
pub type KeysOf = fn() -> Vec<Key>;

/// The sections in the order of the documentation, each with its keys.
pub const SECTIONS: &[(&str, KeysOf)] = &[
    ("click", || {
        let rates = CheckLimits::keys().into_iter().filter(|key| key.section == "click");
        Click::keys()
            .into_iter()
            .chain([languages_dir()])
            .chain(rates)
            .collect()
    }),
    ("admin", Admin::keys),
    ("store", Store::keys),
    ("keys", Keys::keys),
    ("listener", Listener::keys),
    ("default", domain::keys),
    ("domain", || domain::keys().into_iter().map(Key::inherited).collect()),
    ("checks", || {
        let mut limits = CheckLimits::keys();
        limits.retain(|key| key.section.is_empty());
        [Checks::keys(), SenderChecks::keys(), limits, Hindsight::keys()].concat()
    }),
    ("source", Source::keys),
    ("contact", ContactSettings::keys),
    ("machines", Machines::keys),
    ("rewriting", message::Options::keys),
    ("log", Log::keys),
    ("limits", Limits::keys),
];

/// Every key of the file, section by section.
///
/// The parser refuses what is not listed, and a test holds the list against `docs/configuration.md` and
/// `contrib/linkgate.toml`.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let of = |(section, keys): &(&'static str, KeysOf)| {
        let section = *section;
        keys().into_iter().map(move |key| Key { section, ..key })
    };
    SECTIONS.iter().flat_map(of).collect()
});

/// More syntax faults than this are the echo of the first ones.
const MAX_SYNTAX_FAULTS: usize = 3;

impl Settings {
    /// Reads and proves a configuration file and the key file it names; a key file that is not there is made.
    ///
    /// # Errors
    /// Every fault of both files, in file order. Nothing is made when the configuration has a fault.
    pub fn load(path: &Path) -> Result<Self, Vec<ConfigError>> {
        Self::load_with(path, Absent::Make)
    }

    /// As [`Settings::load`], with a word on what happens when the key file is not there.
    ///
    /// # Errors
    /// Every fault of both files, in file order.
    pub fn load_with(path: &Path, absent: Absent) -> Result<Self, Vec<ConfigError>> {
        let bytes = std::fs::read(path).map_err(|e| vec![ConfigError::whole(path, format!("cannot be read: {e}"))])?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let before = String::from_utf8_lossy(bytes.get(..e.valid_up_to()).unwrap_or_default());
            vec![ConfigError {
                place: Some(fault::place(&before, before.len())),
                ..ConfigError::whole(
                    path,
                    "found a byte that is not UTF-8, allowed: TOML, which is UTF-8 throughout",
                )
            }]
        })?;
        Self::from_toml(text, path, absent)
    }

    /// As [`Settings::load_with`], from text that is at hand; `path` is named in faults.
    ///
    /// # Errors
    /// Every fault, in file order.
    pub fn from_toml(text: &str, path: &Path, absent: Absent) -> Result<Self, Vec<ConfigError>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(syntax_faults(text, path, &errors));
        }
        let walk = Walk::new(path, text, root.get_ref());
        walk.check_sections();
        settings(&walk, absent).ok_or_else(|| walk.into_faults())
    }
}

/// The settings, or `None` when the walk has found a fault.
fn settings(w: &Walk<'_>, absent: Absent) -> Option<Settings> {
    let click = Click::read(w, &w.section("click", true));
    let admin = Admin::read(w, &w.section("admin", true));
    let store = Store::read(w, &w.section("store", true));
    let keys = Keys::read(w, &w.section("keys", true));
    let listeners = listener::listeners(w);
    let domains = domain::domains(w);
    let checks = w.section("checks", false);
    let (check_limits, sender_checks) = (CheckLimits::read(w, &checks), SenderChecks::read(w, &checks));
    let (wrappers, hindsight) = (Wrappers::read(w, &checks), Hindsight::read(w, &checks));
    let checks = Checks::read(w, &checks);
    let contact = ContactSettings::read(w, &w.section("contact", false));
    let machines = Machines::read(w, &w.section("machines", false));
    let rewriting = message::Options::read(w, &w.section("rewriting", false));
    let log = Log::read(w, &w.section("log", false));
    let limits = Limits::read(w, &w.section("limits", false));
    w.addresses.borrow().refuse_shared(w);
    w.addresses.borrow().refuse_loops(w);

    // The key file comes last: a configuration with a fault must not leave one behind.
    let keys_file = keys?.file;
    let absent = if w.is_clean() || absent == Absent::Refuse {
        absent
    } else {
        Absent::Pretend
    };
    let keys = keyfile::load(&keys_file.value, absent)
        .map_err(|faults| faults.into_iter().for_each(|f| w.other_file(&keys_file, f)))
        .ok()?;
    if !w.is_clean() {
        return None;
    }
    let (domains, click_rules, pages) = domains?;
    let wrappers = wrappers?;
    Some(Settings {
        click: click?,
        admin_listen: admin?.listen,
        store: store?.file,
        keys_file: keys_file.value,
        keys: Arc::new(keys),
        listeners,
        domains,
        click_rules: ClickRules {
            own_wrappers: wrappers.own,
            sender_wrappers: wrappers.of_senders,
            ..click_rules
        },
        check_limits: check_limits?,
        log: log?,
        limits: limits?,
        rewriting: rewriting?,
        sender_checks: sender_checks?,
        pages,
        contact: contact?,
        checks: checks?,
        machines: machines?,
        hindsight: hindsight?,
    })
}

/// The faults of a file that is no TOML, one a line. Its sections are not looked at.
fn syntax_faults(text: &str, path: &Path, errors: &[toml::de::Error]) -> Vec<ConfigError> {
    let mut faults: Vec<ConfigError> = errors
        .iter()
        .map(|e| {
            let lines: Vec<_> = e.message().lines().collect();
            ConfigError {
                place: e.span().map(|s| fault::place(text, s.start)),
                ..ConfigError::whole(
                    path,
                    format!("not valid TOML: {}", lines.join(", ").replace(char::is_control, "?")),
                )
            }
        })
        .collect();
    faults.sort_by_key(|f| f.place);
    faults.dedup_by_key(|f| f.place.map(|(line, _)| line));
    faults.truncate(MAX_SYNTAX_FAULTS);
    faults
}
