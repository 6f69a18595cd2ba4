//! URLs in running text, as mail programs turn them into links.
//!
//! Gmail, Outlook, Apple Mail, Thunderbird and Android disagree on what is a link and where it ends. What is found here is
//! what any of them links; an end is put where most of them put it.

use std::ops::Range;

/// A URL in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it stands.
    pub(crate) at: Range<usize>,
    /// The URL, with the scheme that a program would add and without line breaks in it.
    pub(crate) url: String,
}

/// What counts as a URL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Domain names without a scheme or `www.`: `portal.example.com/login`.
    pub(crate) bare_domains: bool,
    /// Names that begin with `www.` or `ftp.`.
    pub(crate) named_hosts: bool,
}

/// Top-level domains under which a name alone, without path or port, is taken for a link. Many others are file
/// extensions (`main.rs`), words (`it.is`) or members in program text (`dev.name`).
const PLAIN_TLDS: &[&str] = &[
    "com", "net", "org", "edu", "gov", "mil", "int", "info", "biz", "eu", "de", "fr", "nl", "uk", "ru", "cn", "jp",
    "br", "ca", "ch", "cz", "dk", "fi", "gr", "hu", "kr", "mx", "nz", "pt", "ro", "se", "sk", "tr", "tw", "ua", "za",
    "au", "cl", "xyz", "online", "icu", "site", "website", "shop",
];

/// All URLs of a text, in order and apart.
pub(crate) fn find(text: &str, options: Options) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut out: Vec<Found> = Vec::new();
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b':', b'.', bytes.get(from..).unwrap_or_default()) {
        let at = from + n;
        let floor = out.last().map_or(0, |f| f.at.end);
        let hit = if bytes.get(at) == Some(&b':') {
            scheme_url(text, at, floor)
        } else {
            Hit::from(named_host(text, at, floor, options))
        };
        match hit {
            Hit::Link(found) => {
                from = found.at.end.max(at + 1);
                out.push(found);
            }
            Hit::Skip(to) => from = to.max(at + 1),
        }
    }
    out
}

/// Whether a text may hold a URL at all; cheap, and never wrong when it says no.
pub(crate) fn may_hold_url(text: &[u8]) -> bool {
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b':', b'.', text.get(from..).unwrap_or_default()) {
        let at = from + n;
        let next = text.get(at + 1).copied().unwrap_or(b' ');
        if text.get(at) == Some(&b':') {
            if next == b'/' {
                return true;
            }
        } else if (next.is_ascii_alphanumeric() || matches!(next, b'-' | b'_') || next >= 0x80)
            && at
                .checked_sub(1)
                .and_then(|p| text.get(p))
                .is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80)
        {
            return true;
        }
        from = at + 1;
    }
    false
}

enum Hit {
    Link(Found),
    Skip(usize),
}

impl From<Result<Found, usize>> for Hit {
    fn from(r: Result<Found, usize>) -> Self {
        match r {
            Ok(f) => Self::Link(f),
            Err(to) => Self::Skip(to),
        }
    }
}

/// A URL whose `://` has its colon at `colon`.
fn scheme_url(text: &str, colon: usize, floor: usize) -> Hit {
    let bytes = text.as_bytes();
    if !bytes.get(colon..).unwrap_or_default().starts_with(b"://") {
        return Hit::Skip(colon + 1);
    }
    let before = bytes.get(floor..colon).unwrap_or_default();
    let Some(scheme) = ["https", "http", "ftp"].into_iter().find(|s| {
        before
            .len()
            .checked_sub(s.len())
            .and_then(|n| before.get(n..))
            .is_some_and(|b| b.eq_ignore_ascii_case(s.as_bytes()))
    }) else {
        return Hit::Skip(colon + 3);
    };
    let start = colon - scheme.len();
    let body = colon + 3;
    let end = end_of_url(text, start, body);
    if end <= body {
        // No URL to any parser; what follows is named, so that the report says it was seen.
        let next = text.get(body..).and_then(|t| t.chars().next());
        return match next.filter(|c| !c.is_whitespace() && !matches!(c, '<' | '>' | '"')) {
            Some(c) => {
                let end = body + c.len_utf8();
                Hit::Link(Found {
                    at: start..end,
                    url: text.get(start..end).unwrap_or_default().to_owned(),
                })
            }
            None => Hit::Skip(body),
        };
    }
    let end = foreign_word(text, body, end).unwrap_or(end);
    let (end, url) = joined_in_brackets(text, start, end)
        .unwrap_or_else(|| (end, text.get(start..end).unwrap_or_default().to_owned()));
    Hit::Link(Found { at: start..end, url })
}

