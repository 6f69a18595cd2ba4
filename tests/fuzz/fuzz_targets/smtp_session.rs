//! The server side of SMTP and LMTP says the same, however its octets come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{BareLineEnds, ClientInfo, DataDecoder, Event, Piece, Session, Stuffer};

/// What a session says and hands out.
#[derive(Debug, PartialEq, Default)]
struct Heard {
    events: Vec<String>,
    /// The messages, as far as they came.
    messages: Vec<Vec<u8>>,
}

/// How whoever drives the session decides, and what limits hold.
#[derive(Clone, Copy)]
struct Rules {
    lmtp: bool,
    policy: BareLineEnds,
    command_line: usize,
    /// Every other recipient is refused.
    choosy: bool,
    /// MAIL and RCPT are answered only before something else is acted on, as for a pipelining client.
    late: bool,
}

/// Outcomes that are still to be told.
#[derive(Default)]
struct Asked {
    mail: bool,
    recipients: usize,
}

impl Asked {
    fn tell(&mut self, session: &mut Session, rules: Rules, so_far: &mut usize) {
        if std::mem::take(&mut self.mail) {
            session.mail(true);
        }
        for _ in 0..std::mem::take(&mut self.recipients) {
            *so_far += 1;
            let accepted = !rules.choosy || *so_far % 2 == 0;
            session.rcpt(accepted);
            if !accepted {
                session.refused_for_good();
            }
        }
    }
}

fn talk(input: &[u8], chunk: usize, rules: Rules) -> Heard {
    let session = if rules.lmtp { Session::lmtp() } else { Session::default() };
    let mut session = session.with_command_line(rules.command_line);
    session.offer_tls();
    let (mut heard, mut asked, mut recipients) = (Heard::default(), Asked::default(), 0);
    let mut message = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    for piece in input.chunks(chunk.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let before = (session.in_data(), session.in_transaction());
            let (used, event) = session.next(&buffer);
            assert!(used <= buffer.len());
            let Some(event) = event else {
                let rest = buffer.len() - used;
                // What a session leaves lying is less than a line.
                assert!(rest < rules.command_line.max(4), "{rest} octets are held back");
                buffer.drain(..used);
                if !rules.late {
                    asked.tell(&mut session, rules, &mut recipients);
                }
                break;
            };
            let line = format!("{event:?}");
            let (mut closed, mut step) = (false, ' ');
            match event {
                Event::Content(content) => {
                    assert!(before.0, "content without a message");
                    assert!(!content.is_empty());
                    message.extend_from_slice(content);
                }
                Event::Mail(_) => asked.mail = true,
                Event::Rcpt(path) => {
                    let mut out = Vec::new();
                    path.write_with_size(Some(7), &mut out);
                    assert!(out.ends_with(b"\r\n") && !out[..out.len() - 2].iter().any(|b| b"\r\n\0".contains(b)));
                    asked.recipients += 1;
                }
                Event::Xclient(line) => {
                    assert!(!before.1, "XCLIENT within a transaction");
                    let mut info = ClientInfo::default();
                    if info.read_xclient(line).is_ok() {
                        for line in info.xforward("NAME ADDR PORT PROTO HELO SOURCE", b"") {
                            assert!(line.len() <= 510 && line.iter().all(u8::is_ascii) && !line.iter().any(u8::is_ascii_control));
                        }
                        step = 'x';
                    }
                }
                Event::Hello { .. } => step = 'h',
                Event::StartTls => {
                    assert!(!before.1, "STARTTLS within a transaction");
                    step = 't';
                }
                Event::Data => step = 'd',
                Event::Chunk => step = 'c',
                Event::ChunkTaken => assert!(session.in_message()),
                Event::EndOfData(end) => {
                    assert!(!session.in_transaction());
                    let message = std::mem::take(&mut message);
                    if !end.refuse {
                        assert!(!holds_half_a_line_end(&message), "{message:?}");
                        heard.messages.push(message);
                    }
                }
                Event::Close(_) | Event::Quit => closed = true,
                Event::Say(_) | Event::Reset | Event::Xforward(_) => {}
            }
            let is_content = matches!(event, Event::Content(_));
            let settles = !matches!(event, Event::Mail(_) | Event::Rcpt(_) | Event::Content(_));
            buffer.drain(..used);
            if settles || !rules.late {
                asked.tell(&mut session, rules, &mut recipients);
            }
            if !is_content {
                heard.events.push(line);
            }
            match step {
                'h' => session.hello(),
                'x' => session.greet_again(),
                't' => session.encrypted(),
                'd' => heard.events.push(format!("{:?}", session.data(rules.policy))),
                'c' => session.chunk(rules.policy, None),
                _ => {}
            }
            if !session.in_message() {
                message.clear();
            }
            if closed {
                return heard;
            }
        }
    }
    heard
}

/// By a way of its own: pairs out of the way, is a half left?
fn holds_half_a_line_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        match (first, behind.first()) {
            (b'\r', Some(b'\n')) => rest = &behind[1..],
            (b'\r' | b'\n', _) => return true,
            _ => rest = behind,
        }
    }
    false
}

fuzz_target!(|data: &[u8]| {
    let [how, chunk, rest @ ..] = data else { return };
    let policy = if how % 2 == 0 {
        BareLineEnds::Refuse
    } else {
        BareLineEnds::Normalise
    };
    let rules = Rules {
        lmtp: how & 16 != 0,
        policy,
        command_line: if how & 2 == 0 { 4096 } else { 512 },
        choosy: how & 4 != 0,
        late: how & 8 != 0,
    };
    let heard = talk(rest, usize::from(*chunk), rules);
    assert_eq!(heard, talk(rest, rest.len(), rules));
    // When outcomes are told makes no difference to who asks in turn.
    assert_eq!(heard, talk(rest, 1, rules));
    // Any content with sound line ends comes through dot-stuffing as it was.
    let mut sound = String::from_utf8_lossy(rest).replace(['\r', '\n'], "\r\n").into_bytes();
    if !sound.ends_with(b"\r\n") {
        sound.extend_from_slice(b"\r\n");
    }
    let mut wired = Vec::new();
    let mut stuffer = Stuffer::default();
    for piece in sound.chunks(usize::from(*chunk).max(1)) {
        stuffer.encode(piece, &mut wired);
    }
    stuffer.finish(&mut wired);
    let mut decoder = DataDecoder::new(policy);
    let (mut at, mut back) = (0, Vec::new());
    loop {
        match decoder.next(&wired[at..]) {
            (used, Piece::Content(c)) => {
                back.extend_from_slice(c);
                at += used;
            }
            (used, Piece::End(_)) => {
                assert_eq!(at + used, wired.len());
                break;
            }
            (_, Piece::NeedMore) => panic!("an end that is none"),
        }
    }
    assert_eq!(back, sound);
});
