//! The state that the sessions of a listener share.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Listener, Settings};
use crate::mail::budget::Budgets;
use crate::mail::clients::Clients;
use crate::mail::in_flight::InFlight;
use crate::mail::ports::Recorder;
use crate::mail::relay::Hops;
use crate::mail::rewrite::Rewriter;
use crate::mail::trace::Instance;
use crate::metrics::{ListenerCounts, Metrics};
use crate::net::tls::Identity;

/// The state that the sessions of one listener share. A reload that changes the listener's section makes a new one, for the sessions
/// that come after it.
#[derive(Clone)]
pub struct ListenerContext {
    /// The listener's own section: a session goes by one to its end.
    pub listener: Listener,
    /// Its place among the listeners of the settings.
    index: usize,
    /// The settings of the moment: a session takes a snapshot for each transaction.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// Which next hops work.
    pub hops: Arc<Hops>,
    /// Memory for the messages of all listeners.
    pub budgets: Arc<Budgets>,
    /// The messages on their way through all listeners.
    pub(super) in_flight: Arc<InFlight>,
    /// The sessions of this listener, by client.
    pub(super) clients: Arc<Clients>,
    /// The name by which a message that comes back is recognised.
    pub(super) instance: Instance,
    /// Everything that is counted, for what a session looks up by name.
    pub metrics: Arc<Metrics>,
    /// The listener's own counters.
    pub counts: Arc<ListenerCounts>,
}

/// The state that all listeners share.
#[derive(Clone)]
pub struct MailContext {
    /// The settings of the moment.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Finds and changes links.
    pub rewriter: Arc<dyn Rewriter>,
    /// Keeps references and message rows.
    pub recorder: Arc<dyn Recorder>,
    /// The messages on their way.
    pub in_flight: Arc<InFlight>,
    /// Memory for the messages of all listeners.
    pub budgets: Arc<Budgets>,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
}

impl ListenerContext {
    /// The context of the `index`th listener of the settings, as it stands in them now.
    #[must_use]
    pub fn new(listener: Listener, index: usize, shared: &MailContext) -> Self {
        let shared = shared.clone();
        Self {
            index,
            settings: shared.settings,
            rewriter: shared.rewriter,
            recorder: shared.recorder,
            hops: Arc::default(),
            in_flight: shared.in_flight,
            budgets: shared.budgets,
            clients: Arc::default(),
            instance: Instance::of(&listener, index),
            counts: shared.metrics.listener(&listener.listen.to_string()),
            metrics: shared.metrics,
            listener,
        }
    }

    /// The context for new sessions, if the settings of the moment want another one.
    pub(super) fn renewed(&self) -> Option<Self> {
        let settings = self.settings.borrow();
        let listener = settings.listeners.get(self.index)?;
        (*listener != self.listener).then(|| Self {
            listener: listener.clone(),
            ..self.clone()
        })
    }

    /// The certificate to show in a handshake that begins now: that of the settings of the moment, so that a renewed one
    /// needs no restart.
    pub(super) fn identity(&self) -> Option<Identity> {
        let settings = self.settings.borrow();
        let now = settings.listeners.get(self.index);
        now.and_then(|listener| listener.tls.identity())
            .or_else(|| self.listener.tls.identity())
            .cloned()
    }
}

impl fmt::Debug for ListenerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerContext")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Waits for the order to stop; an owner that is gone counts as one.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
