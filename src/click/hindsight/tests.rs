use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use link::{Category, Scope, Weight};
use store::{AlertQuery, ClickRow, Outcome, Reason};

use super::*;
use crate::config::keyfile::Absent;

const NOW: i64 = 1_795_305_600_000_000;
const MINUTE: i64 = 60_000_000;

/// A list that a test can change.
#[derive(Debug)]
struct TestList {
    name: &'static str,
    names: Mutex<HashMap<String, Category>>,
    generation: watch::Sender<u64>,
}

impl TestList {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            names: Mutex::default(),
            generation: watch::Sender::new(0),
        })
    }

    fn add(&self, url: &str) {
        self.names.lock().unwrap().insert(url.to_owned(), Category::Phishing);
        self.generation.send_modify(|n| *n += 1);
    }
}

/// Several lists that are asked as one.
#[derive(Debug)]
struct TestLists(Vec<Arc<TestList>>);

impl Sources for TestLists {
    fn local(&self, target: &Target) -> Vec<Evidence> {
        self.0.iter().flat_map(|list| list.local(target)).collect()
    }
}

impl Sources for TestList {
    fn local(&self, target: &Target) -> Vec<Evidence> {
        let names = self.names.lock().unwrap();
        let evidence = |finding| Evidence {
            source: self.name.into(),
            about: target.as_str().to_owned(),
            finding,
        };
        vec![evidence(match names.get(target.as_str()) {
            Some(category) => Finding::Listed(Listing {
                category: *category,
                scope: Scope::Url,
                weight: Weight::Block,
            }),
            None => Finding::CouldNotAsk("no copy yet".into()),
        })]
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.generation.subscribe()]
    }
}

struct TestSite {
    ledger: Ledger,
    settings: Arc<Settings>,
    seen: LastAlerted,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl TestSite {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let text = "[click]\npublic_url = \"https://c.example\"\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\n\
                    [store]\nurl = \"sqlite:/nowhere/s.db\"\n[keys]\nfile = \"/nowhere/k.toml\"\n\
                    [[listener]]\nprotocol = \"smtp\"\nlisten = \"127.0.0.1:3\"\nnext_hop = \"smtp://127.0.0.1:4\"\n";
        Self {
            ledger: Ledger::open(&path).unwrap(),
            settings: Arc::new(Settings::from_toml(text, Path::new("test"), Absent::Pretend).unwrap()),
            seen: LastAlerted::default(),
            path,
            _folder: folder,
        }
    }

    fn click(&self, n: u128, url: &str, at_us: i64, more: impl FnOnce(&mut ClickRow)) {
        let mut row = ClickRow {
            url: url.to_owned(),
            user: Some(format!("u{n}@example.com")),
            mail_id: format!("m{n}"),
            user_agent: "Mozilla/5.0 Firefox/150.0".to_owned(),
            ..ClickRow::new(EventId(n.to_be_bytes()), at_us)
        };
        row.facts.fetch_mode = Some("navigate".to_owned());
        row.facts.fetch_dest = Some("document".to_owned());
        row.facts.accept = Some("text/html".to_owned());
        row.facts.accept_language = Some("de".to_owned());
        more(&mut row);
        self.ledger.store().record_click(row).wait().unwrap();
    }

    fn sweep(&mut self, lists: &[&Arc<TestList>], now: i64) -> usize {
        let lists = TestLists(lists.iter().map(|list| Arc::clone(list)).collect());
        let raised = sweep(&self.ledger, &lists, &self.settings, now, &mut self.seen).unwrap();
        self.ledger.store().flush().wait().unwrap();
        raised
    }

    fn alerts(&self) -> Vec<AlertRow> {
        self.ledger.store().reader().alerts(&AlertQuery::default()).unwrap()
    }
}

const BAD: &str = "https://bad.example/a";