/// A host name without a scheme, one of whose dots is at `dot`. `Err` says where to go on.
fn named_host(text: &str, dot: usize, floor: usize, options: Options) -> Result<Found, usize> {
    let after_dot = text.get(dot + 1..).unwrap_or_default();
    if !after_dot.chars().next().is_some_and(is_host_char) {
        return Err(dot + 1);
    }
    let before = text.get(floor..dot).unwrap_or_default();
    let start = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_host_char(*c))
        .last()
        .map_or(dot, |(i, _)| floor + i);
    // A name does not begin with a hyphen.
    let lead = text.get(start..dot).unwrap_or_default();
    let start = dot - lead.trim_start_matches(['-', '_']).len();
    let host_end = dot
        + 1
        + after_dot
            .char_indices()
            .find(|(_, c)| !is_host_char(*c) && *c != '.')
            .map_or(after_dot.len(), |(i, _)| i);
    let run_end = host_end;
    let host = text
        .get(start..host_end)
        .unwrap_or_default()
        .trim_end_matches(['.', '-']);
    let host_end = start + host.len();
    if start == dot
        || host
            .split('.')
            .any(|l| l.is_empty() || l.starts_with('-') || l.ends_with('-'))
    {
        // Behind the name there is nothing but dots and hyphens.
        return Err(run_end);
    }
    let rest = text.get(host_end..).unwrap_or_default();
    if rest.starts_with('@') {
        // The local part of a mail address: go past its domain.
        let skip = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| !is_host_char(*c) && *c != '.')
            .map_or(rest.len(), |(i, _)| i);
        return Err(host_end + skip);
    }
    let previous = text.get(..start).and_then(|t| t.chars().next_back());
    if matches!(
        previous,
        Some('@' | '/' | '\\' | '%' | '&' | '#' | '+' | '~' | '$' | '.')
    ) {
        return Err(host_end);
    }
    let lower = host.to_lowercase();
    let labels = lower.split('.').count();
    let port = rest
        .strip_prefix(':')
        .map_or(0, |p| p.bytes().take_while(u8::is_ascii_digit).count());
    let behind = if port > 0 {
        rest.get(port + 1..).unwrap_or_default()
    } else {
        rest
    };
    let path = behind.starts_with(['/', '?', '#']);
    let first = lower.split('.').next().unwrap_or_default();
    let scheme = if !options.named_hosts {
        return Err(host_end);
    } else if first == "www" && (labels > 2 || path) {
        "http://"
    } else if first == "ftp" && labels > 2 && known_suffix(&lower) {
        "ftp://"
    } else if options.bare_domains
        && known_suffix(&lower)
        && !matches!(previous, Some('=' | '-' | '_' | '*' | '>' | ':') if !path && port == 0)
        && (path && behind.len() > 1 && !behind.starts_with(['?', '#']) || port > 0 || plain_name(&lower, rest))
    {
        "http://"
    } else {
        return Err(host_end);
    };
    let end = if path || port > 0 {
        end_of_url(text, start, host_end)
    } else {
        host_end
    };
    let end = end.max(host_end);
    Ok(Found {
        at: start..end,
        url: format!("{scheme}{}", text.get(start..end).unwrap_or_default()),
    })
}

/// Letters, digits, hyphens, and whatever an internationalised name may hold.
fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii() && (c.is_alphanumeric() || is_invisible(c))
}

/// Characters that IDNA drops from host names: soft hyphen, zero-width characters, word joiner.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Whether a host name ends in a suffix under which names are registered.
fn known_suffix(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.len() < 2 || last.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    psl::suffix(host.as_bytes()).is_some_and(|s| s.is_known() && s.as_bytes().len() < host.len())
}

