//! Dialogues with a session, and what holds for any of them.

use super::*;
use proptest::prelude::*;

/// Drives a session over chunks; everything is accepted. Gives a transcript with content joined.
fn transcript(chunks: &[&[u8]]) -> Vec<String> {
    let (mut session, mut buffer, mut log) = (Session::default(), Vec::new(), Vec::<String>::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let (used, event) = session.next(&buffer);
            let Some(event) = event else {
                buffer.drain(..used);
                break;
            };
            let (mut hello, mut mail, mut rcpt, mut data) = (false, false, false, false);
            let line = match event {
                Event::Hello { .. } => {
                    hello = true;
                    format!("{event:?}")
                }
                Event::Mail(path) => {
                    mail = true;
                    format!("mail {}", path.address())
                }
                Event::Rcpt(path) => {
                    rcpt = true;
                    format!("rcpt {}", path.address())
                }
                Event::Data => {
                    data = true;
                    String::new()
                }
                Event::Content(c) => {
                    let text = c.escape_ascii().to_string();
                    match log.last_mut() {
                        Some(last) if last.starts_with("content ") => last.push_str(&text),
                        _ => log.push(format!("content {text}")),
                    }
                    buffer.drain(..used);
                    continue;
                }
                other => format!("{other:?}"),
            };
            let closed = matches!(event, Event::Close(_));
            buffer.drain(..used);
            log.push(line);
            if closed {
                return log;
            }
            if hello {
                session.hello();
            }
            if mail {
                session.mail(true);
            }
            if rcpt {
                session.rcpt(true);
            }
            if data {
                log.pop();
                log.push(session.data(BareLineEnds::Normalise).as_str().to_owned());
            }
        }
    }
    log
}

fn says(input: &[u8]) -> Vec<String> {
    transcript(&[input])
}

#[test]
fn a_pipelined_session() {
    assert_eq!(
        says(b"EHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nhi\r\n..x\r\n.\r\nRSET\r\nQUIT\r\n"),
        [
            "Hello { name: [99], extended: true }",
            "mail a",
            "rcpt b",
            "354 End data with <CR><LF>.<CR><LF>",
            r"content hi\r\n.x\r\n",
            "EndOfData(DataEnd { bare_cr: false, bare_lf: false, refuse: false })",
            "Reset",
            "Quit",
        ]
    );
}

#[test]
fn commands_out_of_order() {
    for (input, wanted) in [
        (&b"MAIL FROM:<a>\r\n"[..], "503 5.5.1 Send EHLO"),
        (b"RCPT TO:<a>\r\n", "503 5.5.1 Need MAIL"),
        (b"DATA\r\n", "503 5.5.1 Need MAIL"),
        (
            b"HELO c\r\nMAIL FROM:<a>\r\nMAIL FROM:<b>\r\n",
            "503 5.5.1 Bad sequence",
        ),
        (b"HELO c\r\nMAIL FROM:<a>\r\nDATA\r\n", "503 5.5.1 Need RCPT"),
        (
            b"HELO c\r\nMAIL FROM:<a>\r\nRSET\r\nRCPT TO:<b>\r\n",
            "503 5.5.1 Need MAIL",
        ),
        (
            b"HELO c\r\nMAIL FROM:<a>\r\nHELO c\r\nRCPT TO:<b>\r\n",
            "503 5.5.1 Need MAIL",
        ),
        (
            b"HELO c\r\nMAIL FROM:<a>\r\nXFORWARD NAME=x\r\n",
            "503 5.5.1 Bad sequence",
        ),
    ] {
        let log = says(input);
        assert!(
            log.last().unwrap().contains(wanted),
            "{}: {log:?}",
            input.escape_ascii()
        );
    }
}

#[test]
fn each_dialect_has_its_own_greeting() {
    for (lmtp, hello, refused) in [
        (true, "LHLO", ["EHLO", "HELO"]),
        (false, "EHLO", ["LHLO", "lhlo"]),
        (false, "HELO", ["LHLO", "lhlo"]),
    ] {
        for verb in refused {
            let mut session = if lmtp { Session::lmtp() } else { Session::default() };
            let line = format!("{verb} c.example\r\n");
            assert_eq!(
                session.next(line.as_bytes()).1,
                Some(Event::Say(Answer::UNKNOWN_COMMAND)),
                "{verb}"
            );
            let early = session.next(b"MAIL FROM:<a>\r\n").1;
            let wanted = if lmtp { Answer::LHLO_FIRST } else { Answer::HELLO_FIRST };
            assert_eq!(early, Some(Event::Say(wanted)));
            let line = format!("{hello} c.example\r\n");
            let greeting = session.next(line.as_bytes()).1;
            assert!(
                matches!(greeting, Some(Event::Hello { extended, .. }) if extended == (hello != "HELO")),
                "{greeting:?}"
            );
        }
    }
}

