//! The click address as a browser, a proxy and an attacker meet it: a real server, and bytes as they come off the wire.

mod checks;
mod forms;
mod modes;
mod pages;
mod protection;
mod script;
mod seams;
pub(crate) mod server;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use link::{ClickPolicy, KeyRing, Style, Target, wrap_link};
use linkgate::cli::clicks::{self, ClicksArgs, ClicksFormat};
use linkgate::config::ClientIp;
use linkgate::http::HttpLimits;
use proptest::test_runner::{RngAlgorithm, TestRng};
use store::{ClickQuery, Method, Outcome, ReferenceRow};

use self::server::{Answer, Server, Setup, ask, connect, next_answer, talk};
use crate::ledger::store::raw;

#[test]
fn the_redirect_leads_exactly_to_the_target() {
    // Some of them look strange enough for a warning.
    let policy = ClickPolicy {
        warn_score: 0,
        ..ClickPolicy::default()
    };
    let server = Setup {
        policy,
        ..Setup::default()
    }
    .start();
    let targets = [
        "https://shop.example/",
        "http://shop.example:8080/a/b;c=d?e=f&g=h#frag/ment?x",
        "https://shop.example/%2F%2e%2E/%e4?q=%20+%2B%26&r=a%0d%0aSet-Cookie:x",
        "https://user:p%40ss@shop.example/'()*,!$~",
        "https://xn--bcher-kva.example/?%C3%BC",
        "https://[2001:db8::1]:8443/x",
        "https://192.0.2.7/x",
        "https://shop.example/a//b/?u=https://other.example/%3Fa%3Db#:~:text=x",
        "ftp://files.example/pub/x.zip",
        r#"https://shop.example/?a={"b":[1|2]}^`\"#,
        "https://b\u{fc}cher.example/\u{20ac} \u{1f600}?\u{e4}=\u{f6}#\u{fc}",
    ];
    for target in targets {
        let answer = server.get(&server.path(target));
        let want = Target::parse(target).unwrap();
        assert_eq!(answer.status, 302, "{target}");
        assert_eq!(answer.field("location"), Some(want.as_str()), "{target}");
        assert_eq!(
            (answer.field("content-length"), answer.body.as_str()),
            (Some("0"), ""),
            "{target}"
        );
    }
    let urls: Vec<_> = server.rows().into_iter().map(|row| row.url).collect();
    assert_eq!(urls, targets.map(|t| Target::parse(t).unwrap().as_str().to_owned()));
}

#[test]
fn a_click_is_stored_whole_before_its_redirect_is_seen() {
    let server = Server::start();
    let agent = format!("User-Agent: Browser/1.0 ({})\r\n", "x".repeat(600));
    let path = server.path("https://shop.example/offer?x=1#y");
    // A connection of its own, as another program would have: what it sees has been committed.
    let other = raw(&server.settings.store);
    for n in 1..=3 {
        assert_eq!(server.ask("GET", &path, &agent).status, 302);
        assert_eq!(other.count("click"), n);
    }
    let row = server.rows().remove(0);
    assert_eq!(row.user.as_deref(), Some("anna@example.com"));
    assert_eq!(
        (row.url.as_str(), row.host.as_str()),
        ("https://shop.example/offer?x=1#y", "shop.example")
    );
    assert_eq!(
        (row.mail_id.as_str(), row.sender.as_str()),
        ("mail-1", "news@shop.example")
    );
    assert_eq!(
        (row.policy_domain.as_str(), row.client_ip.as_deref()),
        ("example.com", Some("127.0.0.0/24"))
    );
    assert_eq!((row.method, row.user_agent.len()), (Method::Get, 512));
    let now_us = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    assert!((now_us - 60_000_000..=now_us).contains(&row.at_us));

    let args = ClicksArgs {
        query: ClickQuery {
            user: Some("Anna@example.com".into()),
            ..ClickQuery::default()
        },
        format: ClicksFormat::Json,
    };
    let mut out = Vec::new();
    let other = store::Reader::open(&server.settings.store).unwrap();
    clicks::run(&other, &args, &mut out, &mut std::io::sink()).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["url"], "https://shop.example/offer?x=1#y");
    assert_eq!(lines[0]["event_id"], row.event_id.to_string());
}

