//! Large messages that nobody wants changed go to the next hop while they come in. Half of one is never taken for a whole one,
//! whichever side fails, and the client hears of it when it has sent it all.

use std::time::Duration;

use linkgate::config::BareLineEnds;

use crate::rig::{Options, Peer, Rig, eventually};

const KEYWORDS: &[&str] = &["PIPELINING", "SIZE 100000000", "8BITMIME"];

const LINE: &[u8] = b".dots and text\r\n";

fn options() -> Options {
    Options {
        max_message: 10_000_000,
        ..Options::default()
    }
}

/// Both sides, after the client's DATA and the first half of its message.
fn half(rig: &Rig) -> (Peer, Peer) {
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(KEYWORDS);
    client.expect("220 us.test ESMTP linkgate");
    client.send("EHLO client.test\r\n");
    while client.line().is_some_and(|line| line.starts_with("250-")) {}
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@off.test>"] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.send("DATA\r\n");
    client.expect("354 *");
    next_hop.expect("DATA");
    client.send("Subject: half\r\n\r\n");
    client.send(stuffed(&LINE.repeat(10_000)));
    (client, next_hop)
}

fn stuffed(lines: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(lines.to_vec()).unwrap();
    text.split_inclusive('\n')
        .map(|l| format!(".{l}"))
        .collect::<String>()
        .into_bytes()
}

