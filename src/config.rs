//! The configuration file and the key file. A section is one file here: its struct, its keys and how they are read.

mod addresses;
mod admin;
mod checks;
mod click;
mod contact;
mod domain;
mod fault;
pub mod keyfile;
mod keys;
mod limits;
mod listener;
mod log;
mod machines;
mod next_hop;
mod option;
mod pages;
mod rewriting;
mod settings;
mod source;
mod store;
mod tls;
mod walk;

pub use self::checks::{CheckLimits, Checks, Hindsight, SenderChecks, Usage};
pub use self::click::{Click, ClientIp};
pub use self::contact::{Allowed, ContactSettings};
pub use self::domain::{ClickRules, DomainRules, Domains};
pub use self::fault::ConfigError;
pub use self::limits::Limits;
pub use self::listener::{BareLineEnds, Listener, OnError, Protocol};
pub use self::log::{Log, LogFormat};
pub use self::machines::{Machines, NeutralPage};
pub use self::next_hop::{Dialect, NextHop, NextHopOrder, NextHops};
pub use self::option::{Fallback, Key, Kind};
pub use self::settings::{KEYS, KeysOf, SECTIONS, Settings};
pub use self::source::{DnsKind, ListKind, Origin, Secret, Source, SourceKind, Terms};
pub use self::tls::ListenerTls;
