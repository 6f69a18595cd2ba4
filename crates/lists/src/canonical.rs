//! Canonical URLs and their expressions, as Safe Browsing defines them in "URLs and Hashing" (edition 5).
//!
//! The rules work on octets and differ from the WHATWG URL Standard on purpose: spellings that differ there are one here.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::slice::part;

/// Octets that are escaped everywhere, with all that are not ASCII.
const ESCAPED: AsciiSet = CONTROLS.add(b' ').add(b'#').add(b'%');

/// Octets that are escaped in a host: unescaped they would move its ends.
const ESCAPED_IN_HOST: AsciiSet = ESCAPED
    .add(b'/')
    .add(b'?')
    .add(b'@')
    .add(b':')
    .add(b'[')
    .add(b']')
    .add(b'\\');

/// A canonical URL: ASCII, without fragment, port, user name and password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Canonical {
    /// `scheme://host/path?query`
    text: String,
    host_start: usize,
    host_end: usize,
    path_end: usize,
    is_address: bool,
}

/// The reason a text has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// The text has no host.
    #[error("no host")]
    NoHost,
    /// The text in brackets is no IPv6 address, or something other than a port follows.
    #[error("not an IPv6 address")]
    Address,
}

impl Canonical {
    /// Brings a URL into its canonical form. A text without scheme is read as if `http://` stood in front of it.
    ///
    /// A name in another script than Latin has to be in its ASCII form already (A-labels), as a browser writes it.
    ///
    /// Where the published rules leave room: the host is cut out before anything is unescaped, so that `%2F` or `%40` in
    /// it cannot move its ends, and signs that would are escaped again; the rest is unescaped as a whole before it is cut
    /// into path and query. Both make a canonical URL its own canonical form.
    ///
    /// # Errors
    /// [`CanonicalError`]
    pub fn of(url: &[u8]) -> Result<Self, CanonicalError> {
        let url = joined(url);
        let url = trimmed(&url);
        let (url, _) = cut_before(url, |b| b == b'#');
        let (scheme, rest) = split_scheme(url);
        let (authority, tail) = cut_before(rest, |b| matches!(b, b'/' | b'?' | b'\\'));

        let mut text = String::with_capacity(url.len() + 8);
        text.extend(scheme.iter().map(|b| char::from(b.to_ascii_lowercase())));
        text.push_str("://");
        let host_start = text.len();
        let is_address = push_host(authority, &mut text)?;
        let host_end = text.len();

        let tail = unescaped(tail);
        let (path, query) = cut_before(&tail, |b| b == b'?');
        push_path(path, &mut text);
        let path_end = text.len();
        text.extend(percent_encode(query, &ESCAPED));
        Ok(Self {
            text,
            host_start,
            host_end,
            path_end,
            is_address,
        })
    }

    /// The whole URL: `http://a.example/b?c`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        part(&self.text, self.host_start..self.host_end)
    }

    /// The path; begins with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        part(&self.text, self.host_end..self.path_end)
    }

    /// The query, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        part(&self.text, self.path_end..).strip_prefix('?')
    }

    /// Whether the host is an address rather than a name.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.is_address
    }

    /// The registrable domain of the host, by the Public Suffix List with its private section; none for addresses and for
    /// names that are public suffixes themselves.
    #[must_use]
    pub fn registrable(&self) -> Option<&str> {
        if self.is_address {
            None
        } else {
            registrable(self.host())
        }
    }

    /// Host, path and query without the scheme: the longest expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        part(&self.text, self.host_start..)
    }

    /// The expressions that edition 5 looks up: the host and up to 4 of its suffixes from the registrable domain upwards,
    /// with up to 6 paths each, longest first.
    #[must_use]
    pub fn expressions_v5(&self) -> Vec<String> {
        let mut hosts = vec![self.host()];
        if let Some(registrable) = self.registrable() {
            let shorter: Vec<&str> = suffixes(self.host())
                .skip(1)
                .filter(|s| s.len() >= registrable.len())
                .collect();
            hosts.extend(shorter.iter().skip(shorter.len().saturating_sub(4)));
        }
        self.expressions(&hosts)
    }

    fn expressions(&self, hosts: &[&str]) -> Vec<String> {
        let whole = part(&self.text, self.host_end..);
        let path = self.path();
        let mut paths = vec![whole];
        let directories = path.match_indices('/').map(|(at, _)| part(path, ..=at));
        for path in std::iter::once(path).chain(directories.take(4)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        hosts
            .iter()
            .flat_map(|h| paths.iter().map(move |p| format!("{h}{p}")))
            .collect()
    }

    /// Offsets in [`Self::as_str`]: start of the host, start of the path, end of the path.
    pub(crate) fn marks(&self) -> (usize, usize, usize) {
        (self.host_start, self.host_end, self.path_end)
    }
}

