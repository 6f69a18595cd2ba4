//! The next hop fails in each way at each step, in each dialect, for mail that changes and mail that flows past. The client is
//! told the right thing at the right step, nothing arrives by half, and the same session delivers the next message.

use std::time::Duration;

use linkgate::config::{Dialect, Protocol};

use crate::rig::{Options, Peer, Rig};

const KEYWORDS: &[&str] = &["PIPELINING", "SIZE 1000000", "8BITMIME"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Dies,
    Stalls,
    Tempfails,
    Permfails,
    Closes,
    Garbles,
    HalfAnswers,
}

const FAULTS: [Fault; 7] = [
    Fault::Dies,
    Fault::Stalls,
    Fault::Tempfails,
    Fault::Permfails,
    Fault::Closes,
    Fault::Garbles,
    Fault::HalfAnswers,
];

const STEPS: [&str; 6] = ["connect", "hello", "MAIL", "RCPT", "DATA", "dot"];

#[derive(Debug, Clone, Copy)]
struct Way {
    protocol: Protocol,
    dialect: Dialect,
    recipient: &'static str,
}

fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for (protocol, dialect) in [
        (Protocol::Smtp, Dialect::Smtp),
        (Protocol::Smtp, Dialect::Lmtp),
        (Protocol::Lmtp, Dialect::Smtp),
        (Protocol::Lmtp, Dialect::Lmtp),
    ] {
        for recipient in ["b@on.test", "b@off.test"] {
            ways.push(Way {
                protocol,
                dialect,
                recipient,
            });
        }
    }
    ways
}

impl Fault {
    /// Does it; what is returned keeps the connection open.
    fn happen(self, mut next_hop: Peer) -> Option<Peer> {
        match self {
            Self::Dies => return None,
            Self::Stalls => {}
            Self::Tempfails => next_hop.send("450 4.2.0 not now\r\n"),
            Self::Permfails => next_hop.send("550 5.1.1 never\r\n"),
            Self::Closes => next_hop.send("421 4.3.2 closing\r\n"),
            Self::Garbles => next_hop.send("what?\r\n"),
            Self::HalfAnswers => {
                next_hop.send("25");
                return None;
            }
        }
        Some(next_hop)
    }

    /// What the client hears of it in the middle of a transaction.
    fn told(self) -> &'static str {
        match self {
            Self::Dies | Self::Stalls | Self::HalfAnswers => "451 4.4.2 *",
            Self::Tempfails => "450 4.2.0 not now",
            Self::Permfails => "550 5.1.1 never",
            Self::Closes => "421 4.3.2 closing",
            Self::Garbles => "451 4.5.0 *",
        }
    }
}

#[test]
fn each_fault_of_the_next_hop_at_each_step() {
    std::thread::scope(|scope| {
        for way in ways() {
            scope.spawn(move || {
                for (at, step) in STEPS.iter().enumerate() {
                    for fault in FAULTS {
                        play(way, at, fault).unwrap_or_else(|why| panic!("{way:?}, {fault:?} at {step}: {why}"));
                    }
                }
            });
        }
    });
}

/// Runs one case; the error says which line was not as it should be.
fn play(way: Way, at: usize, fault: Fault) -> Result<(), String> {
    let rig = Rig::start(&Options {
        protocol: way.protocol,
        dialect: way.dialect,
        timeout: Duration::from_millis(500),
        connect_timeout: Some(Duration::from_millis(300)),
        ..Options::default()
    });
    let mut client = rig.client();
    let mut next_hop = rig.next_hop();
    let hello = if way.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
    let greeted = if way.protocol == Protocol::Lmtp {
        "LMTP"
    } else {
        "ESMTP"
    };
    client.hears(&format!("220 us.test {greeted} linkgate"))?;
    if at <= 1 {
        if at == 1 {
            next_hop.send("220 hop.test\r\n");
            next_hop.line().ok_or("no greeting of ours")?;
        }
        let left = fault.happen(next_hop);
        client.send(format!("{hello} client.test\r\n"));
        client.hears("421 4.3.2 Service not available, try again later")?;
        drop((client, left));
        rig.assert_nothing_left();
        return Ok(());
    }
    next_hop.greet(KEYWORDS);
    client.send(format!("{hello} client.test\r\n"));
    while client.line().is_some_and(|line| line.starts_with("250-")) {}
    let rcpt = format!("RCPT TO:<{}>", way.recipient);
    for (n, command) in ["MAIL FROM:<a@x.test>", &rcpt].into_iter().enumerate() {
        client.send(format!("{command}\r\n"));
        next_hop.hears(command)?;
        if at == n + 2 {
            let left = fault.happen(next_hop);
            client.hears(fault.told())?;
            return over(&rig, client, left, fault);
        }
        next_hop.send("250 ok\r\n");
        client.hears("250 ok")?;
    }
    client.send("DATA\r\n");
    client.hears("354 *")?;
    let body = "0123456789\r\n".repeat(3000);
    client.send(format!("Subject: x\r\n\r\n{body}.\r\n"));
    next_hop.hears("DATA")?;
    if at == 4 {
        let left = fault.happen(next_hop);
        client.hears(fault.told())?;
        return over(&rig, client, left, fault);
    }
    next_hop.send("354 go\r\n");
    while next_hop.line().ok_or("no dot")? != "." {}
    let left = fault.happen(next_hop);
    client.hears(fault.told())?;
    over(&rig, client, left, fault)
}

/// The message came to nothing; the session goes on unless the next hop has said that it closes.
fn over(rig: &Rig, mut client: Peer, left: Option<Peer>, fault: Fault) -> Result<(), String> {
    if !rig.messages().is_empty() {
        return Err("it counts as delivered".to_owned());
    }
    if fault == Fault::Closes {
        client.expect_end();
    } else {
        let heard = left.map(|mut next_hop| match fault {
            Fault::Tempfails | Fault::Permfails => Vec::new(),
            // Given up: the connection ends.
            _ => next_hop.rest(),
        });
        if heard.is_some_and(|heard| heard.ends_with(b"\r\n.\r\n")) {
            return Err("a second dot".to_owned());
        }
        client.send("RSET\r\nNOOP\r\n");
        client.hears("250 2.0.0 Ok")?;
        client.hears("250 2.0.0 Ok")?;
    }
    drop(client);
    rig.assert_nothing_left();
    Ok(())
}
