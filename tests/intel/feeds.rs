//! Lists that are fetched by HTTP.

use std::process::{Command, Stdio};

use linkgate::config::Secret;
use linkgate::metrics::{Refresh, SourceAnswer, SourceHealth};

use super::feed::{Feed, Reply, ok, status};
use super::nameserver::{Answer, NameServer};
use super::*;
use crate::rig::tls::Certificate;

const BAD: &str = "http://evil.example/login";

/// A list of so many URLs, of which `BAD` is one.
fn urls(n: usize) -> String {
    let rest = (1..n).map(|i| format!("http://host{i}.example/page\n"));
    format!("{BAD}\n{}", rest.collect::<String>())
}

fn stand(feed: &Feed) -> Stand {
    Stand::new(vec![list("feed", ListKind::Urls, &feed.url("/feed.txt"))])
}

/// Two more answers were taken in.
fn two_more(stand: &Stand, result: Refresh) {
    let counts = stand.counts("feed");
    let before = counts.refreshes(result);
    eventually(&format!("two answers that are {result:?}"), || {
        counts.refreshes(result) >= before + 2
    });
}

#[test]
fn a_list_is_fetched_again_only_when_it_has_changed() {
    let feed = Feed::new(|head| {
        if head.contains("if-none-match: \"v1\"") {
            status("304 Not Modified", "")
        } else {
            ok(
                "etag: \"v1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                urls(10),
            )
        }
    });
    let stand = stand(&feed);
    let said = stand.local(BAD);
    assert_eq!(said.len(), 1, "no copy yet is not the same as not listed");
    assert_ne!(said[0].finding, Finding::NotListed);
    stand.until_listed(BAD);
    let generation = stand.intel.generation();
    two_more(&stand, Refresh::Unchanged);
    assert_eq!(stand.intel.generation(), generation);
    assert_eq!(stand.counts("feed").refreshes(Refresh::Updated), 1);
    assert_eq!(stand.counts("feed").entries(), 10);
    assert!(stand.counts("feed").is(SourceHealth::Up));
    let requests = feed.requests();
    assert!(!requests[0].contains("if-"), "{}", requests[0]);
    assert!(
        requests[1].contains("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"),
        "{}",
        requests[1]
    );
    let agent = format!("user-agent: linkgate/{} (admin@us.example)", env!("CARGO_PKG_VERSION"));
    assert!(requests[0].contains(&agent), "{}", requests[0]);
    // What it says of a URL.
    let wanted = listing(Category::Unspecified, Scope::Url, Weight::Block);
    assert_eq!(stand.local(BAD)[0].finding, wanted);
    assert_eq!(stand.local(BAD)[0].source, "feed");
    assert_eq!(stand.local("http://evil.example/other"), []);
    assert!(stand.counts("feed").answers(SourceAnswer::Listed) > 0);
    assert!(stand.counts("feed").answers(SourceAnswer::NotListed) > 0);
}

#[test]
fn the_same_octets_are_no_change_even_without_an_etag() {
    let feed = Feed::always(ok("", urls(10)));
    let stand = stand(&feed);
    stand.until_listed(BAD);
    let generation = stand.intel.generation();
    two_more(&stand, Refresh::Unchanged);
    assert_eq!(stand.intel.generation(), generation);
}

#[test]
fn redirects_are_followed_and_the_key_stays_at_home() {
    let mirror = Feed::always(ok("", urls(10)));
    let to = mirror.url("/copy.txt");
    let feed = Feed::new(move |head| {
        if head.starts_with("GET /moved ") {
            status("302 Found", &format!("location: {to}\r\n"))
        } else {
            status("301 Moved Permanently", "location: /moved\r\n")
        }
    });
    let stand = Stand::new(vec![Source {
        key: Secret::new("s3cret"),
        ..list("feed", ListKind::UrlhausCsv, &feed.url("/feed.txt"))
    }]);
    eventually("the mirror to be asked", || !mirror.requests().is_empty());
    for request in &feed.requests()[..2] {
        assert!(request.contains("auth-key: s3cret"), "{request}");
    }
    assert!(!mirror.requests()[0].contains("s3cret"), "{}", mirror.requests()[0]);
    drop(stand);
}

#[test]
fn redirects_have_an_end_and_lead_to_http_only() {
    for location in [
        "/again",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/",
    ] {
        let feed = Feed::always(status("302 Found", &format!("location: {location}\r\n")));
        let stand = stand(&feed);
        eventually(location, || stand.counts("feed").refreshes(Refresh::Failed) >= 1);
        assert!(feed.requests().len() <= 6 * 3, "{location}");
        assert!(stand.counts("feed").is(SourceHealth::Failing));
    }
}

