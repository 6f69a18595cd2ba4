//! Nothing that some mail server takes for the end of a message, or of a line, is one here: through the whole proxy, in both
//! directions, however it is cut into packets. What decides is what the next hop hears.

use std::time::Duration;

use linkgate::config::BareLineEnds;

use crate::rig::{Options, Peer, Rig};

/// Each of these ended data for some mail server.
const ODD_ENDS: [&str; 22] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r\r\n",
    "\r\n\r.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\r\n.\r",
    "\n.\r",
    "\n\n.\r\n",
    "\n.\n\n",
    "\r\r\n.\r\r\n",
    "\r\r\n.\n",
    "\n\r.\n\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\0\n",
    "\0\r\n.\n",
    "\r\n .\r\n",
    "\r\n. \r\n",
    "\r\n..\r\n",
];

const SMUGGLED: &str = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\nSubject: evil\r\n\r\n";

fn start(bare_line_ends: BareLineEnds) -> (Rig, Peer, Peer) {
    let rig = Rig::start(&Options {
        bare_line_ends,
        ..Options::default()
    });
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    next_hop.greet(&["PIPELINING"]);
    client.hello();
    (rig, client, next_hop)
}

fn envelope(rig: &Rig, client: &mut Peer, next_hop: &mut Peer) {
    envelope_to("b@on.test", rig, client, next_hop);
}

