//! Targets: attribute values and text URLs, resolved.

use std::borrow::Cow;

use url::{Host, Url};

/// An absolute `http`, `https` or `ftp` URL with a host, as the WHATWG URL Standard serialises it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Parses an absolute URL by the WHATWG rules.
    ///
    /// # Errors
    /// Not an absolute URL, or of another scheme.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        Self::new(Url::parse(text).map_err(|_| TargetError::Invalid)?)
    }

    fn new(url: Url) -> Result<Self, TargetError> {
        if WEB.contains(&url.scheme()) && url.host_str().is_some_and(|h| !h.is_empty()) {
            Ok(Self { url })
        } else {
            Err(TargetError::Scheme)
        }
    }

    /// The serialised URL: printable ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// `http`, `https` or `ftp`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The host in ASCII (A-labels); IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// The reason a text is not a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The URL parser refuses it, or it is relative.
    #[error("not an absolute URL")]
    Invalid,
    /// Neither http, https nor ftp.
    #[error("neither http, https nor ftp")]
    Scheme,
}

/// Encodes the query of a URL in a document's charset.
pub type QueryEncoding<'a> = &'a dyn Fn(&str) -> Cow<'_, [u8]>;

/// The circumstances of a link.
#[derive(Clone, Copy, Default)]
pub struct Resolve<'a> {
    /// The document's base URL.
    pub base: Option<&'a Target>,
    /// Encodes the query in the document's charset; UTF-8 when absent.
    pub query_encoding: Option<QueryEncoding<'a>>,
    /// Whether a host name without scheme is a link (Outlook reads it with http).
    pub bare_hosts: bool,
}

/// A resolved link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It leads to a target.
    Web(Target),
    /// It does not lead to the web in any client: it stays as it is.
    Leave(LeaveReason),
    /// It must not be navigable. Holds the scheme in lower case, or `invalid`.
    Inert(String),
    /// A relative reference in a document without a base.
    Relative,
}

/// The reason a link stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum LeaveReason {
    /// `mailto:`
    Mailto,
    /// `tel:`
    Tel,
    /// `sms:`
    Sms,
    /// `cid:`: another part of the same mail.
    Cid,
    /// `mid:`: another mail or a part of it.
    Mid,
    /// `about:blank`
    AboutBlank,
    /// Empty, without a base.
    Empty,
    /// A place in the same document, without a base.
    Fragment,
}

/// Resolves an attribute value or text URL whose character references are decoded.
///
/// * Tabs, line ends and NUL are removed; C0 controls and spaces at both ends, too (WHATWG URL 4.4), and in front also
///   no-break spaces, zero-width characters and byte order marks, which some clients skip.
/// * With a base, everything without a scheme of its own is resolved against it.
/// * Without one, `//host`, `/\host` and `\\host` mean https. A value that begins with an http, https or ftp URL after
///   quotes, brackets or other signs is read without those: some clients mend it.
/// * Schemes go by an allow list: http, https and ftp are [`Resolved::Web`], a few stay ([`LeaveReason`]), all others are
///   [`Resolved::Inert`], as is a web URL that cannot be parsed (`invalid`).
#[must_use]
pub fn resolve(raw: &str, how: &Resolve<'_>) -> Resolved {
    let text = cleaned(raw);
    let text: &str = &text;
    if let Some((scheme, rest)) = scheme_of(text) {
        if WEB.iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
            return how.web(text, rest);
        }
        if let Some(reason) = left_alone(scheme, rest) {
            return Resolved::Leave(reason);
        }
        // `portal.example.com:8080/x` has the form of a scheme.
        if how.bare_hosts
            && scheme.contains('.')
            && is_port_and_path(rest)
            && let Some(target) = how.bare_host(text)
        {
            return Resolved::Web(target);
        }
        let scheme: String = scheme.chars().take(MAX_SCHEME).collect();
        return Resolved::Inert(scheme.to_ascii_lowercase());
    }
    if names_host(text) {
        let scheme = how.base.map_or("https", Target::scheme);
        return how.web(&format!("{scheme}:{text}"), text);
    }
    if how.base.is_some() {
        return how.web(text, text);
    }
    if text.is_empty() {
        return Resolved::Leave(LeaveReason::Empty);
    }
    if let Some(mended) = behind_signs(text) {
        return how.web(mended, mended);
    }
    if text.starts_with('#') {
        return Resolved::Leave(LeaveReason::Fragment);
    }
    let bare = if how.bare_hosts { how.bare_host(text) } else { None };
    bare.map_or(Resolved::Relative, Resolved::Web)
}

