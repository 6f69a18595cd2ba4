//! What readers get under every policy, for every verdict, through the real handler; and the modes that other products have.

use link::{Answer, ClickPolicy, Contact, Flow, OnFailure, OnThreat, OnUnknown, Verdict};
use linkgate::config::{ClickRules, DomainRules};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{ClickRow, Outcome};
use strum::VariantArray;

use super::script::{Script, finding, started};
use super::server::{Answer as Got, Server, ask_json};

const HOSTS: [(&str, Verdict); 5] = [
    ("allow.example", Verdict::Allow),
    ("unchecked.example", Verdict::Unchecked),
    ("unknown.example", Verdict::Unknown),
    ("warn.example", Verdict::Warn),
    ("block.example", Verdict::Block),
];

/// Sources that come to each verdict for a host.
fn script() -> Script {
    HOSTS.iter().fold(Script::new(), |script, (host, verdict)| {
        script.says(host, finding(*verdict))
    })
}

fn server(policy: ClickPolicy) -> (Server, Arc<Script>) {
    started(script(), policy)
}

/// Another policy in the same process, as after a reload.
fn switch(server: &mut Server, policy: ClickPolicy) {
    let mut settings = server.settings_again();
    let rules = DomainRules {
        policy,
        ..DomainRules::default()
    };
    settings.click_rules = ClickRules::new(rules, HashMap::new());
    server.reload_with(settings);
}