fn envelope_to(to: &str, rig: &Rig, client: &mut Peer, next_hop: &mut Peer) {
    for command in ["MAIL FROM:<a@x.test>", &format!("RCPT TO:<{to}>")] {
        client.send(format!("{command}\r\n"));
        match next_hop.line().unwrap().as_str() {
            "RSET" => {
                next_hop.send("250 reset\r\n");
                next_hop.expect(command);
            }
            // After some messages that came to nothing another connection is made.
            "QUIT" => {
                *next_hop = rig.next_hop();
                next_hop.greet(&["PIPELINING"]);
                next_hop.expect(command);
            }
            _ => {}
        }
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
}

/// What the next hop hears between DATA and the first CRLF . CRLF.
fn taken(next_hop: &mut Peer) -> Vec<String> {
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    let lines = std::iter::from_fn(|| next_hop.line().filter(|line| line != ".")).collect();
    next_hop.send("250 taken\r\n");
    lines
}

/// All ways to send one message: the octets in packets.
fn ways(odd: &str) -> Vec<Vec<Vec<u8>>> {
    let (before, behind) = ("Subject: outer\r\n\r\nx", format!("{SMUGGLED}\r\n"));
    let whole = format!("{before}{odd}{behind}");
    let mut ways = Vec::new();
    for at in 0..=odd.len() {
        let (a, b) = whole.as_bytes().split_at(before.len() + at);
        ways.push(vec![b"DATA\r\n".to_vec(), a.to_vec(), [b, b".\r\n"].concat()]);
        // The same cut, as that of two chunks.
        let first = [format!("BDAT {}\r\n", a.len()).as_bytes(), a].concat();
        let second = [format!("BDAT {} LAST\r\n", b.len()).as_bytes(), b].concat();
        ways.push(vec![first, second]);
    }
    ways
}

/// Sends the packets; the reply at the end of the message comes next.
fn send(client: &mut Peer, packets: &[Vec<u8>]) {
    for packet in packets {
        client.send(packet);
        if packet == b"DATA\r\n" {
            client.expect("354 *");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if packets[0].starts_with(b"BDAT") {
        client.expect("250 2.0.0 Chunk received");
    }
}

#[test]
fn no_odd_end_of_data_reaches_the_next_hop() {
    let (rig, mut client, mut next_hop) = start(BareLineEnds::Refuse);
    for odd in ODD_ENDS {
        let stray = odd.replace("\r\n", "").contains(['\r', '\n']);
        for packets in ways(odd) {
            envelope(&rig, &mut client, &mut next_hop);
            send(&mut client, &packets);
            if stray {
                client.expect("550 5.5.2 Bare <CR> or <LF> in message data");
            } else {
                assert_one_message(&taken(&mut next_hop), odd);
                client.expect("250 taken");
            }
        }
    }
}

#[test]
fn normalised_data_is_one_message_for_the_next_hop() {
    let (rig, mut client, mut next_hop) = start(BareLineEnds::Normalise);
    for odd in ODD_ENDS {
        for packets in ways(odd) {
            envelope(&rig, &mut client, &mut next_hop);
            send(&mut client, &packets);
            assert_one_message(&taken(&mut next_hop), odd);
            client.expect("250 taken");
        }
    }
}

#[test]
fn a_message_that_flows_past_is_cut_off_at_an_odd_end_of_data() {
    // To a domain that is off, and large: it goes to the next hop while it comes in.
    let padding = "0123456789\r\n".repeat(3000);
    for odd in ODD_ENDS {
        let stray = odd.replace("\r\n", "").contains(['\r', '\n']);
        for in_chunks in [false, true] {
            let (rig, mut client, mut next_hop) = start(BareLineEnds::Refuse);
            envelope_to("b@off.test", &rig, &mut client, &mut next_hop);
            let behind = format!("x{odd}{SMUGGLED}\r\n");
            let packets = if in_chunks {
                let head = format!("Subject: outer\r\n\r\n{padding}");
                let first = format!("BDAT {}\r\n{head}", head.len());
                vec![first, format!("BDAT {} LAST\r\n{behind}", behind.len())]
            } else {
                let head = format!("Subject: outer\r\n\r\n{padding}");
                vec!["DATA\r\n".to_owned(), head, format!("{behind}.\r\n")]
            };
            let sent = std::thread::spawn(move || {
                send(
                    &mut client,
                    &packets.into_iter().map(String::into_bytes).collect::<Vec<_>>(),
                );
                client.expect(if stray { "550 5.5.2 *" } else { "250 taken" });
                client
            });
            next_hop.expect("DATA");
            next_hop.send("354 go\r\n");
            if stray {
                // Neither a dot nor a QUIT: what the next hop has is half a message, cut anywhere.
                let half = next_hop.rest();
                assert!(half.len() > 16_000, "{odd:?}: it did not flow");
                let half = String::from_utf8_lossy(&half).replace("\r\n", "|");
                assert!(
                    !half.contains('\n') && !half.trim_end_matches('\r').contains('\r'),
                    "{odd:?}"
                );
                assert!(!half.contains("|.|") && !half.ends_with("QUIT|"), "{odd:?}");
            } else {
                let lines: Vec<String> = std::iter::from_fn(|| next_hop.line().filter(|line| line != ".")).collect();
                assert_one_message(&lines, odd);
                next_hop.send("250 taken\r\n");
            }
            drop(sent.join().unwrap());
            drop((next_hop, rig));
        }
    }
}

/// Everything up to the last line arrives before the dot, and no line holds half a line end.
fn assert_one_message(lines: &[String], odd: &str) {
    assert_eq!(lines.last().map(String::as_str), Some(""), "{odd:?}: {lines:?}");
    assert!(lines.iter().any(|l| l.ends_with("Subject: evil")), "{odd:?}: {lines:?}");
    assert!(!lines.concat().contains(['\r', '\n']), "{odd:?}: {lines:?}");
}

#[test]
fn a_reply_that_hides_another_stays_one_reply() {
    let (rig, mut client, mut next_hop) = start(BareLineEnds::Refuse);
    for hidden in [
        "\n250 2.0.0 fine",
        "\r250 2.0.0 fine",
        "\n.\n250 fine",
        "\0\n250 fine",
        "\r\r250 fine",
        "\n",
    ] {
        client.send("MAIL FROM:<a@x.test>\r\nNOOP\r\n");
        next_hop.expect("MAIL FROM:<a@x.test>");
        next_hop.send(format!("550 5.7.1 no{hidden}\r\n"));
        let shown: String = hidden.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        client.expect(&format!("550 5.7.1 no{shown}"));
        client.expect("250 2.0.0 Ok");
        next_hop_is_in_step(&rig, &mut client, &mut next_hop);
    }
}

/// A whole envelope: each reply answers its command. Ends it.
fn next_hop_is_in_step(rig: &Rig, client: &mut Peer, next_hop: &mut Peer) {
    envelope(rig, client, next_hop);
    client.send("DATA\r\n");
    client.expect("354 *");
    client.send("x\r\n.\r\n");
    taken(next_hop);
    client.expect("250 taken");
}
