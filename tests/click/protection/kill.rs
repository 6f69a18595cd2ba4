//! `kill -9` under clicks: what a reader was told has been recorded.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use link::Verdict;
use store::{Label, Outcome};

use super::program::Program;
use super::{LISTED, LISTS, PATIENCE, eventually, reader};
use crate::ledger::store::raw;

const HOSTS: [(&str, u16, Outcome, Verdict); 3] = [
    ("good.example", 302, Outcome::Redirected, Verdict::Allow),
    ("odd.example", 200, Outcome::Warned, Verdict::Warn),
    ("bad.example", 403, Outcome::Blocked, Verdict::Block),
];

/// The status of the answer; nothing when there was none.
fn click(address: SocketAddr, path: &str, fields: &str) -> Option<u16> {
    // Nobody may be there just now.
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let head = answer.contains("\r\n\r\n");
    head.then(|| answer.split(' ').nth(1).unwrap().parse().unwrap())
}

#[test]
fn kill_nine_under_clicks_loses_no_click_whose_answer_was_read() {
    let mut program = Program::start(&format!("[domain.\"on.test\"]\n{LISTS}"), &LISTED);
    eventually("the lists", || {
        program.ask("GET", &program.path("on.test", "https://warm.example/"), &reader(9));
        program.row().verdict == Some(Verdict::Allow)
    });
    // Links are made beforehand: the clients only click.
    let links: Vec<_> = (0..6_000)
        .map(|n| {
            let url = format!("https://{}/{n}", HOSTS[n % 3].0);
            (program.path("on.test", &url), url)
        })
        .collect();
    let (told, stop) = (Mutex::new(HashMap::new()), AtomicBool::new(false));
    let address = RwLock::new(program.address());
    std::thread::scope(|s| {
        for client in 0..4 {
            let (links, told, stop, address) = (&links, &told, &stop, &address);
            s.spawn(move || {
                for n in (client..links.len()).step_by(4) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let at = *address.read().unwrap();
                    match click(at, &links[n].0, &reader(n)) {
                        Some(status) => drop(told.lock().unwrap().insert(n, status)),
                        None => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            });
        }
        for round in 0..4 {
            // Every other time the store is locked by another program, so that clicks are beside it when the end comes.
            let other = (round % 2 == 1).then(|| raw(&program.store()));
            std::thread::sleep(Duration::from_millis(400));
            if let Some(other) = &other {
                other.run("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE");
                std::thread::sleep(Duration::from_millis(1_800));
            }
            program.kill();
            drop(other);
            program.kill_and_restart();
            *address.write().unwrap() = program.address();
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    program.kill_and_restart();
    let told = told.into_inner().unwrap();
    assert!(told.len() > 100, "too little happened: {}", told.len());
    let mut rows = HashMap::new();
    eventually("every click that was answered", || {
        let all: Vec<_> = program
            .rows()
            .into_iter()
            .filter(|row| row.host != "warm.example")
            .collect();
        let count = all.len();
        rows = all.into_iter().map(|row| (row.url.clone(), row)).collect();
        assert_eq!(count, rows.len(), "a click was stored twice");
        told.keys().all(|n| rows.contains_key(&links[*n].1))
    });
    for (n, status) in &told {
        let row = &rows[&links[*n].1];
        let (_, wanted, outcome, verdict) = HOSTS[n % 3];
        // Just after a start the lists are being read: they could not be asked then.
        if row.verdict == Some(Verdict::Unchecked) {
            assert!(row.reasons.iter().any(|r| r.code == "could-not-ask"), "{row:?}");
            continue;
        }
        assert_eq!(
            (*status, row.outcome, row.verdict),
            (wanted, outcome, Some(verdict)),
            "{row:?}"
        );
        assert_eq!(row.reasons.is_empty(), verdict == Verdict::Allow, "{row:?}");
        assert!(matches!(row.label, Label::Person | Label::LikelyPerson), "{row:?}");
        let facts = &row.facts;
        assert!(
            facts.accept.is_some() && facts.network.is_some() && facts.issued_at_s.is_some(),
            "{row:?}"
        );
    }
    let checked = told
        .keys()
        .filter(|n| rows[&links[**n].1].verdict != Some(Verdict::Unchecked));
    assert!(checked.count() > 50);
    assert!(
        !program.logged("put beside the store").is_empty(),
        "no click had to wait beside the store"
    );
    println!("{} clicks answered, {} rows", told.len(), rows.len());
}