const WEB: [&str; 3] = ["http", "https", "ftp"];

/// Longest scheme reported.
const MAX_SCHEME: usize = 64;

impl Resolve<'_> {
    fn parse(&self, text: &str, base: Option<&Target>) -> Option<Target> {
        let options = Url::options()
            .base_url(base.map(Target::url))
            .encoding_override(self.query_encoding);
        Target::new(options.parse(text).ok()?).ok()
    }

    /// Resolves a web URL or a reference; `rest` is the text behind its scheme.
    fn web(&self, text: &str, rest: &str) -> Resolved {
        // A text with a host needs only the scheme of a base, which `text` has by now. With the base, `///host` would be an error
        // in the `url` crate; to browsers it is `//host`.
        let base = self.base.filter(|_| !names_host(rest));
        self.parse(text, base)
            .map_or_else(|| Resolved::Inert("invalid".into()), Resolved::Web)
    }

    /// Reads a text without scheme as Outlook does: with http, when its front looks like a host.
    fn bare_host(&self, text: &str) -> Option<Target> {
        let authority = text.split(['/', '\\', '?', '#']).next()?;
        if authority.is_empty() || authority.starts_with('.') {
            return None;
        }
        // A mail address is not a link to its domain.
        if authority.contains('@') && authority.len() == text.len() && !authority.contains(':') {
            return None;
        }
        let target = self.parse(&format!("http://{text}"), None)?;
        let named = match target.url.host()? {
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                let www = name.strip_prefix("www.").is_some_and(|rest| rest.contains('.'));
                www || suffix::domain(name.as_bytes()).is_some_and(|d| d.suffix().is_known())
            }
            // `3221226219` is an address to the URL parser only.
            Host::Ipv4(_) => authority.split('.').count() >= 4,
            Host::Ipv6(_) => false,
        };
        named.then_some(target)
    }
}

