//! Shorteners, sites with an open redirect whose target stands in the link, and links that look as if they held their target.
//!
//! The lists are facts about public services, most of which stay true for years.

mod shorteners;

use std::collections::HashSet;
use std::sync::LazyLock;
use url::{Host, Position, Url};

use crate::escapes::{base64_decoded, hidden_target, pairs, percent_decoded, tail, value, web_target};
use crate::target::Target;
use shorteners::SHORTENERS;

/// Whether `host` is a known shortener, or below one: only its server knows the targets of its links.
#[must_use]
pub fn is_shortener(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let mut name = host;
    loop {
        if SHORTENERS.binary_search(&name).is_ok() {
            return true;
        }
        match name.split_once('.') {
            Some((_, rest)) => name = rest,
            None => return false,
        }
    }
}

/// A link of a site known to redirect to a target in the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected {
    /// The site's name for reports: `google`.
    pub site: &'static str,
    /// The target.
    pub to: Target,
}

/// Reads a link of a known open redirector; `None` for all others.
#[must_use]
pub fn known_redirector(target: &Target) -> Option<Redirected> {
    let url = target.url();
    let Some(Host::Domain(host)) = url.host() else {
        return None;
    };
    let host = host.trim_end_matches('.');
    if url.port().is_some() {
        return None;
    }
    if let Some(to) = translated(host, url) {
        return Some(Redirected {
            site: "google-translate",
            to,
        });
    }
    if !may_be_site(host) {
        return None;
    }
    SITES
        .iter()
        // Few paths fit; a search for the host costs more.
        .filter(|site| is_path(url.path(), site.path) && is_host(host, site.host))
        .find_map(|site| {
            let to = site.place.read(url)?;
            (to != *target).then_some(Redirected { site: site.name, to })
        })
}

/// The URLs that a link holds as values of its query, in its fragment or at the end of its path, plain, percent-encoded once
/// or more, or in Base64; those named most like a redirect first. The link may lead there or not: check both.
#[must_use]
pub fn embedded(target: &Target) -> Vec<Target> {
    let url = target.url();
    if !may_hold_url(&url[Position::BeforePath..]) {
        return Vec::new();
    }
    let mut found: Vec<(usize, Target)> = Vec::new();
    let mut add = |rank: usize, text: &str| {
        if found.len() < MAX_EMBEDDED
            && let Some(inner) = hidden_target(text)
            && inner != *target
            && !found.iter().any(|(_, known)| *known == inner)
        {
            found.push((rank, inner));
        }
    };
    for part in [url.query(), url.fragment()].into_iter().flatten() {
        // The whole fragment, perhaps behind `/` or `!`.
        add(TELLING.len(), part.trim_start_matches(['/', '!', '#']));
        // A fragment may be a route with a query of its own.
        let inner = part.split_once('?').map(|(_, inner)| inner);
        for (name, text) in pairs(part).chain(inner.into_iter().flat_map(pairs)) {
            let rank = TELLING.iter().position(|t| t.eq_ignore_ascii_case(name));
            add(rank.unwrap_or(TELLING.len()), text);
        }
    }
    if let Some(inner) = at_end_of_path(url) {
        add(TELLING.len() + 1, inner);
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, inner)| inner).collect()
}

/// Whether a host without final dot belongs to a site of [`known_redirector`].
pub(crate) fn is_site(host: &str) -> bool {
    host.ends_with(TRANSLATED) || (may_be_site(host) && SITES.iter().any(|site| is_host(host, site.host)))
}

/// Whether a host may be below a site; a quick test that is false for nearly all.
fn may_be_site(host: &str) -> bool {
    /// The last two labels of each site, or the label of `google.*`.
    static ENDS: LazyLock<Words> = LazyLock::new(|| {
        let end = |host: &'static str| host.strip_suffix(".*").unwrap_or(last_labels(host));
        SITES.iter().map(|site| end(site.host)).collect()
    });
    ENDS.contains(last_labels(host)) || host.split('.').any(|label| ENDS.contains(label))
}

