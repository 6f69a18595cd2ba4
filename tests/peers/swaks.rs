//! Dialogs of swaks, a client that neither this project nor an MTA has written, with linkgate and a scripted next hop.

mod around;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::place::{Linkgate, Place, eventually, skip};
use super::scripted::{Scripted, TEXT};

/// A recipe with an SMTP listener, and its port.
const SMTP: (&str, u16) = ("postfix/after-queue", 10025);
/// A recipe with an LMTP listener, and its port.
const LMTP: (&str, u16) = ("postfix/lmtp", 10024);
/// Where both hand mail on.
const NEXT_HOP_PORT: u16 = 10026;

/// linkgate with everything in spool files, and whom it hands mail to.
struct Bench {
    linkgate: Linkgate,
    next_hop: Scripted,
    place: Place,
    port: u16,
}

impl Bench {
    /// With the configuration of a recipe, whose listener has the given port. `None`, with a line that says why, where there
    /// is no swaks.
    fn start(recipe: (&'static str, u16)) -> Option<Self> {
        Self::start_with(recipe, |_, config| config)
    }

    /// The same, with another configuration.
    fn start_with((recipe, port): (&'static str, u16), change: impl Fn(&Place, String) -> String) -> Option<Self> {
        if !Path::new("/usr/bin/swaks").exists() {
            skip("swaks is not installed (package swaks)");
            return None;
        }
        let place = Place::new(recipe);
        fs::create_dir(place.path("spool")).expect("own folder");
        let spool = place.path("spool");
        let config = place.recipe_file("linkgate.toml").replace(
            "[limits]",
            &format!("[limits]\nspool_memory_kib = 0\nspool_dir = \"{}\"", spool.display()),
        );
        Some(Self {
            next_hop: Scripted::listen(place.at(NEXT_HOP_PORT)),
            linkgate: Linkgate::start(&place, &change(&place, config)),
            place,
            port,
        })
    }

    /// A run of swaks: whether it says that all went well, and the dialog.
    fn swaks(&self, options: &[&str]) -> (bool, String) {
        let output = Command::new("swaks")
            .args(["--server", &self.place.address.to_string()])
            .args(["--port", &self.port.to_string()])
            .args(["--ehlo", "client.test", "--from", "carol@sender.example"])
            .args(["--timeout", "15"])
            .args(options)
            .env("HOME", self.place.path(""))
            .output()
            .expect("swaks runs");
        let dialog = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&dialog).into_owned())
    }

    /// linkgate's open files and connections.
    fn open(&self) -> Vec<String> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.linkgate.id())).expect("linkgate runs");
        let mut open: Vec<String> = descriptors
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|file| file.display().to_string())
            .collect();
        open.sort();
        open
    }

    /// How much linkgate has open when nobody speaks with it.
    fn idle(&self) -> usize {
        eventually("an idle linkgate", || {
            let open = self.open();
            std::thread::sleep(Duration::from_millis(200));
            (open == self.open()).then_some(open.len())
        })
    }

    /// Waits until a session has ended that `what` tells of.
    fn wait_until_idle(&self, idle: usize, what: &str) {
        eventually(&format!("the end of the session, {what}"), || {
            (self.open().len() <= idle).then_some(())
        });
    }
}

const BODY: &str = "look: https://www.example.org/path?x=1\n.\n..two dots\nGruss\n";

#[test]
fn swaks_hands_mail_over_with_and_without_pipelining() {
    let Some(bench) = Bench::start(SMTP) else { return };
    for (number, options) in [&["--pipeline"][..], &[]].iter().enumerate() {
        let to = format!("a{number}@example.com,b{number}@example.com");
        let (fine, dialog) = bench.swaks(&[&["--to", to.as_str(), "--body", BODY], *options].concat());
        assert!(fine, "{dialog}");
        let taken = bench.next_hop.taken();
        let [a, b] = ["a", "b"].map(|name| {
            let recipient = format!("{name}{number}@example.com");
            let mut copies = taken.iter().filter(|taken| taken.recipient == recipient);
            let copy = copies
                .next()
                .unwrap_or_else(|| panic!("nothing for {recipient}:\n{dialog}"));
            assert_eq!(copies.count(), 0, "{recipient}");
            String::from_utf8_lossy(&copy.message).into_owned()
        });
        assert_eq!(a, b);
        assert!(
            a.contains("\r\nlook: https://click.example.com/c/www.example.org/"),
            "{a}"
        );
        assert!(a.contains("\r\n.\r\n..two dots\r\nGruss\r\n"), "{a}");
    }
}

#[test]
fn swaks_hears_the_next_hops_refusals_in_a_pipelined_dialog() {
    let Some(bench) = Bench::start(SMTP) else { return };
    let (fine, dialog) = bench.swaks(&["--pipeline", "--to", "rcpt-552-x@example.com,fine@example.com"]);
    assert!(fine, "{dialog}");
    assert!(dialog.contains(&format!("552 5.3.0 {TEXT}")), "{dialog}");
    assert_eq!(bench.next_hop.recipients(), ["fine@example.com"]);

    let (fine, dialog) = bench.swaks(&["--pipeline", "--to", "rcpt-552-y@example.com,rcpt-452-y@example.com"]);
    assert!(!fine, "{dialog}");
    let (fine, dialog) = bench.swaks(&["--pipeline", "--to", "dot-554-y@example.com"]);
    assert!(!fine && dialog.contains(&format!("554 5.3.0 {TEXT}")), "{dialog}");
    assert_eq!(bench.next_hop.recipients(), ["fine@example.com"]);
}

