//! The store as its users meet it: files on disk, several threads, sudden death.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use link::{LinkDecision, Verdict};
use proptest::prelude::*;
use store::{
    ClickQuery, ClickRow, EventId, Facts, Health, Label, LinkRow, MessageRow, Method, Notice, Outcome, Reader, Reason,
    ReferenceRow, Store, StoreError,
};

fn click(n: u128) -> ClickRow {
    ClickRow {
        user: Some("anna@example.com".to_owned()),
        url: format!("https://shop.example/{n}"),
        host: "shop.example".to_owned(),
        mail_id: "m1".to_owned(),
        sender: "news@shop.example".to_owned(),
        policy_domain: "example.com".to_owned(),
        user_agent: "Agent/1.0".to_owned(),
        client_ip: Some("203.0.113.0/24".to_owned()),
        method: Method::Get,
        outcome: Outcome::ClickedThrough,
        verdict: Some(Verdict::Warn),
        reasons: vec![Reason {
            source: "score".to_owned(),
            code: "look-alike".to_owned(),
            detail: "bank.example".to_owned(),
            about: "https://shop.example/".to_owned(),
        }],
        chain: vec!["https://short.example/x".to_owned()],
        page_event: Some(EventId([7; 16])),
        label: Label::Person,
        label_reasons: vec!["button".to_owned()],
        rules: 1,
        facts: Facts {
            fetch_mode: Some("navigate".to_owned()),
            dnt: true,
            issued_at_s: Some(-5),
            ..Facts::default()
        },
        ..ClickRow::new(EventId(n.to_be_bytes()), 1_000_000 + n as i64)
    }
}

fn message(mail_id: &str) -> MessageRow {
    MessageRow {
        mail_id: mail_id.to_owned(),
        message_id: Some("<1@shop.example>".to_owned()),
        sender: "news@shop.example".to_owned(),
        recipients: vec![
            "anna@example.com".to_owned(),
            "Anna@example.com".to_owned(),
            "bo@example.com".to_owned(),
        ],
        received_at_us: 7,
        listener: "127.0.0.1:10025".to_owned(),
        policy_domain: Some("example.com".to_owned()),
        links_found: 2,
        links_wrapped: 1,
        links_kept: 1,
        links: vec![
            LinkRow {
                url: "https://a.example/".into(),
                decision: LinkDecision::Wrap,
                reason: "policy".into(),
            },
            LinkRow {
                url: "https://b.example/".into(),
                decision: LinkDecision::Keep,
                reason: "bypass-url".into(),
            },
        ],
    }
}

fn reference(n: u8) -> ReferenceRow {
    ReferenceRow {
        id: [n; 16],
        target: "https://long.example/".to_owned() + &"x".repeat(3000),
        written: Some(vec![0, 0xff, n]),
        mail_id: "m1".to_owned(),
        created_at_us: 9,
    }
}

fn all(store: &Reader) -> Vec<ClickRow> {
    store.clicks(&ClickQuery::default()).collect::<Result<_, _>>().unwrap()
}

/// Waits until `done`, or fails.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The file as another program sees it: for locks, and for what no query of ours shows.
pub(crate) struct Raw(rusqlite::Connection);

pub(crate) fn raw(path: &Path) -> Raw {
    Raw(rusqlite::Connection::open(path).unwrap())
}

impl Raw {
    /// How many rows a table has.
    pub(crate) fn count(&self, table: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.0
            .query_row(&sql, [], |r| r.get::<_, i64>(0))
            .unwrap()
            .cast_unsigned()
    }

    pub(crate) fn run(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.0.prepare(sql).unwrap();
        statement
            .query_map([], |r| r.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

#[test]
fn rows_come_back_as_they_went_in_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let mut odd = click(2);
    odd.user = None;
    odd.client_ip = None;
    odd.method = Method::Head;
    odd.verdict = None;
    odd.page_event = None;
    odd.chain = vec!["\" \0 ' \\".to_owned(); 3];
    odd.reasons.clear();
    odd.facts = Facts::default();
    odd.sender = String::new();
    odd.user_agent = "\0 \u{1b}[2J ' \u{1f980}".to_owned();
    {
        let store = Store::open(&path).unwrap();
        store.record_click(click(1)).wait().unwrap();
        store.record_click(odd.clone()).wait().unwrap();
        store.store_references(vec![reference(1), reference(2)]).wait().unwrap();
        store.record_message(message("m1"));
        // Nobody waits for the message: closing must.
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(all(store.reader()), [click(1), odd]);
    assert_eq!(store.reference(&[2; 16]).unwrap(), Some(reference(2)));
    assert_eq!(store.reference(&[3; 16]).unwrap(), None);
    let database = raw(&path);
    let counts = ["click", "message", "reference"].map(|table| database.count(table));
    assert_eq!(counts, [2, 1, 2]);
    assert_eq!(
        database.rows("SELECT address FROM recipient ORDER BY address"),
        ["anna@example.com", "bo@example.com"]
    );
    assert_eq!(
        database.rows("SELECT position || ' ' || url || ' ' || decision || ' ' || reason FROM link ORDER BY position"),
        [
            "0 https://a.example/ wrapped policy",
            "1 https://b.example/ kept bypass-url"
        ]
    );
}

#[test]
fn an_event_that_comes_twice_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    let mut again = click(1);
    again.url = "https://other.example/".to_owned();
    for row in [click(1), again] {
        store.record_click(row).wait().unwrap();
    }
    store.store_references(vec![reference(1), reference(1)]).wait().unwrap();
    store.record_message(message("m1"));
    store.record_message(message("m1"));
    store.flush().wait().unwrap();
    assert_eq!(all(store.reader()), [click(1)]);
    let database = raw(store.reader().path());
    assert_eq!((database.count("message"), database.count("reference")), (1, 1));
}

#[test]
fn files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).unwrap();
    store.record_click(click(1)).wait().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.file_name()
        );
    }
}