#[test]
fn the_next_hop_hears_the_beginning_before_the_end_is_there() {
    let rig = Rig::start(&options());
    let (mut client, mut next_hop) = half(&rig);
    next_hop.send("354 go\r\n");
    next_hop.expect("Subject: half");
    next_hop.expect("");
    for _ in 0..5_000 {
        next_hop.expect("..dots and text");
    }
    assert_eq!(rig.open_spool_files(), 0, "it is not kept");
    client.send("end\r\n.\r\n");
    for _ in 0..5_000 {
        next_hop.expect("..dots and text");
    }
    next_hop.expect("end");
    next_hop.expect(".");
    next_hop.send("250 2.0.0 taken\r\n");
    client.expect("250 2.0.0 taken");
    // The session goes on as after any other message.
    client.send("MAIL FROM:<a@x.test>\r\n");
    next_hop.expect("MAIL FROM:<a@x.test>");
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_no_dot() {
    let rig = Rig::start(&options());
    let (client, mut next_hop) = half(&rig);
    next_hop.send("354 go\r\n");
    drop(client);
    let heard = next_hop.rest();
    assert!(heard.len() > 100_000 && !heard.ends_with(b"\r\n.\r\n") && !heard.ends_with(b"QUIT\r\n"));
    drop(next_hop);
    rig.assert_nothing_left();
}

#[test]
fn what_the_next_hop_says_or_does_in_the_middle_is_told_at_the_end() {
    for (reply, wanted) in [
        (Some("452 4.3.1 no room\r\n"), "452 4.3.1 no room"),
        (Some("354 go\r\n552 5.3.4 too big\r\n"), "552 5.3.4 too big"),
        (Some("354 go\r\n421 4.3.0 closing\r\n"), "421 4.3.0 closing"),
        (Some("354 go\r\n250 2.0.0 fine already\r\n"), "451 4.5.0 *"),
        (Some("250 what\r\n"), "451 4.5.0 *"),
        (Some("gibberish\r\n"), "451 4.5.0 *"),
        (None, "451 4.4.2 *"),
    ] {
        let rig = Rig::start(&options());
        let (mut client, mut next_hop) = half(&rig);
        next_hop.send(reply.unwrap_or("354 go\r\n"));
        if reply.is_none() {
            next_hop.expect("Subject: half");
            next_hop.half_close();
            // Until it is noticed.
            std::thread::sleep(Duration::from_millis(100));
        }
        client.send(stuffed(&LINE.repeat(20_000)));
        client.send("end\r\n.\r\n");
        client.expect(wanted);
        drop(client);
        let heard = next_hop.rest();
        assert!(
            !heard.ends_with(b"\r\n.\r\n"),
            "{reply:?}: the next hop has a whole message"
        );
        drop(next_hop);
        rig.assert_nothing_left();
        assert!(rig.messages().is_empty());
    }
}

#[test]
fn a_message_refused_for_its_form_in_the_middle_ends_without_a_dot() {
    for (rest, wanted) in [
        (b"bare\nline end\r\n".to_vec(), "550 5.5.2 *"),
        (LINE.repeat(700_000), "552 5.3.4 *"),
    ] {
        let rig = Rig::start(&options());
        let (mut client, mut next_hop) = half(&rig);
        next_hop.send("354 go\r\n");
        let listening = std::thread::spawn(move || next_hop.rest());
        client.send(&rest);
        client.send("\r\n.\r\n");
        client.expect(wanted);
        client.send("NOOP\r\n");
        client.expect("250 *");
        assert!(!listening.join().unwrap().ends_with(b"\r\n.\r\n"));
        drop(client);
        rig.assert_nothing_left();
    }
}

#[test]
fn a_message_with_a_long_line_that_then_grows_too_large_is_too_large() {
    let rig = Rig::start(&Options {
        text_line: 1000,
        ..options()
    });
    for (rest, wanted) in [(1, "554 5.6.0 *"), (700_000, "552 5.3.4 *")] {
        let (mut client, mut next_hop) = half(&rig);
        next_hop.send("354 go\r\n");
        let listening = std::thread::spawn(move || next_hop.rest());
        client.send([b'x'; 1001]);
        client.send("\r\n");
        client.send(LINE.repeat(rest));
        client.send("\r\n.\r\n");
        client.expect(wanted);
        assert!(!listening.join().unwrap().ends_with(b"\r\n.\r\n"));
    }
    assert!(rig.messages().is_empty());
}

#[test]
fn bare_line_ends_are_normalised_as_they_pass() {
    let rig = Rig::start(&Options {
        bare_line_ends: BareLineEnds::Normalise,
        ..options()
    });
    let (mut client, mut next_hop) = half(&rig);
    next_hop.send("354 go\r\n");
    client.send("a\n.\nb\rc\r\n.\r\n");
    next_hop.expect("Subject: half");
    next_hop.expect("");
    for _ in 0..10_000 {
        next_hop.expect("..dots and text");
    }
    for line in ["a", "..", "b c", "."] {
        next_hop.expect(line);
    }
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
}

#[test]
fn a_next_hop_that_stops_reading_in_the_middle_costs_a_451() {
    let rig = Rig::start(&Options {
        timeout: Duration::from_millis(400),
        max_message: 100_000_000,
        ..options()
    });
    let more = stuffed(&LINE.repeat(700_000));
    let (mut client, mut next_hop) = half(&rig);
    next_hop.send("354 go\r\n");
    // More than the system buffers; while the next hop stalls nothing more is read, so that another thread has to send.
    let sending = std::thread::spawn(move || {
        client.send(more);
        client.send(".\r\n");
        client.expect("451 4.4.2 *");
    });
    eventually("the client's reply", || sending.is_finished().then_some(()));
    sending.join().unwrap();
    assert!(!next_hop.rest().ends_with(b"\r\n.\r\n"));
    drop(next_hop);
    rig.assert_nothing_left();
}

#[test]
fn a_reset_between_chunks_leaves_the_next_hop_at_once() {
    let rig = Rig::start(&options());
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(KEYWORDS);
    client.hello();
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@off.test>"] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    let chunk = [b"Subject: half\r\n\r\n".to_vec(), LINE.repeat(5_000)].concat();
    client.send(format!("BDAT {}\r\n", chunk.len()));
    client.send(chunk);
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    client.expect("250 *");
    client.send("RSET\r\n");
    client.expect("250 *");
    let heard = next_hop.rest();
    assert!(heard.len() > 32_000 && !heard.ends_with(b"\r\n.\r\n") && !heard.ends_with(b"QUIT\r\n"));
    client.send("NOOP\r\n");
    client.expect("250 *");
}

#[test]
fn a_message_that_may_have_to_change_is_kept() {
    let rig = Rig::start(&options());
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(KEYWORDS);
    client.expect("220 us.test ESMTP linkgate");
    client.send("EHLO client.test\r\n");
    while client.line().is_some_and(|line| line.starts_with("250-")) {}
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@on.test>"] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.send("DATA\r\n");
    client.expect("354 *");
    client.send(stuffed(&LINE.repeat(10_000)));
    assert!(next_hop.overhears().is_empty());
    client.send(".\r\n");
    next_hop.expect("DATA");
    next_hop.send("554 no\r\n");
    client.expect("554 no");
}
