//! TLS with clients and with next hops: a message passes, what was said in plain text does not outlive the handshake, and
//! what goes wrong ends a connection and nothing else.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use linkgate::config::keyfile::Absent;
use linkgate::config::{ListenerTls, Settings};
use linkgate::net::tls::NextHopTls;

use crate::rig::tls::Certificate;
use crate::rig::{Options, Peer, Rig};

/// For news to reach the listener.
const MOMENT: Duration = Duration::from_millis(50);

const SHORT: Duration = Duration::from_millis(400);

/// A listener that offers STARTTLS.
fn starttls(certificate: &Certificate) -> Options {
    Options {
        tls: ListenerTls::StartTls(certificate.identity()),
        ..Options::default()
    }
}

/// A listener with a next hop to encrypt to.
fn towards(tls: NextHopTls, certificate: &Certificate) -> Options {
    Options {
        next_hop_tls: tls,
        trust: Some(certificate.trust()),
        ..Options::default()
    }
}

/// One message, from MAIL to the reply.
fn deliver(client: &mut Peer, next_hop: &mut Peer, body: &str) {
    for command in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@on.test>"] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.send("DATA\r\n");
    client.expect("354 *");
    std::thread::scope(|scope| {
        scope.spawn(|| client.send(format!("{body}\r\n.\r\n")));
        next_hop.expect("DATA");
        next_hop.send("354 go\r\n");
        for line in body.lines() {
            next_hop.expect(line);
        }
    });
    next_hop.expect(".");
    next_hop.send("250 taken\r\n");
    client.expect("250 taken");
}

#[test]
fn a_message_passes_encrypted_on_both_sides() {
    let (ours, theirs) = (Certificate::new("us.test"), Certificate::new("127.0.0.1"));
    let rig = Rig::start(&Options {
        tls: ListenerTls::StartTls(ours.identity()),
        max_message: 10_000_000,
        ..towards(NextHopTls::Verify, &theirs)
    });
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["STARTTLS", "SIZE 9000000"]);
    next_hop.expect("STARTTLS");
    next_hop.send("220 go\r\n");
    next_hop.accept_tls(&theirs).unwrap();
    next_hop.answer_ehlo(&["PIPELINING", "SIZE 9000000"]);
    client.expect("220 us.test *");
    assert!(client.ehlo().contains(&"250-STARTTLS".to_owned()));
    client.send("STARTTLS\r\n");
    client.expect("220 2.0.0 *");
    client.encrypt(&ours, "us.test").unwrap();
    assert!(client.ehlo().iter().all(|line| !line.contains("STARTTLS")));
    deliver(&mut client, &mut next_hop, "short");
    // Much more than the buffers of TLS and of the sockets hold.
    let line = format!("{}\r\n", "x".repeat(900));
    deliver(&mut client, &mut next_hop, line.repeat(6000).trim_end());
    client.send("QUIT\r\n");
    client.expect("221 *");
    client.expect_end();
    next_hop.expect("QUIT");
    next_hop.send("221 bye\r\n");
    next_hop.expect_end();
    rig.assert_nothing_left();
}

#[test]
fn commands_that_were_slipped_in_behind_starttls_never_run() {
    let ours = Certificate::new("us.test");
    for together in [true, false] {
        let rig = Rig::start(&starttls(&ours));
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(&["PIPELINING"]);
        client.hello();
        let injected = "EHLO evil\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<b@on.test>\r\nDATA\r\n";
        if together {
            client.send(format!("NOOP\r\nSTARTTLS\r\n{injected}"));
        } else {
            client.send(format!("NOOP\r\nSTARTTLS\r\n{}", &injected[..7]));
        }
        client.expect("250 2.0.0 *");
        client.expect("220 2.0.0 *");
        client.encrypt(&ours, "us.test").unwrap();
        client.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@on.test>\r\n");
        client.expect("503 5.5.1 Send EHLO*");
        client.expect("503 5.5.1 Need MAIL*");
        assert!(client.ehlo().len() > 1);
        deliver(&mut client, &mut next_hop, "fine");
        drop(client);
        next_hop.expect("QUIT");
        drop(next_hop);
        rig.assert_nothing_left();
    }
}

#[test]
fn xforward_from_before_the_handshake_is_forgotten() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&starttls(&ours));
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["XFORWARD ADDR"]);
    client.hello();
    client.send("XFORWARD ADDR=192.0.2.66\r\n");
    next_hop.expect("XFORWARD ADDR=192.0.2.66");
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
    client.send("STARTTLS\r\n");
    client.expect("220 2.0.0 *");
    client.encrypt(&ours, "us.test").unwrap();
    next_hop.expect_end();
    let answering = std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let mut next_hop = rig.next_hop();
            next_hop.greet(&["XFORWARD ADDR"]);
            next_hop
        });
        client.ehlo();
        answering.join().unwrap()
    });
    next_hop = answering;
    deliver(&mut client, &mut next_hop, "fine");
}