#[test]
fn what_cannot_be_opened_is_named_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let error = |name: &str| Store::open(&at(name)).unwrap_err().to_string();

    assert!(error("no/s.db").contains("no does not exist"), "{}", error("no/s.db"));
    fs::create_dir(at("folder")).unwrap();
    assert!(error("folder").ends_with("a folder, not a file"));
    fs::write(at("file"), "").unwrap();
    assert!(error("file/s.db").contains("file is not a folder"));

    fs::write(at("text"), "This is no database at all. ".repeat(100)).unwrap();
    assert!(
        matches!(Store::open(&at("text")), Err(StoreError::NotAStore { .. })),
        "{}",
        error("text")
    );
    assert_eq!(
        fs::read_to_string(at("text")).unwrap().len(),
        2800,
        "a stranger's file was changed"
    );

    raw(&at("other.db")).run("CREATE TABLE theirs (x)");
    let before = fs::read(at("other.db")).unwrap();
    assert!(error("other.db").contains("another program"), "{}", error("other.db"));
    assert_eq!(
        fs::read(at("other.db")).unwrap(),
        before,
        "a stranger's database was changed"
    );

    drop(Store::open(&at("newer.db")).unwrap());
    raw(&at("newer.db")).run("PRAGMA user_version = 99");
    assert!(matches!(
        Store::open(&at("newer.db")),
        Err(StoreError::NewerSchema { found: 99, .. })
    ));
    assert!(matches!(
        Reader::open(&at("newer.db")),
        Err(StoreError::NewerSchema { found: 99, .. })
    ));

    assert!(matches!(Reader::open(&at("nothing.db")), Err(StoreError::Missing(_))));
    assert!(!at("nothing.db").exists(), "a query made a file");
    fs::write(at("empty.db"), "").unwrap();
    assert!(matches!(
        Reader::open(&at("empty.db")),
        Err(StoreError::OlderSchema { found: 0, .. })
    ));

    drop(Store::open(&at("locked.db")).unwrap());
    let other = raw(&at("locked.db"));
    other.run("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    assert!(
        matches!(Store::open(&at("locked.db")), Err(StoreError::Locked(_))),
        "{}",
        error("locked.db")
    );
}

#[test]
fn a_reader_cannot_write_and_does_not_need_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(all(&reader), []);
    store.record_click(click(1)).wait().unwrap();
    assert_eq!(all(&reader), [click(1)]);
    drop(store);
    assert_eq!(all(&reader), [click(1)]);
}

#[test]
fn concurrent_writers_share_commits_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    std::thread::scope(|s| {
        for thread in 0..8u128 {
            let store = store.clone();
            s.spawn(move || {
                let receipts: Vec<_> = (0..100).map(|n| store.record_click(click(thread * 100 + n))).collect();
                receipts.into_iter().for_each(|r| r.wait().unwrap());
            });
        }
    });
    assert_eq!(all(store.reader()).len(), 800);
    let counts = store.counts();
    assert_eq!((counts.clicks, counts.failures, counts.waiting), (800, 0, 0));
    assert!(counts.commits < 400, "800 rows took {} commits", counts.commits);
}

#[test]
fn pages_of_a_long_answer_join_without_gap_or_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).unwrap();
    // Many rows of one and the same time: the border between two pages runs through them.
    let receipts: Vec<_> = (0..1234u128)
        .map(|n| {
            let mut row = click(n);
            row.at_us = 5 + (n as i64) / 700;
            store.record_click(row)
        })
        .collect();
    receipts.into_iter().for_each(|r| r.wait().unwrap());
    let found = all(store.reader());
    assert_eq!(found.len(), 1234);
    assert_eq!(found.iter().map(|c| c.event_id).collect::<HashSet<_>>().len(), 1234);
    assert!(found.is_sorted_by_key(|c| c.at_us));
}

