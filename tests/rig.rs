//! The real mail path on loopback, with a client and a next hop that the test plays itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use link::{ClickBase, KeyRing, Policy, Rewrite, SenderRules, Style, UrlRules};
use linkgate::failure::{Failure, Phase};
use linkgate::job::{Recorder, Rewriter, Stored};
use linkgate::listen::{Context, serve};
use linkgate::rewrite::{Action, Job, Outcome};
use linkgate::settings::{
    BareLineEnds, Click, ClientIp, Direction, Domains, Limits, Listener, Log, LogFormat, NextHop, OnError, Protocol,
    Settings,
};
use linkgate::spool::Spool;
use message::{Change, Patch, Source};
use store::{MessageRow, ReferenceRow};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(3);

/// What differs between tests.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) bare_line_ends: BareLineEnds,
    pub(crate) on_error: OnError,
    pub(crate) max_message: u64,
    pub(crate) max_connections: usize,
    pub(crate) spool_memory: usize,
    pub(crate) trusted: bool,
    pub(crate) timeout: Duration,
    pub(crate) store_fails: bool,
    pub(crate) protocol: Protocol,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bare_line_ends: BareLineEnds::Refuse,
            on_error: OnError::Tempfail,
            max_message: 1_000_000,
            max_connections: 20,
            spool_memory: 64 << 10,
            trusted: true,
            timeout: PATIENCE,
            store_fails: false,
            protocol: Protocol::Smtp,
        }
    }
}

/// A running listener.
pub(crate) struct Rig {
    runtime: Runtime,
    address: SocketAddr,
    next_hop: TcpListener,
    stop: watch::Sender<bool>,
    settings: watch::Sender<Arc<Settings>>,
    spool_dir: tempfile::TempDir,
    records: Arc<Records>,
}

impl Rig {
    pub(crate) fn start(options: &Options) -> Self {
        let next_hop = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let spool_dir = tempfile::tempdir().unwrap();
        let records = Arc::new(Records {
            fails: options.store_fails,
            ..Records::default()
        });
        let listener = Listener {
            protocol: options.protocol,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            next_hop: (options.protocol != Protocol::Milter).then(|| NextHop::Smtp {
                host: "127.0.0.1".into(),
                port: next_hop.local_addr().unwrap().port(),
            }),
            direction: Direction::Inbound,
            bare_line_ends: options.bare_line_ends,
            on_error: options.on_error,
            xforward_from: if options.trusted {
                vec!["127.0.0.0/8".parse().unwrap()]
            } else {
                vec![]
            },
            max_connections: options.max_connections,
            max_message: options.max_message,
            hostname: "us.test".into(),
        };
        let (settings, current) = watch::channel(Arc::new(settings(options, spool_dir.path().into())));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let socket = runtime
            .block_on(tokio::net::TcpListener::bind(listener.listen))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let recorder: Arc<dyn Recorder> = records.clone();
        let context = Arc::new(Context::new(listener, current, Arc::new(Obedient), recorder));
        runtime.spawn(serve(socket, context, stopped));
        Self {
            runtime,
            address,
            next_hop,
            stop,
            settings,
            spool_dir,
            records,
        }
    }

    /// A new client.
    pub(crate) fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).unwrap(), "client")
    }

    /// The connection that the relay makes to its next hop.
    pub(crate) fn next_hop(&self) -> Peer {
        self.next_hop.set_nonblocking(true).unwrap();
        let stream = eventually("a connection to the next hop", || match self.next_hop.accept() {
            Ok((stream, _)) => Some(stream),
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            Err(e) => panic!("{e}"),
        });
        stream.set_nonblocking(false).unwrap();
        Peer::new(stream, "next hop")
    }

    /// Nobody listens where mail should go.
    pub(crate) fn without_next_hop(mut self) -> Self {
        // Another port, which is bound but not listened on by anyone who answers: the relay keeps the old, closed one.
        self.next_hop = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self
    }

    /// Whether the relay has a connection waiting that no test step asked for.
    pub(crate) fn has_unasked_connection(&self) -> bool {
        self.next_hop.set_nonblocking(true).unwrap();
        self.next_hop.accept().is_ok()
    }

    /// Starts the drain.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Puts other settings in place, as a reload does.
    pub(crate) fn reload(&self, options: &Options) {
        self.settings
            .send_replace(Arc::new(settings(options, self.spool_dir.path().into())));
    }

    /// Takes the folder of the spool away.
    pub(crate) fn lose_spool_dir(&self) {
        std::fs::remove_dir(self.spool_dir.path()).unwrap();
    }

    /// Message rows so far.
    pub(crate) fn messages(&self) -> Vec<MessageRow> {
        self.records.messages.lock().unwrap().clone()
    }

    /// References so far.
    pub(crate) fn references(&self) -> usize {
        *self.records.references.lock().unwrap()
    }

    /// Tasks that are alive; the listener itself is one, until it is stopped.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Holds that nothing of any session is left: no task, no open file of the spool, no name in its folder.
    pub(crate) fn assert_nothing_left(&self) {
        eventually("the end of all sessions", || (self.tasks() <= 1).then_some(()));
        assert_eq!(
            std::fs::read_dir(self.spool_dir.path()).unwrap().count(),
            0,
            "a spool file has a name"
        );
        assert_eq!(self.open_spool_files(), 0, "a spool file is open");
    }

    /// Files of this rig's spool that this process holds open.
    pub(crate) fn open_spool_files(&self) -> usize {
        let dir = self.spool_dir.path();
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        descriptors
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter(|file| file.starts_with(dir))
            .count()
    }
}

