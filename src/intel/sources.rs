//! Everyone who can say something about a target.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use link::{Contact, Evidence, Target, registrable_domain};

use crate::clock::now_s;
use crate::intel::Intel;
use crate::intel::follow::{Explorer, Journey};
use crate::intel::new_domains::DomainsSeen;
use crate::intel::revoked::Revocations;
use crate::job::SeenDomains;

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is asked about targets.
pub trait Sources: Debug + Send + Sync {
    /// What the operator has revoked. Never waits.
    fn revoked(&self, target: &Target) -> Option<Evidence>;
    /// What lists in memory say. Never waits.
    fn local(&self, target: &Target) -> Vec<Evidence>;
    /// Whether links to the target's domain turned up here a short while ago for the first time. Does not wait for long: a row
    /// is read at most.
    fn is_new(&self, target: &Target) -> bool;
    /// Notes that readers are led to the domains of these. Never waits.
    fn note(&self, targets: &[&Target]);
    /// Whether [`Sources::remote`] asks anyone.
    fn has_remote(&self) -> bool;
    /// What those say who are asked over the network, until `until` at the latest.
    fn remote<'a>(&'a self, target: &'a Target, until: Instant) -> Later<'a, Vec<Evidence>>;
    /// Where the target leads.
    fn follow<'a>(&'a self, target: &'a Target, level: Contact, one_time: bool, until: Instant) -> Later<'a, Journey>;
    /// Grows when what [`Sources::local`] says may have changed.
    fn generation(&self) -> u64;
}

/// The sources of a running server.
#[derive(Debug)]
pub struct World {
    /// Lists.
    pub intel: Arc<Intel>,
    /// Who follows links.
    pub explorer: Arc<Explorer>,
    /// What the operator has revoked.
    pub revocations: Arc<Revocations>,
    /// Domains that links led to so far.
    pub seen: Arc<DomainsSeen>,
}

impl Sources for World {
    fn revoked(&self, target: &Target) -> Option<Evidence> {
        self.revocations.find(target)
    }

    fn local(&self, target: &Target) -> Vec<Evidence> {
        self.intel.local(target)
    }

    fn is_new(&self, target: &Target) -> bool {
        registrable_domain(target).is_some_and(|domain| self.seen.is_new(domain, now_s()))
    }

    fn note(&self, targets: &[&Target]) {
        let mut domains = targets.iter().filter_map(|target| registrable_domain(target));
        self.seen.note(&mut domains, now_s());
    }

    fn has_remote(&self) -> bool {
        self.intel.has_remote()
    }

    fn remote<'a>(&'a self, target: &'a Target, until: Instant) -> Later<'a, Vec<Evidence>> {
        Box::pin(self.intel.remote(target, until))
    }

    fn follow<'a>(&'a self, target: &'a Target, level: Contact, one_time: bool, until: Instant) -> Later<'a, Journey> {
        Box::pin(self.explorer.follow(target, level, one_time, until))
    }

    fn generation(&self) -> u64 {
        self.intel.generation().wrapping_add(self.revocations.generation())
    }
}