#[test]
fn data_without_a_valid_recipient_is_refused() {
    let mut session = Session::default();
    session.hello();
    session.next(b"MAIL FROM:<a>\r\n");
    session.mail(true);
    session.next(b"RCPT TO:<b>\r\n");
    session.rcpt(false);
    assert_eq!(session.data(BareLineEnds::Refuse), Answer::NO_VALID_RECIPIENTS);
    session.lmtp = true;
    assert_eq!(session.data(BareLineEnds::Refuse).code(), 503, "RFC 2033 4.2");
}

#[test]
fn a_recipient_accepted_after_mail_was_refused_does_not_count() {
    let mut session = Session::default();
    session.hello();
    session.next(b"MAIL FROM:<a>\r\n");
    session.next(b"RCPT TO:<b>\r\n");
    session.mail(false);
    session.rcpt(true);
    assert_eq!(session.data(BareLineEnds::Refuse), Answer::NEED_MAIL);
}

#[test]
fn a_line_with_a_lone_line_end_is_refused_whole() {
    for input in [
        &b"EHLO c\nMAIL FROM:<a>\r\nQUIT\r\n"[..],
        b"EHLO c\rMAIL FROM:<a>\r\nQUIT\r\n",
        b"EHLO c\r\rMAIL FROM:<a>\r\nQUIT\r\n",
    ] {
        for at in 0..input.len() {
            let log = transcript(&[&input[..at], &input[at..]]);
            assert_eq!(
                log,
                [
                    "Say(Answer { line: \"500 5.5.2 Command lines must end in CRLF\" })",
                    "Quit"
                ]
            );
        }
    }
    assert!(says(b"RCPT TO:<a\0b>\r\n")[0].contains("500 5.5.2"));
}

#[test]
fn an_overlong_line_is_refused_once_and_skipped() {
    let mut input = b"EHLO ".to_vec();
    input.resize(10_000, b'x');
    input.extend_from_slice(b"\r\nQUIT\r\n");
    for chunk in [1, 1000, 4096, 20_000] {
        let log = transcript(&input.chunks(chunk).collect::<Vec<_>>());
        assert_eq!(
            log,
            ["Say(Answer { line: \"500 5.5.6 Command line too long\" })", "Quit"],
            "{chunk}"
        );
    }
    let endless = vec![b'x'; MAX_SKIPPED + 20_000];
    assert!(
        transcript(&endless.chunks(8192).collect::<Vec<_>>())
            .last()
            .unwrap()
            .starts_with("Close")
    );
}

#[test]
fn too_many_errors_end_the_session() {
    assert!(says(&b"what\r\n".repeat(19)).iter().all(|l| l.starts_with("Say")));
    assert!(says(&b"what\r\n".repeat(20)).last().unwrap().starts_with("Close"));
    assert!(says(&b"NOOP\r\n".repeat(1001)).last().unwrap().starts_with("Close"));
}

#[test]
fn starttls_comes_once_where_it_is_offered_and_between_transactions() {
    let mut session = Session::default();
    let next = |session: &mut Session, line: &[u8]| match session.next(line).1 {
        Some(Event::Say(answer)) => answer.as_str(),
        Some(Event::StartTls) => "tls",
        Some(Event::Mail(_)) => "mail",
        _ => "other",
    };
    session.hello();
    assert_eq!(next(&mut session, b"STARTTLS\r\n"), Answer::NOT_IMPLEMENTED.as_str());
    let mut session = Session::default();
    session.offer_tls();
    assert_eq!(next(&mut session, b"STARTTLS\r\n"), Answer::HELLO_FIRST.as_str());
    session.hello();
    assert_eq!(next(&mut session, b"STARTTLS x\r\n"), Answer::BAD_SYNTAX.as_str());
    assert_eq!(next(&mut session, b"MAIL FROM:<a>\r\n"), "mail");
    assert_eq!(next(&mut session, b"STARTTLS\r\n"), Answer::BAD_SEQUENCE.as_str());
    session.mail(false);
    assert_eq!(next(&mut session, b"starttls\r\n"), "tls");
    session.encrypted();
    assert_eq!(next(&mut session, b"MAIL FROM:<a>\r\n"), Answer::HELLO_FIRST.as_str());
    session.hello();
    assert_eq!(next(&mut session, b"STARTTLS\r\n"), Answer::NOT_IMPLEMENTED.as_str());
}