#[test]
fn xclient_from_before_the_handshake_is_forgotten() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&Options {
        xclient: true,
        trusted: false,
        xforward_from: vec!["192.0.2.0/24".parse().unwrap()],
        ..starttls(&ours)
    });
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&[]);
    client.hello();
    client.send("XCLIENT ADDR=192.0.2.7\r\n");
    client.expect("220 us.test *");
    let may = |lines: Vec<String>| lines.iter().any(|line| line.contains("XFORWARD"));
    assert!(may(client.ehlo()));
    client.send("STARTTLS\r\n");
    client.expect("220 2.0.0 *");
    client.encrypt(&ours, "us.test").unwrap();
    assert!(!may(client.ehlo()));
}

#[test]
fn starttls_in_a_transaction_or_a_second_time_is_refused() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&starttls(&ours));
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["PIPELINING"]);
    client.hello();
    // What is pipelined behind a refused STARTTLS is not dropped.
    client.send("MAIL FROM:<a@x.test>\r\nSTARTTLS\r\nRSET\r\nSTARTTLS now\r\n");
    next_hop.expect("MAIL FROM:<a@x.test>");
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
    client.expect("503 5.5.1 *");
    client.expect("250 2.0.0 *");
    client.expect("501 5.5.4 *");
    client.send("STARTTLS\r\n");
    client.expect("220 2.0.0 *");
    client.encrypt(&ours, "us.test").unwrap();
    client.ehlo();
    client.send("STARTTLS\r\n");
    client.expect("502 5.5.1 *");
}

#[test]
fn a_handshake_that_fails_or_stalls_ends_its_connection_only() {
    let (ours, other) = (Certificate::new("us.test"), Certificate::new("us.test"));
    let rig = Rig::start(&Options {
        timeout: SHORT,
        ..starttls(&ours)
    });
    for how in ["garbage", "distrust", "silence", "gone"] {
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(&[]);
        client.hello();
        client.send("STARTTLS\r\n");
        client.expect("220 2.0.0 *");
        match how {
            "garbage" => client.send("EHLO client.test\r\n"),
            "distrust" => client.encrypt(&other, "us.test").unwrap_err().to_string().clear(),
            "gone" => client.half_close(),
            _ => {}
        }
        // An alert may come first.
        client.rest();
        next_hop.expect("QUIT");
        drop((client, next_hop));
        rig.assert_nothing_left();
    }
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&[]);
    client.hello();
    client.send("STARTTLS\r\n");
    client.expect("220 2.0.0 *");
    client.encrypt(&ours, "us.test").unwrap();
    client.ehlo();
    deliver(&mut client, &mut next_hop, "fine");
}

#[test]
fn implicit_tls_begins_with_the_handshake() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&Options {
        tls: ListenerTls::Implicit(ours.identity()),
        ..Options::default()
    });
    let mut client = rig.client();
    client.encrypt(&ours, "us.test").unwrap();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["PIPELINING"]);
    client.expect("220 us.test *");
    assert!(client.ehlo().iter().all(|line| !line.contains("STARTTLS")));
    client.send("STARTTLS\r\n");
    client.expect("502 5.5.1 *");
    deliver(&mut client, &mut next_hop, "fine");
    // The end of the client's side is an end like any other.
    client.notify();
    client.expect_end();
    next_hop.expect("QUIT");
    drop(next_hop);
    rig.assert_nothing_left();

    let mut in_plain = rig.client();
    in_plain.send("EHLO client.test\r\n");
    in_plain.rest();
    rig.assert_nothing_left();
    assert!(!rig.has_unasked_connection());
}

#[test]
fn an_idle_encrypted_session_hears_of_the_shutdown() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&Options {
        tls: ListenerTls::Implicit(ours.identity()),
        ..Options::default()
    });
    let mut handshake_open = rig.client();
    let mut client = rig.client();
    client.encrypt(&ours, "us.test").unwrap();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&[]);
    client.hello();
    rig.stop();
    client.expect("421 *");
    client.expect_end();
    handshake_open.expect_end();
}

