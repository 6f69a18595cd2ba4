//! What the mail path asks of its neighbours: the rewriter and the store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use link::{Evidence, Target};
use store::{MessageRow, ReferenceRow};

use crate::failure::{Cause, Failure, Phase};
use crate::intel::Intel;
use crate::mail::rewrite::{self, Job, Outcome};
use crate::mail::spool::Spool;

/// Finds and changes the links of messages.
pub trait Rewriter: Send + Sync {
    /// Decides about one message. CPU-bound: large messages are given to the blocking pool, panics are caught.
    ///
    /// # Errors
    /// When the message could not be judged; `on_error` says what becomes of it.
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<Outcome, Failure>;
}

/// Lists that are in memory. They are asked while a message waits, so nobody may wait for an answer of theirs.
pub trait LocalLists: Send + Sync {
    /// What they say about a target.
    fn local(&self, target: &Target) -> Vec<Evidence>;
}

impl LocalLists for Intel {
    fn local(&self, target: &Target) -> Vec<Evidence> {
        Intel::local(self, target)
    }
}

/// The registrable domains that links led to so far, and, with an `@` in front, those that senders wrote from, with the
/// time of the first one. Nothing here waits for long: a row is read at most.
pub trait SeenDomains: Send + Sync {
    /// Whether a domain has been known for a short while only, or not at all. `false` where nobody can tell.
    fn is_new(&self, domain: &str, now_s: i64) -> bool;

    /// Notes domains that were seen now, in a mail or at a click.
    fn note(&self, domains: &mut dyn Iterator<Item = &str>, now_s: i64);
}

/// Whom the rewriter asks about links. By default there is nobody to ask.
#[derive(Clone, Default)]
pub struct Sources {
    /// Lists in memory.
    pub lists: Option<Arc<dyn LocalLists>>,
    /// Domains seen so far.
    pub seen: Option<Arc<dyn SeenDomains>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("lists", &self.lists.is_some())
            .field("seen", &self.seen.is_some())
            .finish()
    }
}

/// The rewriter of the product.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    sources: Sources,
}

impl Pipeline {
    /// A rewriter that asks these.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self { sources }
    }
}

impl Rewriter for Pipeline {
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<Outcome, Failure> {
        rewrite::rewrite(spool, job, &self.sources)
            .map_err(|e| Failure::ours(Phase::Rewrite, Cause::Other(Box::new(e))))
    }
}

/// The answer of [`Recorder::store_references`].
pub type Stored<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Keeps what must outlive a message.
pub trait Recorder: Send + Sync {
    /// Stores the targets of long links; they are durable when the future is done.
    fn store_references(&self, rows: Vec<ReferenceRow>) -> Stored<'_>;

    /// Queues the row of a message that the next hop has taken. Does not wait.
    fn message(&self, row: MessageRow);
}
