//! One SMTP or LMTP session with a client.

mod complete;
mod copies;
mod data;
mod identity;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, info, warn};
use wire::{Answer, ClientInfo, Command, Event, Form, PathLine, Printable, Session, classify};

use crate::config::{ListenerTls, Protocol, Settings};
use crate::failure::{Failure, Phase, Side};
use crate::log::Limiter;
use crate::mail::listen::{Context, arrival, stopped};
use crate::mail::relay::Relay;
use crate::mail::transaction::{Recipient, Transaction};
use crate::metrics::{Limit, SessionEnd, Silence};
use crate::net::{Inbox, Peer, Stream};

/// Octets read at a time while commands are expected.
const COMMAND_BLOCK: usize = 16 << 10;

/// Octets read at a time while message data is expected.
const DATA_BLOCK: usize = 32 << 10;

/// Octets of the reply buffer that are kept between turns.
const OUT_KEPT: usize = 4096;

/// How long MAIL waits for a place among the messages that may be on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of RCPT lines of one transaction: they are kept, because each copy of a message says its own again.
const MAX_RCPT_OCTETS: usize = 256 << 10;

/// Octets of the client's name and of XFORWARD lines that are kept for the log.
const MAX_SHOWN: usize = 512;

/// Serves one client to the end of its session.
pub(crate) async fn session(client: Stream, peer: Peer, context: Arc<Context>, shutdown: watch::Receiver<bool>) {
    let listener = &context.listener;
    let settings = context.settings.borrow().clone();
    let mut session = match listener.protocol {
        Protocol::Lmtp => Session::lmtp(),
        _ => Session::default(),
    }
    .with_command_line(settings.limits.command_line);
    if let ListenerTls::StartTls(_) = listener.tls {
        session.offer_tls();
    }
    let mut conversation = Conversation {
        client,
        peer,
        connected: peer,
        may_xclient: identity::may_speak_for_others(peer, listener),
        behind: ClientInfo::default(),
        trusted: peer.is_in(&listener.xforward_from),
        relay: Relay::new(
            listener.next_hops.clone(),
            Arc::clone(&context.hops),
            listener.hostname.clone(),
        )
        .counting(&context.metrics),
        session,
        settings,
        shutdown,
        form: Form::default(),
        rcpt_octets: 0,
        out: Vec::new(),
        name: Vec::new(),
        xforward: Vec::new(),
        transaction: None,
        asked: VecDeque::new(),
        data_octets: 0,
        message_deadline: None,
        end: SessionEnd::Closed,
        context,
    };
    let ended = conversation.run().await;
    conversation.count_end(ended.as_ref().err());
    conversation.take_leave(ended.err());
    let Conversation { client, relay, .. } = conversation;
    // The client need not wait until the next hop has said goodbye.
    client.close().await;
    relay.quit().await;
}

struct Conversation {
    client: Stream,
    /// Who the client is: at the other end of the connection, or behind who is there.
    peer: Peer,
    /// Who is at the other end of the connection.
    connected: Peer,
    context: Arc<Context>,
    /// The snapshot of the transaction, or of the last one.
    settings: Arc<Settings>,
    shutdown: watch::Receiver<bool>,
    /// Whether XCLIENT is offered: that is up to who is connected, whoever it speaks for.
    may_xclient: bool,
    /// For whom the peer speaks.
    behind: ClientInfo,
    /// Whether XFORWARD is offered.
    trusted: bool,
    session: Session,
    relay: Relay,
    /// Replies that are not written yet: what is said in one turn goes out in one write.
    out: Vec<u8>,
    /// What the client calls itself.
    name: Vec<u8>,
    /// XFORWARD lines of this transaction, for the log.
    xforward: Vec<u8>,
    transaction: Option<Transaction>,
    /// How the final dot of this transaction is answered.
    form: Form,
    /// Octets of its RCPT lines so far.
    rcpt_octets: usize,
    /// What the next hop was asked on the client's behalf, without a reply so far.
    asked: VecDeque<Asked>,
    /// Octets of message data since MAIL, whatever became of them.
    data_octets: u64,
    /// When the data of the message that has begun must be complete.
    message_deadline: Option<Instant>,
    /// How the session ends, as far as is known.
    end: SessionEnd,
}

