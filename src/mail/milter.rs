//! One milter session: an MTA describes its SMTP clients and their messages, and is told what to change.

mod complete;
mod fields;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use wire::milter::{Event, LineEnds, Macros, Reply, Session, Stage, path_line};
use wire::{Answer, PathLine};

use self::fields::FieldMap;
use crate::failure::Failure;
use crate::mail::context::ListenerContext;
use crate::mail::session::{ClientConnection, Filled};
use crate::mail::transaction::{Recipient, Transaction, UnderWay};
use crate::metrics::{Limit, SessionEnd};
use crate::net::{Inbox, Peer, Stream};

/// Octets read at a time while little is expected.
const ENVELOPE_BLOCK: usize = 4 << 10;

/// Octets read at a time while content is expected.
const CONTENT_BLOCK: usize = 64 << 10;

/// How long an MTA may say nothing while no content is under way: its SMTP client sets the pace then, and Sendmail gives that
/// an hour for a command. libmilter waits as long.
const CLIENTS_PACE: Duration = Duration::from_secs(7_210);

/// Recipients of one message that are kept whatever `max_recipients` says: with a single one, the copy that all share would
/// be made out to it.
const LEAST_RECIPIENTS: usize = 2;

/// Octets of each thing the MTA says of its client that are kept for the log.
const MAX_SHOWN: usize = 256;

/// Serves one MTA to the end of its connection.
pub(crate) async fn session(
    stream: Stream,
    peer: Peer,
    context: Arc<ListenerContext>,
    shutdown: watch::Receiver<bool>,
) {
    let mut conversation = Conversation {
        mta: ClientConnection::new(stream, peer, context, shutdown),
        session: Session::default(),
        client: SmtpClient::default(),
        message: None,
    };
    let ended = conversation.run().await;
    let Conversation {
        mta, client, message, ..
    } = conversation;
    let unfinished = message.as_ref().map(|message| message.transaction.id());
    mta.log_end(ended.err().as_ref(), &client.helo, unfinished);
}

/// A session and its MTA.
struct Conversation {
    mta: ClientConnection,
    session: Session,
    client: SmtpClient,
    message: Option<IncomingMessage>,
}

/// The MTA's own client, as the MTA describes it.
#[derive(Default)]
struct SmtpClient {
    name: Vec<u8>,
    address: Vec<u8>,
    helo: Vec<u8>,
    /// Macro `i`: the MTA's name for the message.
    queue_id: Vec<u8>,
    /// Macro `auth_authen`: who the client has proved to be.
    login: Vec<u8>,
    /// Macro `v` names Postfix.
    is_postfix: bool,
    /// There is no SMTP client: mail comes from a local program.
    is_local: bool,
    /// The message had a queue id before its envelope was complete.
    queued_at_mail: bool,
}

impl SmtpClient {
    /// Whether a recipient that is refused for now is tried again in a message of its own.
    ///
    /// Postfix also asks about mail that comes from a local program and is in its queue already. There is no client then: a
    /// refusal would hold up the whole message. Its signs are a client without a port, or a queue id that is there at MAIL; with an
    /// SMTP client, Postfix makes it later.
    fn may_come_again(&self) -> bool {
        !(self.is_local || self.is_postfix && self.queued_at_mail)
    }

    /// The next client of the same MTA.
    fn followed_by(&self, name: &[u8], address: &[u8]) -> Self {
        Self {
            name: shown(name),
            address: shown(address),
            is_postfix: self.is_postfix,
            ..Self::default()
        }
    }

    fn message_over(&mut self) {
        self.queue_id.clear();
        self.login.clear();
        self.queued_at_mail = false;
    }

    /// Writes what is known as XFORWARD attributes are written, so that log lines of all protocols read alike.
    fn as_xforward(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (attribute, value) in [
            ("NAME", &self.name),
            ("ADDR", &self.address),
            ("IDENT", &self.queue_id),
            ("LOGIN", &self.login),
        ] {
            if value.is_empty() {
                continue;
            }
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(attribute.as_bytes());
            out.push(b'=');
            out.extend(value.iter().map(|b| if b.is_ascii_whitespace() { b'?' } else { *b }));
        }
        out
    }
}

