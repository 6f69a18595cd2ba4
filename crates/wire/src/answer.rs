//! Replies of linkgate itself.

/// A single-line reply of linkgate, with its enhanced status code (RFC 3463).
///
/// Each is a constant here; none can be made elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    line: &'static str,
}

impl Answer {
    /// NOOP, RSET.
    pub const OK: Self = Self::new("250 2.0.0 Ok");
    /// QUIT.
    pub const BYE: Self = Self::new("221 2.0.0 Bye");
    /// VRFY: only the next hop knows the addresses (RFC 5321 3.5.3).
    pub const CANNOT_VERIFY: Self = Self::new("252 2.5.2 Cannot verify, will take mail and attempt delivery");
    /// HELP.
    pub const HELP: Self = Self::new("214 2.0.0 See RFC 5321");
    /// STARTTLS: the next octets are those of the handshake (RFC 3207 4).
    pub const READY_FOR_TLS: Self = Self::new("220 2.0.0 Ready to start TLS");
    /// A message with PRDR is complete: a reply for each recipient follows, then one for all (draft-hall-prdr, 4).
    pub const EACH_RECIPIENT: Self = Self::new("353 Replies for each recipient follow");
    /// PRDR, for all recipients: some get the message.
    pub const TAKEN_FOR_SOME: Self = Self::new("250 2.0.0 See the replies for each recipient");
    /// PRDR, for all recipients: none gets the message now, some may later.
    pub const TAKEN_FOR_NOBODY_YET: Self = Self::new("450 4.0.0 See the replies for each recipient");
    /// PRDR, for all recipients: none gets the message.
    pub const TAKEN_FOR_NOBODY: Self = Self::new("550 5.0.0 See the replies for each recipient");
    /// BDAT, when more chunks follow.
    pub const CHUNK_TAKEN: Self = Self::new("250 2.0.0 Chunk received");
    /// DATA, when a recipient was accepted.
    pub const SEND_DATA: Self = Self::new("354 End data with <CR><LF>.<CR><LF>");

    /// The next hop cannot be reached or refuses us; the session ends.
    pub const NO_NEXT_HOP: Self = Self::new("421 4.3.2 Service not available, try again later");
    /// linkgate is shutting down; the session ends.
    pub const SHUTTING_DOWN: Self = Self::new("421 4.3.2 Service shutting down");
    /// The client took too long; the session ends.
    pub const TIMEOUT: Self = Self::new("421 4.4.2 Timeout exceeded");
    /// The client has too many sessions; this one ends.
    pub const TOO_MANY_CONNECTIONS: Self = Self::new("421 4.7.0 Too many connections from your address");
    /// The client has made too many errors; the session ends.
    pub const TOO_MANY_ERRORS: Self = Self::new("421 4.7.0 Too many errors");
    /// The client speaks another protocol or sends a payload that must not be read as commands; the session ends.
    pub const NOT_SMTP: Self = Self::new("421 4.7.0 Protocol error");

    /// An internal error.
    pub const INTERNAL: Self = Self::new("451 4.3.0 Temporary failure, try again later");
    /// The limit of messages at once is reached.
    pub const BUSY: Self = Self::new("451 4.3.2 Too many messages at once, try again later");
    /// No connection to the next hop for this transaction.
    pub const NEXT_HOP_UNREACHABLE: Self = Self::new("451 4.4.1 Temporary failure, try again later");
    /// The connection to the next hop was lost or timed out.
    pub const NEXT_HOP_LOST: Self = Self::new("451 4.4.2 Temporary failure, try again later");
    /// The next hop sent no SMTP reply.
    pub const NEXT_HOP_GARBLED: Self = Self::new("451 4.5.0 Temporary failure, try again later");
    /// The transaction has too many recipients (RFC 5321 4.5.3.1.10).
    pub const TOO_MANY_RECIPIENTS: Self = Self::new("452 4.5.3 Send this recipient in a separate transaction");

