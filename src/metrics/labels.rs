//! The values that labels of metrics may have: all of them are known beforehand, so that counting is one addition and a
//! stranger cannot make new series.

use std::fmt;
use std::marker::PhantomData;

use link::{LinkDecision, Obstacle, Verdict, Word};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use strum::{IntoStaticStr, VariantArray};

use crate::failure::Phase;

/// The labels of one series.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A label of a metric: an enum with a stable word for each value.
pub trait MetricLabel: Word + VariantArray + 'static {
    /// The label's name.
    const NAME: &'static str;

    /// The place of a value among all.
    fn index(self) -> usize;
}

/// How a session with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum SessionEnd {
    /// QUIT.
    Quit,
    /// The client closed the connection without saying so.
    Closed,
    /// The client was silent for too long.
    Timeout,
    /// The connection broke.
    Broken,
    /// Nothing but mistakes, or another protocol.
    Errors,
    /// A message went on far beyond the size that is taken.
    TooLarge,
    /// The next hop could not be reached, or said 421.
    NextHop,
    /// linkgate was stopped.
    Shutdown,
    /// A bug of ours.
    Panic,
}

/// The end that a message came to, once all of it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum MessageResult {
    /// The next hop has it as it came.
    Unchanged,
    /// The next hop has it with other links.
    Rewritten,
    /// Refused for good: it cannot be made safe.
    ContentRefused,
    /// The next hop said 4xx.
    #[strum(serialize = "next-hop-4xx")]
    NextHopDeferred,
    /// The next hop said 5xx.
    #[strum(serialize = "next-hop-5xx")]
    NextHopRefused,
    /// The next hop was lost on the way.
    NextHopLost,
    /// A fault of ours; the client tries again.
    Deferred,
    /// Larger than is taken.
    TooLarge,
    /// A lone CR or LF in the data.
    BareLineEnd,
    /// A line of the data is longer than is taken.
    TextLine,
    /// It has been here too often.
    Loop,
}

/// Why a link looked bad when its mail came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Suspect {
    /// A list names it.
    Listed,
    /// Its signs have `delivery_score` points or more.
    Score,
    /// It is a click link of ours that was made for someone else.
    OwnLinkSmuggled,
    /// It is wrapped by a vendor that has nothing to do with the mail, or holds a click link of ours.
    Misplaced,
}

/// A bound that a client ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Limit {
    /// The last session that there may be was taken: the next client waits.
    Connections,
    /// One client has as many sessions as it may have: it is sent away.
    ConnectionsPerClient,
    /// So many messages are on their way that no more may begin.
    Transactions,
    /// Octets of a message.
    MessageSize,
    /// Recipients of a transaction.
    Recipients,
    /// Mistakes in a session.
    Errors,
    /// XFORWARD without leave.
    Xforward,
    /// XCLIENT without leave.
    Xclient,
    /// A PROXY header without leave, or none where one has to be.
    Proxy,
}

/// The result of a TLS handshake with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Handshake {
    /// It is a TLS session.
    Done,
    /// It is none.
    Failed,
}

/// Where someone was silent for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Silence {
    /// The client, where a command was due.
    Command,
    /// The client, in the middle of a message.
    Data,
    /// The client, that did not take our reply.
    Reply,
    /// The next hop, up to its greeting.
    #[strum(serialize = "next-hop-connect")]
    Connect,
    /// The next hop, in a TLS handshake.
    #[strum(serialize = "next-hop-tls")]
    Tls,
    /// The next hop, after EHLO.
    #[strum(serialize = "next-hop-hello")]
    Hello,
    /// The next hop, in the envelope.
    #[strum(serialize = "next-hop-envelope")]
    Envelope,
    /// The next hop, while it was given the message.
    #[strum(serialize = "next-hop-data")]
    Transfer,
    /// The next hop, after the final dot.
    #[strum(serialize = "next-hop-final-reply")]
    FinalReply,
}

/// The side that did not keep to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Speaker {
    /// The host that hands us mail.
    Client,
    /// The host that takes it.
    NextHop,
}

/// The result of an attempt to reach the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Connect {
    /// Greeted, and EHLO or HELO accepted.
    Connected,
    /// Not.
    Failed,
}

/// The first digit of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ReplyClass {
    /// Done.
    #[strum(serialize = "2xx")]
    Done,
    /// Go on.
    #[strum(serialize = "3xx")]
    More,
    /// Not now.
    #[strum(serialize = "4xx")]
    Deferred,
    /// Not ever.
    #[strum(serialize = "5xx")]
    Refused,
}

/// Where a panic was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum PanicPlace {
    /// In a session; its client was cut off.
    Session,
    /// While one message was worked on.
    Message,
    /// While an HTTP request was answered.
    Page,
    /// In a listener; the process ends.
    Listener,
}