#[test]
fn head_is_answered_as_get_is_without_a_body() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    // Whoever asks with HEAD is a machine; so is this one.
    let machine = "User-Agent: Slackbot-LinkExpanding 1.0\r\n";
    let fields = |answer: &Answer| {
        let mut lines: Vec<_> = answer
            .head
            .lines()
            .filter(|l| !l.starts_with("date"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    for path in [path.as_str(), "/nothing"] {
        let (get, head) = (server.ask("GET", path, machine), server.ask("HEAD", path, ""));
        assert_eq!(fields(&get), fields(&head));
        assert_eq!(head.body, "");
    }
    assert_eq!(
        server.rows().iter().map(|r| (r.method, r.outcome)).collect::<Vec<_>>(),
        [(Method::Get, Outcome::Neutral), (Method::Head, Outcome::Neutral)]
    );
}

#[test]
fn links_open_with_and_without_the_path_of_the_public_url_and_with_what_linkers_append() {
    for style in [Style::Readable, Style::Short] {
        let server = Setup {
            style,
            ..Setup::default()
        }
        .start();
        let path = server.path("https://shop.example/a");
        let bare = path.strip_prefix("/safe").unwrap();
        assert_eq!(bare.matches('/').count(), if style == Style::Readable { 3 } else { 2 });
        for path in [path.as_str(), bare] {
            for tail in ["", ").", "%E3%80%82", "?utm_source=x", "#x", "/more"] {
                let answer = server.get(&format!("{path}{tail}"));
                assert_eq!(answer.field("location"), Some("https://shop.example/a"), "{path}{tail}");
            }
        }
    }
}

#[test]
fn every_answer_guards_the_token_and_stays_out_of_caches() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    for answer in [
        server.get(&path),
        server.get("/"),
        server.ask("POST", &path, "Content-Length: 0\r\n"),
    ] {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-robots-tag", "noindex, nofollow"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{}", answer.head);
        }
        let policy = answer.field("content-security-policy").unwrap();
        let parts = ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"];
        // Browsers hold a word on forms against all that follows a form, so pages with one have none.
        let forms = (!answer.body.contains("<form")).then_some("form-action 'none'");
        for part in parts.into_iter().chain(forms) {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!((answer.field("server"), answer.field("set-cookie")), (None, None));
    }
}

#[test]
fn other_methods_are_refused_and_never_redirect() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "MADE-UP"] {
        let answer = server.ask(method, &path, "Content-Length: 0\r\n");
        assert_eq!(
            (answer.status, answer.field("allow")),
            (405, Some("GET, HEAD, POST")),
            "{method}"
        );
        assert_eq!(answer.field("location"), None);
    }
    assert_eq!(server.rows(), []);
}

#[test]
fn what_is_not_ours_gets_one_page_that_says_nothing() {
    let server = Server::start();
    let path = server.path("https://shop.example/secret");
    let (head, token) = path.rsplit_once('/').unwrap();
    let other_ring = KeyRing::generate([8; 32], 0);
    let target = Target::parse("https://evil.example/").unwrap();
    let foreign = wrap_link(
        &other_ring.sealer(&Server::claims()),
        &server.settings.click.base,
        &target,
        None,
        0,
    );
    let paths = [
        "/".to_owned(),
        "/favicon.ico".to_owned(),
        "/healthz".to_owned(),
        "/safe/c/".to_owned(),
        "/safe/c/evil.example/".to_owned(),
        format!("/safe/c/evil.example/{token}"),
        format!("/safe/c/SHOP.example.evil.example/{token}"),
        format!("/other{path}"),
        format!("{head}/{}", &token[..token.len() - 2]),
        format!("{head}/{}", &token[2..]),
        format!("{head}/{}", token.to_lowercase()),
        format!("{head}/https://evil.example/"),
        "/safe/c/https:%2F%2Fevil.example/x".to_owned(),
        "//evil.example/%2f..".to_owned(),
        "/safe/c/evil.example/%0d%0aLocation:%20https://evil.example/".to_owned(),
        "/safe/c/%3Cscript%3Ealert(1)%3C/script%3E/x".to_owned(),
        foreign
            .click_url
            .strip_prefix("https://click.example.com")
            .unwrap()
            .to_owned(),
    ];
    let page = server.get("/nothing").body;
    assert!(page.contains("This link cannot be opened") && page.contains("<html lang=\"en\""));
    for path in &paths {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.field("location")), (404, None), "{path}");
        assert_eq!(answer.body, page, "{path}");
    }
    // A target in absolute form, as sent to a proxy, leads nowhere either.
    assert_eq!(server.get("http://evil.example/").status, 404);
    assert_eq!(server.rows(), []);
    assert_eq!((server.counts().redirected, server.counts().target_missing), (0, 0));
}

