//! The values that labels of metrics may have: all of them are known beforehand, so that counting is one addition and a
//! stranger cannot make new series.

use std::fmt;
use std::marker::PhantomData;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::failure::Phase;

/// The labels of one series.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A label with a fixed set of values.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value, in the order of [`index`](Self::index).
    const ALL: &'static [Self];
    /// The value as it is exposed.
    fn as_str(self) -> &'static str;
    /// Its place in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident as $label:literal { $($(#[$of:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $value,)* }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How a session with a client ended.
    SessionEnd as "end" {
        /// QUIT.
        Quit = "quit",
        /// The client closed the connection without saying so.
        Closed = "closed",
        /// The client was silent for too long.
        Timeout = "timeout",
        /// The connection broke.
        Broken = "broken",
        /// Nothing but mistakes, or another protocol.
        Errors = "errors",
        /// A message went on far beyond the size that is taken.
        TooLarge = "too-large",
        /// The next hop could not be reached, or said 421.
        NextHop = "next-hop",
        /// linkgate was stopped.
        Shutdown = "shutdown",
        /// A bug of ours.
        Panic = "panic",
    }
}

label! {
    /// What became of a message whose end was seen.
    MessageResult as "result" {
        /// The next hop has it as it came.
        Unchanged = "unchanged",
        /// The next hop has it with other links.
        Rewritten = "rewritten",
        /// Refused for good: it cannot be made safe.
        ContentRefused = "content-refused",
        /// The next hop said 4xx.
        NextHopDeferred = "next-hop-4xx",
        /// The next hop said 5xx.
        NextHopRefused = "next-hop-5xx",
        /// The next hop was lost on the way.
        NextHopLost = "next-hop-lost",
        /// A fault of ours; the client tries again.
        Deferred = "deferred",
        /// Larger than is taken.
        TooLarge = "too-large",
        /// A lone CR or LF in the data.
        BareLineEnd = "bare-line-end",
        /// A line of the data is longer than is taken.
        TextLine = "text-line",
        /// It has been here too often.
        Loop = "loop",
    }
}

label! {
    /// What was decided about a link.
    LinkDecision as "decision" {
        /// It is a click link now.
        Wrapped = "wrapped",
        /// It stayed.
        Kept = "kept",
        /// It leads nowhere now.
        Disarmed = "disarmed",
    }
}

label! {
    /// Why a link looked bad when its mail came in.
    Suspect as "reason" {
        /// A list names it.
        Listed = "listed",
        /// Its signs have `delivery_score` points or more.
        Score = "score",
        /// It is a click link of ours that was made for someone else.
        OwnLinkSmuggled = "own-link-smuggled",
        /// It is wrapped by a vendor that has nothing to do with the mail, or holds a click link of ours.
        Misplaced = "misplaced",
    }
}

label! {
    /// A bound that a client ran into.
    Limit as "limit" {
        /// The last session that there may be was taken: the next client waits.
        Connections = "connections",
        /// One client has as many sessions as it may have: it is sent away.
        ConnectionsPerClient = "connections-per-client",
        /// So many messages are on their way that no more may begin.
        Transactions = "transactions",
        /// Octets of a message.
        MessageSize = "message-size",
        /// Recipients of a transaction.
        Recipients = "recipients",
        /// Mistakes in a session.
        Errors = "errors",
        /// XFORWARD without leave.
        Xforward = "xforward",
        /// XCLIENT without leave.
        Xclient = "xclient",
        /// A PROXY header without leave, or none where one has to be.
        Proxy = "proxy",
    }
}

label! {
    /// What became of a TLS handshake with a client.
    Handshake as "result" {
        /// It is a TLS session.
        Done = "done",
        /// It is none.
        Failed = "failed",
    }
}

label! {
    /// Where someone was silent for too long.
    Silence as "phase" {
        /// The client, where a command was due.
        Command = "command",
        /// The client, in the middle of a message.
        Data = "data",
        /// The client, that did not take our reply.
        Reply = "reply",
        /// The next hop, up to its greeting.
        Connect = "next-hop-connect",
        /// The next hop, in a TLS handshake.
        Tls = "next-hop-tls",
        /// The next hop, after EHLO.
        Hello = "next-hop-hello",
        /// The next hop, in the envelope.
        Envelope = "next-hop-envelope",
        /// The next hop, while it was given the message.
        Transfer = "next-hop-data",
        /// The next hop, after the final dot.
        FinalReply = "next-hop-final-reply",
    }
}

label! {
    /// Who did not keep to the protocol.
    Speaker as "side" {
        /// Whoever hands us mail.
        Client = "client",
        /// Whoever takes it.
        NextHop = "next-hop",
    }
}

label! {
    /// What an attempt to reach the next hop came to.
    Connect as "result" {
        /// Greeted, and EHLO or HELO accepted.
        Connected = "connected",
        /// Not.
        Failed = "failed",
    }
}

label! {
    /// The first digit of a reply.
    ReplyClass as "class" {
        /// Done.
        Done = "2xx",
        /// Go on.
        More = "3xx",
        /// Not now.
        Deferred = "4xx",
        /// Not ever.
        Refused = "5xx",
    }
}

label! {
    /// Where a panic was caught.
    PanicPlace as "place" {
        /// In a session; its client was cut off.
        Session = "session",
        /// While one message was worked on.
        Message = "message",
        /// While an HTTP request was answered.
        Page = "page",
        /// In a listener; the process ends.
        Listener = "listener",
    }
}

label! {
    /// What a request to a target came to.
    Asked as "result" {
        /// It leads on.
        Redirect = "redirect",
        /// A page or file.
        Content = "content",
        /// The target says that there is nothing for us.
        Refused = "refused",
        /// Nothing that could be read.
        Failed = "failed",
    }
}

