//! Who the client is: what it calls itself, what it says about others (XFORWARD), and for whom it speaks (XCLIENT).

use std::net::SocketAddr;

use tracing::{debug, info};
use wire::{Answer, Printable, Told};

use super::{Conversation, Flow, MAX_SHOWN};
use crate::config::{Listener, Protocol};
use crate::metrics::{Limit, SessionEnd};
use crate::net::Peer;

/// Whether a peer may speak for others. Who may connect to a unix socket is said by its permissions; but where nobody may,
/// such a peer may not either.
pub(super) fn may_speak_for_others(peer: Peer, listener: &Listener) -> bool {
    !listener.xclient_from.is_empty() && peer.is_in(&listener.xclient_from)
}

impl Conversation {
    /// The greeting, at the beginning and after XCLIENT.
    pub(super) fn greet(&mut self) {
        let listener = &self.context.listener;
        let dialect = match listener.protocol {
            Protocol::Lmtp => "LMTP",
            _ => "ESMTP",
        };
        let greeting = format!("220 {} {dialect} linkgate\r\n", listener.hostname);
        self.out.extend_from_slice(greeting.as_bytes());
    }

    pub(super) async fn hello(&mut self, name: &[u8], extended: bool) -> Flow {
        self.end_of_transaction();
        // Who speaks for another may say that one's name, and its own here.
        if self.behind.helo.known().is_none() {
            self.name = name.get(..MAX_SHOWN).unwrap_or(name).to_vec();
        }
        let listener = &self.context.listener;
        match self.relay.hello(&self.settings.limits).await {
            Ok(offers) if extended => {
                let mut offered = offers.offered(listener.max_message, self.trusted);
                offered.starttls = self.session.offers_tls();
                offered.xclient = self.may_xclient;
                // In LMTP every recipient has a reply anyway.
                offered.prdr = listener.protocol == Protocol::Smtp;
                offered.write(&listener.hostname, &mut self.out);
            }
            Ok(_) => self
                .out
                .extend_from_slice(format!("250 {}\r\n", listener.hostname).as_bytes()),
            Err(failure) => {
                self.end = SessionEnd::NextHop;
                self.complain(&failure, "");
                Answer::NO_NEXT_HOP.write(&mut self.out);
                return Flow::Close;
            }
        }
        self.session.hello();
        Flow::Continue
    }

    /// XCLIENT: from here on the session is another client's, from its beginning.
    pub(super) fn xclient(&mut self, line: &[u8]) {
        if !self.may_xclient {
            self.context.counts.limits.inc(Limit::Xclient);
            return Answer::XCLIENT_DENIED.write(&mut self.out);
        }
        if self.behind.read_xclient(line).is_err() {
            return Answer::BAD_SYNTAX.write(&mut self.out);
        }
        self.context.counts.xclient.inc();
        let through = self.peer;
        let listener = &self.context.listener;
        match &self.behind.address {
            Told::Is(ip) => {
                let port = self.behind.port.known().copied().unwrap_or_default();
                self.peer = Peer::Tcp(SocketAddr::new(*ip, port));
                self.trusted = self.peer.is_in(&listener.xforward_from);
            }
            Told::Unknown => self.trusted = false,
            Told::Nothing => {}
        }
        self.name = self.behind.helo.known().cloned().unwrap_or_default();
        info!(
            target: "linkgate::mail",
            listener = %listener.listen,
            client = %self.peer,
            %through,
            xclient = %Printable(line.get(b"XCLIENT".len()..).unwrap_or_default().trim_ascii()),
            "a session for another client"
        );
        self.end_of_transaction();
        self.session.greet_again();
        self.greet();
    }

    pub(super) async fn xforward(&mut self, line: &[u8]) -> Flow {
        if !self.trusted {
            self.context.counts.limits.inc(Limit::Xforward);
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
                if reply.code != 421 {
                    return Flow::Continue;
                }
                self.end = SessionEnd::NextHop;
                return Flow::Close;
            }
            Ok(None) => Answer::OK.write(&mut self.out),
            Err(failure) => {
                self.complain(&failure, "");
                failure.answer().write(&mut self.out);
            }
        }
        Flow::Continue
    }

    /// Before MAIL: tells the next hop whom the client speaks for, unless the client has told it in words of its own.
    ///
    /// There is no key for it: a next hop offers XFORWARD to those from whom it believes it, and without XCLIENT nothing is
    /// known that it would have to be told.
    pub(super) async fn introduce(&mut self) {
        if !self.behind.is_told() || self.relay.has_xforward() {
            return;
        }
        let limits = &self.settings.limits;
        // Where there is no connection, MAIL will find out.
        let Ok(offers) = self.relay.connect(limits).await else {
            return;
        };
        let Some(names) = &offers.xforward else { return };
        for line in self.behind.xforward(names, &self.name) {
            match self.relay.xforward(&line, limits).await {
                Ok(Some(reply)) if reply.class() != 2 => {
                    debug!(target: "linkgate::mail", %reply, "the next hop does not want to know who the client is");
                }
                Ok(_) => {}
                Err(failure) => return self.complain(&failure, ""),
            }
        }
    }
}
