//! Milter sessions, with an MTA that the test plays itself, packet by packet.

use std::time::Duration;

use linkgate::config::{BareLineEnds, OnError, Protocol};
use linkgate::metrics::{Limit, MessageResult, SessionEnd};
use strum::VariantArray;

use crate::rig::{Options, Peer, Rig, SWAPPED, eventually};

/// What Postfix 3.7 offers.
const VERSION_6: [u32; 3] = [6, 0x1ff, 0x1f_ffff];
/// What Sendmail 8.12 offers.
const VERSION_2: [u32; 3] = [2, 0x3f, 0x7f];

const ON: &str = "<a@on.test>";
const TWIN: &str = "<b@twin.test>";
const OTHER: &str = "<c@other.test>";
const OFF: &str = "<d@off.test>";

fn options() -> Options {
    Options {
        protocol: Protocol::Milter,
        ..Options::default()
    }
}

/// A packet: its command and its data.
type Packet = (char, Vec<u8>);

/// The MTA's end of a connection.
struct Mta {
    peer: Peer,
    version: u32,
    octet_by_octet: bool,
}

impl Mta {
    /// Connects and negotiates; gives the filter's terms as well.
    fn new(rig: &Rig, offer: [u32; 3]) -> (Self, Vec<u8>) {
        let mut mta = Self {
            peer: rig.client(),
            version: offer[0],
            octet_by_octet: false,
        };
        let offer: Vec<u8> = offer.iter().flat_map(|n| n.to_be_bytes()).collect();
        mta.say('O', offer);
        let (command, terms) = mta.hear().expect("terms");
        assert_eq!(command, 'O');
        (mta, terms)
    }

    /// Has also told of a client, which has said EHLO.
    fn with_client(rig: &Rig, offer: [u32; 3], port: u16) -> Self {
        let (mut mta, _) = Self::new(rig, offer);
        mta.say('D', b"Cj\0mx.test\0v\0Postfix 3.7.11\0".as_slice());
        let connect = [b"client.test\x004".as_slice(), &port.to_be_bytes(), b"192.0.2.7\0"].concat();
        mta.tell('C', connect, offer[0] >= 6);
        mta.tell('H', b"client.test\0".as_slice(), offer[0] >= 6);
        mta
    }

    fn say(&mut self, command: char, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        let mut packet = u32::try_from(data.len() + 1).unwrap().to_be_bytes().to_vec();
        packet.push(command as u8);
        packet.extend_from_slice(data);
        if self.octet_by_octet {
            packet.chunks(1).for_each(|octet| self.peer.send(octet));
        } else {
            self.peer.send(packet);
        }
    }