#[test]
fn who_tries_one_recipient_after_another_is_sent_away() {
    let mut session = Session::default();
    session.hello();
    session.next(b"MAIL FROM:<a>\r\n");
    session.mail(true);
    for _ in 0..MAX_REFUSALS {
        session.refused_for_good();
    }
    assert!(matches!(session.next(b"RCPT TO:<b>\r\n").1, Some(Event::Rcpt(_))));
    session.refused_for_good();
    assert_eq!(
        session.next(b"RCPT TO:<b>\r\n").1,
        Some(Event::Close(Answer::TOO_MANY_ERRORS))
    );
}

#[test]
fn a_message_that_arrives_clears_the_account() {
    let mut session = Session::default();
    for _ in 0..3 {
        session.hello();
        session.next(b"MAIL FROM:<a>\r\n");
        session.mail(true);
        for _ in 0..MAX_REFUSALS {
            session.refused_for_good();
        }
        session.next(b"RCPT TO:<b>\r\n");
        session.rcpt(true);
        assert_eq!(session.data(BareLineEnds::Refuse), Answer::SEND_DATA);
        assert!(matches!(session.next(b".\r\n").1, Some(Event::EndOfData(_))));
    }
}

#[test]
fn the_longest_command_line_is_a_matter_of_choice() {
    let line = [b"NOOP ".to_vec(), vec![b'x'; 505], b"\r\n".to_vec()].concat();
    let answer = |session: Session, line: &[u8]| {
        let mut session = session;
        match session.next(line).1 {
            Some(Event::Say(answer)) => answer,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(line.len(), 512);
    assert_eq!(answer(Session::default().with_command_line(512), &line), Answer::OK);
    assert_eq!(
        answer(Session::default().with_command_line(511), &line),
        Answer::LINE_TOO_LONG
    );
}

#[test]
fn an_overlong_line_with_its_cr_at_the_limit_does_not_swallow_the_next() {
    for extra in 0..4 {
        let long = [
            b"NOOP ".to_vec(),
            vec![b'x'; MAX_COMMAND_LINE - 7 + extra],
            b"\r\nQUIT\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(says(&long).last().unwrap(), "Quit", "{extra}");
        assert_eq!(transcript(&long.chunks(1).collect::<Vec<_>>()), says(&long), "{extra}");
    }
}

#[test]
fn xclient_begins_anew_and_not_in_a_transaction() {
    let mut session = Session::default();
    assert!(matches!(session.next(b"XCLIENT NAME=x\r\n").1, Some(Event::Xclient(_))));
    session.hello();
    session.greet_again();
    assert_eq!(
        session.next(b"MAIL FROM:<a>\r\n").1,
        Some(Event::Say(Answer::HELLO_FIRST))
    );
    session.hello();
    session.next(b"MAIL FROM:<a>\r\n");
    assert_eq!(
        session.next(b"XCLIENT NAME=x\r\n").1,
        Some(Event::Say(Answer::BAD_SEQUENCE))
    );
}

#[test]
fn a_payload_that_is_not_expected_is_never_read_as_commands() {
    let log = says(b"EHLO c\r\nBDAT 20LAST\r\nMAIL FROM:<evil>\r\n");
    assert_eq!(log.len(), 2);
    assert!(log[1].starts_with("Close"));
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(
        lines in proptest::collection::vec(prop_oneof![
            Just("EHLO c\r\n"), Just("MAIL FROM:<a@b>\r\n"), Just("RCPT TO:<c>\r\n"), Just("DATA\r\n"), Just(".\r\n"),
            Just("..\r\n"), Just("text\r\n"), Just("RSET\r\n"), Just("a\nb\r\n"), Just("a\rb\r\n"), Just("\r\n"), Just("\r"), Just("."),
        ], 0..14),
        cuts in proptest::collection::vec(0usize..120, 0..8),
    ) {
        let input = lines.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
        cuts.sort_unstable();
        let (mut chunks, mut from) = (Vec::new(), 0);
        for cut in cuts.into_iter().chain([input.len()]) {
            chunks.push(&input[from..cut]);
            from = cut;
        }
        prop_assert_eq!(transcript(&chunks), transcript(&[&input]));
    }

    #[test]
    fn any_octets_leave_a_bounded_rest(input in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let mut session = Session::default();
        let mut at = 0;
        loop {
            let (used, event) = session.next(&input[at..]);
            at += used;
            if event.is_none() || matches!(event, Some(Event::Close(_))) {
                break;
            }
            prop_assert!(used > 0 || !session.in_data());
        }
        prop_assert!(input.len() - at <= MAX_COMMAND_LINE || at > 0);
    }
}
