//! Whether a target is asked: a web server counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use link::{Contact, Word};
use store::{Label, Outcome};
use strum::VariantArray;

use super::program::Program;
use super::reader;

/// A web server that notes each connection, and what is asked on it.
struct Counter {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Counter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                let _ = stream.read_line(&mut line);
                noted.lock().unwrap().push(line.trim_end().to_owned());
                while stream.read_line(&mut line).is_ok_and(|n| n > 2) {}
                let body = "Words to read. ".repeat(100);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

#[test]
fn a_target_is_asked_for_people_only_and_no_further_than_the_policy_goes() {
    let target = Counter::start();
    // An address in place of a name counts against a link; that is not what this is about.
    let levels = Contact::VARIANTS
        .iter()
        .map(|contact| contact.as_str())
        .map(|word| format!("[domain.\"{word}.test\"]\ncontact = \"{word}\"\n"));
    let config = format!(
        "[contact]\nallow = [\"{}\"]\n[machines]\nnetworks = [\"198.51.100.0/24\"]\n[default]\nwarn_score = 0\n{}",
        target.address,
        levels.collect::<String>()
    );
    let program = Program::start(&config, &[]);
    let person = reader(1);
    let bare = "X-Forwarded-For: 203.0.113.9\r\n";
    let one_time = "/reset-password?token=8f2b1c9d7e6a5f4b3c2d1e0f";
    let machines = [Label::Machine, Label::LikelyMachine];
    let cases: [(&str, &str, &str, String, &[Label]); 11] = [
        ("full.test", "/head", "HEAD", person.clone(), &machines[..1]),
        (
            "full.test",
            "/prefetch",
            "GET",
            format!("{person}Sec-Purpose: prefetch;prerender\r\n"),
            &machines[..1],
        ),
        (
            "full.test",
            "/purpose",
            "GET",
            format!("{person}Purpose: prefetch\r\n"),
            &machines[..1],
        ),
        (
            "full.test",
            "/bot",
            "GET",
            format!("{bare}User-Agent: Slackbot-LinkExpanding 1.0\r\n"),
            &machines[..1],
        ),
        (
            "full.test",
            "/network",
            "GET",
            person.replace("203.0.0.1", "198.51.100.7"),
            &machines[..1],
        ),
        (
            "full.test",
            "/tool",
            "GET",
            format!("{bare}User-Agent: curl/8.9.1\r\n"),
            &machines[1..],
        ),
        (
            "full.test",
            "/library",
            "GET",
            format!("{bare}User-Agent: python-requests/2.32\r\n"),
            &machines[1..],
        ),
        ("full.test", "/nameless", "GET", bare.to_owned(), &machines[1..]),
        (
            "lists.test",
            "/lists",
            "GET",
            person.clone(),
            &[Label::Person, Label::LikelyPerson],
        ),
        (
            "shorteners.test",
            "/long",
            "GET",
            person.clone(),
            &[Label::Person, Label::LikelyPerson],
        ),
        (
            "full.test",
            one_time,
            "GET",
            person.clone(),
            &[Label::Person, Label::LikelyPerson],
        ),
    ];
    for (domain, path, method, fields, labels) in &cases {
        let answer = program.ask(method, &program.path(domain, &target.url(path)), fields);
        assert!(matches!(answer.status, 200 | 302), "{path}: {}", answer.head);
        let row = program.row();
        assert!(
            labels.contains(&row.label),
            "{path}: {:?} {:?}",
            row.label,
            row.label_reasons
        );
        let neutral = row.outcome == Outcome::Neutral;
        assert_eq!(neutral, row.label == Label::Machine, "{path}: {:?}", row.outcome);
    }
    // What is late would come before the person's request, or within the second after it.
    let answer = program.ask("GET", &program.path("full.test", &target.url("/person")), &person);
    let row = program.row();
    assert_eq!(
        (answer.status, row.outcome),
        (302, Outcome::Redirected),
        "{:?}",
        row.reasons
    );
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(target.seen(), ["GET /person HTTP/1.1"], "and nothing for anyone else");
    let skipped = program
        .rows()
        .into_iter()
        .find(|row| row.url.ends_with(one_time))
        .unwrap();
    let why = skipped.reasons.iter().find(|r| r.source == "contact").unwrap();
    assert_eq!((&*why.code, &*why.detail), ("not-asked", "looks-one-time"));
}
