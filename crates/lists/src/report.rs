//! Reports of lists that were read.

use std::borrow::Cow;

/// Counts of lines of a list, and the first faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines or records that are neither blank nor comments.
    pub lines: u64,
    /// Lines that cannot be read.
    pub bad: u64,
    /// The first few bad lines.
    pub faults: Vec<Fault>,
    /// Sound lines that name nothing looked up here.
    pub skipped: u64,
    /// Lines that name a whole platform.
    pub refused: u64,
    /// The first few refused lines.
    pub refusals: Vec<Fault>,
    /// The fault of the document as a whole: it ends too early, it is not JSON.
    pub broken: Option<String>,
}

/// A line or record with a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line or record, counted from 1 in its document.
    pub line: u64,
    /// Its front; untrusted text.
    pub text: String,
    /// The fault.
    pub why: Cow<'static, str>,
}