    fn hear(&mut self) -> Option<Packet> {
        let length = self.peer.octets(4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let mut packet = self.peer.octets(length).expect("a whole packet");
        let command = char::from(packet.remove(0));
        Some((command, packet))
    }

    /// Says something that is answered with "continue", or not at all if `silent`.
    fn tell(&mut self, command: char, data: impl AsRef<[u8]>, silent: bool) {
        self.say(command, data);
        if !silent {
            assert_eq!(self.hear(), Some(('c', Vec::new())), "{command}");
        }
    }

    fn envelope(&mut self, recipients: &[&str]) {
        self.tell('M', b"<s@sender.test>\0SIZE=100\0".as_slice(), false);
        for recipient in recipients {
            self.tell('R', format!("{recipient}\0"), false);
        }
        if self.version >= 6 {
            self.say('D', b"Ti\0QUEUE1\0".as_slice());
            self.tell('T', "", false);
        }
    }

    fn header(&mut self, fields: &[(&str, &str)]) {
        let new = self.version >= 6;
        for (name, value) in fields {
            self.tell('L', format!("{name}\0{value}\0"), new);
        }
        self.tell('N', "", new);
    }

    fn body(&mut self, body: &[u8]) {
        for chunk in body.chunks(65_535) {
            self.tell('B', chunk, false);
        }
    }

    /// Ends the message; all that is said to that.
    fn end(&mut self) -> Vec<Packet> {
        self.say('E', "");
        let mut said = Vec::new();
        loop {
            let packet = self.hear().expect("an answer");
            let last = matches!(packet.0, 'c' | 'a' | 'r' | 't' | 'y' | 'd');
            said.push(packet);
            if last {
                return said;
            }
        }
    }

    /// A whole message with `X-Test: word`; all that is said to its end.
    fn message(&mut self, recipients: &[&str], word: &str, body: &[u8]) -> Vec<Packet> {
        self.envelope(recipients);
        let space = if self.version >= 6 { " " } else { "" };
        let test = format!("{space}{word}");
        let subject = format!("{space}hi\n\tSWAP");
        self.header(&[("X-Test", &test), ("Subject", &subject)]);
        self.body(body);
        self.end()
    }
}

/// What a refusal says.
fn code(said: &[Packet]) -> String {
    match said {
        [('y', text)] => String::from_utf8(text.strip_suffix(&[0]).unwrap().to_vec()).unwrap(),
        other => panic!("not a refusal: {other:?}"),
    }
}

fn commands(said: &[Packet]) -> String {
    said.iter().map(|(command, _)| command).collect()
}

fn new_body(said: &[Packet]) -> Vec<u8> {
    let pieces = said.iter().filter(|(command, _)| *command == 'b');
    pieces.flat_map(|(_, data)| data.clone()).collect()
}

/// A row is put in the queue behind the answer.
fn wait_for_rows(rig: &Rig, count: usize) {
    eventually("message rows", || (rig.messages().len() >= count).then_some(()));
    assert_eq!(rig.messages().len(), count);
}

/// What was counted of messages, but for what never happened. A message is counted behind the answer.
fn wait_for_results(rig: &Rig, wanted: &[(MessageResult, u64)]) {
    let counted = || {
        let all = MessageResult::VARIANTS
            .iter()
            .map(|r| (*r, rig.counts().messages.get(*r)));
        all.filter(|(_, n)| *n > 0).collect::<Vec<_>>()
    };
    let sum = |of: &[(MessageResult, u64)]| of.iter().map(|(_, n)| n).sum::<u64>();
    eventually("counted messages", || (sum(&counted()) >= sum(wanted)).then_some(()));
    assert_eq!(counted(), wanted);
}

const TAKEN: [Packet; 1] = [('c', Vec::new())];

#[test]
fn terms_are_what_the_mta_can_do_and_no_more() {
    let rig = Rig::start(&options());
    let (_mta, terms) = Mta::new(&rig, VERSION_6);
    // Version 6; headers, body and macro lists; no replies to header fields, their leading space, and skipping.
    assert_eq!(terms[..12], [0, 0, 0, 6, 0, 0, 1, 0x13, 0, 0x14, 0x35, 0x80]);
    assert!(terms[12..].starts_with(b"\0\0\0\0j v {client_name} {client_addr}\0\0\0\0\x02i "));
    let (_mta, terms) = Mta::new(&rig, VERSION_2);
    assert_eq!(terms, [0, 0, 0, 2, 0, 0, 0, 0x13, 0, 0, 0, 0]);
}

#[test]
fn body_and_field_are_replaced_with_version_6() {
    let rig = Rig::start(&options());
    for octet_by_octet in [false, true] {
        let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
        mta.octet_by_octet = octet_by_octet;
        let said = mta.message(&[ON], "swap", b"one SWAP\r\n.\r\ntwo SWAP\r\n");
        assert_eq!(commands(&said), "mibc", "{said:?}");
        assert_eq!(said[0].1, format!("\0\0\0\x01Subject\0 hi\n\t{SWAPPED}\0").into_bytes());
        assert_eq!(
            said[2].1,
            format!("one {SWAPPED}\r\n.\r\ntwo {SWAPPED}\r\n").into_bytes()
        );
        mta.say('Q', "");
        assert_eq!(mta.hear(), None);
    }
    wait_for_rows(&rig, 2);
    rig.assert_nothing_left();
}

#[test]
fn body_and_field_are_replaced_with_version_2_over_a_unix_socket() {
    let rig = Rig::start(&Options {
        unix: true,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_2, 4321);
    let said = mta.message(&[ON], "swap", b"one SWAP\r\n");
    assert_eq!(commands(&said), "mibc", "{said:?}");
    assert_eq!(said[0].1, format!("\0\0\0\x01Subject\0hi\n\t{SWAPPED}\0").into_bytes());
    assert_eq!(said[2].1, format!("one {SWAPPED}\r\n").into_bytes());
}

#[test]
fn nothing_stands_between_the_packets_of_a_new_body() {
    let rig = Rig::start(&Options {
        spool_memory: 1000,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    let line = b"SWAP 0123456789 0123456789 0123456789 0123456789 0123456789\r\n";
    let body = line.repeat(5000);
    let said = mta.message(&[ON], "swap", &body);
    let wanted = String::from_utf8(body).unwrap().replace("SWAP", SWAPPED).into_bytes();
    let order = commands(&said);
    assert_eq!(
        order
            .trim_start_matches(['m', 'i'])
            .trim_end_matches('c')
            .replace('b', ""),
        "",
        "{order}"
    );
    assert_eq!(order.matches('b').count(), wanted.len().div_ceil(65_535));
    assert!(said.iter().all(|(_, data)| data.len() <= 65_535));
    assert_eq!(new_body(&said), wanted);
}

#[test]
fn a_message_without_a_change_is_left_alone() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    assert_eq!(mta.message(&[ON], "", b"one\r\n\r\n two"), TAKEN);
    // A message without a body, and one without a header.
    assert_eq!(mta.message(&[ON], "", b""), TAKEN);
    mta.envelope(&[ON]);
    assert_eq!(mta.end(), TAKEN);
    wait_for_rows(&rig, 3);
}

#[test]
fn content_may_come_with_the_end() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.envelope(&[ON]);
    mta.header(&[("X-Test", " swap")]);
    mta.say('E', "a SWAP\r\n");
    let said = [mta.hear().unwrap(), mta.hear().unwrap(), mta.hear().unwrap()];
    assert_eq!(commands(&said), "ibc");
    assert_eq!(said[1].1, format!("a {SWAPPED}\r\n").into_bytes());
}

#[test]
fn fields_are_put_in_and_name_the_only_recipient_alone() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    let said = mta.message(&[ON], "insert", b"x\r\n");
    assert_eq!(commands(&said), "iic");
    assert_eq!(said[0].1, b"\0\0\0\x01X-For\0 s@sender.test a@on.test\0");
}

#[test]
fn refusals_and_failures_are_said_in_words() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    let refused = code(&mta.message(&[ON], "refuse", b"x\r\n"));
    assert!(refused.starts_with("550 5.7.1 Message refused (id="), "{refused}");
    // "dot" is a line that no header can hold.
    for word in ["fail", "panic", "stray", "dot"] {
        let failed = code(&mta.message(&[ON], word, b"x\r\n"));
        assert!(failed.starts_with("451 4.3.0 "), "{word}: {failed}");
        assert!(!failed.contains("told"), "{word}: {failed}");
    }
    assert_eq!(rig.messages().len(), 0);
}

