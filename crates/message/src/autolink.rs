//! URLs in running text, as mail programs turn them into links.
//!
//! Gmail, Outlook, Apple Mail, Thunderbird and Android disagree on what is a link and where it ends. Every URL that any
//! of them links is found here; it ends where most of them end it.

mod end;
mod host;

use std::ops::Range;

use crate::slice::Slice;
use end::{end_of_url, foreign_word, joined_in_brackets, spaced_in_brackets};
use host::{is_host_char, is_ipv4, known_suffix, leading_word, plain_name, trailing_word};

/// A URL in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextUrl {
    /// Its place.
    pub(crate) at: Range<usize>,
    /// The URL, with the scheme that a program would add and without line breaks in it.
    pub(crate) url: String,
    /// The reason it stays, if it does: `no-host` where it names none, so that no program links it (`https://` in prose).
    pub(crate) left: Option<&'static str>,
}

/// The forms accepted as a URL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UrlForms {
    /// Domain names without a scheme or `www.`: `portal.example.com/login`.
    pub(crate) bare_domains: bool,
    /// Names that begin with `www.` or `ftp.`.
    pub(crate) named_hosts: bool,
}

impl UrlForms {
    /// All that any program links.
    pub(crate) const ALL: Self = Self {
        bare_domains: true,
        named_hosts: true,
    };

    /// Only what has a scheme.
    pub(crate) const NO_NAMES: Self = Self {
        bare_domains: false,
        named_hosts: false,
    };
}

/// All URLs of a text, in order and apart.
pub(crate) fn find(text: &str, forms: UrlForms) -> Vec<TextUrl> {
    let bytes = text.as_bytes();
    let mut out: Vec<TextUrl> = Vec::new();
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b':', b'.', bytes.slice(from..)) {
        let at = from + n;
        let floor = out.last().map_or(0, |f| f.at.end);
        let hit = if bytes.get(at) == Some(&b':') {
            scheme_url(text, at, floor)
        } else {
            Attempt::from(named_host(text, at, floor, forms))
        };
        match hit {
            Attempt::Link(found) => {
                from = found.at.end.max(at + 1);
                out.push(found);
            }
            Attempt::Skip(to) => from = to.max(at + 1),
        }
    }
    out
}

