//! What is known of senders when mail comes in.

/// `[checks]`, as far as it is about senders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderChecks {
    /// `authserv_ids`: whose `Authentication-Results` (RFC 8601) are believed, in lower case; with none, nobody's.
    pub authserv_ids: Vec<String>,
}