/// Waits for something to become true.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn settings(options: &Options, spool_dir: PathBuf) -> Settings {
    let policy = |domain: &str, rewrite| {
        let policy = Policy {
            domain: domain.into(),
            rewrite,
            bypass_senders: SenderRules::default(),
            bypass_urls: UrlRules::default(),
        };
        Arc::new(policy)
    };
    let on = policy("on.test", Rewrite::All);
    let other = policy("other.test", Rewrite::Suspicious);
    let domains = [("on.test", on.clone()), ("twin.test", on), ("other.test", other)];
    let anywhere = (Ipv4Addr::LOCALHOST, 1).into();
    Settings {
        click: Click {
            base: ClickBase::new("https://click.test", Style::Readable).unwrap(),
            listen: anywhere,
            client_ip: ClientIp::None,
            trusted_proxies: vec![],
        },
        admin_listen: anywhere,
        store: PathBuf::new(),
        rewriting: message::Options::default(),
        keys_file: PathBuf::new(),
        keys: Arc::new(KeyRing::generate([7; 32], 0)),
        listeners: vec![],
        domains: Domains::new(domains.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        log: Log {
            level: "info".into(),
            format: LogFormat::Text,
        },
        limits: Limits {
            spool_memory: options.spool_memory,
            spool_dir,
            command_timeout: options.timeout,
            next_hop_timeout: options.timeout,
            final_reply_timeout: options.timeout,
            drain: options.timeout,
        },
    }
}

#[derive(Default)]
struct Records {
    fails: bool,
    messages: Mutex<Vec<MessageRow>>,
    references: Mutex<usize>,
}

impl Recorder for Records {
    fn store_references(&self, rows: Vec<ReferenceRow>) -> Stored<'_> {
        Box::pin(async move {
            if self.fails {
                return Err(Failure::ours(Phase::References, io::Error::other("disk full")));
            }
            *self.references.lock().unwrap() += rows.len();
            Ok(())
        })
    }

    fn message(&self, row: MessageRow) {
        self.messages.lock().unwrap().push(row);
    }
}

/// A rewriter that does what the message says in a line `X-Test: word`.
struct Obedient;

impl Rewriter for Obedient {
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<Outcome, Failure> {
        let bytes = spool.read(0..spool.len()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let word = text
            .lines()
            .find_map(|l| l.strip_prefix("X-Test: "))
            .unwrap_or_default();
        let insert = |text: String| {
            let change = Change {
                at: 0..0,
                with: text.into_bytes(),
            };
            Patch::new(vec![change]).unwrap()
        };
        let mut outcome = Outcome::default();
        match word {
            "insert" => outcome.patch = insert(format!("X-For: {} {}\r\n", job.sender, job.recipients.join(","))),
            "dot" => outcome.patch = insert(".leading\r\n".into()),
            "stray" => outcome.patch = insert("a\nb\r\n".into()),
            "swap" => outcome.patch = swap(&text),
            "slow" => std::thread::sleep(Duration::from_millis(10_500)),
            "refuse" => outcome.action = Action::Refuse("told to".into()),
            "fail" => return Err(Failure::ours(Phase::Rewrite, io::Error::other("told to"))),
            "panic" => panic!("told to"),
            "reference" => {
                outcome.patch = insert("X-Long: 1\r\n".into());
                outcome.references.push(ReferenceRow {
                    id: [1; 16],
                    target: "https://example.test/".into(),
                    written: None,
                    mail_id: job.mail_id.into(),
                    created_at_us: job.now_s * 1_000_000,
                });
            }
            _ => {}
        }
        Ok(outcome)
    }
}

/// Puts something longer in the place of every `SWAP`.
fn swap(text: &str) -> Patch {
    let changes = text.match_indices("SWAP").map(|(at, found)| Change {
        at: at as u64..(at + found.len()) as u64,
        with: SWAPPED.as_bytes().to_vec(),
    });
    Patch::new(changes.collect()).unwrap()
}

/// What the word `swap` puts in the place of `SWAP`.
pub(crate) const SWAPPED: &str = "something rather longer";

/// One end of a connection, played by a test.
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    name: &'static str,
}

