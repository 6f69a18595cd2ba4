//! Everyone who can say something about a target.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use link::{Contact, Evidence, Target};

use crate::contact::{Explorer, Journey};
use crate::intel::Intel;
use crate::revoked::Revocations;

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is asked about targets.
pub trait Sources: Debug + Send + Sync {
    /// What the operator has revoked. Never waits.
    fn revoked(&self, target: &Target) -> Option<Evidence>;
    /// What lists in memory say. Never waits.
    fn local(&self, target: &Target) -> Vec<Evidence>;
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
}

impl Sources for World {
    fn revoked(&self, target: &Target) -> Option<Evidence> {
        self.revocations.find(target)
    }

    fn local(&self, target: &Target) -> Vec<Evidence> {
        self.intel.local(target)
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
