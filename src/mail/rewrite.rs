//! One message in, one patch out: finds the links of a message, decides on each, seals and splices.
//!
//! The crates `message` and `link` meet here; neither knows the other.

mod judge;
mod sender;
mod suspicion;

use std::borrow::Cow;
use std::sync::Arc;

use link::Decision;
#[cfg(feature = "bench")]
use message::Judge;
use message::{Patch, Source};
use store::ReferenceRow;

use crate::config::Settings;
use crate::failure::{Cause, Failure, Phase};
use crate::intel::sources::Sources;
use crate::mail::header;
use crate::mail::spool::Spool;
use judge::LinkJudge;
pub use suspicion::{Grade, Suspicion};

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

/// The result of rewriting: whether a message goes on, and with which changes.
#[derive(Debug, Default)]
pub struct RewriteOutcome {
    /// Whether it goes on.
    pub action: RewriteAction,
    /// The changes to it.
    pub patch: Patch,
    /// The links and faults found in it.
    pub report: MessageReport,
    /// Long targets, to be stored before the next hop gets the message.
    pub references: Vec<ReferenceRow>,
}

/// Whether a message goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RewriteAction {
    /// To the next hop, with the patch.
    #[default]
    Forward,
    /// Refused for good with 550; the reason is for the log.
    Refuse(String),
}

/// The links and doubtful structures that were found in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageReport {
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
    /// The decision about it, and why.
    pub decision: Decision,
    /// Where in the part it stands.
    pub place: Cow<'static, str>,
    /// The part, by number.
    pub part: String,
    /// The signs against it, as far as the rules of the domain count them.
    pub suspicion: Option<Box<Suspicion>>,
}

/// Why a message could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Its bytes cannot be read, or its plan cannot be made.
    #[error(transparent)]
    Plan(#[from] message::PlanError),
}

/// Finds and changes the links of messages.
pub trait Rewriter: Send + Sync {
    /// Decides about one message. CPU-bound: large messages are given to the blocking pool, panics are caught.
    ///
    /// # Errors
    /// When the message could not be judged; `on_error` says what becomes of it.
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<RewriteOutcome, Failure>;
}

/// Rewrites messages as [`rewrite`] does, asking these sources.
#[derive(Debug, Clone)]
pub struct Pipeline {
    sources: Arc<dyn Sources>,
}

impl Pipeline {
    /// A rewriter that asks these.
    #[must_use]
    pub fn new(sources: Arc<dyn Sources>) -> Self {
        Self { sources }
    }
}

impl Rewriter for Pipeline {
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<RewriteOutcome, Failure> {
        rewrite(spool, job, &*self.sources).map_err(|e| Failure::ours(Phase::Rewrite, Cause::Other(Box::new(e))))
    }
}

/// Works out what becomes of one message.
///
/// The recipients share one policy: that of the first one counts. A message to a domain that did not opt in is not even
/// looked at.
///
/// # Errors
/// See [`RewriteError`].
pub fn rewrite(source: &dyn Source, job: &Job<'_>, sources: &dyn Sources) -> Result<RewriteOutcome, RewriteError> {
    let Some(mut judge) = LinkJudge::new(job, sources) else {
        return Ok(RewriteOutcome::default());
    };
    judge.read_header(source);
    let sender_bypassed = judge.sender_bypassed;
    let planned = message::plan(source, &job.settings.rewriting, &mut judge)?;
    judge.note_domains();
    let mut patch = planned.patch;
    if sender_bypassed {
        // Trusted as a whole: nothing in it is touched, odd structures included.
        patch = Patch::default();
    } else if let Some(tag) = judge.tag()
        && header::read_front(source).is_ok_and(|front| header::begins_soundly(&front))
    {
        patch = header::on_top(tag, patch);
    }
    let unsafe_form = planned.refused.map(|quirk| format!("cannot be made safe: {quirk}"));
    let refusal = unsafe_form.or(judge.refusal()).filter(|_| !sender_bypassed);
    Ok(RewriteOutcome {
        action: refusal.map_or(RewriteAction::Forward, RewriteAction::Refuse),
        report: MessageReport {
            changed: !patch.is_empty(),
            links: judge.links,
            quirks: planned.quirks.iter().map(|q| q.to_string()).collect(),
            parts: planned.parts,
            message_id: planned.message_id,
        },
        patch,
        references: judge.references,
    })
}

/// The judge of the links of one message, without the message; for benches.
#[cfg(feature = "bench")]
#[must_use]
pub fn judge<'a>(job: &Job<'a>, sources: &'a dyn Sources) -> Option<impl Judge + 'a> {
    LinkJudge::new(job, sources)
}
