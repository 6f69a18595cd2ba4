//! linkgate beside a real Exim, set up from the recipes in `contrib/exim`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::dovecot::{self, Dovecot, FULL};
use super::exim::{Exim, Sections, missing};
use super::place::{Linkgate, Place, eventually, linkgate_program, skip};
use super::session::Session;
use super::{
    ALICE, BOB, DAVE, HTML_TARGETS, SENDER, assert_untouched, assert_wrapped, message, newsletter,
    odd_but_without_links,
};

/// Where the outside reaches Exim.
const PUBLIC_PORT: u16 = 2525;
/// Where linkgate hands mail back.
const RETURN_PORT: u16 = 10026;

/// Where Exim reaches linkgate.
const LINKGATE_PORT: u16 = 10025;

/// One Exim on both sides of linkgate.
pub(crate) struct Chain {
    linkgate: Linkgate,
    pub(crate) exim: Exim,
    place: Place,
}

impl Chain {
    /// `contrib/exim/smtp`. `None`, with a line that says why, where that cannot be; a failure where `CI` is set.
    pub(crate) fn smtp() -> Option<Self> {
        Self::smtp_with(|transport| transport, |linkgate| linkgate)
    }

    /// The same, with another transport, or another configuration of linkgate.
    pub(crate) fn smtp_with(transport: impl Fn(String) -> String, linkgate: impl Fn(String) -> String) -> Option<Self> {
        if let Some(why) = missing() {
            skip(&why);
            return None;
        }
        let place = Place::new("exim/smtp");
        let public = ["0.0.0.0.25 ; ::0.25", &format!("{}.{PUBLIC_PORT}", place.address)];
        let main = place.recipe_file("main");
        assert!(main.contains(public[0]), "the recipe's public listener is gone");
        let sections = Sections {
            main: main.replace(public[0], public[1]),
            acl: place.recipe_file("acl"),
            router: place.recipe_file("router"),
            transport: transport(place.recipe_file("transport")),
            ..Sections::default()
        };
        let exim = Exim::start(&place, &sections);
        let linkgate = Linkgate::start(&place, &linkgate(place.recipe_file("linkgate.toml")));
        place.wait_for(PUBLIC_PORT);
        place.wait_for(RETURN_PORT);
        Some(Self { linkgate, exim, place })
    }

    /// A session with the Exim in front.
    pub(crate) fn client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(PUBLIC_PORT))
    }

    /// A session with linkgate, past the Exim in front.
    pub(crate) fn linkgate_client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(LINKGATE_PORT))
    }

    /// A session with the listener behind linkgate, past linkgate.
    pub(crate) fn return_client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(RETURN_PORT))
    }

    fn send(&self, recipients: &[&str], message: &[u8]) {
        let reply = self.client().send(SENDER, recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// Waits until `address` has `count` messages in its mailbox, and no more than that; gives them back.
    pub(crate) fn mailbox(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{count} message(s) for {address}"), || {
            let messages = self.exim.mailbox(address);
            assert!(messages.len() <= count, "{} messages for {address}", messages.len());
            (messages.len() == count).then_some(messages)
        })
    }

    pub(crate) fn nothing_waits(&self) {
        eventually("an empty queue", || (self.exim.waiting() == 0).then_some(()));
    }
}

#[test]
fn exim_by_smtp_each_recipient_gets_links_of_their_own() {
    let Some(chain) = Chain::smtp() else { return };
    chain.send(&[ALICE, BOB, DAVE], &newsletter());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        links.extend(assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]));
    }
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
    chain.nothing_waits();
    // Exim sends in chunks (BDAT) as soon as it is offered: the mark of that is K.
    let log = chain.exim.log();
    assert_eq!(log.matches(" T=linkgate_smtp ").count(), 3, "{log}");
    assert_eq!(log.matches(" K C=\"250 OK").count(), 3, "{log}");
    // The checks of the data ran once, in front.
    let delivered = String::from_utf8_lossy(&chain.mailbox(ALICE, 1)[0]).into_owned();
    assert_eq!(delivered.matches("X-Checked: once\r\n").count(), 1, "{delivered}");
}

/// What the README says for `max_rcpt`: Exim asks for PRDR by itself.
#[test]
fn exim_by_smtp_with_prdr_each_recipient_gets_links_of_their_own() {
    let Some(chain) = Chain::smtp_with(
        |transport| {
            assert!(transport.contains("max_rcpt = 1\n"), "{transport}");
            transport.replace("max_rcpt = 1\n", "max_rcpt = 20\n")
        },
        |linkgate| linkgate,
    ) else {
        return;
    };
    chain.send(&[ALICE, BOB, DAVE], &newsletter());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        links.extend(assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]));
    }
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
    chain.nothing_waits();
    // One transaction: the log of Exim has the mark of PRDR.
    assert!(chain.exim.log().contains(" PRDR"), "{}", chain.exim.log());
}

#[test]
fn exim_by_smtp_mail_that_needs_no_change_is_byte_identical() {
    let Some(chain) = Chain::smtp() else { return };
    chain.send(&[ALICE], &odd_but_without_links());
    assert_untouched(&chain.mailbox(ALICE, 1)[0], &odd_but_without_links());
    let empty = message("text/plain; charset=utf-8", "");
    chain.send(&[BOB], &empty);
    assert_untouched(&chain.mailbox(BOB, 1)[0], &empty);

    // The null sender: bounces pass.
    let reply = chain.client().send("", &[DAVE], &newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
}

#[test]
fn exim_by_smtp_aliases_are_expanded_behind_linkgate_once() {
    let Some(chain) = Chain::smtp() else { return };
    chain.send(&["sales@example.com"], &newsletter());
    let copies = [ALICE, BOB].map(|recipient| assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]));
    // One copy, made for the address that came in.
    assert_eq!(copies[0], copies[1]);
    chain.nothing_waits();
}

