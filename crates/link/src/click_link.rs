//! Click links: our URLs that carry a token.

use url::Url;

use crate::keyring::KeyRing;
use crate::keyring::OpenError;
use crate::target::Target;
use crate::token::{self, Opened, Sealed, Sealer};

/// The style of click links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Style {
    /// `<public_url>/c/<host of the target>/<token>`
    #[default]
    Readable,
    /// `<public_url>/c/<token>`
    Short,
}

/// The front of all click links of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickBase {
    /// `https://click.example.com/prefix/c/`
    prefix: String,
    /// Offset of the path in `prefix`.
    path_at: usize,
    style: Style,
}

impl ClickBase {
    /// The longest click link, in characters.
    pub const MAX_LINK: usize = 900;

    /// The longest public URL, in characters, which leaves room for every token.
    pub const MAX_PUBLIC_URL: usize = 128;

    /// Reads `public_url` of the configuration. A path is allowed, a final slash is ignored.
    ///
    /// # Errors
    /// See [`ClickBaseError`].
    pub fn new(public_url: &str, style: Style) -> Result<Self, ClickBaseError> {
        let url = Url::parse(public_url).map_err(|_| ClickBaseError::Invalid)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ClickBaseError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ClickBaseError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ClickBaseError::QueryOrFragment);
        }
        let path = url.path().trim_end_matches('/');
        if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b)) {
            return Err(ClickBaseError::Path);
        }
        let origin = url.as_str().strip_suffix(url.path()).ok_or(ClickBaseError::Invalid)?;
        let base = Self {
            prefix: format!("{origin}{path}{MARK}"),
            path_at: origin.len(),
            style,
        };
        if base.as_str().len() > Self::MAX_PUBLIC_URL {
            return Err(ClickBaseError::TooLong);
        }
        Ok(base)
    }

    /// The public URL without a final slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.prefix.strip_suffix(MARK).unwrap_or(&self.prefix)
    }

    /// The style of its click links.
    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// The click link that carries `token` for `target`.
    ///
    /// The host is left out in the short style, and when it is very long or has characters at which programs end a link (IPv6,
    /// underscores).
    #[must_use]
    pub fn link(&self, target: &Target, token: &str) -> String {
        let host = Some(target.host()).filter(|h| self.style == Style::Readable && is_shown(h));
        self.compose(host, token)
    }

    fn compose(&self, host: Option<&str>, token: &str) -> String {
        let mut link = String::with_capacity(self.prefix.len() + host.map_or(0, |h| h.len() + 1) + token.len());
        link.push_str(&self.prefix);
        if let Some(host) = host {
            link.push_str(host);
            link.push('/');
        }
        link.push_str(token);
        link
    }

    /// Reads the click link at the front of a text, without verification.
    ///
    /// Scheme and host are compared without case, the port may be spelt out, the path is compared exactly.
    #[must_use]
    pub fn parse<'a>(&self, url: &'a str) -> Option<ClickLink<'a>> {
        let (origin, path) = self.origin_and_path();
        let (head, rest) = url.split_at_checked(origin.len())?;
        if !head.eq_ignore_ascii_case(origin) {
            return None;
        }
        let rest = self
            .usual_port()
            .and_then(|port| rest.strip_prefix(port))
            .unwrap_or(rest);
        pieces(rest.strip_prefix(path)?)
    }

    /// Length in octets of the click link at the front of `url`, without verification; `None` when there is none.
    #[must_use]
    pub fn link_len(&self, url: &str) -> Option<usize> {
        let link = self.parse(url)?;
        Some(url.len() - link.token.len() + token::extent(link.token)?)
    }

    /// Reads the path of an HTTP request, with or without the path of the public URL, which a reverse proxy may cut off.
    #[must_use]
    pub fn parse_path<'a>(&self, path: &'a str) -> Option<ClickLink<'a>> {
        let (_, prefix) = self.origin_and_path();
        pieces(path.strip_prefix(prefix).or_else(|| path.strip_prefix(MARK))?)
    }

    /// The path of a click link in a browser, with the path of the public URL, which a proxy may cut off.
    #[must_use]
    pub fn public_path(&self, path: &str) -> String {
        let (_, prefix) = self.origin_and_path();
        match prefix.strip_suffix(MARK) {
            Some(front) if !path.starts_with(prefix) => format!("{front}{path}"),
            _ => path.to_owned(),
        }
    }

    /// Offset in `bytes` of the first text that may be a click link of ours; a cheap test before any parsing.
    ///
    /// It finds links as [`ClickBase::link`] writes them, with scheme and host in any case; transfer encodings and character
    /// references must be decoded.
    #[must_use]
    pub fn find_prefix(&self, bytes: &[u8]) -> Option<usize> {
        let (origin, path) = self.origin_and_path();
        memchr::memmem::find_iter(bytes, path).find_map(|at| {
            let before = bytes.get(..at)?;
            let before = self
                .usual_port()
                .and_then(|port| before.strip_suffix(port.as_bytes()))
                .unwrap_or(before);
            let start = before.len().checked_sub(origin.len())?;
            before
                .get(start..)?
                .eq_ignore_ascii_case(origin.as_bytes())
                .then_some(start)
        })
    }

    fn origin_and_path(&self) -> (&str, &str) {
        self.prefix.split_at_checked(self.path_at).unwrap_or((&self.prefix, ""))
    }

    /// The default port of the scheme, which the origin leaves out; `None` when it names another one.
    fn usual_port(&self) -> Option<&'static str> {
        let (origin, _) = self.origin_and_path();
        let (scheme, authority) = origin.split_once("://")?;
        let named = authority
            .rsplit_once(']')
            .map_or(authority, |(_, after)| after)
            .contains(':');
        match scheme {
            _ if named => None,
            "https" => Some(":443"),
            _ => Some(":80"),
        }
    }
}

