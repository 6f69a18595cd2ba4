//! Buttons of pages: what counts, what does not, and what is seen of it.

use std::sync::Arc;

use link::{ClickPolicy, Flow, OnThreat, Verdict, Weight};
use linkgate::metrics::FormResult;
use store::{AlertKind, AlertQuery, Label, Outcome};

use super::script::{Script, listed, started};
use super::server::{Answer, Server, ask, talk};

fn server(policy: ClickPolicy) -> (Server, Arc<Script>) {
    let script = Script::new()
        .says("warn.example", Some(listed(Weight::Warn)))
        .says("block.example", Some(listed(Weight::Block)));
    started(script, policy)
}

fn outcomes(server: &Server) -> Vec<Outcome> {
    server.rows().iter().map(|row| row.outcome).collect()
}

/// A page that sends on at once.
fn goes_on(answer: &Answer) -> bool {
    assert_eq!(
        (answer.status, answer.field("location")),
        (200, None),
        "never a redirect"
    );
    answer.body.contains("http-equiv=\"refresh\"")
}

#[test]
fn a_form_that_is_sent_twice_counts_once() {
    let (server, _) = server(ClickPolicy::default());
    let path = server.path("https://warn.example/");
    let form = server.get(&path).form("continue").unwrap();
    assert!(goes_on(&server.post(&path, &form, "")));
    let again = server.post(&path, &form, "");
    assert!(
        !goes_on(&again) && again.form("continue").is_some(),
        "the page is shown anew"
    );
    // The new page's button works.
    assert!(goes_on(&server.post(&path, &again.form("continue").unwrap(), "")));
    use Outcome::{ClickedThrough, Warned};
    assert_eq!(outcomes(&server), [Warned, ClickedThrough, Warned, ClickedThrough]);
    let forms = &server.metrics().forms;
    assert_eq!((forms.get(FormResult::Taken), forms.get(FormResult::Used)), (2, 1));
}

#[test]
fn a_form_without_a_seal_of_ours_counts_for_nothing() {
    let (server, _) = server(ClickPolicy::default());
    let (warned, other) = (
        server.path("https://warn.example/"),
        server.path("https://warn.example/other"),
    );
    let form = server.get(&other).form("continue").unwrap();
    let review = server.get(&other).form("review").unwrap();
    let forged = format!("{}x", &form[..form.len() - 1]);
    let swapped = review.replace("review", "continue");
    for bad in [
        "",
        "use=continue",
        "use=continue&seal=",
        "use=continue&seal=AAAA",
        &forged,
        &swapped,
        &form,
    ] {
        let answer = server.post(&warned, bad, "");
        assert!(!goes_on(&answer) && answer.form("continue").is_some(), "{bad}");
    }
    assert!(
        server
            .rows()
            .iter()
            .all(|row| row.outcome == Outcome::Warned && row.page_event.is_none())
    );
    // A form for a target that nothing speaks against: a page with a button, and no redirect either.
    let calm = server.path("https://allow.example/");
    let answer = server.post(&calm, &form, "");
    assert!(!goes_on(&answer) && answer.form("continue").is_some());
    assert!(goes_on(&server.post(&calm, &answer.form("continue").unwrap(), "")));
}

#[test]
fn forms_of_another_kind_and_size_are_not_read() {
    let (server, _) = server(ClickPolicy::default());
    let path = server.path("https://warn.example/");
    let form = server.get(&path).form("continue").unwrap();
    let post = |kind: &str, form: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        Answer::of(&talk(server.address, request.as_bytes()))
    };
    assert!(!goes_on(&post("text/plain", &form)));
    assert!(!goes_on(&post("multipart/form-data; boundary=x", &form)));
    let long = format!("{form}&x={}", "y".repeat(5000));
    assert!(!goes_on(&post("application/x-www-form-urlencoded", &long)));
    assert!(goes_on(&post(
        "application/x-www-form-urlencoded; charset=utf-8",
        &form
    )));
}

