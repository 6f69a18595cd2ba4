//! Revocations of the operator: URLs, hosts and domains blocked at once, on every server that shares the store, without a
//! reload.
//!
//! `linkgate revoke` writes to the store; a thread of each server looks twice a second whether something was written, and
//! swaps the whole set. Looking up takes no lock for long and never waits for the disk.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use link::{Category, Evidence, Finding, Listing, Scope, Target, Weight};
use lists::Canonical;
use parking_lot::RwLock;
use store::{Reader, RevocationRow, RevocationWatch, RevokedScope, StoreError};
use tokio::sync::watch;
use tracing::{info, warn};

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// The name of this source in evidence.
pub const SOURCE: &str = "revoked";

/// The revocations of the store, in memory.
#[derive(Debug)]
pub struct Revocations {
    names: RwLock<Arc<RevokedNames>>,
    changes: watch::Sender<u64>,
}

/// Why something cannot be revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// It is neither a URL nor a host nor a domain.
    #[error(
        "found {0:?}, allowed: a URL such as \"https://shop.example/page\", a host such as \"www.shop.example\", or \
         \"*.shop.example\" for a domain and all below it"
    )]
    Unreadable(String),
    /// It is a public suffix, below which anyone can have a domain.
    #[error("found {0:?}, under which anyone can have a domain; allowed: a domain of one owner")]
    PublicSuffix(String),
}

/// Revoked names, in the form in which targets are looked up.
#[derive(Debug, Default)]
struct RevokedNames {
    urls: HashSet<String>,
    hosts: HashSet<String>,
    domains: HashSet<String>,
}

impl Revocations {
    /// Reads what is revoked, and starts the thread that follows changes as long as this is held.
    ///
    /// # Errors
    /// The store cannot be read, or the system has no thread.
    pub fn start(reader: &Reader) -> Result<Arc<Self>, StoreError> {
        let mut watch = reader.watch_revocations()?;
        let rows = watch.changes()?.map_or_else(Vec::new, |(_, rows)| rows);
        let this = Arc::new(Self::of(&rows));
        let weak = Arc::downgrade(&this);
        let started = thread::Builder::new()
            .name("revoked".to_owned())
            .spawn(move || follow(&weak, watch));
        started.map_err(|e: io::Error| StoreError::Open {
            path: reader.path().to_owned(),
            why: e.to_string().into(),
        })?;
        Ok(this)
    }

    /// The URLs that these rows revoke, without following changes.
    #[must_use]
    pub fn of(rows: &[RevocationRow]) -> Self {
        Self {
            names: RwLock::new(Arc::new(RevokedNames::of(rows))),
            changes: watch::Sender::new(0),
        }
    }

    /// The revocation of a target, as evidence. Never waits.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<Evidence> {
        let names = Arc::clone(&self.names.read());
        let scope = names.find(target)?;
        Some(Evidence {
            source: Cow::Borrowed(SOURCE),
            about: target.as_str().to_owned(),
            finding: Finding::Listed(Listing {
                category: Category::Revoked,
                scope,
                weight: Weight::Block,
            }),
        })
    }

    /// A number that grows with each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    /// The generation, to wait for the next one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn replace(&self, rows: &[RevocationRow]) {
        let names = Arc::new(RevokedNames::of(rows));
        *self.names.write() = names;
        self.changes.send_modify(|n| *n += 1);
    }
}

