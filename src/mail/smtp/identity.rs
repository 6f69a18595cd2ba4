//! The identity of the client: what it calls itself, what it says about others (XFORWARD), and for whom it speaks (XCLIENT).

use std::net::SocketAddr;

use tracing::{debug, info};
use wire::{Answer, ClientInfo, Printable, Told};

use super::{Conversation, MAX_SHOWN, Next};
use crate::config::{Listener, Protocol};
use crate::metrics::{Limit, SessionEnd};
use crate::net::Peer;

/// The names a client gives for itself and for the client behind it, and which of them are believed.
pub(super) struct ClientIdentity {
    /// The peer at the other end of the connection.
    pub(super) connected: Peer,
    /// Whether XCLIENT is offered: that depends on the peer that is connected, whatever client it speaks for.
    may_xclient: bool,
    /// Whether XFORWARD is offered.
    trusted: bool,
    /// The client that the peer speaks for.
    behind: ClientInfo,
    /// The name that the client gives itself.
    pub(super) name: Vec<u8>,
    /// XFORWARD lines of this transaction, for the log.
    pub(super) xforward: Vec<u8>,
}

impl ClientIdentity {
    /// A client that has said nothing yet.
    pub(super) fn new(peer: Peer, listener: &Listener) -> Self {
        Self {
            connected: peer,
            // A peer on a unix socket is in any list of networks: the list must name some network before it counts.
            may_xclient: !listener.xclient_from.is_empty() && peer.is_in(&listener.xclient_from),
            trusted: peer.is_in(&listener.xforward_from),
            behind: ClientInfo::default(),
            name: Vec::new(),
            xforward: Vec::new(),
        }
    }
}

impl Conversation {
    /// The greeting, at the beginning and after XCLIENT.
    pub(super) fn greet(&mut self) {
        let listener = &self.client.context.listener;
        let dialect = match listener.protocol {
            Protocol::Lmtp => "LMTP",
            _ => "ESMTP",
        };
        let greeting = format!("220 {} {dialect} linkgate\r\n", listener.hostname);
        self.client.out.extend_from_slice(greeting.as_bytes());
    }

    pub(super) async fn hello(&mut self, name: &[u8], extended: bool) -> Next {
        self.end_of_transaction();
        // A client that speaks for another may have given that one's name, and gives its own here.
        if self.identity.behind.helo.known().is_none() {
            self.identity.name = name.get(..MAX_SHOWN).unwrap_or(name).to_vec();
        }
        let listener = &self.client.context.listener;
        match self.relay.hello(&self.client.settings.limits).await {
            Ok(offers) if extended => {
                let mut offered = offers.offered(listener.max_message, self.identity.trusted);
                offered.starttls = self.session.offers_tls();
                offered.xclient = self.identity.may_xclient;
                // In LMTP every recipient has a reply anyway.
                offered.prdr = listener.protocol == Protocol::Smtp;
                offered.write(&listener.hostname, &mut self.client.out);
            }
            Ok(_) => self
                .client
                .out
                .extend_from_slice(format!("250 {}\r\n", listener.hostname).as_bytes()),
            Err(failure) => {
                self.client.end = SessionEnd::NextHop;
                self.log_failure(&failure, "");
                Answer::NO_NEXT_HOP.write(&mut self.client.out);
                return Next::Close;
            }
        }
        self.session.hello();
        Next::Continue
    }

    /// XCLIENT: from here on the session is another client's, from its beginning.
    pub(super) fn xclient(&mut self, line: &[u8]) {
        if !self.identity.may_xclient {
            self.client.context.counts.limits.inc(Limit::Xclient);
            return Answer::XCLIENT_DENIED.write(&mut self.client.out);
        }
        if self.identity.behind.read_xclient(line).is_err() {
            return Answer::BAD_SYNTAX.write(&mut self.client.out);
        }
        self.client.context.counts.xclient.inc();
        let through = self.client.peer;
        let listener = &self.client.context.listener;
        match &self.identity.behind.address {
            Told::Is(ip) => {
                let port = self.identity.behind.port.known().copied().unwrap_or_default();
                self.client.peer = Peer::Tcp(SocketAddr::new(*ip, port));
                self.identity.trusted = self.client.peer.is_in(&listener.xforward_from);
            }
            Told::Unknown => self.identity.trusted = false,
            Told::Nothing => {}
        }
        self.identity.name = self.identity.behind.helo.known().cloned().unwrap_or_default();
        info!(
            target: "linkgate::mail",
            listener = %listener.listen,
            client = %self.client.peer,
            %through,
            xclient = %Printable(line.get(b"XCLIENT".len()..).unwrap_or_default().trim_ascii()),
            "a session for another client"
        );
        self.end_of_transaction();
        self.session.greet_again();
        self.greet();
    }

    pub(super) async fn xforward(&mut self, line: &[u8]) -> Next {
        if !self.identity.trusted {
            self.client.context.counts.limits.inc(Limit::Xforward);
            Answer::XFORWARD_DENIED.write(&mut self.client.out);
            return Next::Continue;
        }
        if self.identity.xforward.len() + line.len() <= MAX_SHOWN {
            self.identity
                .xforward
                .extend_from_slice(line.get(b"XFORWARD".len()..).unwrap_or_default());
        }
        match self.relay.xforward(line, &self.client.settings.limits).await {
            Ok(Some(reply)) => {
                reply.write(&mut self.client.out);
                if reply.code != 421 {
                    return Next::Continue;
                }
                self.client.end = SessionEnd::NextHop;
                return Next::Close;
            }
            Ok(None) => Answer::OK.write(&mut self.client.out),
            Err(failure) => {
                self.log_failure(&failure, "");
                failure.answer().write(&mut self.client.out);
            }
        }
        Next::Continue
    }

    /// Sends XFORWARD before MAIL, with the client that our client speaks for, unless our client has sent it itself.
    ///
    /// There is no key for it: a next hop offers XFORWARD to those from whom it believes it, and without XCLIENT nothing is
    /// known that it does not know.
    pub(super) async fn introduce(&mut self) {
        if !self.identity.behind.is_told() || self.relay.has_xforward() {
            return;
        }
        let limits = &self.client.settings.limits;
        // Where there is no connection, MAIL will find out.
        let Ok(offers) = self.relay.connect(limits).await else {
            return;
        };
        let Some(names) = &offers.xforward else { return };
        for line in self.identity.behind.xforward(names, &self.identity.name) {
            match self.relay.xforward(&line, limits).await {
                Ok(Some(reply)) if reply.class() != 2 => {
                    debug!(target: "linkgate::mail", %reply, "the next hop does not want to know who the client is");
                }
                Ok(_) => {}
                Err(failure) => return self.log_failure(&failure, ""),
            }
        }
    }
}
