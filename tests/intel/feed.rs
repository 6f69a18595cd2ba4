//! A server of lists that answers as a test says, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::rig::tls::Certificate;

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// These octets; then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Hang,
}

/// A running server.
pub(super) struct Feed {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Option<Answer>>,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

type Answer = Box<dyn Fn(&str) -> Reply + Send>;

impl Feed {
    /// Answers each request with what `answer` makes of its head.
    pub(super) fn new(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        Self::over(None, answer)
    }

    /// One answer for all, over TLS.
    pub(super) fn tls(certificate: &Certificate, reply: Reply) -> Self {
        Self::over(Some(certificate.identity().config()), move |_| reply.clone())
    }

    fn over(tls: Option<Arc<ServerConfig>>, answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.answer.lock().unwrap() = Some(Box::new(answer));
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                let (stream, tls) = (stream.unwrap(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => shared.serve(stream),
                    Some(tls) => shared.serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)),
                });
            }
        });
        Self { address, shared }
    }

    /// One answer for all.
    pub(super) fn always(reply: Reply) -> Self {
        Self::new(move |_| reply.clone())
    }

    /// Other answers from now on.
    pub(super) fn now(&self, reply: Reply) {
        *self.shared.answer.lock().unwrap() = Some(Box::new(move |_| reply.clone()));
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of all requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Feed {
    /// Nobody listens there any more.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: impl Read + Write) {
        let mut head = Vec::new();
        let mut octet = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut octet) {
                Ok(1) => head.push(octet[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        self.requests.lock().unwrap().push(head.clone());
        let reply = (self.answer.lock().unwrap().as_ref().unwrap())(&head);
        match reply {
            Reply::Raw(octets) => {
                let _ = stream.write_all(&octets);
            }
            Reply::Hang => {
                // Until the client gives up.
                let _ = stream.read(&mut octet);
            }
        }
    }
}

/// 200 with these header fields and this body.
pub(super) fn ok(fields: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n{fields}\r\n",
        body.len()
    );
    Reply::Raw([head.as_bytes(), body].concat())
}

/// Another status, with these header fields and no body.
pub(super) fn status(status: &str, fields: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{fields}\r\n").into_bytes())
}
