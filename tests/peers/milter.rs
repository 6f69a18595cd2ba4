//! linkgate as a milter of a real Postfix, with the recipe of `contrib/postfix/milter`.

use std::net::Ipv4Addr;

use super::chain::{Chain, Recipe};
use super::place::eventually;
use super::{
    ALICE, BOB, DAVE, SENDER, assert_refused_for_now, assert_untouched, assert_wrapped, dkim, message, newsletter,
};

#[test]
fn milter_links_are_wrapped_in_a_copy_that_all_recipients_share() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    let mut client = chain.client(Ipv4Addr::new(127, 9, 8, 7));
    let reply = client.send(SENDER, &[ALICE, BOB], &newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    // One copy for both: what one has, the other has.
    let links: Vec<_> = [ALICE, BOB]
        .iter()
        .map(|r| assert_wrapped(chain.place(), &chain.mailbox(r, 1)[0]))
        .collect();
    assert_eq!(links[0], links[1]);
    for message in [&chain.mailbox(ALICE, 1)[0], &chain.mailbox(BOB, 1)[0]] {
        assert_header_is_as_sent(message, &newsletter());
        // What is put in stands below Postfix's own field.
        let text = String::from_utf8_lossy(message);
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in\n{text}"));
        assert!(place("\r\nReceived: ") < place("\r\nX-Linkgate-Trace: "));
        assert!(place("\r\nX-Linkgate-Trace: ") < place("\r\nMessage-ID: "));
    }
    // The log names Postfix's own client, and the name that Postfix gave the message.
    let log = chain.linkgate_log();
    let id = regex::Regex::new("IDENT=([0-9A-Za-z]+)").expect("a pattern");
    let id = &id.captures(&log).unwrap_or_else(|| panic!("no queue id in\n{log}"))[1];
    assert!(chain.edge().log().contains(&format!(": {id}: ")), "{id}");
    assert!(
        log.contains("ADDR=127.9.8.7") && log.contains("helo=client.sender.example"),
        "{log}"
    );
    // Several messages in one session.
    let reply = client.send(SENDER, &[BOB], &newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    for message in chain.mailbox(BOB, 2) {
        assert_wrapped(chain.place(), &message);
    }
}

#[test]
fn milter_mail_that_needs_no_change_is_byte_identical() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    super::mail_that_needs_no_change_is_byte_identical(&chain);
}

#[test]
fn milter_a_signature_over_the_header_holds_when_the_body_changes() {
    // What signatures cover of the header must be as it was, folds and blanks included; the body is another.
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    let mut sent = b"X-Odd:no space\r\nX-Odd:   three\r\nX-Folded: a\r\n\tb  \r\n   c\r\n".to_vec();
    sent.extend_from_slice(&newsletter());
    chain.send(SENDER, &[ALICE], &sent);
    let delivered = &chain.mailbox(ALICE, 1)[0];
    assert_header_is_as_sent(delivered, &sent);
    assert_wrapped(chain.place(), delivered);
    if let Some(key) = dkim::Key::generate() {
        let signed = key.sign(&newsletter());
        chain.send(SENDER, &[BOB], &signed);
        let delivered = &chain.mailbox(BOB, 1)[0];
        assert!(!key.verify(delivered), "the body was to change");
        assert_header_is_as_sent(delivered, &signed);
    }
}

#[test]
fn milter_recipients_under_another_policy_are_asked_for_again() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    let mut client = chain.client(Ipv4Addr::LOCALHOST);
    client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{ALICE}>")]);
    let reply = client.command(&format!("RCPT TO:<{DAVE}>"));
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    let reply = client.data(&newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
    // The second message of a session is no different.
    client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{DAVE}>")]);
    let reply = client.command(&format!("RCPT TO:<{ALICE}>"));
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    let reply = client.data(&newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
}

#[test]
fn milter_mail_of_local_programs_is_not_held_up() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    // A recipient that is off comes first, and nobody can be asked to send to it apart: all get the safe copy.
    let local = String::from_utf8(newsletter()).expect("text").replace("\r\n", "\n");
    chain.edge().submit_locally(SENDER, &[DAVE, ALICE], local.as_bytes());
    let links = assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
    assert_eq!(assert_wrapped(chain.place(), &chain.mailbox(DAVE, 1)[0]), links);
}

