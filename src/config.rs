//! From the configuration file to [`Settings`]: every fault at once, each with its place, what was found and what is allowed.

mod build;
mod clicks;
mod contact;
mod delivery;
mod fault;
pub mod keyfile;
mod keys;
mod listener;
mod machines;
mod pages;
mod settings;
mod sources;
mod tls;
mod walk;

use std::path::Path;

use toml::de::DeTable;

pub use fault::ConfigError;
pub use keys::{Fallback, KEYS, Key, Kind, SECTIONS};

pub use settings::{
    Allowed, BareLineEnds, CheckLimits, Checks, Click, ClickRules, ClientIp, ContactSettings, Dialect, Direction,
    DnsKind, DomainRules, Domains, Hindsight, Limits, ListKind, Listener, ListenerTls, Log, LogFormat, Machines,
    NeutralPage, NextHop, NextHopOrder, NextHops, OnError, Origin, Protocol, Secret, SenderChecks, Settings, Source,
    SourceKind, Terms, Usage, ascii_domain,
};

use keyfile::Absent;
use walk::Walk;

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
        let walk = Walk::new(path, text);
        walk.check_sections(root.get_ref());
        build::settings(&walk, &root, absent).ok_or_else(|| walk.into_faults())
    }
}

/// A file that is no TOML is not walked: what its sections hold is anybody's guess. One fault per line.
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