impl std::fmt::Display for Canonical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The registrable domain of a name in lower case, by the Public Suffix List with its private section. None where the name
/// is a public suffix itself, has one label only, or is an address.
#[must_use]
pub fn registrable(name: &str) -> Option<&str> {
    let name = name.trim_end_matches('.');
    if ipv4(name.as_bytes()).is_some() || name.starts_with('[') {
        return None;
    }
    let domain = suffix::domain(name.as_bytes())?;
    std::str::from_utf8(domain.as_bytes()).ok()
}

/// A name and its suffixes at label boundaries, longest first, down to the last label.
pub(crate) fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(move |(at, _)| part(name, at + 1..)))
}

/// An IPv4 address in any notation that browsers read: 1 to 4 parts, each decimal, octal (`0`) or hexadecimal (`0x`), the
/// last of which fills what is left (WHATWG URL 3.5).
pub(crate) fn ipv4(host: &[u8]) -> Option<Ipv4Addr> {
    let parts = host.split(|b| *b == b'.').count();
    if parts > 4 {
        return None;
    }
    let mut address: u64 = 0;
    for (i, part) in host.split(|b| *b == b'.').enumerate() {
        let number = number(part)?;
        if i + 1 < parts {
            if number > 0xff {
                return None;
            }
            address |= number << (8 * (3 - i));
        } else {
            if number >= 1 << (8 * (5 - parts)) {
                return None;
            }
            address |= number;
        }
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

fn number(part: &[u8]) -> Option<u64> {
    let (digits, radix) = match part {
        [] => return None,
        [b'0', b'x' | b'X', rest @ ..] => (rest, 16),
        [b'0', rest @ ..] => (rest, 8),
        _ => (part, 10),
    };
    digits.iter().try_fold(0_u64, |n, b| {
        let digit = char::from(*b).to_digit(radix)?;
        n.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// The octets before the first for which `is_end` holds, and those from there on.
fn cut_before(octets: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = octets.iter().position(|b| is_end(*b)).unwrap_or(octets.len());
    octets.split_at(end)
}

/// The URL without tabs and line ends, which browsers leave out wherever they stand.
fn joined(url: &[u8]) -> Cow<'_, [u8]> {
    let left_out = |b: &u8| matches!(b, b'\t' | b'\r' | b'\n');
    if url.iter().any(left_out) {
        url.iter().copied().filter(|b| !left_out(b)).collect()
    } else {
        url.into()
    }
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// The scheme, `http` when there is none, and what follows `://`.
fn split_scheme(url: &[u8]) -> (&[u8], &[u8]) {
    let end = url
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')))
        .unwrap_or(url.len());
    match url.split_at_checked(end) {
        Some((scheme @ [first, ..], [b':', b'/', b'/', rest @ ..])) if first.is_ascii_alphabetic() => (scheme, rest),
        _ => (b"http", url.strip_prefix(b"//").unwrap_or(url)),
    }
}

/// Replaces escapes until none is left. A replaced octet may complete an escape with those before it, never with those
/// after it alone; so one pass that looks back after each octet does the work of many.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return text.into();
    }
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for b in text {
        out.push(*b);
        while let [.., b'%', high, low] = out.as_slice() {
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                break;
            };
            out.truncate(out.len() - 3);
            out.push(high << 4 | low);
        }
    }
    out.into()
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Writes the host of an authority; says whether it is an address.
fn push_host(authority: &[u8], text: &mut String) -> Result<bool, CanonicalError> {
    let host = authority.rsplit(|b| *b == b'@').next().unwrap_or(authority);
    if let Some(inside) = host.strip_prefix(b"[") {
        let address = bracketed(inside).ok_or(CanonicalError::Address)?;
        match embedded_ipv4(address) {
            Some(v4) => text.push_str(&v4.to_string()),
            None => text.push_str(&format!("[{address}]")),
        }
        return Ok(true);
    }
    let host = match host.iter().rposition(|b| *b == b':') {
        Some(at) if host.iter().skip(at + 1).all(u8::is_ascii_digit) => part(host, ..at),
        _ => host,
    };
    let mut host = unescaped(host).into_owned();
    host.make_ascii_lowercase();
    let mut clean: Vec<u8> = Vec::with_capacity(host.len());
    for b in host {
        if b != b'.' || !matches!(clean.last(), None | Some(b'.')) {
            clean.push(b);
        }
    }
    if clean.last() == Some(&b'.') {
        clean.pop();
    }
    if clean.is_empty() {
        return Err(CanonicalError::NoHost);
    }
    if let Some(address) = ipv4(&clean) {
        text.push_str(&address.to_string());
        return Ok(true);
    }
    text.extend(percent_encode(&clean, &ESCAPED_IN_HOST));
    Ok(false)
}

/// The address before a closing bracket that ends the authority or stands before a port.
fn bracketed(inside: &[u8]) -> Option<Ipv6Addr> {
    let end = inside.iter().position(|b| *b == b']')?;
    let sound = match inside.get(end + 1..)? {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let address = std::str::from_utf8(inside.get(..end)?).ok()?;
    address.parse().ok().filter(|_| sound)
}

/// The IPv4 address in an IPv4-mapped address (RFC 4291 section 2.5.5.2) or in one of NAT64's well-known prefix (RFC 6052
/// section 2.1).
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return Some(v4);
    }
    let [a, b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    let [w, x] = high.to_be_bytes();
    let [y, z] = low.to_be_bytes();
    ((a, b) == (0x64, 0xff9b)).then(|| Ipv4Addr::new(w, x, y, z))
}

/// Writes a path without dot segments and runs of slashes.
fn push_path(path: &[u8], text: &mut String) {
    let odd = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    if path.starts_with(b"/") && !path.windows(2).any(odd) {
        return text.extend(percent_encode(path, &ESCAPED));
    }
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut kept: Vec<&[u8]> = Vec::new();
    // Whether the path ends in a slash.
    let mut open = true;
    for segment in path.split(|b| *b == b'/') {
        open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut named = kept.into_iter().filter(|s| !s.is_empty()).peekable();
    text.push('/');
    while let Some(segment) = named.next() {
        text.extend(percent_encode(segment, &ESCAPED));
        if named.peek().is_some() || open {
            text.push('/');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(url: impl AsRef<[u8]>) -> String {
        Canonical::of(url.as_ref()).unwrap().to_string()
    }

    /// The published vectors.
    #[test]
    fn published_vectors() {
        let long = "http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/";
        let table: &[(&[u8], &str)] = &[
            (b"http://host/%25%32%35", "http://host/%25"),
            (b"http://host/%25%32%35%25%32%35", "http://host/%25%25"),
            (b"http://host/%2525252525252525", "http://host/%25"),
            (b"http://host/asdf%25%32%35asd", "http://host/asdf%25asd"),
            (b"http://host/%%%25%32%35asd%%", "http://host/%25%25%25asd%25%25"),
            (b"http://www.google.com/", "http://www.google.com/"),
            (
                b"http://%31%36%38%2e%31%38%38%2e%39%39%2e%32%36/%2E%73%65%63%75%72%65/%77%77%77%2E%65%62%61%79%2E%63%6F%6D/",
                "http://168.188.99.26/.secure/www.ebay.com/",
            ),
            (long.as_bytes(), long),
            (
                b"http://host%23.com/%257Ea%2521b%2540c%2523d%2524e%25f%255E00%252611%252A22%252833%252944_55%252B",
                "http://host%23.com/~a!b@c%23d$e%25f^00&11*22(33)44_55+",
            ),
            (b"http://3279880203/blah", "http://195.127.0.11/blah"),
            (b"http://www.google.com/blah/..", "http://www.google.com/"),
            (b"www.google.com/", "http://www.google.com/"),
            (b"www.google.com", "http://www.google.com/"),
            (b"http://www.evil.com/blah#frag", "http://www.evil.com/blah"),
            (b"http://www.GOOgle.com/", "http://www.google.com/"),
            (b"http://www.google.com.../", "http://www.google.com/"),
            (b"http://www.google.com/foo\tbar\rbaz\n2", "http://www.google.com/foobarbaz2"),
            (b"http://www.google.com/q?", "http://www.google.com/q?"),
            (b"http://www.google.com/q?r?", "http://www.google.com/q?r?"),
            (b"http://www.google.com/q?r?s", "http://www.google.com/q?r?s"),
            (b"http://evil.com/foo#bar#baz", "http://evil.com/foo"),
            (b"http://evil.com/foo;", "http://evil.com/foo;"),
            (b"http://evil.com/foo?bar;", "http://evil.com/foo?bar;"),
            (b"http://\x01\x80.com/", "http://%01%80.com/"),
            (b"http://notrailingslash.com", "http://notrailingslash.com/"),
            (b"http://www.gotaport.com:1234/", "http://www.gotaport.com/"),
            (b"  http://www.google.com/  ", "http://www.google.com/"),
            (b"http:// leadingspace.com/", "http://%20leadingspace.com/"),
            (b"http://%20leadingspace.com/", "http://%20leadingspace.com/"),
            (b"%20leadingspace.com/", "http://%20leadingspace.com/"),
            (b"https://www.securesite.com/", "https://www.securesite.com/"),
            (b"http://host.com/ab%23cd", "http://host.com/ab%23cd"),
            (
                b"http://host.com//twoslashes?more//slashes",
                "http://host.com/twoslashes?more//slashes",
            ),
        ];
        for (url, wanted) in table {
            assert_eq!(canonical(url), *wanted, "{}", url.escape_ascii());
        }
    }

    #[test]
    fn addresses_in_every_notation() {
        let same = [
            "http://195.127.0.11/",
            "http://0xc3.0x7f.0x0.0xb/",
            "http://0303.0177.00.013/",
            "http://0xC37F000B/",
            "http://195.8323083/",
            "http://195.127.11/",
            "http://195.0177.0xb./",
            "http://user:secret@195.127.0.11:8080/",
            "http://[::ffff:195.127.0.11]/",
            "http://[::FFFF:c37f:b]:81/",
            "http://[64:ff9b::c37f:000b]/",
            "http://%31%39%35.127.0.11/",
        ];
        for url in same {
            let url = Canonical::of(url.as_bytes()).unwrap();
            assert_eq!((url.as_str(), url.is_address()), ("http://195.127.0.11/", true));
        }
        let v6 = Canonical::of(b"http://[2001:0DB8:0:0:0:0:0:0001]/x").unwrap();
        assert_eq!((v6.host(), v6.is_address()), ("[2001:db8::1]", true));
        for name in [
            "http://1.2.3.256/",
            "http://1.2.3.4.5/",
            "http://1.2.3.08/",
            "http://4294967296/",
            "http://1..x/",
        ] {
            assert!(!Canonical::of(name.as_bytes()).unwrap().is_address(), "{name}");
        }
        for bad in [
            "http://[::1/",
            "http://[::1]x/",
            "http://[::g]/",
            "http://[fe80::1%25eth0]/",
        ] {
            assert_eq!(Canonical::of(bad.as_bytes()), Err(CanonicalError::Address), "{bad}");
        }
        for bad in ["", "http://", "http:///x", "http://../x", "http://user@/"] {
            assert_eq!(Canonical::of(bad.as_bytes()), Err(CanonicalError::NoHost), "{bad}");
        }
    }

    #[test]
    fn what_is_escaped_in_a_host_does_not_move_its_end() {
        assert_eq!(
            canonical("http://good.example%2F@evil.example/"),
            "http://evil.example/"
        );
        assert_eq!(canonical("http://evil.example%2Fx/"), "http://evil.example%2Fx/");
        assert_eq!(
            canonical("http://evil.example\\@good.example/"),
            "http://evil.example/\\@good.example/"
        );
    }

    #[test]
    fn dots_slashes_and_queries() {
        for (url, wanted) in [
            ("http://h/a/./b/../c", "http://h/a/c"),
            ("http://h/a/b/..", "http://h/a/"),
            ("http://h/a/.", "http://h/a/"),
            ("http://h/../../x", "http://h/x"),
            ("http://h/%2e%2E/x", "http://h/x"),
            ("http://h/a%2Fb", "http://h/a/b"),
            ("http://h/a//b///c/", "http://h/a/b/c/"),
            ("http://h?x=/../y", "http://h/?x=/../y"),
            ("http://h/..%3F/", "http://h/?/"),
            ("HTTPS://h/A", "https://h/A"),
            ("//h/a", "http://h/a"),
        ] {
            assert_eq!(canonical(url), wanted, "{url}");
        }
    }

    #[test]
    fn expressions_of_edition_5() {
        let of = |url: &str| Canonical::of(url.as_bytes()).unwrap().expressions_v5();
        assert_eq!(
            of("http://a.b.c.d.e.f.com/1.html"),
            [
                "a.b.c.d.e.f.com/1.html",
                "a.b.c.d.e.f.com/",
                "c.d.e.f.com/1.html",
                "c.d.e.f.com/",
                "d.e.f.com/1.html",
                "d.e.f.com/",
                "e.f.com/1.html",
                "e.f.com/",
                "f.com/1.html",
                "f.com/",
            ]
        );
        // Where edition 4 would go on to `co.uk/1`.
        assert_eq!(of("http://example.co.uk/1"), ["example.co.uk/1", "example.co.uk/"]);
        assert_eq!(of("http://1.2.3.4/1/"), ["1.2.3.4/1/", "1.2.3.4/"]);
        assert_eq!(
            of("http://a.b.com/1/2.html?param=1"),
            [
                "a.b.com/1/2.html?param=1",
                "a.b.com/1/2.html",
                "a.b.com/",
                "a.b.com/1/",
                "b.com/1/2.html?param=1",
                "b.com/1/2.html",
                "b.com/",
                "b.com/1/",
            ]
        );
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_wrong_offset_is_no_url_that_no_list_has() {
        let mut url = Canonical::of(b"http://a.example/b").unwrap();
        url.host_end = 99;
        assert_eq!(url.path(), "");
    }

    #[test]
    fn registrable_domains() {
        assert_eq!(registrable("a.b.example.co.uk"), Some("example.co.uk"));
        assert_eq!(registrable("me.github.io"), Some("me.github.io"));
        for none in ["github.io", "com", "localhost", "1.2.3.4", "[::1]", ""] {
            assert_eq!(registrable(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_url_is_its_own_canonical_form(url in any_url()) {
            if let Ok(once) = Canonical::of(&url) {
                prop_assert!(once.as_str().bytes().all(|b| (0x21..0x7f).contains(&b)));
                let twice = Canonical::of(once.as_str().as_bytes()).unwrap();
                prop_assert_eq!(once, twice);
            }
        }

        #[test]
        fn a_dot_segment_in_front_changes_nothing(tail in "(/[a%2f.# \u{e9}]{0,3}){0,4}(\\?[a/.% ]{0,4})?") {
            prop_assert_eq!(canonical(format!("http://a.example{tail}")), canonical(format!("http://a.example/.{tail}")));
        }

        #[test]
        fn one_pass_of_unescaping_does_what_many_do(text in "[%0-9a-fx]{0,40}") {
            let got = unescaped(text.as_bytes());
            let mut wanted = text.clone().into_bytes();
            loop {
                let next = one_pass(&wanted);
                if next == wanted {
                    break;
                }
                wanted = next;
            }
            prop_assert_eq!(got.as_ref(), wanted);
        }
    }

    fn any_url() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "http://",
                "https:",
                "//",
                "/",
                "?",
                "#",
                "@",
                ":",
                ":80",
                "..",
                ".",
                "/../",
                "/./",
                "%2e",
                "%2F",
                "%3f",
                "%23",
                "%25",
                "%",
                "%5b",
                "[",
                "]",
                "::1",
                "::ffff:1.2.3.4",
                "example",
                "com",
                "0x7f",
                "017",
                "1",
                "\\",
                "%00",
                "%0a",
                " ",
                "\t",
                "\u{e4}",
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    fn one_pass(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            match rest {
                [b'%', h, l, more @ ..] if hex(*h).is_some() && hex(*l).is_some() => {
                    out.push(hex(*h).unwrap() << 4 | hex(*l).unwrap());
                    rest = more;
                }
                _ => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    }
}