fn policies() -> Vec<ClickPolicy> {
    let mut all = Vec::new();
    for flow in Flow::VARIANTS {
        for on_threat in OnThreat::VARIANTS {
            for click_through in [true, false] {
                for show_target in [true, false] {
                    for on_unknown in OnUnknown::VARIANTS {
                        for on_failure in OnFailure::VARIANTS {
                            all.push(ClickPolicy {
                                flow: *flow,
                                on_threat: *on_threat,
                                click_through,
                                show_target,
                                on_unknown: *on_unknown,
                                on_failure: *on_failure,
                                ..ClickPolicy::default()
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

/// What an answer of the policy looks like from outside: status, outcome in the row, whether a button leads on, whether a
/// review can be asked for.
fn looks(answer: Answer) -> (u16, Outcome, bool, bool) {
    match answer {
        Answer::Go => (302, Outcome::Redirected, false, false),
        Answer::Confirm => (200, Outcome::Confirmed, true, false),
        Answer::Warning { may_continue } => (200, Outcome::Warned, may_continue, true),
        Answer::Blocked => (403, Outcome::Blocked, false, true),
        Answer::Unknown { may_continue } => (200, Outcome::UnknownTarget, may_continue, true),
        Answer::CouldNotCheck { may_continue } => (200, Outcome::CouldNotCheck, may_continue, true),
    }
}

/// What this policy is to do, said once more and in other words than in the program.
fn wanted(p: &ClickPolicy, verdict: Verdict) -> Answer {
    let may_continue = p.click_through;
    let clean = if p.flow == Flow::Redirect {
        Answer::Go
    } else {
        Answer::Confirm
    };
    match (verdict, p.on_threat, p.on_unknown, p.on_failure) {
        (Verdict::Block, OnThreat::Block, _, _) => Answer::Blocked,
        (Verdict::Block | Verdict::Warn, _, _, _) => Answer::Warning { may_continue },
        (Verdict::Unknown, _, OnUnknown::Block, _) => Answer::Unknown { may_continue: false },
        (Verdict::Unknown, _, OnUnknown::Warn, _) => Answer::Unknown { may_continue },
        (Verdict::Unknown, _, OnUnknown::Confirm, _) => Answer::Confirm,
        (Verdict::Unchecked, _, _, OnFailure::Closed) => Answer::CouldNotCheck { may_continue: false },
        (Verdict::Unchecked, _, _, OnFailure::Warn) => Answer::CouldNotCheck { may_continue: true },
        _ => clean,
    }
}

fn last_row(server: &Server) -> ClickRow {
    server.rows().pop().unwrap()
}

/// Whether a page names a host. Where its forms are sent is the address that the reader came from.
fn names(page: &Got, host: &str) -> bool {
    let addresses = page.body.split("action=\"").enumerate();
    let text = addresses.map(|(n, part)| if n == 0 { part } else { part.split_once('"').unwrap().1 });
    text.collect::<String>().contains(host)
}

#[test]
fn every_policy_and_every_verdict_give_the_page_the_status_and_the_row_they_should() {
    let (mut server, _) = server(ClickPolicy::default());
    let all = policies();
    assert_eq!(all.len(), 2 * 2 * 2 * 2 * 4 * 3);
    for policy in all {
        switch(&mut server, policy);
        for (host, verdict) in HOSTS {
            let path = server.path(&format!("https://{host}/page"));
            let answer = server.get(&path);
            let row = last_row(&server);
            let what = format!("{host} under {policy:?}");
            let (status, outcome, button, review) = looks(wanted(&policy, verdict));
            assert_eq!((answer.status, row.outcome), (status, outcome), "{what}");
            assert_eq!(row.verdict, Some(verdict), "{what}");
            assert_eq!(row.reasons.is_empty(), verdict == Verdict::Allow, "{what}");
            assert_eq!(answer.form("continue").is_some(), button, "{what}");
            assert_eq!(answer.form("review").is_some(), review, "{what}");
            let location = format!("https://{host}/page");
            assert_eq!(
                answer.field("location"),
                (status == 302).then_some(&*location),
                "{what}"
            );
            if status != 302 {
                assert_eq!(names(&answer, host), policy.show_target, "{what}");
            }
        }
    }
    assert_eq!(server.rows().len(), 192 * HOSTS.len());
}

/// Flow x threat x target, the six that one product sells.
fn mode(flow: Flow, on_threat: OnThreat, show_target: bool) -> Server {
    server(ClickPolicy {
        flow,
        on_threat,
        show_target,
        ..ClickPolicy::default()
    })
    .0
}

#[test]
fn linkscan_auto_redirect_block_on_threat_show_target() {
    let server = mode(Flow::Redirect, OnThreat::Block, true);
    assert_eq!(server.get(&server.path("https://allow.example/")).status, 302);
    let blocked = server.get(&server.path("https://block.example/"));
    assert_eq!((blocked.status, blocked.form("continue")), (403, None));
    assert!(names(&blocked, "block.example"));
}

#[test]
fn linkscan_auto_redirect_block_on_threat_hide_target() {
    let server = mode(Flow::Redirect, OnThreat::Block, false);
    assert_eq!(server.get(&server.path("https://allow.example/")).status, 302);
    let blocked = server.get(&server.path("https://block.example/"));
    assert_eq!((blocked.status, blocked.form("continue")), (403, None));
    assert!(!names(&blocked, "block.example"));
}

#[test]
fn linkscan_auto_redirect_allow_on_threat_show_target() {
    let server = mode(Flow::Redirect, OnThreat::Warn, true);
    assert_eq!(server.get(&server.path("https://allow.example/")).status, 302);
    passes_a_warning(&server, true);
}

#[test]
fn linkscan_click_to_continue_block_on_threat_show_target() {
    let server = mode(Flow::Confirm, OnThreat::Block, true);
    passes_a_confirmation(&server, true);
    let blocked = server.get(&server.path("https://block.example/"));
    assert_eq!((blocked.status, blocked.form("continue")), (403, None));
}

#[test]
fn linkscan_click_to_continue_block_on_threat_hide_target() {
    let server = mode(Flow::Confirm, OnThreat::Block, false);
    passes_a_confirmation(&server, false);
    let blocked = server.get(&server.path("https://block.example/"));
    assert_eq!((blocked.status, blocked.form("continue")), (403, None));
    assert!(!names(&blocked, "block.example"));
}

#[test]
fn linkscan_click_to_continue_allow_on_threat_show_target() {
    let server = mode(Flow::Confirm, OnThreat::Warn, true);
    passes_a_confirmation(&server, true);
    passes_a_warning(&server, true);
}

fn passes_a_confirmation(server: &Server, shows: bool) {
    let path = server.path("https://allow.example/way?a=1");
    let page = server.get(&path);
    assert_eq!((page.status, names(&page, "allow.example")), (200, shows));
    let onward = server.post(&path, &page.form("continue").unwrap(), "");
    assert_eq!((onward.status, onward.field("location")), (200, None));
    assert!(onward.body.contains("https://allow.example/way?a=1"), "{}", onward.body);
    let rows = server.rows();
    let [shown, pressed] = &rows[rows.len() - 2..] else {
        panic!()
    };
    assert_eq!(
        (shown.outcome, pressed.outcome),
        (Outcome::Confirmed, Outcome::Continued)
    );
    assert_eq!(pressed.page_event, Some(shown.event_id));
    assert_eq!(pressed.label, store::Label::Person);
}

fn passes_a_warning(server: &Server, shows: bool) {
    let path = server.path("https://block.example/");
    let page = server.get(&path);
    assert_eq!((page.status, names(&page, "block.example")), (200, shows));
    let onward = server.post(&path, &page.form("continue").unwrap(), "");
    assert_eq!((onward.status, onward.field("location")), (200, None));
    assert!(onward.body.contains("https://block.example/"), "{}", onward.body);
    let rows = server.rows();
    let [shown, pressed] = &rows[rows.len() - 2..] else {
        panic!()
    };
    assert_eq!(
        (shown.outcome, pressed.outcome),
        (Outcome::Warned, Outcome::ClickedThrough)
    );
    assert_eq!(
        (pressed.page_event, pressed.verdict),
        (Some(shown.event_id), Some(Verdict::Block))
    );
}

#[test]
fn microsoft_do_not_track_clicks() {
    let policy = ClickPolicy {
        track_clicks: false,
        ..ClickPolicy::default()
    };
    let (server, _) = server(policy);
    assert_eq!(server.get(&server.path("https://allow.example/")).status, 302);
    assert_eq!(server.get(&server.path("https://block.example/")).status, 403);
    assert_eq!(server.rows(), []);
    assert_eq!(server.counts().redirected, 1, "counted all the same");
}

#[test]
fn microsoft_do_not_let_users_click_through() {
    let policy = ClickPolicy {
        click_through: false,
        on_threat: OnThreat::Warn,
        ..ClickPolicy::default()
    };
    let (mut server, _) = server(ClickPolicy {
        click_through: true,
        ..policy
    });
    let path = server.path("https://block.example/");
    // A page from before the setting changed does not help either.
    let form = server.get(&path).form("continue").unwrap();
    switch(&mut server, policy);
    let page = server.get(&path);
    assert_eq!((page.status, page.form("continue")), (200, None));
    let refused = server.post(&path, &form, "");
    assert_eq!((refused.status, refused.form("continue")), (200, None));
    assert!(!refused.body.contains("http-equiv"), "{}", refused.body);
    assert_eq!(last_row(&server).outcome, Outcome::Warned);
}

#[test]
fn microsoft_check_by_api_without_rewriting() {
    let (server, _) = server(ClickPolicy::default());
    let check = |body: &str| ask_json(server.admin, "/api/v1/check", body);
    for (host, answer) in [
        ("allow.example", "go"),
        ("unchecked.example", "go"),
        ("unknown.example", "unknown"),
        ("warn.example", "warning"),
        ("block.example", "blocked"),
    ] {
        let (status, told) = check(&format!(r#"{{"url": "https://{host}/x"}}"#));
        let verdict = host.strip_suffix(".example").unwrap();
        assert_eq!(
            (status, &told["verdict"], &told["answer"]),
            (200, &verdict.into(), &answer.into()),
            "{told}"
        );
        assert_eq!(told["url"], format!("https://{host}/x"));
        assert!(told["checked_at"].as_str().unwrap().ends_with('Z'), "{told}");
        assert_eq!(told["reasons"].as_array().unwrap().is_empty(), verdict == "allow");
    }
    // A click link of ours stands for its target.
    let link = server.wrap("https://block.example/y").click_url;
    let (_, told) = check(&format!(r#"{{"url": "{link}", "domain": "example.com"}}"#));
    assert_eq!(
        (&told["url"], &told["verdict"]),
        (&"https://block.example/y".into(), &"block".into())
    );
    for (bad, word) in [
        ("", "body: "),
        ("{}", "missing field `url`"),
        (r#"{"url": 7}"#, "invalid type"),
        (r#"{"url": "no url"}"#, "url: found \"no url\", allowed: "),
        (r#"{"url": "javascript:alert(1)"}"#, "url: found "),
        (
            r#"{"url": "https://a.example/", "domain": "a b"}"#,
            "domain: found \"a b\"",
        ),
        (
            r#"{"url": "https://a.example/", "recipient": "anna"}"#,
            "recipient: found \"anna\"",
        ),
        (
            r#"{"url": "https://a.example/", "user": "anna"}"#,
            "unknown field `user`",
        ),
    ] {
        let (status, told) = check(bad);
        assert_eq!(status, 400, "{bad}");
        assert!(told["error"].as_str().unwrap().contains(word), "{bad}: {told}");
    }
    let (status, _) = check(&format!(r#"{{"url": "https://a.example/{}"}}"#, "x".repeat(70_000)));
    assert_eq!(status, 413);
    assert_eq!(server.rows(), [], "nothing is recorded");
    assert_eq!(server.metrics().api.get(Verdict::Block), 2);
}

#[test]
fn contact_is_for_people_and_for_links_that_work_more_than_once() {
    let policy = ClickPolicy {
        contact: Contact::Full,
        ..ClickPolicy::default()
    };
    let (server, script) = server(policy);
    let browser = super::server::BROWSER;
    let get = |url: &str, fields: &str| server.ask("GET", &server.path(url), fields).status;
    for agent in ["User-Agent: curl/8.9\r\n", "", "User-Agent: Slackbot 1.0\r\n"] {
        get("https://allow.example/", agent);
    }
    server.ask("HEAD", &server.path("https://allow.example/"), browser);
    assert_eq!(script.followed(), 0, "machines and what looks like one");
    assert_eq!(
        get(
            "https://allow.example/reset-password?token=8f2b1c9d7e6a5f4b3c2d1e0f",
            browser
        ),
        302
    );
    assert_eq!(script.followed(), 0, "a link that may work once");
    let row = last_row(&server);
    let skipped = row.reasons.iter().find(|r| r.source == "contact").unwrap();
    assert_eq!((&*skipped.code, &*skipped.detail), ("not-asked", "looks-one-time"));
    assert_eq!(get("https://allow.example/", browser), 302);
    assert_eq!(script.followed.load(Ordering::SeqCst), 1);
}
