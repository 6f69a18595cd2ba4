//! Packets of the MTA as events, in the order of the protocol.

use super::Terms;
use super::command::{
    ABORT, BODY, CONNECT, DATA, END_OF_BODY, END_OF_HEADER, HEADER, HELO, MACRO, MAIL, NEGOTIATE, QUIT,
    QUIT_NEW_CONNECTION, RCPT, UNKNOWN,
};
use super::frame::{FrameReader, Piece};

/// A packet of the MTA, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The offer of the MTA. Answer with [`Session::terms`].
    Negotiate,
    /// An SMTP client has connected to the MTA.
    Connect {
        /// The client's host name; its address in brackets where it has none.
        name: &'a [u8],
        /// `4` IPv4, `6` IPv6, `L` a local socket, `U` unknown.
        family: u8,
        /// The client's port; 0 where there is none.
        port: u16,
        /// The client's address; empty where it is unknown.
        address: &'a [u8],
    },
    /// HELO or EHLO: the client's name for itself.
    Hello(&'a [u8]),
    /// MAIL: the path and the parameters, each ended by a NUL; [`path_line`] makes a line of them.
    Mail(&'a [u8]),
    /// RCPT, likewise.
    Rcpt(&'a [u8]),
    /// DATA: the envelope is complete.
    Data,
    /// A header field. The value comes as the MTA keeps it: folds are LF or CRLF.
    Header {
        /// The name, before the colon.
        name: &'a [u8],
        /// The value, behind the colon.
        value: &'a [u8],
    },
    /// The header is complete.
    EndOfHeader,
    /// A piece of the body; no reply is due.
    Content(&'a [u8]),
    /// A packet of body content has ended.
    EndOfContent,
    /// The message is complete. The transaction is over.
    EndOfMessage,
    /// Macros of the MTA.
    Macros(Macros<'a>),
    /// The message, if any, is given up; the client stays.
    Abort,
    /// The SMTP client has gone; another one follows on this connection.
    NewClient,
    /// The connection is over.
    Quit,
    /// An SMTP command unknown to the MTA.
    Unknown,
    /// The packet cannot be handled: close the connection.
    Close(Fault),
}

/// The reason a connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A packet of this length.
    #[error("a packet of {0} octets")]
    Length(u32),
    /// A packet that cannot be read.
    #[error("a malformed {} packet", char::from(*.0).escape_default())]
    Malformed(u8),
    /// A packet at the wrong time.
    #[error("a {} packet out of order", char::from(*.0).escape_default())]
    OutOfOrder(u8),
    /// A packet of no known kind.
    #[error("a packet of the unknown kind {}", char::from(*.0).escape_default())]
    UnknownCommand(u8),
    /// The MTA speaks version 1, or does not allow changes of body or header.
    #[error("the MTA offers too little: version 2 with changes of headers and body is needed")]
    TooLittle,
}

/// Stage of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before the negotiation.
    New,
    /// No message is under way.
    Idle,
    /// After MAIL.
    Envelope,
    /// Within the header.
    Header,
    /// After the header.
    Body,
}

/// One connection of an MTA.
///
/// [`next`](Self::next) turns octets into events. After each event, [`reply_due`](Self::reply_due) tells whether the MTA
/// waits for a [`Reply`](super::Reply).
#[derive(Debug)]
pub struct Session {
    frames: FrameReader,
    terms: Terms,
    stage: Stage,
    reply_due: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            frames: FrameReader::default(),
            terms: Terms::default(),
            stage: Stage::New,
            reply_due: false,
        }
    }
}

