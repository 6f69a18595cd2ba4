//! Safe Browsing and Web Risk, as their published fields have it.

use data_encoding::BASE64;
use linkgate::config::Secret;
use linkgate::metrics::SourceHealth;
use lists::safe_browsing;

use super::feed::{Feed, ok, status};
use super::*;

const BAD: &str = "http://evil.example/a/b.html?q=1";

fn service(kind: SourceKind, feed: &Feed) -> Source {
    Source {
        key: Secret::new("s3cret"),
        trust: Some(Trust::load(None).unwrap()),
        ..Source::new("google", kind, Origin::Url(feed.url("")))
    }
}

/// An answer that lists one expression of `BAD`, for so many seconds.
fn lists(expression: &str, seconds: u64) -> String {
    let url = lists::Canonical::of(BAD.as_bytes()).unwrap();
    let hashed = safe_browsing::hashes_v5(&url);
    let hash = hashed.iter().find(|h| h.expression == expression).unwrap().hash;
    let mut other = hash;
    other[31] ^= 1;
    format!(
        "{{\"fullHashes\":[{{\"fullHash\":\"{}\",\"fullHashDetails\":[{{\"threatType\":\"SOCIAL_ENGINEERING\"}},\
         {{\"threatType\":\"SOMETHING_NEW\"}}]}},{{\"fullHash\":\"{}\",\"fullHashDetails\":[{{\"threatType\":\"MALWARE\"}}]}}],\
         \"cacheDuration\":\"{seconds}s\"}}",
        BASE64.encode(&hash),
        BASE64.encode(&other)
    )
}

#[test]
fn safe_browsing_gets_prefixes_and_nothing_else() {
    let feed = Feed::always(ok("content-type: application/json\r\n", lists("evil.example/a/", 300)));
    let stand = Stand::new(vec![service(SourceKind::SafeBrowsing, &feed)]);
    let wanted = listing(Category::Phishing, Scope::Path, Weight::Block);
    for _ in 0..3 {
        let said = stand.remote(BAD);
        assert_eq!(said.iter().map(|e| &e.finding).collect::<Vec<_>>(), [&wanted]);
        assert_eq!(said[0].about, BAD);
    }
    let requests = feed.requests();
    assert_eq!(requests.len(), 1, "the answer holds for five minutes");
    assert!(requests[0].starts_with("GET /v5/hashes:search?"), "{}", requests[0]);
    assert!(
        requests[0].contains("\r\nx-goog-api-key: s3cret\r\n"),
        "{}",
        requests[0]
    );
    assert!(!requests[0].contains("evil"), "{}", requests[0]);
    assert!(stand.intel.is_google("google") && !stand.intel.is_google("other"));
    // Another page of the same host: only what is not known yet is asked for.
    let known = requests[0].matches("hashPrefixes=").count();
    stand.remote("http://evil.example/a/c.html");
    let second = &feed.requests()[1];
    assert!(second.matches("hashPrefixes=").count() < known, "{second}");
}

#[test]
fn an_answer_that_holds_for_no_time_is_asked_for_again() {
    let feed = Feed::always(ok("", "{\"cacheDuration\":\"0s\"}"));
    let stand = Stand::new(vec![service(SourceKind::SafeBrowsing, &feed)]);
    for _ in 0..2 {
        assert_eq!(stand.remote(BAD)[0].finding, Finding::NotListed);
    }
    assert_eq!(feed.requests().len(), 2);
}

#[test]
fn a_service_in_trouble_is_left_alone_and_never_says_not_listed() {
    for reply in [
        status("429 Too Many Requests", "retry-after: 120\r\n"),
        status("503 Service Unavailable", ""),
    ] {
        let feed = Feed::always(reply);
        let stand = Stand::new(vec![service(SourceKind::SafeBrowsing, &feed)]);
        for n in 0..10 {
            let said = stand.remote(&format!("http://h{n}.example/"));
            assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
        }
        assert!(stand.counts("google").is(SourceHealth::Open));
        assert_eq!(feed.requests().len(), 1);
    }
    for reply in [
        status("403 Forbidden", ""),
        ok("", "<html>"),
        ok("", "{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\"}}"),
        ok("", "x".repeat(2 << 20)),
    ] {
        let feed = Feed::always(reply);
        let stand = Stand::new(vec![service(SourceKind::SafeBrowsing, &feed)]);
        let said = stand.remote(BAD);
        assert!(
            matches!(&said[0].finding, Finding::CouldNotAsk(why) if !why.contains("s3cret")),
            "{said:?}"
        );
        assert!(stand.counts("google").is(SourceHealth::Failing));
    }
}

#[test]
fn web_risk_gets_the_url_and_its_listing_is_remembered() {
    let expires = jiff::Timestamp::now() + Duration::from_secs(600);
    let body = format!("{{\"threat\":{{\"threatTypes\":[\"MALWARE\"],\"expireTime\":\"{expires}\"}}}}");
    let feed = Feed::new(move |head| {
        if head.contains("evil") {
            ok("", &body)
        } else {
            ok("", "{}")
        }
    });
    let stand = Stand::new(vec![service(SourceKind::WebRisk, &feed)]);
    let wanted = listing(Category::Malware, Scope::Url, Weight::Block);
    for _ in 0..2 {
        assert_eq!(stand.remote("http://user:pw@evil.example/x#secret")[0].finding, wanted);
        assert_eq!(stand.remote("http://clean.example/")[0].finding, Finding::NotListed);
    }
    let requests = feed.requests();
    assert_eq!(requests.len(), 3, "the lack of a listing does not hold");
    assert!(requests[0].starts_with("GET /v1/uris:search?"), "{}", requests[0]);
    assert!(
        !requests[0].contains("pw") && !requests[0].contains("secret"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("x-goog-api-key: s3cret"), "{}", requests[0]);
}
