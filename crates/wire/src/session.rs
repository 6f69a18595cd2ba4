//! The server side: command lines and message data as events, in the order of RFC 5321.

mod chunks;
#[cfg(test)]
mod tests;

use memchr::{memchr2, memmem};

use self::chunks::Chunk;
use crate::slice::part;
use crate::{Answer, BareLineEnds, ChunkDecoder, Command, DataDecoder, DataEnd, PathLine, Piece, classify};

/// Longest command line by default, with its CRLF, in octets. RFC 5321 4.5.3.1.4 asks for 512; extensions add to it.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Most octets of an overlong line skipped before the session ends.
const MAX_SKIPPED: usize = 1 << 20;

/// Most errors of a client before the session ends (Postfix: `smtpd_hard_error_limit`, 20).
const MAX_ERRORS: u32 = 20;

/// Most commands without effect between two messages before the session ends.
const MAX_IDLE_COMMANDS: u32 = 1000;

/// Most senders and recipients refused for good between two messages before the session ends: a client that guesses names
/// reaches it, one with a list of valid addresses does not.
const MAX_REFUSALS: u32 = 100;

/// An act of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// EHLO or HELO, or LHLO where LMTP is spoken. Any open transaction is over.
    Hello {
        /// The client's name for itself.
        name: &'a [u8],
        /// EHLO or LHLO: extensions may be offered.
        extended: bool,
    },
    /// MAIL in order. Pass its outcome to [`Session::mail`].
    Mail(PathLine<'a>),
    /// RCPT in order. Pass its outcome to [`Session::rcpt`].
    Rcpt(PathLine<'a>),
    /// XFORWARD outside of a transaction: the whole line.
    Xforward(&'a [u8]),
    /// STARTTLS in order: answer it, drop the input behind it, shake hands, and call [`Session::encrypted`].
    StartTls,
    /// XCLIENT outside of a transaction: the whole line. If it is accepted, call [`Session::greet_again`].
    Xclient(&'a [u8]),
    /// DATA. Answer it with [`Session::data`] once all outcomes are known.
    Data,
    /// BDAT (RFC 3030). Its payload follows at once, and is discarded unless [`Session::chunk`] accepts it.
    Chunk,
    /// The end of a chunk that was accepted; more chunks of the message follow.
    ChunkTaken,
    /// RSET. The transaction, if any, is over.
    Reset,
    /// QUIT
    Quit,
    /// Answer with this.
    Say(Answer),
    /// Answer with this and close the connection.
    Close(Answer),
    /// A piece of the message.
    Content(&'a [u8]),
    /// The message is complete. The transaction is over.
    EndOfData(DataEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mail {
    None,
    /// Handed out; the outcome is unknown.
    Asked,
    Open,
}

/// One SMTP or LMTP session with a client.
///
/// [`next`](Self::next) turns octets into events; outcomes come back through [`mail`](Self::mail), [`rcpt`](Self::rcpt) and
/// [`data`](Self::data) or [`chunk`](Self::chunk). MAIL and RCPT may be handed out before earlier outcomes are passed in, so
/// that a pipelining client is answered in one turn; all must be passed in before any other event is acted on.
#[derive(Debug)]
pub struct Session {
    /// RFC 2033 instead of RFC 5321.
    lmtp: bool,
    greeted: bool,
    offers_tls: bool,
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
    /// Octets of an overlong or misshapen line skipped so far.
    skipping: Option<usize>,
    errors: u32,
    idle_commands: u32,
    refusals: u32,
    small_chunks: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            lmtp: false,
            greeted: false,
            offers_tls: false,
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
            refusals: 0,
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

    /// The session with another limit for command lines, with their CRLF, in octets.
    #[must_use]
    pub fn with_command_line(mut self, octets: usize) -> Self {
        self.command_line = octets;
        self
    }

    /// Reads the front of `input`: octets consumed, and the event. Without an event, more octets are needed behind the rest.
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
        let input = part(input, dropped..);
        let line = input.get(..self.command_line).unwrap_or(input);
        // Only CRLF ends a command. For some next hops a lone CR or LF would, and the rest of the line would be a command
        // that was never checked here: such a line is never handed on.
        let end = memchr2(b'\r', b'\n', line);
        let (used, event) = match end.map(|at| (at, part(line, at..))) {
            Some((at, [b'\r', b'\n', ..])) => (at + 2, Some(self.command(part(line, ..at)))),
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

    /// Notes that EHLO or HELO was accepted: commands may follow.
    pub fn hello(&mut self) {
        self.greeted = true;
        self.reset();
    }

    /// Offers STARTTLS from now on.
    pub fn offer_tls(&mut self) {
        self.offers_tls = true;
    }

    /// Whether STARTTLS is offered; never on an encrypted connection.
    #[must_use]
    pub fn offers_tls(&self) -> bool {
        self.offers_tls
    }

    /// Starts anew after the TLS handshake (RFC 3207 4.2); only the counts of errors are kept.
    pub fn encrypted(&mut self) {
        *self = Self {
            lmtp: self.lmtp,
            command_line: self.command_line,
            errors: self.errors,
            idle_commands: self.idle_commands,
            refusals: self.refusals,
            ..Self::default()
        };
    }

    /// Starts anew after an accepted XCLIENT, which is answered with a greeting.
    pub fn greet_again(&mut self) {
        self.greeted = false;
        self.reset();
    }

    /// Takes the outcome of MAIL; it is ignored if RSET or EHLO has ended the transaction.
    pub fn mail(&mut self, accepted: bool) {
        if self.mail == Mail::Asked {
            self.mail = if accepted { Mail::Open } else { Mail::None };
        }
    }

    /// Takes the outcome of one RCPT.
    pub fn rcpt(&mut self, accepted: bool) {
        self.recipients += u32::from(accepted && self.mail == Mail::Open);
    }

    /// Counts a sender or recipient refused for good (5xx); after too many the session ends.
    pub fn refused_for_good(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
    }

    /// The answer to DATA: [`Answer::SEND_DATA`], after which message data is read, or a refusal.
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

    /// Whether a message has begun and not ended, which it has not between its chunks.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.data.is_some() || self.chunks.is_some()
    }

    /// Whether a transaction is open, or MAIL is still to be answered.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.mail != Mail::None || self.in_message()
    }

    /// Number of accepted recipients.
    #[must_use]
    pub fn recipients(&self) -> u32 {
        self.recipients
    }

    fn next_data<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let mut used = 0;
        while let Some(decoder) = &mut self.data {
            let (n, piece) = decoder.next(part(input, used..));
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
        self.refusals = 0;
        self.small_chunks = 0;
    }

    fn command<'a>(&mut self, line: &'a [u8]) -> Event<'a> {
        if self.refusals > MAX_REFUSALS {
            return Event::Close(Answer::TOO_MANY_ERRORS);
        }
        if line.contains(&0) {
            if chunks::opens_payload(line) {
                return Event::Close(Answer::NOT_SMTP);
            }
            return self.error(Answer::BAD_LINE_END);
        }
        match classify(line) {
            // RFC 2033 4.1: with the wrong dialect a client would count the replies wrongly.
            Command::Ehlo(_) | Command::Helo(_) if self.lmtp => self.error(Answer::UNKNOWN_COMMAND),
            Command::Lhlo(_) if !self.lmtp => self.error(Answer::UNKNOWN_COMMAND),
            Command::Ehlo(name) | Command::Lhlo(name) => self.greeting(name, true),
            Command::Helo(name) => self.greeting(name, false),
            Command::Mail(_) | Command::Xforward(_) if !self.greeted && self.lmtp => self.error(Answer::LHLO_FIRST),
            Command::Mail(_) | Command::Xforward(_) if !self.greeted => self.error(Answer::HELLO_FIRST),
            Command::Mail(_) | Command::Xforward(_) if self.mail != Mail::None => self.error(Answer::BAD_SEQUENCE),
            Command::StartTls if !self.offers_tls => self.error(Answer::NOT_IMPLEMENTED),
            Command::StartTls if !self.greeted => self.error(Answer::HELLO_FIRST),
            Command::StartTls if self.mail != Mail::None => self.error(Answer::BAD_SEQUENCE),
            Command::StartTls => self.idle(Event::StartTls),
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