/// A message on its way in.
struct IncomingMessage {
    transaction: Transaction,
    fields: FieldMap,
    body_lines: LineEnds,
    /// The MTA was asked to skip the rest of the body.
    skipping: bool,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        let mut inbox = Inbox::default();
        let mut deadline = self.deadline();
        loop {
            let stage = self.session.stage();
            let flow = self.turn(&mut inbox, &mut deadline).await?;
            self.mta.flush().await?;
            if self.session.stage() != stage {
                deadline = self.deadline();
            }
            if flow.is_break() || !self.fill(&mut inbox, deadline).await? {
                return Ok(());
            }
        }
    }

    /// Acts on all that the MTA has said so far.
    async fn turn(&mut self, inbox: &mut Inbox, deadline: &mut Instant) -> io::Result<ControlFlow<()>> {
        loop {
            let (used, event) = self.session.next(inbox.filled());
            let flow = match event {
                Some(event) => self.act(event).await?,
                None => ControlFlow::Continue(()),
            };
            let done = event.is_none();
            inbox.consume(used);
            if done || flow.is_break() {
                return Ok(flow);
            }
            *deadline = self.deadline();
        }
    }

    /// Until when the next packet must have come.
    fn deadline(&self) -> Instant {
        let wait = match self.session.stage() {
            Stage::Idle | Stage::Envelope => self.mta.settings.limits.command_timeout.max(CLIENTS_PACE),
            Stage::New | Stage::Header | Stage::Body => self.mta.settings.limits.command_timeout,
        };
        Instant::now() + wait
    }

    async fn act(&mut self, event: Event<'_>) -> io::Result<ControlFlow<()>> {
        match event {
            Event::Negotiate => self.session.terms().write(&mut self.mta.out),
            Event::Connect {
                name,
                family,
                port,
                address,
            } => {
                self.client = self.client.followed_by(name, address);
                self.client.is_local = !matches!(family, b'4' | b'6') || port == 0;
                self.go_on();
            }
            Event::Hello(name) => {
                self.client.helo = shown(name);
                self.go_on();
            }
            Event::Macros(macros) => self.macros(&macros),
            Event::Mail(arguments) => return Ok(self.mail(arguments)),
            Event::Rcpt(arguments) => self.rcpt(arguments),
            Event::Data => {
                if !self.pass_over() {
                    self.go_on();
                }
            }
            Event::Header { .. } | Event::EndOfHeader if self.may_pass_over() && self.pass_over() => {}
            Event::Header { name, value } => {
                self.header(name, value).await;
                self.go_on();
            }
            Event::EndOfHeader => {
                self.end_of_header().await;
                self.go_on();
            }
            Event::Content(content) => self.content(content).await,
            Event::EndOfContent => self.end_of_content(),
            Event::EndOfMessage => match self.message.take() {
                Some(message) => self.complete(message).await?,
                // Nothing is promised for a message that nothing is known of.
                None => Reply::TempFail.write(&mut self.mta.out),
            },
            Event::Abort => self.message_over(),
            Event::NewClient => {
                self.message_over();
                self.client = self.client.followed_by(b"", b"");
            }
            Event::Unknown => self.go_on(),
            Event::Quit => {
                self.mta.end = SessionEnd::Quit;
                return Ok(ControlFlow::Break(()));
            }
            Event::Close(fault) => {
                self.mta.end = SessionEnd::Errors;
                self.mta.context.counts.client_broke_protocol();
                warn!(
                    target: "linkgate::mail",
                    listener = %self.mta.context.listener.listen,
                    client = %self.mta.peer,
                    "not the milter protocol, or not as expected: {fault}"
                );
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Tells the MTA to go on, if it waits for that.
    fn go_on(&mut self) {
        if self.session.reply_due() {
            Reply::Continue.write(&mut self.mta.out);
        }
    }

    fn refuse(&mut self, answer: Answer) {
        code(answer, None, &mut self.mta.out);
    }

    fn macros(&mut self, macros: &Macros<'_>) {
        for (name, value) in macros.iter() {
            match name {
                b"i" => {
                    self.client.queue_id = shown(value);
                    self.client.queued_at_mail |= macros.of_mail() && !value.is_empty();
                }
                b"auth_authen" => self.client.login = shown(value),
                b"v" => self.client.is_postfix = value.starts_with(b"Postfix"),
                _ => {}
            }
        }
    }

    fn mail(&mut self, arguments: &[u8]) -> ControlFlow<()> {
        self.message = None;
        if self.mta.is_stopping() {
            self.mta.end = SessionEnd::Shutdown;
            self.refuse(Answer::SHUTTING_DOWN);
            return ControlFlow::Break(());
        }
        self.mta.renew_settings();
        let line = path_line(arguments);
        let path = PathLine::behind_colon(&line);
        if path
            .size()
            .is_some_and(|size| size > self.mta.context.listener.max_message)
        {
            self.mta.context.counts.limits.inc(Limit::MessageSize);
            self.refuse(Answer::TOO_LARGE);
            self.message_over();
            return ControlFlow::Continue(());
        }
        let under_way = UnderWay {
            _open: self.mta.context.counts.transaction(),
            // The protocol has no way to make an MTA wait.
            _slot: None,
        };
        self.message = Some(IncomingMessage {
            transaction: Transaction::new(
                &path,
                Arc::clone(&self.mta.settings),
                &self.mta.context.budgets,
                under_way,
            ),
            fields: FieldMap::default(),
            body_lines: LineEnds::default(),
            skipping: false,
        });
        self.go_on();
        ControlFlow::Continue(())
    }

    fn rcpt(&mut self, arguments: &[u8]) {
        let Some(message) = &mut self.message else {
            return self.refuse(Answer::INTERNAL);
        };
        let line = path_line(arguments);
        let recipient = Recipient::new(&PathLine::behind_colon(&line), &self.mta.settings);
        let transaction = &mut message.transaction;
        let has_room = transaction.recipients().len() < self.mta.context.listener.max_recipients.max(LEAST_RECIPIENTS);
        let first = transaction.first();
        if first.is_none_or(|first| first.shares_copy_with(&recipient)) {
            if has_room {
                transaction.add(recipient);
            }
        } else if self.client.may_come_again() {
            return self.refuse(Answer::TOO_MANY_RECIPIENTS);
        } else {
            // All get the same bytes, and there is no client that could send them apart: then the policy that protects holds for all.
            info!(
                target: "linkgate::mail",
                id = transaction.id(),
                "recipients with different settings share a message that cannot be sent apart"
            );
            if first.is_some_and(|first| !first.wants_rewriting()) {
                transaction.add_in_front(recipient);
            } else if has_room {
                transaction.add(recipient);
            }
        }
        self.go_on();
    }

    /// Whether the MTA can be told now that it need not send the message: at DATA, or, where it does not announce that, at
    /// the beginning of the header.
    fn may_pass_over(&self) -> bool {
        let nothing_read = self.message.as_ref().is_some_and(|m| m.fields.is_empty());
        !self.session.terms().tells_of_data() && self.session.reply_due() && nothing_read
    }

    /// Lets a message pass unread if the domains of its recipients are off. True when this is one.
    fn pass_over(&mut self) -> bool {
        let wanted = |m: &IncomingMessage| m.transaction.first().is_some_and(Recipient::wants_rewriting);
        let Some(message) = self.message.take_if(|m| !wanted(m)) else {
            return false;
        };
        Reply::Accept.write(&mut self.mta.out);
        self.log_passed_over(&message);
        self.message_over();
        true
    }

    async fn header(&mut self, name: &[u8], value: &[u8]) {
        let leading_space = self.session.terms().leading_space();
        if let Some(message) = &mut self.message {
            let mut field = Vec::with_capacity(name.len() + value.len() + 4);
            if message.fields.add(name, value, leading_space, &mut field) {
                let max = self.mta.context.listener.max_message;
                message.transaction.take_in(&field, max).await;
            } else {
                message.transaction.refuse_as_too_large();
            }
        }
    }

    async fn end_of_header(&mut self) {
        if let Some(message) = &mut self.message
            && message.fields.end()
        {
            let max = self.mta.context.listener.max_message;
            message.transaction.take_in(b"\r\n", max).await;
        }
    }

    async fn content(&mut self, content: &[u8]) {
        self.end_of_header().await;
        if let Some(message) = &mut self.message
            && !message.transaction.has_failed()
        {
            let mut lines = Vec::with_capacity(content.len() + 1);
            message.body_lines.push(content, &mut lines);
            let max = self.mta.context.listener.max_message;
            message.transaction.take_in(&lines, max).await;
        }
    }

    fn end_of_content(&mut self) {
        let may_skip = self.session.terms().may_skip();
        let skip = self
            .message
            .as_mut()
            .filter(|m| may_skip && !m.skipping && m.transaction.has_failed());
        match skip {
            // The refusal waits for the end; until then nothing more needs to come.
            Some(message) => {
                message.skipping = true;
                Reply::Skip.write(&mut self.mta.out);
            }
            None => self.go_on(),
        }
    }

    fn message_over(&mut self) {
        self.message = None;
        self.client.message_over();
        self.session.message_over();
    }

    fn log_failure(&self, failure: &Failure, id: &str) {
        let xforward = self.client.as_xforward();
        self.mta
            .log_failure(failure, id, &self.client.helo, Some(&xforward), None);
    }

    /// Waits for more from the MTA; false when the session is over.
    async fn fill(&mut self, inbox: &mut Inbox, deadline: Instant) -> io::Result<bool> {
        let in_data = matches!(self.session.stage(), Stage::Header | Stage::Body);
        let block = if in_data { CONTENT_BLOCK } else { ENVELOPE_BLOCK };
        let idle = self.message.is_none();
        match self.mta.fill(inbox, block, deadline, idle, in_data).await? {
            Filled::Octets => Ok(true),
            // When linkgate stops, the MTA takes its next message for one whose filter is away, and has its client try again.
            Filled::Closed | Filled::Shutdown => Ok(false),
            Filled::Timeout => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Appends a refusal in words; with the id, if given, under which the log has the cause. Gives back the words.
fn code(answer: Answer, id: Option<&str>, out: &mut Vec<u8>) -> Vec<u8> {
    let mut text = Vec::new();
    match id {
        Some(id) => answer.write_with_id(id, &mut text),
        None => answer.write(&mut text),
    }
    text.truncate(text.trim_ascii_end().len());
    Reply::Code(&text).write(out);
    text
}

fn shown(text: &[u8]) -> Vec<u8> {
    text.get(..MAX_SHOWN).unwrap_or(text).to_vec()
}
