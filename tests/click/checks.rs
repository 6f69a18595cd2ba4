//! Checks that take their time: pages that wait, one check for many readers, what is kept, what fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{ClickPolicy, Contact, Finding, OnFailure, Vendor, Verdict, Weight, wrap_link};
use linkgate::config::{CheckLimits, ClickRules, DomainRules, Settings};
use linkgate::metrics::CheckStep;
use store::{AlertKind, AlertQuery, Outcome};

use super::script::{Script, listed};
use super::server::{BROWSER, Server, Setup};
use crate::ledger::store::raw;

/// Short enough for a test.
fn quick(settings: &mut Settings) {
    settings.check_limits = CheckLimits {
        silent: Duration::from_millis(150),
        hard: Duration::from_millis(900),
        per_link: 0,
        per_network: 0,
        ..CheckLimits::default()
    };
}

fn server(script: Script, policy: ClickPolicy) -> (Server, Arc<Script>) {
    let script = script.shared();
    let server = Setup {
        policy,
        sources: Some(script.clone()),
        tune: quick,
        ..Setup::default()
    }
    .start();
    (server, script)
}

fn steps(server: &Server, step: CheckStep) -> u64 {
    server.metrics().checks.get(step)
}

fn outcomes(server: &Server) -> Vec<Outcome> {
    server.rows().iter().map(|row| row.outcome).collect()
}

#[test]
fn a_slow_check_goes_on_behind_a_page_that_asks_again() {
    let slow = Script::remote(Duration::from_millis(700)).says_from_afar("bad.example", listed(Weight::Block));
    let (server, script) = server(slow, ClickPolicy::default());
    let path = server.path("https://bad.example/");
    let began = Instant::now();
    let page = server.get(&path);
    assert!(began.elapsed() < Duration::from_millis(650), "{:?}", began.elapsed());
    assert_eq!((page.status, page.field("location")), (200, None));
    assert!(
        page.body.contains("http-equiv=\"refresh\"") && page.body.contains(&path),
        "{}",
        page.body
    );
    assert!(!page.body.contains("<script"));
    // The page asks again, and joins the very check that was begun.
    let mut last = server.get(&path);
    while last.status == 200 {
        assert!(began.elapsed() < Duration::from_secs(5));
        last = server.get(&path);
    }
    assert_eq!(last.status, 403);
    assert_eq!(script.asked(), 1);
    assert_eq!(server.get(&path).status, 403, "kept for a while");
    assert_eq!((script.asked(), steps(&server, CheckStep::Cached)), (1, 1));
    let all = outcomes(&server);
    assert!(
        all.starts_with(&[Outcome::Checking]) && all.ends_with(&[Outcome::Blocked, Outcome::Blocked]),
        "{all:?}"
    );
}

#[test]
fn many_readers_wait_for_one_check() {
    let (server, script) = server(Script::remote(Duration::from_millis(100)), ClickPolicy::default());
    let path = server.path("https://shop.example/");
    std::thread::scope(|s| {
        let asking: Vec<_> = (0..50).map(|_| s.spawn(|| server.get(&path).status)).collect();
        for one in asking {
            assert_eq!(one.join().unwrap(), 302);
        }
    });
    assert_eq!(script.asked(), 1);
    assert_eq!(steps(&server, CheckStep::Started), 1);
    assert_eq!(
        steps(&server, CheckStep::Joined) + steps(&server, CheckStep::Cached),
        49
    );
}

#[test]
fn a_check_over_its_time_ends_as_the_policy_says() {
    for (on_failure, status) in [(OnFailure::Open, 302), (OnFailure::Warn, 200), (OnFailure::Closed, 200)] {
        let policy = ClickPolicy {
            on_failure,
            ..ClickPolicy::default()
        };
        let (server, script) = server(Script::remote(Duration::MAX), policy);
        let path = server.path("https://shop.example/");
        let began = Instant::now();
        let mut answer = server.get(&path);
        while server.rows().last().unwrap().outcome == Outcome::Checking {
            assert!(began.elapsed() < Duration::from_secs(30), "{on_failure:?}");
            answer = server.get(&path);
        }
        assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
        assert_eq!(answer.status, status, "{on_failure:?}");
        assert_eq!(answer.form("continue").is_some(), on_failure == OnFailure::Warn);
        let row = server.rows().pop().unwrap();
        assert_eq!(row.verdict, Some(Verdict::Unchecked));
        assert_eq!(
            (&*row.reasons[0].source, &*row.reasons[0].code),
            ("check", "could-not-ask")
        );
        // That nobody answered is remembered for a while: the next reader does not wait again.
        assert_eq!(steps(&server, CheckStep::Cached), 0);
        assert_eq!(server.get(&path).status, status);
        assert_eq!(steps(&server, CheckStep::Cached), 1);
        assert_eq!((script.asked(), steps(&server, CheckStep::OverTime)), (1, 1));
    }
}

