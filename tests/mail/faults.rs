//! The client or the next hop dies, stalls or talks nonsense, at each step. Whatever happens, nobody is told 250 for a message
//! that was not taken, the next hop never takes half a message for a whole one, and nothing is left behind.

use std::time::Duration;

use linkgate::config::Protocol;

use crate::rig::{Options, Peer, Rig, eventually};

const KEYWORDS: &[&str] = &["PIPELINING", "SIZE 1000000", "8BITMIME"];

/// Long enough for a busy machine to answer, short enough to wait for.
const SHORT: Duration = Duration::from_millis(400);

/// How far a dialogue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Connected,
    Greeted,
    Hello,
    Mail,
    Rcpt,
    Data,
    HalfMessage,
    AlmostDot,
}

const STEPS: [Step; 8] = [
    Step::Connected,
    Step::Greeted,
    Step::Hello,
    Step::Mail,
    Step::Rcpt,
    Step::Data,
    Step::HalfMessage,
    Step::AlmostDot,
];

/// Brings both sides to a step; all is well so far.
fn bring_to(rig: &Rig, step: Step) -> (Peer, Peer) {
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    if step == Step::Connected {
        return (client, next_hop);
    }
    next_hop.greet(KEYWORDS);
    client.expect("220 us.test ESMTP linkgate");
    if step == Step::Greeted {
        return (client, next_hop);
    }
    client.send("EHLO client.test\r\n");
    while client.line().is_some_and(|line| line.starts_with("250-")) {}
    for (at, command) in [
        (Step::Mail, "MAIL FROM:<a@x.test>"),
        (Step::Rcpt, "RCPT TO:<b@on.test>"),
    ] {
        if step >= at {
            client.send(format!("{command}\r\n"));
            next_hop.expect(command);
            next_hop.send("250 ok\r\n");
            client.expect("250 ok");
        }
    }
    if step >= Step::Data {
        client.send("DATA\r\n");
        client.expect("354 *");
    }
    if step >= Step::HalfMessage {
        client.send("Subject: half\r\n\r\na line\r\nhalf a li");
    }
    if step >= Step::AlmostDot {
        client.send("ne\r\n.\r");
    }
    (client, next_hop)
}

fn small_spool() -> Options {
    Options {
        spool_memory: 8,
        ..Options::default()
    }
}

fn impatient() -> Options {
    Options {
        timeout: SHORT,
        ..Options::default()
    }
}

/// A whole message in one more session: what came before has done no harm.
fn deliver_one(rig: &Rig) {
    let (mut client, mut next_hop) = bring_to(rig, Step::Data);
    client.send("fine\r\n.\r\n");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    next_hop.expect("fine");
    next_hop.expect(".");
    next_hop.send("250 taken\r\n");
    client.expect("250 taken");
    client.send("QUIT\r\n");
    client.expect("221 *");
    client.expect_end();
    next_hop.expect("QUIT");
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    for step in STEPS {
        let rig = Rig::start(&small_spool());
        let (client, mut next_hop) = bring_to(&rig, step);
        if step == Step::HalfMessage {
            // Longer than a block: the file is there when the client goes.
            let mut client = client;
            client.send(b"xxxxxxxxx\r\n".repeat(30_000));
            eventually("a spool file", || (rig.open_spool_files() == 1).then_some(()));
        } else {
            drop(client);
        }
        if step == Step::Connected {
            next_hop.send("220 hop.test\r\n");
            next_hop.expect("EHLO us.test");
            next_hop.send("250 hop.test\r\n");
        }
        let heard = next_hop.rest();
        assert!(
            heard.is_empty() || heard == b"QUIT\r\n",
            "{step:?}: {:?}",
            heard.escape_ascii().to_string()
        );
        drop(next_hop);
        rig.assert_nothing_left();
        assert!(rig.messages().is_empty());
        deliver_one(&rig);
        assert_eq!(rig.messages().len(), 1);
    }
}

#[test]
fn a_client_that_stalls_is_sent_away() {
    for step in &STEPS[1..] {
        let rig = Rig::start(&impatient());
        let (mut client, mut next_hop) = bring_to(&rig, *step);
        client.expect("421 4.4.2 Timeout exceeded");
        client.expect_end();
        next_hop.expect("QUIT");
        drop(next_hop);
        rig.assert_nothing_left();
    }
}

#[test]
fn a_client_that_sends_an_octet_at_a_time_has_no_longer_than_others() {
    let rig = Rig::start(&impatient());
    let (mut client, next_hop) = bring_to(&rig, Step::Hello);
    let sent = (0..40).take_while(|_| {
        std::thread::sleep(SHORT / 10);
        client.try_send("N").is_ok()
    });
    assert!(sent.count() < 40, "a command may take for ever");
    drop(next_hop);
}

