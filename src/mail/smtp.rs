//! One SMTP or LMTP session with a client.

mod complete;
mod copies;
mod data;
mod identity;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, warn};
use wire::{Answer, Command, Event, Form, PathLine, Printable, Session, classify};

use self::identity::ClientIdentity;
use crate::config::{ListenerTls, Protocol};
use crate::failure::{Failure, Phase, Side};
use crate::log::Limiter;
use crate::mail::arrival;
use crate::mail::context::{ListenerContext, stopped};
use crate::mail::relay::Relay;
use crate::mail::session::{ClientConnection, Filled};
use crate::mail::transaction::{Recipient, Transaction, UnderWay};
use crate::metrics::{Limit, SessionEnd};
use crate::net::{Inbox, Peer, Stream};

/// Octets read at a time while commands are expected.
const COMMAND_BLOCK: usize = 16 << 10;

/// Octets read at a time while message data is expected.
const DATA_BLOCK: usize = 32 << 10;

/// How long MAIL waits for a slot among the messages that may be on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of RCPT lines of one transaction: they are kept, because each copy of a message says its own again.
const MAX_RCPT_OCTETS: usize = 256 << 10;

/// Octets of the client's name and of XFORWARD lines that are kept for the log.
const MAX_SHOWN: usize = 512;

/// Serves one client to the end of its session.
pub(crate) async fn session(
    stream: Stream,
    peer: Peer,
    context: Arc<ListenerContext>,
    shutdown: watch::Receiver<bool>,
) {
    let client = ClientConnection::new(stream, peer, context, shutdown);
    let listener = &client.context.listener;
    let mut session = match listener.protocol {
        Protocol::Lmtp => Session::lmtp(),
        _ => Session::default(),
    }
    .with_command_line(client.settings.limits.command_line);
    if let ListenerTls::StartTls(_) = listener.tls {
        session.offer_tls();
    }
    let mut conversation = Conversation {
        identity: ClientIdentity::new(peer, listener),
        relay: Relay::new(
            listener.next_hops.clone(),
            Arc::clone(&client.context.hops),
            listener.hostname.clone(),
            &client.context.metrics,
        ),
        session,
        incoming: Incoming::default(),
        client,
    };
    let ended = conversation.run().await;
    let Conversation {
        client,
        identity,
        session,
        incoming,
        relay,
    } = conversation;
    let unfinished = session
        .in_transaction()
        .then(|| incoming.transaction.as_ref().map_or("", Transaction::id));
    client.log_end(ended.err().as_ref(), &identity.name, unfinished);
    // The client need not wait until the next hop has said goodbye.
    client.stream.close().await;
    relay.quit().await;
}

/// A session, its client and its next hop.
struct Conversation {
    client: ClientConnection,
    identity: ClientIdentity,
    session: Session,
    incoming: Incoming,
    relay: Relay,
}

/// The message that comes in.
#[derive(Default)]
struct Incoming {
    /// From MAIL to the end of data.
    transaction: Option<Transaction>,
    /// The form in which the final dot of this transaction is answered.
    form: Form,
    /// Octets of its RCPT lines so far.
    rcpt_octets: usize,
    /// Commands that the next hop was given on the client's behalf and has not replied to yet.
    pending: VecDeque<Pending>,
    /// Octets of message data since MAIL, kept, passed on or dropped.
    data_octets: u64,
    /// When the data of the message that has begun must be complete.
    deadline: Option<Instant>,
}

/// A command that the next hop has not replied to yet.
enum Pending {
    Mail,
    Rcpt(Recipient),
}

