//! What is recorded of clicks and made of it: rows of earlier releases, labels given anew, revoking, alerts, and faults of
//! the store under rows of today's shape.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use link::{Category, Finding, Listing, Scope, Target, Verdict, Weight};
use linkgate::cli::clicks::{Relabelled, relabel};
use linkgate::config::Machines;
use linkgate::intel::revoked::Revocations;
use linkgate::ledger::{ClickRecorded, Ledger};
use store::{
    AlertKind, AlertQuery, AlertRow, ClickQuery, ClickRow, EventId, Facts, Label, Method, Outcome, Reader, Reason,
    Store, StoreError,
};
use strum::VariantArray;

use crate::cli::{Home, code, err, json_lines, out};
use crate::ledger::store::raw;

/// 2026-11-22
const NOW: i64 = 1_795_305_600_000_000;

/// The schema of the first release, as it made its files.
const FIRST_RELEASE: &str = "
    CREATE TABLE message (mail_id TEXT NOT NULL PRIMARY KEY, message_id TEXT, sender TEXT NOT NULL COLLATE NOCASE,
        received_at INTEGER NOT NULL, listener TEXT NOT NULL, policy_domain TEXT COLLATE NOCASE, links_found INTEGER NOT NULL,
        links_wrapped INTEGER NOT NULL, links_kept INTEGER NOT NULL) STRICT;
    CREATE TABLE recipient (mail_id TEXT NOT NULL, address TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (mail_id, address))
        STRICT, WITHOUT ROWID;
    CREATE TABLE link (mail_id TEXT NOT NULL, position INTEGER NOT NULL, url TEXT NOT NULL, decision TEXT NOT NULL,
        reason TEXT NOT NULL, PRIMARY KEY (mail_id, position)) STRICT, WITHOUT ROWID;
    CREATE TABLE click (id INTEGER PRIMARY KEY, event_id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL, user TEXT COLLATE NOCASE,
        url TEXT NOT NULL, host TEXT NOT NULL COLLATE NOCASE, mail_id TEXT NOT NULL, sender TEXT NOT NULL,
        policy_domain TEXT NOT NULL COLLATE NOCASE, user_agent TEXT NOT NULL, client_ip TEXT, method TEXT NOT NULL,
        outcome TEXT NOT NULL) STRICT;
    CREATE INDEX click_by_time ON click (at);
    CREATE TABLE reference (id BLOB NOT NULL PRIMARY KEY, target TEXT NOT NULL, written BLOB, mail_id TEXT NOT NULL,
        created_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO click VALUES (7, x'000102030405060708090a0b0c0d0eff', 1795305600000000, 'anna@example.com',
        'https://shop.example/', 'shop.example', 'm1', 'news@shop.example', 'example.com', 'curl/8.5.0', '203.0.113.0/24',
        'GET', 'redirected');
    INSERT INTO reference VALUES (x'01010101010101010101010101010101', 'https://long.example/', NULL, 'm1', 9);
    PRAGMA application_id = 1818978164;
    PRAGMA user_version = 1;
";

fn rows(store: &Reader) -> Vec<ClickRow> {
    store.clicks(&ClickQuery::default()).collect::<Result<_, _>>().unwrap()
}

/// A click as today's pages record it.
fn click(n: u128, at_us: i64) -> ClickRow {
    ClickRow {
        user: Some("anna@example.com".to_owned()),
        url: format!("https://shop.example/{n}"),
        host: "shop.example".to_owned(),
        mail_id: "m1".to_owned(),
        policy_domain: "example.com".to_owned(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:157.0) Gecko/20100101 Firefox/157.0".to_owned(),
        outcome: Outcome::Warned,
        verdict: Some(Verdict::Warn),
        reasons: vec![Reason {
            source: "score".to_owned(),
            code: "look-alike".to_owned(),
            detail: "\u{1b}[2J \"\u{1f980}\\".to_owned(),
            about: "https://shop.example/".to_owned(),
        }],
        chain: vec!["https://short.example/x".to_owned()],
        facts: Facts {
            accept: Some("text/html".to_owned()),
            accept_language: Some("de".to_owned()),
            network: Some("0011223344556677".to_owned()),
            link: Some(format!("{n:016x}")),
            ..Facts::default()
        },
        ..ClickRow::new(EventId(n.to_be_bytes()), at_us)
    }
}

fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_store_of_the_first_release_is_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    raw(&path).run(FIRST_RELEASE);
    assert!(matches!(
        Reader::open(&path),
        Err(StoreError::OlderSchema { found: 1, .. })
    ));
    let secret = {
        let store = Store::open(&path).unwrap();
        let old = rows(store.reader());
        assert_eq!(old.len(), 1);
        let wanted = ClickRow {
            user: Some("anna@example.com".to_owned()),
            url: "https://shop.example/".to_owned(),
            host: "shop.example".to_owned(),
            mail_id: "m1".to_owned(),
            sender: "news@shop.example".to_owned(),
            policy_domain: "example.com".to_owned(),
            user_agent: "curl/8.5.0".to_owned(),
            client_ip: Some("203.0.113.0/24".to_owned()),
            ..ClickRow::new("000102030405060708090a0b0c0d0eff".parse().unwrap(), NOW)
        };
        assert_eq!(old[0], wanted);
        assert_eq!(
            store.reference(&[1; 16]).unwrap().unwrap().target,
            "https://long.example/"
        );
        store.record_click(click(1, NOW)).wait().unwrap();
        let done = relabel(&store, &Machines::default(), None).unwrap();
        assert_eq!(done, Relabelled { seen: 2, changed: 2 });
        store.reader().network_secret().unwrap()
    };
    let store = Store::open(&path).unwrap();
    let now = rows(store.reader());
    assert_eq!(
        (now[0].label, now[0].label_reasons.as_slice()),
        (Label::LikelyMachine, &["tool".to_owned()][..])
    );
    assert_eq!((now[1].label, &now[1].facts), (Label::Unknown, &click(1, NOW).facts));
    assert_ne!(secret, [0; 32]);
    assert_eq!(
        store.reader().network_secret().unwrap(),
        secret,
        "networks have other names after a restart"
    );
}

