//! Streams and sockets of the mail path: TCP, unix sockets, and TLS over either, behind one type.

mod inbox;
pub(crate) mod public;
pub mod tls;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::unconstrained;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use self::inbox::Inbox;

/// How long the end of a TLS connection may take to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:10025`
    Tcp(SocketAddr),
    /// `unix:/run/linkgate/lmtp.sock`
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a next hop is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A name, resolved anew for each connection, or an address literal; and a port.
    Tcp {
        /// Host name or address literal.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// One connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP, without delay of small writes.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Encrypted.
    Tls(Box<TlsStream<Stream>>),
    /// Broken in a handshake: reads as ended.
    Gone,
}

/// Where exactly a next hop is reached: one address.
#[derive(Debug, Clone)]
pub enum EndpointAddress<'a> {
    /// An address, of perhaps several that a name has.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(&'a Path),
}

/// The other end of a connection that we accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Another host, or this one.
    Tcp(SocketAddr),
    /// A process of this host.
    Unix,
}

/// A bound address that accepts connections.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpListener),
    /// A unix socket; its file goes away with it.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket, removed on drop if we have made it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    ours: bool,
}

impl Stream {
    /// Connects to a next hop.
    ///
    /// # Errors
    /// The error of the system.
    pub async fn connect(to: &EndpointAddress<'_>) -> io::Result<Self> {
        match to {
            EndpointAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            EndpointAddress::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Encrypts the connection, as the server.
    ///
    /// # Errors
    /// The fault of the handshake; the connection cannot be used any more.
    pub async fn accept_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let plain = std::mem::replace(self, Self::Gone);
        let stream = TlsAcceptor::from(config).accept(plain).await?;
        *self = Self::Tls(Box::new(stream.into()));
        Ok(())
    }

    /// Encrypts the connection, as the client of `server`.
    ///
    /// # Errors
    /// The fault of the handshake or the certificate; the connection cannot be used any more.
    pub async fn connect_tls(&mut self, config: Arc<ClientConfig>, server: ServerName<'static>) -> io::Result<()> {
        let plain = std::mem::replace(self, Self::Gone);
        let stream = TlsConnector::from(config).connect(server, plain).await?;
        *self = Self::Tls(Box::new(stream.into()));
        Ok(())
    }

    /// Version and cipher suite, if the connection is encrypted.
    #[must_use]
    pub fn cipher(&self) -> Option<String> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let (_, state) = stream.get_ref();
        let version = state.protocol_version()?.as_str()?;
        let suite = state.negotiated_cipher_suite()?.suite();
        Some(format!("{version} {}", suite.as_str()?))
    }

    /// Copies what has arrived, without taking it; 0 at the end of the stream.
    ///
    /// # Errors
    /// The error of the connection. Only TCP has this.
    pub async fn peek(&self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.peek(to).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Ends the connection; an encrypted one with a close notification, so that the peer can tell the end from a cut.
    pub async fn close(mut self) {
        if let Self::Tls(stream) = &mut self {
            // A peer that does not read any more misses nothing.
            let _ = tokio::time::timeout(CLOSE_WAIT, stream.shutdown()).await;
        }
    }

    /// Waits until there is something to read, or the end of the stream.
    ///
    /// # Errors
    /// The error of the connection.
    pub async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.readable().await,
            Self::Unix(s) => s.readable().await,
            // What was decrypted waits within, and needs no buffer of ours.
            Self::Tls(s) => poll_fn(|cx| Pin::new(&mut **s).poll_fill_buf(cx).map_ok(|_| ())).await,
            Self::Gone => Ok(()),
        }
    }

    /// Appends what is there to the free capacity of `to`; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else what the connection says.
    pub fn try_read_buf(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => read_at_once(s, to),
            Self::Unix(s) => read_at_once(s, to),
            Self::Tls(s) => read_at_once(s, to),
            Self::Gone => Ok(0),
        }
    }
}

/// Reads without waiting. A read that does not fill the space tells the reactor that nothing is left, which spares the call
/// that would find it out.
fn read_at_once<S: AsyncRead + Unpin>(stream: &mut S, to: &mut Vec<u8>) -> io::Result<usize> {
    // A caller that waits does so in `readable`, which asks again. Without the scheduler's budget, "nothing there" is said only
    // when it is true.
    let read = pin!(unconstrained(stream.read_buf(to)));
    match read.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Endpoint {
    /// All addresses of the endpoint: those that its name has at this moment.
    ///
    /// # Errors
    /// The name cannot be looked up, or has no address.
    pub async fn targets(&self) -> io::Result<Vec<EndpointAddress<'_>>> {
        let found: Vec<_> = match self {
            Self::Tcp { host, port } => tokio::net::lookup_host((host.as_str(), *port))
                .await?
                .map(EndpointAddress::Tcp)
                .collect(),
            Self::Unix(path) => vec![EndpointAddress::Unix(path)],
        };
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(&mut **s).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(&mut **s).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(&mut **s).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(&mut **s).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl Peer {
    /// The network address, if there is one; IPv4 in IPv6 comes out as IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// Whether the peer is in one of `networks`. Who may connect to a unix socket is said by its permissions: such a peer
    /// is in any.
    #[must_use]
    pub fn is_in(self, networks: &[ipnet::IpNet]) -> bool {
        self.ip().is_none_or(|ip| networks.iter().any(|net| net.contains(&ip)))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Socket {
    /// Binds `address`. A unix socket that a dead process has left behind is replaced; `mode` are its permission bits.
    ///
    /// # Errors
    /// The error of the system; `AddrInUse` if another process listens there.
    pub async fn bind(address: &Address, mode: u32) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Address::Unix(path) => {
                remove_dead(path).await?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile {
                    path: path.clone(),
                    ours: true,
                };
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// Takes a unix socket that another process has bound, and whose file stays.
    #[must_use]
    pub fn of_unix(listener: UnixListener, path: PathBuf) -> Self {
        Self::Unix(listener, SocketFile { path, ours: false })
    }

    /// The next connection.
    ///
    /// # Errors
    /// The error of the system.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system does not know.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or a folder that went away: nothing is lost by it.
        if self.ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file on which no process listens. Anything else that stands there is left alone.
async fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Ok(()),
        Ok(_) => match UnixStream::connect(path).await {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            _ => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_of_a_dead_process_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let address = Address::Unix(path.clone());
        let first = Socket::bind(&address, 0o600).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Socket::bind(&address, 0o600).await;
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "a file of somebody else").unwrap();
        assert!(Socket::bind(&address, 0o600).await.is_err());
        assert!(path.exists());
    }
}