impl Session {
    /// Reads the front of `input`: octets consumed, and the event. Without an event, more octets are needed behind the rest.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        self.reply_due = false;
        let (used, piece) = self.frames.next(input);
        let event = match piece {
            Piece::NeedMore => return (used, None),
            Piece::BadLength(length) => Event::Close(Fault::Length(length)),
            Piece::Content(content) => self.content(content),
            Piece::ContentEnd(command) => self.content_end(command),
            Piece::Whole(command, data) => self.packet(command, data),
        };
        (used, Some(event))
    }

    /// The negotiated terms.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The stage of the session.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the MTA waits for a reply to the last event.
    #[must_use]
    pub fn reply_due(&self) -> bool {
        self.reply_due
    }

    /// Ends a message that was refused or accepted before its end: the MTA sends no more of it.
    pub fn message_over(&mut self) {
        if self.stage > Stage::Idle {
            self.stage = Stage::Idle;
        }
    }

    fn content<'a>(&mut self, content: &'a [u8]) -> Event<'a> {
        if self.stage < Stage::Envelope {
            return Event::Close(Fault::OutOfOrder(BODY));
        }
        self.stage = Stage::Body;
        Event::Content(content)
    }

    fn content_end<'a>(&mut self, command: u8) -> Event<'a> {
        if self.stage < Stage::Envelope {
            return Event::Close(Fault::OutOfOrder(command));
        }
        self.reply_due = true;
        if command == END_OF_BODY {
            self.stage = Stage::Idle;
            return Event::EndOfMessage;
        }
        self.stage = Stage::Body;
        Event::EndOfContent
    }

    fn packet<'a>(&mut self, command: u8, data: &'a [u8]) -> Event<'a> {
        let in_order = match command {
            NEGOTIATE => self.stage == Stage::New,
            ABORT | MACRO | QUIT | QUIT_NEW_CONNECTION => self.stage != Stage::New,
            // An MTA that had MAIL refused elsewhere may begin again without a word.
            CONNECT | HELO | MAIL | UNKNOWN => matches!(self.stage, Stage::Idle | Stage::Envelope),
            RCPT | DATA => self.stage == Stage::Envelope,
            HEADER | END_OF_HEADER => matches!(self.stage, Stage::Envelope | Stage::Header),
            BODY | END_OF_BODY => false,
            _ => return Event::Close(Fault::UnknownCommand(command)),
        };
        if !in_order {
            return Event::Close(Fault::OutOfOrder(command));
        }
        match self.event(command, data) {
            Ok(event) => event,
            Err(fault) => Event::Close(fault),
        }
    }

    fn event<'a>(&mut self, command: u8, data: &'a [u8]) -> Result<Event<'a>, Fault> {
        let malformed = Fault::Malformed(command);
        let event = match command {
            NEGOTIATE => {
                self.terms = Terms::agree(data).ok_or(Fault::TooLittle)?;
                self.stage = Stage::Idle;
                return Ok(Event::Negotiate);
            }
            MACRO => {
                let (&stage, pairs) = data.split_first().ok_or(malformed)?;
                return Ok(Event::Macros(Macros { stage, pairs }));
            }
            ABORT => {
                self.message_over();
                return Ok(Event::Abort);
            }
            QUIT_NEW_CONNECTION => {
                self.message_over();
                return Ok(Event::NewClient);
            }
            QUIT => return Ok(Event::Quit),
            CONNECT => connect(data).ok_or(malformed)?,
            HELO => Event::Hello(text(data).ok_or(malformed)?.0),
            MAIL => {
                text(data).ok_or(malformed)?;
                self.stage = Stage::Envelope;
                Event::Mail(data)
            }
            RCPT => {
                text(data).ok_or(malformed)?;
                Event::Rcpt(data)
            }
            DATA => Event::Data,
            HEADER => {
                let (name, rest) = text(data).ok_or(malformed)?;
                let (value, _) = text(rest).ok_or(malformed)?;
                self.stage = Stage::Header;
                Event::Header { name, value }
            }
            END_OF_HEADER => {
                self.stage = Stage::Body;
                Event::EndOfHeader
            }
            _ => Event::Unknown,
        };
        self.reply_due = self.terms.reply_due(command);
        Ok(event)
    }
}

/// Macros of one packet: facts of the MTA by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macros<'a> {
    stage: u8,
    pairs: &'a [u8],
}

impl<'a> Macros<'a> {
    /// The names, without braces, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.pairs;
        std::iter::from_fn(move || {
            let (name, behind) = text(rest)?;
            let (value, behind) = text(behind)?;
            rest = behind;
            let bare = name.strip_prefix(b"{").and_then(|n| n.strip_suffix(b"}"));
            Some((bare.unwrap_or(name), value))
        })
    }

    /// Whether they belong to MAIL.
    #[must_use]
    pub fn of_mail(&self) -> bool {
        self.stage == MAIL
    }
}

/// Path and parameters of MAIL or RCPT as in an SMTP line behind the colon, for [`crate::PathLine::behind_colon`].
#[must_use]
pub fn path_line(arguments: &[u8]) -> Vec<u8> {
    let mut line = arguments.strip_suffix(&[0]).unwrap_or(arguments).to_vec();
    for octet in &mut line {
        if *octet == 0 {
            *octet = b' ';
        }
    }
    line
}