#[test]
fn what_others_said_is_forgotten_when_a_list_or_the_settings_change() {
    let (mut server, script) = server(Script::remote(Duration::ZERO), ClickPolicy::default());
    let path = server.path("https://shop.example/");
    for _ in 0..3 {
        assert_eq!(server.get(&path).status, 302);
    }
    assert_eq!(script.asked(), 1);
    script.say("other.example", Some(listed(Weight::Block)));
    assert_eq!((server.get(&path).status, script.asked()), (302, 2));
    let mut settings = server.settings_again();
    quick(&mut settings);
    server.reload_with(settings);
    assert_eq!((server.get(&path).status, script.asked()), (302, 3));
    // A list in memory is asked at each click, whatever is kept.
    script.say("shop.example", Some(listed(Weight::Block)));
    assert_eq!(
        (server.get(&path).status, script.asked()),
        (403, 3),
        "and nobody else then"
    );
}

#[test]
fn nothing_is_kept_when_the_configuration_says_so_but_for_readers_who_come_again() {
    fn none(settings: &mut Settings) {
        quick(settings);
        settings.check_limits.cache = Duration::ZERO;
    }
    let script = Script::remote(Duration::from_millis(300)).shared();
    let server = Setup {
        sources: Some(script.clone()),
        tune: none,
        ..Setup::default()
    }
    .start();
    let path = server.path("https://shop.example/");
    assert_eq!(server.get(&path).status, 200);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((server.get(&path).status, script.asked()), (302, 1));
    script.take(Duration::ZERO);
    let other = server.path("https://other.example/");
    assert_eq!((server.get(&other).status, server.get(&other).status), (302, 302));
    assert_eq!(script.asked(), 3);
}

#[test]
fn no_more_checks_run_than_may() {
    fn two(settings: &mut Settings) {
        quick(settings);
        settings.check_limits.max_running = 2;
    }
    let script = Script::remote(Duration::from_millis(400)).shared();
    let server = Setup {
        sources: Some(script.clone()),
        tune: two,
        ..Setup::default()
    }
    .start();
    let paths: Vec<_> = (0..6)
        .map(|n| server.path(&format!("https://shop{n}.example/")))
        .collect();
    for path in &paths {
        server.get(path);
    }
    // on_failure is "open": whoever is too many goes on.
    assert!(steps(&server, CheckStep::Refused) >= 2, "{:?}", server.metrics().checks);
    assert!(
        server
            .rows()
            .iter()
            .any(|r| r.verdict == Some(Verdict::Unchecked) && r.reasons[0].detail.contains("too many checks"))
    );
}

#[test]
fn every_hop_of_a_chain_is_checked() {
    let policy = ClickPolicy {
        contact: Contact::Full,
        ..ClickPolicy::default()
    };
    let script = Script::remote(Duration::ZERO)
        .leads("start.example", &["https://middle.example/", "https://end.example/x"])
        .leads("two.example", &["https://far.example/"])
        .says("end.example", Some(listed(Weight::Block)))
        .says_from_afar("far.example", listed(Weight::Warn));
    let (server, script) = server(script, policy);
    let get = |url: &str| server.ask("GET", &server.path(url), BROWSER);
    assert_eq!(get("https://start.example/").status, 403);
    let row = server.rows().pop().unwrap();
    assert_eq!(row.chain, ["https://middle.example/", "https://end.example/x"]);
    assert_eq!(row.reasons[0].about, "https://end.example/x");
    assert_eq!(script.asked(), 3);
    assert_eq!(get("https://two.example/").status, 200);
    assert_eq!(server.rows().pop().unwrap().outcome, Outcome::Warned);
}

#[test]
fn a_revoked_target_is_blocked_whatever_a_bypass_rule_says() {
    let (mut server, script) = server(
        Script::new().says("shop.example", Some(listed(Weight::Block))),
        ClickPolicy::default(),
    );
    let path = server.path("https://shop.example/");
    assert_eq!(server.get(&path).status, 403);
    let mut settings = server.settings_again();
    let rules = DomainRules {
        bypass_urls: link::UrlRules::parse(&["shop.example"]).unwrap(),
        ..DomainRules::default()
    };
    settings.click_rules = ClickRules::new(rules, Default::default());
    server.reload_with(settings);
    assert_eq!(server.get(&path).status, 302);
    let row = server.rows().pop().unwrap();
    assert_eq!(
        (&*row.reasons[0].code, &*row.reasons[0].detail),
        ("bypassed", "shop.example")
    );
    script.revoke("shop.example");
    assert_eq!(server.get(&path).status, 403);
}