#[test]
fn ten_thousand_tokens_with_one_bit_changed_lead_nowhere() {
    let server = Server::start();
    let path = server.path("https://shop.example/a/rather/ordinary?link=1");
    let from = path.rfind('/').unwrap() + 1;
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut stream = connect(server.address);
    let mut asked = 0;
    while asked < 10_000 {
        // Requests in bunches: an HTTP client may send the next before it has the answer.
        let mut bunch = Vec::new();
        let mut sent = 0;
        while sent < 50 {
            use proptest::prelude::Rng;
            let at = from + random.next_u32() as usize % (path.len() - from);
            let mut forged = path.clone().into_bytes();
            forged[at] ^= 1 << (random.next_u32() % 7);
            // What cannot stand in a request's path would break the request, not the token.
            if forged[at].is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%?#".contains(&forged[at]) {
                bunch.extend_from_slice(b"GET ");
                bunch.extend_from_slice(&forged);
                bunch.extend_from_slice(b" HTTP/1.1\r\nHost: x\r\n\r\n");
                sent += 1;
            }
        }
        stream.write_all(&bunch).unwrap();
        let mut text = String::new();
        let mut chunk = [0; 65536];
        while text.matches("</html>").count() < sent {
            let n = stream.read(&mut chunk).unwrap();
            assert_ne!(n, 0, "closed: {text}");
            text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
        }
        assert_eq!(text.matches("HTTP/1.1 404 ").count(), sent);
        assert!(!text.to_ascii_lowercase().contains("location:"));
        asked += sent;
    }
    assert_eq!(server.rows(), []);
    assert_eq!(server.counts().redirected, 0);
    assert_eq!(server.get(&path).status, 302, "the genuine one still opens");
}

#[test]
fn long_targets_come_from_the_store_and_only_as_they_were_sealed() {
    let server = Server::start();
    let target = format!("https://shop.example/long?{}#end", "q=%2F&".repeat(500));
    let wrapped = server.wrap(&target);
    let path = wrapped.click_url.strip_prefix("https://click.example.com").unwrap();
    let reference = wrapped.reference.unwrap();

    let missing = server.get(path);
    assert_eq!((missing.status, missing.field("location")), (404, None));
    assert_eq!((server.counts().target_missing, server.counts().refused), (1, 0));

    let row = ReferenceRow {
        id: reference.id,
        target: reference.target,
        written: reference.written,
        mail_id: "mail-1".to_owned(),
        created_at_us: 0,
    };
    server
        .runtime
        .as_ref()
        .unwrap()
        .block_on(server.ledger.store_references(vec![row]))
        .unwrap();
    assert_eq!(server.get(path).field("location"), Some(target.as_str()));
    assert_eq!(server.rows()[0].url, target);

    // Whoever can write to the store still cannot make a link lead elsewhere.
    raw(&server.settings.store).run("UPDATE reference SET target = 'https://evil.example/'");
    let changed = server.get(path);
    assert_eq!((changed.status, changed.field("location")), (404, None));
    assert_eq!(server.rows().len(), 1);
}

#[test]
fn clients_behind_trusted_proxies_are_told_by_them_alone() {
    let path_of = |server: &Server| server.path("https://shop.example/");
    let fields = "X-Forwarded-For: 198.51.100.66, 203.0.113.9\r\n";
    let cases = [
        (vec![], ClientIp::Full, Some("127.0.0.1")),
        (vec!["127.0.0.0/8"], ClientIp::Full, Some("203.0.113.9")),
        (
            vec!["127.0.0.0/8", "203.0.113.0/24"],
            ClientIp::Truncated,
            Some("198.51.100.0/24"),
        ),
        (vec!["127.0.0.0/8"], ClientIp::None, None),
    ];
    for (trusted, client_ip, want) in cases {
        let server = Setup {
            trusted: trusted.clone(),
            client_ip,
            ..Setup::default()
        }
        .start();
        assert_eq!(server.ask("GET", &path_of(&server), fields).status, 302);
        assert_eq!(server.rows()[0].client_ip.as_deref(), want, "{trusted:?}");
    }
    let server = Setup {
        trusted: vec!["127.0.0.0/8"],
        client_ip: ClientIp::Truncated,
        ..Setup::default()
    }
    .start();
    server.ask(
        "GET",
        &path_of(&server),
        "Forwarded: for=\"[2001:db8:7:8::9]:1234\";proto=https\r\n",
    );
    assert_eq!(server.rows()[0].client_ip.as_deref(), Some("2001:db8:7::/48"));
}

