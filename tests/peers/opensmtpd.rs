//! linkgate beside a real OpenSMTPD, set up from `contrib/opensmtpd`.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};

use super::place::{Linkgate, Place, eventually, skip};
use super::root::{Root, succeeds};
use super::scripted::Scripted;
use super::session::Session;
use super::{ALICE, BOB, DAVE, SENDER, assert_untouched, assert_wrapped, newsletter, odd_but_without_links};

/// Where the outside reaches OpenSMTPD.
const PUBLIC_PORT: u16 = 2525;
/// Where linkgate hands mail back.
const RETURN_PORT: u16 = 10026;
/// What OpenSMTPD hands mail to that it would put into mailboxes.
const MAILBOXES_PORT: u16 = 2527;

const CONFIGURATION: &str = "/etc/smtpd.conf";
const PROGRAM: &str = "/usr/sbin/smtpd";

/// One OpenSMTPD on both sides of linkgate.
struct Chain {
    daemon: Child,
    root: Root,
    mailboxes: Scripted,
    linkgate: Linkgate,
    place: Place,
}

impl Chain {
    /// `None`, with a line that says why, where that cannot be; a failure where `CI` is set.
    fn start() -> Option<Self> {
        if let Some(why) = Root::missing("opensmtpd") {
            skip(&why);
            return None;
        }
        let place = Place::new("opensmtpd");
        let root = Root::new(&place, "opensmtpd", &[("opensmtpd", 61002), ("opensmtpq", 61003)]);
        for folder in ["var/spool", "var/lib/opensmtpd/empty", "var/run"] {
            root.folder(folder, 0);
        }
        let address = place.address;
        let recipe = place.recipe_file("smtpd.conf");
        let own = format!(
            "listen on {address} port {PUBLIC_PORT}\n{recipe}\n\
             action \"mailboxes\" relay host \"smtp+notls://{address}:{MAILBOXES_PORT}\"\n\
             match from any for domain {{ \"example.com\", \"example.net\" }} action \"mailboxes\"\n"
        );
        root.write("etc/smtpd.conf", &own);
        root.write("etc/mailname", "mx.example.org\n");
        succeeds(root.command(PROGRAM).args(["-n", "-f", CONFIGURATION]));
        let log = fs::File::create(root.path("log")).expect("own root");
        let daemon = root
            .command(PROGRAM)
            .args(["-d", "-v", "-f", CONFIGURATION])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("OpenSMTPD starts");
        let chain = Self {
            daemon,
            root,
            mailboxes: Scripted::listen(place.at(MAILBOXES_PORT)),
            linkgate: Linkgate::start(&place, &place.recipe_file("linkgate.toml")),
            place,
        };
        chain.place.wait_for(PUBLIC_PORT);
        chain.place.wait_for(RETURN_PORT);
        Some(chain)
    }

    fn send(&self, recipients: &[&str], message: &[u8]) {
        let mut client = Session::connect(Ipv4Addr::LOCALHOST, self.place.at(PUBLIC_PORT));
        let reply = client.send(SENDER, recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    fn mailbox(&self, address: &str) -> Vec<u8> {
        eventually(&format!("a message for {address}"), || {
            let mut taken = self.mailboxes.taken();
            taken.retain(|taken| taken.recipient == address);
            assert!(taken.len() <= 1, "{} messages for {address}", taken.len());
            taken.pop().map(|taken| taken.message)
        })
    }

    fn log(&self) -> String {
        self.root.read("log")
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // The processes that it has started end with it.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            eprintln!("log of OpenSMTPD:\n{}", self.log());
        }
    }
}

#[test]
fn opensmtpd_sends_its_mail_through_linkgate_and_takes_it_back() {
    let Some(mut chain) = Chain::start() else { return };
    chain.send(&[ALICE, BOB], &newsletter());
    // OpenSMTPD sends a message once to all of its recipients: they share a copy.
    let links = [ALICE, BOB].map(|recipient| assert_wrapped(&chain.place, &chain.mailbox(recipient)));
    assert_eq!(links[0], links[1]);

    // A domain that the recipe does not name goes past linkgate.
    chain.send(&[DAVE], &newsletter());
    assert_untouched(&chain.mailbox(DAVE), &newsletter());

    chain.linkgate.stop();
    let late = "eve@example.com";
    chain.send(&[late], &odd_but_without_links());
    eventually("the mail is deferred", || {
        let log = chain.log();
        assert!(!log.contains("PermFail"), "mail was bounced");
        log.contains("TempFail").then_some(())
    });
    assert!(!chain.mailboxes.recipients().contains(&late.to_owned()));
}