#[test]
fn clicks_that_the_first_release_spilled_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let line = "\n{\"event_id\":\"000102030405060708090a0b0c0d0eff\",\"at_us\":5,\"user\":null,\"url\":\"https://a.example/\",\
                \"host\":\"a.example\",\"mail_id\":\"m\",\"sender\":\"\",\"policy_domain\":\"example.com\",\"user_agent\":\"A/1\",\
                \"client_ip\":null,\"method\":\"HEAD\",\"outcome\":\"redirected\"}\n";
    let mut spilled = path.clone().into_os_string();
    spilled.push(".unstored.jsonl");
    fs::write(spilled, line).unwrap();
    let ledger = Ledger::open(&path).unwrap();
    let reader = ledger.store().reader();
    eventually("the spilled click is stored", Duration::from_secs(20), || {
        rows(reader).len() == 1
    });
    let row = &rows(reader)[0];
    assert_eq!(
        (row.method, row.outcome, row.label),
        (Method::Head, Outcome::Redirected, Label::Unknown)
    );
}

#[test]
fn labels_are_given_anew_from_raw_facts_and_a_second_time_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    // More than a page, over some hours; among them a scanner that opens the links of a mail at once.
    let mut receipts = Vec::new();
    for n in 0..1_500u128 {
        let mut row = click(n, NOW + n as i64 * 20_000_000);
        row.mail_id = format!("m{n}");
        if n % 3 == 0 {
            row.user_agent = "Go-http-client/1.1".to_owned();
        }
        // A label from elsewhere, which is wrong.
        row.label = Label::Person;
        receipts.push(store.record_click(row));
    }
    for n in 0..5u128 {
        let mut row = click(10_000 + n, NOW + 5_000_000 + n as i64 * 400_000);
        row.mail_id = "scanned".to_owned();
        receipts.push(store.record_click(row));
    }
    receipts.into_iter().for_each(|r| r.wait().unwrap());
    let facts = |rows: &[ClickRow]| rows.iter().map(|r| (r.event_id, r.facts.clone())).collect::<Vec<_>>();
    let before = rows(store.reader());
    let first = relabel(&store, &Machines::default(), None).unwrap();
    assert_eq!(
        first,
        Relabelled {
            seen: 1_505,
            changed: 1_505
        }
    );
    let after = rows(store.reader());
    assert_eq!(facts(&after), facts(&before));
    let count = |label| after.iter().filter(|r| r.label == label).count();
    assert_eq!((count(Label::LikelyMachine), count(Label::Unknown)), (505, 1_000));
    let scanned: Vec<_> = after.iter().filter(|r| r.mail_id == "scanned").collect();
    assert!(
        scanned
            .iter()
            .all(|r| r.label_reasons.contains(&"several-links-at-once".to_owned())),
        "the first ones too, which nobody could tell when they came: {scanned:?}"
    );
    let second = relabel(&store, &Machines::default(), None).unwrap();
    assert_eq!(
        second,
        Relabelled {
            seen: 1_505,
            changed: 0
        }
    );
    // Since the middle of the scan: what happened just before still counts.
    let third = relabel(&store, &Machines::default(), Some(NOW + 5_500_000)).unwrap();
    assert_eq!(third.changed, 0);
    assert!(third.seen < 1_505 && third.seen > 1_400, "{third:?}");
    // The operator says that a network is of machines; rows that have the fact follow.
    let machines = Machines {
        agents: vec!["go-http".to_owned()],
        ..Machines::default()
    };
    assert_eq!(relabel(&store, &machines, None).unwrap().changed, 500);
    assert_eq!(
        rows(store.reader())
            .iter()
            .filter(|r| r.label == Label::Machine)
            .count(),
        500
    );
}