#[test]
fn a_lock_delays_rows_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let store = {
        let heard = Arc::clone(&heard);
        Store::open_watched(&path, move |n: &Notice| heard.lock().unwrap().push(n.clone())).unwrap()
    };
    let other = raw(&path);
    other.run("BEGIN IMMEDIATE");

    let began = Instant::now();
    let failed = store.record_click(click(1)).wait();
    assert!(
        matches!(&failed, Err(StoreError::Write(why)) if why.contains("locked")),
        "{failed:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(matches!(store.health(), Health::Failing(_)));
    // Between two tries nobody waits for the lock again.
    store.record_message(message("m1"));
    assert!(store.record_click(click(2)).wait().is_err());
    assert!(store.store_references(vec![reference(1)]).wait().is_err());
    assert!(store.counts().waiting >= 2);
    let flushed = store.flush().wait();
    assert!(
        matches!(&flushed, Err(StoreError::Write(_))),
        "it answers, and not that there is no room: {flushed:?}"
    );

    other.run("ROLLBACK");
    eventually("rows kept in memory are stored", || {
        store.counts().waiting == 0 && store.health() == Health::Writing
    });
    assert_eq!(all(store.reader()), [click(1), click(2)]);
    let database = raw(store.reader().path());
    // The receipt of the reference said that it is not stored, and so it is not.
    assert_eq!((database.count("message"), database.count("reference")), (1, 0));
    let heard = heard.lock().unwrap();
    assert!(
        matches!(heard[..], [Notice::Failing { .. }, Notice::Recovered { .. }]),
        "{heard:?}"
    );
}

#[test]
fn a_backlog_has_a_limit_and_what_is_beyond_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let lost = Arc::new(Mutex::new(0));
    let store = {
        let lost = Arc::clone(&lost);
        let watch = move |n: &Notice| *lost.lock().unwrap() += u64::from(matches!(n, Notice::MessageLost { .. }));
        Store::open_watched(&path, watch).unwrap()
    };
    let other = raw(&path);
    other.run("BEGIN IMMEDIATE");
    assert!(store.record_click(click(0)).wait().is_err());
    let mut big = click(1);
    big.url = "x".repeat(1 << 20);
    let errors: Vec<_> = (1..=12u128)
        .map(|n| {
            let row = ClickRow {
                event_id: EventId(n.to_be_bytes()),
                ..big.clone()
            };
            store.record_click(row).wait().unwrap_err()
        })
        .collect();
    let kept = errors.iter().filter(|e| matches!(e, StoreError::Write(_))).count();
    let refused = errors.iter().filter(|e| matches!(e, StoreError::Full)).count();
    assert_eq!((kept, refused), (7, 5));
    let mut long = message("long");
    long.links = vec![LinkRow {
        url: "y".repeat(2 << 20),
        decision: LinkDecision::Keep,
        reason: "off".into(),
    }];
    store.record_message(long);
    eventually("the lost message is told", || *lost.lock().unwrap() == 1);
    assert_eq!(store.counts().lost, 1);
    other.run("ROLLBACK");
    eventually("the rest is stored", || store.counts().waiting == 0);
    assert_eq!(all(store.reader()).len(), 8);
}

#[test]
fn a_row_that_never_fits_does_not_keep_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).unwrap();
    raw(&path).run(
        "CREATE TRIGGER refuse BEFORE INSERT ON click WHEN new.url = 'https://shop.example/2' BEGIN \
         SELECT RAISE(ABORT, 'not this one'); END",
    );
    let [one, two, three] = [1, 2, 3].map(|n| store.record_click(click(n)));
    one.wait().unwrap();
    assert!(matches!(two.wait(), Err(StoreError::Row(_))));
    three.wait().unwrap();
    assert_eq!(store.health(), Health::Writing);
    assert_eq!(all(store.reader()), [click(1), click(3)]);
}

#[test]
fn the_log_is_copied_into_the_file_in_quiet_moments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).unwrap();
    store.record_click(click(1)).wait().unwrap();
    // The file alone, without the log beside it, has the row once a quiet moment has passed.
    let copy = folder.path().join("copy.db");
    eventually("the row is in the file itself", || {
        fs::copy(&path, &copy).unwrap();
        // A copy that was taken in the middle of a write is no database yet.
        let url = rusqlite::Connection::open(&copy)
            .and_then(|c| c.query_row("SELECT url FROM click", [], |row| row.get::<_, String>(0)));
        url.is_ok_and(|url| url == "https://shop.example/1")
    });
}

