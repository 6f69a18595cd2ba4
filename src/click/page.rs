//! The pages of the click address. They stand alone: no script, no picture, nothing from elsewhere, and nothing in them
//! that came with the request.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f6f7f9;--sheet:#fff;--ink:#1c2430;--soft:#556070;--edge:#d8dde5;--mark:#2f5fae}\
@media (prefers-color-scheme:dark){:root{--ground:#12161c;--sheet:#1b2129;--ink:#e8ecf2;--soft:#a5b0bf;--edge:#323b47;--mark:#8fb4f0}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);\
font:1.0625rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif}\
main{width:100%;max-width:34rem;padding:2rem;background:var(--sheet);border:1px solid var(--edge);border-top:4px solid var(--mark);border-radius:.5rem}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}\
p{margin:0 0 1rem}\
ul{margin:0;padding-left:1.25rem;color:var(--soft)}\
li+li{margin-top:.4rem}\
@media (max-width:30rem){body{padding:1rem;place-items:start stretch}main{padding:1.25rem}}";

struct Page {
    status: StatusCode,
    html: Bytes,
}

static NOT_FOUND: LazyLock<Page> = LazyLock::new(|| {
    Page::new(
        StatusCode::NOT_FOUND,
        "This link cannot be opened",
        "The link is incomplete, has been altered, or is not known here. Nothing was opened.",
        &[
            "Long links are sometimes cut in two. Go back to the message and open the link from there.",
            "If it still does not work, ask the people who run your mail, and send them the message.",
        ],
    )
});

static UNAVAILABLE: LazyLock<Page> = LazyLock::new(|| {
    Page::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This link cannot be opened right now",
        "The link is in order, but its address could not be looked up. Nothing was opened.",
        &[
            "Please try again in a few minutes.",
            "If it still does not work then, tell the people who run your mail.",
        ],
    )
});

static WRONG_METHOD: LazyLock<Page> = LazyLock::new(|| {
    Page::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address only opens links",
        "It takes nothing else, so what was sent here has not been read.",
        &["Go back to the message and open the link from there."],
    )
});

/// The style sheet inside the page is the one thing a browser may use, and only as it is.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let hash = data_encoding::BASE64.encode(digest.as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// 404, the same for everything that leads nowhere: a stranger learns nothing from it.
pub(super) fn not_found() -> Response<Body> {
    NOT_FOUND.answer()
}

/// 503: the target cannot be looked up for now.
pub(super) fn unavailable() -> Response<Body> {
    let mut response = UNAVAILABLE.answer();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// 405 with what would have been right.
pub(super) fn wrong_method() -> Response<Body> {
    let mut response = WRONG_METHOD.answer();
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

impl Page {
    fn new(status: StatusCode, title: &str, what: &str, advice: &[&str]) -> Self {
        let advice: String = advice.iter().map(|a| format!("<li>{a}</li>\n")).collect();
        let html = format!(
            "<!doctype html>\n<html lang=\"en\" dir=\"ltr\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n<p>{what}</p>\n<ul>\n{advice}</ul>\n</main>\n</body>\n</html>\n"
        );
        Self {
            status,
            html: html.into(),
        }
    }

    fn answer(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.html.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        response
    }
}
