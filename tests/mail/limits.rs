//! Limits and clocks of the mail path: each is reached, and each has a test that stays below it. Those of lines and
//! recipients stand in `fixtures/dialogs`.

use std::time::{Duration, Instant};

use crate::rig::{Options, Peer, Rig, eventually};

const KEYWORDS: &[&str] = &["PIPELINING", "SIZE 1000000"];

/// Long enough for a busy machine to answer, short enough to wait for.
const SHORT: Duration = Duration::from_millis(400);

/// A session past EHLO, with its next hop.
fn said_hello(rig: &Rig) -> (Peer, Peer) {
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(KEYWORDS);
    client.hello();
    (client, next_hop)
}

/// MAIL and RCPT, both taken.
fn envelope(client: &mut Peer, next_hop: &mut Peer) {
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@on.test>"] {
        client.send(format!("{command}\r\n"));
        if next_hop.line().unwrap() == "RSET" {
            next_hop.send("250 reset\r\n");
            next_hop.expect(command);
        }
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
}

/// Everything the next hop hears from DATA to the dot, which it answers; without the dot, unstuffed.
fn take_message(next_hop: &mut Peer) -> String {
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    let mut message = String::new();
    loop {
        let line = next_hop.line().unwrap();
        if line == "." {
            next_hop.send("250 taken\r\n");
            return message;
        }
        message += line.strip_prefix('.').unwrap_or(&line);
        message += "\r\n";
    }
}

#[test]
fn a_message_that_trickles_in_is_cut_off_however_busy_its_client() {
    for in_chunks in [false, true] {
        let rig = Rig::start(&Options {
            message_timeout: SHORT,
            ..Options::default()
        });
        let (mut client, mut next_hop) = said_hello(&rig);
        envelope(&mut client, &mut next_hop);
        let start = Instant::now();
        if !in_chunks {
            client.send("DATA\r\n");
            client.expect("354 *");
        }
        let drop_by_drop = if in_chunks { "BDAT 1\r\nx" } else { "x" };
        while client.try_send(drop_by_drop).is_ok() && start.elapsed() < 4 * SHORT {
            std::thread::sleep(SHORT / 20);
        }
        assert!(start.elapsed() < 4 * SHORT, "a message may take for ever");
        next_hop.expect("QUIT");
        drop((client, next_hop));
        rig.assert_nothing_left();
    }
}

#[test]
fn the_clock_of_a_message_ends_with_it() {
    let rig = Rig::start(&Options {
        message_timeout: SHORT,
        ..Options::default()
    });
    let (mut client, mut next_hop) = said_hello(&rig);
    envelope(&mut client, &mut next_hop);
    client.send("BDAT 2\r\nhiRSET\r\n");
    client.expect("250 2.0.0 Chunk received");
    client.expect("250 2.0.0 Ok");
    std::thread::sleep(SHORT + SHORT / 4);
    envelope(&mut client, &mut next_hop);
    client.send("DATA\r\n");
    client.expect("354 *");
    client.send("hi\r\n.\r\n");
    take_message(&mut next_hop);
    client.expect("250 taken");
    std::thread::sleep(SHORT + SHORT / 4);
    client.send("NOOP\r\n");
    client.expect("250 2.0.0 Ok");
}

#[test]
fn between_chunks_a_client_has_as_long_as_for_a_command() {
    let rig = Rig::start(&Options {
        timeout: SHORT,
        ..Options::default()
    });
    let (mut client, mut next_hop) = said_hello(&rig);
    envelope(&mut client, &mut next_hop);
    client.send("BDAT 2\r\nhi");
    client.expect("250 2.0.0 Chunk received");
    std::thread::sleep(SHORT / 2);
    client.send("BDAT 4\r\nhi");
    client.expect("421 4.4.2 Timeout exceeded");
    client.expect_end();
    next_hop.expect("QUIT");
}

#[test]
fn chunks_without_end_are_cut_off() {
    let rig = Rig::start(&Options {
        max_message: 1000,
        spool_memory: 8,
        ..Options::default()
    });
    for envelope_first in [false, true] {
        let (mut client, mut next_hop) = said_hello(&rig);
        if envelope_first {
            envelope(&mut client, &mut next_hop);
        }
        client.send("BDAT 18446744073709551615 LAST\r\n");
        let block = b"0123456789\r\n".repeat(1000);
        let sent = (0..2000).take_while(|_| client.try_send(&block).is_ok()).count();
        assert!(sent < 2000, "24 MB were taken in");
        next_hop.expect("QUIT");
    }
    rig.assert_nothing_left();
}

