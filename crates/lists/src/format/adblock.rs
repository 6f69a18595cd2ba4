//! Filter lists of content blockers, as far as they are about whole pages.

use super::Output;
use crate::entry::{Extent, Role};

/// One rule.
pub(super) fn line(line: &str, out: &mut Output<'_>) {
    if line.starts_with(['!', '[']) || line.starts_with("# ") || line == "#" {
        return;
    }
    out.counted();
    if line.starts_with('<') {
        return out.bad("markup", line);
    }
    let (role, rule) = match line.strip_prefix("@@") {
        Some(rest) => (Role::Excepted, rest),
        None => (Role::Listed, line),
    };
    // Cosmetic rules, and regular expressions of another dialect.
    let cosmetic = ["##", "#@#", "#?#", "#$#", "#%#"].iter().any(|s| rule.contains(s));
    if cosmetic || rule.starts_with('#') || rule.len() > 1 && rule.starts_with('/') {
        return out.skipped();
    }
    let (pattern, options) = rule.rsplit_once('$').unwrap_or((rule, ""));
    if !options.split(',').all(is_about_pages) {
        return out.skipped();
    }
    let pattern = pattern.strip_suffix('*').unwrap_or(pattern);
    let (pattern, extent) = if let Some(rest) = pattern.strip_prefix("||") {
        (rest, Extent::Domain)
    } else if let Some(rest) = pattern.strip_prefix('|') {
        (rest, Extent::Host)
    } else {
        (
            pattern,
            if pattern.contains("://") {
                Extent::Host
            } else {
                Extent::Domain
            },
        )
    };
    let named = pattern
        .strip_prefix("http://")
        .or(pattern.strip_prefix("https://"))
        .unwrap_or(pattern);
    // `|https://a.example/b|` is that URL and no other.
    if let (Extent::Host, Some(url)) = (extent, named.strip_suffix('|')) {
        return if url.contains(['*', '^']) {
            out.skipped()
        } else {
            out.url(url, role, None)
        };
    }
    let named = named.trim_end_matches('|');
    let named = named.strip_suffix('^').unwrap_or(named);
    let (host, path) = named.split_once('/').unwrap_or((named, ""));
    let (host, extent) = match (host.strip_prefix("*."), extent) {
        (Some(host), Extent::Domain) => (host, Extent::Below),
        (_, extent) => (host, extent),
    };
    let host = host.strip_suffix('^').unwrap_or(host);
    // A rule without an anchor and without a dot is a piece of any URL; so is one with an inner wildcard.
    let anchored = line.contains('|') || line.contains("://");
    if host.contains(['*', '^']) || path.contains(['*', '^', '|']) || !anchored && !host.contains('.') {
        return out.skipped();
    }
    if path.is_empty() {
        out.host(host, extent, role);
    } else if path.contains('?') {
        // With the beginning of a query: not a whole page.
        out.skipped();
    } else {
        let extent = if extent == Extent::Host {
            Extent::Tree
        } else {
            Extent::DomainTree
        };
        out.tree(&format!("{host}/{path}"), extent, role);
    }
}

/// Whether an option leaves the rule one about pages that are opened.
fn is_about_pages(option: &str) -> bool {
    matches!(option.trim(), "" | "all" | "document" | "doc" | "important" | "popup")
}