enum Asked {
    Mail,
    Rcpt(Recipient),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Close,
    /// STARTTLS was answered: nothing may be read before the handshake.
    Encrypt,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        self.greet();
        self.flush().await?;
        // While the client reads the greeting and answers it, the next hop is called: its keywords decide on ours.
        let reachable = match self.relay.connect(&self.settings.limits).await {
            Ok(_) => true,
            Err(failure) => {
                self.complain(&failure, "");
                false
            }
        };
        let mut inbox = Inbox::default();
        let mut deadline = Instant::now() + self.settings.limits.command_timeout;
        loop {
            let flow = self.turn(&mut inbox, reachable, &mut deadline).await;
            self.flush().await?;
            if flow == Flow::Encrypt {
                if !self.encrypt(&mut inbox).await {
                    return Ok(());
                }
                deadline = Instant::now() + self.settings.limits.command_timeout;
            }
            if flow == Flow::Close || !self.fill(&mut inbox, deadline).await? {
                return Ok(());
            }
        }
    }

    /// Acts on all that the client has said so far.
    async fn turn(&mut self, inbox: &mut Inbox, reachable: bool, deadline: &mut Instant) -> Flow {
        loop {
            let in_data = self.session.in_data();
            let (used, event) = self.session.next(inbox.filled());
            let flow = match event {
                Some(Event::Hello { .. }) if !reachable => {
                    self.end = SessionEnd::NextHop;
                    Answer::NO_NEXT_HOP.write(&mut self.out);
                    Flow::Close
                }
                Some(event) => self.act(event).await,
                None => Flow::Continue,
            };
            let done = event.is_none();
            inbox.consume(used);
            if in_data {
                self.data_octets += used as u64;
                let now = Instant::now();
                *deadline = now + self.settings.limits.data_timeout;
                if self.session.in_data() && self.message_deadline.is_some_and(|end| now >= end) {
                    Answer::TIMEOUT.write(&mut self.out);
                    return Flow::Close;
                }
                // The refusal of a message that is too large waits for its end, but not for ever.
                if self.session.in_data()
                    && self.data_octets > self.context.listener.max_message.saturating_mul(2) + (1 << 20)
                {
                    self.end = SessionEnd::TooLarge;
                    self.context.counts.limits.inc(Limit::MessageSize);
                    Answer::TOO_LARGE.write(&mut self.out);
                    return Flow::Close;
                }
            }
            if flow != Flow::Continue {
                return flow;
            }
            if done && self.asked.is_empty() {
                return self.settle().await;
            }
            if done {
                // The time that the next hop takes for its replies is not the client's.
                let flow = self.settle().await;
                *deadline = Instant::now() + self.settings.limits.command_timeout;
                return flow;
            }
            // A client has that long for a command, not for each octet of it.
            let limits = &self.settings.limits;
            let wait = if self.session.in_data() {
                limits.data_timeout
            } else {
                limits.command_timeout
            };
            *deadline = Instant::now() + wait;
        }
    }

    async fn act(&mut self, event: Event<'_>) -> Flow {
        match event {
            Event::Mail(path) => return self.mail(&path).await,
            Event::Rcpt(path) => return self.rcpt(&path).await,
            Event::Content(bytes) => {
                self.content(bytes).await;
                return Flow::Continue;
            }
            Event::EndOfData(end) => {
                self.message_deadline = None;
                if let Some(transaction) = self.transaction.take() {
                    // Behind a chunk there may be replies to what came before it: they need not wait for the next hop.
                    if self.flush().await.is_err() {
                        return Flow::Close;
                    }
                    return self.complete(transaction, end).await;
                }
                // Data without a transaction cannot be; if it were, nothing may be promised for it.
                error!(target: "linkgate::mail", client = %self.peer, "end of data without a transaction");
                Answer::INTERNAL.write(&mut self.out);
                return Flow::Continue;
            }
            _ => {}
        }
        if self.settle().await == Flow::Close {
            return Flow::Close;
        }
        match event {
            Event::Hello { name, extended } => return self.hello(name, extended).await,
            Event::Xforward(line) => return self.xforward(line).await,
            Event::StartTls => {
                Answer::READY_FOR_TLS.write(&mut self.out);
                return Flow::Encrypt;
            }
            Event::Xclient(line) => self.xclient(line),
            Event::Data => self.data().await,
            Event::Chunk => self.chunk(),
            Event::ChunkTaken => return self.chunk_taken().await,
            Event::Reset => {
                self.end_of_transaction();
                Answer::OK.write(&mut self.out);
            }
            Event::Say(answer) => {
                self.context.counts.said(answer);
                answer.write(&mut self.out);
            }
            Event::Quit => {
                self.end = SessionEnd::Quit;
                Answer::BYE.write(&mut self.out);
                return Flow::Close;
            }
            Event::Close(answer) => {
                self.end = SessionEnd::Errors;
                self.context.counts.limits.inc(Limit::Errors);
                answer.write(&mut self.out);
                return Flow::Close;
            }
            Event::Mail(_) | Event::Rcpt(_) | Event::Content(_) | Event::EndOfData(_) => {}
        }
        Flow::Continue
    }

    /// The handshake after STARTTLS; false if it came to nothing. Nothing that was said in plain text outlives it: neither
    /// what the session knows, nor commands that somebody slipped in behind STARTTLS (RFC 3207 4.2, CVE-2011-0411).
    async fn encrypt(&mut self, inbox: &mut Inbox) -> bool {
        let dropped = inbox.clear();
        if dropped > 0 {
            warn!(
                target: "linkgate::mail",
                listener = %self.context.listener.listen, client = %self.peer, helo = %Printable(&self.name), octets = dropped,
                "dropped what came in plain text behind STARTTLS"
            );
        }
        let deadline = Instant::now() + self.settings.limits.command_timeout;
        let shaken = tokio::select! {
            biased;
            () = stopped(&mut self.shutdown) => false,
            shaken = arrival::shake_hands(&mut self.client, self.peer, &self.context, deadline) => shaken,
        };
        if self.relay.has_xforward() {
            // The next hop has heard it too.
            self.relay.close();
        }
        // Whoever spoke for another does so again, encrypted.
        self.peer = self.connected;
        self.behind = ClientInfo::default();
        self.trusted = self.peer.is_in(&self.context.listener.xforward_from);
        self.end_of_transaction();
        self.name.clear();
        self.session.encrypted();
        shaken
    }

    async fn mail(&mut self, path: &PathLine<'_>) -> Flow {
        if *self.shutdown.borrow() {
            self.end = SessionEnd::Shutdown;
            Answer::SHUTTING_DOWN.write(&mut self.out);
            return Flow::Close;
        }
        self.settings = self.context.settings.borrow().clone();
        self.data_octets = 0;
        if path.size().is_some_and(|size| size > self.context.listener.max_message) {
            self.context.counts.limits.inc(Limit::MessageSize);
            Answer::TOO_LARGE.write(&mut self.out);
            self.session.mail(false);
            return Flow::Continue;
        }
        let limit = self.settings.limits.max_transactions;
        let place = match self.context.in_flight.try_enter(limit) {
            Some(place) => Some(place),
            None => {
                if self.flush().await.is_err() {
                    return Flow::Close;
                }
                self.context.in_flight.enter(limit, PATIENCE).await
            }
        };
        if place.is_none() {
            warn!(target: "linkgate::mail", client = %self.peer, limit, "too many messages at once (limits.max_transactions)");
            self.context.counts.limits.inc(Limit::Transactions);
            Answer::BUSY.write(&mut self.out);
            self.session.mail(false);
            return Flow::Continue;
        }
        // PRDR is between the client and us: the next hop need not know it.
        let without_prdr = match self.context.listener.protocol {
            Protocol::Smtp => path.line_without("PRDR"),
            _ => None,
        };
        let path = match without_prdr.as_deref().map(classify) {
            Some(Command::Mail(rest)) => &{ rest },
            _ => path,
        };
        self.form = match self.context.listener.protocol {
            Protocol::Lmtp => Form::Each,
            _ if without_prdr.is_some() => Form::Prdr,
            _ => Form::One,
        };
        self.rcpt_octets = 0;
        self.introduce().await;
        let open = self.context.counts.transaction();
        let mut transaction = Transaction::new(path, Arc::clone(&self.settings), &self.context.budgets).counted(open);
        transaction.place = place;
        match self.relay.mail(path, &self.settings.limits).await {
            Ok(()) => {
                self.transaction = Some(transaction);
                self.asked.push_back(Asked::Mail);
            }
            Err(failure) => {
                self.complain(&failure, transaction.id());
                failure.answer().write_with_id(transaction.id(), &mut self.out);
                self.session.mail(false);
            }
        }
        self.settle_unless_pipelining().await
    }

    async fn rcpt(&mut self, path: &PathLine<'_>) -> Flow {
        let recipient = Recipient::new(path, &self.settings);
        // Only what is known to be accepted counts as the first recipient of a copy.
        if (!self.fits(&recipient) || self.is_full()) && self.settle().await == Flow::Close {
            return Flow::Close;
        }
        let fits = self.fits(&recipient);
        let answer = match &self.transaction {
            None => Some(Answer::NEED_MAIL),
            Some(t) if t.lost => Some(Answer::NEXT_HOP_LOST),
            Some(_) if self.relay.lost_keyword(path).is_some() => Some(Answer::NEXT_HOP_UNREACHABLE),
            Some(_) if !fits || self.is_full() => Some(Answer::TOO_MANY_RECIPIENTS),
            Some(_) => None,
        };
        self.rcpt_octets += path.line.len();
        if let Some(answer) = answer {
            if self.settle().await == Flow::Close {
                return Flow::Close;
            }
            if self.is_full() {
                self.context.counts.limits.inc(Limit::Recipients);
            }
            answer.write(&mut self.out);
            return Flow::Continue;
        }
        match self.relay.rcpt(path) {
            Ok(()) => self.asked.push_back(Asked::Rcpt(recipient)),
            Err(failure) => self.lose_next_hop(&failure, 1),
        }
        self.settle_unless_pipelining().await
    }

    /// Whether the transaction has all the recipients it may have, those included that may yet be accepted.
    fn is_full(&self) -> bool {
        let accepted = self.transaction.as_ref().map_or(0, |t| t.recipients().len());
        let asked = self.asked.iter().filter(|a| matches!(a, Asked::Rcpt(_))).count();
        accepted + asked >= self.context.listener.max_recipients || self.rcpt_octets > MAX_RCPT_OCTETS
    }

    /// Whether this transaction has room for the recipient beside the first one that was accepted, or may yet be.
    ///
    /// With a reply for each recipient there may be a copy for each. With one reply for all there can only be one copy, and
    /// of a next hop that answers for each of them only one recipient.
    fn fits(&self, recipient: &Recipient) -> bool {
        if self.form != Form::One {
            return true;
        }
        let accepted = self.transaction.as_ref().and_then(Transaction::first);
        let asked = self.asked.iter().find_map(|asked| match asked {
            Asked::Rcpt(recipient) => Some(recipient),
            Asked::Mail => None,
        });
        accepted
            .or(asked)
            .is_none_or(|first| !self.relay.replies_for_each() && first.shares_copy_with(recipient))
    }

    async fn settle_unless_pipelining(&mut self) -> Flow {
        if self.relay.pipelining() {
            Flow::Continue
        } else {
            self.settle().await
        }
    }

    /// Gets the replies that are outstanding and hands them to the client, in order.
    async fn settle(&mut self) -> Flow {
        while let Some(asked) = self.asked.pop_front() {
            if !self.out.is_empty() && !self.relay.has_reply() && self.flush().await.is_err() {
                return Flow::Close;
            }
            match self.relay.reply(&self.settings.limits).await {
                Ok(reply) => {
                    let (accepted, refused, closing) = (reply.class() == 2, reply.class() == 5, reply.code == 421);
                    reply.write(&mut self.out);
                    if refused {
                        self.session.refused_for_good();
                    }
                    match asked {
                        Asked::Mail => self.session.mail(accepted),
                        Asked::Rcpt(recipient) => {
                            self.session.rcpt(accepted);
                            if let (true, Some(transaction)) = (accepted, &mut self.transaction) {
                                transaction.add(recipient);
                            }
                        }
                    }
                    if closing {
                        self.end = SessionEnd::NextHop;
                        self.asked.clear();
                        return Flow::Close;
                    }
                }
                Err(failure) => {
                    let unanswered = 1 + self.asked.len();
                    if let Asked::Mail = asked {
                        self.session.mail(false);
                    }
                    self.asked.clear();
                    self.lose_next_hop(&failure, unanswered);
                }
            }
        }
        if !self.session.in_transaction() {
            self.transaction = None;
        }
        Flow::Continue
    }

    /// The next hop is gone in the middle of an envelope: this transaction comes to nothing, the next one may reconnect.
    fn lose_next_hop(&mut self, failure: &Failure, unanswered: usize) {
        let id = self.transaction.as_ref().map(|t| t.id().to_owned()).unwrap_or_default();
        self.complain(failure, &id);
        for _ in 0..unanswered {
            failure.answer().write_with_id(&id, &mut self.out);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.lost = true;
        }
    }

    /// What XFORWARD said holds up to here.
    fn end_of_transaction(&mut self) {
        self.transaction = None;
        self.message_deadline = None;
        self.xforward.clear();
        self.relay.end_of_transaction();
    }

    fn complain(&self, failure: &Failure, id: &str) {
        self.context.counts.failure(failure);
        // Every client meets a next hop that is away, and tries again: the log need not hear of each.
        let away = failure.side == Side::NextHop && matches!(failure.phase, Phase::Connect | Phase::Hello);
        let limiter = self.relay.counts().filter(|_| away).map(|counts| &counts.log);
        let admitted = limiter.map_or(Some(0), Limiter::admit);
        let Some(left_out) = admitted else {
            return self.context.counts.line_left_out();
        };
        warn!(
            target: "linkgate::mail",
            id,
            listener = %self.context.listener.listen,
            client = %self.peer,
            helo = %Printable(&self.name),
            next_hop = %self.context.listener.next_hops,
            left_out,
            "{failure}"
        );
    }

    fn count_end(&self, broken: Option<&io::Error>) {
        let counts = &self.context.counts;
        let end = match broken.map(io::Error::kind) {
            None => self.end,
            Some(io::ErrorKind::TimedOut) => {
                counts.timeout(Silence::Reply);
                SessionEnd::Timeout
            }
            // Clients that have what they want often do not wait for the reply to QUIT.
            Some(_) if self.end == SessionEnd::Quit => SessionEnd::Quit,
            Some(_) => SessionEnd::Broken,
        };
        counts.ended.inc(end);
    }

    /// Notes a session that ended in the middle of something: no message came of it.
    fn take_leave(&self, cause: Option<io::Error>) {
        let id = self.transaction.as_ref().map_or("", Transaction::id);
        let cause = cause.map_or_else(|| "connection closed".to_owned(), |e| e.to_string());
        if self.session.in_transaction() {
            info!(target: "linkgate::mail", id, client = %self.peer, helo = %Printable(&self.name), cause, "session ended before its message did");
        } else {
            debug!(target: "linkgate::mail", client = %self.peer, helo = %Printable(&self.name), cause, "session ended");
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.client.write_all(&self.out).await?;
            // TLS keeps what the socket would not take.
            self.client.flush().await
        };
        timeout(self.settings.limits.command_timeout, written).await??;
        if self.out.capacity() > OUT_KEPT {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more from the client; false when the session is over.
    async fn fill(&mut self, inbox: &mut Inbox, deadline: Instant) -> io::Result<bool> {
        let block = if self.session.in_data() {
            DATA_BLOCK
        } else {
            COMMAND_BLOCK
        };
        let idle = !self.session.in_transaction();
        let deadline = self.message_deadline.map_or(deadline, |end| end.min(deadline));
        let answer = tokio::select! {
            biased;
            () = stopped(&mut self.shutdown), if idle => {
                self.end = SessionEnd::Shutdown;
                Answer::SHUTTING_DOWN
            }
            filled = timeout_at(deadline, inbox.fill(&mut self.client, block)) => match filled {
                Ok(n) => return Ok(n? > 0),
                Err(_) => {
                    self.end = SessionEnd::Timeout;
                    let in_data = self.session.in_data();
                    self.context.counts.timeout(if in_data { Silence::Data } else { Silence::Command });
                    Answer::TIMEOUT
                }
            },
        };
        answer.write(&mut self.out);
        self.flush().await?;
        Ok(false)
    }
}