/// Parses what the operator writes into the form in which it is stored: a URL (with `://`), a host, or `*.` and a domain.
///
/// # Errors
/// It is none of these, or a public suffix.
pub fn parse(text: &str) -> Result<(RevokedScope, String), RevokeError> {
    let text = text.trim();
    let unreadable = || RevokeError::Unreadable(text.to_owned());
    let (scope, name) = if text.contains("://") {
        let target = Target::parse(text).map_err(|_| unreadable())?;
        let mut url = target.url().clone();
        url.set_fragment(None);
        return Ok((RevokedScope::Url, url.into()));
    } else if let Some(domain) = text.strip_prefix("*.") {
        (RevokedScope::Domain, domain)
    } else {
        (RevokedScope::Host, text)
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@' | '\\' | '*' | '%');
    // A colon is that of an IPv6 address in brackets, or of a port, which says less than the operator means.
    if name.is_empty() || name.contains(odd) || (name.contains(':') && !name.starts_with('[')) {
        return Err(unreadable());
    }
    let target = Target::parse(&format!("http://{name}/")).map_err(|_| unreadable())?;
    let name = host(&target).to_owned();
    let is_address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
    if scope == RevokedScope::Domain && is_address {
        return Err(unreadable());
    }
    if scope == RevokedScope::Domain && lists::registrable(&name).is_none() {
        return Err(RevokeError::PublicSuffix(text.to_owned()));
    }
    Ok((scope, name))
}

impl RevokedNames {
    fn of(rows: &[RevocationRow]) -> Self {
        let mut set = Self::default();
        for row in rows {
            match row.scope {
                RevokedScope::Url => match Target::parse(&row.name) {
                    Ok(target) => drop(set.urls.insert(canonical(&target))),
                    Err(_) => warn!(target: "linkgate::click", url = row.name, "revoked, and no URL: left out"),
                },
                RevokedScope::Host => drop(set.hosts.insert(row.name.clone())),
                RevokedScope::Domain => drop(set.domains.insert(row.name.clone())),
            }
        }
        set
    }

    fn find(&self, target: &Target) -> Option<Scope> {
        if self.urls.is_empty() && self.hosts.is_empty() && self.domains.is_empty() {
            return None;
        }
        let host = host(target);
        let mut names = std::iter::successors(Some(host), |name| name.split_once('.').map(|(_, rest)| rest));
        if names.any(|name| self.domains.contains(name)) {
            Some(Scope::Domain)
        } else if self.hosts.contains(host) {
            Some(Scope::Host)
        } else {
            self.urls.contains(&canonical(target)).then_some(Scope::Url)
        }
    }
}

/// The host without the dot of the root.
fn host(target: &Target) -> &str {
    target.host().trim_end_matches('.')
}

/// The key that tells a revoked URL from others: host, path and query in the form that lists compare. Scheme, port, user,
/// fragment and spelling can be changed in a link that still reaches the same page.
fn canonical(target: &Target) -> String {
    let text = target.as_str();
    Canonical::of(text.as_bytes()).map_or_else(|_| text.to_owned(), |url| url.expression().to_owned())
}

/// Takes up changes of the store until the revocations are dropped.
fn follow(revocations: &Weak<Revocations>, mut watch: RevocationWatch) {
    let mut fault = String::new();
    loop {
        thread::sleep(INTERVAL);
        let Some(revocations) = revocations.upgrade() else {
            return;
        };
        match watch.changes() {
            Ok(changed) => {
                if !std::mem::take(&mut fault).is_empty() {
                    info!(target: "linkgate::click", "what is revoked can be read again");
                }
                if let Some((_, rows)) = changed {
                    info!(target: "linkgate::click", count = rows.len(), "what is revoked has changed");
                    revocations.replace(&rows);
                }
            }
            Err(e) => {
                let now = e.to_string();
                if now != fault {
                    warn!(target: "linkgate::click", error = now, "what is revoked cannot be read; what was known stays revoked");
                    fault = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> RevokedNames {
        let row = |text: &&str| {
            let (scope, name) = parse(text).unwrap();
            RevocationRow {
                scope,
                name,
                note: String::new(),
                made_at_us: 0,
            }
        };
        RevokedNames::of(&texts.iter().map(row).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_revoked_is_found_however_it_is_written() {
        let set = set(&[
            "https://Shop.example/a/../page?x=1#top",
            "evil.example.",
            "*.B\u{fc}cher.example",
            "[::ffff:192.0.2.1]",
            "http://0x7f.1/x",
        ]);
        for (url, wanted) in [
            ("https://shop.example/page?x=1", Some(Scope::Url)),
            ("http://u:p@shop.example.:8080/page?x=1#else", Some(Scope::Url)),
            ("https://shop.example/%70%2561ge?x=1", Some(Scope::Url)),
            ("https://shop.example//page?x=1", Some(Scope::Url)),
            ("https://shop.example/page", None),
            ("https://www.shop.example/page?x=1", None),
            ("https://EVIL.example/any", Some(Scope::Host)),
            ("ftp://evil.example:21/", Some(Scope::Host)),
            ("https://www.evil.example/", None),
            ("https://xn--bcher-kva.example/", Some(Scope::Domain)),
            ("https://a.b.b\u{fc}cher.example./x", Some(Scope::Domain)),
            ("https://notb\u{fc}cher.example/", None),
            ("https://[::ffff:c000:201]/", Some(Scope::Host)),
            ("http://127.0.0.1/x", Some(Scope::Url)),
            ("http://127.0.0.1/y", None),
        ] {
            assert_eq!(set.find(&Target::parse(url).unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_revoked_is_refused() {
        for bad in [
            "",
            "*.",
            "mailto:a@b.example",
            "javascript:alert(1)",
            "shop.example/page",
            "shop.example:80",
            "a b.example",
            "user@shop.example",
            "*.*.example",
            "*.192.0.2.1",
            "https://",
        ] {
            assert!(
                matches!(parse(bad), Err(RevokeError::Unreadable(_))),
                "{bad}: {:?}",
                parse(bad)
            );
        }
        for everyones in ["*.com", "*.co.uk", "*.github.io"] {
            assert!(
                matches!(parse(everyones), Err(RevokeError::PublicSuffix(_))),
                "{everyones}"
            );
        }
    }
}
