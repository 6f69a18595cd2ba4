//! The client side: which reply belongs to which command, and whether it may answer it.

use std::collections::VecDeque;

use crate::{Malformed, Reply};

/// A step that the next hop answers with one reply.
///
/// The final dot counts once for each of its replies: one in SMTP, one for each accepted recipient in LMTP (RFC 2033 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The connection, answered by the greeting.
    Connect,
    /// EHLO
    Ehlo,
    /// HELO
    Helo,
    /// STARTTLS
    StartTls,
    /// LHLO
    Lhlo,
    /// XFORWARD
    Xforward,
    /// MAIL
    Mail,
    /// RCPT
    Rcpt,
    /// DATA
    Data,
    /// The final dot
    Dot,
    /// RSET
    Rset,
    /// QUIT
    Quit,
}

/// The reason a dialogue with the next hop cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Octets that are no reply.
    #[error("the next hop sent {0}")]
    Malformed(#[from] Malformed),
    /// A reply to no command; 421 when the next hop closes an idle connection.
    #[error("the next hop sent {0} unasked")]
    Unasked(u16),
    /// A reply that may not answer the command.
    #[error("the next hop answered {sent:?} with {code}")]
    Unexpected {
        /// The step.
        sent: Sent,
        /// The code of the reply.
        code: u16,
    },
    /// Plain text behind the reply to STARTTLS, injected to be taken for a reply of the encrypted side.
    #[error("the next hop sent {0} octets in plain text behind its reply to STARTTLS")]
    Injected(usize),
}

/// Matches replies with commands, pipelined or not.
///
/// A reply is handed out only if its class may answer the command: a 2xx to DATA or a 3xx to the final dot would otherwise
/// be taken for success.
#[derive(Debug, Clone, Default)]
pub struct ReplyMatcher {
    awaited: VecDeque<Sent>,
}

impl ReplyMatcher {
    /// A new connection: the greeting is awaited.
    #[must_use]
    pub fn connecting() -> Self {
        Self {
            awaited: VecDeque::from([Sent::Connect]),
        }
    }

    /// Notes that a command was written.
    pub fn sent(&mut self, what: Sent) {
        self.awaited.push_back(what);
    }

    /// The command whose reply comes next.
    #[must_use]
    pub fn awaiting(&self) -> Option<Sent> {
        self.awaited.front().copied()
    }

    /// Reads the reply at the front of `input`: its length in octets, the step it answers, and the reply. `None` while it is
    /// not complete.
    ///
    /// # Errors
    /// [`Broken`]: close the connection; no message counts as accepted.
    pub fn reply<'a>(&mut self, input: &'a [u8]) -> Result<Option<(usize, Sent, Reply<'a>)>, Broken> {
        let Some((used, reply)) = Reply::read(input)? else {
            return Ok(None);
        };
        let sent = self.awaited.pop_front().ok_or(Broken::Unasked(reply.code))?;
        let possible = match (sent, reply.class()) {
            (_, 4 | 5) => true,
            (Sent::Data, class) => class == 3,
            (_, class) => class == 2,
        };
        if possible {
            Ok(Some((used, sent, reply)))
        } else {
            Err(Broken::Unexpected { sent, code: reply.code })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_matched_in_order() {
        let mut hop = ReplyMatcher::connecting();
        let input = b"220 hi\r\n250 ok\r\n550 no\r\n354 go\r\n";
        for sent in [Sent::Mail, Sent::Rcpt, Sent::Data] {
            hop.sent(sent);
        }
        let mut at = 0;
        for (wanted, code) in [
            (Sent::Connect, 220),
            (Sent::Mail, 250),
            (Sent::Rcpt, 550),
            (Sent::Data, 354),
        ] {
            assert_eq!(hop.awaiting(), Some(wanted));
            let (used, sent, reply) = hop.reply(&input[at..]).unwrap().unwrap();
            assert_eq!((sent, reply.code), (wanted, code));
            at += used;
        }
        assert_eq!(hop.reply(&input[at..]), Ok(None));
    }

    #[test]
    fn a_reply_that_cannot_answer_the_command_is_no_success() {
        for (sent, code) in [
            (Sent::Data, 250),
            (Sent::Dot, 354),
            (Sent::Mail, 354),
            (Sent::Rcpt, 334),
            (Sent::Ehlo, 354),
        ] {
            let mut hop = ReplyMatcher::default();
            hop.sent(sent);
            assert_eq!(
                hop.reply(format!("{code} x\r\n").as_bytes()),
                Err(Broken::Unexpected { sent, code })
            );
        }
    }

    #[test]
    fn a_dot_is_answered_for_each_recipient() {
        let mut hop = ReplyMatcher::default();
        for _ in 0..2 {
            hop.sent(Sent::Dot);
        }
        let input = b"250 a\r\n452 b\r\n250 c\r\n";
        let (mut at, mut codes) = (0, Vec::new());
        let end = loop {
            match hop.reply(&input[at..]) {
                Ok(Some((used, Sent::Dot, reply))) => {
                    codes.push(reply.code);
                    at += used;
                }
                other => break other.err(),
            }
        };
        assert_eq!((codes, end), (vec![250, 452], Some(Broken::Unasked(250))));
    }

    #[test]
    fn an_unasked_reply_is_not_taken_for_a_later_one() {
        assert_eq!(
            ReplyMatcher::default().reply(b"421 idle\r\n"),
            Err(Broken::Unasked(421))
        );
    }
}
