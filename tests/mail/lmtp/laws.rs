//! What holds for every session whose replies are given for each recipient, whatever the next hop does.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkgate::config::{Dialect, Protocol};
use proptest::prelude::*;
use proptest::sample::select;

use crate::rig::{Options, Peer, Rig};

/// What the next hop does when it is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    Tempfail,
    Refuse,
    Die,
    Garble,
    /// A reply, and another one that nothing asked for.
    Babble,
}

/// One message and all that happens to it.
#[derive(Clone, Debug)]
struct Session {
    protocol: Protocol,
    dialect: Dialect,
    pipelining: bool,
    to: Vec<String>,
    word: &'static str,
    /// More than is kept before it goes on, where nobody wants it changed.
    long: bool,
    moods: Vec<Mood>,
}

fn session() -> impl Strategy<Value = Session> {
    let mood = prop_oneof![
        12 => Just(Mood::Good),
        1 => Just(Mood::Tempfail),
        1 => Just(Mood::Refuse),
        1 => Just(Mood::Die),
        1 => Just(Mood::Garble),
        1 => Just(Mood::Babble),
    ];
    (
        select(&[Protocol::Lmtp, Protocol::Lmtp, Protocol::Smtp][..]),
        select(&[Dialect::Lmtp, Dialect::Smtp][..]),
        (any::<bool>(), any::<bool>()),
        prop_oneof![
            2 => prop::collection::vec(select(&["on.test", "twin.test", "other.test", "off.test"][..]), 1..6),
            1 => prop::collection::vec(Just("off.test"), 1..6),
        ],
        select(&["insert", "insert", "insert-other", "refuse-other", "fail", "nothing"][..]),
        // As many good replies as an envelope of up to five recipients needs, so that most messages get through to the dot.
        (0..8usize, prop::collection::vec(mood, 0..40)),
    )
        .prop_map(
            |(protocol, dialect, (pipelining, long), domains, word, (good, moods))| Session {
                protocol,
                dialect,
                pipelining,
                to: domains
                    .iter()
                    .enumerate()
                    .map(|(n, domain)| format!("u{n}@{domain}"))
                    .collect(),
                word,
                long,
                moods: [vec![Mood::Good; good], moods].concat(),
            },
        )
}

/// What the next hop took: for whom it said 2xx to the dot, and what it read.
type Taken = Mutex<Vec<(Vec<String>, Vec<String>)>>;

/// The next hop: any number of connections, one after the other.
fn next_hop(rig: &Rig, session: &Session, taken: &Taken, over: &AtomicBool) {
    let mut moods: VecDeque<Mood> = session.moods.iter().copied().collect();
    while !over.load(Ordering::SeqCst) {
        if let Some(mut peer) = rig.next_hop_within(Duration::from_millis(5)) {
            peer.greet(if session.pipelining { &["PIPELINING"] } else { &[] });
            serve(&mut peer, session.dialect, &mut moods, taken);
        }
    }
}

/// One connection; `None` at its end.
fn serve(peer: &mut Peer, dialect: Dialect, moods: &mut VecDeque<Mood>, taken: &Taken) -> Option<()> {
    let (mut from, mut to) = (false, Vec::new());
    loop {
        let line = peer.whole_line()?;
        let (verb, rest) = line.split_at(4.min(line.len()));
        match verb {
            "QUIT" => {
                let _ = peer.try_send("221 bye\r\n");
                return None;
            }
            "RSET" => {
                (from, to) = (false, Vec::new());
                answer(peer, moods, "250", "reset", true)?;
            }
            "MAIL" => {
                assert!(!from, "MAIL in a transaction");
                from = answer(peer, moods, "250", "sender", true)?;
            }
            "RCPT" if !from => peer.try_send("503 no MAIL\r\n").ok()?,
            "RCPT" => {
                let address = rest.trim_start_matches(" TO:<").trim_end_matches('>').to_owned();
                if answer(peer, moods, "250", &address, true)? {
                    to.push(address);
                }
            }
            "DATA" if to.is_empty() => peer.try_send("503 no recipients\r\n").ok()?,
            "DATA" => {
                if answer(peer, moods, "354", "go", true)? {
                    let mut message = Vec::new();
                    loop {
                        match peer.whole_line()?.as_str() {
                            "." => break,
                            line => message.push(line.to_owned()),
                        }
                    }
                    dot(peer, dialect, moods, &to, message, taken)?;
                    (from, to) = (false, Vec::new());
                }
            }
            other => panic!("the next hop hears {other:?}"),
        }
    }
}