/// Whether a name that stands alone is meant as a web address rather than a file, an abbreviation or program text.
fn plain_name(host: &str, rest: &str) -> bool {
    let mut labels = host.rsplit('.');
    let (tld, name) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    PLAIN_TLDS.contains(&tld)
        && name.len() > 1
        && !rest.starts_with(['(', '[', '_', '=', '-', '/', '{', '*'])
        && name.bytes().any(|b| b.is_ascii_alphabetic() || b >= 0x80)
}

/// Where a URL that begins at `start`, and is sought from `body` on, ends.
fn end_of_url(text: &str, start: usize, body: usize) -> usize {
    let quoted = text.get(..start).is_some_and(|t| t.ends_with('\''));
    let rest = text.get(body..).unwrap_or_default();
    let mut open: Vec<char> = Vec::new();
    let mut end = rest.len();
    for (i, c) in rest.char_indices() {
        let stop = match c {
            '<' | '>' | '"' | '`' | '|' | '\\' | '^' => true,
            '\'' => quoted,
            '(' | '[' | '{' => {
                open.push(c);
                false
            }
            ')' | ']' | '}' => {
                let mate = if c == ')' {
                    '('
                } else if c == ']' {
                    '['
                } else {
                    '{'
                };
                match open.iter().rposition(|o| *o == mate) {
                    Some(n) => {
                        open.truncate(n);
                        false
                    }
                    None => true,
                }
            }
            ',' | ';' => {
                let next = rest.get(i + 1..).unwrap_or_default().as_bytes();
                [&b"http://"[..], b"https://", b"ftp://"]
                    .iter()
                    .any(|s| next.get(..s.len()).is_some_and(|n| n.eq_ignore_ascii_case(s)))
            }
            c if c.is_ascii() => c.is_ascii_whitespace() || c.is_ascii_control(),
            c => ends_url(c),
        };
        if stop {
            end = i;
            break;
        }
    }
    let url = rest.get(..end).unwrap_or_default();
    let trimmed = url.trim_end_matches(|c: char| {
        matches!(
            c,
            '.' | ',' | ';' | '!' | '?' | ':' | '\'' | '*' | '-' | '(' | '[' | '{' | '~'
        ) || is_invisible(c)
    });
    body + trimmed.len()
}

/// Where a host name ends that a word in another script follows without a blank: `www.example.com을`.
fn foreign_word(text: &str, body: usize, end: usize) -> Option<usize> {
    let url = text.get(body..end)?;
    let host = url.get(..url.find(['/', '?', '#', ':', '@']).unwrap_or(url.len()))?;
    let at = host.find(|c: char| !c.is_ascii() && !is_invisible(c))?;
    let ascii = host.get(..at)?;
    let rest = host.get(at..)?;
    let word = !rest.contains('.') && host.len() == url.len() && ascii.contains('.') && !ascii.ends_with(['.', '-']);
    (word && known_suffix(&ascii.to_ascii_lowercase())).then_some(body + at)
}

/// Non-ASCII characters that end a URL: blanks, quotation marks, ideographic and full-width punctuation.
fn ends_url(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '«' | '»' | '‘' | '’' | '‚' | '“' | '”' | '„' | '‹' | '›' | '…' | '\u{2028}' | '\u{2029}'
            | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}'
            | '！' | '＂' | '（' | '）' | '，' | '：' | '；' | '＜' | '＞' | '？' | '［' | '］' | '｛' | '｜' | '｝' | '｡' | '｢' | '｣' | '､')
}

