//! The pages a reader sees. They stand alone: no script, nothing from elsewhere, and no stranger's text that is not escaped.
//!
//! `brand` holds the operator's look, `language` and `texts` the words, `reasons` puts evidence into words, `target` writes a
//! URL so that it cannot deceive.

mod brand;
mod language;
mod reasons;
mod target;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::LazyLock;

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use link::{Evidence, Target, Word};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::language::{Direction, Language, Languages, language};
pub use self::texts::TextFault;

pub use self::brand::{Brand, Colours, Contact, Logo, MAX_LOGO, Pages, ReviewTo, USUAL_COLOUR, is_mailbox};
use self::reasons::{Reason, Reasons};
use self::target::ShownTarget;
use self::texts::{Piece, Texts, fill};

/// All that a page is made from.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Which page.
    pub kind: PageKind<'a>,
    /// The look of the recipient's domain.
    pub brand: &'a Brand,
    /// The words.
    pub lang: &'a Language,
    /// Where the link leads. `None` when that is not known, or not to be shown: then neither the chain nor any detail is.
    pub target: Option<&'a Target>,
    /// The evidence for and against it, and the checks that could not be made.
    pub evidence: &'a [Evidence],
    /// Names of the sources among the evidence that are Google's.
    pub google_sources: &'a [(&'a str, GoogleService)],
    /// URLs on the way, shown on request.
    pub chain: &'a [String],
    /// Where going on leads; `None` where it is not allowed.
    pub form: Option<PageForm<'a>>,
    /// Where a request for a review goes; shown where the brand says "button".
    pub review: Option<PageForm<'a>>,
    /// A number for the help desk.
    pub reference: Option<&'a str>,
    /// When the target was checked, in seconds since 1970.
    pub checked_at_s: Option<i64>,
    /// Whether it is recorded that a reader goes on.
    pub is_recorded: bool,
}

/// A service of Google's. The terms of both ask warnings for words that leave it open, and for Google's name with a link to
/// what the service says of its advisories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoogleService {
    /// Safe Browsing ("Appropriate Usage", <https://developers.google.com/safe-browsing/reference/Appropriate.Usage>).
    SafeBrowsing,
    /// Web Risk ("User warnings", <https://cloud.google.com/web-risk/docs/user-warnings>).
    WebRisk,
}

impl GoogleService {
    fn advisory(self) -> &'static str {
        match self {
            Self::SafeBrowsing => "https://developers.google.com/safe-browsing/v4/advisory",
            Self::WebRisk => "https://cloud.google.com/web-risk/docs/advisory",
        }
    }
}

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind<'a> {
    /// Nothing speaks against the target; a button leads there. 200.
    Confirm,
    /// For what is taken for a machine: no word about the target, and a button. 200.
    Neutral,
    /// The check goes on; the page asks again by itself. 200.
    Checking {
        /// After so many seconds.
        refresh_s: u32,
        /// At this path.
        attempt: &'a str,
    },
    /// There is something against the target. 200.
    Warning,
    /// It is not opened. 403, or 303 to the operator's own page.
    Blocked,
    /// Where it leads or what is there could not be seen. 200.
    Unknown,
    /// The check failed. 200.
    CouldNotCheck,
    /// No link of ours. 404.
    NotOurs,
    /// The key of its token is gone. 410.
    Expired,
    /// The operator has withdrawn the link itself. 410.
    Revoked,
    /// The target cannot be looked up for now. 503.
    TryLater {
        /// When it is worth a try, in seconds.
        retry_after_s: u32,
    },
    /// Too many requests. 429.
    TooMany {
        /// When it is worth a try, in seconds.
        retry_after_s: u32,
    },
    /// The answer to a button: goes on at once, with a link for browsers that do not. 200, and no redirect: browsers apply
    /// `form-action` to every redirect that follows a form.
    Onward {
        /// To here.
        to: &'a Target,
    },
    /// A review was asked for. 200.
    ReviewSent,
    /// A method that is not taken here. 405.
    WrongMethod,
}

/// A button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageForm<'a> {
    /// The path it is sent to, of this very host.
    pub action: &'a str,
    /// Names and values that go with it.
    pub fields: &'a [(&'a str, &'a str)],
}

impl<'a> View<'a> {
    /// A page of this kind with nothing on it but its words.
    #[must_use]
    pub fn plain(kind: PageKind<'a>, brand: &'a Brand, lang: &'a Language) -> Self {
        Self {
            kind,
            brand,
            lang,
            target: None,
            evidence: &[],
            google_sources: &[],
            chain: &[],
            form: None,
            review: None,
            reference: None,
            checked_at_s: None,
            is_recorded: true,
        }
    }
}