#[test]
fn a_reload_swaps_the_certificate_and_open_sessions_live_on() {
    let ours = Certificate::new("old.test");
    let rig = Rig::start(&starttls(&ours));
    let begin = |name: &str| {
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(&[]);
        client.hello();
        client.send("STARTTLS\r\n");
        client.expect("220 2.0.0 *");
        client.encrypt(&ours, name).unwrap();
        client.ehlo();
        (client, next_hop)
    };
    let (mut client, mut next_hop) = begin("old.test");
    let mut waiting = rig.client();
    let mut waiting_hop = rig.next_hop();
    waiting_hop.greet(&[]);
    waiting.hello();
    ours.renew("new.test");
    rig.reload(&starttls(&ours));
    let (mut later, mut later_hop) = begin("new.test");
    deliver(&mut later, &mut later_hop, "new");
    deliver(&mut client, &mut next_hop, "old");
    // A session that was open before, and begins its handshake now.
    waiting.send("STARTTLS\r\n");
    waiting.expect("220 2.0.0 *");
    waiting.encrypt(&ours, "new.test").unwrap();
}

#[test]
fn what_a_next_hop_offered_in_plain_text_is_forgotten() {
    let theirs = Certificate::new("127.0.0.1");
    let rig = Rig::start(&towards(NextHopTls::Opportunistic, &theirs));
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["STARTTLS", "SMTPUTF8", "DSN"]);
    next_hop.expect("STARTTLS");
    next_hop.send("220 go\r\n");
    // Any certificate is good enough here.
    next_hop.accept_tls(&Certificate::new("somebody.test")).unwrap();
    next_hop.answer_ehlo(&["8BITMIME"]);
    client.expect("220 us.test *");
    let offered = client.ehlo().join(" ");
    assert!(offered.contains("8BITMIME"), "{offered}");
    assert!(
        !offered.contains("DSN") && !offered.contains("SMTPUTF8") && !offered.contains("STARTTLS"),
        "{offered}"
    );
    deliver(&mut client, &mut next_hop, "fine");
}

#[test]
fn opportunistic_goes_on_in_plain_text() {
    let theirs = Certificate::new("127.0.0.1");
    for how in ["not offered", "refused", "no handshake", "closed"] {
        let rig = Rig::start(&towards(NextHopTls::Opportunistic, &theirs));
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(if how == "not offered" { &[] } else { &["STARTTLS"] });
        if how != "not offered" {
            next_hop.expect("STARTTLS");
        }
        match how {
            "refused" => next_hop.send("454 4.7.0 not now\r\n"),
            "no handshake" => {
                next_hop.send("220 go\r\n");
                // The greeting of a server that knows nothing of it.
                std::thread::sleep(Duration::from_millis(50));
                next_hop.send("what?\r\n");
            }
            "closed" => {
                next_hop.send("220 go\r\n");
                next_hop.half_close();
            }
            _ => {}
        }
        if matches!(how, "no handshake" | "closed") {
            next_hop = rig.next_hop();
            next_hop.greet(&["STARTTLS"]);
        }
        client.hello();
        deliver(&mut client, &mut next_hop, "fine");
    }
}

#[test]
fn verify_never_goes_on_in_plain_text_or_with_a_stranger() {
    let theirs = Certificate::new("127.0.0.1");
    for how in [
        "not offered",
        "refused",
        "another certificate",
        "another name",
        "no handshake",
    ] {
        let rig = Rig::start(&towards(NextHopTls::Verify, &theirs));
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(if how == "not offered" { &[] } else { &["STARTTLS"] });
        if how != "not offered" {
            next_hop.expect("STARTTLS");
        }
        match how {
            "refused" => next_hop.send("454 4.7.0 not now\r\n"),
            "another certificate" => {
                next_hop.send("220 go\r\n");
                let _ = next_hop.accept_tls(&Certificate::new("127.0.0.1"));
            }
            "another name" => {
                theirs.renew("127.0.0.2");
                next_hop.send("220 go\r\n");
                let _ = next_hop.accept_tls(&theirs);
            }
            "no handshake" => {
                next_hop.send("220 go\r\n");
                next_hop.half_close();
            }
            _ => {}
        }
        client.expect("220 us.test *");
        // Nobody is told why.
        client.send("EHLO client.test\r\n");
        client.expect("421 4.3.2 *");
        client.expect_end();
        drop(next_hop);
        assert!(!rig.has_unasked_connection(), "{how}");
        rig.assert_nothing_left();
    }
}

#[test]
fn what_a_next_hop_says_behind_its_starttls_reply_is_a_fault() {
    let theirs = Certificate::new("127.0.0.1");
    for tls in [NextHopTls::Opportunistic, NextHopTls::Verify] {
        let rig = Rig::start(&towards(tls, &theirs));
        let mut client = rig.client();
        let mut next_hop = rig.next_hop();
        next_hop.greet(&["STARTTLS"]);
        next_hop.expect("STARTTLS");
        next_hop.send("220 go\r\n250-hop.test\r\n250 XFORWARD ADDR\r\n");
        client.expect("220 us.test *");
        client.send("EHLO client.test\r\n");
        client.expect("421 4.3.2 *");
        next_hop.rest();
        assert!(!rig.has_unasked_connection(), "not in plain text either");
    }
}