/// A feed must not be a way to ask servers that only this machine or its network reaches.
#[test]
fn a_feed_on_the_public_network_redirects_to_nowhere_else() {
    // Whatever addresses names of feeds have here: a name alone is taken for one of the public network.
    let names = NameServer::new(|_| Answer::Addresses(vec![[127, 0, 0, 1]]));
    let inner = Feed::always(ok("", urls(10)));
    let port = inner.port();
    for to in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://inner.example:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let location = format!("location: {to}\r\n");
        let feed = Feed::always(status("302 Found", &location));
        let url = format!("http://feed.example:{}/feed.txt", feed.port());
        let stand = Stand::with(vec![list("feed", ListKind::Urls, &url)], |checks| {
            checks.dns_servers = vec![names.address];
        });
        eventually(&to, || stand.counts("feed").refreshes(Refresh::Failed) > 0);
        assert!(!feed.requests().is_empty(), "{to}");
        assert_eq!(inner.requests().len(), 0, "{to}");
    }
}

#[test]
fn a_key_that_is_refused_leaves_the_copy_of_before_in_force() {
    let feed = Feed::new(|head| {
        if head.contains("?key=s3%2Fcret") {
            ok("", urls(10))
        } else {
            status("404 Not Found", "")
        }
    });
    let stand = Stand::new(vec![Source {
        key: Secret::new("s3/cret"),
        ..list("feed", ListKind::Urls, &feed.url("/feed.txt?key={key}"))
    }]);
    stand.until_listed(BAD);
    for refusal in ["401 Unauthorized", "403 Forbidden", "500 Internal Server Error"] {
        feed.now(status(refusal, ""));
        let before = stand.counts("feed").refreshes(Refresh::Failed);
        eventually(refusal, || stand.counts("feed").refreshes(Refresh::Failed) > before);
        assert!(stand.is_listed(BAD), "{refusal}");
        feed.now(ok("", urls(10)));
        eventually("it to recover", || stand.counts("feed").is(SourceHealth::Up));
    }
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let feed = Feed::always(status("429 Too Many Requests", "retry-after: 2\r\n"));
    let stand = stand(&feed);
    eventually("the first answer", || {
        stand.counts("feed").refreshes(Refresh::Failed) == 1
    });
    let answered = Instant::now();
    eventually("the second request", || feed.requests().len() == 2);
    assert!(
        answered.elapsed() > Duration::from_millis(1900),
        "{:?}",
        answered.elapsed()
    );
}

#[test]
fn copies_with_something_wrong_are_refused_and_the_one_before_stays() {
    let feed = Feed::always(ok("", urls(100)));
    let stand = stand(&feed);
    stand.until_listed(BAD);
    let html = "<!doctype html><title>Down for maintenance</title>";
    let broken = format!(
        "{}not a url at all\n###\n",
        urls(100).replace("http://host1.", "\u{1}ht tp://[")
    );
    let garbage = (0..100)
        .map(|i| format!("this is {i} % nonsense\n"))
        .collect::<String>();
    let protected = format!("{}http://good.example/\n", urls(100));
    let half = Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{}", urls(50)).into_bytes());
    for (what, reply, result) in [
        ("shrunk", ok("", urls(49)), Refresh::Refused),
        ("empty", ok("", ""), Refresh::Refused),
        ("garbage", ok("", &garbage), Refresh::Refused),
        ("broken", ok("", broken.repeat(2)), Refresh::Refused),
        ("protected", ok("", &protected), Refresh::Refused),
        (
            "a page",
            ok("content-type: text/html; charset=utf-8\r\n", html),
            Refresh::Failed,
        ),
        ("half", half, Refresh::Failed),
    ] {
        let before = stand.counts("feed").refreshes(result);
        feed.now(reply);
        eventually(what, || stand.counts("feed").refreshes(result) > before);
        assert!(stand.counts("feed").is(SourceHealth::Failing), "{what}");
        assert!(
            stand.is_listed(BAD) && stand.is_listed("http://host99.example/page"),
            "{what}"
        );
        assert_eq!(stand.counts("feed").entries(), 100, "{what}");
        assert_eq!(stand.local("http://good.example/"), [], "{what}");
        feed.now(ok("", urls(100)));
        eventually("it to recover", || stand.counts("feed").is(SourceHealth::Up));
    }
    // Half is not less than half.
    feed.now(ok("", urls(50)));
    eventually("a list that shrank a little", || stand.counts("feed").entries() == 50);
}

