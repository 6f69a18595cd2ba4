//! The one trait by which mail and clicks ask about a URL, and its implementation in a running server.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use link::{Contact, Evidence, Target};
use tokio::sync::watch;
use tracing::error;

use crate::intel::Intel;
use crate::intel::follow::{ChainReport, Follower};
use crate::intel::new_domains::NewDomains;
use crate::intel::revoked::Revocations;

/// Sources of evidence about URLs. The default of each method is that nothing is known.
///
/// Domains are registrable domains of links, and, with an `@` in front, domains of senders.
pub trait Sources: Debug + Send + Sync {
    /// The operator's revocation of a target. Never waits.
    fn revoked(&self, _target: &Target) -> Option<Evidence> {
        None
    }

    /// Revocations and lists in memory that name a target. Never waits.
    fn local(&self, _target: &Target) -> Vec<Evidence> {
        Vec::new()
    }

    /// A number for each part of [`Sources::local`] that grows when its answers may have changed.
    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        Vec::new()
    }

    /// The sum of the numbers of [`Sources::changes`].
    fn generation(&self) -> u64 {
        0
    }

    /// Whether domains are remembered at all.
    fn remembers_domains(&self) -> bool {
        false
    }

    /// Whether a domain turned up here for the first time a short while ago. Looks into memory only, and says no where that
    /// does not hold the domain: [`Sources::recall`] brings it there.
    fn is_new(&self, _domain: &str, _now_s: i64) -> bool {
        false
    }

    /// Reads domains into memory that are not there. Reads the disk: not for async code, which has [`Sources::recalled`].
    fn recall(&self, _domains: &[&str], _now_s: i64) {}

    /// [`Sources::recall`] on a thread where the disk may be read; `None` when all domains are in memory.
    fn recalled(&self, _domains: &[&str], _now_s: i64) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Notes that domains were seen now, in a mail or at a click. Never waits.
    fn note(&self, _domains: &mut dyn Iterator<Item = &str>, _now_s: i64) {}

    /// Whether [`Sources::remote`] asks anyone.
    fn has_remote(&self) -> bool {
        false
    }

    /// The answers of sources that are asked over the network, until `until` at the latest.
    fn remote<'a>(&'a self, _target: &'a Target, _until: Instant) -> BoxFuture<'a, Vec<Evidence>> {
        Box::pin(ready(Vec::new()))
    }

    /// The chain of redirects that begins at a target.
    fn follow<'a>(&'a self, _: &'a Target, _: Contact, _one_time: bool, _until: Instant) -> BoxFuture<'a, ChainReport> {
        Box::pin(ready(ChainReport::default()))
    }
}

/// Sources that know nothing, for commands that ask none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSources;

impl Sources for NoSources {}

/// The sources of a running server.
#[derive(Debug)]
pub struct ServerSources {
    /// Lists and services.
    pub intel: Arc<Intel>,
    /// Follows redirects.
    pub follower: Arc<Follower>,
    /// The operator's revocations.
    pub revocations: Arc<Revocations>,
    /// Domains that links led to so far.
    pub domains: Arc<NewDomains>,
}

impl Sources for ServerSources {
    fn revoked(&self, target: &Target) -> Option<Evidence> {
        self.revocations.find(target)
    }

    fn local(&self, target: &Target) -> Vec<Evidence> {
        let mut evidence: Vec<Evidence> = self.revoked(target).into_iter().collect();
        evidence.append(&mut self.intel.local(target));
        evidence
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.intel.changes(), self.revocations.changes()]
    }

    fn generation(&self) -> u64 {
        self.intel.generation().wrapping_add(self.revocations.generation())
    }

    fn remembers_domains(&self) -> bool {
        true
    }

    fn is_new(&self, domain: &str, now_s: i64) -> bool {
        self.domains.is_new(domain, now_s)
    }

    fn recall(&self, domains: &[&str], now_s: i64) {
        self.domains.recall(domains, now_s);
    }

    fn recalled(&self, domains: &[&str], now_s: i64) -> Option<BoxFuture<'static, ()>> {
        let missing = self.domains.missing(domains, now_s);
        if missing.is_empty() {
            return None;
        }
        let domains = Arc::clone(&self.domains);
        Some(Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
                domains.recall(&missing, now_s);
            });
            if let Err(e) = read.await {
                error!(target: "linkgate::click", cause = %e, "domains were not looked up");
            }
        }))
    }

    fn note(&self, domains: &mut dyn Iterator<Item = &str>, now_s: i64) {
        self.domains.note(domains, now_s);
    }

    fn has_remote(&self) -> bool {
        self.intel.has_remote()
    }

    fn remote<'a>(&'a self, target: &'a Target, until: Instant) -> BoxFuture<'a, Vec<Evidence>> {
        Box::pin(self.intel.remote(target, until))
    }

    fn follow<'a>(
        &'a self,
        target: &'a Target,
        level: Contact,
        one_time: bool,
        until: Instant,
    ) -> BoxFuture<'a, ChainReport> {
        Box::pin(self.follower.follow(target, level, one_time, until))
    }
}