/// The answer to a request: status, headers and page.
#[must_use]
pub fn answer(view: &View<'_>) -> Response<Body> {
    if let Some(response) = redirect_to_own_page(view) {
        return response;
    }
    let mut response = Response::new(Body::from(html(view)));
    *response.status_mut() = status(&view.kind);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy(view)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Ok(tag) = HeaderValue::from_str(view.lang.tag()) {
        headers.insert(header::CONTENT_LANGUAGE, tag);
    }
    match view.kind {
        PageKind::TryLater { retry_after_s } | PageKind::TooMany { retry_after_s } => {
            headers.insert(header::RETRY_AFTER, retry_after_s.into());
        }
        PageKind::WrongMethod => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        _ => {}
    }
    response
}

/// The page alone.
#[must_use]
pub fn html(view: &View<'_>) -> String {
    let page = PageTemplate::new(view);
    // Writing into a string does not fail.
    page.render().unwrap_or_default()
}

/// Files at the click address: logos, and `robots.txt`. `None` for any other path.
#[must_use]
pub fn asset(path: &str, pages: &Pages) -> Option<Response<Body>> {
    let (media_type, body) = if path == "/robots.txt" {
        ("text/plain; charset=utf-8", Body::from("User-agent: *\nDisallow: /\n"))
    } else {
        let logo = pages.logos().find(|l| l.href == path || l.without_prefix() == path)?;
        (logo.media_type, Body::from(logo.octets.clone()))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // A drawing may bring its own styles, and nothing else: no script, even where it is opened by itself.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"),
    );
    Some(response)
}

const STYLE: &str = include_str!("../templates/click/style.css");

/// The sheets inside the page, by their digests, and the logo are all that a browser may use. There is no word on where
/// forms may lead where there is a form: some browsers hold it against all that follows the form.
fn policy(view: &View<'_>) -> String {
    static SHEET: LazyLock<String> = LazyLock::new(|| {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        data_encoding::BASE64.encode(digest.as_ref())
    });
    let forms = if view.form.is_some() || view.review.is_some() {
        ""
    } else {
        "; form-action 'none'"
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}' {}; img-src 'self'; frame-ancestors 'none'; base-uri 'none'{forms}",
        *SHEET, view.brand.colour.csp_source
    )
}

fn status(kind: &PageKind<'_>) -> StatusCode {
    match kind {
        PageKind::Confirm
        | PageKind::Neutral
        | PageKind::Checking { .. }
        | PageKind::Warning
        | PageKind::Unknown
        | PageKind::CouldNotCheck
        | PageKind::Onward { .. }
        | PageKind::ReviewSent => StatusCode::OK,
        PageKind::Blocked => StatusCode::FORBIDDEN,
        PageKind::NotOurs => StatusCode::NOT_FOUND,
        PageKind::Expired | PageKind::Revoked => StatusCode::GONE,
        PageKind::TryLater { .. } => StatusCode::SERVICE_UNAVAILABLE,
        PageKind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        PageKind::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
    }
}

/// 303 to the page that the operator shows instead of ours for what is blocked.
fn redirect_to_own_page(view: &View<'_>) -> Option<Response<Body>> {
    let own = view
        .brand
        .redirect_to
        .as_ref()
        .filter(|_| view.kind == PageKind::Blocked)?;
    let mut url = own.url().clone();
    url.query_pairs_mut()
        .append_pair("reason", reasons::code(view.evidence));
    if let Some(reference) = view.reference {
        url.query_pairs_mut().append_pair("reference", reference);
    }
    let location = HeaderValue::from_str(url.as_str()).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// How grave a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Calm,
    Care,
    Stop,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Care => "care",
            Self::Stop => "stop",
        }
    }
}

/// How a reader asks for a review.
enum Review<'a> {
    Form(PageForm<'a>),
    /// `mailto:`
    Mail(String),
}

