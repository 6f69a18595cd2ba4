//! A reply and a copy for each recipient, and what goes wrong between the copies: nobody is told 250 for a recipient the next
//! hop did not take the message for, and what it took is not taken back.

mod laws;

use std::time::Duration;

use linkgate::config::{Dialect, Protocol};

use crate::rig::{Options, Peer, Rig, eventually};

const KEYWORDS: &[&str] = &["PIPELINING", "SIZE 1000000"];

/// Long enough for a busy machine to answer, short enough to wait for.
const SHORT: Duration = Duration::from_millis(500);

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Dies,
    Stalls,
    Garbles,
}

const FAULTS: [Fault; 3] = [Fault::Dies, Fault::Stalls, Fault::Garbles];

fn lmtp() -> Options {
    Options {
        protocol: Protocol::Lmtp,
        timeout: SHORT,
        ..Options::default()
    }
}

/// A client whose message for these recipients is through up to the final dot, and the next hop behind it.
fn message(rig: &Rig, to: &[&str], word: &str) -> (Peer, Peer) {
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(KEYWORDS);
    client.hello();
    transaction(&mut client, &mut next_hop, to);
    client.send(format!("X-Test: {word}\r\n.\r\n"));
    (client, next_hop)
}

/// MAIL to DATA.
fn transaction(client: &mut Peer, next_hop: &mut Peer, to: &[&str]) {
    let mut commands = vec!["MAIL FROM:<a@x.test>".to_owned()];
    commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
    client.send(commands.join("\r\n") + "\r\nDATA\r\n");
    for command in &commands {
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.expect("354 *");
}

/// As the next hop: takes the envelope of one copy and its message, up to the dot.
fn copy(next_hop: &mut Peer, to: &[&str], reset: bool) -> Vec<String> {
    if reset {
        next_hop.expect("RSET");
        next_hop.send("250 ok\r\n");
    }
    next_hop.expect("MAIL FROM:<a@x.test>");
    next_hop.send("250 ok\r\n");
    for to in to {
        next_hop.expect(&format!("RCPT TO:<{to}>"));
        next_hop.send("250 ok\r\n");
    }
    data(next_hop)
}

/// As the next hop: DATA and the message, up to the dot, without the trace line of what was changed.
fn data(next_hop: &mut Peer) -> Vec<String> {
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    let mut lines = Vec::new();
    loop {
        match next_hop.line() {
            Some(line) if line == "." => return lines,
            Some(line) if lines.is_empty() && line.starts_with("X-Linkgate-Trace: ") => {}
            Some(line) => lines.push(line),
            None => panic!("the message has no end"),
        }
    }
}

/// As the next hop: plays one copy up to the command `step`, hears that one too and fails instead of answering. What is
/// returned keeps the connection from closing.
fn fail(mut next_hop: Peer, commands: &[String], step: usize, fault: Fault) -> Option<Peer> {
    for command in &commands[..step] {
        next_hop.expect(command);
        next_hop.send(if command == "DATA" { "354 go\r\n" } else { "250 ok\r\n" });
    }
    if commands[step] == "." {
        while next_hop.line().is_some_and(|line| line != ".") {}
    } else {
        next_hop.expect(&commands[step]);
    }
    break_off(next_hop, fault)
}

fn break_off(mut next_hop: Peer, fault: Fault) -> Option<Peer> {
    match fault {
        Fault::Dies => return None,
        Fault::Stalls => {}
        Fault::Garbles => next_hop.send("what?\r\n"),
    }
    Some(next_hop)
}

#[test]
fn a_next_hop_that_fails_with_one_copy_fails_with_no_other() {
    let to = ["one@on.test", "two@on.test", "three@on.test"];
    for fault in FAULTS {
        for failing in [0, 1] {
            let mut commands: Vec<String> = [
                "MAIL FROM:<a@x.test>",
                &format!("RCPT TO:<{}>", to[failing]),
                "DATA",
                ".",
            ]
            .map(str::to_owned)
            .into();
            if failing == 0 {
                commands.insert(0, "RSET".to_owned());
            }
            for step in 0..commands.len() {
                let after_dot = step + 1 == commands.len();
                let rig = Rig::start(&Options {
                    final_timeout: Some(SHORT * 2),
                    ..lmtp()
                });
                let (mut client, mut next_hop) = message(&rig, &to, "insert");
                if failing == 1 {
                    let lines = copy(&mut next_hop, &to[..1], true);
                    assert_eq!(lines[0], "X-For: a@x.test one@on.test");
                    next_hop.send("250 first\r\n");
                    client.expect("250 first");
                }
                let left = fail(next_hop, &commands, step, fault);
                client.expect("451 4.*");
                let rest = &to[failing + 1..];
                if after_dot && fault == Fault::Stalls {
                    // That took all the time there was.
                    rest.iter().for_each(|_| client.expect("451 4.4.2 *"));
                    client.send("NOOP\r\n");
                    client.expect("250 2.0.0 Ok");
                    assert!(!rig.has_unasked_connection());
                    assert_eq!(rig.messages().len(), failing);
                } else {
                    let mut next_hop = rig.next_hop();
                    next_hop.greet(KEYWORDS);
                    for to in rest {
                        copy(&mut next_hop, &[to], false);
                        next_hop.send(format!("250 {to}\r\n"));
                        client.expect(&format!("250 {to}"));
                    }
                    eventually("the rows", || (rig.messages().len() == 2).then_some(()));
                }
                assert_eq!(rig.possible_duplicates(), u64::from(after_dot), "{fault:?} {step}");
                drop((client, left));
                rig.assert_nothing_left();
            }
        }
    }
}

#[test]
fn a_next_hop_that_fails_between_replies_leaves_451_for_the_rest() {
    let to = ["one@off.test", "two@off.test", "three@off.test"];
    for fault in FAULTS {
        for answered in 0..to.len() {
            let rig = Rig::start(&Options {
                dialect: Dialect::Lmtp,
                unix: true,
                ..lmtp()
            });
            let (mut client, mut next_hop) = message(&rig, &to, "");
            data(&mut next_hop);
            for n in 0..answered {
                next_hop.send(format!("250 {n}\r\n"));
                client.expect(&format!("250 {n}"));
            }
            let left = break_off(next_hop, fault);
            for _ in answered..to.len() {
                client.expect("451 4.*");
            }
            // The session goes on.
            client.send("NOOP\r\n");
            client.expect("250 2.0.0 Ok");
            assert_eq!(rig.possible_duplicates(), (to.len() - answered) as u64);
            drop((client, left));
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn a_reply_too_many_is_not_taken_for_one_of_the_next_copy() {
    let to = ["one@on.test", "two@on.test"];
    for dialect in [Dialect::Smtp, Dialect::Lmtp] {
        let rig = Rig::start(&Options { dialect, ..lmtp() });
        let (mut client, mut next_hop) = message(&rig, &to, "insert");
        copy(&mut next_hop, &to[..1], true);
        next_hop.send("250 first\r\n250 one more\r\n");
        client.expect("250 first");
        let mut again = rig.next_hop();
        next_hop.expect_end();
        again.greet(KEYWORDS);
        copy(&mut again, &to[1..], false);
        again.send("452 second\r\n");
        client.expect("452 second");
    }
}

#[test]
fn a_late_reply_too_many_is_no_success() {
    let to = ["one@on.test", "two@on.test"];
    let rig = Rig::start(&lmtp());
    let (mut client, mut next_hop) = message(&rig, &to, "insert");
    copy(&mut next_hop, &to[..1], true);
    next_hop.send("250 first\r\n");
    client.expect("250 first");
    // Every reply from here on is one behind.
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<two@on.test>"] {
        next_hop.expect(command);
    }
    next_hop.send("250 one more\r\n250 ok\r\n");
    next_hop.expect("DATA");
    next_hop.send("250 ok\r\n354 go\r\n250 queued\r\n");
    client.expect("451 4.5.0 *");
    next_hop.expect_end();
}

#[test]
fn a_client_that_goes_away_stops_the_copies_and_what_was_taken_counts_as_a_possible_duplicate() {
    let to = ["one@on.test", "two@on.test", "three@on.test"];
    let rig = Rig::start(&Options { unix: true, ..lmtp() });
    let (client, mut next_hop) = message(&rig, &to, "insert");
    copy(&mut next_hop, &to[..1], true);
    drop(client);
    next_hop.send("250 first\r\n");
    next_hop.expect("QUIT");
    eventually("the row of the copy that was taken", || {
        (rig.messages().len() == 1).then_some(())
    });
    assert_eq!(rig.messages()[0].recipients, ["one@on.test"]);
    assert_eq!(rig.possible_duplicates(), 1);
    drop(next_hop);
    rig.assert_nothing_left();
}

#[test]
fn copies_have_an_end_together() {
    let to = ["one@on.test", "two@on.test", "three@on.test", "four@on.test"];
    let rig = Rig::start(&lmtp());
    let (mut client, mut next_hop) = message(&rig, &to, "insert");
    for n in 0..2 {
        copy(&mut next_hop, &to[n..=n], n == 0);
        std::thread::sleep(SHORT * 7 / 10);
        next_hop.send(format!("250 {n}\r\n"));
        client.expect(&format!("250 {n}"));
    }
    // Each was in time, but no further one is begun.
    client.expect("451 4.4.2 *");
    client.expect("451 4.4.2 *");
    client.send("QUIT\r\n");
    client.expect("221 *");
    next_hop.expect("QUIT");
    assert_eq!(rig.possible_duplicates(), 0);
}

#[test]
fn each_copy_has_an_id_of_its_own_that_its_row_has_too() {
    let to = ["one@on.test", "two@off.test", "three@on.test"];
    let rig = Rig::start(&lmtp());
    let (mut client, mut next_hop) = message(&rig, &to, "insert-id");
    let mut ids = Vec::new();
    for (n, to) in [&to[..1], &to[1..2], &to[2..]].into_iter().enumerate() {
        let lines = copy(&mut next_hop, to, n == 0);
        ids.extend(
            lines[0]
                .strip_prefix("X-Id: ")
                .map(|id| (id.to_owned(), vec![to[0].to_owned()])),
        );
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    eventually("the rows", || (rig.messages().len() == 2).then_some(()));
    let rows: Vec<_> = rig
        .messages()
        .into_iter()
        .map(|row| (row.mail_id, row.recipients))
        .collect();
    assert_eq!(rows, ids);
    assert_ne!(rows[0].0, rows[1].0);
}

#[test]
fn a_click_link_names_its_reader_and_its_row_where_the_copy_is_theirs_alone() {
    let to = ["one@on.test", "two@on.test"];
    for (protocol, own) in [(Protocol::Lmtp, true), (Protocol::Smtp, false)] {
        let rig = Rig::start(&Options {
            protocol,
            real_rewriter: true,
            ..lmtp()
        });
        let (mut client, mut next_hop) = (rig.client(), rig.next_hop());
        next_hop.greet(KEYWORDS);
        client.hello();
        transaction(&mut client, &mut next_hop, &to);
        client.send("Subject: x\r\nContent-Type: text/html\r\n\r\n<a href=\"https://shop.test/\">x</a>\r\n.\r\n");
        let mut copies = Vec::new();
        if own {
            for (n, to) in to.iter().enumerate() {
                copies.push(copy(&mut next_hop, &[to], n == 0));
                next_hop.send("250 ok\r\n");
                client.expect("250 ok");
            }
        } else {
            copies.push(data(&mut next_hop));
            next_hop.send("250 ok\r\n");
            client.expect("250 ok");
        }
        eventually("the rows", || (rig.messages().len() == copies.len()).then_some(()));
        for ((lines, row), to) in copies.iter().zip(rig.messages()).zip(to) {
            let text = lines.join("\r\n");
            let link = &text[text.find("https://click.test/").unwrap()..];
            let claims = rig.claims(link).unwrap();
            assert_eq!(claims.message_id, row.mail_id);
            assert_eq!(claims.recipient.as_deref(), own.then_some(to));
            assert_eq!(row.links_wrapped, 1);
        }
    }
}

#[test]
fn a_large_message_goes_to_each_recipient_from_its_file() {
    let to = ["one@on.test", "two@on.test"];
    let rig = Rig::start(&Options {
        spool_memory: 8,
        ..lmtp()
    });
    let (mut client, mut next_hop) = (rig.client(), rig.next_hop());
    next_hop.greet(KEYWORDS);
    client.hello();
    transaction(&mut client, &mut next_hop, &to);
    let body: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    client.send(format!("X-Test: insert\r\n{}\r\n.\r\n", body.join("\r\n")));
    for (n, to) in to.iter().enumerate() {
        let lines = copy(&mut next_hop, &[to], n == 0);
        assert_eq!(lines[0], format!("X-For: a@x.test {to}"));
        assert_eq!(lines[2..], body);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    drop((client, next_hop));
    rig.assert_nothing_left();
}

#[test]
fn many_recipients_are_asked_for_without_a_standstill() {
    let to: Vec<String> = (0..450).map(|n| format!("u{n}@off.test")).collect();
    let mut to: Vec<&str> = to.iter().map(String::as_str).collect();
    to.insert(0, "one@on.test");
    let rig = Rig::start(&Options {
        timeout: Options::default().timeout,
        ..lmtp()
    });
    let (mut client, mut next_hop) = message(&rig, &to, "insert");
    copy(&mut next_hop, &to[..1], true);
    next_hop.send("250 one\r\n");
    client.expect("250 one");
    copy(&mut next_hop, &to[1..], false);
    next_hop.send("250 all the others\r\n");
    for _ in 1..to.len() {
        client.expect("250 all the others");
    }
}