#[test]
fn a_target_that_is_listed_late_raises_one_alert_with_people_and_machines() {
    let (mut place, list) = (TestSite::new(), TestList::new("feed"));
    for n in 0..3 {
        place.click(n, BAD, NOW - n as i64 * MINUTE, |_| {});
    }
    place.click(10, BAD, NOW - 30 * MINUTE, |row| row.user_agent = "curl/8".to_owned());
    place.click(11, BAD, NOW - 40 * MINUTE, |row| row.facts.fetch_mode = None);
    // Those that did not get there, or got there too long ago.
    place.click(20, BAD, NOW, |row| row.outcome = Outcome::Blocked);
    place.click(21, BAD, NOW, |row| row.outcome = Outcome::Warned);
    place.click(22, BAD, NOW - 73 * 60 * MINUTE, |_| {});
    place.click(30, "https://good.example/", NOW, |_| {});
    assert_eq!(place.sweep(&[&list], NOW), 0);
    list.add(BAD);
    assert_eq!(place.sweep(&[&list], NOW + 1), 1);
    let alerts = place.alerts();
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(
        (alert.kind, alert.url.as_str(), alert.source.as_str()),
        (AlertKind::LateListing, BAD, "feed")
    );
    assert_eq!((alert.people, alert.machines, alert.unknown), (3, 1, 1));
    assert_eq!((alert.first_click_us, alert.last_click_us), (NOW - 40 * MINUTE, NOW));
    assert_eq!((alert.events.len(), alert.detail.as_str()), (5, "phishing (url)"));
    assert_eq!(place.ledger.alerts().late_listings, 1);
    // Nothing new: neither for this process nor for the next one.
    assert_eq!(place.sweep(&[&list], NOW + 2), 0);
    place.seen = LastAlerted::default();
    assert_eq!(place.sweep(&[&list], NOW + 3), 0);
    // Another one got there since, by a server that had not heard of it yet.
    place.click(40, BAD, NOW + 4, |_| {});
    assert_eq!(place.sweep(&[&list], NOW + 5), 1);
    assert_eq!(place.alerts()[1].people, 1);
}

#[test]
fn what_was_known_or_allowed_at_the_click_is_no_news() {
    let (mut place, list) = (TestSite::new(), TestList::new("feed"));
    list.add(BAD);
    let reason = |source: &str, code: &str| Reason {
        source: source.to_owned(),
        code: code.to_owned(),
        detail: String::new(),
        about: BAD.to_owned(),
    };
    place.click(1, BAD, NOW, |row| {
        row.outcome = Outcome::ClickedThrough;
        row.reasons = vec![reason("feed", "phishing")];
    });
    place.click(2, BAD, NOW, |row| row.reasons = vec![reason("policy", "bypassed")]);
    place.click(3, BAD, NOW, |row| {
        row.user_agent = "curl/8".to_owned();
    });
    assert_eq!(place.sweep(&[&list], NOW), 0, "passed by choice, allowed, a machine");
    // Warned of by something else, and listed only now.
    place.click(4, BAD, NOW, |row| {
        row.outcome = Outcome::ClickedThrough;
        row.reasons = vec![reason("score", "look-alike")];
    });
    assert_eq!(place.sweep(&[&list], NOW), 1);
}

#[test]
fn the_way_to_a_target_counts_and_says_so() {
    let (mut place, list) = (TestSite::new(), TestList::new("feed"));
    list.add(BAD);
    place.click(1, "https://short.example/1", NOW, |_| {});
    place.click(2, "https://short.example/1", NOW, |row| {
        row.chain = vec![BAD.to_owned()]
    });
    assert_eq!(place.sweep(&[&list], NOW), 1);
    let alert = &place.alerts()[0];
    assert_eq!((alert.url.as_str(), alert.people), ("https://short.example/1", 1));
    assert_eq!(alert.detail, format!("phishing (url), on the way: {BAD}"));
}

#[test]
fn a_store_that_takes_no_rows_does_not_make_alerts_repeat() {
    let (mut place, list) = (TestSite::new(), TestList::new("feed"));
    place.click(1, BAD, NOW, |_| {});
    list.add(BAD);
    let other = rusqlite::Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for (at, wanted) in [(NOW, 1), (NOW + 1, 0)] {
        assert_eq!(
            sweep(&place.ledger, &*list, &place.settings, at, &mut place.seen).unwrap(),
            wanted
        );
    }
    other.execute_batch("ROLLBACK").unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while place.alerts().is_empty() {
        assert!(Instant::now() < end, "the alert is not stored");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(place.alerts().len(), 1);
}

#[test]
fn nothing_is_looked_at_again_where_the_operator_does_not_want_it() {
    let (mut place, list) = (TestSite::new(), TestList::new("feed"));
    place.click(1, BAD, NOW, |_| {});
    list.add(BAD);
    Arc::get_mut(&mut place.settings).unwrap().hindsight.window = Duration::ZERO;
    assert_eq!(place.sweep(&[&list], NOW), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_sets_it_off() {
    let (place, list) = (TestSite::new(), TestList::new("feed"));
    place.click(1, BAD, now_us(), |_| {});
    let (keep, settings) = watch::channel(Arc::clone(&place.settings));
    let watching = tokio::spawn(watch(settings, place.ledger.clone(), list.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(place.ledger.alerts().late_listings, 0);
    list.add("https://other.example/");
    list.add(BAD);
    let end = Instant::now() + Duration::from_secs(20);
    while place.ledger.alerts().late_listings == 0 {
        assert!(Instant::now() < end, "no alert");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(keep);
    watching.await.unwrap();
}
