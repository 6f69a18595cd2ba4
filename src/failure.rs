//! Why a message could not be passed on: one value for the log, one bland reply for the peer.

use std::fmt;
use std::io;
use std::time::Duration;

use wire::{Answer, Printable};

/// A message or session came to grief.
#[derive(Debug, thiserror::Error)]
#[error("{side} failed at {phase}: {cause}")]
pub struct Failure {
    /// Who failed.
    pub side: Side,
    /// During what.
    pub phase: Phase,
    /// How.
    #[source]
    pub cause: Cause,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever hands us mail.
    Client,
    /// Whoever takes it from us.
    NextHop,
    /// linkgate or the machine it runs on.
    Ours,
}

/// The step at which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Phase {
    /// Connecting, up to and with the greeting.
    Connect,
    /// STARTTLS and the handshake behind it.
    Tls,
    /// EHLO or HELO.
    Hello,
    /// XFORWARD, MAIL, RCPT, RSET.
    Envelope,
    /// Taking the message in.
    Receive,
    /// Finding and changing links.
    Rewrite,
    /// Storing the targets of long links.
    References,
    /// DATA and the message on their way to the next hop.
    #[strum(serialize = "data")]
    Transfer,
    /// Waiting for the reply to the final dot.
    FinalReply,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The operating system said so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended.
    #[error("connection closed")]
    Closed,
    /// Nothing happened for that long.
    #[error("nothing for {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// What the next hop says is not SMTP.
    #[error("{0}")]
    Broken(#[from] wire::Broken),
    /// The next hop does not want us; its reply.
    #[error("refused: {}", Printable(.0))]
    Refused(Vec<u8>),
    /// A bug of ours; the message of the panic.
    #[error("panic: {0}")]
    Panic(String),
    /// The rewriter, or the store.
    #[error("{0}")]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// A failure of the next hop.
    pub fn next_hop(phase: Phase, cause: impl Into<Cause>) -> Self {
        Self {
            side: Side::NextHop,
            phase,
            cause: cause.into(),
        }
    }

    /// A failure of ours.
    pub fn ours(phase: Phase, cause: impl Into<Cause>) -> Self {
        Self {
            side: Side::Ours,
            phase,
            cause: cause.into(),
        }
    }

    /// What a client is told in a transaction. Always a temporary failure: nothing is lost by trying again.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match (self.side, self.phase, &self.cause) {
            (Side::NextHop, _, Cause::Broken(_)) => Answer::NEXT_HOP_GARBLED,
            (Side::NextHop, Phase::Connect | Phase::Tls | Phase::Hello, _) => Answer::NEXT_HOP_UNREACHABLE,
            (Side::NextHop, ..) => Answer::NEXT_HOP_LOST,
            (Side::Client, ..) => Answer::TIMEOUT,
            (Side::Ours, ..) => Answer::INTERNAL,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the client",
            Self::NextHop => "the next hop",
            Self::Ours => "linkgate",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "the TLS handshake",
            Self::Hello => "EHLO",
            Self::Envelope => "MAIL/RCPT",
            Self::Receive => "receiving the message",
            Self::Rewrite => "rewriting",
            Self::References => "storing references",
            Self::Transfer => "DATA",
            Self::FinalReply => "the reply to the final dot",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_hears_nothing_of_the_cause() {
        let failure = Failure::ours(Phase::Receive, io::Error::other("/var/spool is full"));
        assert_eq!(
            failure.to_string(),
            "linkgate failed at receiving the message: /var/spool is full"
        );
        assert_eq!(failure.answer(), Answer::INTERNAL);
        assert_eq!(
            Failure::next_hop(Phase::FinalReply, Cause::Closed).answer(),
            Answer::NEXT_HOP_LOST
        );
    }
}
