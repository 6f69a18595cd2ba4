//! The filter's side of milter says the same, however its octets come in, and never waits for more than a packet may hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::milter::{Event, LineEnds, MAX_FRAME, Session};

/// What a session makes of its input; content joined and its line ends made good.
fn talk(input: &[u8], chunk: usize) -> (Vec<String>, Vec<u8>) {
    let mut session = Session::default();
    let (mut said, mut content) = (Vec::new(), Vec::new());
    let mut lines = LineEnds::default();
    let mut buffer: Vec<u8> = Vec::new();
    for piece in input.chunks(chunk.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let (used, event) = session.next(&buffer);
            assert!(used <= buffer.len());
            let (done, closed) = match event {
                None => (true, false),
                Some(Event::Content(c)) => {
                    lines.push(c, &mut content);
                    (false, false)
                }
                Some(event) => {
                    if event == Event::EndOfMessage {
                        lines.finish(&mut content);
                    }
                    let mut out = Vec::new();
                    if event == Event::Negotiate {
                        session.terms().write(&mut out);
                        assert_eq!(out.len(), 4 + usize::from(u16::from_be_bytes([out[2], out[3]])));
                    }
                    if let Event::Macros(macros) = event {
                        assert!(macros.iter().count() <= buffer.len());
                    }
                    said.push(format!("{event:?} {} {:?}", session.reply_due(), session.stage()));
                    (false, matches!(event, Event::Close(_) | Event::Quit))
                }
            };
            buffer.drain(..used);
            if closed {
                return (said, content);
            }
            if done {
                if let Some(length) = buffer.first_chunk::<4>() {
                    assert!(u32::from_be_bytes(*length) as usize <= MAX_FRAME);
                }
                break;
            }
        }
    }
    (said, content)
}

fuzz_target!(|data: &[u8]| {
    let [chunk, rest @ ..] = data else { return };
    let (said, content) = talk(rest, usize::from(*chunk));
    let (said_whole, content_whole) = talk(rest, rest.len());
    assert_eq!(said, said_whole);
    assert_eq!(content, content_whole);
    assert!(!wire::stray_line_end(&content));
});
