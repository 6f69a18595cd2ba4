//! The server side of SMTP says the same, however its octets come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{BareLineEnds, DataDecoder, Event, Piece, Session, Stuffer};

/// What a session makes of its input; content joined.
fn talk(input: &[u8], chunk: usize, policy: BareLineEnds) -> (Vec<String>, Vec<u8>) {
    let mut session = Session::default();
    let (mut said, mut content) = (Vec::new(), Vec::new());
    let mut buffer: Vec<u8> = Vec::new();
    for piece in input.chunks(chunk.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let mut answered = None;
            let (used, event) = session.next(&buffer);
            let idle = used == 0 && event.is_none();
            let mut closed = false;
            match event {
                None => {}
                Some(Event::Content(c)) => content.extend_from_slice(c),
                Some(e) => {
                    said.push(format!("{e:?}"));
                    closed = matches!(e, Event::Close(_) | Event::Quit);
                    answered = Some(match e {
                        Event::Hello { .. } => 1,
                        Event::Mail(_) => 2,
                        Event::Rcpt(_) => 3,
                        Event::Data => 4,
                        _ => 0,
                    });
                }
            }
            assert!(used <= buffer.len());
            buffer.drain(..used);
            match answered {
                Some(1) => session.hello(),
                Some(2) => session.mail(true),
                Some(3) => session.rcpt(true),
                Some(4) => said.push(format!("{:?}", session.data(policy))),
                _ => {}
            }
            if closed {
                return (said, content);
            }
            if idle {
                break;
            }
        }
    }
    (said, content)
}

fuzz_target!(|data: &[u8]| {
    let [how, chunk, rest @ ..] = data else { return };
    let policy = if how % 2 == 0 {
        BareLineEnds::Refuse
    } else {
        BareLineEnds::Normalise
    };
    let (said, content) = talk(rest, usize::from(*chunk), policy);
    let (said_whole, content_whole) = talk(rest, rest.len(), policy);
    assert_eq!(said, said_whole);
    // Of a message that is refused for its line ends nobody reads the content.
    if policy == BareLineEnds::Normalise {
        assert_eq!(content, content_whole);
    }
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