#[test]
fn clicks_are_found_by_label_and_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    let verdicts = [None, Some(Verdict::Allow), Some(Verdict::Block)];
    for n in 0..30usize {
        let mut row = click(n as u128, n as i64);
        row.label = Label::VARIANTS[n % 5];
        row.verdict = verdicts[n % 3];
        row.page_event = (n % 2 == 0).then_some(EventId([9; 16]));
        store.record_click(row.clone()).wait().unwrap();
        assert_eq!(store.reader().click(row.event_id).unwrap(), Some(row));
    }
    let find = |label, verdict| {
        let query = ClickQuery {
            label,
            verdict,
            ..ClickQuery::default()
        };
        store.clicks(&query).map(|r| r.unwrap().at_us).collect::<Vec<_>>()
    };
    assert_eq!(find(Some(Label::Machine), None), [0, 5, 10, 15, 20, 25]);
    assert_eq!(find(None, Some(Verdict::Block)), [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]);
    assert_eq!(find(Some(Label::Machine), Some(Verdict::Block)), [5, 20]);
    assert_eq!(find(None, Some(Verdict::Warn)), [0; 0]);
    assert_eq!(store.reader().click(EventId([0xee; 16])).unwrap(), None);
}

#[test]
fn what_another_process_revokes_is_blocked_within_two_seconds_and_opened_again() {
    let home = Home::new();
    let ledger = Ledger::open(&home.path("linkgate.db")).unwrap();
    let revocations = Revocations::start(ledger.store().reader()).unwrap();
    let mut changes = revocations.changes();
    let url = Target::parse("https://shop.example/invoice.zip?x=1").unwrap();
    let below = Target::parse("https://a.b.bad.example/").unwrap();
    assert_eq!(revocations.find(&url), None);
    let within = |what: &str, done: &dyn Fn() -> bool| eventually(what, Duration::from_secs(2), done);
    let run = |args: &[&str]| {
        let output = home.run(args);
        assert_eq!(code(&output), 0, "{}", err(&output));
        out(&output)
    };
    let said = run(&[
        "revoke",
        "http://SHOP.example:80/invoice.zip?x=1#y",
        "--note",
        "ticket \u{1b}4711",
    ]);
    assert!(
        said.contains("http://shop.example/invoice.zip?x=1 is revoked"),
        "{said}"
    );
    within("the URL is revoked", &|| revocations.find(&url).is_some());
    let evidence = revocations.find(&url).unwrap();
    assert_eq!(evidence.source, "revoked");
    let listing = Listing {
        category: Category::Revoked,
        scope: Scope::Url,
        weight: Weight::Block,
    };
    assert_eq!(evidence.finding, Finding::Listed(listing));
    assert!(changes.has_changed().unwrap());
    let generation = *changes.borrow_and_update();

    // A server that is writing all the time sees it no later, and clicks are no change.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        let busy = s.spawn(|| {
            for n in 0.. {
                // A row that has to wait for the other process is kept all the same.
                let _ = ledger.store().record_click(click(n, NOW)).wait();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(1_100));
        let unchanged = revocations.generation() == generation;
        let revoked = home.run(&["revoke", "*.Bad.example"]);
        let end = Instant::now() + Duration::from_secs(2);
        while revocations.find(&below).is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Before anything may fail: the other thread writes until it is told.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.join().unwrap();
        assert!(unchanged, "clicks are no revocations");
        assert_eq!(code(&revoked), 0, "{}", err(&revoked));
        assert!(revocations.find(&below).is_some(), "not within two seconds");
    });

    let list = run(&["revoke", "--list"]);
    assert!(
        list.contains("*.bad.example") && list.contains("ticket \\u{1b}4711"),
        "{list}"
    );
    run(&["revoke", "--undo", "*.bad.example"]);
    within("the domain is open again", &|| revocations.find(&below).is_none());
    assert!(revocations.find(&url).is_some());
    let output = home.run(&["revoke", "--undo", "*.bad.example"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("not revoked"), "{}", err(&output));
    // Who starts now knows, too.
    let second = Revocations::start(&Reader::open(&home.path("linkgate.db")).unwrap()).unwrap();
    assert!(second.find(&url).is_some() && second.find(&below).is_none());

    let alerts = json_lines(&run(&["alerts", "--json"]));
    let told: Vec<_> = alerts
        .iter()
        .map(|a| (a["kind"].as_str().unwrap(), a["url"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("revoked", "http://shop.example/invoice.zip?x=1"),
        ("revoked", "*.bad.example"),
        ("unrevoked", "*.bad.example"),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn what_cannot_be_revoked_is_refused_with_what_can() {
    let home = Home::new();
    let output = home.run(&["revoke", "shop.example"]);
    assert_eq!(code(&output), 1, "there is no store yet");
    assert!(err(&output).contains("linkgate serve"), "{}", err(&output));
    assert!(!home.path("linkgate.db").exists());
    drop(Store::open(&home.path("linkgate.db")).unwrap());
    for bad in ["*.com", "shop.example/page", "mailto:a@b.example", "*.*.example"] {
        let output = home.run(&["revoke", bad]);
        assert_eq!(code(&output), 64, "{bad}");
        assert!(err(&output).contains("allowed:"), "{}", err(&output));
    }
    assert_eq!(code(&home.run(&["revoke"])), 64);
    assert_eq!(code(&home.run(&["revoke", "--list", "--undo", "x.example"])), 64);
}

fn alert(kind: AlertKind, n: i64) -> AlertRow {
    AlertRow {
        kind,
        url: format!("https://bad.example/{n}"),
        source: "feed\u{202e}".to_owned(),
        detail: "phishing (url)".to_owned(),
        at_us: NOW + n,
        first_click_us: NOW - 7,
        last_click_us: NOW - 5,
        people: 3,
        machines: 2,
        unknown: 1,
        events: vec![EventId([1; 16])],
    }
}

#[test]
fn alerts_are_shown_and_the_same_is_stored_once() {
    let home = Home::new();
    let store = Store::open(&home.path("linkgate.db")).unwrap();
    let late = alert(AlertKind::LateListing, 0);
    for row in [late.clone(), late.clone(), alert(AlertKind::Smuggled, 1_000_000)] {
        store.record_alert(row).wait().unwrap();
    }
    // A later click of the same target is another alert.
    let later = AlertRow {
        last_click_us: NOW,
        ..late.clone()
    };
    store.record_alert(later.clone()).wait().unwrap();
    let all = store.reader().alerts(&AlertQuery::default()).unwrap();
    assert_eq!(all, [late.clone(), later, alert(AlertKind::Smuggled, 1_000_000)]);
    assert_eq!(
        store.reader().last_alerted(AlertKind::LateListing, &late.url).unwrap(),
        Some(NOW)
    );
    assert_eq!(
        store.reader().last_alerted(AlertKind::Smuggled, &late.url).unwrap(),
        None
    );
    let of_kind = AlertQuery {
        kind: Some(AlertKind::Smuggled),
        ..AlertQuery::default()
    };
    assert_eq!(store.reader().alerts(&of_kind).unwrap().len(), 1);

    let table = out(&home.run(&["alerts"]));
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains("feed\\u{202e}: phishing (url)") && !table.contains('\u{202e}'),
        "{table}"
    );
    let json = json_lines(&out(&home.run(&[
        "alerts",
        "--json",
        "--since",
        "2026-11-22T00:00:01Z",
    ])));
    assert_eq!(json.len(), 1);
    assert_eq!(
        json[0].to_string(),
        "{\"detail\":\"phishing (url)\",\"event_ids\":[\"01010101010101010101010101010101\"],\
         \"first_click\":\"2026-11-21T23:59:59.999993Z\",\"kind\":\"smuggled\",\"last_click\":\"2026-11-21T23:59:59.999995Z\",\
         \"machines\":2,\"people\":3,\"source\":\"feed\u{202e}\",\"time\":\"2026-11-22T00:00:01.000000Z\",\"unknown\":1,\
         \"url\":\"https://bad.example/1000000\"}"
    );
}

#[test]
fn people_and_machines_are_both_counted_wherever_clicks_are_shown() {
    let home = Home::new();
    let store = Store::open(&home.path("linkgate.db")).unwrap();
    let labels = [
        Label::Person,
        Label::LikelyPerson,
        Label::Machine,
        Label::LikelyMachine,
        Label::Machine,
        Label::Unknown,
    ];
    for (n, label) in labels.into_iter().enumerate() {
        let row = ClickRow {
            label,
            ..click(n as u128, NOW)
        };
        store.record_click(row).wait().unwrap();
    }
    let counts = "2 by people or likely people, 3 set aside as machines, 1 unknown\n";
    let table = home.run(&["clicks"]);
    assert!(
        out(&table).ends_with(counts) && err(&table).is_empty(),
        "{}",
        out(&table)
    );
    assert!(
        out(&table).contains("likely-machine  warn       warned           https://shop.example/3\n"),
        "{}",
        out(&table)
    );
    for form in ["--csv", "--json"] {
        let output = home.run(&["clicks", form]);
        assert_eq!(err(&output), counts);
        assert!(!out(&output).contains("set aside"));
    }
    let output = home.run(&["clicks", "--json", "--label", "machine", "--verdict", "warn"]);
    assert_eq!(json_lines(&out(&output)).len(), 2);
    assert!(err(&output).starts_with("0 by people or likely people, 2 set aside"));
    assert_eq!(code(&home.run(&["clicks", "--label", "people"])), 64);
    let output = home.run(&["clicks", "relabel"]);
    assert_eq!(out(&output), "6 of 6 clicks relabelled\n", "{}", err(&output));
    assert_eq!(
        out(&home.run(&["clicks", "relabel", "--since", "2026-11-22"])),
        "0 of 6 clicks relabelled\n"
    );
}

#[test]
fn a_clock_that_jumps_back_loses_no_click() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    for (n, at) in [
        (1, NOW),
        (2, NOW - 86_400_000_000),
        (3, NOW + 1),
        (4, -5),
        (5, i64::MAX),
    ] {
        store.record_click(click(n, at)).wait().unwrap();
    }
    let order: Vec<u8> = rows(store.reader()).iter().map(|r| r.event_id.0[15]).collect();
    assert_eq!(order, [4, 2, 1, 3, 5]);
    assert_eq!(relabel(&store, &Machines::default(), None).unwrap().seen, 5);
    assert_eq!(relabel(&store, &Machines::default(), None).unwrap().changed, 0);
}

/// Runs a test of this binary in a process of its own.
fn test_process(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Runs a test of this binary with a small disk of its own in `LINKGATE_TEST_DISK`, in a namespace where that needs no
/// rights; it has to say this. False when no such disk can be made here.
pub(crate) fn on_a_small_disk(test: &str, said: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let child = test_process(test);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command
        .arg("mount -t tmpfs -o size=3m tmpfs \"$LINKGATE_TEST_DISK\" || exit 77; exec \"$@\"")
        .arg("sh");
    command.arg(child.get_program()).args(child.get_args());
    let output = command.env("LINKGATE_TEST_DISK", folder.path()).output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) => output,
        other => {
            eprintln!("left out: no disk of one's own can be made here: {other:?}");
            return false;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(said), "{text}");
    true
}

#[test]
fn a_full_disk_loses_no_click_that_was_said_to_be_kept() {
    on_a_small_disk(
        "ledger::records::fill_the_disk_and_make_room_again",
        "the disk was full, and all that was kept is there",
    );
}

/// The child of the test above: not a test by itself.
#[test]
#[ignore = "run by a_full_disk_loses_no_click_that_was_said_to_be_kept"]
fn fill_the_disk_and_make_room_again() {
    let Ok(disk) = std::env::var("LINKGATE_TEST_DISK") else {
        return;
    };
    let disk = Path::new(&disk);
    let ledger = Ledger::open(&disk.join("s.db")).unwrap();
    // What takes the room, and gives it back.
    let filler = disk.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut kept = Vec::new();
    let mut lost = 0;
    runtime.block_on(async {
        for n in 0..40u128 {
            let began = Instant::now();
            match ledger.click(click(n, NOW + n as i64)).await {
                ClickRecorded::Lost => lost += 1,
                ClickRecorded::Stored | ClickRecorded::Spilled => kept.push(EventId(n.to_be_bytes())),
            }
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "click {n} took {:?}",
                began.elapsed()
            );
        }
    });
    assert!(lost > 0, "the disk was not full");
    // An alert, too, that nobody waits for.
    assert!(ledger.alert(alert(AlertKind::Smuggled, 0)));
    fs::remove_file(&filler).unwrap();
    let reader = ledger.store().reader();
    eventually("the store takes rows again", Duration::from_secs(30), || {
        let stored = rows(reader);
        kept.iter().all(|id| stored.iter().any(|row| row.event_id == *id))
            && reader.alerts(&AlertQuery::default()).unwrap().len() == 1
    });
    let after = runtime.block_on(ledger.click(click(1_000, NOW)));
    assert_eq!(after, ClickRecorded::Stored);
    let stored = rows(reader);
    let one = stored
        .iter()
        .find(|row| row.event_id == EventId(1_000u128.to_be_bytes()))
        .unwrap();
    assert_eq!(*one, click(1_000, NOW));
    println!(
        "the disk was full, and all that was kept is there ({} kept, {lost} lost)",
        kept.len()
    );
}