/// The last two labels of a name.
pub(crate) fn last_labels(host: &str) -> &str {
    let mut dots = memchr::memrchr_iter(b'.', host.as_bytes());
    dots.nth(1).and_then(|at| host.get(at + 1..)).unwrap_or(host)
}

/// A set of words. Texts whose first octet or length fits none of them need no hash.
pub(crate) struct Words {
    words: HashSet<&'static str>,
    /// A bit for each length of a word, by the first octet.
    lengths: [u64; 256],
}

impl FromIterator<&'static str> for Words {
    fn from_iter<I: IntoIterator<Item = &'static str>>(words: I) -> Self {
        let words: HashSet<_> = words.into_iter().collect();
        let mut lengths = [0; 256];
        for word in &words {
            if let Some(lengths) = lengths.get_mut(first(word)) {
                *lengths |= 1 << (word.len() & 63);
            }
        }
        Self { words, lengths }
    }
}

impl Words {
    pub(crate) fn contains(&self, word: &str) -> bool {
        let lengths = self.lengths.get(first(word));
        lengths.is_some_and(|lengths| lengths >> (word.len() & 63) & 1 == 1) && self.words.contains(word)
    }
}

/// The first octet of a word.
fn first(word: &str) -> usize {
    word.bytes().next().map_or(0, usize::from)
}

/// Whether a text may hold a URL; a quick test that is false for most.
fn may_hold_url(text: &str) -> bool {
    // The colon of a URL, an escape, or `http` in Base64.
    let text = text.as_bytes();
    memchr::memchr2(b'%', b':', text).is_some()
        || [b"aHR0c", b"SFRUU"]
            .iter()
            .any(|word| memchr::memmem::find(text, *word).is_some())
}

/// Most URLs in a link that are read.
const MAX_EMBEDDED: usize = 32;

/// The host of translated pages of other sites.
const TRANSLATED: &str = ".translate.goog";

/// Names of values of open redirects, the clearest first.
const TELLING: [&str; 29] = [
    "url",
    "u",
    "redirect",
    "redirect_url",
    "redirect_uri",
    "redirecturl",
    "redirect_to",
    "redir",
    "target",
    "to",
    "dest",
    "destination",
    "goto",
    "go",
    "out",
    "link",
    "next",
    "continue",
    "q",
    "r",
    "uri",
    "return",
    "returnurl",
    "return_to",
    "rurl",
    "forward",
    "location",
    "page",
    "view",
];