#[test]
fn one_connection_of_a_client_too_many_is_turned_away() {
    let rig = Rig::start(&Options {
        max_connections_per_client: 2,
        ..Options::default()
    });
    let (mut first, first_hop) = said_hello(&rig);
    let _second = said_hello(&rig);
    let mut third = rig.client();
    third.expect("421 4.7.0 Too many connections from your address");
    third.expect_end();
    assert!(!rig.has_unasked_connection());
    first.send("QUIT\r\n");
    first.expect("221 *");
    drop((first, first_hop));
    // The place is free as soon as the session with the next hop is over too.
    let mut fourth = eventually("a free place", || {
        let mut client = rig.client();
        client.line().filter(|line| line.starts_with("220 ")).map(|_| client)
    });
    rig.next_hop().greet(KEYWORDS);
    fourth.send("NOOP\r\n");
    fourth.expect("250 2.0.0 Ok");
}

#[test]
fn one_message_too_many_waits_a_moment_and_is_put_off() {
    let rig = Rig::start(&Options {
        max_transactions: 1,
        ..Options::default()
    });
    let (mut first, mut first_hop) = said_hello(&rig);
    envelope(&mut first, &mut first_hop);
    let (mut second, mut second_hop) = said_hello(&rig);
    let start = Instant::now();
    second.send("MAIL FROM:<c@x.test>\r\n");
    second.expect("451 4.3.2 *");
    assert!(start.elapsed() >= Duration::from_millis(900), "put off at once");
    second.send("RCPT TO:<b@on.test>\r\n");
    second.expect("503 5.5.1 Need MAIL command");
    // A place that comes free meanwhile is taken.
    second.send("MAIL FROM:<c@x.test>\r\n");
    std::thread::sleep(Duration::from_millis(100));
    first.send("RSET\r\n");
    first.expect("250 2.0.0 Ok");
    second_hop.expect("MAIL FROM:<c@x.test>");
    second_hop.send("250 ok\r\n");
    second.expect("250 ok");
    // And given back by a session that breaks off.
    drop((second, second_hop));
    envelope(&mut first, &mut first_hop);
}

#[test]
fn who_tries_one_recipient_after_another_is_sent_away() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = said_hello(&rig);
    client.send("MAIL FROM:<a@x.test>\r\n");
    next_hop.expect("MAIL FROM:<a@x.test>");
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
    // What is refused for now is no try.
    for reply in ["450 4.2.1 later", "550 5.1.1 unknown"] {
        for n in 0..101 {
            client.send(format!("RCPT TO:<u{n}@y.test>\r\n"));
            next_hop.expect(&format!("RCPT TO:<u{n}@y.test>"));
            next_hop.send(format!("{reply}\r\n"));
            client.expect(reply);
        }
    }
    client.send("RCPT TO:<another@y.test>\r\n");
    client.expect("421 4.7.0 Too many errors");
    client.expect_end();
}

#[test]
fn who_tries_one_sender_after_another_is_sent_away() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = said_hello(&rig);
    for n in 0..101 {
        client.send(format!("MAIL FROM:<u{n}@x.test>\r\n"));
        // Each ninth time on another connection: the next hop must not take us for a pest.
        if n > 0 && n % 9 == 0 {
            next_hop.expect("QUIT");
            next_hop = rig.next_hop();
            next_hop.greet(&["PIPELINING"]);
        } else if n > 0 {
            next_hop.expect("RSET");
            next_hop.send("250 reset\r\n");
        }
        next_hop.expect(&format!("MAIL FROM:<u{n}@x.test>"));
        next_hop.send("550 5.1.8 unknown\r\n");
        client.expect("550 5.1.8 unknown");
    }
    client.send("MAIL FROM:<another@x.test>\r\n");
    client.expect("421 4.7.0 Too many errors");
    client.expect_end();
}

