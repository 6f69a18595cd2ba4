//! BDAT in a session (RFC 3030): chunks taken and chunks discarded.

use super::{Event, MAX_ERRORS, Mail, Session};
use crate::slice::part;
use crate::{Answer, BareLineEnds, ChunkDecoder};

/// Size below which a chunk counts as small, in octets.
const SMALL_CHUNK: u64 = 256;

/// Most small chunks between two messages before the session ends.
const MAX_SMALL_CHUNKS: u32 = 10_000;

/// A chunk of which `left` octets are still to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    left: u64,
    last: bool,
    /// The answer once its payload has been discarded.
    refusal: Option<Answer>,
}

/// Whether payload follows an unreadable line: it must not be read as commands.
pub(super) fn opens_payload(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

impl Session {
    /// Decides on BDAT: its payload is handed out as content or, if it may not come now or there is a `refusal`, discarded
    /// and refused behind it.
    pub fn chunk(&mut self, policy: BareLineEnds, refusal: Option<Answer>) {
        let wrong = match (self.mail, self.recipients_asked, self.recipients) {
            _ if self.chunk_refused => Some(Answer::BAD_SEQUENCE),
            (Mail::Open, _, 1..) => refusal,
            (Mail::Open, 0, _) => Some(Answer::NEED_RCPT),
            (Mail::Open, ..) => Some(Answer::NO_VALID_RECIPIENTS),
            _ => Some(Answer::NEED_MAIL),
        };
        let Some(chunk) = &mut self.chunk else { return };
        chunk.refusal = wrong;
        if wrong.is_none() {
            self.chunks.get_or_insert_with(|| ChunkDecoder::new(policy));
        } else if !std::mem::replace(&mut self.chunk_refused, true) {
            // A pipelining client may have sent many more before it hears of this (RFC 3030 section 2): one mistake.
            self.errors += 1;
        }
    }

    /// Gives up a message before its last chunk: the transaction is over.
    pub fn give_up_chunks(&mut self) {
        self.reset();
        self.chunk_refused = true;
    }

    /// Handles BDAT. Until it is decided on, its payload is discarded: it is never read as commands.
    pub(super) fn bdat<'a>(&mut self, size: u64, last: bool) -> Event<'a> {
        if size < SMALL_CHUNK {
            self.small_chunks += 1;
            if self.small_chunks > MAX_SMALL_CHUNKS {
                return Event::Close(Answer::TOO_MANY_ERRORS);
            }
        }
        self.chunk = Some(Chunk {
            left: size,
            last,
            refusal: Some(Answer::BAD_SEQUENCE),
        });
        Event::Chunk
    }

    pub(super) fn next_chunk<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let Some(mut chunk) = self.chunk else { return (0, None) };
        let due = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(input.len());
        let mut used = 0;
        if let (None, Some(decoder)) = (chunk.refusal, &mut self.chunks) {
            let payload = part(input, ..due);
            loop {
                let (n, content) = decoder.next(part(payload, used..));
                used += n;
                chunk.left -= n as u64;
                self.chunk = Some(chunk);
                if !content.is_empty() {
                    return (used, Some(Event::Content(content)));
                }
                if n == 0 {
                    break;
                }
            }
            if chunk.left == 0 && chunk.last {
                let content = decoder.finish();
                if !content.is_empty() {
                    return (used, Some(Event::Content(content)));
                }
            }
        } else {
            used = due;
            chunk.left -= due as u64;
            self.chunk = Some(chunk);
        }
        if chunk.left > 0 {
            return (used, None);
        }
        self.chunk = None;
        let event = match (chunk.refusal, &self.chunks) {
            (Some(_), _) if self.errors >= MAX_ERRORS => Event::Close(Answer::TOO_MANY_ERRORS),
            (Some(refusal), _) => Event::Say(refusal),
            (None, Some(decoder)) if chunk.last => {
                let end = decoder.seen();
                self.message_ended();
                Event::EndOfData(end)
            }
            _ => Event::ChunkTaken,
        };
        (used, Some(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The dialog and the content handed out; the next hop takes the recipients of `y.test`.
    fn transcript(policy: BareLineEnds, input: &[u8], chunk: usize) -> Vec<String> {
        let (mut session, mut buffer, mut log) = (Session::default(), Vec::new(), Vec::<String>::new());
        for piece in input.chunks(chunk.max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                let (used, event) = session.next(&buffer);
                let Some(event) = event else {
                    buffer.drain(..used);
                    break;
                };
                let line = match event {
                    Event::Content(c) => {
                        let text = c.escape_ascii().to_string();
                        match log.last_mut() {
                            Some(last) if last.starts_with("content ") => last.push_str(&text),
                            _ => log.push(format!("content {text}")),
                        }
                        buffer.drain(..used);
                        continue;
                    }
                    Event::Say(answer) | Event::Close(answer) => answer.as_str().to_owned(),
                    Event::EndOfData(end) => format!("end, refuse: {}", end.refuse),
                    Event::Rcpt(path) => format!("rcpt {}", path.address()),
                    Event::Mail(_) => "mail".to_owned(),
                    Event::Hello { .. } => "hello".to_owned(),
                    Event::Chunk => "chunk".to_owned(),
                    Event::Data => "data".to_owned(),
                    other => format!("{other:?}"),
                };
                let closed = matches!(event, Event::Close(_));
                buffer.drain(..used);
                match line.as_str() {
                    "mail" => session.mail(true),
                    "hello" => session.hello(),
                    "chunk" => session.chunk(policy, None),
                    "data" => log.push(session.data(policy).as_str().to_owned()),
                    rcpt if rcpt.starts_with("rcpt ") => session.rcpt(rcpt.ends_with("y.test")),
                    _ => log.push(line),
                }
                if closed {
                    return log;
                }
            }
        }
        log
    }

    const ENVELOPE: &str = "EHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n";

    /// The same for any chunking, or the test fails.
    fn says(text: &str) -> Vec<String> {
        let whole = transcript(BareLineEnds::Refuse, text.as_bytes(), text.len());
        for chunk in 1..40 {
            let parts = transcript(BareLineEnds::Refuse, text.as_bytes(), chunk);
            assert_eq!(parts, whole, "{chunk} octets at a time");
        }
        whole
    }

    fn says_in_transaction(text: &str) -> Vec<String> {
        says(&format!("{ENVELOPE}{text}"))
    }

    #[test]
    fn chunks_make_one_message() {
        assert_eq!(
            says_in_transaction("BDAT 5\r\na\r\n.\rBDAT 0\r\nBDAT 1\r\n\nBDAT 10 LAST\r\n..QUIT\r\n..NOOP\r\n"),
            [
                r"content a\r\n.",
                "ChunkTaken",
                "ChunkTaken",
                r"content \r\n",
                "ChunkTaken",
                r"content ..QUIT\r\n..",
                "end, refuse: false",
                "250 2.0.0 Ok"
            ]
        );
    }

    #[test]
    fn an_empty_last_chunk_ends_the_message() {
        assert_eq!(
            says_in_transaction("BDAT 3\r\na\r\nBDAT 0 LAST\r\nBDAT 0 LAST\r\n"),
            [
                r"content a\r\n",
                "ChunkTaken",
                "end, refuse: false",
                "503 5.5.1 Need MAIL command"
            ]
        );
        assert_eq!(says_in_transaction("BDAT 0 LAST\r\n"), ["end, refuse: false"]);
    }

    #[test]
    fn a_refused_payload_is_swallowed_and_answered_behind_it() {
        let payload = "MAIL FROM:<evil@x.test>\r\n";
        for (before, wanted) in [
            ("", "503 5.5.1 Need MAIL command"),
            ("EHLO c\r\n", "503 5.5.1 Need MAIL command"),
            ("EHLO c\r\nMAIL FROM:<a>\r\n", "503 5.5.1 Need RCPT command"),
            (
                "EHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<b@no.test>\r\n",
                "554 5.5.1 No valid recipients",
            ),
        ] {
            let text = format!("{before}BDAT 25 LAST\r\n{payload}QUIT\r\n");
            assert_eq!(says(&text), [wanted, "Quit"], "{before}");
        }
        let log = says_in_transaction("BDAT 2\r\nhiRSET\r\nBDAT 25\r\nMAIL FROM:<evil@x.test>\r\nNOOP\r\n");
        assert_eq!(log[2..], ["Reset", "503 5.5.1 Need MAIL command", "250 2.0.0 Ok"]);
    }

    #[test]
    fn many_chunks_behind_a_refused_one_are_one_mistake() {
        let mut text = "EHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<b@no.test>\r\n".to_owned();
        text += &"BDAT 4\r\nQUIT".repeat(100);
        text += "RSET\r\n";
        let log = transcript(BareLineEnds::Refuse, text.as_bytes(), 7);
        assert_eq!(log.len(), 101);
        assert_eq!(
            (log[0].as_str(), log[1].as_str()),
            ("554 5.5.1 No valid recipients", "503 5.5.1 Bad sequence of commands")
        );
        assert_eq!(log[100], "Reset");
    }

    #[test]
    fn data_and_recipients_do_not_come_behind_a_chunk() {
        let log = says_in_transaction("BDAT 2\r\nhiDATA\r\nRCPT TO:<c@y.test>\r\nMAIL FROM:<a>\r\nBDAT 0 LAST\r\n");
        let refusal = "503 5.5.1 Bad sequence of commands";
        assert_eq!(log[2..], [refusal, refusal, refusal, "end, refuse: false"]);
    }

    #[test]
    fn a_message_that_was_given_up_is_over() {
        let mut session = Session::default();
        session.hello();
        session.next(b"MAIL FROM:<a>\r\n");
        session.mail(true);
        session.next(b"RCPT TO:<b>\r\n");
        session.rcpt(true);
        assert_eq!(session.next(b"BDAT 2\r\n"), (8, Some(Event::Chunk)));
        session.chunk(BareLineEnds::Refuse, None);
        session.next(b"hi");
        assert_eq!(session.next(b""), (0, Some(Event::ChunkTaken)));
        assert!(session.in_message() && !session.in_data());
        session.give_up_chunks();
        assert!(!session.in_transaction());
        assert_eq!(session.next(b"BDAT 2 LAST\r\n").1, Some(Event::Chunk));
        session.chunk(BareLineEnds::Refuse, None);
        assert_eq!(session.next(b"hi"), (2, Some(Event::Say(Answer::BAD_SEQUENCE))));
        assert!(matches!(session.next(b"MAIL FROM:<a>\r\n").1, Some(Event::Mail(_))));
    }

    #[test]
    fn a_caller_may_refuse_a_chunk() {
        let mut session = Session::default();
        session.hello();
        session.next(b"MAIL FROM:<a>\r\n");
        session.mail(true);
        session.next(b"RCPT TO:<b>\r\n");
        session.rcpt(true);
        session.next(b"BDAT 6 LAST\r\n");
        session.chunk(BareLineEnds::Refuse, Some(Answer::NEXT_HOP_LOST));
        assert_eq!(session.next(b"QUI"), (3, None));
        assert_eq!(session.next(b"T\r\n"), (3, Some(Event::Say(Answer::NEXT_HOP_LOST))));
    }

    #[test]
    fn a_chunk_whose_size_cannot_be_read_ends_the_session() {
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT 5 LAS",
            "BDAT 99999999999999999999 LAST",
            "bdat 5\0",
            "BDAT 25 LAST\n",
            "BDAT 25\r LAST",
        ] {
            let log = says_in_transaction(&format!("{line}\r\nMAIL FROM:<evil@x.test>\r\n"));
            assert_eq!(log, ["421 4.7.0 Protocol error"], "{line}");
        }
        let long = format!("BDAT {}25 LAST\r\nMAIL FROM:<evil@x.test>\r\n", "0".repeat(5000));
        assert_eq!(
            transcript(BareLineEnds::Refuse, long.as_bytes(), 100),
            ["421 4.7.0 Protocol error"]
        );
    }

    #[test]
    fn a_flood_of_small_chunks_ends_the_session() {
        for chunk in ["BDAT 0\r\n", "BDAT 1\r\nx", "BDAT 0 LAST\r\n"] {
            let below = format!("EHLO c\r\n{}", chunk.repeat(10_000));
            let log = transcript(BareLineEnds::Refuse, below.as_bytes(), 4096);
            assert_eq!((log.len(), &log[9_999][..3]), (10_000, "503"));
            let flood = format!("{below}{chunk}");
            let log = transcript(BareLineEnds::Refuse, flood.as_bytes(), 4096);
            assert_eq!(log[10_000], "421 4.7.0 Too many errors");
        }
        // Large ones, and those of messages that end, are no flood.
        let message = format!(
            "MAIL FROM:<a>\r\nRCPT TO:<b@y.test>\r\n{}BDAT 0 LAST\r\n",
            "BDAT 1\r\nx".repeat(4_000)
        );
        let log = transcript(
            BareLineEnds::Refuse,
            format!("EHLO c\r\n{}", message.repeat(3)).as_bytes(),
            4096,
        );
        assert_eq!(log.iter().filter(|l| l.starts_with("end")).count(), 3);
    }

    #[test]
    fn line_ends_that_stand_alone_are_seen_over_chunks() {
        let log = says_in_transaction("BDAT 2\r\na\rBDAT 1 LAST\r\nb");
        assert_eq!(log.last().unwrap(), "end, refuse: true");
        let text = format!("{ENVELOPE}BDAT 2\r\na\rBDAT 2\r\n\nbBDAT 2 LAST\r\n\nc");
        let log = transcript(BareLineEnds::Normalise, text.as_bytes(), 3);
        let content: String = log.iter().filter_map(|l| l.strip_prefix("content ")).collect();
        assert_eq!(content, r"a\r\nb\r\nc");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            pieces in proptest::collection::vec(prop_oneof![
                Just("BDAT 3\r\n".to_owned()), Just("BDAT 0\r\n".to_owned()), Just("BDAT 4 LAST\r\n".to_owned()),
                Just("BDAT 0 LAST\r\n".to_owned()), "[a\r\n.]{3,4}", Just("RSET\r\n".to_owned()), Just(ENVELOPE.to_owned()),
                Just("DATA\r\n".to_owned()), Just(".\r\n".to_owned()),
            ], 0..14),
            chunk in 1usize..20,
            normalise in any::<bool>(),
        ) {
            let policy = if normalise { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
            let input = format!("{ENVELOPE}{}", pieces.concat()).into_bytes();
            let strip = |log: Vec<String>| -> Vec<String> {
                // Of a message that is refused nobody reads the content, however much was handed out.
                if normalise { log } else { log.into_iter().filter(|l| !l.starts_with("content ")).collect() }
            };
            prop_assert_eq!(strip(transcript(policy, &input, chunk)), strip(transcript(policy, &input, input.len())));
        }
    }
}