#[test]
fn a_next_hop_that_dies_before_the_message_costs_a_451() {
    for (step, command) in [
        (Step::Hello, "MAIL FROM:<a@x.test>\r\n"),
        (Step::Mail, "RCPT TO:<b@on.test>\r\n"),
        (Step::Data, "fine\r\n.\r\n"),
    ] {
        let rig = Rig::start(&Options::default());
        let (mut client, mut next_hop) = bring_to(&rig, step);
        client.send(command);
        // It hears the command and dies over it.
        assert!(next_hop.line().is_some());
        drop(next_hop);
        client.expect("451 4.4.2 Temporary failure, try again later (id=*");
        if step == Step::Mail {
            client.send("RCPT TO:<c@on.test>\r\nDATA\r\n");
            client.expect("451 4.4.2 *");
            client.expect("451 4.4.2 *");
            client.send("RSET\r\n");
            client.expect("250 *");
        }
        // The next transaction of this session reconnects.
        client.send("MAIL FROM:<again@x.test>\r\n");
        let mut next_hop = rig.next_hop();
        next_hop.greet(KEYWORDS);
        next_hop.expect("MAIL FROM:<again@x.test>");
        next_hop.send("250 again\r\n");
        client.expect("250 again");
        drop((client, next_hop));
        rig.assert_nothing_left();
        assert!(rig.messages().is_empty());
    }
}

#[test]
fn a_next_hop_that_closed_while_idle_is_called_again() {
    for farewell in ["", "421 4.4.2 idle for too long\r\n"] {
        let rig = Rig::start(&Options::default());
        let (mut client, mut next_hop) = bring_to(&rig, Step::Hello);
        next_hop.send(farewell);
        drop(next_hop);
        std::thread::sleep(Duration::from_millis(20));
        client.send("MAIL FROM:<a@x.test>\r\n");
        let mut next_hop = rig.next_hop();
        next_hop.greet(KEYWORDS);
        next_hop.expect("MAIL FROM:<a@x.test>");
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
}

#[test]
fn a_next_hop_that_dies_after_the_dot_is_no_success() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    client.send("fine\r\n.\r\n");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    next_hop.expect("fine");
    next_hop.expect(".");
    drop(next_hop);
    client.expect("451 4.4.2 *");
    drop(client);
    rig.assert_nothing_left();
    assert!(rig.messages().is_empty());
}