/// The fields of the template.
#[derive(Template)]
#[template(path = "click/page.html")]
struct PageTemplate<'a> {
    lang: &'a str,
    dir: &'static str,
    style: &'static str,
    brand: &'a Brand,
    t: &'a Texts,
    tone: Tone,
    label: &'a str,
    title: &'a str,
    what: &'a str,
    todo: &'a str,
    /// The operator's own words.
    own: Vec<&'a str>,
    /// The value of a meta refresh.
    refresh: Option<String>,
    onward: Option<&'a str>,
    attempt: Option<&'a str>,
    target: Option<ShownTarget>,
    reasons: Vec<Reason<'a>>,
    unchecked: Vec<Reason<'a>>,
    advisories: Vec<&'static str>,
    teach: &'a str,
    /// The first button, where going on is what the page is for.
    go_on: Option<PageForm<'a>>,
    go_on_button: &'a str,
    /// The last button, where it is not.
    risk: Option<PageForm<'a>>,
    risk_words: &'a str,
    back: Option<&'a str>,
    offers_safety: bool,
    has_more: bool,
    has_details: bool,
    checked_at: Option<(String, Vec<Piece<'a>>)>,
    full: String,
    chain: Vec<String>,
    has_footer: bool,
    review: Option<Review<'a>>,
    reference: Vec<Piece<'a>>,
    is_recorded: bool,
}

/// The words of one kind of page.
struct Words<'a> {
    tone: Tone,
    label: &'a str,
    title: &'a str,
    what: &'a str,
    todo: &'a str,
}

impl<'a> PageTemplate<'a> {
    fn new(view: &View<'a>) -> Self {
        let t = &view.lang.texts;
        let brand = view.brand;
        let shows_target = view.target.is_some();
        let judges = matches!(
            view.kind,
            PageKind::Warning | PageKind::Blocked | PageKind::Unknown | PageKind::CouldNotCheck
        );
        let found = if judges {
            Reasons::new(view, t)
        } else {
            Reasons::default()
        };
        let words = words(view, t, &found);
        let wants_button = matches!(view.kind, PageKind::Confirm | PageKind::Neutral);
        let shown = matches!(
            view.kind,
            PageKind::Confirm | PageKind::Checking { .. } | PageKind::CouldNotCheck
        ) || matches!(view.kind, PageKind::Warning | PageKind::Blocked | PageKind::Unknown);
        let target = view.target.filter(|_| shown);
        let chain: Vec<String> = view
            .chain
            .iter()
            .filter(|_| target.is_some() && view.chain.len() > 1)
            .take(MAX_CHAIN)
            .map(|url| target::shortened(url, MAX_URL))
            .collect();
        let full = target.map_or_else(String::new, |t| target::shortened(t.as_str(), MAX_URL));
        let checked_at = view.checked_at_s.filter(|_| judges || shown).and_then(|s| {
            let (iso, at) = time(s)?;
            Some((iso, fill(&t.checked_at, &[("time", at.into())])))
        });
        let teach = if judges { found.teach } else { "" };
        let has_details = (judges || view.kind == PageKind::Confirm)
            && (checked_at.is_some() || !full.is_empty() || !chain.is_empty());
        let risk = view.form.filter(|_| judges && view.kind != PageKind::Blocked);
        let review = match (&brand.review_to, view.review) {
            _ if !judges => None,
            (ReviewTo::Button, form) => form.map(Review::Form),
            (ReviewTo::Mailbox(address), _) => Some(Review::Mail(mail_for_review(address, view.reference))),
            (ReviewTo::Nobody, _) => None,
        };
        let reference = view
            .reference
            .map_or_else(Vec::new, |number| fill(&t.reference, &[("number", number.into())]));
        let neutral = view.kind == PageKind::Neutral;
        Self {
            lang: view.lang.tag(),
            dir: view.lang.direction().as_str(),
            style: STYLE,
            brand,
            t,
            tone: words.tone,
            label: words.label,
            title: words.title,
            what: words.what,
            todo: words.todo,
            own: own_words(brand, judges),
            refresh: refresh(&view.kind),
            onward: match view.kind {
                PageKind::Onward { to } => Some(to.as_str()),
                _ => None,
            },
            attempt: match view.kind {
                PageKind::Checking { attempt, .. } => Some(attempt),
                _ => None,
            },
            target: target.map(|target| ShownTarget::new(target, t)),
            reasons: found.against,
            unchecked: found.unchecked,
            advisories: found.google.iter().map(|service| service.advisory()).collect(),
            teach,
            go_on: view.form.filter(|_| wants_button),
            go_on_button: if neutral { &t.neutral_button } else { &t.confirm_button },
            risk,
            risk_words: if view.kind == PageKind::Warning {
                &t.continue_warning
            } else {
                &t.continue_careful
            },
            back: brand.back_to.as_ref().map(Target::as_str).filter(|_| !neutral),
            offers_safety: judges || matches!(view.kind, PageKind::Revoked | PageKind::Expired),
            has_more: !teach.is_empty() || has_details || risk.is_some(),
            has_details,
            checked_at,
            full: if shows_target { full } else { String::new() },
            chain,
            has_footer: review.is_some() || brand.contact.is_some() || !reference.is_empty(),
            review,
            reference,
            is_recorded: view.is_recorded,
        }
    }
}