    /// An unknown command.
    pub const UNKNOWN_COMMAND: Self = Self::new("500 5.5.2 Command not recognised");
    /// A command line that is too long.
    pub const LINE_TOO_LONG: Self = Self::new("500 5.5.6 Command line too long");
    /// A command line with a CR, LF or NUL in it.
    pub const BAD_LINE_END: Self = Self::new("500 5.5.2 Command lines must end in CRLF");
    /// MAIL or RCPT without FROM: or TO:, or EHLO without a name.
    pub const BAD_SYNTAX: Self = Self::new("501 5.5.4 Syntax error in parameters");
    /// A command of SMTP that is not offered.
    pub const NOT_IMPLEMENTED: Self = Self::new("502 5.5.1 Command not implemented");
    /// A command at the wrong time.
    pub const BAD_SEQUENCE: Self = Self::new("503 5.5.1 Bad sequence of commands");
    /// MAIL or XFORWARD without EHLO or HELO.
    pub const HELLO_FIRST: Self = Self::new("503 5.5.1 Send EHLO or HELO first");
    /// The same where LMTP is spoken.
    pub const LHLO_FIRST: Self = Self::new("503 5.5.1 Send LHLO first");
    /// RCPT or DATA without MAIL.
    pub const NEED_MAIL: Self = Self::new("503 5.5.1 Need MAIL command");
    /// DATA without any RCPT.
    pub const NEED_RCPT: Self = Self::new("503 5.5.1 Need RCPT command");
    /// DATA when every RCPT was refused.
    pub const NO_VALID_RECIPIENTS: Self = Self::new("554 5.5.1 No valid recipients");
    /// The same where LMTP is spoken (RFC 2033 4.2).
    pub const NO_VALID_RECIPIENTS_LMTP: Self = Self::new("503 5.5.1 No valid recipients");
    /// XFORWARD from a peer that is not configured for it.
    pub const XFORWARD_DENIED: Self = Self::new("550 5.7.0 Insufficient authorization");
    /// XCLIENT from a peer that is not configured for it.
    pub const XCLIENT_DENIED: Self = Self::new("550 5.7.0 Insufficient authorization");
    /// Message data with a CR or LF that stands alone.
    pub const BARE_LINE_END: Self = Self::new("550 5.5.2 Bare <CR> or <LF> in message data");
    /// A message that is too large.
    pub const TOO_LARGE: Self = Self::new("552 5.3.4 Message too large");
    /// Message data with a line that is too long.
    pub const TEXT_LINE_TOO_LONG: Self = Self::new("554 5.6.0 Line too long in message data");
    /// A message that has come through here too often.
    pub const ROUTING_LOOP: Self = Self::new("554 5.4.6 Routing loop detected");
    /// A message refused for its content.
    pub const CONTENT_REFUSED: Self = Self::new("550 5.7.1 Message refused");

    const fn new(line: &'static str) -> Self {
        Self { line }
    }

    /// The three-digit code.
    #[must_use]
    pub fn code(self) -> u16 {
        self.line.bytes().take(3).fold(0, |n, d| n * 10 + u16::from(d - b'0'))
    }

    /// The line without its end.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.line
    }

    /// Appends the reply line.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the reply line with ` (id=...)`, which finds the cause in the log. Of `id` only letters, digits and hyphens
    /// are used.
    pub fn write_with_id(self, id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.as_bytes());
        out.extend_from_slice(b" (id=");
        out.extend(id.bytes().filter(|b| b.is_ascii_alphanumeric() || *b == b'-').take(64));
        out.extend_from_slice(b")\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_and_its_id_cannot_break_it() {
        let mut out = Vec::new();
        Answer::INTERNAL.write_with_id("ab1\r\n250 ok", &mut out);
        assert_eq!(out, b"451 4.3.0 Temporary failure, try again later (id=ab1250ok)\r\n");
        assert_eq!(Answer::INTERNAL.code(), 451);
    }
}
