//! linkgate among real mail servers, set up from the recipes in `contrib`: Postfix, Exim, Dovecot, OpenSMTPD, and swaks as a
//! client.
//!
//! These tests need root and what `peer_packages` in `tests/run` installs or unpacks. Where something is missing they say so
//! and pass, except where `CI` is set: there they fail.

mod chain;
mod corpus;
mod dkim;
mod dovecot;
mod dovecot_recipes;
mod exim;
mod exim_recipes;
mod exim_smuggling;
mod milter;
mod opensmtpd;
mod place;
mod postfix;
mod replies;
mod root;
mod scripted;
mod session;
mod swaks;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use chain::{Chain, Recipe};
use data_encoding::BASE64;
use mail_parser::{MessageParser, MimeHeaders};
use place::{Place, eventually};

const SENDER: &str = "carol@sender.example";
/// A recipient whose domain opted in, in the recipes' `linkgate.toml`.
const ALICE: &str = "alice@example.com";
/// Another one.
const BOB: &str = "bob@example.com";
/// A recipient whose domain is off.
const DAVE: &str = "dave@example.net";

/// Links of [`newsletter`]: in its HTML part and in its text part.
const HTML_TARGETS: [&str; 2] = [
    "https://shop.example.org/spring?id=1&utm_source=mail#offer",
    "http://www.example.org/a%2Fb/c+d",
];
const TEXT_TARGET: &str = "https://news.example.org/today?page=2";

/// What mail servers put on top of a message.
const ADDED_ON_THE_WAY: [&str; 7] = [
    "Return-Path",
    "X-Original-To",
    "Delivered-To",
    "Received",
    "Envelope-To",
    "Delivery-Date",
    "X-Checked",
];

#[test]
fn after_queue_links_are_wrapped_and_answer() {
    let Some(chain) = Chain::two(Recipe::AfterQueue) else {
        return;
    };
    chain.send(SENDER, &[ALICE, BOB], &newsletter());
    let mut links = BTreeSet::new();
    for recipient in [ALICE, BOB] {
        let message = &chain.mailbox(recipient, 1)[0];
        links.extend(assert_wrapped(chain.place(), message));
    }
    // A transaction for each recipient: no link of Alice's copy is in Bob's.
    assert_eq!(links.len(), 2 * (HTML_TARGETS.len() + 1), "{links:?}");
}

#[test]
fn before_queue_links_are_wrapped_and_answer() {
    let Some(chain) = Chain::two(Recipe::BeforeQueue) else {
        return;
    };
    chain.send(SENDER, &[ALICE, BOB], &newsletter());
    // One copy for both: what one has, the other has.
    let links: Vec<_> = [ALICE, BOB]
        .iter()
        .map(|r| assert_wrapped(chain.place(), &chain.mailbox(r, 1)[0]))
        .collect();
    assert_eq!(links[0], links[1]);
}

