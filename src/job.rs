//! What the mail path asks of its neighbours: the rewriter and the store.

use std::future::Future;
use std::pin::Pin;

use message::Patch;
use store::{MessageRow, ReferenceRow};

use crate::failure::Failure;
use crate::settings::Settings;
use crate::spool::Spool;

/// One message, as far as it is not its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The snapshot that this transaction goes by.
    pub settings: &'a Settings,
    /// Envelope sender; empty for the null sender.
    pub sender: &'a str,
    /// Accepted envelope recipients. They share one copy, so their policies are the same; with exactly one, the claims
    /// may name it.
    pub recipients: &'a [String],
    /// Our name for the message.
    pub mail_id: &'a str,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// What is to become of a message.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whether it goes on.
    pub action: Action,
    /// What changes in it.
    pub patch: Patch,
    /// What was found in it.
    pub report: Report,
    /// Long targets, to be stored before the next hop gets the message.
    pub references: Vec<ReferenceRow>,
}

/// Whether a message goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Action {
    /// To the next hop, with the patch.
    #[default]
    Forward,
    /// Refused for good with 550; the reason is for the log.
    Refuse(String),
}

/// What was found in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the patch changes anything.
    pub changed: bool,
    /// Every link that was found.
    pub links: Vec<LinkReport>,
    /// Doubtful structures, by name.
    pub quirks: Vec<String>,
    /// MIME parts.
    pub parts: usize,
    /// The Message-ID field.
    pub message_id: Option<String>,
}

/// One link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// The target, or the text of the link where it is no URL.
    pub url: String,
    /// `wrapped`, `kept` or `disarmed`.
    pub decision: &'static str,
    /// Why, as a stable word.
    pub reason: &'static str,
    /// Where in the part it stands.
    pub place: String,
    /// The part, by number.
    pub part: String,
}

/// Finds and changes the links of messages.
pub trait Rewriter: Send + Sync {
    /// Decides about one message. CPU-bound: large messages are given to the blocking pool, panics are caught.
    ///
    /// # Errors
    /// When the message could not be judged; `on_error` says what becomes of it.
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<Outcome, Failure>;
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