/// The place of the target in a site's links.
enum Place {
    /// The first of these values of the query that is a URL.
    Value(&'static [&'static str]),
    /// The query behind this name.
    Tail(&'static str),
    /// The whole query.
    Query,
    /// A value in Base64, behind this many other letters.
    Base64(&'static str, usize),
    /// The path behind this text, host first; an `s/` in front of it says https.
    HostInPath(&'static str),
    /// A percent-encoded URL in the path behind this text, up to the next slash.
    PieceOfPath(&'static str),
    /// The path between two texts.
    Between(&'static str, &'static str),
    /// The rest of path and query behind this text, raw or percent-encoded.
    Rest(&'static str),
}

impl Place {
    fn read(&self, url: &Url) -> Option<Target> {
        let query = url.query().unwrap_or_default();
        match self {
            Self::Value(names) => names
                .iter()
                .find_map(|name| web_target(&percent_decoded(value(query, name)?))),
            Self::Tail(name) => {
                let text = tail(query, name)?;
                hidden_target(text).or_else(|| web_target(&percent_decoded(text)))
            }
            Self::Query => hidden_target(query),
            Self::Base64(name, skip) => {
                let text = percent_decoded(value(query, name)?);
                let octets = base64_decoded(text.get(*skip..)?)?;
                web_target(std::str::from_utf8(&octets).ok()?)
            }
            Self::HostInPath(front) => {
                let rest = behind(url, front)?;
                let (scheme, rest) = rest.strip_prefix("s/").map_or(("http", rest), |rest| ("https", rest));
                let host = rest.split(['/', '?', '#']).next()?;
                (host.contains('.') && !host.contains('@'))
                    .then(|| web_target(&format!("{scheme}://{rest}")))
                    .flatten()
            }
            Self::PieceOfPath(front) => {
                let path = url.path();
                let piece = path.get(path.find(front)? + front.len()..)?.split('/').next()?;
                hidden_target(piece)
            }
            Self::Between(front, end) => {
                let path = url.path();
                let text = path.get(path.find(front)? + front.len()..)?;
                hidden_target(text.split(end).next()?)
            }
            Self::Rest(front) => {
                let text = url.as_str();
                hidden_target(text.get(text.find(front)? + front.len()..)?)
            }
        }
    }
}

/// Path, query and fragment behind `front`, the front of the path.
fn behind<'u>(url: &'u Url, front: &str) -> Option<&'u str> {
    url[Position::BeforePath..].strip_prefix(front)
}

/// The URL at the end of a path, with query and fragment: `/go/https://...`.
fn at_end_of_path(url: &Url) -> Option<&str> {
    let text = &url[Position::BeforePath..];
    let path = url.path();
    ["/http:", "/https:", "/http%3", "/https%3", "/aHR0c"]
        .iter()
        .filter_map(|front| path.find(front))
        .min()
        .and_then(|at| text.get(at + 1..))
}

/// The original of a page under `translate.goog`: dots are hyphens in its name, hyphens are two.
fn translated(host: &str, url: &Url) -> Option<Target> {
    let label = host.strip_suffix(TRANSLATED)?;
    if label.contains('.') {
        return None;
    }
    let name = label.replace("--", "\0").replace('-', ".").replace('\0', "-");
    web_target(&format!("https://{name}{}", &url[Position::BeforePath..]))
}

/// Whether `host` is `name` or below it; `google.*` is the name under any public suffix.
pub(crate) fn is_host(host: &str, name: &str) -> bool {
    if let Some(label) = name.strip_suffix(".*") {
        // Not under a private suffix: `google.github.io`.
        return host.contains(label)
            && suffix::domain(host.as_bytes()).is_some_and(|domain| {
                domain.suffix().typ() == Some(suffix::Type::Icann)
                    && domain.as_bytes().split(|b| *b == b'.').next() == Some(label.as_bytes())
            });
    }
    host.strip_suffix(name)
        .is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Whether `path` has the `shape`, in which a final `*` stands for any text.
fn is_path(path: &str, shape: &str) -> bool {
    match shape.strip_suffix('*') {
        Some(front) => path.starts_with(front),
        None => path.trim_end_matches('/') == shape.trim_end_matches('/'),
    }
}

/// The redirects of one site.
struct Site {
    name: &'static str,
    host: &'static str,
    path: &'static str,
    place: Place,
}

const fn site(name: &'static str, host: &'static str, path: &'static str, place: Place) -> Site {
    Site {
        name,
        host,
        path,
        place,
    }
}

const URL: Place = Place::Value(&["url"]);
const U: Place = Place::Value(&["u"]);
const TARGET: Place = Place::Value(&["target"]);

const SITES: &[Site] = &[
    site("google", "google.*", "/url", Place::Value(&["q", "url"])),
    site("google", "google.*", "/imgres", Place::Value(&["imgrefurl"])),
    site("google", "google.*", "/local_url", Place::Value(&["q"])),
    site("google", "google.*", "/aclk", Place::Value(&["adurl"])),
    site("google", "google.*", "/translate", U),
    site("google", "google.*", "/amp/*", Place::HostInPath("/amp/")),
    site(
        "google",
        "googleadservices.com",
        "/pagead/aclk",
        Place::Value(&["adurl"]),
    ),
    site("google", "notifications.google.com", "/g/*", URL),
    site("google", "cdn.ampproject.org", "/c/*", Place::HostInPath("/c/")),
    site("google", "cdn.ampproject.org", "/v/*", Place::HostInPath("/v/")),
    site(
        "doubleclick",
        "doubleclick.net",
        "/*",
        Place::Value(&["adurl", "ds_dest_url", "url", "rd"]),
    ),
    site("doubleclick", "doubleclick.net", "/*", Place::Query),
    site("bing", "bing.com", "/ck/a", Place::Base64("u", 2)),
    site("bing", "bing.com", "/newtabredir", URL),
    site("bing", "bing.com", "/aclk", Place::Base64("u", 0)),
    site("bing", "bing.com", "/aclick", Place::Base64("u", 0)),
    site("yahoo", "r.search.yahoo.com", "/*", Place::Between("/RU=", "/RK=")),
    site("yandex", "yandex.ru", "/clck/jsredir", URL),
    site("yandex", "sba.yandex.net", "/redirect", URL),
    site("duckduckgo", "duckduckgo.com", "/l", Place::Value(&["uddg"])),
    site("youtube", "youtube.com", "/redirect", Place::Value(&["q"])),
    site("youtube", "youtube.com", "/attribution_link", U),
    site("facebook", "l.facebook.com", "/*", U),
    site("facebook", "lm.facebook.com", "/*", U),
    site("facebook", "facebook.com", "/l.php", U),
    site("facebook", "facebook.com", "/flx/warn", U),
    site("instagram", "l.instagram.com", "/*", U),
    site("messenger", "l.messenger.com", "/*", U),
    site("whatsapp", "l.wl.co", "/l", U),
    site("threads", "l.threads.com", "/*", U),
    site("threads", "l.threads.net", "/*", U),
    site("linkedin", "linkedin.com", "/redir/redirect", URL),
    site("linkedin", "linkedin.com", "/redir/general-malware-page", URL),
    site("linkedin", "linkedin.com", "/safety/go", URL),
    site(
        "linkedin",
        "linkedin.com",
        "/authwall",
        Place::Value(&["sessionRedirect"]),
    ),
    site("tumblr", "t.umblr.com", "/redirect", Place::Value(&["z"])),
    site("tumblr", "href.li", "/", Place::Query),
    site(
        "steam",
        "steamcommunity.com",
        "/linkfilter",
        Place::Value(&["u", "url"]),
    ),
    site(
        "steam",
        "steamcommunity.com",
        "/linkfilter/*",
        Place::Rest("/linkfilter/?"),
    ),
    site("vk", "vk.com", "/away.php", Place::Value(&["to"])),
    site("vk", "vk.com", "/away", Place::Value(&["to"])),
    site("ok", "ok.ru", "/dk", Place::Value(&["st.link"])),
    site("slack", "slack-redir.net", "/link", URL),
    site("reddit", "out.reddit.com", "/*", URL),
    site("reddit", "click.redditmail.com", "/CL0/*", Place::PieceOfPath("/CL0/")),
    site("amazon-ses", "awstrack.me", "/L0/*", Place::PieceOfPath("/L0/")),
    site("amazon", "amazon.*", "/gp/redirect.html", Place::Value(&["location"])),
    site("pinterest", "pinterest.*", "/offsite", URL),
    site("quora", "quora.com", "/_/redirect", URL),
    site("medium", "medium.com", "/r", URL),
    site("disqus", "disq.us", "/url", Place::Value(&["url"])),
    site("soundcloud", "exit.sc", "/", URL),
    site("soundcloud", "gate.sc", "/", URL),
    site("deviantart", "deviantart.com", "/users/outgoing", Place::Query),
    site("curseforge", "curseforge.com", "/linkout", Place::Value(&["remoteUrl"])),
    site("weibo", "weibo.cn", "/sinaurl", Place::Value(&["u", "toasturl"])),
    site("weibo", "weibo.com", "/sinaurl", U),
    site("zhihu", "link.zhihu.com", "/", TARGET),
    site("csdn", "link.csdn.net", "/", TARGET),
    site("juejin", "link.juejin.cn", "/", TARGET),
    site("jianshu", "links.jianshu.com", "/go", Place::Value(&["to"])),
    site("qq", "c.pc.qq.com", "/*", Place::Value(&["url", "pfurl"])),
    site("qq", "mail.qq.com", "/cgi-bin/readtemplate", Place::Value(&["gourl"])),
    site("gitee", "gitee.com", "/link", TARGET),
    site(
        "outlook",
        "outlook.live.com",
        "/owa/redir.aspx",
        Place::Value(&["URL", "REF"]),
    ),
    site(
        "outlook",
        "outlook.office.com",
        "/owa/redir.aspx",
        Place::Value(&["URL", "REF"]),
    ),
    site(
        "outlook",
        "outlook.office365.com",
        "/owa/redir.aspx",
        Place::Value(&["URL", "REF"]),
    ),
    site("ebay", "rover.ebay.com", "/*", Place::Value(&["mpre", "loc"])),
    site("awin", "awin1.com", "/cread.php", Place::Value(&["ued", "p"])),
    site("rakuten", "click.linksynergy.com", "/deeplink", Place::Value(&["murl"])),
    site(
        "rakuten",
        "click.linksynergy.com",
        "/fs-bin/click",
        Place::Value(&["RD_PARM1"]),
    ),
    site("tradedoubler", "clk.tradedoubler.com", "/click", URL),
    site("skimlinks", "go.skimresources.com", "/", URL),
    site("viglink", "redirect.viglink.com", "/", U),
    site("viglink", "sovrn.co", "/*", U),
    site("impact", "prf.hn", "/click/*", Place::PieceOfPath("/destination:")),
    site("adform", "track.adform.net", "/*", Place::Tail("cpdir")),
    site("wix", "wix.com", "/_api/redirect", URL),
    site("douban", "douban.com", "/link2", URL),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn shorteners_are_known_whole_or_at_a_dot() {
        assert!(SHORTENERS.is_sorted() && SHORTENERS.len() >= 150);
        for (host, want) in [
            ("bit.ly", true),
            ("bit.ly.", true),
            ("www.tinyurl.com", true),
            ("acme.rebrand.ly", true),
            ("encurtador.com.br", true),
            ("rabbit.ly", false),
            ("bit.ly.example", false),
            ("ly", false),
            ("", false),
            ("com.br", false),
        ] {
            assert_eq!(is_shortener(host), want, "{host}");
        }
    }

    #[test]
    fn redirects_of_known_sites_are_read() {
        const INNER: &str = "https://shop.example/a?b=c&d=e";
        const ESCAPED: &str = "https%3A%2F%2Fshop.example%2Fa%3Fb%3Dc%26d%3De";
        let base64 = crate::escapes::base64(INNER.as_bytes());
        for (site, url) in [
            ("google", format!("https://www.google.com/url?sa=t&q={ESCAPED}&usg=x")),
            ("google", format!("https://www.google.co.uk/url?url={ESCAPED}")),
            ("google", "https://www.google.de/amp/s/shop.example/a?b=c&d=e".into()),
            (
                "google",
                "https://shop-example.cdn.ampproject.org/c/s/shop.example/a?b=c&d=e".into(),
            ),
            (
                "google-translate",
                "https://shop-example.translate.goog/a?b=c&d=e".into(),
            ),
            ("bing", format!("https://www.bing.com/ck/a?!&&p=1&u=a1{base64}&ntb=1")),
            (
                "youtube",
                format!("https://www.youtube.com/redirect?event=x&q={ESCAPED}"),
            ),
            ("facebook", format!("https://l.facebook.com/l.php?u={ESCAPED}&h=AT0")),
            ("facebook", format!("https://www.facebook.com/l.php?u={ESCAPED}")),
            (
                "linkedin",
                format!("https://www.linkedin.com/redir/redirect?url={ESCAPED}&urlhash=x"),
            ),
            ("tumblr", format!("https://t.umblr.com/redirect?z={ESCAPED}&t=x")),
            ("tumblr", format!("https://href.li/?{INNER}")),
            ("duckduckgo", format!("https://duckduckgo.com/l/?uddg={ESCAPED}&rut=x")),
            ("steam", format!("https://steamcommunity.com/linkfilter/?url={ESCAPED}")),
            ("vk", format!("https://vk.com/away.php?to={ESCAPED}&cc_key=")),
            ("slack", format!("https://slack-redir.net/link?url={ESCAPED}&v=3")),
            ("reddit", format!("https://out.reddit.com/t3_1?url={ESCAPED}&token=x")),
            (
                "yahoo",
                format!("https://r.search.yahoo.com/_ylt=1/RO=10/RU={ESCAPED}/RK=2/RS=x-"),
            ),
            (
                "amazon-ses",
                format!("https://a1.r.eu-west-1.awstrack.me/L0/{ESCAPED}/1/0102/x=1"),
            ),
        ] {
            let found = known_redirector(&target(&url)).expect(&url);
            assert_eq!((found.site, found.to.as_str()), (site, INNER), "{url}");
        }
    }

    #[test]
    fn a_look_alike_of_a_known_site_is_no_known_redirector() {
        for url in [
            "https://www.google.example.net/url?q=https%3A%2F%2Fshop.example%2F",
            "https://google.github.io/url?q=https%3A%2F%2Fshop.example%2F",
            "https://google.evil.example/url?q=https%3A%2F%2Fshop.example%2F",
            "https://notgoogle.com/url?q=https%3A%2F%2Fshop.example%2F",
            "https://www.google.com:8443/url?q=https%3A%2F%2Fshop.example%2F",
            "https://www.google.com/search?q=https%3A%2F%2Fshop.example%2F",
            "https://www.google.com/url?q=shop",
            "https://www.google.com/url?q=javascript:alert(1)",
            "https://www.google.com/amp/s/user@shop.example/x",
            "https://href.li/?x",
        ] {
            assert_eq!(known_redirector(&target(url)), None, "{url}");
        }
    }

    #[test]
    fn urls_inside_a_link_are_found() {
        for (url, want) in [
            ("https://a.example/?x=1&y=2", &[][..]),
            ("https://a.example/r?url=https://b.example/x", &["https://b.example/x"]),
            (
                "https://a.example/r?z=https%3A%2F%2Fb.example&url=http%3a%2f%2fc.example",
                &["http://c.example/", "https://b.example/"],
            ),
            (
                "https://a.example/r?x=https%253A%252F%252Fb.example",
                &["https://b.example/"],
            ),
            ("https://a.example/r?x=aHR0cHM6Ly9iLmV4YW1wbGU", &["https://b.example/"]),
            (
                "https://a.example/r?https://b.example/?c=d",
                &["https://b.example/?c=d"],
            ),
            ("https://a.example/#https://b.example/", &["https://b.example/"]),
            (
                "https://a.example/#/go?to=https%3A%2F%2Fb.example",
                &["https://b.example/"],
            ),
            ("https://a.example/go/https://b.example/x?y", &["https://b.example/x?y"]),
            ("https://a.example/go/https%3A%2F%2Fb.example", &["https://b.example/"]),
            ("https://a.example/?x=http", &[]),
            ("https://a.example/?x=http:a", &[]),
            ("https://a.example/?x=ftp://b.example", &[]),
        ] {
            let found: Vec<String> = embedded(&target(url)).iter().map(|t| t.as_str().to_owned()).collect();
            assert_eq!(found, want, "{url}");
        }
    }
}
