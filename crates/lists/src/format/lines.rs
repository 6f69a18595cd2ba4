//! Formats in which each line stands for itself.

use std::net::IpAddr;

use super::{Output, refanged};
use crate::entry::{Extent, Role};

/// Reads a line of a hosts file (hosts(5)).
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

/// Reads a line with a name.
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

/// Reads a line with a URL.
pub(super) fn urls(line: &str, out: &mut Output<'_>) {
    if line.starts_with(['#', ';']) || line.starts_with("//") {
        return;
    }
    out.counted();
    out.url(&refanged(line), Role::Listed, None);
}

/// Reads a line with a regular expression.
pub(super) fn regex(line: &str, out: &mut Output<'_>) {
    if line.starts_with('#') {
        return;
    }
    out.counted();
    out.pattern(line);
}

/// Reads a line of a `dnset` (rbldnsd(8)).
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

/// Whether a name stands in every hosts file.
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

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{bad, read};

    #[test]
    fn hosts_files() {
        let (seen, report) = read(
            Format::Hosts,
            "# list\r\n127.0.0.1 localhost\n::1 ip6-localhost\n0.0.0.0 evil.example www.evil.example # both\n\
             0.0.0.0\tTab.Example\n192.0.2.1 printer.example\nevil.example\n0.0.0.0 github.io bad!!name\n0.0.0.0 0.0.0.0\n",
        );
        assert_eq!(
            seen,
            [
                "Listed Host evil.example",
                "Listed Host www.evil.example",
                "Listed Host tab.example"
            ]
        );
        assert_eq!((report.lines, report.skipped, report.refused), (8, 4, 1));
        assert_eq!(bad(&report), [7, 8]);
        assert_eq!(report.refusals[0].text, "github.io");
    }

    #[test]
    fn names_on_lines() {
        let (seen, report) = read(
            Format::Domains,
            "evil.example # why\n; note\n// note\n*.wild.example\n.dot.example\nde[.]fanged.example\n1.2.3.4\nhttp://a.example/\n\
             blogspot.com\n*.co.uk\n",
        );
        assert_eq!(
            seen,
            [
                "Listed Host evil.example",
                "Listed Domain wild.example",
                "Listed Domain dot.example",
                "Listed Host de.fanged.example",
                "Listed Host 1.2.3.4",
            ]
        );
        assert_eq!((report.lines, report.refused), (8, 2));
        // `http:` is all that is left of a URL before what looks like a comment in other formats.
        assert_eq!(bad(&report), [8]);
    }

    #[test]
    fn urls_on_lines() {
        let (seen, report) = read(
            Format::Urls,
            "# feed\nhttps://Evil.example/Login?id=1#top\nhxxps://evil[.]example/x\nhXXp://[2001:db8::1]/\nevil.example/y\n\
             https://evil.example\nnonsense\n<html>\nftp://evil.example/z\nmailto:a@evil.example\n",
        );
        assert_eq!(
            seen,
            [
                "Listed Url evil.example/Login?id=1",
                "Listed Url evil.example/x",
                "Listed Url [2001:db8::1]/",
                "Listed Url evil.example/y",
                "Listed Url evil.example/",
                "Listed Url evil.example/z",
            ]
        );
        assert_eq!(bad(&report), [7, 8, 10]);
    }

    #[test]
    fn patterns_on_lines() {
        let (_, report) = read(
            Format::Regex,
            "# note\n^https?://[^/]+/wp-content/.*\\.exe$\n(\n.*\nx{1000}{1000}\nlogin\\.example\n",
        );
        assert_eq!(bad(&report), [3, 4, 5]);
        assert_eq!(report.faults[2].why, "the pattern is too large");
    }

    #[test]
    fn data_sets_of_rbldnsd() {
        let (seen, report) = read(
            Format::Dnset,
            "$SOA 3600 ns.example. admin.example. 0 1 2 3 4\n:127.0.0.2:Listed, see $\n# note\nevil.example\n.all.example\n\
             *.below.example :127.0.0.4:why\n!good.all.example\nbad name.example\n&\n",
        );
        assert_eq!(
            seen,
            [
                "Listed Host evil.example",
                "Listed Domain all.example",
                "Listed Below below.example",
                "ExceptedHere Host good.all.example",
            ]
        );
        assert_eq!((bad(&report), report.refused), (vec![8, 9], 0));
    }
}