#[test]
fn a_target_that_turned_bad_behind_a_page_is_not_opened_by_its_button() {
    let policy = ClickPolicy {
        flow: Flow::Confirm,
        ..ClickPolicy::default()
    };
    let (server, script) = server(policy);
    let path = server.path("https://allow.example/");
    let form = server.get(&path).form("continue").unwrap();
    script.say("allow.example", Some(listed(Weight::Warn)));
    let answer = server.post(&path, &form, "");
    assert!(!goes_on(&answer));
    assert_eq!(server.rows().last().unwrap().verdict, Some(Verdict::Warn));
    // The warning it got instead has a button of its own; then it is blocked.
    let form = answer.form("continue").unwrap();
    script.say("allow.example", Some(listed(Weight::Block)));
    let answer = server.post(&path, &form, "");
    assert_eq!((answer.status, answer.form("continue")), (403, None));
    use Outcome::{Blocked, Confirmed, Warned};
    assert_eq!(outcomes(&server), [Confirmed, Warned, Blocked]);
}

#[test]
fn a_machine_gets_a_page_without_a_word_and_its_button_is_a_persons() {
    let (server, script) = server(ClickPolicy::default());
    let machine = "User-Agent: Slackbot-LinkExpanding 1.0\r\n";
    let (allow, block) = (
        server.path("https://allow.example/"),
        server.path("https://block.example/"),
    );
    let pages = [&allow, &block].map(|path| server.ask("GET", path, machine));
    let cut = |page: &Answer| page.body.split("<form").next().unwrap().to_owned();
    assert_eq!(
        cut(&pages[0]),
        cut(&pages[1]),
        "nothing tells one target from the other"
    );
    assert!(pages.iter().all(|p| p.status == 200 && p.field("location").is_none()));
    assert_eq!(outcomes(&server), [Outcome::Neutral; 2]);
    assert!(
        server
            .rows()
            .iter()
            .all(|r| r.verdict.is_none() && r.label == Label::Machine)
    );
    assert_eq!((script.asked(), script.followed()), (0, 0));
    assert!(goes_on(&server.post(
        &allow,
        &pages[0].form("continue").unwrap(),
        machine
    )));
    let blocked = server.post(&block, &pages[1].form("continue").unwrap(), machine);
    assert_eq!(blocked.status, 403);
    let rows = server.rows();
    assert!(
        rows[2..]
            .iter()
            .all(|r| r.label == Label::Person && r.page_event.is_some())
    );
    assert_eq!(
        (rows[2].outcome, rows[3].outcome),
        (Outcome::Continued, Outcome::Blocked)
    );
}

#[test]
fn a_reader_asks_for_a_review() {
    let (server, _) = server(ClickPolicy {
        on_threat: OnThreat::Block,
        ..ClickPolicy::default()
    });
    let path = server.path("https://block.example/");
    let page = server.get(&path);
    let sent = server.post(&path, &page.form("review").unwrap(), "");
    assert_eq!((sent.status, sent.field("location")), (200, None));
    let rows = server.rows();
    assert_eq!(
        (rows[1].outcome, rows[1].page_event),
        (Outcome::Review, Some(rows[0].event_id))
    );
    let runtime = server.runtime.as_ref().unwrap();
    runtime.block_on(server.ledger.flush()).unwrap();
    let alerts = server.ledger.store().reader().alerts(&AlertQuery::default()).unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (alerts[0].kind, &*alerts[0].url),
        (AlertKind::ReviewAsked, "https://block.example/")
    );
    assert_eq!(alerts[0].events, [rows[1].event_id]);
}

#[test]
fn the_reader_of_a_stripped_path_is_sent_back_to_the_whole_one() {
    // A proxy in front has cut off the path of the public URL.
    let (server, _) = server(ClickPolicy::default());
    let path = server.path("https://warn.example/");
    let bare = path.strip_prefix("/safe").unwrap();
    let page = ask(server.address, "GET", bare, "");
    assert!(page.body.contains(&format!("action=\"{path}\"")), "{}", page.body);
    assert!(goes_on(&server.post(bare, &page.form("continue").unwrap(), "")));
}
