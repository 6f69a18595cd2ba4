//! One SMTP session with a client.

mod complete;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, info, warn};
use wire::{Answer, BareLineEnds, Event, PathLine, Printable, Session};

use super::transaction::{Recipient, Transaction};
use super::{Context, stopped};
use crate::failure::Failure;
use crate::relay::{Inbox, Relay};
use crate::settings::{self, Settings};

/// Octets read at a time while commands are expected.
const COMMAND_BLOCK: usize = 16 << 10;

/// Octets read at a time while message data is expected.
const DATA_BLOCK: usize = 32 << 10;

/// Octets of the reply buffer that are kept between turns.
const OUT_KEPT: usize = 4096;

/// Recipients of one transaction. RFC 5321 4.5.3.1.8 asks for at least 100; Postfix takes 1000.
const MAX_RECIPIENTS: usize = 1000;

/// Octets of the client's name and of XFORWARD lines that are kept for the log.
const MAX_SHOWN: usize = 512;

/// Serves one client to the end of its session.
pub(super) async fn session(
    client: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    shutdown: watch::Receiver<bool>,
) {
    let listener = &context.listener;
    let address = peer.ip().to_canonical();
    let Some(next_hop) = listener.next_hop.clone() else {
        return error!(target: "linkgate::mail", listener = %listener.listen, "an SMTP listener without a next hop");
    };
    let settings = context.settings.borrow().clone();
    let mut conversation = Conversation {
        client,
        peer,
        trusted: listener.xforward_from.iter().any(|net| net.contains(&address)),
        relay: Relay::new(next_hop, listener.hostname.clone()),
        settings,
        shutdown,
        session: Session::default(),
        out: Vec::new(),
        name: Vec::new(),
        xforward: Vec::new(),
        transaction: None,
        asked: VecDeque::new(),
        data_octets: 0,
        context,
    };
    let ended = conversation.run().await;
    conversation.take_leave(ended.err());
    let Conversation { client, relay, .. } = conversation;
    // The client need not wait until the next hop has said goodbye.
    drop(client);
    relay.quit().await;
}

struct Conversation {
    client: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    /// The snapshot of the transaction, or of the last one.
    settings: Arc<Settings>,
    shutdown: watch::Receiver<bool>,
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
    /// What the next hop was asked on the client's behalf, without a reply so far.
    asked: VecDeque<Asked>,
    /// Octets between DATA and the final dot, whatever became of them.
    data_octets: u64,
}

