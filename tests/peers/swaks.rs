//! Dialogs of swaks, a client that neither this project nor an MTA has written, with linkgate and a scripted next hop.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::place::{Linkgate, Place, eventually, skip};
use super::scripted::{Scripted, TEXT};

const LINKGATE_PORT: u16 = 10025;
const NEXT_HOP_PORT: u16 = 10026;

/// linkgate with everything in spool files, and whom it hands mail to.
struct Bench {
    linkgate: Linkgate,
    next_hop: Scripted,
    place: Place,
}

impl Bench {
    /// `listener` is added to the listener's section. `None`, with a line that says why, where there is no swaks.
    fn start(listener: &str) -> Option<Self> {
        if !Path::new("/usr/bin/swaks").exists() {
            skip("swaks is not installed (package swaks)");
            return None;
        }
        let place = Place::new("postfix/after-queue");
        fs::create_dir(place.path("spool")).expect("own folder");
        let spool = place.path("spool");
        let config = place.recipe_file("linkgate.toml").replace(
            "[limits]",
            &format!(
                "{listener}\n[limits]\nspool_memory_kib = 0\nspool_dir = \"{}\"",
                spool.display()
            ),
        );
        Some(Self {
            next_hop: Scripted::listen(place.at(NEXT_HOP_PORT)),
            linkgate: Linkgate::start(&place, &config),
            place,
        })
    }

    /// A run of swaks: whether it says that all went well, and the dialog.
    fn swaks(&self, options: &[&str]) -> (bool, String) {
        let output = Command::new("swaks")
            .args(["--server", &self.place.address.to_string()])
            .args(["--port", &LINKGATE_PORT.to_string()])
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
}

const BODY: &str = "look: https://www.example.org/path?x=1\n.\n..two dots\nGruss\n";

#[test]
fn swaks_hands_mail_over_with_and_without_pipelining() {
    let Some(bench) = Bench::start("") else { return };
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
    let Some(bench) = Bench::start("") else { return };
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

/// The client is gone, without a QUIT, before or after each reply: nothing is delivered that was not ended by a dot, and
/// no session, connection or spool file is left.
#[test]
fn swaks_drops_the_connection_at_each_step_and_nothing_is_left() {
    let Some(bench) = Bench::start("") else { return };
    let (fine, dialog) = bench.swaks(&["--to", "first@example.com", "--body", BODY]);
    assert!(fine, "{dialog}");
    let idle = eventually("an idle linkgate", || {
        let open = bench.open();
        std::thread::sleep(std::time::Duration::from_millis(200));
        (open == bench.open()).then_some(open.len())
    });
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
            bench.swaks(&[option, step, "--to", &to, "--body", BODY]);
            eventually(&format!("the end of the session, {option} {step}"), || {
                (bench.open().len() <= idle).then_some(())
            });
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
    let (fine, dialog) = bench.swaks(&["--to", "last@example.com", "--body", BODY]);
    assert!(fine, "{dialog}");
    assert!(!bench.linkgate.log().contains("panic"), "{}", bench.linkgate.log());
}