/// The text between the public URL and host or token.
const MARK: &str = "/c/";

/// Longest host shown, in characters.
const MAX_SHOWN: usize = 100;

/// Whether a readable link shows a host: all programs keep its characters, and it cannot be taken for a token.
fn is_shown(host: &str) -> bool {
    // Browsers resolve a host of dots alone as a step up in the path.
    host.bytes().any(|b| b.is_ascii_alphanumeric())
        && host.len() <= MAX_SHOWN
        && host
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        && token::extent(host).is_none()
}

/// Reads host and token behind the mark of a click link.
pub(crate) fn pieces(rest: &str) -> Option<ClickLink<'_>> {
    // A token holds no dot or slash, so a text that reads as one is one, even before a slash.
    if token::extent(rest).is_none()
        && let Some((host, token)) = rest.split_once('/')
        && is_shown(&host.to_ascii_lowercase())
    {
        return Some(ClickLink {
            host: Some(host),
            token,
        });
    }
    (!rest.is_empty()).then_some(ClickLink {
        host: None,
        token: rest,
    })
}

/// The parts of a click link, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickLink<'a> {
    /// The host that the link shows, if any.
    pub host: Option<&'a str>,
    /// The token, perhaps with more text behind it.
    pub token: &'a str,
}

/// The reason a public URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClickBaseError {
    /// The URL parser refuses it.
    #[error("not an absolute URL")]
    Invalid,
    /// Browsers could not open it.
    #[error("neither http nor https")]
    Scheme,
    /// Browsers warn of such links.
    #[error("a user name or password in it")]
    UserInfo,
    /// The path goes on behind it.
    #[error("a query or fragment in it")]
    QueryOrFragment,
    /// Programs might end a link within its path.
    #[error("a path with other characters than letters, digits and / - _ . ~")]
    Path,
    /// There would be no room for the token.
    #[error("longer than 128 characters")]
    TooLong,
}

/// Opens click links: a key ring and the base they begin with.
#[derive(Debug, Clone, Copy)]
pub struct Opener<'a> {
    keys: &'a KeyRing,
    base: &'a ClickBase,
}

impl<'a> Opener<'a> {
    /// An opener for a key ring and a base.
    #[must_use]
    pub fn new(keys: &'a KeyRing, base: &'a ClickBase) -> Self {
        Self { keys, base }
    }