enum Asked {
    Mail,
    Rcpt(Recipient),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Close,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        let greeting = format!("220 {} ESMTP linkgate\r\n", self.context.listener.hostname);
        self.out.extend_from_slice(greeting.as_bytes());
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
                *deadline = Instant::now() + self.settings.limits.command_timeout;
                // The refusal of a message that is too large waits for its end, but not for ever.
                if self.session.in_data()
                    && self.data_octets > self.context.listener.max_message.saturating_mul(2) + (1 << 20)
                {
                    Answer::TOO_LARGE.write(&mut self.out);
                    return Flow::Close;
                }
            }
            if flow == Flow::Close {
                return flow;
            }
            if done {
                return self.settle().await;
            }
            // A client has that long for a command, not for each octet of it.
            *deadline = Instant::now() + self.settings.limits.command_timeout;
        }
    }

    async fn act(&mut self, event: Event<'_>) -> Flow {
        match event {
            Event::Mail(path) => return self.mail(&path).await,
            Event::Rcpt(path) => return self.rcpt(&path).await,
            Event::Content(bytes) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.take_in(bytes, self.context.listener.max_message).await;
                }
                return Flow::Continue;
            }
            Event::EndOfData(end) => {
                if let Some(transaction) = self.transaction.take() {
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
            Event::Data => self.data(),
            Event::Reset => {
                self.end_of_transaction();
                Answer::OK.write(&mut self.out);
            }
            Event::Say(answer) => answer.write(&mut self.out),
            Event::Quit => {
                Answer::BYE.write(&mut self.out);
                return Flow::Close;
            }
            Event::Close(answer) => {
                answer.write(&mut self.out);
                return Flow::Close;
            }
            Event::Mail(_) | Event::Rcpt(_) | Event::Content(_) | Event::EndOfData(_) => {}
        }
        Flow::Continue
    }

    async fn hello(&mut self, name: &[u8], extended: bool) -> Flow {
        self.end_of_transaction();
        self.name = name.get(..MAX_SHOWN).unwrap_or(name).to_vec();
        let listener = &self.context.listener;
        match self.relay.connect(&self.settings.limits).await {
            Ok(offers) if extended => offers
                .offered(listener.max_message, self.trusted)
                .write(&listener.hostname, &mut self.out),
            Ok(_) => self
                .out
                .extend_from_slice(format!("250 {}\r\n", listener.hostname).as_bytes()),
            Err(failure) => {
                self.complain(&failure, "");
                Answer::NO_NEXT_HOP.write(&mut self.out);
                return Flow::Close;
            }
        }
        self.session.hello();
        Flow::Continue
    }

    async fn xforward(&mut self, line: &[u8]) -> Flow {
        if !self.trusted {
            Answer::XFORWARD_DENIED.write(&mut self.out);
            return Flow::Continue;
        }
        if self.xforward.len() + line.len() <= MAX_SHOWN {
            self.xforward
                .extend_from_slice(line.get(b"XFORWARD".len()..).unwrap_or_default());
        }
        match self.relay.xforward(line, &self.settings.limits).await {
            Ok(Some(reply)) => {
                reply.write(&mut self.out);
                return if reply.code == 421 { Flow::Close } else { Flow::Continue };
            }
            Ok(None) => Answer::OK.write(&mut self.out),
            Err(failure) => {
                self.complain(&failure, "");
                failure.answer().write(&mut self.out);
            }
        }
        Flow::Continue
    }

    async fn mail(&mut self, path: &PathLine<'_>) -> Flow {
        if *self.shutdown.borrow() {
            Answer::SHUTTING_DOWN.write(&mut self.out);
            return Flow::Close;
        }
        self.settings = self.context.settings.borrow().clone();
        if path.size().is_some_and(|size| size > self.context.listener.max_message) {
            Answer::TOO_LARGE.write(&mut self.out);
            self.session.mail(false);
            return Flow::Continue;
        }
        let transaction = Transaction::new(path, Arc::clone(&self.settings));
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
        if !self.fits(&recipient) && self.settle().await == Flow::Close {
            return Flow::Close;
        }
        let fits = self.fits(&recipient);
        let (answer, accepted_or_asked) = match &self.transaction {
            None => (Some(Answer::NEED_MAIL), 0),
            Some(t) if t.lost => (Some(Answer::NEXT_HOP_LOST), 0),
            Some(_) if !fits => (Some(Answer::TOO_MANY_RECIPIENTS), 0),
            Some(t) => (None, t.recipients().len() + self.asked.len()),
        };
        if answer.is_some() || accepted_or_asked >= MAX_RECIPIENTS {
            if self.settle().await == Flow::Close {
                return Flow::Close;
            }
            answer.unwrap_or(Answer::TOO_MANY_RECIPIENTS).write(&mut self.out);
            return Flow::Continue;
        }
        match self.relay.rcpt(path) {
            Ok(()) => self.asked.push_back(Asked::Rcpt(recipient)),
            Err(failure) => self.lose_next_hop(&failure, 1),
        }
        self.settle_unless_pipelining().await
    }

    /// Whether the recipient may share a copy with the first one that was accepted, or may yet be.
    fn fits(&self, recipient: &Recipient) -> bool {
        let accepted = self.transaction.as_ref().and_then(Transaction::first);
        let asked = self.asked.iter().find_map(|asked| match asked {
            Asked::Rcpt(recipient) => Some(recipient),
            Asked::Mail => None,
        });
        accepted.or(asked).is_none_or(|first| first.shares_copy_with(recipient))
    }

    fn data(&mut self) {
        let Some(transaction) = &self.transaction else {
            return self.session.data(BareLineEnds::Refuse).write(&mut self.out);
        };
        if transaction.lost {
            return Answer::NEXT_HOP_LOST.write_with_id(transaction.id(), &mut self.out);
        }
        self.data_octets = 0;
        let policy = match self.context.listener.bare_line_ends {
            settings::BareLineEnds::Refuse => BareLineEnds::Refuse,
            settings::BareLineEnds::Normalise => BareLineEnds::Normalise,
        };
        self.session.data(policy).write(&mut self.out);
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
                    let (accepted, closing) = (reply.class() == 2, reply.code == 421);
                    reply.write(&mut self.out);
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
        self.xforward.clear();
        self.relay.end_of_transaction();
    }

    fn complain(&self, failure: &Failure, id: &str) {
        warn!(
            target: "linkgate::mail",
            id,
            listener = %self.context.listener.listen,
            client = %self.peer,
            helo = %Printable(&self.name),
            next_hop = self.context.listener.next_hop.as_ref().map(tracing::field::display),
            "{failure}"
        );
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
        timeout(self.settings.limits.command_timeout, self.client.write_all(&self.out)).await??;
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
        let answer = tokio::select! {
            biased;
            () = stopped(&mut self.shutdown), if idle => Answer::SHUTTING_DOWN,
            filled = timeout_at(deadline, inbox.fill(&self.client, block)) => match filled {
                Ok(n) => return Ok(n? > 0),
                Err(_) => Answer::TIMEOUT,
            },
        };
        answer.write(&mut self.out);
        self.flush().await?;
        Ok(false)
    }
}
