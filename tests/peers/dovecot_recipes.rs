//! Postfix, linkgate and Dovecot in a row, set up from `contrib/postfix/lmtp` and `contrib/dovecot`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;

use super::chain::{Recipe, before};
use super::dovecot::{Dovecot, FULL, missing};
use super::place::{Linkgate, Place, eventually, skip};
use super::postfix::Postfix;
use super::session::Session;
use super::{
    ALICE, BOB, DAVE, HTML_TARGETS, SENDER, assert_untouched, assert_wrapped, newsletter, odd_but_without_links,
};

/// Where the outside reaches Postfix.
const PUBLIC_PORT: u16 = 2525;

/// The listener of `99-linkgate.conf`.
const DOVECOT_PORT: u16 = 10026;

/// The recipe's listener, before anybody else uses it: Dovecot answers each recipient by itself.
#[test]
fn dovecot_answers_each_recipient_by_itself() {
    if let Some(why) = missing() {
        skip(why);
        return;
    }
    let place = Place::new("dovecot");
    let dovecot = Dovecot::start(&place, &place.recipe_file("99-linkgate.conf"));
    let mut session = BufReader::new(place.connect(DOVECOT_PORT).expect("the listener"));
    let mut say = |line: &str, replies: usize| -> Vec<String> {
        session
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .expect("Dovecot reads");
        let mut heard = Vec::new();
        while heard.len() < replies {
            let mut line = String::new();
            session.read_line(&mut line).expect("Dovecot answers");
            assert!(!line.is_empty(), "the end, after {heard:?}");
            if line.as_bytes()[3] != b'-' {
                heard.push(line);
            }
        }
        heard
    };
    assert!(say("LHLO us.test", 2)[1].starts_with("250 "));
    assert!(say(&format!("MAIL FROM:<{SENDER}>"), 1)[0].starts_with("250 "));
    for (recipient, code) in [
        (ALICE, "250 "),
        ("unknown@example.com", "550 "),
        (FULL, "250 "),
        (BOB, "250 "),
    ] {
        let reply = say(&format!("RCPT TO:<{recipient}>"), 1).remove(0);
        assert!(reply.starts_with(code), "{recipient}: {reply}");
    }
    assert!(say("DATA", 1)[0].starts_with("354 "));
    let text = odd_but_without_links();
    let stuffed = String::from_utf8_lossy(&text).replace("\r\n.", "\r\n..");
    let replies = say(&format!("{stuffed}."), 3);
    for (reply, code) in replies.iter().zip(["250 ", "552 ", "250 "]) {
        assert!(reply.starts_with(code), "{replies:?}");
    }
    for recipient in [ALICE, BOB] {
        assert_untouched(&dovecot.mailbox(recipient)[0], &text);
    }
    assert!(dovecot.mailbox(FULL).is_empty());
}

/// Postfix before linkgate, Dovecot behind it.
struct Chain {
    edge: Postfix,
    linkgate: Linkgate,
    dovecot: Dovecot,
    place: Place,
}

impl Chain {
    /// With linkgate's and Dovecot's configurations as the recipes have them, or as `unix` has them. `None`, with a line
    /// that says why, where that cannot be; a failure where `CI` is set.
    fn start(by: By) -> Option<Self> {
        if let Some(why) = missing() {
            skip(why);
            return None;
        }
        let recipe = Recipe::Lmtp;
        let place = recipe.place()?;
        let (mut settings, mut listener) = (
            place.recipe_file("linkgate.toml"),
            place.file_of("dovecot", "99-linkgate.conf"),
        );
        if by == By::UnixSocket {
            let tcp = format!("lmtp://{}:{DOVECOT_PORT}", place.address);
            assert!(settings.contains(&tcp), "the recipe's next hop is another");
            let socket = place.path("dovecot/run/linkgate");
            settings = settings.replace(&tcp, &format!("unix:{}", socket.display()));
            listener = "protocols = lmtp\nservice lmtp {\n  unix_listener linkgate {\n    mode = 0600\n  }\n}\n".into();
        }
        let dovecot = Dovecot::start(&place, &listener);
        let (main, master) = before(&place, recipe);
        let edge = Postfix::start(
            &place.path("edge"),
            "edge.example.org",
            &format!("virtual_mailbox_domains = example.com example.net\nvirtual_mailbox_maps = static:known\n{main}"),
            &master,
        );
        let linkgate = Linkgate::start(&place, &settings);
        place.wait_for(PUBLIC_PORT);
        Some(Self {
            edge,
            linkgate,
            dovecot,
            place,
        })
    }