#[test]
fn what_is_too_large_is_refused_also_when_it_is_packed() {
    let large = urls(100_000);
    assert!(large.len() > 2 << 20);
    let packed = gzip(large.as_bytes());
    assert!(packed.len() < 1 << 20);
    let small = |source: Source| Source {
        max_size: 1 << 20,
        ..source
    };
    for reply in [ok("", &large), ok("content-encoding: gzip\r\n", &packed)] {
        let feed = Feed::always(reply);
        let stand = Stand::new(vec![small(list("feed", ListKind::Urls, &feed.url("/")))]);
        eventually("a failure", || stand.counts("feed").refreshes(Refresh::Failed) > 0);
        assert!(!stand.is_listed(BAD));
    }
    let feed = Feed::always(ok("content-encoding: gzip\r\n", &packed));
    let stand = stand(&feed);
    stand.until_listed("http://host99999.example/page");
    assert!(feed.requests()[0].contains("accept-encoding: "));
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let octets = octets.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &octets).unwrap());
    let out = gzip.wait_with_output().unwrap();
    writer.join().unwrap();
    out.stdout
}

#[test]
fn a_server_that_hangs_delays_nobody() {
    let hanging: Vec<Feed> = (0..6).map(|_| Feed::always(Reply::Hang)).collect();
    let feed = Feed::always(ok("", urls(10)));
    let mut sources: Vec<Source> = (0..6)
        .map(|i| list(&format!("hanging{i}"), ListKind::Urls, &hanging[i].url("/")))
        .collect();
    sources.push(list("feed", ListKind::Urls, &feed.url("/")));
    let stand = Stand::new(sources);
    stand.until_listed(BAD);
    two_more(&stand, Refresh::Unchanged);
    let start = Instant::now();
    let said = stand.local(BAD);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let not_asked = said.iter().filter(|e| matches!(e.finding, Finding::CouldNotAsk(_)));
    assert_eq!(not_asked.count(), 6, "{said:?}");
}

#[test]
fn after_a_restart_the_last_good_copy_is_in_force_while_the_feed_is_dead() {
    let feed = Feed::always(ok("etag: \"v1\"\r\n", urls(10)));
    let url = feed.url("/feed.txt");
    let first = stand(&feed);
    first.until_listed(BAD);
    // Copies with something wrong are not kept.
    feed.now(ok("", ""));
    two_more(&first, Refresh::Refused);
    let dir = Arc::clone(&first.dir);
    drop(first);
    drop(feed);
    let stand = Stand::again(&dir, vec![list("feed", ListKind::Urls, &url)]);
    stand.until_listed(BAD);
    eventually("a failure", || stand.counts("feed").refreshes(Refresh::Failed) > 0);
    assert!(stand.is_listed(BAD));
    assert!(stand.counts("feed").age(std::time::SystemTime::now()).is_some());
    drop(stand);
    // The same name for another list: its copy is not that of this one.
    let stand = Stand::again(&dir, vec![list("feed", ListKind::Urls, "http://127.0.0.1:9/other")]);
    eventually("a failure", || stand.counts("feed").refreshes(Refresh::Failed) > 0);
    assert!(!stand.is_listed(BAD));
}

#[test]
fn a_kept_copy_that_is_fresh_spares_its_server_a_request_and_is_asked_for_conditionally() {
    let feed = Feed::new(|head| {
        if head.contains("if-none-match: \"v1\"") {
            status("304 Not Modified", "")
        } else {
            ok("etag: \"v1\"\r\n", urls(10))
        }
    });
    let first = stand(&feed);
    first.until_listed(BAD);
    eventually("it to be kept", || first.dir.path().join("lists/feed.list").exists());
    let dir = Arc::clone(&first.dir);
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    let before = feed.requests().len();
    let hourly = Source {
        refresh: Duration::from_secs(3600),
        ..list("feed", ListKind::Urls, &feed.url("/feed.txt"))
    };
    let stand = Stand::again(&dir, vec![hourly.clone()]);
    stand.until_listed(BAD);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(feed.requests().len(), before);
    drop(stand);
    let kept = std::fs::File::options()
        .write(true)
        .open(dir.path().join("lists/feed.list"))
        .unwrap();
    kept.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    let stand = Stand::again(&dir, vec![hourly]);
    eventually("a conditional request", || {
        stand.counts("feed").refreshes(Refresh::Unchanged) == 1
    });
    assert!(stand.counts("feed").age(std::time::SystemTime::now()).unwrap() < Duration::from_secs(60));
}

