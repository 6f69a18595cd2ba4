//! Prepares a connection for a session of any protocol: reads the header of a proxy, and encrypts from the first octet.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};
use wire::{MAX_PROXY_HEADER, ProxyHeader};

use crate::config::ListenerTls;
use crate::mail::context::ListenerContext;
use crate::metrics::Handshake;
use crate::net::{Peer, Stream};

/// How long a proxy may take for its header: it writes it at once.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// Gives the client of a connection: the peer, or the client that a load balancer names. `None` when it names none.
pub(in crate::mail) async fn introduce(stream: &mut Stream, peer: Peer, context: &ListenerContext) -> Option<Peer> {
    let listen = &context.listener.listen;
    let wait = context.settings.borrow().limits.command_timeout;
    let mut client = peer;
    if peer.ip().is_some() && peer.is_in(&context.listener.proxy_from) {
        match timeout_at(Instant::now() + wait.min(HEADER_WAIT), proxy_header(stream)).await {
            Ok(Ok(ProxyHeader::Client(address))) => client = Peer::Tcp(address),
            Ok(Ok(ProxyHeader::Nobody)) => {}
            // Load balancers connect like this to see whether we are there.
            Ok(Err(cause)) if cause.kind() == io::ErrorKind::NotConnected => {
                debug!(target: "linkgate::mail", listener = %listen, proxy = %peer, "a proxy came without a client");
                return None;
            }
            Ok(Err(cause)) => {
                context.counts.proxy_refused.inc();
                info!(target: "linkgate::mail", listener = %listen, proxy = %peer, %cause, "a proxy did not say who it brings");
                return None;
            }
            Err(_) => {
                context.counts.proxy_refused.inc();
                info!(target: "linkgate::mail", listener = %listen, proxy = %peer, cause = "timeout", "a proxy did not say who it brings");
                return None;
            }
        }
    }
    Some(client)
}

/// TLS from the first octet, where the listener wants it; whether the connection can go on.
pub(in crate::mail) async fn encrypt(stream: &mut Stream, client: Peer, context: &ListenerContext) -> bool {
    let ListenerTls::Implicit(_) = context.listener.tls else {
        return true;
    };
    let wait = context.settings.borrow().limits.command_timeout;
    shake_hands(stream, client, context, Instant::now() + wait).await
}

/// The TLS handshake with a client, with the certificate of the moment; whether it came about.
pub(in crate::mail) async fn shake_hands(
    stream: &mut Stream,
    client: Peer,
    context: &ListenerContext,
    deadline: Instant,
) -> bool {
    let listen = &context.listener.listen;
    let Some(config) = context.identity().map(|i| i.config()) else {
        return false;
    };
    let outcome = timeout_at(deadline, stream.accept_tls(config)).await;
    match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(()) => {
            context.counts.tls.inc(Handshake::Done);
            let cipher = stream.cipher().unwrap_or_default();
            debug!(target: "linkgate::mail", listener = %listen, %client, cipher, "encrypted");
            true
        }
        Err(cause) => {
            context.counts.tls.inc(Handshake::Failed);
            info!(target: "linkgate::mail", listener = %listen, %client, %cause, "the TLS handshake failed");
            false
        }
    }
}

/// Takes the header from the front of the connection, and not an octet more: what stands behind it is for the session, or
/// for TLS. Fails with `NotConnected` if the connection ends without an octet.
async fn proxy_header(stream: &mut Stream) -> io::Result<ProxyHeader> {
    let mut header = Vec::new();
    let mut block = [0; 512];
    loop {
        let n = stream.peek(&mut block).await?;
        if n == 0 && header.is_empty() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = header.len();
        header.extend_from_slice(block.get(..n).unwrap_or_default());
        let read = ProxyHeader::read(&header).map_err(io::Error::other)?;
        // A header that is not complete yet is all that is there.
        let used = read.map_or(header.len(), |(used, _)| used);
        let belongs = block.get_mut(..used - taken).unwrap_or_default();
        stream.read_exact(belongs).await?;
        match read {
            Some((_, header)) => return Ok(header),
            None if header.len() >= MAX_PROXY_HEADER => return Err(io::Error::other("an endless PROXY header")),
            None => {}
        }
    }
}
