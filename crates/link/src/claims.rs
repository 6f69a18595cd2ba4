//! What a token says, and its compact binary form.

/// The facts about one copy of a mail that every token in it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageClaims {
    /// Our own id of the mail, as in the log and the store.
    pub message_id: String,
    /// The recipient this copy goes to; `None` when one copy serves several.
    pub recipient: Option<String>,
    /// Envelope sender; empty for `<>`.
    pub sender: String,
    /// When the mail was rewritten, in seconds since 1970.
    pub issued_at: i64,
    /// The recipient domain whose policy was applied, in lower case.
    pub domain: String,
}
