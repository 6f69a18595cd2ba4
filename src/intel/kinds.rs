//! Differences between the kinds of sources: which are lists, how a server expects its key, and how connections are kept.

use reqwest::header::AUTHORIZATION;

use crate::config::{ListKind, SourceKind};

/// The kind of list that a source is; `None` for one that is asked about each URL.
pub(super) fn list(kind: SourceKind) -> Option<ListKind> {
    match kind {
        SourceKind::List(list) => Some(list),
        SourceKind::Dns(_) | SourceKind::SafeBrowsing | SourceKind::WebRisk => None,
    }
}

/// The name and value of the header in which a server expects its key.
pub(super) fn key_header(kind: SourceKind, key: &str) -> (&'static str, String) {
    match kind {
        SourceKind::List(ListKind::UrlhausCsv | ListKind::UrlhausJson) => ("auth-key", key.to_owned()),
        SourceKind::List(ListKind::Misp) => (AUTHORIZATION.as_str(), key.to_owned()),
        SourceKind::SafeBrowsing | SourceKind::WebRisk => ("x-goog-api-key", key.to_owned()),
        SourceKind::List(_) | SourceKind::Dns(_) => (AUTHORIZATION.as_str(), format!("Bearer {key}")),
    }
}

/// Connections kept open between requests: none for a list, which is fetched once an hour.
pub(super) fn idle_connections(kind: SourceKind) -> usize {
    match list(kind) {
        Some(_) => 0,
        None => 4,
    }
}