    /// Opens the genuine click link of ours at the front of `url`, if there is one.
    #[must_use]
    pub fn recognise(&self, url: &str) -> Option<Opened> {
        self.open_url(url).ok()
    }

    /// Opens the click link at the front of `url`.
    ///
    /// # Errors
    /// See [`OpenError`]; a text without our base is [`OpenError::Malformed`].
    pub fn open_url(&self, url: &str) -> Result<Opened, OpenError> {
        self.open_link(&self.base.parse(url).ok_or(OpenError::Malformed)?)
    }

    /// Opens the token of a click link and compares the host that the link shows.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_link(&self, link: &ClickLink<'_>) -> Result<Opened, OpenError> {
        let opened = self.keys.open(link.token)?;
        if link.host.is_some_and(|h| !h.eq_ignore_ascii_case(opened.host())) {
            return Err(OpenError::WrongHost);
        }
        Ok(opened)
    }

    /// Puts the stored row into an opened reference; see [`KeyRing::complete`].
    ///
    /// # Errors
    /// [`OpenError::WrongReference`] when another row was sealed.
    pub fn complete(&self, opened: Opened, target: &str, written: Option<&[u8]>) -> Result<Opened, OpenError> {
        self.keys.complete(opened, target, written)
    }
}

/// A wrapped link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The click link; at most [`ClickBase::MAX_LINK`] characters.
    pub click_url: String,
    /// The row that must be stored, durably, before the mail goes on.
    pub reference: Option<Reference>,
}

/// A target too long for its click link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The id of the row.
    pub id: [u8; 16],
    /// The whole target.
    pub target: String,
    /// The bytes that stood in the mail, when they differ from the target.
    pub written: Option<Vec<u8>>,
}