#[test]
fn smtps_next_hops_are_encrypted_from_the_first_octet() {
    let theirs = Certificate::new("127.0.0.1");
    let rig = Rig::start(&Options {
        implicit_tls: true,
        ..towards(NextHopTls::Verify, &theirs)
    });
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.accept_tls(&theirs).unwrap();
    next_hop.greet(&["STARTTLS", "DSN"]);
    client.expect("220 us.test *");
    let offered = client.ehlo().join(" ");
    assert!(offered.contains("DSN") && !offered.contains("STARTTLS"), "{offered}");
    deliver(&mut client, &mut next_hop, "fine");
    // Between two messages the next hop goes away; the next one is told on a new connection.
    next_hop.notify();
    drop(next_hop);
    // What is closed at the very moment of MAIL is found out too late, and costs a 451.
    std::thread::sleep(MOMENT);
    client.send("MAIL FROM:<c@x.test>\r\n");
    let mut next_hop = rig.next_hop();
    next_hop.accept_tls(&theirs).unwrap();
    next_hop.greet(&["DSN"]);
    next_hop.expect("MAIL FROM:<c@x.test>");
    next_hop.send("250 ok\r\n");
    client.expect("250 ok");
}

#[test]
fn next_hops_are_encrypted_unless_they_are_on_this_machine() {
    let certificate = Certificate::new("authority.test");
    let sample = include_str!("../../fixtures/config/good/least.toml");
    let (before, rest) = sample.split_once("\nnext_hop ").unwrap();
    let (_, behind) = rest.split_once('\n').unwrap();
    let ca = format!("next_hop_ca = {:?}", certificate.certificate());
    for (hop, more, wanted) in [
        ("smtp://127.0.0.1:26", "", NextHopTls::Off),
        ("smtp://[::1]:26", "", NextHopTls::Off),
        ("lmtp://localhost:24", "", NextHopTls::Off),
        ("unix:/run/lmtp", "", NextHopTls::Off),
        ("unix:/run/lmtp", "next_hop_tls = \"opportunistic\"", NextHopTls::Off),
        ("smtp://192.0.2.1:25", "", NextHopTls::Opportunistic),
        ("lmtp://mail.example.com:24", "", NextHopTls::Opportunistic),
        (
            "smtp://127.0.0.1:26",
            "next_hop_tls = \"opportunistic\"",
            NextHopTls::Opportunistic,
        ),
        ("smtp://mail.example.com:25", "next_hop_tls = \"off\"", NextHopTls::Off),
        ("smtps://127.0.0.1:465", &ca, NextHopTls::Verify),
        (
            "smtps://mail.example.com:465",
            "next_hop_tls = \"opportunistic\"",
            NextHopTls::Opportunistic,
        ),
    ] {
        let text = format!("{before}\nnext_hop = {hop:?}\n{more}\n{behind}");
        let settings =
            Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap_or_else(|e| panic!("{hop}: {e:?}"));
        let hops = &settings.listeners[0].next_hops;
        assert_eq!(hops.all[0].tls, wanted, "{hop} {more}");
        assert_eq!(hops.all[0].implicit_tls, hop.starts_with("smtps:"), "{hop}");
        assert_eq!(hops.trust.is_some(), wanted != NextHopTls::Off, "{hop}");
        assert_eq!(hops.to_string(), hop.replacen("unix:", "lmtp+unix:", 1));
    }
}

#[test]
fn openssl_and_swaks_get_through() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&starttls(&ours));
    let to = rig.address().to_string();
    let play = |command: &mut Command| {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(child) = child else {
            println!("{command:?} is not here");
            return None;
        };
        let mut next_hop = rig.next_hop();
        next_hop.greet(&["PIPELINING"]);
        while let Some(line) = next_hop.line() {
            match line.split(' ').next().unwrap_or_default() {
                "MAIL" | "RCPT" | "." => next_hop.send("250 ok\r\n"),
                "DATA" => next_hop.send("354 go\r\n"),
                "QUIT" => next_hop.send("221 bye\r\n"),
                _ => {}
            }
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        Some(text)
    };
    let mut openssl = Command::new("openssl");
    openssl.args([
        "s_client",
        "-starttls",
        "smtp",
        "-verify_return_error",
        "-verify_hostname",
        "us.test",
        "-tls1_2",
    ]);
    if let Some(said) = play(openssl.args(["-connect", &to]).arg("-CAfile").arg(ours.certificate())) {
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    let mut swaks = Command::new("swaks");
    swaks.args([
        "--tls",
        "--from",
        "a@x.test",
        "--to",
        "b@on.test",
        "--body",
        "hello",
        "--server",
        &to,
    ]);
    if let Some(said) = play(&mut swaks) {
        assert!(said.contains("<~  250 ok"), "{said}");
    }
}