#[test]
fn the_log_stays_small_without_a_quiet_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).unwrap();
    // One commit for each click writes several pages each time: some 40 MiB of log if nothing held it back.
    std::thread::scope(|s| {
        for thread in 0..2u128 {
            let store = &store;
            s.spawn(move || (0..1200).for_each(|n| store.record_click(click(thread * 10_000 + n)).wait().unwrap()));
        }
    });
    let log = fs::metadata(folder.path().join("s.db-wal")).unwrap().len();
    assert!(
        store.counts().commits > 1000 && log < 20 << 20,
        "{log} octets of log, {:?}",
        store.counts()
    );
}

#[test]
fn killed_at_any_time_every_acknowledged_click_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    for round in 0..3u128 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "ledger::store::acknowledge_clicks_until_killed",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("LINKGATE_TEST_STORE", &path)
            .env("LINKGATE_TEST_FIRST", (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 300 {
            let line = lines.next().expect("the child ended by itself").unwrap();
            acknowledged.extend(line.strip_prefix("ack ").map(|n| n.parse::<u128>().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was said before the kill took effect counts as well.
        acknowledged.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|l| l.strip_prefix("ack ")?.parse::<u128>().ok()),
        );
        let stored: HashSet<_> = all(Store::open(&path).unwrap().reader())
            .into_iter()
            .map(|c| c.event_id)
            .collect();
        for n in acknowledged {
            assert!(
                stored.contains(&EventId(n.to_be_bytes())),
                "round {round}: click {n} was acknowledged and is gone"
            );
        }
    }
}

/// The child of the test above: not a test by itself.
#[test]
#[ignore = "run by killed_at_any_time_every_acknowledged_click_is_there"]
fn acknowledge_clicks_until_killed() {
    let Ok(path) = std::env::var("LINKGATE_TEST_STORE") else {
        return;
    };
    let first: u128 = std::env::var("LINKGATE_TEST_FIRST").unwrap().parse().unwrap();
    let store = Store::open(Path::new(&path)).unwrap();
    std::thread::scope(|s| {
        for thread in 0..4 {
            let store = &store;
            s.spawn(move || {
                for n in 0..100_000 {
                    let n = first + thread * 100_000 + n;
                    store.record_click(click(n)).wait().unwrap();
                    // One write per line, past the test harness.
                    let _ = std::io::stdout().lock().write_all(format!("ack {n}\n").as_bytes());
                }
            });
        }
    });
}

fn some_click() -> impl Strategy<Value = (i64, Option<&'static str>, &'static str, &'static str)> {
    let user = prop::option::of(prop::sample::select(vec![
        "a@x.example",
        "A@X.example",
        "b@x.example",
        "ä@x.example",
        "",
    ]));
    let domain = prop::sample::select(vec!["x.example", "y.example"]);
    let host = prop::sample::select(vec!["h.example", "i.example", "[::1]"]);
    (-5i64..5, user, domain, host)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_filter_in_memory_finds(
        rows in prop::collection::vec(some_click(), 0..30),
        since in prop::option::of(-6i64..6),
        user in prop::option::of(prop::sample::select(vec!["a@x.example", "B@x.EXAMPLE", "Ä@x.example", "ä@x.example", "%"])),
        domain in prop::option::of(prop::sample::select(vec!["x.example", "Y.EXAMPLE", "z.example"])),
        host in prop::option::of(prop::sample::select(vec!["h.example", "H.example", "[::1]"])),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s.db")).unwrap();
        let rows: Vec<ClickRow> = rows
            .into_iter()
            .enumerate()
            .map(|(n, (at_us, user, domain, host))| ClickRow {
                at_us,
                user: user.map(str::to_owned),
                policy_domain: domain.to_owned(),
                host: host.to_owned(),
                ..click(n as u128)
            })
            .collect();
        for row in &rows {
            // Not waited for one by one: the order of handing in is the order of rows.
            drop(store.record_click(row.clone()));
        }
        store.flush().wait().unwrap();
        let same = |asked: Option<&str>, value: Option<&str>| {
            asked.is_none_or(|asked| value.is_some_and(|value| value.eq_ignore_ascii_case(asked)))
        };
        let mut want: Vec<ClickRow> = rows
            .into_iter()
            .filter(|r| since.is_none_or(|since| r.at_us >= since))
            .filter(|r| same(user, r.user.as_deref()))
            .filter(|r| same(domain, Some(&r.policy_domain)) && same(host, Some(&r.host)))
            .collect();
        want.sort_by_key(|r| r.at_us);
        let query = ClickQuery {
            since_us: since,
            user: user.map(str::to_owned),
            domain: domain.map(str::to_owned),
            host: host.map(str::to_owned),
            ..ClickQuery::default()
        };
        let found: Vec<ClickRow> = store.clicks(&query).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(found, want);
    }
}
