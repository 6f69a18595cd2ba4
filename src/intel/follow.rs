//! Following a link to where it leads, by asking targets under guard.
//!
//! Only where a domain's policy says so, never for a machine's hit, never for a link that looks like it works once. What a
//! target sees of a request stands in `docs/contact.md`.
//!
//! Of each target on the way, in this order: may it be asked (`guard`), where is it (one resolution, every address judged),
//! one request to just these addresses (`ask`), and what the answer says of where it goes on (`page`, `script`, `file`).

mod chain;
mod cookies;
mod file;
mod gate;
mod guard;
mod page;
mod request;
mod script;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use link::{Contact, Evidence, Finding, Obstacle, Target};
use tokio::sync::{Mutex, watch};
use tracing::error;

use self::gate::Gate;
use self::guard::Guard;
use crate::config::Settings;
use crate::intel::follow::chain::Chain;
use crate::intel::follow::request::TargetClient;
use crate::metrics::ContactCounts;

/// The source that this evidence names.
pub const SOURCE: &str = "contact";

/// The signs that following a link may show: their stable words, and what they say in English.
pub const SIGNS: &[(&str, &str)] = &[
    (BAD_CERTIFICATE, "the certificate of the target does not hold"),
    (EMPTY, "the page shows nothing unless its scripts run"),
    (
        LEAVES_THE_WEB,
        "it leads out of the browser, to a program on the reader's machine",
    ),
    (OPEN_REDIRECTOR, "a redirector that anybody can use hides the target"),
    (UNENCRYPTED_LOGIN, "a page asks for a password without encryption"),
    (USER_INFO, "a user name or password stands in front of the host"),
];

const BAD_CERTIFICATE: &str = "bad-certificate";
const EMPTY: &str = "empty-without-script";
const LEAVES_THE_WEB: &str = "leaves-the-web";
/// As the offline score calls it.
const OPEN_REDIRECTOR: &str = "open-redirector";
const UNENCRYPTED_LOGIN: &str = "unencrypted-login";
/// As the offline score calls it.
const USER_INFO: &str = "user-info";

/// Follows links to where they lead.
pub struct Follower {
    settings: watch::Receiver<Arc<Settings>>,
    counts: Arc<ContactCounts>,
    /// The setup of the settings of the moment, if there is any; made when it is needed first.
    setup: Mutex<Option<SetupOfSettings>>,
}

/// The result of following a link.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// Where it leads, without the link itself, as it was found: every URL that a reader passes, and those that a page on
    /// the way may lead to as well. The caller asks the lists about each.
    pub hops: Vec<Target>,
    /// The signs seen, or why there is nothing to see: signs of [`SIGNS`], [`Finding::CouldNotInspect`],
    /// [`Finding::TargetUnknown`] of a shortener that does not say, [`Finding::Smuggled`] of a chain that leads to a
    /// click link of ours.
    pub evidence: Vec<Evidence>,
    /// Requests that were sent.
    pub fetched: u32,
    /// Why nothing more was asked, in a stable word, when it was not asked on purpose: `contact-lists`,
    /// `looks-one-time`, `never`, `own-name`, `not-a-shortener`.
    pub skipped: Option<&'static str>,
}

/// Settings, and the setup made of them.
type SetupOfSettings = (Arc<Settings>, Option<Arc<FollowSetup>>);

/// The clients and limits that chains are followed with, for as long as the settings do not change.
struct FollowSetup {
    asker: TargetClient,
    guard: Guard,
    gate: Gate,
}

impl FollowSetup {
    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            asker: TargetClient::new(settings)?,
            guard: Guard::new(settings),
            gate: Gate::new(settings.contact.max_concurrent),
        })
    }
}

impl Follower {
    /// A follower by the settings of the moment, which counts what it does in `counts`.
    #[must_use]
    pub fn new(settings: watch::Receiver<Arc<Settings>>, counts: Arc<ContactCounts>) -> Self {
        Self {
            settings,
            counts,
            setup: Mutex::default(),
        }
    }

    /// Follows `target` as far as `level` allows, until `until` at most. `one_time`: whether the link looks like it works
    /// once; then nothing is asked. Never to be called for a machine's hit.
    ///
    /// At [`Contact::Shorteners`] only known shorteners are asked, and what they lead to is not.
    pub async fn follow(&self, target: &Target, level: Contact, one_time: bool, until: Instant) -> ChainReport {
        let settings = Arc::clone(&self.settings.borrow());
        let skipped = match level {
            Contact::Lists => Some("contact-lists"),
            _ if one_time => Some("looks-one-time"),
            _ if settings.contact.never.find(target).is_some() => Some("never"),
            Contact::Shorteners if !link::is_shortener(target.host()) => Some("not-a-shortener"),
            _ => None,
        };
        if skipped.is_some() {
            return ChainReport {
                skipped,
                ..ChainReport::default()
            };
        }
        let Some(setup) = self.setup(&settings).await else {
            return self.obstructed(target, Obstacle::NoAnswer);
        };
        let Some(_leave) = setup.gate.enter(until).await else {
            return self.obstructed(target, Obstacle::Busy);
        };
        let _running = Running::new(&self.counts);
        let chain = Chain::new(&setup, &settings, &self.counts, level, until);
        chain.follow(target.clone()).await
    }

    /// The setup of the settings; the same one as long as they are the same. `None`, and a line in the log once, when nobody
    /// can be asked with them.
    async fn setup(&self, settings: &Arc<Settings>) -> Option<Arc<FollowSetup>> {
        let mut known = self.setup.lock().await;
        if let Some((of, base)) = &*known
            && Arc::ptr_eq(of, settings)
        {
            return base.clone();
        }
        let new = Arc::clone(settings);
        // Reads the certificates of the system.
        let made = tokio::task::spawn_blocking(move || FollowSetup::new(&new)).await;
        let made = made.map_err(|e| e.to_string()).and_then(|made| made);
        let base = made
            .inspect_err(|cause| {
                error!(target: "linkgate::intel::follow", cause, "no target can be asked where it leads");
            })
            .ok()
            .map(Arc::new);
        *known = Some((Arc::clone(settings), base.clone()));
        base
    }

    fn obstructed(&self, target: &Target, obstacle: Obstacle) -> ChainReport {
        self.counts.obstacles.inc(obstacle);
        let finding = Finding::CouldNotInspect(obstacle);
        ChainReport {
            evidence: vec![evidence(target, finding)],
            ..ChainReport::default()
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

fn evidence(about: &Target, finding: Finding) -> Evidence {
    Evidence {
        source: SOURCE.into(),
        about: about.as_str().to_owned(),
        finding,
    }
}

/// Counts a chain as being followed until it is dropped, which may be at any point of the way.
struct Running<'a>(&'a ContactCounts);

impl<'a> Running<'a> {
    fn new(counts: &'a ContactCounts) -> Self {
        counts.chains.inc();
        Self(counts)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.chains.dec();
    }
}