impl Peer {
    fn new(stream: TcpStream, name: &'static str) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
            name,
        }
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// Like [`send`](Self::send), to a peer that may have gone.
    pub(crate) fn try_send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(text.as_ref())
    }

    /// The next line without its end; `None` when the connection has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                let line = &line[..at];
                return Some(String::from_utf8(line.to_vec()).unwrap_or_else(|_| line.escape_ascii().to_string()));
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => {
                    assert!(
                        self.unread.is_empty(),
                        "{} left half a line: {:?}",
                        self.name,
                        self.unread.escape_ascii().to_string()
                    );
                    return None;
                }
                Ok(n) => self.unread.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!(
                    "reading as {}: {e}; so far {:?}",
                    self.name,
                    self.unread.escape_ascii().to_string()
                ),
            }
        }
    }

    /// The next `n` octets; `None` when the connection ends before the first of them.
    pub(crate) fn octets(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.unread.len() < n {
            let mut block = [0; 65536];
            match self.stream.read(&mut block) {
                Ok(0) if self.unread.is_empty() => return None,
                Ok(0) => panic!("the {} sees the end of the connection in between", self.name),
                Ok(read) => self.unread.extend_from_slice(&block[..read]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("reading as {}: {e}", self.name),
            }
        }
        Some(self.unread.drain(..n).collect())
    }

    /// Lets the peer wait longer for what it reads.
    pub(crate) fn be_patient(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    pub(crate) fn expect(&mut self, wanted: &str) {
        let line = self.line();
        assert!(
            line.as_deref().is_some_and(|line| fits(wanted, line)),
            "the {} should hear {wanted:?}, but hears {line:?}",
            self.name
        );
    }

    /// Whether the line that comes next fits `wanted`; for scripts that tell failures themselves.
    pub(crate) fn hears(&mut self, wanted: &str) -> Result<(), String> {
        match self.line() {
            Some(line) if fits(wanted, &line) => Ok(()),
            other => Err(format!("the {} hears {other:?}", self.name)),
        }
    }

    pub(crate) fn expect_end(&mut self) {
        let line = self.line();
        assert_eq!(line, None, "the {} should see the end of the connection", self.name);
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => rest,
            Err(e) => panic!("reading as {}: {e}", self.name),
        }
    }

    /// What arrives within a short while that should be silence.
    pub(crate) fn overhears(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut block = [0; 4096];
        if let Ok(n) = self.stream.read(&mut block) {
            self.unread.extend_from_slice(&block[..n]);
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.unread.clone()
    }

    /// Says that nothing more will be said; still listens.
    pub(crate) fn half_close(&mut self) {
        // A connection that the other side has ended already cannot be ended again.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// As a next hop: greets and answers EHLO.
    pub(crate) fn greet(&mut self, keywords: &[&str]) {
        self.send("220 hop.test ESMTP\r\n");
        self.expect("EHLO us.test");
        let mut reply = String::new();
        let mut lines = vec!["hop.test"];
        lines.extend(keywords);
        for (at, line) in lines.iter().enumerate() {
            reply.push_str(if at + 1 == lines.len() { "250 " } else { "250-" });
            reply.push_str(line);
            reply.push_str("\r\n");
        }
        self.send(reply);
    }

    /// As a client: hears the greeting, says EHLO and hears the whole reply.
    pub(crate) fn hello(&mut self) {
        self.expect("220 us.test ESMTP linkgate");
        self.send("EHLO client.test\r\n");
        while self.line().is_some_and(|line| line.starts_with("250-")) {}
    }
}

/// `*` at the end of `wanted` stands for anything.
fn fits(wanted: &str, line: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(head) => line.starts_with(head),
        None => line == wanted,
    }
}