#[test]
fn one_postfix_on_both_sides_after_the_queue() {
    let Some(chain) = Chain::one(Recipe::AfterQueue) else {
        return;
    };
    chain.send(SENDER, &[ALICE, DAVE], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
}

#[test]
fn one_postfix_on_both_sides_before_the_queue() {
    let Some(chain) = Chain::one(Recipe::BeforeQueue) else {
        return;
    };
    chain.send(SENDER, &[ALICE], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

#[test]
fn after_queue_mail_that_needs_no_change_is_byte_identical() {
    let Some(chain) = Chain::two(Recipe::AfterQueue) else {
        return;
    };
    mail_that_needs_no_change_is_byte_identical(&chain);
}

#[test]
fn before_queue_mail_that_needs_no_change_is_byte_identical() {
    let Some(chain) = Chain::two(Recipe::BeforeQueue) else {
        return;
    };
    mail_that_needs_no_change_is_byte_identical(&chain);
}

fn mail_that_needs_no_change_is_byte_identical(chain: &Chain) {
    let sent = [odd_but_without_links(), message("text/plain; charset=utf-8", "")];
    for message in &sent {
        chain.send(SENDER, &[ALICE], message);
    }
    let mut delivered = chain.mailbox(ALICE, sent.len());
    delivered.sort_by_key(|message| std::cmp::Reverse(message.len()));
    for (delivered, sent) in delivered.iter().zip(&sent) {
        assert_untouched(delivered, sent);
    }

    // A domain that is off keeps its links.
    chain.send(SENDER, &[DAVE], &newsletter());
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());

    if let Some(key) = dkim::Key::generate() {
        let signed = key.sign(&odd_but_without_links());
        assert!(
            key.verify(&signed),
            "the signature does not hold before the mail is sent"
        );
        chain.send(SENDER, &[BOB], &signed);
        let delivered = &chain.mailbox(BOB, 1)[0];
        assert_untouched(delivered, &signed);
        assert!(key.verify(delivered), "the signature does not hold any more");
    }
}

#[test]
fn after_queue_client_data_and_parameters_pass() {
    let Some(chain) = Chain::two(Recipe::AfterQueue) else {
        return;
    };
    client_data_and_parameters_pass(&chain);
}

#[test]
fn before_queue_client_data_and_parameters_pass() {
    let Some(chain) = Chain::two(Recipe::BeforeQueue) else {
        return;
    };
    client_data_and_parameters_pass(&chain);
}

fn client_data_and_parameters_pass(chain: &Chain) {
    // DSN: the Postfix that delivers learns all four parameters and reports to the sender, once.
    let mut client = chain.client(Ipv4Addr::new(127, 9, 8, 7));
    client.envelope(
        &format!("MAIL FROM:<{SENDER}> RET=HDRS ENVID=order+2B77 BODY=8BITMIME"),
        [format!(
            "RCPT TO:<{ALICE}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;sales+2Bde@example.com"
        )],
    );
    let reply = client.data(&newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
    let report = chain.mailbox(SENDER, 1).remove(0);
    let report = String::from_utf8(report).expect("a report is text");
    for line in [
        "Original-Envelope-Id: order+77\r\n",
        "Original-Recipient: rfc822;sales+de@example.com\r\n",
        "Action: delivered\r\n",
    ] {
        assert!(report.contains(line), "{line:?} is not in\n{report}");
    }

    // XFORWARD: its log names the client that the Postfix in front spoke with.
    eventually("the client's address in the log behind linkgate", || {
        chain
            .inner()
            .log()
            .contains("orig_client=unknown[127.9.8.7]")
            .then_some(())
    });

    // SMTPUTF8: addresses and header fields in UTF-8.
    let utf8 = with_subject("Grüße", &message("text/plain; charset=utf-8", "Schöne Grüße\r\n"));
    let mut client = chain.client(Ipv4Addr::LOCALHOST);
    client.envelope(
        "MAIL FROM:<jörg@sender.example> SMTPUTF8 BODY=8BITMIME",
        ["RCPT TO:<ålice@example.com>".to_owned()],
    );
    let reply = client.data(&utf8);
    assert!(reply.starts_with("250 "), "{reply}");
    assert_untouched(&chain.mailbox("ålice@example.com", 1)[0], &utf8);

    // The null sender: bounces pass.
    chain.send("", &[BOB], &odd_but_without_links());
    assert_untouched(&chain.mailbox(BOB, 1)[0], &odd_but_without_links());
}

#[test]
fn after_queue_mail_waits_while_the_next_hop_or_linkgate_is_down() {
    let Some(mut chain) = Chain::two(Recipe::AfterQueue) else {
        return;
    };
    chain.inner().stop();
    chain.send(SENDER, &[ALICE], &newsletter());
    wait_until_deferred(&chain, 1);
    chain.inner().start_again();
    chain.edge().flush();
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);

    chain.stop_linkgate();
    chain.send(SENDER, &[BOB], &newsletter());
    wait_until_deferred(&chain, 2);
    chain.start_linkgate();
    chain.edge().flush();
    assert_wrapped(chain.place(), &chain.mailbox(BOB, 1)[0]);
    // Links of before the restart still open: the keys are in the state folder.
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

#[test]
fn after_queue_recipe_can_be_taken_out_again() {
    let Some(mut chain) = Chain::two(Recipe::AfterQueue) else {
        return;
    };
    chain.stop_linkgate();
    chain.send(SENDER, &[ALICE], &newsletter());
    wait_until_deferred(&chain, 1);
    chain.edge().remove_recipe_from_main();
    chain.edge().reload();
    chain.edge().requeue();
    assert_untouched(&chain.mailbox(ALICE, 1)[0], &newsletter());
}

#[test]
fn after_queue_suspicious_mail_is_held_until_somebody_lets_it_go() {
    let list = tempfile::tempdir().unwrap();
    let path = list.path().join("bad.txt");
    std::fs::write(&path, "https://bad.example.net/x\n").unwrap();
    let more = format!(
        "at_delivery = \"tag\"\n[[source]]\nname = \"bad\"\ntype = \"urls\"\nfrom = \"{}\"\n",
        path.display()
    );
    let holds = |place: &Place, master: String| {
        let checks = place.path("checks");
        std::fs::write(&checks, "/^X-Linkgate-Suspicious: yes/ HOLD suspicious links\n").unwrap();
        let every = "=no_unknown_recipient_checks,no_header_body_checks,no_milters";
        let but_headers = "=no_unknown_recipient_checks,no_milters\n  -o cleanup_service_name=linkgate-cleanup";
        assert!(master.contains(every), "the recipe's return listener is another");
        let hold = place.recipe_file("master-hold.cf");
        let hold = hold.replace("/etc/postfix/linkgate_header_checks", checks.to_str().unwrap());
        master.replace(every, but_headers) + &hold
    };
    let Some(chain) = Chain::two_with(Recipe::AfterQueue, holds, &more) else {
        return;
    };
    chain.send(SENDER, &[ALICE], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
    let bad = message("text/plain; charset=utf-8", "https://bad.example.net/x\r\n");
    chain.send(SENDER, &[BOB], &bad);
    let id = eventually("a held message", || chain.inner().held().pop());
    assert!(chain.inner().log().contains("hold: header X-Linkgate-Suspicious: yes"));
    chain.mailbox(BOB, 0);
    chain.inner().release(&id);
    let released = &chain.mailbox(BOB, 1)[0];
    assert!(contains(released, b"https://click.example.com/c/bad.example.net/"));
    assert!(chain.inner().held().is_empty());
}

#[test]
fn before_queue_the_sender_keeps_mail_while_the_next_hop_or_linkgate_is_down() {
    let Some(mut chain) = Chain::two(Recipe::BeforeQueue) else {
        return;
    };
    chain.inner().stop();
    assert_refused_for_now(&chain);
    chain.inner().start_again();
    eventually("the Postfix behind takes mail again", || {
        let mut client = chain.client(Ipv4Addr::LOCALHOST);
        client
            .command(&format!("MAIL FROM:<{SENDER}>"))
            .starts_with("250 ")
            .then_some(())
    });

    chain.stop_linkgate();
    assert_refused_for_now(&chain);
    chain.start_linkgate();

    chain.send(SENDER, &[ALICE], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

/// Sequences that have ended data for some mail server, between two lines of a message.
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

/// A message to one recipient, and within it, behind `end`, one to another.
fn smuggling(end: &str) -> String {
    format!("Subject: outer\r\n\r\nx{end}MAIL FROM:<{SENDER}>{end}RCPT TO:<{BOB}>{end}DATA\r\nevil{end}\r\n")
}

#[test]
fn behind_linkgate_only_crlf_dot_crlf_ends_a_message() {
    let Some(chain) = Chain::one(Recipe::AfterQueue) else {
        return;
    };
    // Some would end the message, and so smuggle in another, on a listener without the recipe's smtpd_forbid_bare_newline
    // and its empty exclusions: these are loopback clients.
    for end in ODD_ENDS {
        let mut client = chain.return_client();
        client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{ALICE}>")]);
        let reply = client.raw_data(smuggling(end).as_bytes());
        assert!(reply.starts_with("250 "), "{end:?}: {reply}");
        // In step: the reply to the next command is the next reply.
        assert!(client.command("QUIT").starts_with("221 "), "{end:?}");
    }
    chain.mailbox(ALICE, ODD_ENDS.len());
    chain.mailbox(BOB, 0);
}

#[test]
fn through_linkgate_a_message_stays_one_message() {
    let Some(chain) = Chain::one(Recipe::AfterQueue) else {
        return;
    };
    let mut delivered = 0;
    for end in ODD_ENDS {
        let stray = end.replace("\r\n", "").contains(['\r', '\n']);
        let wanted = if stray { "550 5.5.2 " } else { "250 " };
        let message = smuggling(end);
        let (first, second) = message.as_bytes().split_at(20 + end.len() / 2);
        let mut client = chain.linkgate_client();
        for in_chunks in [false, true] {
            client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{ALICE}>")]);
            let reply = if in_chunks {
                let reply = client.chunk(first, false);
                assert!(reply.starts_with("250 "), "{end:?}: {reply}");
                client.chunk(second, true)
            } else {
                client.raw_data(message.as_bytes())
            };
            assert!(reply.starts_with(wanted), "{end:?}, in chunks: {in_chunks}: {reply}");
            delivered += usize::from(!stray);
        }
        assert!(client.command("QUIT").starts_with("221 "), "{end:?}");
    }
    assert!(delivered > 0);
    chain.mailbox(ALICE, delivered);
    chain.mailbox(BOB, 0);
}

#[test]
fn before_queue_recipients_under_another_policy_are_asked_for_again() {
    let Some(chain) = Chain::two(Recipe::BeforeQueue) else {
        return;
    };
    let mut client = chain.client(Ipv4Addr::LOCALHOST);
    client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{ALICE}>")]);
    let reply = client.command(&format!("RCPT TO:<{DAVE}>"));
    assert!(reply.starts_with("452 "), "{reply}");
    let reply = client.data(&newsletter());
    assert!(reply.starts_with("250 "), "{reply}");
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);

    // As any client does with a recipient that was refused for now.
    chain.send(SENDER, &[DAVE], &newsletter());
    assert_untouched(&chain.mailbox(DAVE, 1)[0], &newsletter());
    assert_wrapped(chain.place(), &chain.mailbox(ALICE, 1)[0]);
}

#[test]
fn recipes_keep_the_clocks_in_order() {
    // At the final dot linkgate may wait for the next hop twice, for 354 and for 250, before it answers. A client that
    // gives up earlier tries again, and the message arrives twice.
    let in_postfix = |name: &str| format!(r"-o {name}=(\d+)(s)");
    for (recipe, file, clock) in [
        (
            "postfix/after-queue",
            "master-feed.cf",
            in_postfix("smtp_data_done_timeout"),
        ),
        (
            "postfix/before-queue",
            "master-feed.cf",
            in_postfix("smtpd_proxy_timeout"),
        ),
        ("postfix/lmtp", "master.cf", in_postfix("lmtp_data_done_timeout")),
        ("exim/smtp", "transport", r"final_timeout = (\d+)(m)".to_owned()),
        ("exim/lmtp", "transport", r"final_timeout = (\d+)(m)".to_owned()),
        // OpenSMTPD's clock cannot be set; the recipe says what it is.
        (
            "opensmtpd",
            "linkgate.toml",
            r"shorter than the (\d+) (m)inutes".to_owned(),
        ),
    ] {
        let read = |name| std::fs::read_to_string(format!("contrib/{recipe}/{name}")).expect("recipe is readable");
        let settings: toml::Table = read("linkgate.toml").parse().expect("TOML");
        let wait = |key: &str| settings["limits"][key].as_integer().expect("seconds");
        let text = read(file);
        let found = regex::Regex::new(&clock).expect("a pattern").captures(&text);
        let found = found.unwrap_or_else(|| panic!("{recipe} does not set the clock"));
        let client = found[1].parse::<i64>().expect("a number") * if &found[2] == "m" { 60 } else { 1 };
        let linkgate = wait("next_hop_timeout_s") + wait("final_reply_timeout_s");
        assert!(
            linkgate + 10 < client,
            "{recipe}: linkgate may take {linkgate} s, its client waits {client} s"
        );
    }
}

/// The Postfix in front logged that many messages as deferred, and none is lost or sent.
fn wait_until_deferred(chain: &Chain, count: usize) {
    eventually("mail is deferred", || {
        let log = chain.edge().log();
        assert!(!log.contains("status=bounced"), "mail was bounced");
        (log.matches("status=deferred").count() >= count).then_some(())
    });
}

/// At some step of the transaction the client hears 4xx: it keeps the mail, and tries again.
fn assert_refused_for_now(chain: &Chain) {
    let mut client = chain.client(Ipv4Addr::LOCALHOST);
    let mut reply = String::new();
    for line in [
        format!("MAIL FROM:<{SENDER}>"),
        format!("RCPT TO:<{ALICE}>"),
        "DATA".to_owned(),
    ] {
        reply = client.command(&line);
        if !reply.starts_with(['2', '3']) {
            break;
        }
    }
    assert!(reply.starts_with('4'), "{reply}");
}

/// Checks a delivered [`newsletter`] whose links must be wrapped, follows each link, and gives the click links back.
pub(crate) fn assert_wrapped(place: &Place, delivered: &[u8]) -> BTreeSet<String> {
    let sent = newsletter();
    let message = MessageParser::default().parse(delivered).expect("a message");
    let original = MessageParser::default().parse(&sent).expect("a message");
    let html = message.body_html(0).expect("an HTML part");
    let text = message.body_text(0).expect("a text part");

    // Nothing but the links changed: putting the targets back gives what was sent.
    let mut links = BTreeSet::new();
    let restored = follow_links(place, &html, "&amp;", &mut links);
    assert_eq!(restored, original.body_html(0).expect("an HTML part"));
    let restored = follow_links(place, &text, "&", &mut links);
    assert_eq!(restored, original.body_text(0).expect("a text part"));
    assert_eq!(links.len(), HTML_TARGETS.len() + 1, "{links:?}");

    // The attachment is there, byte for byte, also in its encoded form.
    let attachment = message.attachment(0).expect("an attachment");
    assert_eq!(attachment.attachment_name(), Some("report.pdf"));
    assert_eq!(attachment.contents(), attachment_bytes());
    assert!(
        contains(delivered, &encoded_attachment()),
        "the attachment was encoded anew"
    );
    links
}

/// Replaces each click link of `text` by the target to which it redirects.
fn follow_links(place: &Place, text: &str, ampersand: &str, links: &mut BTreeSet<String>) -> String {
    let click_link = regex::Regex::new(r"https://click\.example\.com/c/[A-Za-z0-9._~/-]+").expect("a pattern");
    click_link
        .replace_all(text, |found: &regex::Captures| {
            links.insert(found[0].to_owned());
            match place.click(&found[0]) {
                (302, Some(target)) => target.replace('&', ampersand),
                other => panic!("{} answered {other:?}", &found[0]),
            }
        })
        .into_owned()
}

/// `delivered` is `sent` below what Postfix puts on top of a message.
fn assert_untouched(delivered: &[u8], sent: &[u8]) {
    let start = delivered.len().checked_sub(sent.len()).expect("nothing was cut off");
    let (added, rest) = delivered.split_at(start);
    assert!(
        rest == sent,
        "sent:\n{}\ndelivered:\n{}",
        sent.escape_ascii(),
        delivered.escape_ascii()
    );
    let added = std::str::from_utf8(added).expect("header fields");
    for field in added.lines().filter(|line| !line.starts_with([' ', '\t'])) {
        let name = field.split(':').next().unwrap_or_default();
        assert!(
            ADDED_ON_THE_WAY.iter().any(|added| added.eq_ignore_ascii_case(name)),
            "added: {field}"
        );
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// A complete header and `body`.
fn message(content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "Message-ID: <1.a@sender.example>\r\n\
         Date: Tue, 03 Nov 2026 10:00:00 +0100\r\n\
         From: Carol <{SENDER}>\r\n\
         To: All <all@example.com>\r\n\
         Subject: News\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: {content_type}\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         {body}"
    )
    .into_bytes()
}

fn with_subject(subject: &str, message: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(message)
        .replace("Subject: News", &format!("Subject: {subject}"))
        .into_bytes()
}

/// What a scanner may stumble over, but nothing to click on: 8-bit text, dots, long lines, blanks at line ends.
fn odd_but_without_links() -> Vec<u8> {
    let long = "x".repeat(3000);
    message(
        "text/plain; charset=utf-8",
        &format!(".\r\n..dots\r\nGrüße, 日本語  \r\n\t\r\n{long}\r\nFrom the start\r\n\r\n\r\n--\r\nlast line\r\n"),
    )
}

/// HTML and text with links, and an attachment.
fn newsletter() -> Vec<u8> {
    let [first, second] = HTML_TARGETS.map(|target| target.replace('&', "&amp;"));
    let attachment = String::from_utf8(encoded_attachment()).expect("base64");
    let body = format!(
        "This is a message in several parts.\r\n\
         --mixed\r\n\
         Content-Type: multipart/alternative; boundary=\"alt\"\r\n\
         \r\n\
         --alt\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         Schöne Grüße!\r\n\
         All news: {TEXT_TARGET}\r\n\
         .\r\n\
         Carol\r\n\
         --alt\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         <html><body><p>Schöne Grüße!</p>\r\n\
         <p><a class=\"x\" href=\"{first}\">Spring</a> and <a href='{second}'>more</a>.</p>\r\n\
         </body></html>\r\n\
         --alt--\r\n\
         --mixed\r\n\
         Content-Type: application/pdf; name=\"report.pdf\"\r\n\
         Content-Disposition: attachment; filename=\"report.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         \r\n\
         {attachment}--mixed--\r\n"
    );
    message("multipart/mixed; boundary=\"mixed\"", &body)
}

fn attachment_bytes() -> Vec<u8> {
    (0..20_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn encoded_attachment() -> Vec<u8> {
    BASE64
        .encode(&attachment_bytes())
        .as_bytes()
        .chunks(76)
        .flat_map(|line| [line, b"\r\n"].concat())
        .collect()
}
