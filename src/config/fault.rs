//! Faults of a configuration, and where they stand.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault: where it stands, what was found there and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file, or the key file it names.
    pub file: PathBuf,
    /// Line and column, counted from 1; `None` when the fault is with the file as a whole.
    pub place: Option<(usize, usize)>,
    /// The key, as `section.name`; entries of arrays are counted from 1. Empty when there is none.
    pub key: String,
    /// The text found and the values allowed, in words.
    pub what: String,
}

impl ConfigError {
    /// A fault with a file as a whole.
    pub(crate) fn whole(file: &Path, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place: None,
            key: String::new(),
            what: what.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

/// The word of `allowed` that was most likely meant by `found`.
pub(super) fn did_you_mean<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    allowed
        .into_iter()
        .map(|a| (strsim::damerau_levenshtein(&found, a), a))
        .filter(|(d, a)| *d <= (a.len() / 3).max(1) || (found.len() >= 4 && a.starts_with(&found)))
        .min_by_key(|(d, _)| *d)
        .map(|(_, a)| a)
}

/// Line and column of an offset, both from 1; columns count characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        assert_eq!(place("a\nbü c", 6), (2, 4));
        assert_eq!(place("", 0), (1, 1));
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(did_you_mean("smpt", ["smtp", "lmtp"]), Some("smtp"));
        assert_eq!(did_you_mean("public-url", ["listen", "public_url"]), Some("public_url"));
        assert_eq!(did_you_mean("timeout", ["listen", "public_url"]), None);
        assert_eq!(did_you_mean("INBOUND", ["inbound"]), Some("inbound"));
    }
}