#[test]
fn two_hundred_clicks_at_once_are_all_stored() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    std::thread::scope(|s| {
        let asking: Vec<_> = (0..200).map(|_| s.spawn(|| server.get(&path).status)).collect();
        for one in asking {
            assert_eq!(one.join().unwrap(), 302);
        }
    });
    assert_eq!(server.rows().len(), 200);
    assert_eq!(server.counts().redirected, 200);
}

#[test]
fn a_store_that_is_locked_delays_nobody_for_long_and_loses_no_click() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    let other = raw(&server.settings.store);
    other.run("BEGIN IMMEDIATE");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.get(&path).status, 302);
    }
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "20 clicks took {:?}",
        began.elapsed()
    );
    let unstored = server.ledger.unstored();
    assert_eq!((unstored.spilled, unstored.lost), (20, 0));
    let health = ask(server.admin, "GET", "/healthz", "");
    assert!(
        health.status == 200 && health.body.contains("failing: locked"),
        "{}",
        health.body
    );

    other.run("ROLLBACK");
    server.until_stored(20);
    assert_eq!(server.rows().len(), 20, "a click was stored twice");
}

#[test]
fn a_click_counts_even_if_the_reader_does_not_wait_for_the_answer() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    let other = raw(&server.settings.store);
    other.run("BEGIN IMMEDIATE");
    let mut stream = connect(server.address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Long enough for the request to be read, not for the lock to be given up on.
    std::thread::sleep(Duration::from_millis(50));
    drop(stream);
    let end = Instant::now() + Duration::from_secs(10);
    while server.ledger.unstored().spilled == 0 {
        assert!(Instant::now() < end, "{:?}", server.ledger.unstored());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn clicks_put_beside_a_locked_store_are_stored_by_the_next_run() {
    let setup = Setup::default();
    let server = setup.clone().start();
    let store = server.settings.store.clone();
    let other = raw(&store);
    other.run("BEGIN IMMEDIATE");
    for n in 0..5 {
        assert_eq!(
            server.get(&server.path(&format!("https://shop.example/{n}"))).status,
            302
        );
    }
    drop(server);
    other.run("ROLLBACK");
    assert_eq!(raw(&store).count("click"), 0, "the lock did not hold");

    let server = setup.start();
    server.until_stored(5);
    let urls: Vec<_> = server.rows().into_iter().map(|r| r.url).collect();
    assert_eq!(
        urls,
        (0..5).map(|n| format!("https://shop.example/{n}")).collect::<Vec<_>>()
    );
}

#[test]
fn connections_are_kept_and_end_when_the_server_does() {
    let server = Server::start();
    let path = server.path("https://shop.example/");
    let mut stream = connect(server.address);
    for _ in 0..3 {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(next_answer(&mut stream).status, 302);
    }
    server.stop.send(true).unwrap();
    let began = Instant::now();
    assert_eq!(
        stream.read(&mut [0; 16]).unwrap(),
        0,
        "an idle connection outlived the server"
    );
    assert!(began.elapsed() < Duration::from_secs(2));
    while TcpStream::connect(server.address).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "it still listens");
    }
}

#[test]
fn slow_large_and_many_heads_are_bounded() {
    let limits = HttpLimits {
        connections: 2,
        head: Duration::from_millis(300),
        ..HttpLimits::default()
    };
    let server = Setup {
        limits,
        ..Setup::default()
    }
    .start();
    let path = server.path("https://shop.example/");

    let began = Instant::now();
    let answer = talk(server.address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    assert!(
        began.elapsed() < Duration::from_secs(5) && !answer.starts_with(b"HTTP/1.1 200"),
        "{answer:?}"
    );

    let large = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let answer = Answer::of(&talk(server.address, large.as_bytes()));
    assert_eq!((answer.status, answer.field("location")), (431, None));
    let many = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(200));
    assert_eq!(Answer::of(&talk(server.address, many.as_bytes())).status, 431);

    // Two that say nothing hold both places; they lose them, and then a third is served.
    let idle = [connect(server.address), connect(server.address)];
    assert_eq!(server.get(&path).status, 302);
    drop(idle);
}

#[test]
fn health_is_told_on_the_admin_address_alone() {
    let server = Server::start();
    let health = ask(server.admin, "GET", "/healthz", "");
    assert_eq!(health.status, 200);
    assert!(
        health.body.starts_with("ok\n") && health.body.contains("store: writing\n"),
        "{}",
        health.body
    );
    assert_eq!(health.field("cache-control"), Some("no-store"));
    assert_eq!(
        ask(server.admin, "GET", &server.path("https://shop.example/"), "").status,
        404
    );
    assert_eq!(server.get("/healthz").status, 404);
    assert_eq!(server.address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
}
