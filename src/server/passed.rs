//! Sockets that a service manager has opened for us (socket activation, sd_listen_fds(3)).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;

use crate::net::{Address, Socket};

/// Sockets that were passed and that no address has claimed yet.
#[derive(Debug, Default)]
pub struct Passed {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
}

impl Passed {
    /// Takes the sockets over that `LISTEN_FDS` announces, and the variable with them. Changes the environment, so no
    /// other thread may run yet.
    ///
    /// # Errors
    /// One of them is not a stream socket that listens.
    pub fn from_environment() -> anyhow::Result<Self> {
        let mut from = ListenFd::from_env();
        let mut passed = Self::default();
        for i in 0..from.len() {
            passed
                .add(&mut from, i)
                .with_context(|| format!("socket {} of those that the service manager has passed", i + 1))?;
        }
        Ok(passed)
    }

    /// The socket that was passed for `address`, if one was; must be called within a runtime.
    pub(super) fn claim(&mut self, address: &Address) -> Option<io::Result<Socket>> {
        match address {
            Address::Tcp(address) => {
                let socket = tokio::net::TcpListener::from_std(self.claim_tcp(*address)?);
                Some(socket.map(Socket::Tcp))
            }
            Address::Unix(path) => {
                let at = self.unix.iter().position(|(p, _)| p == path)?;
                let (path, socket) = self.unix.remove(at);
                let socket = tokio::net::UnixListener::from_std(socket);
                Some(socket.map(|socket| Socket::of_unix(socket, path)))
            }
        }
    }

    /// The TCP socket that was passed for `address`, if one was.
    pub(super) fn claim_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        // Flow labels and scopes say nothing about who is meant.
        let same = |a: &SocketAddr| a.ip() == address.ip() && a.port() == address.port();
        let at = self.tcp.iter().position(|(a, _)| same(a))?;
        Some(self.tcp.remove(at).1)
    }

    /// The addresses of the sockets that nobody has claimed.
    pub(super) fn unclaimed(&self) -> Vec<Address> {
        let tcp = self.tcp.iter().map(|(address, _)| Address::Tcp(*address));
        let unix = self.unix.iter().map(|(path, _)| Address::Unix(path.clone()));
        tcp.chain(unix).collect()
    }

    fn add(&mut self, from: &mut ListenFd, i: usize) -> anyhow::Result<()> {
        if let Ok(socket) = from.take_unix_listener(i) {
            let socket = socket.ok_or_else(|| anyhow!("it is taken"))?;
            let address = socket.local_addr()?;
            let path = address
                .as_pathname()
                .ok_or_else(|| anyhow!("it is a unix socket without a path"))?;
            refuse_connected(UnixStream::from(OwnedFd::from(socket.try_clone()?)).peer_addr())?;
            socket.set_nonblocking(true)?;
            self.unix.push((path.to_owned(), socket));
            return Ok(());
        }
        let socket = from.take_tcp_listener(i)?.ok_or_else(|| anyhow!("it is taken"))?;
        refuse_connected(TcpStream::from(OwnedFd::from(socket.try_clone()?)).peer_addr())?;
        socket.set_nonblocking(true)?;
        self.tcp.push((socket.local_addr()?, socket));
        Ok(())
    }
}

/// `Accept=yes` passes a connection instead of a listener; accepting on it fails for ever.
fn refuse_connected<A>(peer: io::Result<A>) -> anyhow::Result<()> {
    if peer.is_ok() {
        bail!("it is a connection, allowed: a socket that listens (Accept=no)");
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
            tcp: vec![(address, socket)],
            ..Passed::default()
        };
        let other = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert!(passed.claim_tcp(other).is_none());
        assert_eq!(passed.unclaimed(), [Address::Tcp(address)]);
        assert!(passed.claim_tcp(address).is_some());
        assert!(passed.claim_tcp(address).is_none());
    }
}