/// URLs of the way that are shown.
const MAX_CHAIN: usize = 12;

/// Characters of a URL that is shown on request.
const MAX_URL: usize = 600;

fn words<'a>(view: &View<'a>, t: &'a Texts, found: &Reasons<'a>) -> Words<'a> {
    let (tone, label) = match view.kind {
        PageKind::Warning | PageKind::Unknown => (Tone::Care, &t.label_warning),
        PageKind::Blocked => (Tone::Stop, &t.label_blocked),
        PageKind::Confirm | PageKind::Neutral | PageKind::Checking { .. } | PageKind::Onward { .. } => {
            (Tone::Calm, &t.label_check)
        }
        PageKind::CouldNotCheck | PageKind::Revoked => (Tone::Care, &t.label_note),
        _ => (Tone::Calm, &t.label_note),
    };
    let (title, what, todo) = match view.kind {
        PageKind::Confirm if view.target.is_none() => (&t.confirm_title, &t.confirm_hidden, &t.confirm_todo),
        PageKind::Confirm => (&t.confirm_title, &t.confirm_what, &t.confirm_todo),
        PageKind::Neutral => (&t.neutral_title, &t.neutral_what, &t.neutral_todo),
        PageKind::Checking { .. } => (&t.checking_title, &t.checking_what, &t.checking_todo),
        PageKind::Warning => (&t.warning_title, &t.warning_what, &t.warning_todo),
        PageKind::Blocked => (&t.blocked_title, found.blocked(t), &t.blocked_todo),
        PageKind::Unknown => (&t.unknown_title, &t.unknown_what, &t.unknown_todo),
        PageKind::CouldNotCheck => (&t.failed_title, &t.failed_what, &t.failed_todo),
        PageKind::NotOurs => (&t.not_ours_title, &t.not_ours_what, &t.not_ours_todo),
        PageKind::Expired => (&t.expired_title, &t.expired_what, &t.expired_todo),
        PageKind::Revoked => (&t.revoked_title, &t.revoked_what, &t.revoked_todo),
        PageKind::TryLater { .. } => (&t.later_title, &t.later_what, &t.later_todo),
        PageKind::TooMany { .. } => (&t.many_title, &t.many_what, &t.many_todo),
        PageKind::Onward { .. } => (&t.onward_title, &t.onward_what, &NOTHING),
        PageKind::ReviewSent => (&t.review_title, &t.review_what, &t.review_todo),
        PageKind::WrongMethod => (&t.method_title, &t.method_what, &t.method_todo),
    };
    Words {
        tone,
        label,
        title,
        what,
        todo,
    }
}

static NOTHING: String = String::new();

/// The operator's words, a paragraph per line, on pages that judge.
fn own_words(brand: &Brand, judges: bool) -> Vec<&str> {
    let text = brand.text.as_deref().filter(|_| judges).unwrap_or_default();
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect()
}

/// The content of a meta refresh: `0;url=...`. A URL has no quote at its beginning, which would be taken for more than itself
/// (HTML, 4.2.5.3, "shared declarative refresh steps").
fn refresh(kind: &PageKind<'_>) -> Option<String> {
    match kind {
        PageKind::Checking { refresh_s, attempt } => Some(format!("{refresh_s};url={attempt}")),
        PageKind::Onward { to } => Some(format!("0;url={}", to.as_str())),
        _ => None,
    }
}

/// All that RFC 3986, 2.3, does not call unreserved.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL of a mail that asks for a review (RFC 6068).
fn mail_for_review(address: &str, reference: Option<&str>) -> String {
    let mut href = format!("mailto:{address}");
    if let Some(reference) = reference {
        href += "?subject=";
        href.extend(utf8_percent_encode(&format!("Link review {reference}"), &RESERVED));
    }
    href
}

/// A time for machines and for people, in UTC.
fn time(at_s: i64) -> Option<(String, String)> {
    let at = jiff::Timestamp::from_second(at_s).ok()?;
    Some((at.to_string(), at.strftime("%Y-%m-%d %H:%M UTC").to_string()))
}