#[test]
fn a_next_hop_that_stalls_is_given_up() {
    for step in [Step::Hello, Step::Mail, Step::Data] {
        let rig = Rig::start(&impatient());
        let (mut client, mut next_hop) = bring_to(&rig, step);
        client.send(match step {
            Step::Hello => "MAIL FROM:<a@x.test>\r\n",
            Step::Mail => "RCPT TO:<b@on.test>\r\n",
            _ => "fine\r\n.\r\n",
        });
        assert!(next_hop.line().is_some());
        client.expect("451 4.4.2 *");
        next_hop.expect_end();
        drop((client, next_hop));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_next_hop_that_stalls_after_the_dot_is_no_success() {
    let rig = Rig::start(&impatient());
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    client.send("fine\r\n.\r\n");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    next_hop.expect("fine");
    next_hop.expect(".");
    client.expect("451 4.4.2 *");
    next_hop.expect_end();
}

#[test]
fn a_next_hop_that_never_greets_is_given_up() {
    let rig = Rig::start(&impatient());
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    client.expect("220 *");
    client.send("EHLO client.test\r\n");
    client.expect("421 4.3.2 Service not available, try again later");
    client.expect_end();
    next_hop.expect_end();
}

#[test]
fn nonsense_of_the_next_hop_is_never_success() {
    let nonsense: &[&str] = &[
        "hello\r\n",
        "250-first\r\n550 second\r\n",
        "354 go\r\n",
        "25\r\n",
        "\r\n",
        "250",
        "600 what\r\n",
        "+OK\r\n",
    ];
    for said in nonsense {
        for step in [Step::Hello, Step::Mail] {
            let rig = Rig::start(&impatient());
            let (mut client, mut next_hop) = bring_to(&rig, step);
            client.send(if step == Step::Hello {
                "MAIL FROM:<a@x.test>\r\n"
            } else {
                "RCPT TO:<b@on.test>\r\n"
            });
            assert!(next_hop.line().is_some());
            next_hop.send(said);
            client.expect("451 4.*");
            next_hop.expect_end();
        }
        // To the dot, and to DATA, where 250 is nonsense and 354 is not.
        for to_data in [true, false] {
            let rig = Rig::start(&impatient());
            let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
            client.send("fine\r\n.\r\n");
            next_hop.expect("DATA");
            if to_data && said.starts_with("354") {
                next_hop.send("250 fine by me\r\n");
            } else if to_data {
                next_hop.send(said);
            } else {
                next_hop.send("354 go\r\n");
                next_hop.expect("fine");
                next_hop.expect(".");
                next_hop.send(said);
            }
            client.expect("451 4.*");
            next_hop.expect_end();
            assert!(rig.messages().is_empty(), "{said:?}");
        }
    }
}

#[test]
fn an_endless_reply_is_given_up() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = bring_to(&rig, Step::Hello);
    client.send("MAIL FROM:<a@x.test>\r\n");
    next_hop.expect("MAIL FROM:<a@x.test>");
    // It may be cut off before it is done.
    let _ = next_hop.try_send("250-more\r\n".repeat(20_000));
    client.expect("451 4.5.0 *");
}

#[test]
fn a_reply_before_the_dot_is_not_taken_for_the_reply_to_it() {
    for (early, wanted) in [
        ("552 5.3.4 too big\r\n", "552 5.3.4 too big"),
        ("452 4.3.1 no space\r\n", "452 4.3.1 no space"),
        ("250 2.0.0 Ok\r\n", "451 4.5.0 *"),
    ] {
        let rig = Rig::start(&small_spool());
        let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
        client.send(b"0123456789\r\n".repeat(60_000));
        client.send(".\r\n");
        next_hop.expect("DATA");
        // In one go, so that it is there before the message is through.
        next_hop.send(format!("354 go\r\n{early}"));
        client.expect(wanted);
        let heard = next_hop.rest();
        assert!(!heard.ends_with(b"\r\n.\r\n"), "the next hop has a whole message");
        drop((client, next_hop));
        rig.assert_nothing_left();
        assert!(rig.messages().is_empty());
    }
}

#[test]
fn a_next_hop_that_stops_reading_is_given_up_without_a_dot() {
    let rig = Rig::start(&Options {
        timeout: SHORT,
        max_message: 50_000_000,
        ..small_spool()
    });
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    client.send(b"0123456789\r\n".repeat(2_000_000));
    client.send(".\r\n");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    client.expect("451 4.4.2 *");
    assert!(!next_hop.rest().ends_with(b"\r\n.\r\n"));
    drop((client, next_hop));
    rig.assert_nothing_left();
}

#[test]
fn a_large_message_arrives_octet_for_octet() {
    for options in [Options::default(), small_spool()] {
        let rig = Rig::start(&options);
        let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
        let message: String = (0..40_000)
            .map(|n| format!("{}line {n}\r\n", if n % 7 == 0 { ".." } else { "" }))
            .collect();
        let wire = message + ".\r\n";
        client.send(&wire);
        next_hop.expect("DATA");
        next_hop.send("354 go\r\n");
        for line in wire.lines() {
            assert_eq!(next_hop.line().as_deref(), Some(line));
        }
        next_hop.send("250 taken\r\n");
        client.expect("250 taken");
        drop((client, next_hop));
        rig.assert_nothing_left();
    }
}

#[test]
fn small_messages_do_not_wait_for_delayed_acknowledgements() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = bring_to(&rig, Step::Hello);
    let start = std::time::Instant::now();
    for _ in 0..100 {
        for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@off.test>"] {
            client.send(format!("{command}\r\n"));
            next_hop.expect(command);
            next_hop.send("250 ok\r\n");
            client.expect("250 ok");
        }
        client.send("DATA\r\n");
        client.expect("354 *");
        client.send("hi\r\n.\r\n");
        next_hop.expect("DATA");
        next_hop.send("354 go\r\n");
        next_hop.expect("hi");
        next_hop.expect(".");
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    // A stall of 40 ms in each message, as a body and a dot in two writes meet it, would make four seconds.
    assert!(start.elapsed() < Duration::from_millis(3500), "{:?}", start.elapsed());
}

#[test]
fn draining_lets_transactions_finish_and_sends_idle_sessions_away() {
    let rig = Rig::start(&Options::default());
    let (mut busy, mut busy_hop) = bring_to(&rig, Step::HalfMessage);
    let (mut idle, mut idle_hop) = bring_to(&rig, Step::Hello);
    rig.stop();
    idle.expect("421 4.3.2 Service shutting down");
    idle.expect_end();
    idle_hop.expect("QUIT");
    drop(idle_hop);
    busy.send("ne\r\n.\r\n");
    busy_hop.expect("DATA");
    busy_hop.send("354 go\r\n");
    while busy_hop.line().is_some_and(|line| line != ".") {}
    busy_hop.send("250 taken\r\n");
    busy.expect("250 taken");
    busy.expect("421 4.3.2 Service shutting down");
    busy.expect_end();
    busy_hop.expect("QUIT");
    drop(busy_hop);
    eventually("the end of the listener", || (rig.tasks() == 0).then_some(()));
}