fn cleaned(raw: &str) -> Cow<'_, str> {
    // No short circuit, so that the compiler vectorises it.
    if raw.bytes().fold(true, |all, b| all & (b'!'..=b'~').contains(&b)) {
        return Cow::Borrowed(raw);
    }
    let text = raw
        .trim_start_matches(is_skipped_in_front)
        .trim_end_matches(|c| c <= ' ');
    let dropped = |b: u8| matches!(b, 0 | b'\t' | b'\n' | b'\r');
    if text.bytes().any(dropped) {
        Cow::Owned(text.chars().filter(|c| !u8::try_from(*c).is_ok_and(dropped)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn is_skipped_in_front(c: char) -> bool {
    c <= ' '
        || c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Splits at the colon that ends a scheme (RFC 3986 section 3.1).
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut octets = scheme.bytes();
    let sound = octets.next()?.is_ascii_alphabetic()
        && octets.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    sound.then_some((scheme, rest))
}

/// Whether a host follows: two slashes, of which either may be a backslash.
fn names_host(rest: &str) -> bool {
    let slash = |b: &u8| matches!(b, b'/' | b'\\');
    matches!(rest.as_bytes(), [a, b, ..] if slash(a) && slash(b))
}

fn left_alone(scheme: &str, rest: &str) -> Option<LeaveReason> {
    const SCHEMES: [(&str, LeaveReason); 5] = [
        ("mailto", LeaveReason::Mailto),
        ("tel", LeaveReason::Tel),
        ("sms", LeaveReason::Sms),
        ("cid", LeaveReason::Cid),
        ("mid", LeaveReason::Mid),
    ];
    if scheme.eq_ignore_ascii_case("about") {
        let page = rest.split(['?', '#']).next()?;
        return page.eq_ignore_ascii_case("blank").then_some(LeaveReason::AboutBlank);
    }
    SCHEMES
        .iter()
        .find(|(s, _)| scheme.eq_ignore_ascii_case(s))
        .map(|(_, reason)| *reason)
}

fn is_port_and_path(rest: &str) -> bool {
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    after.len() < rest.len() && (after.is_empty() || after.starts_with(['/', '\\', '?', '#']))
}

/// The web URL behind leading signs, without a final one that closes the last of them: `<https://a.example/>`.
fn behind_signs(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '\\' | '.'));
    let (scheme, _) = scheme_of(rest)?;
    if rest.len() == text.len() || !WEB.iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
        return None;
    }
    let open = text.strip_suffix(rest)?.chars().next_back()?;
    const PAIRS: [(char, char); 8] = [
        ('<', '>'),
        ('(', ')'),
        ('[', ']'),
        ('{', '}'),
        ('"', '"'),
        ('\'', '\''),
        ('“', '”'),
        ('‘', '’'),
    ];
    let close = PAIRS.iter().find(|(o, _)| *o == open).map(|(_, c)| *c);
    Some(close.and_then(|c| rest.strip_suffix(c)).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Word;

    fn plain(raw: &str) -> String {
        show(resolve(raw, &Resolve::default()))
    }

    fn outlook(raw: &str) -> String {
        show(resolve(
            raw,
            &Resolve {
                bare_hosts: true,
                ..Resolve::default()
            },
        ))
    }

    fn under(base: &str, raw: &str) -> String {
        let base = Target::parse(base).unwrap();
        show(resolve(
            raw,
            &Resolve {
                base: Some(&base),
                ..Resolve::default()
            },
        ))
    }

    fn show(r: Resolved) -> String {
        match r {
            Resolved::Web(t) => t.as_str().into(),
            Resolved::Leave(why) => format!("leave {}", why.as_str()),
            Resolved::Inert(scheme) => format!("inert {scheme}"),
            Resolved::Relative => "relative".into(),
        }
    }

    #[test]
    fn spellings_of_the_same_target() {
        for (raw, want) in [
            (" \t\n https://ws.example/ \n", "https://ws.example/"),
            ("ht\ntps://\tws2.example/\r\npath", "https://ws2.example/path"),
            ("ht\0tps://n\0ul.example/", "https://nul.example/"),
            (
                "\u{a0}\u{feff}\u{200b} \u{2003}https://front.example/",
                "https://front.example/",
            ),
            ("https:\\\\bs.example\\path", "https://bs.example/path"),
            ("http:/\\bs2.example/x", "http://bs2.example/x"),
            ("https:sl1.example/x", "https://sl1.example/x"),
            ("https:////sl3.example/x", "https://sl3.example/x"),
            ("//pr.example/x", "https://pr.example/x"),
            ("/\\pr2.example/x", "https://pr2.example/x"),
            ("\\/pr2.example/x", "https://pr2.example/x"),
            ("\\\\pr3.example\\share\\doc.docx", "https://pr3.example/share/doc.docx"),
            ("/\t/pr4.example/x", "https://pr4.example/x"),
            (
                "https://www.bank.example@evil.example/login",
                "https://www.bank.example@evil.example/login",
            ),
            (
                "https://bank.example\\@evil.example/",
                "https://bank.example/@evil.example/",
            ),
            ("http://3221226219/x", "http://192.0.2.235/x"),
            ("http://0xC0.0x00.0x02.0x01/a", "http://192.0.2.1/a"),
            ("http://[2001:DB8::1]:8080/x", "http://[2001:db8::1]:8080/x"),
            ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
            ("https://ev\u{200b}il.example/x", "https://evil.example/x"),
            ("https://%65vil.example/x", "https://evil.example/x"),
            ("http://p.example:00080/x", "http://p.example/x"),
            (
                "https://k.example/a%2Fb%20c?x=%26y&z=a+b#/route?token=1",
                "https://k.example/a%2Fb%20c?x=%26y&z=a+b#/route?token=1",
            ),
            ("FTP://ftp.example/pub", "ftp://ftp.example/pub"),
        ] {
            assert_eq!(plain(raw), want, "{raw:?}");
            assert_eq!(outlook(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn schemes_go_by_an_allow_list() {
        for (raw, want) in [
            ("mailto:a@b.example?subject=x", "leave mailto"),
            ("Tel:+15550100", "leave tel"),
            ("sms:+1", "leave sms"),
            ("cid:part1@x", "leave cid"),
            ("mid:1@x/2@x", "leave mid"),
            ("about:blank", "leave about-blank"),
            ("about:config", "inert about"),
            ("", "leave empty"),
            (" \n", "leave empty"),
            ("#top", "leave fragment"),
            ("java\tscript:alert(1)", "inert javascript"),
            ("data:text/html,x", "inert data"),
            ("file:///\\\\192.0.2.9\\share", "inert file"),
            ("search-ms:query=x", "inert search-ms"),
            ("ms-word:ofe|u|https://a.example/", "inert ms-word"),
            ("view-source:https://a.example/", "inert view-source"),
            ("blob:https://a.example/1", "inert blob"),
            ("url:https://a.example/", "inert url"),
            ("C:\\share\\x", "inert c"),
            ("www.a.example:80/x", "inert www.a.example"),
            ("https://a.example:99999/", "inert invalid"),
            ("https://", "inert invalid"),
            ("https://a b/", "inert invalid"),
            ("//", "inert invalid"),
            ("page.html", "relative"),
            ("/x", "relative"),
            ("?q", "relative"),
            ("www.a.example/x", "relative"),
            ("./https://a.example/", "relative"),
        ] {
            assert_eq!(plain(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn a_web_url_behind_signs_is_never_left() {
        for (raw, want) in [
            ("<https://a.example/x>", "https://a.example/x"),
            ("\"https://a.example/x\"", "https://a.example/x"),
            ("“https://a.example/x”", "https://a.example/x"),
            ("(see)https://a.example/", "relative"),
            (":https://a.example/(1)", "https://a.example/(1)"),
            ("#https://a.example/", "https://a.example/"),
            ("?https://a.example:x/", "inert invalid"),
        ] {
            assert_eq!(plain(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn a_base_decides() {
        let base = "https://b.example/dir/page";
        for (raw, want) in [
            ("https:portal/login", "https://b.example/dir/portal/login"),
            ("http:portal/login", "http://portal/login"),
            ("", "https://b.example/dir/page"),
            ("#top", "https://b.example/dir/page#top"),
            ("../x", "https://b.example/x"),
            ("//c.example", "https://c.example/"),
            ("\\\\c.example\\x", "https://c.example/x"),
            ("mailto:a@b", "leave mailto"),
            ("javascript:x", "inert javascript"),
            ("//[", "inert invalid"),
            ("///c.example/x", "https://c.example/x"),
            ("https:///c.example/x", "https://c.example/x"),
            ("https:/\\c.example/x", "https://c.example/x"),
            ("https:/portal", "https://b.example/portal"),
            (
                "\"https://c.example/\"",
                "https://b.example/dir/%22https://c.example/%22",
            ),
        ] {
            assert_eq!(under(base, raw), want, "{raw:?}");
        }
        assert_eq!(under("http://b.example/", "//c.example/x"), "http://c.example/x");
        assert_eq!(under("http://b.example/", "https:portal/login"), "https://portal/login");
    }

    #[test]
    fn bare_hosts_are_what_outlook_links() {
        for (raw, want) in [
            ("www.noscheme.example.com/x", "http://www.noscheme.example.com/x"),
            ("www.x.example/y", "http://www.x.example/y"),
            ("portal.example.com/login", "http://portal.example.com/login"),
            ("portal.example.com:8080/login", "http://portal.example.com:8080/login"),
            ("portal.example.com?x", "http://portal.example.com/?x"),
            (
                "www.bank.example@evil.com/login",
                "http://www.bank.example@evil.com/login",
            ),
            ("b\u{fc}cher.de", "http://xn--bcher-kva.de/"),
            ("192.0.2.1/x", "http://192.0.2.1/x"),
            ("page.html", "relative"),
            ("index.php?a=b.com", "relative"),
            ("user@example.com", "relative"),
            ("12", "relative"),
            ("com", "relative"),
            ("www.", "relative"),
            ("click here.com", "relative"),
            ("/www.a.example/", "relative"),
            ("#www.a.example", "leave fragment"),
            ("javascript:1", "inert javascript"),
            ("localhost:80", "inert localhost"),
        ] {
            assert_eq!(outlook(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn the_query_is_written_in_the_charset_of_the_document() {
        fn latin1(s: &str) -> Cow<'_, [u8]> {
            Cow::Owned(s.chars().map(|c| c as u8).collect())
        }
        let how = Resolve {
            query_encoding: Some(&latin1),
            ..Resolve::default()
        };
        assert_eq!(
            show(resolve("https://a.example/\u{e9}?q=\u{e9}", &how)),
            "https://a.example/%C3%A9?q=%E9"
        );
    }

    #[test]
    fn a_target_is_of_the_web() {
        assert_eq!(Target::parse("mailto:a@b"), Err(TargetError::Scheme));
        assert_eq!(Target::parse("page"), Err(TargetError::Invalid));
        let t = Target::parse("HTTP://[::1]:81/").unwrap();
        assert_eq!(
            (t.scheme(), t.host(), t.as_str()),
            ("http", "[::1]", "http://[::1]:81/")
        );
    }
}