/// The next step of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Close,
    /// STARTTLS was answered: nothing may be read before the handshake.
    Encrypt,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        self.greet();
        self.client.flush().await?;
        // While the client reads the greeting and answers it, the next hop is called: its keywords decide on ours.
        let reachable = match self.relay.connect(&self.client.settings.limits).await {
            Ok(_) => true,
            Err(failure) => {
                self.log_failure(&failure, "");
                false
            }
        };
        let mut inbox = Inbox::default();
        let mut deadline = Instant::now() + self.client.settings.limits.command_timeout;
        loop {
            let next = self.turn(&mut inbox, reachable, &mut deadline).await;
            self.client.flush().await?;
            if next == Next::Encrypt {
                if !self.encrypt(&mut inbox).await {
                    return Ok(());
                }
                deadline = Instant::now() + self.client.settings.limits.command_timeout;
            }
            if next == Next::Close || !self.fill(&mut inbox, deadline).await? {
                return Ok(());
            }
        }
    }

    /// Acts on all that the client has said so far.
    async fn turn(&mut self, inbox: &mut Inbox, reachable: bool, deadline: &mut Instant) -> Next {
        loop {
            let in_data = self.session.in_data();
            let (used, event) = self.session.next(inbox.filled());
            let next = match event {
                Some(Event::Hello { .. }) if !reachable => {
                    self.client.end = SessionEnd::NextHop;
                    Answer::NO_NEXT_HOP.write(&mut self.client.out);
                    Next::Close
                }
                Some(event) => self.act(event).await,
                None => Next::Continue,
            };
            let done = event.is_none();
            inbox.consume(used);
            if in_data {
                self.incoming.data_octets += used as u64;
                let now = Instant::now();
                *deadline = now + self.client.settings.limits.data_timeout;
                if self.session.in_data() && self.breaks_data_limits(now) {
                    return Next::Close;
                }
            }
            if next != Next::Continue {
                return next;
            }
            if done && self.incoming.pending.is_empty() {
                return self.collect_replies().await;
            }
            if done {
                // The time that the next hop takes for its replies is not the client's.
                let next = self.collect_replies().await;
                *deadline = Instant::now() + self.client.settings.limits.command_timeout;
                return next;
            }
            // A client has that long for a command, not for each octet of it.
            let limits = &self.client.settings.limits;
            let wait = if self.session.in_data() {
                limits.data_timeout
            } else {
                limits.command_timeout
            };
            *deadline = Instant::now() + wait;
        }
    }

    /// Whether the message that comes in takes too long, or goes on far beyond the size that is taken; the client gets its
    /// reply at once then.
    fn breaks_data_limits(&mut self, now: Instant) -> bool {
        if self.incoming.deadline.is_some_and(|end| now >= end) {
            Answer::TIMEOUT.write(&mut self.client.out);
            return true;
        }
        // The refusal of a message that is too large waits for its end, but not for ever.
        let most = self.client.context.listener.max_message.saturating_mul(2) + (1 << 20);
        let is_endless = self.incoming.data_octets > most;
        if is_endless {
            self.client.end = SessionEnd::TooLarge;
            self.client.context.counts.limits.inc(Limit::MessageSize);
            Answer::TOO_LARGE.write(&mut self.client.out);
        }
        is_endless
    }

    async fn act(&mut self, event: Event<'_>) -> Next {
        match event {
            Event::Mail(path) => return self.mail(&path).await,
            Event::Rcpt(path) => return self.rcpt(&path).await,
            Event::Content(bytes) => {
                self.content(bytes).await;
                return Next::Continue;
            }
            Event::EndOfData(end) => {
                self.incoming.deadline = None;
                if let Some(transaction) = self.incoming.transaction.take() {
                    // Behind a chunk there may be replies to what came before it: they need not wait for the next hop.
                    if self.client.flush().await.is_err() {
                        return Next::Close;
                    }
                    return self.complete(transaction, end).await;
                }
                // Data without a transaction cannot be; if it were, nothing may be promised for it.
                error!(target: "linkgate::mail", client = %self.client.peer, "end of data without a transaction");
                Answer::INTERNAL.write(&mut self.client.out);
                return Next::Continue;
            }
            _ => {}
        }
        if self.collect_replies().await == Next::Close {
            return Next::Close;
        }
        match event {
            Event::Hello { name, extended } => return self.hello(name, extended).await,
            Event::Xforward(line) => return self.xforward(line).await,
            Event::StartTls => {
                Answer::READY_FOR_TLS.write(&mut self.client.out);
                return Next::Encrypt;
            }
            Event::Xclient(line) => self.xclient(line),
            Event::Data => self.data().await,
            Event::Chunk => self.chunk(),
            Event::ChunkTaken => return self.chunk_taken().await,
            Event::Reset => {
                self.end_of_transaction();
                Answer::OK.write(&mut self.client.out);
            }
            Event::Say(answer) => {
                self.client.context.counts.said(answer);
                answer.write(&mut self.client.out);
            }
            Event::Quit => {
                self.client.end = SessionEnd::Quit;
                Answer::BYE.write(&mut self.client.out);
                return Next::Close;
            }
            Event::Close(answer) => {
                self.client.end = SessionEnd::Errors;
                self.client.context.counts.limits.inc(Limit::Errors);
                answer.write(&mut self.client.out);
                return Next::Close;
            }
            Event::Mail(_) | Event::Rcpt(_) | Event::Content(_) | Event::EndOfData(_) => {}
        }
        Next::Continue
    }

    /// Shakes hands after STARTTLS; false if that failed. Nothing that was said in plain text outlives it: neither what the
    /// session knows, nor commands that were injected behind STARTTLS (RFC 3207 4.2, CVE-2011-0411).
    async fn encrypt(&mut self, inbox: &mut Inbox) -> bool {
        let dropped = inbox.clear();
        if dropped > 0 {
            warn!(
                target: "linkgate::mail",
                listener = %self.client.context.listener.listen, client = %self.client.peer, helo = %Printable(&self.identity.name), octets = dropped,
                "dropped what came in plain text behind STARTTLS"
            );
        }
        let deadline = Instant::now() + self.client.settings.limits.command_timeout;
        let encrypted = tokio::select! {
            biased;
            () = stopped(&mut self.client.shutdown) => false,
            done = arrival::shake_hands(&mut self.client.stream, self.client.peer, &self.client.context, deadline) => done,
        };
        if self.relay.has_xforward() {
            // The next hop has heard it too.
            self.relay.close();
        }
        // A client that speaks for another says so again, encrypted.
        self.identity = ClientIdentity::new(self.identity.connected, &self.client.context.listener);
        self.client.peer = self.identity.connected;
        self.end_of_transaction();
        self.session.encrypted();
        encrypted
    }

    async fn mail(&mut self, path: &PathLine<'_>) -> Next {
        if self.client.is_stopping() {
            self.client.end = SessionEnd::Shutdown;
            Answer::SHUTTING_DOWN.write(&mut self.client.out);
            return Next::Close;
        }
        self.client.renew_settings();
        self.incoming.data_octets = 0;
        if path
            .size()
            .is_some_and(|size| size > self.client.context.listener.max_message)
        {
            self.client.context.counts.limits.inc(Limit::MessageSize);
            Answer::TOO_LARGE.write(&mut self.client.out);
            self.session.mail(false);
            return Next::Continue;
        }
        let limit = self.client.settings.limits.max_transactions;
        let slot = match self.client.context.in_flight.try_enter(limit) {
            Some(slot) => Some(slot),
            None => {
                if self.client.flush().await.is_err() {
                    return Next::Close;
                }
                self.client.context.in_flight.enter(limit, PATIENCE).await
            }
        };
        if slot.is_none() {
            warn!(target: "linkgate::mail", client = %self.client.peer, limit, "too many messages at once (limits.max_transactions)");
            self.client.context.counts.limits.inc(Limit::Transactions);
            Answer::BUSY.write(&mut self.client.out);
            self.session.mail(false);
            return Next::Continue;
        }
        let under_way = UnderWay {
            _open: self.client.context.counts.transaction(),
            _slot: slot,
        };
        self.begin(path, under_way).await
    }

    /// Begins a transaction: MAIL goes to the next hop.
    async fn begin(&mut self, path: &PathLine<'_>, under_way: UnderWay) -> Next {
        // PRDR is between the client and us: the next hop need not know it.
        let without_prdr = match self.client.context.listener.protocol {
            Protocol::Smtp => path.line_without("PRDR"),
            _ => None,
        };
        let path = match without_prdr.as_deref().map(classify) {
            Some(Command::Mail(rest)) => &{ rest },
            _ => path,
        };
        self.incoming.form = match self.client.context.listener.protocol {
            Protocol::Lmtp => Form::Each,
            _ if without_prdr.is_some() => Form::Prdr,
            _ => Form::One,
        };
        self.incoming.rcpt_octets = 0;
        self.introduce().await;
        let transaction = Transaction::new(
            path,
            Arc::clone(&self.client.settings),
            &self.client.context.budgets,
            under_way,
        );
        match self.relay.mail(path, &self.client.settings.limits).await {
            Ok(()) => {
                self.incoming.transaction = Some(transaction);
                self.incoming.pending.push_back(Pending::Mail);
            }
            Err(failure) => {
                self.log_failure(&failure, transaction.id());
                failure.answer().write_with_id(transaction.id(), &mut self.client.out);
                self.session.mail(false);
            }
        }
        self.collect_replies_unless_pipelining().await
    }

    async fn rcpt(&mut self, path: &PathLine<'_>) -> Next {
        let recipient = Recipient::new(path, &self.client.settings);
        // Only what is known to be accepted counts as the first recipient of a copy.
        if (!self.fits(&recipient) || self.is_full()) && self.collect_replies().await == Next::Close {
            return Next::Close;
        }
        let fits = self.fits(&recipient);
        let answer = match &self.incoming.transaction {
            None => Some(Answer::NEED_MAIL),
            Some(t) if t.has_lost_next_hop() => Some(Answer::NEXT_HOP_LOST),
            Some(_) if self.relay.lost_keyword(path).is_some() => Some(Answer::NEXT_HOP_UNREACHABLE),
            Some(_) if !fits || self.is_full() => Some(Answer::TOO_MANY_RECIPIENTS),
            Some(_) => None,
        };
        self.incoming.rcpt_octets += path.line.len();
        if let Some(answer) = answer {
            if self.collect_replies().await == Next::Close {
                return Next::Close;
            }
            if self.is_full() {
                self.client.context.counts.limits.inc(Limit::Recipients);
            }
            answer.write(&mut self.client.out);
            return Next::Continue;
        }
        match self.relay.rcpt(path) {
            Ok(()) => self.incoming.pending.push_back(Pending::Rcpt(recipient)),
            Err(failure) => self.lose_next_hop(&failure, 1),
        }
        self.collect_replies_unless_pipelining().await
    }

    /// Whether the transaction has all the recipients it may have, those included that may yet be accepted.
    fn is_full(&self) -> bool {
        let accepted = self.incoming.transaction.as_ref().map_or(0, |t| t.recipients().len());
        let asked = self
            .incoming
            .pending
            .iter()
            .filter(|a| matches!(a, Pending::Rcpt(_)))
            .count();
        accepted + asked >= self.client.context.listener.max_recipients || self.incoming.rcpt_octets > MAX_RCPT_OCTETS
    }

    /// Whether this transaction has room for the recipient beside the first one that was accepted, or may yet be.
    ///
    /// With a reply for each recipient there may be a copy for each. With one reply for all there can only be one copy, and
    /// of a next hop that answers for each of them only one recipient.
    fn fits(&self, recipient: &Recipient) -> bool {
        if self.incoming.form != Form::One {
            return true;
        }
        let accepted = self.incoming.transaction.as_ref().and_then(Transaction::first);
        let asked = self.incoming.pending.iter().find_map(|asked| match asked {
            Pending::Rcpt(recipient) => Some(recipient),
            Pending::Mail => None,
        });
        accepted
            .or(asked)
            .is_none_or(|first| !self.relay.replies_for_each() && first.shares_copy_with(recipient))
    }

    async fn collect_replies_unless_pipelining(&mut self) -> Next {
        if self.relay.pipelining() {
            Next::Continue
        } else {
            self.collect_replies().await
        }
    }

    /// Gets the replies that are outstanding and hands them to the client, in order.
    async fn collect_replies(&mut self) -> Next {
        while let Some(asked) = self.incoming.pending.pop_front() {
            if !self.client.out.is_empty() && !self.relay.has_reply() && self.client.flush().await.is_err() {
                return Next::Close;
            }
            match self.relay.reply(&self.client.settings.limits).await {
                Ok(reply) => {
                    let (accepted, refused, closing) = (reply.class() == 2, reply.class() == 5, reply.code == 421);
                    reply.write(&mut self.client.out);
                    if refused {
                        self.session.refused_for_good();
                    }
                    match asked {
                        Pending::Mail => self.session.mail(accepted),
                        Pending::Rcpt(recipient) => {
                            self.session.rcpt(accepted);
                            if let (true, Some(transaction)) = (accepted, &mut self.incoming.transaction) {
                                transaction.add(recipient);
                            }
                        }
                    }
                    if closing {
                        self.client.end = SessionEnd::NextHop;
                        self.incoming.pending.clear();
                        return Next::Close;
                    }
                }
                Err(failure) => {
                    let unanswered = 1 + self.incoming.pending.len();
                    if let Pending::Mail = asked {
                        self.session.mail(false);
                    }
                    self.incoming.pending.clear();
                    self.lose_next_hop(&failure, unanswered);
                }
            }
        }
        if !self.session.in_transaction() {
            self.incoming.transaction = None;
        }
        Next::Continue
    }

    /// Answers what is pending when the next hop is lost in the middle of an envelope: this transaction fails, the next one
    /// may reconnect.
    fn lose_next_hop(&mut self, failure: &Failure, unanswered: usize) {
        let id = self
            .incoming
            .transaction
            .as_ref()
            .map(|t| t.id().to_owned())
            .unwrap_or_default();
        self.log_failure(failure, &id);
        for _ in 0..unanswered {
            failure.answer().write_with_id(&id, &mut self.client.out);
        }
        if let Some(transaction) = &mut self.incoming.transaction {
            transaction.lose_next_hop();
        }
    }

    /// Forgets the transaction, and what XFORWARD said for it.
    fn end_of_transaction(&mut self) {
        self.incoming.transaction = None;
        self.incoming.deadline = None;
        self.identity.xforward.clear();
        self.relay.end_of_transaction();
    }

    fn log_failure(&self, failure: &Failure, id: &str) {
        // Every client meets a next hop that is away, and tries again: the log need not hear of each.
        let away = failure.side == Side::NextHop && matches!(failure.phase, Phase::Connect | Phase::Hello);
        let limiter = self.relay.counts().filter(|_| away).map(|counts| &counts.log);
        let admitted = limiter.map_or(Some(0), Limiter::admit);
        if admitted.is_some() {
            self.client
                .log_failure(failure, id, &self.identity.name, None, admitted);
        } else {
            self.client.context.counts.failure(failure);
            self.client.context.counts.line_left_out();
        }
    }

    /// Waits for more from the client; false when the session is over.
    async fn fill(&mut self, inbox: &mut Inbox, deadline: Instant) -> io::Result<bool> {
        let in_data = self.session.in_data();
        let block = if in_data { DATA_BLOCK } else { COMMAND_BLOCK };
        let idle = !self.session.in_transaction();
        let deadline = self.incoming.deadline.map_or(deadline, |end| end.min(deadline));
        let answer = match self.client.fill(inbox, block, deadline, idle, in_data).await? {
            Filled::Octets => return Ok(true),
            Filled::Closed => return Ok(false),
            Filled::Shutdown => Answer::SHUTTING_DOWN,
            Filled::Timeout => Answer::TIMEOUT,
        };
        answer.write(&mut self.client.out);
        self.client.flush().await?;
        Ok(false)
    }
}