#[test]
fn milter_the_sender_keeps_mail_while_linkgate_is_down() {
    let Some(mut chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    chain.stop_linkgate();
    assert_refused_for_now(&chain);
    chain.start_linkgate();
    chain.send(SENDER, &[ALICE], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

#[test]
fn milter_a_refusal_is_what_the_client_hears() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    // More links in a small text than are looked into.
    let text = "http://a.example/ ".repeat(4).trim_end().to_owned() + "\r\n";
    let mut client = chain.client(Ipv4Addr::LOCALHOST);
    let reply = client.send(
        SENDER,
        &[ALICE],
        &message("text/plain; charset=utf-8", &text.repeat(6000)),
    );
    assert!(reply.starts_with("550 5.7.1 Message refused (id="), "{reply}");
    let reply = client.send(SENDER, &[ALICE], &newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

#[test]
fn milter_header_fields_that_change_are_changed_in_place() {
    let Some(chain) = Chain::one(Recipe::Milter) else {
        return;
    };
    // UTF-16 is transcoded, and its label with it.
    let text: Vec<u8> = "look: https://www.example.org/utf16\r\n"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let body = data_encoding::BASE64.encode(&text);
    // Of two fields that contradict each other, one is left.
    let sent = format!(
        "From: Carol <{SENDER}>\r\nTo: {ALICE}\r\nContent-Type: text/plain; charset=utf-16be\r\nSubject: x\r\n\
         content-type: text/plain; charset=utf-16be\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nMessage-ID: <2.a@sender.example>\r\n\
         Date: Tue, 03 Nov 2026 10:00:00 +0100\r\n\r\n{body}\r\n"
    );
    chain.send(SENDER, &[ALICE], sent.as_bytes());
    let delivered = chain.mailbox(ALICE, 1).remove(0);
    let parsed = mail_parser::MessageParser::default()
        .parse(&delivered)
        .expect("a message");
    let shown = parsed.body_text(0).expect("text").into_owned();
    assert!(
        shown.starts_with("look: https://click.example.com/c/www.example.org/"),
        "{shown}"
    );
    let delivered = String::from_utf8_lossy(&delivered).to_lowercase();
    assert!(!delivered.contains("utf-16"), "{delivered}");
    let place = |what: &str| {
        delivered
            .find(what)
            .unwrap_or_else(|| panic!("{what} is not in\n{delivered}"))
    };
    assert!(place("\r\nto: ") < place("\r\ncontent-type: ") && place("\r\ncontent-type: ") < place("\r\nsubject: "));
    assert_eq!(delivered.matches("\r\ncontent-type:").count(), 1, "{delivered}");
}

#[test]
fn milter_a_message_of_20_mb_passes() {
    let Some(chain) = Chain::one_with(Recipe::Milter, "message_size_limit = 40960000\n") else {
        return;
    };
    let mut sent = newsletter();
    let end = sent.len() - b"--mixed--\r\n".len();
    sent.truncate(end);
    sent.extend_from_slice(
        b"--mixed\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    let attachment: Vec<u8> = (0..15_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8)
        .collect();
    let encoded = data_encoding::BASE64.encode(&attachment);
    for line in encoded.as_bytes().chunks(76) {
        sent.extend_from_slice(line);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b"--mixed--\r\n");
    assert!(sent.len() > 20_000_000);
    chain.send(SENDER, &[ALICE], &sent);
    let delivered = eventually("the large message", || {
        let mut messages = chain.inner().mailbox(ALICE);
        messages.pop().filter(|m| m.ends_with(b"--mixed--\r\n"))
    });
    assert_wrapped(chain.place(), &delivered);
    let tail = encoded.len();
    assert_eq!(delivered[delivered.len() - tail..], sent[sent.len() - tail..]);
}

#[test]
fn milter_what_grows_beyond_the_size_limit_is_refused_at_the_door() {
    // Postfix counts the new body as well: the README says to leave room.
    let Some(chain) = Chain::one_with(Recipe::Milter, "message_size_limit = 40000\n") else {
        return;
    };
    let sent = message(
        "text/html",
        &"<html><a href=\"http://a.example/\">x</a></html>\r\n".repeat(780),
    );
    assert!(sent.len() < 39_000);
    let reply = chain.client(Ipv4Addr::LOCALHOST).send(SENDER, &[ALICE], &sent);
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    chain.send(SENDER, &[BOB], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(BOB, 1)[0]);
    chain.mailbox(ALICE, 0);
}

/// The header of `delivered` is that of `sent`, below what Postfix puts on top, and nothing is put behind it.
fn assert_header_is_as_sent(delivered: &[u8], sent: &[u8]) {
    let header = |message: &[u8]| {
        let end = memchr::memmem::find(message, b"\r\n\r\n").expect("an end of the header") + 2;
        String::from_utf8_lossy(&message[..end]).into_owned()
    };
    let (delivered, sent) = (header(delivered), header(sent));
    assert!(delivered.ends_with(&sent), "sent:\n{sent}\ndelivered:\n{delivered}");
}