#[test]
fn swaks_by_lmtp_hears_a_reply_for_each_recipient() {
    let Some(bench) = Bench::start(LMTP) else { return };
    let to = "a@example.com,dot-552-x@example.com,rcpt-550-x@example.com,b@example.com";
    for options in [&["--pipeline"][..], &[]] {
        let (_, dialog) = bench.swaks(&[&["--protocol", "LMTP", "--to", to, "--body", BODY], options].concat());
        // In the order of the recipients that were taken.
        let (_, replies) = dialog
            .split_once(" -> .\n")
            .unwrap_or_else(|| panic!("no dot:\n{dialog}"));
        let mut replies = replies.lines().filter(|line| line.starts_with('<'));
        for wanted in ["250 2.0.0 taken", "552 5.3.0 ", "250 2.0.0 taken"] {
            let reply = replies.next().unwrap_or_default();
            assert!(reply.contains(wanted), "{reply}, not {wanted}:\n{dialog}");
        }
    }
    let taken = bench.next_hop.taken();
    let recipients: Vec<&str> = taken.iter().map(|taken| taken.recipient.as_str()).collect();
    assert_eq!(
        recipients,
        ["a@example.com", "b@example.com", "a@example.com", "b@example.com"]
    );
    assert!(taken[0].message != taken[1].message, "the copies are the same");
}

#[test]
fn swaks_with_prdr_hears_a_reply_for_each_recipient() {
    let Some(bench) = Bench::start(SMTP) else { return };
    let to = "a@example.com,dot-552-x@example.com,b@example.com";
    let (_, dialog) = bench.swaks(&["--prdr", "--to", to, "--body", BODY]);
    for line in [
        "MAIL FROM:<carol@sender.example> PRDR",
        "353",
        "250 2.0.0 taken",
        "552 5.3.0 ",
    ] {
        assert!(dialog.contains(line), "no {line:?}:\n{dialog}");
    }
    let taken = bench.next_hop.taken();
    let recipients: Vec<&str> = taken.iter().map(|taken| taken.recipient.as_str()).collect();
    assert_eq!(recipients, ["a@example.com", "b@example.com"], "{dialog}");
    assert!(taken[0].message != taken[1].message, "the copies are the same");
}

/// LMTP answers each recipient by itself, SMTP all at once: one recipient at a time, unless the client knows PRDR.
#[test]
fn swaks_by_smtp_is_asked_for_one_recipient_at_a_time_where_the_next_hop_speaks_lmtp() {
    let to_lmtp = |_: &Place, config: String| {
        assert!(config.contains("\"smtp://"), "{config}");
        config.replace("\"smtp://", "\"lmtp://")
    };
    let Some(bench) = Bench::start_with(SMTP, to_lmtp) else {
        return;
    };
    let (fine, dialog) = bench.swaks(&["--to", "a@example.com,b@example.com", "--body", BODY]);
    assert!(fine && dialog.contains("452 4.5.3 "), "{dialog}");
    assert_eq!(bench.next_hop.recipients(), ["a@example.com"], "{dialog}");

    let to = "c@example.com,dot-552-x@example.com,d@example.com";
    let (_, dialog) = bench.swaks(&["--prdr", "--to", to, "--body", BODY]);
    assert!(dialog.contains("552 5.3.0 ") && !dialog.contains("452 "), "{dialog}");
    assert_eq!(
        bench.next_hop.recipients(),
        ["a@example.com", "c@example.com", "d@example.com"],
        "{dialog}"
    );
}

#[test]
fn swaks_drops_the_connection_at_each_step_and_nothing_is_left() {
    let Some(bench) = Bench::start(SMTP) else { return };
    drops_leave_nothing(&bench, &[]);
}

#[test]
fn swaks_by_lmtp_drops_the_connection_at_each_step_and_nothing_is_left() {
    let Some(bench) = Bench::start(LMTP) else { return };
    drops_leave_nothing(&bench, &["--protocol", "LMTP"]);
}

/// The client is gone, without a QUIT, before or after each reply: nothing is delivered that was not ended by a dot, and
/// no session, connection or spool file is left.
fn drops_leave_nothing(bench: &Bench, protocol: &[&str]) {
    let swaks = |options: &[&str]| bench.swaks(&[protocol, options].concat());
    let (fine, dialog) = swaks(&["--to", "first@example.com", "--body", BODY]);
    assert!(fine, "{dialog}");
    let idle = bench.idle();
    for (option, steps) in [
        ("--drop-after", &["CONNECT", "HELO", "MAIL", "RCPT", "DATA", "DOT"][..]),
        ("--drop-after-send", &["HELO", "MAIL", "RCPT", "DATA", "DOT"]),
        ("--quit-after", &["CONNECT", "HELO", "MAIL", "RCPT"]),
    ] {
        for step in steps {
            let to = format!(
                "{}-{step}@example.com",
                option.trim_start_matches('-').replace('-', ".")
            );
            swaks(&[option, step, "--to", &to, "--body", BODY]);
            bench.wait_until_idle(idle, &format!("{option} {step}"));
            let copies = bench.next_hop.recipients().iter().filter(|taken| **taken == to).count();
            match (option, *step) {
                // The reply was there, so the message is.
                ("--drop-after", "DOT") => assert_eq!(copies, 1, "{option} {step}"),
                // It is whole; the client does not know and will send it again.
                ("--drop-after-send", "DOT") => assert!(copies <= 1, "{option} {step}"),
                _ => assert_eq!(copies, 0, "{option} {step}"),
            }
        }
    }
    assert_eq!(fs::read_dir(bench.place.path("spool")).expect("own folder").count(), 0);
    let (fine, dialog) = swaks(&["--to", "last@example.com", "--body", BODY]);
    assert!(fine, "{dialog}");
    assert!(!bench.linkgate.log().contains("panic"), "{}", bench.linkgate.log());
}