label! {
    /// What became of a reload.
    Reload as "result" {
        /// New settings are in force.
        Applied = "applied",
        /// The settings of before stay.
        Refused = "refused",
    }
}

label! {
    /// How a request for a click link was answered.
    ClickResult as "outcome" {
        /// A redirect to the target.
        Redirected = "redirected",
        /// A page with a button.
        Confirmed = "confirmed",
        /// The way on, by that button.
        Continued = "continued",
        /// A warning.
        Warned = "warned",
        /// The way on from a warning.
        ClickedThrough = "clicked-through",
        /// A page that says why the target is not opened.
        Blocked = "blocked",
        /// A page that says that the target is not known.
        UnknownTarget = "unknown-target",
        /// A page that says that the check failed.
        CouldNotCheck = "could-not-check",
        /// The page for machines.
        Neutral = "neutral",
        /// A page that says that the check goes on.
        Checking = "checking",
        /// Too many requests.
        RefusedRate = "refused-rate",
        /// A review was asked for.
        Review = "review",
        /// Not a link of ours, or not as we made it.
        Refused = "refused",
        /// A genuine link whose stored target is not in the store.
        TargetMissing = "target-missing",
        /// A genuine link whose stored target could not be looked up.
        Unavailable = "unavailable",
    }
}

label! {
    /// How it went when other hosts had to be asked about a target.
    CheckStep as "result" {
        /// They were asked a while ago.
        Cached = "cached",
        /// They were being asked already.
        Joined = "joined",
        /// They were asked.
        Started = "started",
        /// There were too many checks.
        Refused = "refused",
        /// They were asked, and had not answered in time.
        OverTime = "over-time",
    }
}

label! {
    /// What became of a form that came back.
    FormResult as "result" {
        /// It counted.
        Taken = "taken",
        /// It was used already.
        Used = "used",
        /// It was too old.
        Expired = "expired",
        /// It was not ours.
        Refused = "refused",
    }
}

label! {
    /// How a source that is asked about links is doing.
    SourceHealth as "health" {
        /// It answers; of a list, the last attempt to refresh it went well.
        Up = "up",
        /// The last attempt did not go well. A list that was there before is in force still.
        Failing = "failing",
        /// It has failed so often that it is asked in the background only.
        Open = "open",
        /// Its terms do not allow the use that is stated, or none is.
        Off = "off",
    }
}

label! {
    /// What an attempt to refresh a list came to.
    Refresh as "result" {
        /// Another copy is in force.
        Updated = "updated",
        /// Nothing has changed.
        Unchanged = "unchanged",
        /// There was no copy to be had.
        Failed = "failed",
        /// There was one that is not to be trusted: it shrank, is broken, or names a protected domain.
        Refused = "refused",
    }
}

label! {
    /// What a source said of a URL.
    Answered as "answer" {
        /// It names it.
        Listed = "listed",
        /// It does not.
        NotListed = "not-listed",
        /// Nothing: it could not be asked.
        CouldNotAsk = "could-not-ask",
    }
}

impl Label for Phase {
    const NAME: &'static str = "phase";
    const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Tls,
        Self::Hello,
        Self::Envelope,
        Self::Receive,
        Self::Rewrite,
        Self::References,
        Self::Transfer,
        Self::FinalReply,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Hello => "hello",
            Self::Envelope => "envelope",
            Self::Receive => "receive",
            Self::Rewrite => "rewrite",
            Self::References => "references",
            Self::Transfer => "data",
            Self::FinalReply => "final-reply",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// A counter for each value of a label; counting is one atomic addition.
pub struct Counters<L> {
    each: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Counters<L> {
    /// The counters of `family` with these labels and each value of `L`. All of them exist from then on: a series that
    /// appears with its first event hides that event from `rate()`.
    pub(super) fn of(family: &Family<Labels, Counter>, labels: &[(&'static str, &str)]) -> Self {
        let counter = |value: &L| {
            let mut all: Labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
            all.push((L::NAME, value.as_str().to_owned()));
            family.get_or_create_owned(&all)
        };
        Self {
            each: L::ALL.iter().map(counter).collect(),
            label: PhantomData,
        }
    }

    /// Counts one.
    pub fn inc(&self, value: L) {
        self.inc_by(value, 1);
    }

    /// Counts `n`.
    pub fn inc_by(&self, value: L, n: u64) {
        if let Some(counter) = self.each.get(value.index()) {
            counter.inc_by(n);
        }
    }

    /// The counter of one value.
    pub(super) fn counter(&self, value: L) -> Counter {
        self.each.get(value.index()).cloned().unwrap_or_default()
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, value: L) -> u64 {
        self.each.get(value.index()).map_or(0, Counter::get)
    }
}

impl<L: Label> Default for Counters<L> {
    /// Counters that nobody reads.
    fn default() -> Self {
        Self {
            each: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L> fmt::Debug for Counters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each.iter().map(Counter::get)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Label>() {
        for (i, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), i, "{}", value.as_str());
        }
    }

    #[test]
    fn every_value_has_a_counter_of_its_own() {
        in_order::<SessionEnd>();
        in_order::<MessageResult>();
        in_order::<Phase>();
        in_order::<ClickResult>();
        in_order::<CheckStep>();
        in_order::<FormResult>();
        in_order::<SourceHealth>();
        in_order::<Asked>();
        let counters = Counters::<Phase>::default();
        counters.inc(Phase::FinalReply);
        assert_eq!((counters.get(Phase::FinalReply), counters.get(Phase::Transfer)), (1, 0));
    }
}
