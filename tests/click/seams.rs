//! What a click needs of several parts at once: links inside links, the store, and who sends what.

use std::sync::Arc;

use link::{Contact, SenderRules, Vendor, Weight, wrap_link};
use linkgate::config::Settings;
use store::{Outcome, ReferenceRow};

use super::script::{Script, listed};
use super::server::{BROWSER, Server, Setup};

fn server(script: Script, tune: fn(&mut Settings)) -> (Server, Arc<Script>) {
    let script = script.shared();
    let policy = link::ClickPolicy {
        contact: Contact::Full,
        ..Default::default()
    };
    let server = Setup {
        policy,
        sources: Some(script.clone()),
        tune,
        ..Setup::default()
    }
    .start();
    (server, script)
}

fn calm(settings: &mut Settings) {
    settings.check_limits.per_link = 0;
    settings.check_limits.per_network = 0;
}

fn codes(server: &Server) -> Vec<String> {
    let row = server.rows().pop().unwrap();
    row.reasons.iter().map(|reason| reason.code.clone()).collect()
}

/// A click link for a target that is too long for it; in the store if `kept`.
fn stored(server: &Server, host: &str, kept: bool) -> String {
    let wrapped = server.wrap(&format!("https://{host}/{}", "x".repeat(4000)));
    let reference = wrapped.reference.expect("too long for a token");
    if kept {
        let row = ReferenceRow {
            id: reference.id,
            target: reference.target,
            written: reference.written,
            mail_id: "mail-1".to_owned(),
            created_at_us: 0,
        };
        let receipt = server.ledger.store().store_references(vec![row]);
        receipt.wait().unwrap();
    }
    wrapped.click_url
}

/// The path of a click link around another URL.
fn around(server: &Server, url: &str) -> String {
    let target = link::Target::parse(url).unwrap();
    let sealer = server.settings.keys.sealer(&Server::claims());
    let wrapped = wrap_link(&sealer, &server.settings.click.base, &target, None, 0);
    let path = wrapped.click_url.strip_prefix("https://click.example.com");
    path.unwrap().to_owned()
}

#[test]
fn a_stored_target_inside_a_click_link_is_checked() {
    let script = Script::new().says("bad.example", Some(listed(Weight::Block)));
    let (server, _) = server(script, calm);
    let bad = around(&server, &stored(&server, "bad.example", true));
    assert_eq!(server.ask("GET", &bad, BROWSER).status, 403);
    let good = around(&server, &stored(&server, "good.example", true));
    server.ask("GET", &good, BROWSER);
    assert!(
        !codes(&server).contains(&"target-unknown".to_owned()),
        "{:?}",
        codes(&server)
    );
    assert!(server.rows().pop().unwrap().chain[0].starts_with("https://good.example/xxx"));
    let lost = around(&server, &stored(&server, "lost.example", false));
    server.ask("GET", &lost, BROWSER);
    assert!(
        codes(&server).contains(&"target-unknown".to_owned()),
        "{:?}",
        codes(&server)
    );
}

#[test]
fn a_link_behind_a_redirector_that_may_work_once_is_not_followed() {
    let (server, script) = server(Script::new(), calm);
    let behind = |inner: &str| {
        let inner = inner
            .replace(':', "%3A")
            .replace('/', "%2F")
            .replace('?', "%3F")
            .replace('=', "%3D");
        around(&server, &format!("https://www.google.com/url?q={inner}"))
    };
    server.ask("GET", &behind("https://shop.example/news"), BROWSER);
    assert_eq!(script.followed(), 1);
    let once = behind("https://shop.example/reset-password?token=8f2b1c9d7e6a5f4b3c2d1e0f");
    server.ask("GET", &once, BROWSER);
    assert_eq!(script.followed(), 1);
    assert!(codes(&server).contains(&"not-asked".to_owned()));
}

#[test]
fn domains_that_clicks_lead_to_are_noted_and_new_ones_counted() {
    let (server, script) = server(Script::new(), calm);
    script.new.lock().unwrap().push("new.example");
    let visit = |host: &str| {
        let safe = format!(
            "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2F{host}%2Fx&data=05%7C02%7Cann%40shop.example%7Cabc&sdata=x&reserved=0"
        );
        server.ask("GET", &around(&server, &safe), BROWSER);
        codes(&server)
    };
    assert_eq!(visit("old.example"), [""; 0]);
    assert_eq!(visit("new.example"), ["first-seen"]);
    assert_eq!(*script.noted.lock().unwrap(), ["old.example", "new.example"]);
}

#[test]
fn a_wrapper_that_the_sender_is_known_to_quote_is_not_warned_of() {
    const QUOTED: &str = "https://urldefense.com/v3/__https://shop.example/__;!!a!b$";
    let asked = |tune| {
        let (server, _) = server(Script::new(), tune);
        server.ask("GET", &around(&server, QUOTED), BROWSER);
        (server.rows().pop().unwrap().outcome, codes(&server))
    };
    assert_eq!(asked(calm), (Outcome::Warned, vec!["foreign-wrapper".to_owned()]));
    assert_eq!(
        asked(|settings| {
            calm(settings);
            let rules = SenderRules::parse(&["@shop.example"]).unwrap();
            settings.click_rules.sender_wrappers = vec![(Vendor::Proofpoint, rules)];
        }),
        (Outcome::Redirected, Vec::new())
    );
    assert_eq!(
        asked(|settings| {
            calm(settings);
            let others = SenderRules::parse(&["@other.example"]).unwrap();
            let rules = SenderRules::parse(&["@shop.example"]).unwrap();
            settings.click_rules.sender_wrappers = vec![(Vendor::Proofpoint, others), (Vendor::Mimecast, rules)];
        })
        .0,
        Outcome::Warned
    );
}

/// Calls by which this thread has read anything so far, those of this function included.
fn reads() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").expect("the kernel counts input and output");
    let count = io.lines().find_map(|line| line.strip_prefix("syscr: "));
    count.unwrap().parse().unwrap()
}

#[test]
fn no_click_reads_the_store_on_the_thread_that_answers() {
    let server = Server::start();
    let plain = server.path("https://shop.example/");
    let long = stored(&server, "long.example", true);
    let inside = around(&server, &stored(&server, "inside.example", true));
    let path = |url: &str| url.strip_prefix("https://click.example.com").unwrap_or(url).to_owned();
    // A click link inside a click link is warned of, once its target is known.
    let links = [
        (plain, Outcome::Redirected),
        (path(&long), Outcome::Redirected),
        (path(&inside), Outcome::Warned),
    ];
    // All async work is done by this thread; what may block is not.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let click = |path: &str| {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let peer = ([127, 0, 0, 1], 1).into();
        runtime.block_on(server.pages.answer(request, peer));
    };
    let start = reads();
    let each = reads() - start;
    server.rows();
    assert!(reads() - start > 2 * each, "reading the store is counted");
    for (path, outcome) in links {
        let before = reads();
        click(&path);
        assert_eq!(reads() - before, each, "{path}");
        assert_eq!(server.rows().pop().unwrap().outcome, outcome, "{path}");
    }
}
