//! Web servers that note what they are asked, a resolver that says what it is told, and an follower that uses both.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use link::{Contact, Finding, Target, Word};
use linkgate::config::Settings;
use linkgate::config::keyfile::Absent;
use linkgate::intel::follow::{ChainReport, Follower};
use linkgate::metrics::ContactCounts;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::sync::watch;

/// What a server was asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) head: String,
}

impl Request {
    /// A field of the head; names in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(':').is_some_and(|(k, _)| k.eq_ignore_ascii_case(name));
        let found = self.head.lines().skip(1).find(|l| line(l))?;
        Some(found.split_once(':')?.1.trim())
    }
}

/// A web server. It runs until the test ends.
pub(super) struct Web {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Web {
    /// Answers each request with what `answer` makes of it.
    pub(super) fn start(at: &str, answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        Self::serve(at, None, move |request, stream| {
            let _ = stream.write_all(answer(request).as_bytes());
        })
    }

    /// Lets `answer` write what it likes.
    pub(super) fn serve(
        at: &str,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request, &mut dyn Stream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counted, noted, answer) = (Arc::clone(&connections), Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (noted, answer, tls) = (Arc::clone(&noted), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || one(stream, tls, &noted, &*answer));
            }
        });
        Self {
            address,
            connections,
            requests,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that were made to it, whatever was sent on them.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Methods and paths, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        let requests = self.requests();
        requests.iter().map(|r| format!("{} {}", r.method, r.path)).collect()
    }
}

fn one(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    noted: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, &mut dyn Stream),
) {
    let mut stream: Box<dyn Stream> = match tls {
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)),
        None => Box::new(stream),
    };
    let mut head = String::new();
    let mut reader = BufReader::new(&mut stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let request = Request { method, path, head };
    noted.lock().unwrap().push(request.clone());
    answer(&request, &mut *stream);
    let _ = stream.flush();
}

/// An answer with a body.
pub(super) fn page(status: u16, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

/// A redirect.
pub(super) fn redirect(to: &str) -> String {
    page(302, &format!("Location: {to}\r\n"), "")
}

/// A name server on loopback. It runs until the test ends.
pub(super) struct Dns {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    /// Answers the nth question (from 0) for the IPv4 addresses of a name; and the same for IPv6. Nothing: no such name.
    pub(super) fn start(answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut times: HashMap<(String, u16), usize> = HashMap::new();
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let query = &packet[..length];
                let (name, end) = name(query);
                let kind = u16::from_be_bytes([query[end], query[end + 1]]);
                let nth = times.entry((name.clone(), kind)).or_default();
                if kind == 1 {
                    noted.lock().unwrap().push(name.clone());
                }
                let addresses = answer(&name, *nth);
                *nth += 1;
                let _ = socket.send_to(&reply(query, end + 4, kind, &addresses), from);
            }
        });
        Self { address, asked }
    }

    /// Names that were asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The name of a question, and where it ends.
fn name(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn reply(query: &[u8], question_end: usize, kind: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|ip| match ip {
            IpAddr::V4(ip) if kind == 1 => Some(ip.octets().to_vec()),
            IpAddr::V6(ip) if kind == 28 => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let code = if addresses.is_empty() { 3 } else { 0 };
    let mut out = query[..2].to_vec();
    out.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(records.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    out.extend(&query[12..question_end]);
    for data in records {
        // The name of the question, the kind, IN, a time to live of 0.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

/// A follower with these lines in `[contact]`, which asks `dns`.
pub(super) fn follower(lines: &str, dns: Option<&Dns>) -> Follower {
    counted(lines, dns, Arc::default())
}

/// The same, which counts what it does.
pub(super) fn counted(lines: &str, dns: Option<&Dns>, counts: Arc<ContactCounts>) -> Follower {
    let mut text = include_str!("../../../fixtures/config/good/least.toml").to_owned();
    text += &format!("\n[contact]\n{lines}\n");
    if let Some(dns) = dns {
        text += &format!("[checks]\ndns_servers = [\"{}\"]\n", dns.address);
    }
    let settings = Settings::from_toml(&text, Path::new("test.toml"), Absent::Pretend).unwrap_or_else(|faults| {
        panic!("{faults:?}");
    });
    let (_, settings) = watch::channel(Arc::new(settings));
    Follower::new(settings, counts)
}

/// A follower that may ask these servers.
pub(super) fn allowing(servers: &[&Web], more: &str, dns: Option<&Dns>) -> Follower {
    let allow: Vec<String> = servers
        .iter()
        .map(|web| format!("{:?}", web.address.to_string()))
        .collect();
    follower(&format!("allow = [{}]\n{more}", allow.join(", ")), dns)
}

pub(super) async fn follow(follower: &Follower, url: &str, level: Contact) -> ChainReport {
    let until = Instant::now() + Duration::from_secs(20);
    follower.follow(&Target::parse(url).unwrap(), level, false, until).await
}

pub(super) async fn full(follower: &Follower, url: &str) -> ChainReport {
    follow(follower, url, Contact::Full).await
}

/// Findings in short: obstacles and signs by their words.
pub(super) fn found(report: &ChainReport) -> Vec<String> {
    let word = |finding: &Finding| match finding {
        Finding::CouldNotInspect(obstacle) => obstacle.as_str().to_owned(),
        Finding::Sign { code, .. } => (*code).to_owned(),
        other => format!("{other:?}"),
    };
    report.evidence.iter().map(|e| word(&e.finding)).collect()
}

/// Hops as paths and queries.
pub(super) fn paths(report: &ChainReport) -> Vec<String> {
    report
        .hops
        .iter()
        .map(|hop| hop.as_str().splitn(4, '/').nth(3).unwrap_or_default().to_owned())
        .collect()
}
