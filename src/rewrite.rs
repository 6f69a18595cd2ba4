//! One message in, one patch out: finds the links of a message, decides on each, seals and splices.

use message::{Patch, Source};

use crate::settings::Settings;

/// What is known about a message besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The snapshot this message is worked on with.
    pub settings: &'a Settings,
    /// Envelope sender; empty for `<>`.
    pub sender: &'a str,
    /// Envelope recipients of this copy.
    pub recipients: &'a [String],
    /// Our id of the mail.
    pub mail_id: &'a str,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// What becomes of a message.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it goes on.
    pub action: Action,
    /// What changes in it.
    pub patch: Patch,
    /// What was found.
    pub report: Report,
    /// Targets that must be stored, durably, before the message goes on.
    pub references: Vec<store::ReferenceRow>,
}

/// Whether a message goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It goes on, patched.
    Forward,
    /// It is refused, for this reason.
    Refuse(String),
}

/// What was found in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether a byte changes.
    pub changed: bool,
    /// Every link.
    pub links: Vec<LinkReport>,
    /// Doubtful structures.
    pub quirks: Vec<String>,
    /// Parts of the message.
    pub parts: usize,
    /// The `Message-ID` field.
    pub message_id: Option<String>,
}

/// One link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// The target, or what stood there.
    pub url: String,
    /// `wrapped`, `kept` or `disarmed`.
    pub decision: &'static str,
    /// Why, as a stable word.
    pub reason: &'static str,
    /// Where in the part it stands.
    pub place: String,
    /// The part it stands in.
    pub part: String,
}

/// Why a message could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Its bytes cannot be read.
    #[error("the message cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

/// Works out what becomes of one message.
///
/// # Errors
/// See [`RewriteError`].
pub fn rewrite(_source: &dyn Source, _job: &Job<'_>) -> Result<Outcome, RewriteError> {
    Ok(Outcome {
        action: Action::Forward,
        patch: Patch::default(),
        report: Report::default(),
        references: Vec::new(),
    })
}
