//! Formats with one entry on a line that need no memory of other lines.

use std::net::IpAddr;

use super::{Output, refanged};
use crate::entry::{Extent, Role};

/// A hosts file (hosts(5)).
pub(super) fn hosts(line: &str, out: &mut Output<'_>) {
    let mut fields = without_comment(line).split_ascii_whitespace();
    let Some(address) = fields.next() else { return };
    out.counted();
    let Ok(address) = address.parse::<IpAddr>() else {
        return out.bad("does not begin with an address", line);
    };
    let nowhere = address.is_unspecified() || address.is_loopback();
    let mut names = fields.filter(|n| !is_own(n)).peekable();
    if !nowhere || names.peek().is_none() {
        return out.skipped();
    }
    for name in names {
        out.host(name, Extent::Host, Role::Listed);
    }
}

/// Names, one on a line.
pub(super) fn domains(line: &str, out: &mut Output<'_>) {
    let line = without_comment(line);
    let line = line.split(';').next().unwrap_or_default().trim();
    if line.is_empty() || line.starts_with("//") {
        return;
    }
    out.counted();
    let name = refanged(line);
    match name.strip_prefix("*.").or(name.strip_prefix('.')) {
        Some(name) => out.host(name, Extent::Domain, Role::Listed),
        None => out.host(&name, Extent::Host, Role::Listed),
    }
}

/// URLs, one on a line.
pub(super) fn urls(line: &str, out: &mut Output<'_>) {
    if line.starts_with(['#', ';']) || line.starts_with("//") {
        return;
    }
    out.counted();
    out.url(&refanged(line), Role::Listed, None);
}

/// Regular expressions, one on a line.
pub(super) fn regex(line: &str, out: &mut Output<'_>) {
    if line.starts_with('#') {
        return;
    }
    out.counted();
    out.pattern(line);
}

/// A `dnset` (rbldnsd(8)).
pub(super) fn dnset(line: &str, out: &mut Output<'_>) {
    // `:address:text` sets a default answer, `$` begins a directive.
    if line.starts_with(['#', ';', ':', '$']) {
        return;
    }
    out.counted();
    let (role, line) = match line.strip_prefix('!') {
        Some(rest) => (Role::ExceptedHere, rest.trim_start()),
        None => (Role::Listed, line),
    };
    let name = line
        .split(|c: char| c.is_ascii_whitespace() || matches!(c, ':' | '#' | ';'))
        .next()
        .unwrap_or_default();
    if let Some(name) = name.strip_prefix("*.") {
        out.host(name, Extent::Below, role);
    } else if let Some(name) = name.strip_prefix('.') {
        out.host(name, Extent::Domain, role);
    } else {
        out.host(name, Extent::Host, role);
    }
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// Names that stand in every hosts file.
fn is_own(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let own = [
        "localhost",
        "localhost.localdomain",
        "local",
        "broadcasthost",
        "0.0.0.0",
    ];
    own.contains(&name.as_str()) || name.starts_with("ip6-")
}