#[test]
fn a_kept_copy_that_is_damaged_is_left_alone() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("lists")).unwrap();
    std::fs::write(dir.path().join("lists/feed.list"), b"\xff\x00 what is this").unwrap();
    let feed = Feed::always(ok("", urls(10)));
    let stand = Stand::again(&dir, vec![list("feed", ListKind::Urls, &feed.url("/feed.txt"))]);
    stand.until_listed(BAD);
}

#[test]
fn sources_with_terms_are_off_until_the_use_is_stated() {
    let feed = Feed::always(ok("", urls(10)));
    let sources = || vec![list("phish", ListKind::Openphish, &feed.url("/"))];
    let stand = Stand::with(sources(), |checks| checks.usage = Usage::Unstated);
    assert!(stand.counts("phish").is(SourceHealth::Off));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((feed.requests().len(), stand.local(BAD).len()), (0, 0));
    // Stated by a reload.
    stand.reload(sources());
    stand.until_listed(BAD);
    eventually("it to be up", || stand.counts("phish").is(SourceHealth::Up));
    let wanted = listing(Category::Phishing, Scope::Url, Weight::Block);
    assert_eq!(stand.local(BAD)[0].finding, wanted);
    let commercial = Stand::with(sources(), |checks| checks.usage = Usage::Commercial);
    assert!(commercial.counts("phish").is(SourceHealth::Off));
    let licensed = Source {
        licensed: true,
        ..sources().remove(0)
    };
    let licensed = Stand::with(vec![licensed], |checks| checks.usage = Usage::Commercial);
    licensed.until_listed(BAD);
}

#[test]
fn a_misp_feed_is_fetched_event_by_event() {
    const UUID: &str = "11111111-2222-4333-8444-555555555555";
    let feed = Feed::new(|head| {
        if head.starts_with("GET /feed/manifest.json ") {
            ok(
                "",
                format!("{{\"{UUID}\": {{\"timestamp\": \"1700000000\", \"info\": \"x\"}}}}"),
            )
        } else if head.starts_with(&format!("GET /feed/{UUID}.json ")) {
            let attribute = |kind, value| format!("{{\"type\":\"{kind}\",\"value\":\"{value}\",\"to_ids\":true}}");
            let (url, domain) = (attribute("url", BAD), attribute("domain", "worse.example"));
            ok(
                "",
                format!(
                    "{{\"Event\": {{\n\"uuid\":\"{UUID}\",\"timestamp\":\"1700000000\",\r\n\"Attribute\": [{url},\n{domain}]}}}}"
                ),
            )
        } else {
            status("404 Not Found", "")
        }
    });
    let first = Stand::new(vec![list("misp", ListKind::Misp, &feed.url("/feed/manifest.json"))]);
    first.until_listed(BAD);
    assert!(first.is_listed("https://www.worse.example/") || first.is_listed("https://worse.example/x"));
    eventually("it to be kept", || first.dir.path().join("lists/misp.list").exists());
    // An event that has not changed is not fetched again.
    let unchanged = first.counts("misp").refreshes(Refresh::Unchanged);
    eventually("two more looks", || {
        first.counts("misp").refreshes(Refresh::Unchanged) >= unchanged + 2
    });
    let requests = feed.requests();
    let of_event = requests.iter().filter(|head| head.contains(UUID)).count();
    assert!(of_event < requests.len() - of_event, "{of_event} of {}", requests.len());
    assert!(of_event <= 2, "{of_event}");
    let (dir, url) = (Arc::clone(&first.dir), feed.url("/feed/manifest.json"));
    drop((first, feed));
    let stand = Stand::again(&dir, vec![list("misp", ListKind::Misp, &url)]);
    stand.until_listed(BAD);
}

#[test]
fn a_feed_behind_tls_is_judged_by_its_ca_file() {
    let certificate = Certificate::new("127.0.0.1");
    let feed = Feed::tls(&certificate, ok("", urls(10)));
    let url = format!("https://127.0.0.1:{}/feed.txt", feed.port());
    let trusted = Source {
        trust: Some(certificate.trust()),
        ..list("feed", ListKind::Urls, &url)
    };
    let stand = Stand::new(vec![trusted, list("other", ListKind::Urls, &url)]);
    stand.until_listed(BAD);
    eventually("the other to fail", || {
        stand.counts("other").refreshes(Refresh::Failed) > 0
    });
    assert_eq!(stand.counts("other").entries(), 0);
}