/// Sends a message round and round: the next hop is a relay that leads back here. How often it came by until it was
/// refused, with the reply.
fn go_round(rig: &Rig, message: &str) -> (usize, String) {
    let (mut client, mut next_hop) = said_hello(rig);
    let mut message = message.to_owned();
    for passes in 0..60 {
        envelope(&mut client, &mut next_hop);
        client.send("DATA\r\n");
        client.expect("354 *");
        client.send(format!("{message}.\r\n"));
        if let Some(refusal) = refusal(&mut client, &mut next_hop, &mut message) {
            return (passes, refusal);
        }
    }
    panic!("it goes round for ever: {message}")
}

/// One round: the reply, if the message was refused; else the message as the relay sends it on.
fn refusal(client: &mut Peer, next_hop: &mut Peer, message: &mut String) -> Option<String> {
    // Who hears something first tells which it is, however slow this machine is at the moment.
    while next_hop.overhears().is_empty() {
        if !client.overhears().is_empty() {
            return client.line();
        }
    }
    *message = format!("Received: from us.test by relay.test\r\n{}", take_message(next_hop));
    client.expect("250 taken");
    None
}

#[test]
fn a_message_that_goes_in_circles_is_refused_in_the_end() {
    let rig = Rig::start(&Options {
        max_passes: 3,
        ..Options::default()
    });
    let refused = "554 5.4.6 Routing loop detected".to_owned();
    // Rewritten, so marked from the beginning.
    assert_eq!(
        go_round(&rig, "X-Test: insert\r\nSubject: x\r\n\r\nhi\r\n"),
        (3, refused.clone())
    );
    // Never changed: marked when it has passed many servers.
    assert_eq!(go_round(&rig, "Subject: x\r\n\r\nhi\r\n"), (25 + 3, refused));
}

/// A message to a domain that is off, which flows past if it can; the end of what the client and the next hop hear.
fn flowing(options: &Options, message: &str) -> (String, Option<Vec<String>>) {
    let rig = Rig::start(options);
    let (mut client, mut next_hop) = said_hello(&rig);
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@off.test>"] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.send("DATA\r\n");
    client.expect("354 *");
    let data = format!("{message}.\r\n");
    let sender = std::thread::spawn(move || {
        client.send(data);
        client.line().unwrap()
    });
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    let mut taken = String::new();
    let taken = loop {
        match next_hop.block() {
            None => break None,
            Some(block) => taken += &block,
        }
        if let Some(message) = taken.strip_suffix("\r\n.\r\n") {
            next_hop.send("250 taken\r\n");
            break Some(message.lines().map(str::to_owned).collect());
        }
    };
    (sender.join().unwrap(), taken)
}

#[test]
fn a_large_message_without_change_is_marked_and_refused_as_others_are() {
    let options = Options {
        max_passes: 2,
        ..Options::default()
    };
    let body = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(5000));
    let (reply, taken) = flowing(&options, &body);
    assert_eq!(
        (reply.as_str(), taken.unwrap()[0].as_str()),
        ("250 taken", "Subject: x")
    );
    let (reply, taken) = flowing(&options, &format!("{}{body}", "Received: x\r\n".repeat(25)));
    assert_eq!(reply, "250 taken");
    let taken = taken.unwrap();
    let mark = taken[0].clone() + "\r\n";
    assert!(
        mark.starts_with("X-Linkgate-Trace: ") && taken[1] == "Received: x",
        "{:?}",
        &taken[..2]
    );
    let (reply, taken) = flowing(&options, &format!("{mark}{body}"));
    assert_eq!(
        (reply.as_str(), taken.unwrap()[1].clone() + "\r\n"),
        ("250 taken", mark.clone())
    );
    let (reply, taken) = flowing(&options, &format!("{mark}{mark}{body}"));
    assert_eq!((reply.as_str(), taken), ("554 5.4.6 Routing loop detected", None));
}

#[test]
fn a_line_that_is_too_long_does_not_flow_past() {
    let options = Options {
        text_line: 1000,
        ..Options::default()
    };
    let body = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(5000));
    let (reply, taken) = flowing(&options, &format!("{body}{}\r\n", "x".repeat(1001)));
    assert_eq!(
        (reply.as_str(), taken),
        ("554 5.6.0 Line too long in message data", None)
    );
    let (reply, taken) = flowing(&options, &format!("{body}{}\r\n", "x".repeat(1000)));
    assert!(reply == "250 taken" && taken.is_some(), "{reply}");
}