#[test]
fn a_wrong_offset_puts_a_message_off() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    for size in [1, 3000] {
        for word in ["offset", "beyond"] {
            let failed = code(&mta.message(&[ON], word, &b"x\r\n".repeat(size * 3)));
            assert!(failed.starts_with("451 4.3.0 "), "{word}: {failed}");
        }
    }
    assert_eq!(rig.messages().len(), 0);
}

#[test]
fn with_on_error_pass_a_message_goes_on_whole_as_it_came() {
    let rig = Rig::start(&Options {
        on_error: OnError::Pass,
        store_fails: true,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    for word in ["fail", "panic", "stray", "dot", "reference"] {
        assert_eq!(mta.message(&[ON], word, b"x\r\n"), TAKEN, "{word}");
    }
    // Also where the change was there, and could not be said.
    wait_for_results(&rig, &[(MessageResult::Unchanged, 5)]);
}

#[test]
fn references_that_cannot_be_stored_put_a_message_off() {
    let rig = Rig::start(&Options {
        store_fails: true,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    assert!(code(&mta.message(&[ON], "reference", b"x\r\n")).starts_with("451 "));
}

#[test]
fn messages_follow_each_other_and_an_aborted_one_leaves_nothing() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    assert_eq!(mta.message(&[ON], "", b"one\r\n"), TAKEN);
    mta.envelope(&[ON]);
    mta.header(&[("X-Test", " refuse")]);
    mta.body(b"SWAP\r\n");
    mta.say('A', "");
    mta.say('A', "");
    assert_eq!(commands(&mta.message(&[ON, TWIN], "swap", b"SWAP\r\n")), "mibc");
    // Another client on the same connection.
    mta.say('K', "");
    mta.tell('C', b"other.test\0U".as_slice(), true);
    assert_eq!(mta.message(&[ON], "", b"three\r\n"), TAKEN);
    wait_for_rows(&rig, 3);
    let rows = rig.messages();
    assert_eq!(rows.iter().map(|r| r.recipients.len()).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(rows[1].recipients, ["a@on.test", "b@twin.test"]);
    mta.say('Q', "");
    assert_eq!(mta.hear(), None);
    rig.assert_nothing_left();
}

#[test]
fn mail_for_domains_that_are_off_is_not_even_told() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.tell('M', b"<s@sender.test>\0".as_slice(), false);
    mta.tell('R', format!("{OFF}\0"), false);
    mta.say('T', "");
    assert_eq!(mta.hear(), Some(('a', Vec::new())));
    assert_eq!(mta.message(&[ON], "", b"x\r\n"), TAKEN);

    // An old MTA does not tell of DATA.
    let mut mta = Mta::with_client(&rig, VERSION_2, 4321);
    mta.envelope(&[OFF]);
    mta.say('L', "Subject\0x\0");
    assert_eq!(mta.hear(), Some(('a', Vec::new())));
    assert_eq!(mta.message(&[ON], "", b"x\r\n"), TAKEN);
    mta.say('Q', "");
    assert_eq!(mta.hear(), None);
    wait_for_rows(&rig, 2);
}

#[test]
fn a_session_may_be_long_and_a_message_have_many_recipients() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    // Neither a mailing list nor a busy feeder is taken for somebody who plays for time.
    for _ in 0..3000 {
        mta.tell('M', b"<s@sender.test>\0".as_slice(), false);
        mta.tell('R', format!("{OFF}\0"), false);
        mta.say('T', "");
        assert_eq!(mta.hear(), Some(('a', Vec::new())));
        mta.say('A', "");
    }
    mta.tell('M', b"<s@sender.test>\0".as_slice(), false);
    for n in 0..6000 {
        mta.say('D', b"R{rcpt_addr}\0x\0".as_slice());
        mta.tell('R', format!("<list{n}@on.test>\0"), false);
    }
    mta.header(&[("X-Test", " swap")]);
    mta.body(b"SWAP\r\n");
    assert_eq!(commands(&mta.end()), "ibc");
}

#[test]
fn recipients_with_other_settings_are_asked_to_come_again() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.envelope(&[ON, TWIN]);
    mta.say('A', "");
    for (first, second) in [(ON, OTHER), (ON, OFF), (OFF, ON)] {
        mta.tell('M', b"<s@sender.test>\0".as_slice(), false);
        mta.tell('R', format!("{first}\0"), false);
        mta.say('R', format!("{second}\0"));
        let refused = code(&[mta.hear().unwrap()]);
        assert!(refused.starts_with("452 4.5.3 "), "{first} {second}: {refused}");
        mta.say('A', "");
    }
}

#[test]
fn recipients_that_cannot_come_again_share_the_copy_of_those_to_be_protected() {
    let rig = Rig::start(&options());
    // A local program has no port; mail in the queue of Postfix has an id before its envelope is complete.
    let mut local = Mta::with_client(&rig, VERSION_6, 0);
    let mut queued = Mta::with_client(&rig, VERSION_6, 4321);
    for (mta, id) in [(&mut local, false), (&mut queued, true)] {
        if id {
            mta.say('D', b"Mi\0QUEUE2\0".as_slice());
        }
        let said = mta.message(&[OFF, ON, OTHER], "insert", b"x\r\n");
        assert_eq!(commands(&said), "iic");
        assert_eq!(
            said[0].1,
            b"\0\0\0\x01X-For\0 s@sender.test a@on.test,d@off.test,c@other.test\0"
        );
    }
    // The next message has an SMTP client again.
    queued.tell('M', b"<s@sender.test>\0".as_slice(), false);
    queued.tell('R', format!("{ON}\0"), false);
    queued.say('R', format!("{OTHER}\0"));
    assert!(code(&[queued.hear().unwrap()]).starts_with("452 "));
}

#[test]
fn a_shared_copy_is_not_made_out_to_one_recipient_where_only_one_may_be_kept() {
    let rig = Rig::start(&Options {
        max_recipients: 1,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    let said = mta.message(&[ON, TWIN, ON], "insert", b"x\r\n");
    assert_eq!(said[0].1, b"\0\0\0\x01X-For\0 s@sender.test a@on.test,b@twin.test\0");
}

#[test]
fn sessions_and_messages_are_counted() {
    let rig = Rig::start(&Options {
        max_message: 1000,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    for word in ["swap", "", "refuse", "fail", "panic"] {
        mta.message(&[ON], word, b"SWAP\r\n");
    }
    mta.message(&[ON], "", &[b'x'; 900]);
    mta.message(&[ON], "", b"a\nb\r\n");
    mta.tell('M', b"<s@sender.test>\0".as_slice(), false);
    mta.tell('R', format!("{OFF}\0"), false);
    mta.say('T', "");
    assert_eq!(mta.hear(), Some(('a', Vec::new())));
    mta.say('M', b"<s@sender.test>\0SIZE=1001\0".as_slice());
    assert!(code(&[mta.hear().unwrap()]).starts_with("552 "));
    wait_for_results(
        &rig,
        &[
            (MessageResult::Unchanged, 3),
            (MessageResult::Rewritten, 1),
            (MessageResult::ContentRefused, 1),
            (MessageResult::Deferred, 2),
            (MessageResult::BareLineEnd, 1),
        ],
    );
    assert_eq!(rig.counts().limits.get(Limit::MessageSize), 1);
    mta.say('Q', "");
    assert_eq!(mta.hear(), None);
    let mut stranger = rig.client();
    stranger.send("EHLO client.test\r\n");
    assert_eq!(stranger.octets(1), None);
    drop(Mta::with_client(&rig, VERSION_6, 4321));
    let _idle = Mta::with_client(&rig, VERSION_6, 4321);
    eventually("three ends", || {
        let ends = [SessionEnd::Quit, SessionEnd::Errors, SessionEnd::Closed];
        ends.iter().all(|end| rig.counts().ended.get(*end) == 1).then_some(())
    });
    rig.stop();
    eventually("a fourth end", || {
        (rig.counts().ended.get(SessionEnd::Shutdown) == 1).then_some(())
    });
}

#[test]
fn a_silent_mta_is_counted_as_one() {
    let rig = Rig::start(&Options {
        timeout: Duration::from_millis(200),
        ..options()
    });
    let mut silent = rig.client();
    silent.send([0, 0]);
    assert_eq!(silent.octets(1), None);
    eventually("an end", || {
        (rig.counts().ended.get(SessionEnd::Timeout) == 1).then_some(())
    });
}

#[test]
fn one_connection_of_an_mta_too_many_is_closed_without_a_word() {
    let rig = Rig::start(&Options {
        max_connections_per_client: 1,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    assert_eq!(rig.client().octets(1), None);
    assert_eq!(rig.counts().limits.get(Limit::ConnectionsPerClient), 1);
    assert_eq!(mta.message(&[ON], "", b"x\r\n"), TAKEN);
}

#[test]
fn a_message_that_is_too_large_is_skipped_and_refused_at_its_end() {
    let small = Options {
        max_message: 1000,
        ..options()
    };
    let rig = Rig::start(&small);
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.envelope(&[ON]);
    mta.header(&[("X-Test", " swap")]);
    mta.say('B', [b'x'; 2000]);
    assert_eq!(mta.hear(), Some(('s', Vec::new())));
    assert_eq!(code(&mta.end()), "552 5.3.4 Message too large");
    mta.say('M', b"<s@sender.test>\0SIZE=1001\0".as_slice());
    assert_eq!(code(&[mta.hear().unwrap()]), "552 5.3.4 Message too large");

    let mut mta = Mta::with_client(&rig, VERSION_2, 4321);
    mta.envelope(&[ON]);
    mta.header(&[("X-Test", "swap")]);
    mta.body(&[b'x'; 2000]);
    mta.body(&[b'x'; 2000]);
    assert_eq!(code(&mta.end()), "552 5.3.4 Message too large");
}

#[test]
fn lone_line_ends_are_refused_or_made_good_at_the_mta() {
    let rig = Rig::start(&options());
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    for body in [&b"a\rb\r\n"[..], b"a\nb\r\n", b"a\r\n\r"] {
        assert!(
            code(&mta.message(&[ON], "", body)).starts_with("550 5.5.2 "),
            "{body:?}"
        );
    }
    let rig = Rig::start(&Options {
        bare_line_ends: BareLineEnds::Normalise,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    let said = mta.message(&[ON], "", b"a\rb\nc\r\n");
    assert_eq!(commands(&said), "bc");
    assert_eq!(said[0].1, b"a b\r\nc\r\n");
    // Split between CR and LF, a line end is whole.
    mta.envelope(&[ON]);
    mta.header(&[]);
    mta.tell('B', "a\r", false);
    mta.tell('B', "\nb\r\n", false);
    assert_eq!(mta.end(), TAKEN);
}

#[test]
fn the_mta_hears_that_its_message_is_being_worked_on() {
    let rig = Rig::start(&Options {
        timeout: Duration::from_secs(20),
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.peer.be_patient(Duration::from_secs(20));
    // Small messages are done at once; this one is given to another thread.
    let said = mta.message(&[ON], "slow", &b"0123456789\r\n".repeat(3000));
    assert_eq!(commands(&said), "pc");
}

#[test]
fn draining_ends_idle_sessions_and_lets_messages_finish() {
    let rig = Rig::start(&options());
    let mut idle = Mta::with_client(&rig, VERSION_6, 4321);
    let mut busy = Mta::with_client(&rig, VERSION_6, 4321);
    busy.envelope(&[ON]);
    rig.stop();
    assert_eq!(idle.hear(), None);
    busy.header(&[("X-Test", " swap")]);
    busy.body(b"SWAP\r\n");
    assert_eq!(commands(&busy.end()), "ibc");
    assert_eq!(busy.hear(), None);
    rig.assert_nothing_left();
}

#[test]
fn an_mta_that_falls_silent_or_talks_nonsense_is_cut_off() {
    let rig = Rig::start(&Options {
        timeout: Duration::from_millis(200),
        ..options()
    });
    let mut stranger = rig.client();
    stranger.send("EHLO client.test\r\n");
    assert_eq!(stranger.octets(1), None);
    let mut silent = rig.client();
    silent.send([0, 0]);
    assert_eq!(silent.octets(1), None);
    let mut halfway = Mta::with_client(&rig, VERSION_6, 4321);
    halfway.envelope(&[ON]);
    halfway.header(&[]);
    assert_eq!(halfway.hear(), None);
    let mut confused = Mta::with_client(&rig, VERSION_6, 4321);
    confused.say('E', "");
    assert_eq!(confused.hear(), None);
    rig.assert_nothing_left();
}

#[test]
fn an_mta_that_goes_away_leaves_nothing() {
    let rig = Rig::start(&Options {
        spool_memory: 100,
        ..options()
    });
    let mut mta = Mta::with_client(&rig, VERSION_6, 4321);
    mta.envelope(&[ON]);
    mta.header(&[]);
    mta.body(&b"0123456789\r\n".repeat(10_000));
    eventually("a spool file", || (rig.open_spool_files() > 0).then_some(()));
    drop(mta);
    rig.assert_nothing_left();
    assert_eq!(rig.messages().len(), 0);
}