/// The result of a request to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ContactResult {
    /// It leads on.
    Redirect,
    /// A page or file.
    Content,
    /// The target says that there is nothing for us.
    Refused,
    /// Nothing that could be read.
    Failed,
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Reload {
    /// New settings are in force.
    Applied,
    /// The settings of before stay.
    Refused,
}

/// Why a click link leads nowhere, beside the outcomes that are recorded ([`store::Outcome`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ClickRefusal {
    /// Not a link of ours, or not as we made it.
    Refused,
    /// A genuine link whose stored target is not in the store.
    TargetMissing,
    /// A genuine link whose stored target could not be looked up.
    Unavailable,
}

/// How it went when other hosts had to be asked about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum CheckStep {
    /// They were asked a while ago.
    Cached,
    /// They were being asked already.
    Joined,
    /// They were asked.
    Started,
    /// There were too many checks.
    Refused,
    /// They were asked, and had not answered in time.
    OverTime,
}

/// The result of a form that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum FormResult {
    /// It counted.
    Taken,
    /// It was used already.
    Used,
    /// It was too old.
    Expired,
    /// It was not ours.
    Refused,
}

/// How a source that is asked about links is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum SourceHealth {
    /// It answers; of a list, the last attempt to refresh it went well.
    Up,
    /// The last attempt did not go well. A list that was there before is in force still.
    Failing,
    /// It has failed so often that it is asked in the background only.
    Open,
    /// Its terms do not allow the use that is stated, or none is.
    Off,
}

/// The result of an attempt to refresh a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Refresh {
    /// Another copy is in force.
    Updated,
    /// Nothing has changed.
    Unchanged,
    /// There was no copy to be had.
    Failed,
    /// There was one that is not to be trusted: it shrank, is broken, or names a protected domain.
    Refused,
}

/// The answer of a source about a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum SourceAnswer {
    /// It names it.
    Listed,
    /// It does not.
    NotListed,
    /// Nothing: it could not be asked.
    CouldNotAsk,
}

/// Says of each type what label its values are.
macro_rules! label {
    ($($values:ty: $name:literal,)+) => {
        $(impl MetricLabel for $values {
            const NAME: &'static str = $name;

            fn index(self) -> usize {
                self as usize
            }
        })+
    };
}

label! {
    SessionEnd: "end",
    MessageResult: "result",
    Suspect: "reason",
    Limit: "limit",
    Handshake: "result",
    Silence: "phase",
    Speaker: "side",
    Connect: "result",
    ReplyClass: "class",
    PanicPlace: "place",
    ContactResult: "result",
    Reload: "result",
    ClickRefusal: "outcome",
    store::Outcome: "outcome",
    CheckStep: "result",
    FormResult: "result",
    SourceHealth: "health",
    Refresh: "result",
    SourceAnswer: "answer",
    LinkDecision: "decision",
    Obstacle: "obstacle",
    Phase: "phase",
    Verdict: "verdict",
    store::Label: "label",
}

/// A counter for each value of a label; counting is one atomic addition.
pub struct Counters<L> {
    each: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: MetricLabel> Counters<L> {
    /// The counters of `family` with these labels and each value of `L`. All of them exist from then on: a series that
    /// appears with its first event hides that event from `rate()`.
    pub(super) fn of(family: &Family<Labels, Counter>, labels: &[(&'static str, &str)]) -> Self {
        let counter = |value: &L| {
            let mut all: Labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
            all.push((L::NAME, value.as_str().to_owned()));
            family.get_or_create_owned(&all)
        };
        Self {
            each: L::VARIANTS.iter().map(counter).collect(),
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

impl<L: MetricLabel> Default for Counters<L> {
    /// Counters outside every registry.
    fn default() -> Self {
        Self {
            each: L::VARIANTS.iter().map(|_| Counter::default()).collect(),
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

    fn in_order<L: MetricLabel>() {
        for (i, value) in L::VARIANTS.iter().enumerate() {
            assert_eq!(value.index(), i, "{}", value.as_str());
        }
    }

    #[test]
    fn every_value_has_a_counter_of_its_own() {
        in_order::<SessionEnd>();
        in_order::<MessageResult>();
        in_order::<Phase>();
        in_order::<ClickRefusal>();
        in_order::<store::Outcome>();
        in_order::<CheckStep>();
        in_order::<FormResult>();
        in_order::<SourceHealth>();
        in_order::<ContactResult>();
        in_order::<Obstacle>();
        in_order::<Verdict>();
        in_order::<LinkDecision>();
        in_order::<store::Label>();
        let counters = Counters::<Phase>::default();
        counters.inc(Phase::FinalReply);
        assert_eq!((counters.get(Phase::FinalReply), counters.get(Phase::Transfer)), (1, 0));
    }
}
