//! Why a message could not be passed on: one value for the log, and the reply for the client that is made of it.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wire::{Answer, Printable};

/// A message or session failed: on which side, at which step, and how.
#[derive(Debug, thiserror::Error)]
#[error("{side} failed at {phase}: {cause}")]
pub struct Failure {
    /// The side that failed.
    pub side: Side,
    /// The step at which it failed.
    pub phase: Phase,
    /// The error underneath.
    #[source]
    pub cause: Cause,
}

/// The side whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client that hands us mail.
    Client,
    /// The next hop that takes mail from us.
    NextHop,
    /// linkgate or the machine it runs on.
    Ours,
}

/// The step at which a failure happened.
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

/// The error underneath a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// An error of the operating system.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended.
    #[error("connection closed")]
    Closed,
    /// The other side was silent for that long.
    #[error("nothing for {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The next hop broke the protocol.
    #[error("{0}")]
    Broken(#[from] wire::Broken),
    /// The next hop refused; its reply.
    #[error("refused: {}", Printable(.0))]
    Refused(Vec<u8>),
    /// A panic, which is a bug of ours; its message.
    #[error("panic: {0}")]
    Panic(String),
    /// An error of the rewriter, the store or the settings.
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

    /// Runs `work`; a panic in it is a failure of ours at `phase`.
    ///
    /// # Errors
    /// The failure that `work` returns, or the panic.
    pub fn catch<T>(phase: Phase, work: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Self::ours(
                phase,
                Cause::Panic(text.unwrap_or_else(|| "no message".to_owned())),
            ))
        })
    }

    /// The reply for a client in a transaction: always a temporary failure, so that nothing is lost by trying again.
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
