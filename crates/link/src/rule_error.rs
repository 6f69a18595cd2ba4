//! Faults of rules in the configuration: of senders, URLs and protected names.

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {} ({rule:?}): {why}; allowed: {allowed}", index + 1)]
pub struct RuleError {
    /// Place in the list, from 0.
    pub index: usize,
    /// As written.
    pub rule: String,
    /// The fault.
    pub why: String,
    /// The allowed values.
    pub allowed: &'static str,
}