/// Seals a target into a click link, or into a reference when that would be too long.
///
/// `written` are the bytes that stood in the mail, for restoring them; `form` is a number of the caller's that the opened
/// token returns.
#[must_use]
pub fn wrap_link(sealer: &Sealer<'_>, base: &ClickBase, target: &Target, written: Option<&[u8]>, form: u8) -> Wrapped {
    // Base64 of the target alone would not fit: do not seal in vain.
    if target.as_str().len() < ClickBase::MAX_LINK
        && let Sealed::Direct(token) = sealer.seal(target, written, form)
    {
        let click_url = base.link(target, &token);
        if click_url.len() <= ClickBase::MAX_LINK {
            return Wrapped {
                click_url,
                reference: None,
            };
        }
    }
    let (token, id) = sealer.seal_reference(target, written, form);
    let mut click_url = base.link(target, &token);
    if click_url.len() > ClickBase::MAX_LINK {
        click_url = base.compose(None, &token);
    }
    if click_url.len() > ClickBase::MAX_LINK {
        click_url = base.compose(None, &sealer.seal_bare_reference(target, written, form).0);
    }
    let written = written.filter(|w| *w != target.as_str().as_bytes()).map(<[u8]>::to_vec);
    Wrapped {
        click_url,
        reference: Some(Reference {
            id,
            target: target.as_str().into(),
            written,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::MessageClaims;

    const PUBLIC: &str = "https://click.example.test";

    fn ring() -> KeyRing {
        KeyRing::generate([7; 32], 0)
    }

    fn claims() -> MessageClaims {
        MessageClaims {
            message_id: "m1".into(),
            recipient: Some("jo@example.com".into()),
            sender: "a@b.example".into(),
            issued_at: 1_760_000_000,
            domain: "example.com".into(),
        }
    }

    fn base(url: &str, style: Style) -> ClickBase {
        ClickBase::new(url, style).unwrap()
    }

    fn wrap(base: &ClickBase, url: &str) -> Wrapped {
        wrap_link(&ring().sealer(&claims()), base, &Target::parse(url).unwrap(), None, 0)
    }

    #[test]
    fn a_public_url_is_an_origin_and_perhaps_a_path() {
        for (url, want) in [
            ("https://click.example.com", Ok("https://click.example.com")),
            ("HTTPS://Click.Example.com:443/", Ok("https://click.example.com")),
            ("http://127.0.0.1:8080/a/b//", Ok("http://127.0.0.1:8080/a/b")),
            ("https://[::1]/", Ok("https://[::1]")),
            ("click.example.com", Err(ClickBaseError::Invalid)),
            ("ftp://click.example.com", Err(ClickBaseError::Scheme)),
            ("https://u@click.example.com", Err(ClickBaseError::UserInfo)),
            ("https://click.example.com/?", Err(ClickBaseError::QueryOrFragment)),
            ("https://click.example.com/#x", Err(ClickBaseError::QueryOrFragment)),
            ("https://click.example.com/(x)", Err(ClickBaseError::Path)),
            ("https://click.example.com/%41", Err(ClickBaseError::Path)),
            (
                &format!("https://click.example.com/{}", "x".repeat(128)),
                Err(ClickBaseError::TooLong),
            ),
        ] {
            let found = ClickBase::new(url, Style::Readable);
            assert_eq!(found.as_ref().map(ClickBase::as_str), want.as_ref().copied(), "{url}");
        }
    }

    #[test]
    fn readable_links_show_the_host_and_short_ones_do_not() {
        let readable = wrap(&base(PUBLIC, Style::Readable), "https://www.shop.example:81/x").click_url;
        let token = readable
            .strip_prefix("https://click.example.test/c/www.shop.example/")
            .unwrap();
        let short = wrap(
            &base("https://click.example.test/p/", Style::Short),
            "https://www.shop.example:81/x",
        )
        .click_url;
        assert_eq!(short, format!("https://click.example.test/p/c/{token}"));
    }

    #[test]
    fn hosts_that_break_links_are_not_shown() {
        let base = base(PUBLIC, Style::Readable);
        let long = format!("https://{}.example/", ["a".repeat(50), "b".repeat(50)].join("."));
        let token_like = format!("https://egaq{}/", "a".repeat(80));
        for url in [
            "http://[::1]/",
            "http://a_b.example/",
            long.as_str(),
            token_like.as_str(),
        ] {
            let link = wrap(&base, url).click_url;
            let shown = base.parse(&link).unwrap().host;
            assert!(shown.is_none_or(|h| url.contains(h)), "{link}");
            assert_eq!(
                Opener::new(&ring(), &base)
                    .recognise(&link)
                    .unwrap()
                    .target()
                    .unwrap()
                    .as_str(),
                url
            );
        }
    }

    #[test]
    fn own_links_are_recognised_in_every_spelling_and_with_any_tail() {
        for (url, style) in [
            (PUBLIC, Style::Readable),
            (PUBLIC, Style::Short),
            ("https://click.example.test/Mail", Style::Readable),
        ] {
            let (ring, base) = (ring(), base(url, style));
            let opener = Opener::new(&ring, &base);
            let link = wrap(&base, "https://shop.example/x?y").click_url;
            let opens = |text: &str| opener.recognise(text).is_some();
            for tail in ["", ").", "\u{3002}next", "ABC", "/x", ".html/x", "?utm=1", "#f", "\">"] {
                assert!(opens(&format!("{link}{tail}")), "{link}{tail}");
            }
            assert!(opens(&link.replace("https://click", "HTTPS://CLICK")));
            assert!(opens(&link.replace(".test/", ".test:443/")));
            assert!(opens(&link.replace("shop.example", "SHOP.example")));
            for (from, to) in [
                ("https:", "http:"),
                (".test/", ".test.evil/"),
                (".test/", ".test@evil.example/"),
                (".test/", ".test:444/"),
                ("//click", "//x.click"),
                ("//click", "//user@click"),
                ("/c/", "/C/"),
                ("/c/", "/x/c/"),
            ] {
                assert!(!opens(&link.replace(from, to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_link_that_shows_another_host_is_not_ours() {
        let (ring, base) = (ring(), base(PUBLIC, Style::Readable));
        let opener = Opener::new(&ring, &base);
        let link = wrap(&base, "https://shop.example/x")
            .click_url
            .replace("/shop.example/", "/bank.example/");
        assert_eq!(opener.open_url(&link), Err(OpenError::WrongHost));
        assert!(opener.recognise("https://click.example.test/c/AAAA.BBBB").is_none());
        assert!(opener.recognise("https://click.example.test/c/").is_none());
    }

    #[test]
    fn request_paths_open_with_and_without_the_prefix() {
        let (ring, base) = (ring(), base("https://click.example.test/mail", Style::Readable));
        let opener = Opener::new(&ring, &base);
        let link = wrap(&base, "https://shop.example/x").click_url;
        let path = link.strip_prefix(PUBLIC).unwrap();
        for path in [path, path.strip_prefix("/mail").unwrap()] {
            assert!(opener.open_link(&base.parse_path(path).unwrap()).is_ok(), "{path}");
        }
        for wrong in [
            "",
            "/",
            "/c",
            "/c/",
            "/mail/c/",
            "/favicon.ico",
            "/mail/mail/c/x",
            "c/x",
        ] {
            assert_eq!(base.parse_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_prefix_is_found_in_octets() {
        let base = base("https://click.example.test/p", Style::Short);
        for (text, want) in [
            (&b"see https://click.example.test/p/c/X"[..], Some(4)),
            (b"\xffHTTPS://CLICK.example.test:443/p/c/X", Some(1)),
            (b"/p/c/ https://click.example.test/p/c/", Some(6)),
            (b"https://click.example.test.evil/p/c/X", None),
            (b"https://click.example.test/P/c/X", None),
            (b"/p/c/", None),
            (b"", None),
        ] {
            assert_eq!(base.find_prefix(text), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_long_target_becomes_a_reference() {
        let ring = ring();
        for style in [Style::Readable, Style::Short] {
            let base = base(PUBLIC, style);
            let opener = Opener::new(&ring, &base);
            let url = format!("https://shop.example/{}", "x".repeat(9000));
            let wrapped = wrap(&base, &url);
            assert!(wrapped.click_url.len() < 250);
            let row = wrapped.reference.unwrap();
            let opened = opener.recognise(&wrapped.click_url).unwrap();
            assert_eq!(
                (opened.reference_id(), row.target.as_str()),
                (Some(row.id), url.as_str())
            );
            let whole = opener.complete(opened, &row.target, row.written.as_deref()).unwrap();
            assert_eq!(whole.target().unwrap().as_str(), url);
        }
    }

    #[test]
    fn no_link_is_longer_than_the_limit() {
        let ring = ring();
        let base = base(
            &format!("https://click.example.test/{}", "p".repeat(100)),
            Style::Readable,
        );
        let opener = Opener::new(&ring, &base);
        for sender in [0, 40, 200, 420, 460, 500, 5000] {
            let claims = MessageClaims {
                sender: "s".repeat(sender),
                ..claims()
            };
            let sealer = ring.sealer(&claims);
            for host in [1, 60, 90, 250, 300] {
                for path in [0, 100, 300, 500, 550, 600, 5000] {
                    let url = format!("https://{}.example/{}", "h".repeat(host), "x".repeat(path));
                    let wrapped = wrap_link(&sealer, &base, &Target::parse(&url).unwrap(), None, 1);
                    assert!(wrapped.click_url.len() <= ClickBase::MAX_LINK);
                    let opened = opener.recognise(&wrapped.click_url).unwrap();
                    let opened = match &wrapped.reference {
                        Some(row) => opener.complete(opened, &row.target, None).unwrap(),
                        None => opened,
                    };
                    assert_eq!(opened.target().unwrap().as_str(), url);
                }
            }
        }
    }

    #[test]
    fn paths_are_as_browsers_know_them() {
        let path = |url, path| ClickBase::new(url, Style::Readable).unwrap().public_path(path);
        assert_eq!(path("https://click.example.com", "/c/a/b"), "/c/a/b");
        assert_eq!(path("https://click.example.com/safe", "/safe/c/b"), "/safe/c/b");
        assert_eq!(path("https://click.example.com/safe", "/c/b"), "/safe/c/b");
        assert_eq!(path("https://click.example.com/c", "/c/b"), "/c/c/b");
        assert_eq!(path("https://click.example.com/c", "/c/c/b"), "/c/c/b");
    }
}