fn dot(
    peer: &mut Peer,
    dialect: Dialect,
    moods: &mut VecDeque<Mood>,
    to: &[String],
    message: Vec<String>,
    taken: &Taken,
) -> Option<()> {
    let each: Vec<Vec<String>> = match dialect {
        Dialect::Smtp => vec![to.to_vec()],
        Dialect::Lmtp => to.iter().map(|to| vec![to.clone()]).collect(),
    };
    for (n, to) in each.iter().enumerate() {
        // A reply too many between others cannot be told from theirs; behind the last it can.
        let last = n + 1 == each.len();
        // What is said is true at once: who hears 250 may look before we are told that the write is done.
        let said = format!("for {}", to.join(","));
        if moods
            .front()
            .is_none_or(|mood| matches!(mood, Mood::Good | Mood::Babble))
        {
            taken.lock().unwrap().push((to.clone(), message.clone()));
        }
        answer(peer, moods, "250", &said, last)?;
    }
    Some(())
}

/// Answers as the mood is: whether with success; `None` when the connection is over.
fn answer(peer: &mut Peer, moods: &mut VecDeque<Mood>, code: &str, text: &str, may_babble: bool) -> Option<bool> {
    let mood = moods.pop_front().unwrap_or(Mood::Good);
    let (reply, good) = match mood {
        Mood::Babble if may_babble => (format!("{code} {text}\r\n250 by the way\r\n"), true),
        Mood::Good | Mood::Babble => (format!("{code} {text}\r\n"), true),
        Mood::Tempfail => (format!("452 {text}\r\n"), false),
        Mood::Refuse => (format!("550 {text}\r\n"), false),
        Mood::Garble => ("what?\r\n".to_owned(), false),
        Mood::Die => return None,
    };
    peer.try_send(reply).ok()?;
    Some(good)
}

/// What the client learns: who was accepted, and the reply for each of them; `None` when it did not come to that.
fn client(rig: &Rig, session: &Session) -> Option<(Vec<String>, Vec<String>)> {
    let mut peer = rig.client();
    peer.hello();
    let prdr = if session.protocol == Protocol::Smtp {
        " PRDR"
    } else {
        ""
    };
    peer.send(format!("MAIL FROM:<a@x.test>{prdr}\r\n"));
    peer.line()?;
    let mut accepted = Vec::new();
    for to in &session.to {
        peer.send(format!("RCPT TO:<{to}>\r\n"));
        if peer.line()?.starts_with("250 ") {
            accepted.push(to.clone());
        }
    }
    peer.send("DATA\r\n");
    if !peer.line()?.starts_with("354 ") {
        return None;
    }
    let body = "something to read\r\n".repeat(if session.long { 6000 } else { 1 });
    peer.send(format!("X-Test: {}\r\n\r\n{body}.\r\n", session.word));
    let first = peer.line()?;
    let replies = if session.protocol == Protocol::Lmtp {
        let mut replies = vec![first];
        while replies.len() < accepted.len() {
            replies.push(peer.line()?);
        }
        replies
    } else if first.starts_with("353 ") {
        let replies: Vec<String> = accepted.iter().map_while(|_| peer.line()).collect();
        let all = peer.line()?;
        assert_eq!(
            all.starts_with("2"),
            replies.iter().any(|reply| reply.starts_with("2")),
            "{all} after {replies:?}"
        );
        replies
    } else {
        vec![first; accepted.len()]
    };
    peer.send("NOOP\r\nQUIT\r\n");
    // Not one reply more.
    assert_eq!(peer.line().as_deref(), Some("250 2.0.0 Ok"));
    assert!(peer.line().is_some_and(|line| line.starts_with("221 ")));
    Some((accepted, replies))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replies_are_as_many_as_recipients_and_250_is_only_said_of_what_was_taken(session in session()) {
        let rig = Rig::start(&Options {
            protocol: session.protocol,
            dialect: session.dialect,
            ..Options::default()
        });
        let (taken, over) = (Taken::default(), AtomicBool::new(false));
        let told = std::thread::scope(|scope| {
            let hop = scope.spawn(|| next_hop(&rig, &session, &taken, &over));
            let client = scope.spawn(|| client(&rig, &session));
            let told = client.join();
            over.store(true, Ordering::SeqCst);
            hop.join().unwrap();
            told.unwrap()
        });
        let taken = taken.into_inner().unwrap();
        if let Some((accepted, replies)) = told {
            prop_assert_eq!(accepted.len(), replies.len());
            for (to, reply) in accepted.iter().zip(&replies) {
                let got = taken.iter().filter(|(whom, _)| whom.contains(to)).count();
                if reply.starts_with('2') {
                    prop_assert_eq!(got, 1, "{} of {:?}", reply, taken);
                    prop_assert!(reply.contains(to.as_str()), "{} for {}", reply, to);
                } else {
                    prop_assert!(reply.starts_with(['4', '5']), "{}", reply);
                    prop_assert!(got <= 1, "{to} got it {got} times");
                }
            }
        }
        // What was changed for somebody is in no other's hands.
        for (whom, message) in &taken {
            for line in message.iter().filter_map(|line| line.strip_prefix("X-For: a@x.test ")) {
                prop_assert_eq!(whom, &vec![line.to_owned()]);
            }
        }
        rig.assert_nothing_left();
    }
}