/// A text that a NUL ends, and the octets behind it.
fn text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(0, data)?;
    Some((data.get(..at)?, data.get(at + 1..)?))
}

fn connect(data: &[u8]) -> Option<Event<'_>> {
    let (name, rest) = text(data)?;
    let (&family, rest) = rest.split_first()?;
    // Behind "unknown" nothing follows; some MTAs leave the rest out for others as well.
    let (port, address) = match rest.split_first_chunk::<2>() {
        Some((port, rest)) => (
            u16::from_be_bytes(*port),
            text(rest).map_or(rest, |(address, _)| address),
        ),
        None => (0, &b""[..]),
    };
    Some(Event::Connect {
        name,
        family,
        port,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reply::packet;
    use super::*;
    use proptest::prelude::*;

    fn packets(list: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (command, data) in list {
            packet(*command, &[data], &mut out);
        }
        out
    }

    const OFFER: (u8, &[u8]) = (b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");

    /// The dialog over `chunks`, with content joined; `!` marks a reply that is due.
    fn transcript(chunks: &[&[u8]]) -> Vec<String> {
        let (mut session, mut buffer, mut log) = (Session::default(), Vec::new(), Vec::<String>::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            loop {
                let (used, event) = session.next(&buffer);
                let line = match event {
                    None => String::new(),
                    Some(Event::Content(c)) => format!("content {}", c.escape_ascii()),
                    Some(Event::Header { name, value }) => {
                        format!("header {}:{}", name.escape_ascii(), value.escape_ascii())
                    }
                    Some(Event::Mail(a)) => format!("mail {}", path_line(a).escape_ascii()),
                    Some(Event::Rcpt(a)) => format!("rcpt {}", path_line(a).escape_ascii()),
                    Some(Event::Hello(name)) => format!("hello {}", name.escape_ascii()),
                    Some(Event::Connect {
                        name,
                        family,
                        port,
                        address,
                    }) => format!(
                        "connect {} {} {port} {}",
                        name.escape_ascii(),
                        char::from(family),
                        address.escape_ascii()
                    ),
                    Some(Event::Macros(macros)) => macros
                        .iter()
                        .map(|(n, v)| format!("{}={} ", n.escape_ascii(), v.escape_ascii()))
                        .collect(),
                    Some(other) => format!("{other:?}"),
                };
                let (ended, closed) = (event.is_none(), matches!(event, Some(Event::Close(_))));
                buffer.drain(..used);
                if ended {
                    break;
                }
                match log.last_mut() {
                    Some(last) if last.starts_with("content ") && line.starts_with("content ") => {
                        last.push_str(&line["content ".len()..]);
                    }
                    _ => log.push(format!("{}{line}", if session.reply_due() { "!" } else { "" })),
                }
                if closed {
                    return log;
                }
            }
        }
        log
    }

    fn a_message() -> Vec<u8> {
        packets(&[
            OFFER,
            (b'D', b"Cj\0mx.example\0{client_name}\0c.example\0"),
            (b'C', b"c.example\x004\x12\x34192.0.2.1\0"),
            (b'H', b"c.example\0"),
            (b'M', b"<a@a.example>\0SIZE=10\0BODY=8BITMIME\0"),
            (b'R', b"<b@b.example>\0"),
            (b'T', b""),
            (b'L', b"Subject\0 hi\n there\0"),
            (b'N', b""),
            (b'B', b"one\r\n"),
            (b'B', b"two\r\n"),
            (b'E', b"three\r\n"),
            (b'A', b""),
            (b'K', b""),
            (b'C', b"unknown\0U"),
            (b'Q', b""),
        ])
    }

    #[test]
    fn a_session_with_version_6() {
        assert_eq!(
            transcript(&[&a_message()]),
            [
                "Negotiate",
                "j=mx.example client_name=c.example ",
                "connect c.example 4 4660 192.0.2.1",
                "hello c.example",
                "!mail <a@a.example> SIZE=10 BODY=8BITMIME",
                "!rcpt <b@b.example>",
                "!Data",
                r"header Subject: hi\n there",
                "EndOfHeader",
                r"content one\r\n",
                "!EndOfContent",
                r"content two\r\n",
                "!EndOfContent",
                r"content three\r\n",
                "!EndOfMessage",
                "Abort",
                "NewClient",
                "connect unknown U 0 ",
                "Quit",
            ]
        );
    }

    #[test]
    fn with_version_2_every_step_is_answered() {
        let said = transcript(&[&packets(&[
            (b'O', b"\0\0\0\x02\0\0\0\x3f\0\0\0\x7f"),
            (b'C', b"c.example\x004\x00\x00127.0.0.1\x00"),
            (b'H', b"c.example\0"),
            (b'M', b"<>\0"),
            (b'R', b"<b@b.example>\0"),
            (b'L', b"Subject\0hi\0"),
            (b'N', b""),
            (b'E', b""),
        ])]);
        assert_eq!(said.iter().filter(|line| line.starts_with('!')).count(), 7, "{said:?}");
    }

    #[test]
    fn what_cannot_be_closes_the_connection() {
        for (list, wanted) in [
            (&[(b'M', &b"<a>\0"[..])][..], "Close(OutOfOrder(77))"),
            (&[(b'O', b"\0\0\0\x01\0\0\0\x3f\0\0\0\x7f")], "Close(TooLittle)"),
            (&[OFFER, OFFER], "Close(OutOfOrder(79))"),
            (&[OFFER, (b'R', b"<a>\0")], "Close(OutOfOrder(82))"),
            (&[OFFER, (b'B', b"x")], "Close(OutOfOrder(66))"),
            (&[OFFER, (b'E', b"")], "Close(OutOfOrder(69))"),
            (&[OFFER, (b'M', b"<a>")], "Close(Malformed(77))"),
            (&[OFFER, (b'C', b"c\0")], "Close(Malformed(67))"),
            (&[OFFER, (b'z', b"")], "Close(UnknownCommand(122))"),
            (
                &[OFFER, (b'M', b"<a>\0"), (b'B', b"x"), (b'L', b"a\0b\0")],
                "Close(OutOfOrder(76))",
            ),
            (
                &[OFFER, (b'M', b"<a>\0"), (b'N', b""), (b'R', b"<a>\0")],
                "Close(OutOfOrder(82))",
            ),
        ] {
            assert_eq!(transcript(&[&packets(list)]).last().unwrap(), wanted, "{list:?}");
        }
    }

    #[test]
    fn a_stranger_who_speaks_another_protocol_is_not_waited_for() {
        assert_eq!(transcript(&[b"GET / HTTP/1.1\r\n"]), ["Close(Length(1195725856))"]);
        assert_eq!(transcript(&[b"\0\0\0\0"]), ["Close(Length(0))"]);
        let mut long = packets(&[OFFER]);
        long.extend_from_slice(&(u32::try_from(super::super::MAX_FRAME).unwrap() + 1).to_be_bytes());
        assert_eq!(transcript(&[&long]).last().unwrap(), "Close(Length(1048577))");
    }

    fn any_packet() -> impl Strategy<Value = Vec<u8>> {
        let command = proptest::sample::select(b"ABCDEHKLMNOQRTUzBEMRL".to_vec());
        let data = prop_oneof![
            Just(b"<a@b>\0".to_vec()),
            Just(b"a\0b\0".to_vec()),
            Just(b"c\x004\0\x01d\0".to_vec()),
            Just(OFFER.1.to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        (command, data).prop_map(|(command, data)| packets(&[(command, &data)]))
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            list in proptest::collection::vec(any_packet(), 0..12),
            sound in any::<bool>(),
            cuts in proptest::collection::vec(0usize..300, 0..8),
        ) {
            let mut bytes = if sound { a_message() } else { packets(&[OFFER]) };
            bytes.extend(list.concat());
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(transcript(&chunks), transcript(&[&bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(transcript(&single), transcript(&[&bytes]));
        }

        #[test]
        fn any_octets_are_survived_and_never_waited_for_beyond_the_limit(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            greeted in any::<bool>(),
        ) {
            let mut all = if greeted { packets(&[OFFER, (b'M', b"<a>\0")]) } else { Vec::new() };
            all.extend(bytes);
            let mut session = Session::default();
            let mut at = 0;
            loop {
                let (used, event) = session.next(&all[at..]);
                prop_assert!(at + used <= all.len());
                at += used;
                match event {
                    None => {
                        let left = &all[at..];
                        // What is left is the beginning of one packet that may come whole.
                        if let Some(length) = left.first_chunk::<4>() {
                            prop_assert!(u32::from_be_bytes(*length) as usize <= super::super::MAX_FRAME);
                        }
                        break;
                    }
                    Some(Event::Close(_) | Event::Quit) => break,
                    Some(_) => {}
                }
            }
        }
    }
}