#[test]
fn exim_by_smtp_unknown_recipients_are_refused_at_the_door() {
    let Some(chain) = Chain::smtp() else { return };
    let mut client = chain.client();
    client.envelope(&format!("MAIL FROM:<{SENDER}>"), []);
    let reply = client.command("RCPT TO:<nobody-here@example.com>");
    assert!(reply.starts_with("550 "), "{reply}");
}

#[test]
fn exim_by_smtp_mail_waits_while_linkgate_is_down() {
    let Some(mut chain) = Chain::smtp() else { return };
    chain.linkgate.stop();
    chain.send(&[ALICE, BOB], &newsletter());
    eventually("both are deferred", || {
        let log = chain.exim.log();
        assert!(!log.contains(" ** "), "mail was bounced:\n{log}");
        (log.contains(&format!(" == {ALICE} ")) && log.contains(&format!(" == {BOB} "))).then_some(())
    });
    assert_eq!(chain.exim.waiting(), 1);
    chain.linkgate.start_again();
    chain.exim.flush();
    for recipient in [ALICE, BOB] {
        assert_wrapped(&chain.place, &chain.mailbox(recipient, 1)[0]);
    }
    chain.nothing_waits();
}

/// `contrib/exim/transport-filter`: an Exim that runs linkgate for each delivery, and linkgate's click pages beside it.
#[test]
fn exim_by_transport_filter_each_recipient_gets_links_of_their_own() {
    if let Some(why) = missing() {
        skip(&why);
        return;
    }
    let place = Place::new("exim/transport-filter");
    let sections = Sections {
        main: format!("local_interfaces = {}.{PUBLIC_PORT}", place.address),
        mailbox_options: place.recipe_file("transport"),
        ..Sections::default()
    };
    let exim = Exim::start(&place, &sections);
    place.wait_for(PUBLIC_PORT);
    // As the README says: the user who delivers has linkgate's folder.
    exim.install(&linkgate_program(), &place.recipe_file_as_written("linkgate.toml"));
    std::os::unix::fs::symlink(exim.state(), place.path("state")).expect("own folder");
    let _linkgate = Linkgate::start(&place, &place.recipe_file("linkgate.toml"));

    let send = |recipients: &[&str], message: &[u8]| {
        let reply = Session::connect(Ipv4Addr::LOCALHOST, place.at(PUBLIC_PORT)).send(SENDER, recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    };
    let delivered = |recipient: &str| eventually(&format!("mail for {recipient}"), || exim.mailbox(recipient).pop());
    send(&[ALICE, BOB, DAVE], &newsletter());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        links.extend(assert_wrapped(&place, &delivered(recipient)));
    }
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
    assert_untouched(&delivered(DAVE), &newsletter());

    // Without linkgate's program the mail waits.
    exim.uninstall();
    send(&["eve@example.com"], &newsletter());
    eventually("the mail is deferred", || {
        let log = exim.log();
        assert!(!log.contains(" ** "), "mail was bounced:\n{log}");
        log.contains(" == eve@example.com ").then_some(())
    });
}

/// `contrib/exim/lmtp` with Dovecot behind linkgate.
#[test]
fn exim_by_lmtp_each_recipient_gets_links_and_an_answer_of_their_own() {
    if let Some(why) = missing().or(dovecot::missing().map(str::to_owned)) {
        skip(&why);
        return;
    }
    let place = Place::new("exim/lmtp");
    let sections = Sections {
        main: format!("local_interfaces = {}.{PUBLIC_PORT}", place.address),
        transport: place.recipe_file("transport"),
        mailboxes: Some("linkgate_lmtp"),
        ..Sections::default()
    };
    let dovecot = Dovecot::start(&place, &place.file_of("dovecot", "99-linkgate.conf"));
    let exim = Exim::start(&place, &sections);
    let _linkgate = Linkgate::start(&place, &place.recipe_file("linkgate.toml"));
    place.wait_for(PUBLIC_PORT);
    // The alias is followed before linkgate: alice and bob.
    let reply = Session::connect(Ipv4Addr::LOCALHOST, place.at(PUBLIC_PORT)).send(
        "",
        &["sales@example.com", FULL, DAVE],
        &newsletter(),
    );
    assert!(reply.starts_with("250 "), "{reply}");
    let delivered = |recipient: &str| eventually(&format!("mail for {recipient}"), || dovecot.mailbox(recipient).pop());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        links.extend(assert_wrapped(&place, &delivered(recipient)));
    }
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
    assert_untouched(&delivered(DAVE), &newsletter());
    // The full mailbox refuses its own copy, and nothing is sent twice.
    eventually("the full mailbox's answer in the log", || {
        exim.log().contains(&format!(" ** {FULL} ")).then_some(())
    });
    assert!(dovecot.mailbox(FULL).is_empty());
    for recipient in [ALICE, BOB, DAVE] {
        assert_eq!(dovecot.mailbox(recipient).len(), 1, "{recipient}");
    }
}