#[test]
fn what_does_not_drain_in_time_is_cut_off_without_a_dot() {
    let rig = Rig::start(&Options {
        timeout: SHORT,
        ..small_spool()
    });
    let (mut client, mut next_hop) = bring_to(&rig, Step::HalfMessage);
    rig.reload(&Options::default());
    rig.stop();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.tasks(), 2, "a session in a transaction goes on");
    // Nothing comes for as long as a client may take, which is less than the drain: it is told so.
    client.expect("421 4.4.2 Timeout exceeded");
    client.expect_end();
    next_hop.expect("QUIT");
    drop(next_hop);
    eventually("the end of the listener", || (rig.tasks() == 0).then_some(()));
}

#[test]
fn drain_ends_when_its_time_is_over() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = bring_to(&rig, Step::HalfMessage);
    rig.reload(&impatient());
    rig.stop();
    client.expect_end();
    assert_eq!(next_hop.line(), None, "no dot, no DATA");
    eventually("the end of the listener", || (rig.tasks() == 0).then_some(()));
    assert_eq!(rig.open_spool_files(), 0);
}

#[test]
fn one_session_too_many_waits_until_another_ends() {
    let rig = Rig::start(&Options {
        max_connections: 1,
        ..Options::default()
    });
    let (mut first, mut first_hop) = bring_to(&rig, Step::Hello);
    let mut second = rig.client();
    second.send("EHLO second.test\r\n");
    assert!(second.overhears().is_empty(), "served beyond the limit");
    first.send("QUIT\r\n");
    first.expect("221 *");
    first_hop.expect("QUIT");
    drop(first_hop);
    rig.next_hop().greet(KEYWORDS);
    second.expect("220 us.test ESMTP linkgate");
}

#[test]
fn a_spool_that_cannot_be_written_is_a_temporary_failure() {
    let rig = Rig::start(&small_spool());
    rig.lose_spool_dir();
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    client.send("longer than eight octets\r\n.\r\n");
    client.expect("451 4.3.0 Temporary failure, try again later (id=*");
    client.send("MAIL FROM:<again@x.test>\r\n");
    next_hop.expect("RSET");
    next_hop.expect("MAIL FROM:<again@x.test>");
}

#[test]
fn references_are_stored_before_the_next_hop_gets_the_message() {
    let rig = Rig::start(&Options::default());
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    assert_eq!(rig.references(), 0);
    client.send("X-Test: reference\r\n.\r\n");
    next_hop.expect("DATA");
    assert_eq!(rig.references(), 1);
    next_hop.send("554 no\r\n");
    client.expect("554 no");
}

#[test]
fn data_without_end_is_cut_off() {
    let rig = Rig::start(&Options {
        max_message: 1000,
        ..small_spool()
    });
    let (mut client, mut next_hop) = bring_to(&rig, Step::Data);
    let block = b"0123456789\r\n".repeat(1000);
    // Up to twice the limit and a MiB is read, so that a refusal can follow the end of data; the system buffers some more.
    let sent = (0..2000).take_while(|_| client.try_send(&block).is_ok()).count();
    assert!(sent < 2000, "24 MB were taken in");
    next_hop.expect("QUIT");
    drop((client, next_hop));
    rig.assert_nothing_left();
}

#[test]
fn a_wrong_offset_is_451_and_nothing_goes_on() {
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        // Small ones are rewritten by the session itself, large ones elsewhere.
        for (word, size) in [("offset", 1), ("offset", 9000), ("beyond", 1), ("beyond", 9000)] {
            let rig = Rig::start(&Options {
                protocol,
                ..Options::default()
            });
            let (mut client, mut next_hop) = (rig.client(), rig.next_hop());
            next_hop.greet(KEYWORDS);
            client.hello();
            for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@on.test>"] {
                client.send(format!("{command}\r\n"));
                next_hop.expect(command);
                next_hop.send("250 ok\r\n");
                client.expect("250 ok");
            }
            client.send("DATA\r\n");
            client.expect("354 *");
            client.send(format!("X-Test: {word}\r\n\r\n{}.\r\n", "x\r\n".repeat(size)));
            client.expect("451 4.3.0 *");
            client.send("QUIT\r\n");
            client.expect("221 *");
            assert_eq!(next_hop.rest(), b"QUIT\r\n", "{protocol:?} {word} {size}");
            assert!(rig.messages().is_empty());
        }
    }
}