/// A URL in angle brackets may be broken over lines (RFC 3986 appendix C): the whole of it, if the bracket closes soon.
fn joined_in_brackets(text: &str, start: usize, end: usize) -> Option<(usize, String)> {
    let before = text.get(..start)?;
    let head = before.get(before.len().saturating_sub(5)..).unwrap_or(before);
    if !(before.ends_with('<') || head.to_ascii_lowercase().ends_with("<url:")) {
        return None;
    }
    let rest = text.get(end..)?;
    if !rest.starts_with(['\r', '\n']) {
        return None;
    }
    // Five lines and no more: the whole text is not searched for every bracket.
    let soon = memchr::memchr_iter(b'\n', rest.as_bytes()).nth(4).unwrap_or(rest.len());
    let close = memchr::memchr(b'>', rest.as_bytes().get(..soon)?)?;
    let inside = rest.get(..close)?;
    let lines: Vec<&str> = inside.lines().map(str::trim).skip(1).collect();
    let sound = (1..=4).contains(&lines.len())
        && lines
            .iter()
            .all(|l| !l.is_empty() && !l.contains([' ', '\t', '<', '"']) && !l.contains("://"));
    sound.then(|| {
        (
            end + close,
            format!("{}{}", text.get(start..end).unwrap_or_default(), lines.concat()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn urls(text: &str) -> Vec<String> {
        find(
            text,
            Options {
                bare_domains: true,
                named_hosts: true,
            },
        )
        .into_iter()
        .map(|f| f.url)
        .collect()
    }

    #[test]
    fn urls_end_where_most_programs_end_them() {
        for (text, want) in [
            ("Visit https://t1.example.com/a. Thanks.", "https://t1.example.com/a"),
            ("<https://t2.example.com/a?b=1&c=2>", "https://t2.example.com/a?b=1&c=2"),
            ("<URL:https://t3.example.com/x>", "https://t3.example.com/x"),
            ("Open www.t4.example.com/path, please", "http://www.t4.example.com/path"),
            ("(see https://t6.example.com/x), ok", "https://t6.example.com/x"),
            (
                "https://t7.example.com/wiki/Foo_(bar)",
                "https://t7.example.com/wiki/Foo_(bar)",
            ),
            ("HTTPS://T13.EXAMPLE.COM/Path", "HTTPS://T13.EXAMPLE.COM/Path"),
            ("请看：https://t14.example.com/a，谢谢", "https://t14.example.com/a"),
            ("https://t15.exam\u{200b}ple.com/a", "https://t15.exam\u{200b}ple.com/a"),
            ("'https://a.example/b'.", "https://a.example/b"),
            ("“https://a.example/b”", "https://a.example/b"),
            ("[x](https://a.example/b) y", "https://a.example/b"),
            ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/x"),
            ("http://3221226219/b", "http://3221226219/b"),
            ("https://a_b.example#f", "https://a_b.example#f"),
            ("https://a.example/x\u{3000}y", "https://a.example/x"),
            ("portal.example.com:8443/x#y", "http://portal.example.com:8443/x#y"),
            (
                "Log in at portal.example.com/login today",
                "http://portal.example.com/login",
            ),
            ("see example.com.", "http://example.com"),
            (
                "<https://t8.example.com/long/\ncontinues/here?x=1>",
                "https://t8.example.com/long/continues/here?x=1",
            ),
            ("ftp.example.com/pub", "ftp://ftp.example.com/pub"),
            ("http://www.example.com을 보세요", "http://www.example.com"),
            ("https://пример.example.com/путь", "https://пример.example.com/путь"),
        ] {
            assert_eq!(urls(text), [want], "{text}");
        }
    }

    #[test]
    fn joined_urls_come_apart() {
        assert_eq!(
            urls("https://a.example/1,https://b.example/2"),
            ["https://a.example/1", "https://b.example/2"]
        );
        assert_eq!(
            urls("https://web.example/https://b.example/2"),
            ["https://web.example/https://b.example/2"]
        );
    }

    #[test]
    fn what_only_looks_like_a_link_is_none() {
        for text in [
            "hxxps://t18[.]example[.]com/a h**p://t18.example/",
            "See report.pdf, node.js, 1.2.3, e.g. and/or v1.0/readme; 10.5 kg.",
            "Write to jane@corp.example or jane.doe@corp.example.com <mailto:jane@corp.example?subject=x>",
            "setup.py README.md main.rs script.sh archive.zip U.S.A. i.e. a.m. std.io foo.tar.gz",
            "dev->parent.name = pdev.dev.id; obj.org(x) a.com=1",
            "http:// https://",
            "drivers/net/foo.com/bar.c",
            "end of line.This is it.is",
        ] {
            assert_eq!(urls(text), [""; 0], "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_found_where_nothing_may_be(text in "[a-c:/.w@ \u{e9}\n<>-]{0,40}") {
            let found = find(&text, Options { bare_domains: true, named_hosts: true });
            prop_assert!(found.is_empty() || may_hold_url(text.as_bytes()), "{:?}", found);
            for w in found.windows(2) {
                prop_assert!(w[0].at.end <= w[1].at.start);
            }
            for f in &found {
                prop_assert!(text.is_char_boundary(f.at.start) && text.is_char_boundary(f.at.end));
            }
        }
    }
}