#[test]
fn a_click_link_inside_a_click_link_is_warned_of_and_alerted_once() {
    let (server, _) = server(Script::new(), ClickPolicy::default());
    let inner = server.wrap("https://shop.example/").click_url;
    let mut claims = Server::claims();
    claims.recipient = Some("bert@example.com".to_owned());
    let target = link::Target::parse(&inner).unwrap();
    let sealer = server.settings.keys.sealer(&claims);
    let wrapped = wrap_link(&sealer, &server.settings.click.base, &target, None, 0);
    let path = wrapped.click_url.strip_prefix("https://click.example.com").unwrap();
    for _ in 0..3 {
        let page = server.ask("GET", path, BROWSER);
        assert_eq!((page.status, page.field("location")), (200, None));
        assert!(page.form("continue").is_some());
    }
    let row = server.rows().remove(0);
    assert_eq!(row.outcome, Outcome::Warned);
    let codes: Vec<_> = row.reasons.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["own-link-inside", "other-recipient"]);
    assert_eq!(row.chain, ["https://shop.example/"]);
    server
        .runtime
        .as_ref()
        .unwrap()
        .block_on(server.ledger.flush())
        .unwrap();
    let alerts = server.ledger.store().reader().alerts(&AlertQuery::default()).unwrap();
    assert_eq!(alerts.iter().map(|a| a.kind).collect::<Vec<_>>(), [AlertKind::Smuggled]);
    assert!(
        alerts[0].detail.contains("own-link-inside, other-recipient"),
        "{}",
        alerts[0].detail
    );
}

#[test]
fn a_link_opened_from_many_networks_is_no_bare_redirect() {
    let server = Setup {
        trusted: vec!["127.0.0.0/8"],
        sources: Some(Script::new().shared()),
        ..Setup::default()
    }
    .start();
    let path = server.path("https://shop.example/");
    let statuses: Vec<_> = (1..=9)
        .map(|n| {
            let from = format!("{BROWSER}X-Forwarded-For: 198.51.{n}.7\r\n");
            server.ask("GET", &path, &from).status
        })
        .collect();
    assert_eq!(statuses, [302, 302, 302, 302, 302, 302, 302, 200, 200]);
    let row = server.rows().pop().unwrap();
    assert_eq!((row.outcome, &*row.reasons[0].code), (Outcome::Warned, "many-networks"));
}

#[test]
fn an_opaque_wrapper_is_unknown_and_a_readable_one_is_checked_inside() {
    fn ours(settings: &mut Settings) {
        quick(settings);
        settings.click_rules.own_wrappers = vec![Vendor::Mimecast];
    }
    let script = Script::new().says("bad.example", Some(listed(Weight::Block)));
    let server = Setup {
        sources: Some(script.shared()),
        tune: ours,
        ..Setup::default()
    }
    .start();
    let safe = "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fbad.example%2Fx&data=05%7C02%7Canna%40example.com%7Cabc&sdata=x&reserved=0";
    assert_eq!(server.get(&server.path(safe)).status, 403);
    let row = server.rows().pop().unwrap();
    assert_eq!(row.chain, ["https://bad.example/x"]);
    assert!(
        row.reasons
            .iter()
            .any(|r| r.about == "https://bad.example/x" && r.code == "phishing")
    );
    // What only its vendor can open: nobody can say where it leads, and nothing is made up.
    let opaque = "https://protect-eu.mimecast.com/s/AbCdEfGhIjKl";
    let page = server.get(&server.path(opaque));
    assert_eq!((page.status, page.field("location")), (200, None));
    assert!(page.form("continue").is_some());
    let row = server.rows().pop().unwrap();
    assert_eq!(
        (row.outcome, row.verdict),
        (Outcome::UnknownTarget, Some(Verdict::Unknown))
    );
    let told: Vec<_> = row.reasons.iter().map(|r| (&*r.code, &*r.detail)).collect();
    assert_eq!(told, [("target-unknown", "Mimecast")]);
    // A host that it says its target has proves nothing either way.
    let page = server.get(&server.path(&format!("{opaque}?domain=good.example")));
    assert_eq!((page.status, page.field("location")), (200, None));
    let row = server.rows().pop().unwrap();
    assert_eq!(row.outcome, Outcome::UnknownTarget);
}

