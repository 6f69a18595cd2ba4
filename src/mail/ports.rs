//! The traits through which a transaction reaches the rewriter and the store.

use std::future::Future;
use std::pin::Pin;

use store::{MessageRow, ReferenceRow};

use crate::failure::{Cause, Failure, Phase};
use crate::ledger::Ledger;

/// The answer of [`Recorder::store_references`].
pub type Stored<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Stores what must outlive a message.
pub trait Recorder: Send + Sync {
    /// Stores the targets of long links; they are durable when the future is done.
    fn store_references(&self, rows: Vec<ReferenceRow>) -> Stored<'_>;

    /// Queues the row of a message that the next hop has taken. Does not wait.
    fn message(&self, row: MessageRow);
}

impl Recorder for Ledger {
    fn store_references(&self, rows: Vec<ReferenceRow>) -> Stored<'_> {
        Box::pin(async move {
            let stored = Ledger::store_references(self, rows).await;
            stored.map_err(|e| Failure::ours(Phase::References, Cause::Other(e.into())))
        })
    }

    fn message(&self, row: MessageRow) {
        Ledger::message(self, row);
    }
}
