//! The report of a list that was read: counts, and the first faults.

use std::borrow::Cow;

/// What was read of a list, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines or records that are neither blank nor comments.
    pub lines: u64,
    /// Those that cannot be read.
    pub bad: u64,
    /// The first few of these.
    pub faults: Vec<Fault>,
    /// Those that are sound, but name nothing that can be looked up here.
    pub skipped: u64,
    /// Names that no list may name, for they are platforms.
    pub refused: u64,
    /// The first few of these.
    pub refusals: Vec<Fault>,
    /// Why the document as a whole cannot be what it should: it ends too early, it is not JSON.
    pub broken: Option<String>,
}

/// A line or record that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line or record, counted from 1 in its document.
    pub line: u64,
    /// How it begins. Text of strangers.
    pub text: String,
    /// What is wrong.
    pub why: Cow<'static, str>,
}