#[test]
fn links_and_networks_have_rates() {
    fn few(settings: &mut Settings) {
        settings.check_limits.per_link = 3;
        settings.check_limits.per_network = 5;
    }
    let server = Setup {
        trusted: vec!["127.0.0.0/8"],
        sources: Some(Script::new().shared()),
        tune: few,
        ..Setup::default()
    }
    .start();
    let get = |url: &str, from: &str| {
        let fields = format!("X-Forwarded-For: {from}\r\n");
        server.ask("GET", &server.path(url), &fields)
    };
    for n in 0..3 {
        assert_eq!(get("https://a.example/", &format!("198.51.{n}.1")).status, 302);
    }
    let refused = get("https://a.example/", "198.51.9.1");
    assert_eq!((refused.status, refused.field("location")), (429, None));
    assert!(refused.field("retry-after").unwrap().parse::<u32>().unwrap() > 1);
    assert_eq!(get("https://a.example/", "198.51.9.1").status, 429);
    for n in 0..5 {
        let url = format!("https://b{n}.example/");
        assert_eq!(get(&url, &format!("203.0.113.{n}")).status, 302);
    }
    assert_eq!(get("https://c.example/", "203.0.113.77").status, 429);
    assert_eq!(get("https://c.example/", "203.0.114.77").status, 302);
    let refusals = outcomes(&server)
        .into_iter()
        .filter(|o| *o == Outcome::RefusedRate)
        .count();
    assert_eq!(refusals, 2, "the first of each burst");
    let counted = server.metrics().outcomes.get(Outcome::RefusedRate);
    assert_eq!(counted, 3, "each refusal once, recorded or not");
}

#[test]
fn pages_answer_as_the_policy_says_while_the_store_takes_nothing() {
    let script = Script::new().says("bad.example", Some(listed(Weight::Block)));
    let (server, _) = server(script, ClickPolicy::default());
    let (good, bad) = (
        server.path("https://shop.example/"),
        server.path("https://bad.example/"),
    );
    let other = raw(&server.settings.store);
    other.run("BEGIN IMMEDIATE");
    let blocked = server.get(&bad);
    assert_eq!((server.get(&good).status, blocked.status), (302, 403));
    other.run("ROLLBACK");
    server.until_stored(2);
    // What came back from the file has its verdict and reasons still.
    let row = server
        .rows()
        .into_iter()
        .find(|r| r.outcome == Outcome::Blocked)
        .unwrap();
    assert_eq!((row.verdict, &*row.reasons[0].code), (Some(Verdict::Block), "phishing"));
}

#[test]
fn a_reader_who_leaves_during_a_check_is_recorded() {
    let (server, _) = server(Script::remote(Duration::from_millis(100)), ClickPolicy::default());
    let path = server.path("https://shop.example/");
    let mut stream = super::server::connect(server.address);
    std::io::Write::write_all(
        &mut stream,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(40));
    drop(stream);
    let end = Instant::now() + Duration::from_secs(5);
    while server.rows().is_empty() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(outcomes(&server), [Outcome::Redirected]);
}

#[test]
fn a_source_that_could_not_be_asked_counts_as_such() {
    let finding = Finding::CouldNotAsk("SERVFAIL".into());
    let policy = ClickPolicy {
        on_failure: OnFailure::Warn,
        ..ClickPolicy::default()
    };
    let script = Script::remote(Duration::ZERO).says_from_afar("shop.example", finding);
    let (server, _) = server(script, policy);
    let page = server.get(&server.path("https://shop.example/"));
    assert_eq!((page.status, page.form("continue").is_some()), (200, true));
    assert_eq!(server.rows()[0].reasons[0].detail, "SERVFAIL");
}

#[test]
fn list_files_decide_through_the_real_sources() {
    let setup = Setup::default();
    let file = |name: &str, text: &str| {
        let path = setup.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (bad, odd) = (file("bad.txt", "bad.example\n"), file("odd.txt", "odd.example\n"));
    let config = format!(
        "[checks]\nlists_dir = \"LISTS_DIR\"\n[[source]]\nname = \"bad\"\ntype = \"domains\"\nfrom = {bad:?}\n\
         [[source]]\nname = \"odd\"\ntype = \"domains\"\nfrom = {odd:?}\nweight = \"warn\"\n"
    );
    let server = Setup { config, ..setup }.start();
    let path = server.path("https://bad.example/x");
    let end = Instant::now() + Duration::from_secs(20);
    while server.get(&path).status != 403 {
        assert!(Instant::now() < end, "the lists are not in force");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.rows().pop().unwrap().reasons[0].source, "bad");
    assert_eq!(server.get(&server.path("https://odd.example/")).status, 200);
    let row = server.rows().pop().unwrap();
    assert_eq!((row.outcome, row.verdict), (Outcome::Warned, Some(Verdict::Warn)));
    assert_eq!(server.get(&server.path("https://good.example/")).status, 302);
}
