//! Sockets that a service manager has opened for us (socket activation, sd_listen_fds(3)).

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;

/// Sockets that were passed and that no address has claimed yet.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Passed {
    /// Takes the sockets over that `LISTEN_FDS` announces, and the variable with them. Changes the environment, so no
    /// other thread may run yet.
    ///
    /// # Errors
    /// One of them is not a TCP socket that listens.
    pub fn from_environment() -> anyhow::Result<Self> {
        let mut from = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(from.len().min(64));
        for i in 0..from.len() {
            let what = || format!("socket {} of those that the service manager has passed", i + 1);
            let socket = from.take_tcp_listener(i).with_context(what)?;
            let socket = socket.ok_or_else(|| anyhow!("{} is taken", what()))?;
            let address = socket.local_addr().with_context(what)?;
            refuse_connected(&socket).with_context(what)?;
            socket.set_nonblocking(true).with_context(what)?;
            sockets.push((address, socket));
        }
        Ok(Self { sockets })
    }

    /// The socket that was passed for `address`, if one was.
    pub(super) fn claim(&mut self, address: SocketAddr) -> Option<TcpListener> {
        // Flow labels and scopes say nothing about who is meant.
        let same = |a: &SocketAddr| a.ip() == address.ip() && a.port() == address.port();
        let at = self.sockets.iter().position(|(a, _)| same(a))?;
        Some(self.sockets.remove(at).1)
    }

    /// The addresses of the sockets that nobody has claimed.
    pub(super) fn unclaimed(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(address, _)| *address).collect()
    }
}

/// `Accept=yes` passes a connection instead of a listener; accepting on it fails for ever.
fn refuse_connected(socket: &TcpListener) -> anyhow::Result<()> {
    let stream = TcpStream::from(OwnedFd::from(socket.try_clone()?));
    if let Ok(peer) = stream.peer_addr() {
        bail!("it is a connection with {peer}, allowed: a socket that listens (Accept=no)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_goes_to_its_address_once() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut passed = Passed {
            sockets: vec![(address, socket)],
        };
        let other = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert!(passed.claim(other).is_none());
        assert_eq!(passed.unclaimed(), [address]);
        assert!(passed.claim(address).is_some());
        assert!(passed.claim(address).is_none());
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(refuse_connected(&listener).is_ok());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = TcpListener::from(OwnedFd::from(client));
        assert!(
            refuse_connected(&connection)
                .unwrap_err()
                .to_string()
                .contains("Accept=no")
        );
    }
}
