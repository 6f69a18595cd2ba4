//! Filter lists of content blockers: rules about whole pages.

use super::Output;
use crate::entry::{Extent, Role};

/// Reads one rule.
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

/// Whether a rule with this option is about pages.
fn is_about_pages(option: &str) -> bool {
    matches!(option.trim(), "" | "all" | "document" | "doc" | "important" | "popup")
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{bad, read};

    #[test]
    fn rules() {
        for (rule, wanted) in [
            ("||evil.example^", "Listed Domain evil.example"),
            ("||evil.example", "Listed Domain evil.example"),
            ("||evil.example/", "Listed Domain evil.example"),
            ("||evil.example/*", "Listed Domain evil.example"),
            ("||evil.example^$document", "Listed Domain evil.example"),
            ("||evil.example^$all,important", "Listed Domain evil.example"),
            ("||*.evil.example^", "Listed Below evil.example"),
            ("||1.2.3.4^", "Listed Domain 1.2.3.4"),
            ("||evil.example/path^", "Listed DomainTree evil.example/path"),
            ("||evil.example/dir/", "Listed DomainTree evil.example/dir"),
            ("||evil.example/dir/*", "Listed DomainTree evil.example/dir"),
            ("||me.github.io/dir/", "Listed DomainTree me.github.io/dir"),
            ("||github.io/dir/", "Listed Tree github.io/dir"),
            ("|https://evil.example/a?b|", "Listed Url evil.example/a?b"),
            ("|https://evil.example/a/", "Listed Tree evil.example/a"),
            ("https://evil.example/a.html", "Listed Tree evil.example/a.html"),
            ("|http://evil.example^", "Listed Host evil.example"),
            ("@@||good.example^", "Excepted Domain good.example"),
            ("@@||good.example/x^$document", "Excepted DomainTree good.example/x"),
            ("evil.example", "Listed Domain evil.example"),
        ] {
            let (seen, report) = read(Format::Adblock, rule);
            assert_eq!((seen, report.lines), (vec![wanted.to_owned()], 1), "{rule}");
        }
        for skipped in [
            "example.com##.banner",
            "##.banner",
            "example.com#@#.banner",
            "/banner[0-9]+/",
            "-ads-",
            "||evil.example^$third-party",
            "||evil.example^$script,domain=a.example",
            "@@||good.example^$elemhide",
            "||ev*l.example^",
            "||evil.example/a*b",
            "||evil.example/a?b=",
            "||evil.example/1/2/3/4/5/6/7/8/9^",
        ] {
            let (seen, report) = read(Format::Adblock, skipped);
            assert_eq!((seen.len(), report.skipped, report.bad), (0, 1, 0), "{skipped}");
        }
    }

    #[test]
    fn comments_faults_and_platforms() {
        let (seen, report) = read(
            Format::Adblock,
            "[Adblock Plus 2.0]\n! Title: x\n# note\n<!DOCTYPE html>\n||^\n||com^\n||github.io^\n",
        );
        assert_eq!((seen.len(), report.lines, report.refused), (0, 4, 2));
        assert_eq!(bad(&report), [4, 5]);
    }
}