/// Whether a text may hold a URL at all; cheap, and `false` is certain.
pub(crate) fn may_hold_url(text: &[u8]) -> bool {
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b':', b'.', text.slice(from..)) {
        let at = from + n;
        let next = text.get(at + 1).copied().unwrap_or(b' ');
        if text.get(at) == Some(&b':') {
            if next == b'/' || ends_scheme(text.slice(..at)) && text.len() > at + 1 {
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

/// Whether a text ends in the last two letters of a scheme, blanks between them and behind them left out.
fn ends_scheme(text: &[u8]) -> bool {
    let mut letters = text
        .iter()
        .rev()
        .take(16)
        .filter(|b| !b.is_ascii_whitespace())
        .map(u8::to_ascii_lowercase);
    match (letters.next(), letters.next()) {
        (Some(b's'), before) => before == Some(b'p'),
        (Some(b'p'), before) => before == Some(b't'),
        _ => false,
    }
}

enum Attempt {
    Link(TextUrl),
    Skip(usize),
}

impl From<Result<TextUrl, usize>> for Attempt {
    fn from(r: Result<TextUrl, usize>) -> Self {
        match r {
            Ok(f) => Self::Link(f),
            Err(to) => Self::Skip(to),
        }
    }
}

/// A URL whose scheme ends in the colon at `colon`. Browsers and Thunderbird need no slashes behind it, and take
/// backslashes for slashes (WHATWG URL 4.4).
fn scheme_url(text: &str, colon: usize, floor: usize) -> Attempt {
    plain_scheme_url(text, colon, floor).unwrap_or_else(|to| match spaced_in_brackets(text, colon, floor) {
        Some((start, end, url)) => Attempt::Link(TextUrl {
            at: start..end,
            url,
            left: None,
        }),
        None => Attempt::Skip(to),
    })
}

/// The same, without blanks in it. `Err` says where to go on.
fn plain_scheme_url(text: &str, colon: usize, floor: usize) -> Result<Attempt, usize> {
    let bytes = text.as_bytes();
    let slashes = bytes
        .slice(colon + 1..)
        .iter()
        .take_while(|b| matches!(b, b'/' | b'\\'))
        .count();
    let body = colon + 1 + slashes;
    let before = bytes.slice(floor..colon);
    let Some(scheme) = ["https", "http", "ftp"].into_iter().find(|s| {
        before
            .len()
            .checked_sub(s.len())
            .and_then(|n| before.get(n..))
            .is_some_and(|b| b.eq_ignore_ascii_case(s.as_bytes()))
    }) else {
        return Err(if slashes == 2 { body } else { colon + 1 });
    };
    let start = colon - scheme.len();
    let end = end_of_url(text, start, body);
    let host = text.slice(body..end);
    let host = host.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let names_host = host.contains(|c: char| c.is_alphanumeric() || c == '[');
    let usual = text.slice(colon..body) == "://";
    if !names_host || !usual && !is_host_of_short_form(host, slashes) {
        // What is written like a URL is named, so that it appears in the report.
        let next = text.slice(body..).chars().next();
        return match next.filter(|c| usual && !c.is_whitespace() && !matches!(c, '<' | '>' | '"')) {
            Some(c) => {
                let at = start..end.max(body + c.len_utf8());
                let url = text.slice(at.clone()).to_owned();
                let left = Some("no-host");
                Ok(Attempt::Link(TextUrl { at, url, left }))
            }
            None => Err(body),
        };
    }
    let end = foreign_word(text, body, end).unwrap_or(end);
    let (end, url) = joined_in_brackets(text, start, end).unwrap_or_else(|| (end, text.slice(start..end).to_owned()));
    Ok(Attempt::Link(TextUrl {
        at: start..end,
        url,
        left: None,
    }))
}

/// Whether what follows a scheme without its two slashes is meant as a host: without any there has to be a dot in it.
fn is_host_of_short_form(host: &str, slashes: usize) -> bool {
    host.starts_with(|c: char| c.is_alphanumeric() || c == '[') && (slashes > 0 || host.contains('.'))
}

/// Finds the URL of a host name without a scheme, one of whose dots is at `dot`. `Err` says where to go on.
fn named_host(text: &str, dot: usize, floor: usize, forms: UrlForms) -> Result<TextUrl, usize> {
    let Range { start, end: host_end } = host_around(text, dot, floor)?;
    let host = text.slice(start..host_end);
    let rest = text.slice(host_end..);
    let www = forms.named_hosts && host.get(..4).is_some_and(|h| h.eq_ignore_ascii_case("www."));
    let url = |scheme: &str, end: usize| TextUrl {
        at: start..end,
        url: format!("{scheme}{}", text.slice(start..end)),
        left: None,
    };
    if rest.starts_with('@') {
        let domain_end = end_of_labels(rest, 1);
        // The local part of a mail address: go past its domain. With a path behind, it is a user name to programs that
        // link whatever begins with `www.`.
        if !www || !rest.slice(domain_end..).starts_with(['/', '?', '#']) {
            return Err(host_end + domain_end);
        }
        return Ok(url("http://", end_of_url(text, start, host_end).max(host_end)));
    }
    let before = text.slice(..start);
    let previous = before.chars().next_back();
    let within = match previous {
        Some('@' | '#' | '.') => true,
        // Roundcube links `www.` behind most signs; behind a scheme of its own it is not meant as a link.
        Some('/') if www => before.ends_with("://"),
        Some('/' | '\\' | '%' | '&' | '+' | '~' | '$') => !www,
        _ => false,
    };
    if within || !forms.named_hosts {
        return Err(host_end);
    }
    let scheme = scheme_of(host, previous, rest, forms).ok_or(host_end)?;
    let (port, behind) = port_of(rest);
    let end = if port || behind.starts_with(['/', '?', '#']) {
        end_of_url(text, start, host_end).max(host_end)
    } else {
        host_end
    };
    Ok(url(scheme, end))
}

/// Finds where the host name stands that the dot at `dot` is part of. `Err` says where to go on when there is none.
fn host_around(text: &str, dot: usize, floor: usize) -> Result<Range<usize>, usize> {
    let after_dot = text.slice(dot + 1..);
    if !after_dot.chars().next().is_some_and(is_host_char) {
        return Err(dot + 1);
    }
    let before = text.slice(floor..dot).char_indices().rev();
    let start = before
        .take_while(|(_, c)| is_host_char(*c))
        .last()
        .map_or(dot, |(i, _)| floor + i);
    // A name does not begin with a hyphen.
    let lead = text.slice(start..dot).trim_start_matches(['-', '_']);
    let lead = lead.slice(leading_word(lead)..);
    let start = dot - lead.len();
    let run_end = dot + 1 + end_of_labels(after_dot, 0);
    let host = text.slice(start..run_end).trim_end_matches(['.', '-']);
    let host = trailing_word(host).map_or(host, |n| host.slice(..n));
    let is_label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    if start == dot || !host.split('.').all(is_label) {
        // Behind the name there is nothing but dots and hyphens.
        return Err(run_end);
    }
    Ok(start..start + host.len())
}

/// Finds where labels and dots end, the first `skip` characters aside.
fn end_of_labels(text: &str, skip: usize) -> usize {
    let mut behind = text.char_indices().skip(skip);
    behind
        .find(|(_, c)| !is_host_char(*c) && *c != '.')
        .map_or(text.len(), |(i, _)| i)
}

/// Whether a port follows a host name, and what stands behind it.
fn port_of(rest: &str) -> (bool, &str) {
    let digits = |p: &str| p.bytes().take_while(u8::is_ascii_digit).count();
    match rest.strip_prefix(':').map_or(0, digits) {
        0 => (false, rest),
        n => (true, rest.slice(n + 1..)),
    }
}

/// The scheme that programs add to a host name; `None` where they make no link of it.
fn scheme_of(host: &str, previous: Option<char>, rest: &str, forms: UrlForms) -> Option<&'static str> {
    let lower = host.to_lowercase();
    let labels = lower.split('.').count();
    let (port, behind) = port_of(rest);
    let path = behind.starts_with(['/', '?', '#']);
    let first = lower.split('.').next().unwrap_or_default();
    if first == "www" && (labels > 2 || path) {
        return Some("http://");
    }
    if first == "ftp" && labels > 2 && known_suffix(&lower) {
        return Some("ftp://");
    }
    let bare = is_ipv4(&lower) && is_page(behind)
        || known_suffix(&lower)
            && !matches!(previous, Some('=' | '-' | '_' | '*' | '>' | ':') if !path && !port)
            && (path && behind.len() > 1 && !behind.starts_with(['?', '#']) || port || plain_name(&lower, rest));
    (forms.bare_domains && bare).then_some("http://")
}

/// Whether what follows an address is the path of a page, not the length of a network prefix (`192.0.2.0/24`).
fn is_page(behind: &str) -> bool {
    let path = behind.strip_prefix('/').unwrap_or_default();
    path.trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '?' | '_' | '%'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn urls(text: &str) -> Vec<String> {
        find(text, UrlForms::ALL).into_iter().map(|f| f.url).collect()
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
            ("请访问www.a.example.com/b", "http://www.a.example.com/b"),
            ("登录www.a.example/b", "http://www.a.example/b"),
            ("www.a.example.com에서", "http://www.a.example.com"),
            ("http://www.a.example.com£¨¶àÈË", "http://www.a.example.com"),
            ("über.example.com", "http://über.example.com"),
            ("日本語.jp/x", "http://日本語.jp/x"),
            ("\u{2066}https://a.example/b\u{2069}", "https://a.example/b"),
            ("https://a.example/b — c", "https://a.example/b"),
            ("https://id。example。com/x", "https://id。example。com/x"),
            ("请看https://example.com。abc", "https://example.com"),
            ("https:a.example/x", "https:a.example/x"),
            ("https:/a.example/x", "https:/a.example/x"),
            ("http:\\\\a.example\\x", "http:\\\\a.example\\x"),
            ("<https:// a.example/x>", "https://a.example/x"),
            ("<ht tps://a.example/x>", "https://a.example/x"),
            ("\"h ttps://a.example/x\"", "https://a.example/x"),
            ("<URL: https ://a.example/x>", "https://a.example/x"),
            ("www.bank.example@b.example/x", "http://www.bank.example@b.example/x"),
            ("~www.a.example.com", "http://www.a.example.com"),
            ("/www.a.example.com", "http://www.a.example.com"),
            ("at login.shop.top now", "http://login.shop.top"),
            ("192.0.2.7/a", "http://192.0.2.7/a"),
            ("https://a.example/?b=c|d", "https://a.example/?b=c|d"),
            ("|https://a.example/b|", "https://a.example/b"),
            ("https://a.example/reset/Zm9v-", "https://a.example/reset/Zm9v-"),
            ("https://a.example/b--", "https://a.example/b"),
            ("пример.рф", "http://пример.рф"),
        ] {
            assert_eq!(urls(text), [want], "{text}");
        }
    }

    #[test]
    fn names_glued_together_by_words_come_apart() {
        assert_eq!(
            urls("example.jp日本語shop.de中国語www.example.com/b"),
            ["http://example.jp", "http://shop.de", "http://www.example.com/b"]
        );
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
            "http: no, ftp:x, https:443, https: blank.example",
            "\"http: see the page on a.com-like names\"",
            "hxxp://www.a.example.com/x",
            "www.info@firm.example. 192.0.2.0/24 1.2.3.4",
            "com.example.app and this.list.top = x.y.live",
        ] {
            assert_eq!(urls(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_scheme_in_prose_is_reported_and_left() {
        for text in ["https://...", "(https://)", "ftp://,", "http://.", "https://-/x"] {
            let found = find(text, UrlForms::ALL);
            assert!(
                matches!(found.as_slice(), [f] if f.left == Some("no-host")),
                "{text}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_is_found_where_nothing_may_be(
            text in "[a-c:/.w@ \u{e9}\n<>-]{0,40}|([<\"]?(h ?t ?t ?p ?s?|ftp) ?:[/\\\\ ]{0,3}[a.\u{3002} >\"]{0,9}){1,3}",
        ) {
            let found = find(&text, UrlForms::ALL);
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