    fn send(&self, recipients: &[&str], message: &[u8]) {
        // Bounces are not sent: the sender is the null sender.
        let mut client = Session::connect(Ipv4Addr::LOCALHOST, self.place.at(PUBLIC_PORT));
        let reply = client.send("", recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    fn mailbox(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{count} message(s) for {address}"), || {
            let messages = self.dovecot.mailbox(address);
            assert!(messages.len() <= count, "{} messages for {address}", messages.len());
            (messages.len() == count).then_some(messages)
        })
    }

    /// Waits until Postfix has logged this status for a recipient.
    fn status(&self, recipient: &str, status: &str) {
        eventually(&format!("{recipient} is {status}"), || {
            let log = self.edge.log();
            log.lines()
                .any(|line| line.contains(&format!("to=<{recipient}>")) && line.contains(&format!("status={status}")))
                .then_some(())
        });
    }
}

/// How linkgate reaches Dovecot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Tcp,
    UnixSocket,
}

#[test]
fn postfix_by_lmtp_each_recipient_gets_links_of_their_own() {
    let Some(chain) = Chain::start(By::Tcp) else { return };
    chain.send(&[ALICE, BOB, DAVE], &newsletter());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        links.extend(assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]));
    }
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
    // In the same transaction, a recipient whose domain is off.
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
    for recipient in [ALICE, BOB, DAVE] {
        chain.status(recipient, "sent");
    }
}

#[test]
fn postfix_by_lmtp_over_a_unix_socket_mail_is_byte_identical() {
    let Some(chain) = Chain::start(By::UnixSocket) else {
        return;
    };
    chain.send(&[ALICE, DAVE], &odd_but_without_links());
    for recipient in [ALICE, DAVE] {
        assert_untouched(&chain.mailbox(recipient, 1)[0], &odd_but_without_links());
    }
    chain.send(&[BOB], &newsletter());
    assert_wrapped(&chain.place, &chain.mailbox(BOB, 1)[0]);
}

#[test]
fn postfix_by_lmtp_a_full_mailbox_refuses_its_own_copy_only() {
    let Some(chain) = Chain::start(By::Tcp) else { return };
    chain.send(&[ALICE, FULL, "unknown@example.com", BOB], &newsletter());
    for recipient in [ALICE, BOB] {
        chain.status(recipient, "sent");
        assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]);
    }
    for recipient in [FULL, "unknown@example.com"] {
        chain.status(recipient, "bounced");
    }
    let log = chain.edge.log();
    assert!(
        log.contains(" said: 552 5.2.2 ") && log.contains(" said: 550 5.1.1 "),
        "{log}"
    );
    chain.mailbox(FULL, 0);
}

#[test]
fn postfix_by_lmtp_mail_waits_while_dovecot_or_linkgate_is_down() {
    let Some(mut chain) = Chain::start(By::Tcp) else { return };
    chain.dovecot.stop();
    chain.send(&[ALICE], &newsletter());
    chain.status(ALICE, "deferred");
    chain.dovecot.start_again();
    chain.linkgate.stop();
    chain.send(&[BOB], &newsletter());
    chain.status(BOB, "deferred");
    chain.linkgate.start_again();
    chain.edge.flush();
    for recipient in [ALICE, BOB] {
        assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]);
    }
    assert!(!chain.edge.log().contains("status=bounced"));
}
