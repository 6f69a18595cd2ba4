//! Forms of pages: reading what a button sends, and whether it counts.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use link::{KeyRing, Page, PageError, PageUse};

use super::once::Once;
use crate::metrics::FormResult;

/// Octets of a form that are read; ours have a hundred.
const MAX_FORM: usize = 4096;

/// How long a browser may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Forms of the last hour that are remembered as used.
const REMEMBERED: usize = 200_000;

/// The field that says what the button is for.
pub(super) const USE: &str = "use";

/// The field that holds the seal.
pub(super) const SEAL: &str = "seal";

/// The fields that a button sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) usage: PageUse,
    seal: String,
}

/// Forms that were used already.
#[derive(Debug)]
pub(super) struct Used(Once<([u8; 16], bool)>);

impl Used {
    pub(super) fn new() -> Self {
        let life = Duration::from_secs(u64::from(Page::LIFE_S));
        Self(Once::new(life, REMEMBERED))
    }

    /// The page that the form was shown on, when the form counts.
    pub(super) fn take(&self, keys: &KeyRing, token: &str, sent: &Sent, now_s: u32) -> Result<Page, FormResult> {
        let page = keys
            .open_page(sent.usage, token, &sent.seal, now_s)
            .map_err(|e| match e {
                PageError::Expired => FormResult::Expired,
                PageError::Malformed | PageError::Forged => FormResult::Refused,
            })?;
        if self.0.first((page.event_id, sent.usage == PageUse::Review)) {
            Ok(page)
        } else {
            Err(FormResult::Used)
        }
    }
}

/// The word of a use in a form.
pub(super) fn word(usage: PageUse) -> &'static str {
    match usage {
        PageUse::Continue => "continue",
        PageUse::Review => "review",
    }
}

/// Reads the form of a request; `None` for what is none of ours, is too long or does not come.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Option<Sent> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)?;
    let media_type = media_type.split(|b| *b == b';').next()?.trim_ascii();
    if !media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return None;
    }
    let octets = tokio::time::timeout(PATIENCE, to_bytes(body, MAX_FORM))
        .await
        .ok()?
        .ok()?;
    parse(&octets)
}

/// Both fields are made of letters, digits, `-` and `_`: nothing in them is ever escaped.
fn parse(form: &[u8]) -> Option<Sent> {
    let form = std::str::from_utf8(form).ok()?;
    let field = |name: &str| {
        form.split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(n, value)| (n == name).then_some(value))
    };
    let usage = [PageUse::Continue, PageUse::Review]
        .into_iter()
        .find(|usage| field(USE) == Some(word(*usage)))?;
    Some(Sent {
        usage,
        seal: field(SEAL)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use link::Verdict;

    use super::*;

    #[test]
    fn only_forms_of_ours_are_read() {
        let sent = |usage| Sent {
            usage,
            seal: "a-_9".into(),
        };
        assert_eq!(parse(b"use=continue&seal=a-_9"), Some(sent(PageUse::Continue)));
        assert_eq!(parse(b"x=1&seal=a-_9&use=review"), Some(sent(PageUse::Review)));
        for bad in [
            "",
            "use=continue",
            "seal=x",
            "use=go&seal=x",
            "use=continue;seal=x",
            "\u{0}",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"use=continue&seal=\xff"), None);
    }

    #[test]
    fn a_form_counts_once_for_each_button() {
        let ring = KeyRing::generate([7; 32], 0);
        let page = Page {
            at_s: 1000,
            verdict: Verdict::Warn,
            event_id: [1; 16],
        };
        let used = Used::new();
        let sent = |usage| Sent {
            usage,
            seal: ring.seal_page(usage, "t", &page),
        };
        let go = sent(PageUse::Continue);
        assert_eq!(used.take(&ring, "other", &go, 1001), Err(FormResult::Refused));
        assert_eq!(used.take(&ring, "t", &go, 100_000), Err(FormResult::Expired));
        // What did not count has not used it up.
        assert_eq!(used.take(&ring, "t", &go, 1001), Ok(page));
        assert_eq!(used.take(&ring, "t", &go, 1001), Err(FormResult::Used));
        assert_eq!(used.take(&ring, "t", &sent(PageUse::Review), 1001), Ok(page));
    }
}
