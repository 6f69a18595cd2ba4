//! Postfix, linkgate and Dovecot in a row, set up from `contrib/postfix/lmtp` and `contrib/dovecot`.

use std::io::{BufRead, BufReader, Write};

use super::dovecot::{Dovecot, FULL, missing};
use super::place::{Place, skip};
use super::{ALICE, BOB, SENDER, assert_untouched, odd_but_without_links};

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
