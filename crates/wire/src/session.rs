//! The server side: command lines and message data as events, in the order of RFC 5321.

mod chunks;

use memchr::{memchr2, memmem};

use self::chunks::Chunk;
use crate::{Answer, BareLineEnds, ChunkDecoder, Command, DataDecoder, DataEnd, PathLine, Piece, classify};

/// Longest command line that is taken unless told otherwise, with its CRLF, in octets. RFC 5321 4.5.3.1.4 asks for 512;
/// extensions add to it.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Octets of an overlong line that are skipped before the session ends.
const MAX_SKIPPED: usize = 1 << 20;

/// Errors of a client before the session ends (Postfix: `smtpd_hard_error_limit`, 20).
const MAX_ERRORS: u32 = 20;

/// Commands that achieve nothing, between two messages, before the session ends.
const MAX_IDLE_COMMANDS: u32 = 1000;

/// Recipients that are refused for good, between two messages, before the session ends: who has a list of valid addresses
/// does not reach it, who tries names does.
const MAX_REFUSED_RECIPIENTS: u32 = 100;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// EHLO or HELO, or LHLO where LMTP is spoken. Any open transaction is over.
    Hello {
        /// The name the client gives itself.
        name: &'a [u8],
        /// EHLO or LHLO: extensions may be offered.
        extended: bool,
    },
    /// MAIL, at a time when it may come. Tell the outcome with [`Session::mail`].
    Mail(PathLine<'a>),
    /// RCPT, at a time when it may come. Tell the outcome with [`Session::rcpt`].
    Rcpt(PathLine<'a>),
    /// XFORWARD outside of a transaction: the whole line.
    Xforward(&'a [u8]),
    /// XCLIENT outside of a transaction: the whole line. If it is taken up, go on with [`Session::greet_again`].
    Xclient(&'a [u8]),
    /// DATA. Whether it may come now depends on outcomes that may not be known yet: ask [`Session::data`].
    Data,
    /// BDAT (RFC 3030). Its payload follows at once, and is swallowed unless [`Session::chunk`] finds that it may come.
    Chunk,
    /// The payload of a chunk that was taken is over, and more chunks of the message will follow.
    ChunkTaken,
    /// RSET. The transaction, if any, is over.
    Reset,
    /// QUIT
    Quit,
    /// Nothing for others to do: say this.
    Say(Answer),
    /// Say this and close the connection.
    Close(Answer),
    /// A piece of the message.
    Content(&'a [u8]),
    /// The message is complete. The transaction is over.
    EndOfData(DataEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mail {
    None,
    /// Handed out; the outcome is not known.
    Asked,
    Open,
}

/// One SMTP or LMTP session with a client.
///
/// [`next`](Self::next) turns octets into events; outcomes come back through [`mail`](Self::mail), [`rcpt`](Self::rcpt) and
/// [`data`](Self::data) or [`chunk`](Self::chunk). MAIL and RCPT may be handed out before earlier outcomes are told, so that a pipelining client is
/// answered in one turn; before any other event is acted on, all outcomes must have been told.
#[derive(Debug)]
pub struct Session {
    /// RFC 2033 instead of RFC 5321.
    lmtp: bool,
    greeted: bool,
    mail: Mail,
    recipients_asked: u32,
    recipients: u32,
    data: Option<DataDecoder>,
    /// The message comes in chunks: BDAT was accepted in this transaction.
    chunks: Option<ChunkDecoder>,
    /// The chunk whose payload comes now.
    chunk: Option<Chunk>,
    /// A chunk of this transaction was refused; more may be on their way, and the client knows.
    chunk_refused: bool,
    /// Longest command line, with its CRLF, in octets.
    command_line: usize,
    /// Octets of an overlong or misshapen line that were skipped so far.
    skipping: Option<usize>,
    errors: u32,
    idle_commands: u32,
    refused_recipients: u32,
    small_chunks: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            lmtp: false,
            greeted: false,
            mail: Mail::None,
            recipients_asked: 0,
            recipients: 0,
            data: None,
            chunks: None,
            chunk: None,
            chunk_refused: false,
            command_line: MAX_COMMAND_LINE,
            skipping: None,
            errors: 0,
            idle_commands: 0,
            refused_recipients: 0,
            small_chunks: 0,
        }
    }
}

impl Session {
    /// A session in LMTP (RFC 2033); the default one is in SMTP.
    #[must_use]
    pub fn lmtp() -> Self {
        Self {
            lmtp: true,
            ..Self::default()
        }
    }

    /// The same session, with another limit for the length of command lines: octets, with their CRLF.
    #[must_use]
    pub fn with_command_line(mut self, octets: usize) -> Self {
        self.command_line = octets;
        self
    }

    /// Looks at the front of `input`; says how many octets are done with, and what they mean. Without an event, more octets
    /// are needed behind those that are left.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        if self.data.is_some() {
            return self.next_data(input);
        }
        if self.chunk.is_some() {
            return self.next_chunk(input);
        }
        let mut dropped = 0;
        if let Some(before) = self.skipping {
            let (used, ended) = match memmem::find(input, b"\r\n") {
                Some(at) => (at + 2, true),
                // A CR at the end may be half of the line end.
                None => (input.len() - usize::from(input.ends_with(b"\r")), false),
            };
            if before + used > MAX_SKIPPED {
                return (used, Some(Event::Close(Answer::TOO_MANY_ERRORS)));
            }
            if !ended {
                self.skipping = Some(before + used);
                return (used, None);
            }
            self.skipping = None;
            dropped = used;
        }
        let input = input.get(dropped..).unwrap_or_default();
        let line = input.get(..self.command_line).unwrap_or(input);
        // Only CRLF ends a command. A lone CR or LF would end one for some next hop, and what follows it would be a command
        // that nobody here has seen: such a line is never handed on.
        let end = memchr2(b'\r', b'\n', line);
        let (used, event) = match end.map(|at| (at, line.get(at..).unwrap_or_default())) {
            Some((at, [b'\r', b'\n', ..])) => (at + 2, Some(self.command(line.get(..at).unwrap_or_default()))),
            Some((at, [b'\r'])) if at + 1 < self.command_line => (0, None),
            None if line.len() < self.command_line => (0, None),
            _ if chunks::opens_payload(line) => (line.len(), Some(Event::Close(Answer::NOT_SMTP))),
            Some((at, [_, _, ..] | [b'\n'])) => {
                self.skipping = Some(0);
                (at + 1, Some(self.error(Answer::BAD_LINE_END)))
            }
            _ => {
                // A CR at the limit may be half of the line end.
                let skipped = line.len() - usize::from(line.ends_with(b"\r"));
                self.skipping = Some(skipped);
                (skipped, Some(self.error(Answer::LINE_TOO_LONG)))
            }
        };
        (dropped + used, event)
    }

    /// EHLO or HELO was answered with success: commands may come.
    pub fn hello(&mut self) {
        self.greeted = true;
        self.reset();
    }

    /// XCLIENT was taken up and answered with a greeting: the session begins anew.
    pub fn greet_again(&mut self) {
        self.greeted = false;
        self.reset();
    }

    /// The outcome of MAIL. It says nothing about a transaction that RSET or EHLO ended meanwhile.
    pub fn mail(&mut self, accepted: bool) {
        if self.mail == Mail::Asked {
            self.mail = if accepted { Mail::Open } else { Mail::None };
        }
    }

    /// The outcome of one RCPT. What is refused for good counts as a mistake, with [`recipient_refused`](Self::recipient_refused).
    pub fn rcpt(&mut self, accepted: bool) {
        self.recipients += u32::from(accepted && self.mail == Mail::Open);
    }

    /// A recipient was refused for good (5xx). Clients that try one name after another are sent away.
    pub fn recipient_refused(&mut self) {
        self.refused_recipients = self.refused_recipients.saturating_add(1);
    }

    /// DATA is to be answered: with [`Answer::SEND_DATA`], after which message data is read, or with a refusal.
    pub fn data(&mut self, policy: BareLineEnds) -> Answer {
        let refusal = match (self.mail, self.recipients_asked, self.recipients) {
            // RFC 3030 section 2: one transaction has either.
            _ if self.chunks.is_some() || self.chunk_refused => Answer::BAD_SEQUENCE,
            (Mail::Open, _, 1..) => {
                self.data = Some(DataDecoder::new(policy));
                return Answer::SEND_DATA;
            }
            (Mail::Open, 0, _) => Answer::NEED_RCPT,
            (Mail::Open, ..) if self.lmtp => Answer::NO_VALID_RECIPIENTS_LMTP,
            (Mail::Open, ..) => Answer::NO_VALID_RECIPIENTS,
            _ => Answer::NEED_MAIL,
        };
        self.errors += 1;
        refusal
    }

    /// Whether message data is expected.
    #[must_use]
    pub fn in_data(&self) -> bool {
        self.data.is_some() || self.chunk.is_some()
    }

    /// Whether a message has begun and not ended: between chunks no data is expected, but the message is not complete.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.data.is_some() || self.chunks.is_some()
    }

    /// Whether MAIL was accepted, or is still to be answered, and the transaction has not ended.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.mail != Mail::None || self.in_message()
    }

    /// How many recipients were accepted.
    #[must_use]
    pub fn recipients(&self) -> u32 {
        self.recipients
    }

    fn next_data<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let mut used = 0;
        while let Some(decoder) = &mut self.data {
            let (n, piece) = decoder.next(input.get(used..).unwrap_or_default());
            used += n;
            match piece {
                Piece::Content([]) => {}
                Piece::Content(content) => return (used, Some(Event::Content(content))),
                Piece::End(end) => {
                    self.data = None;
                    self.message_ended();
                    return (used, Some(Event::EndOfData(end)));
                }
                Piece::NeedMore => break,
            }
        }
        (used, None)
    }

    fn message_ended(&mut self) {
        self.reset();
        self.idle_commands = 0;
        self.refused_recipients = 0;
        self.small_chunks = 0;
    }

    fn command<'a>(&mut self, line: &'a [u8]) -> Event<'a> {
        if self.refused_recipients > MAX_REFUSED_RECIPIENTS {
            return Event::Close(Answer::TOO_MANY_ERRORS);
        }
        if line.contains(&0) {
            if chunks::opens_payload(line) {
                return Event::Close(Answer::NOT_SMTP);
            }
            return self.error(Answer::BAD_LINE_END);
        }
        match classify(line) {
            // RFC 2033 4.1: a client that is wrong about the dialect must hear it, or it would count the replies wrongly.
            Command::Ehlo(_) | Command::Helo(_) if self.lmtp => self.error(Answer::UNKNOWN_COMMAND),
            Command::Lhlo(_) if !self.lmtp => self.error(Answer::UNKNOWN_COMMAND),
            Command::Ehlo(name) | Command::Lhlo(name) => self.greeting(name, true),
            Command::Helo(name) => self.greeting(name, false),
            Command::Mail(_) | Command::Xforward(_) if !self.greeted && self.lmtp => self.error(Answer::LHLO_FIRST),
            Command::Mail(_) | Command::Xforward(_) if !self.greeted => self.error(Answer::HELLO_FIRST),
            Command::Mail(_) | Command::Xforward(_) if self.mail != Mail::None => self.error(Answer::BAD_SEQUENCE),
            Command::Xforward(line) => self.idle(Event::Xforward(line)),
            Command::Xclient(_) if self.mail != Mail::None => self.error(Answer::BAD_SEQUENCE),
            Command::Xclient(line) => self.idle(Event::Xclient(line)),
            Command::Mail(path) => {
                self.reset();
                self.mail = Mail::Asked;
                Event::Mail(path)
            }
            Command::Rcpt(_) if self.mail == Mail::None => self.error(Answer::NEED_MAIL),
            Command::Rcpt(_) if self.chunks.is_some() || self.chunk_refused => self.error(Answer::BAD_SEQUENCE),
            Command::Rcpt(path) => {
                self.recipients_asked = self.recipients_asked.saturating_add(1);
                Event::Rcpt(path)
            }
            Command::Data => Event::Data,
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.reset();
                self.idle(Event::Reset)
            }
            Command::Quit => Event::Quit,
            Command::Noop => self.idle(Event::Say(Answer::OK)),
            Command::Vrfy => self.idle(Event::Say(Answer::CANNOT_VERIFY)),
            Command::Help => self.idle(Event::Say(Answer::HELP)),
            Command::NotImplemented => self.error(Answer::NOT_IMPLEMENTED),
            Command::Foreign => Event::Close(Answer::NOT_SMTP),
            Command::BadSyntax => self.error(Answer::BAD_SYNTAX),
            Command::Unknown => self.error(Answer::UNKNOWN_COMMAND),
        }
    }

    fn greeting<'a>(&mut self, name: &'a [u8], extended: bool) -> Event<'a> {
        self.reset();
        self.idle(Event::Hello { name, extended })
    }

    fn reset(&mut self) {
        self.mail = Mail::None;
        self.recipients_asked = 0;
        self.recipients = 0;
        self.chunks = None;
        self.chunk_refused = false;
    }

    fn error<'a>(&mut self, answer: Answer) -> Event<'a> {
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            return Event::Close(Answer::TOO_MANY_ERRORS);
        }
        Event::Say(answer)
    }

    fn idle<'a>(&mut self, event: Event<'a>) -> Event<'a> {
        self.idle_commands += 1;
        if self.idle_commands > MAX_IDLE_COMMANDS {
            return Event::Close(Answer::TOO_MANY_ERRORS);
        }
        event
    }
}

#[cfg(test)]
mod tests {
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
    fn who_tries_one_recipient_after_another_is_sent_away() {
        let mut session = Session::default();
        session.hello();
        session.next(b"MAIL FROM:<a>\r\n");
        session.mail(true);
        for _ in 0..MAX_REFUSED_RECIPIENTS {
            session.recipient_refused();
        }
        assert!(matches!(session.next(b"RCPT TO:<b>\r\n").1, Some(Event::Rcpt(_))));
        session.recipient_refused();
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
            for _ in 0..MAX_REFUSED_RECIPIENTS {
                session.recipient_refused();
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
}
