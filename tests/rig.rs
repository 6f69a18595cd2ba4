//! The real mail path on loopback, with a client and a next hop that the test plays itself.

pub(crate) mod tls;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use link::{KeyRing, MessageClaims, Opener};
use linkgate::config::keyfile::Absent;
use linkgate::config::{
    BareLineEnds, Dialect, Domains, Limits, Listener, ListenerTls, NextHop, NextHopOrder, NextHops, OnError, Protocol,
    Settings,
};
use linkgate::failure::{Failure, Phase};
use linkgate::intel::sources::NoSources;
use linkgate::mail::budget::Budgets;
use linkgate::mail::context::{ListenerContext, MailContext};
use linkgate::mail::listen::serve;
use linkgate::mail::ports::{Recorder, Stored};
use linkgate::mail::rewrite::{Job, Pipeline, RewriteAction, RewriteOutcome, Rewriter};
use linkgate::mail::spool::Spool;
use linkgate::metrics::ListenerCounts;
use linkgate::net::tls::{NextHopTls, Trust};
use linkgate::net::{Address, Endpoint, Socket};
use message::{Change, Patch, Source};
use store::{MessageRow, ReferenceRow};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::tls::Encrypted;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What differs between tests.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) protocol: Protocol,
    /// What the next hop speaks.
    pub(crate) dialect: Dialect,
    /// Both sides over unix sockets.
    pub(crate) unix: bool,
    pub(crate) bare_line_ends: BareLineEnds,
    pub(crate) on_error: OnError,
    pub(crate) max_message: u64,
    pub(crate) max_connections: usize,
    pub(crate) spool_memory: usize,
    pub(crate) trusted: bool,
    pub(crate) xclient: bool,
    pub(crate) max_connections_per_client: usize,
    pub(crate) max_recipients: usize,
    pub(crate) max_transactions: usize,
    pub(crate) max_passes: usize,
    pub(crate) command_line: usize,
    pub(crate) text_line: u64,
    pub(crate) message_timeout: Duration,
    pub(crate) timeout: Duration,
    /// For the reply to the final dot, if another.
    pub(crate) final_timeout: Option<Duration>,
    pub(crate) store_fails: bool,
    /// The product's own rewriter, instead of one that does what a message says.
    pub(crate) real_rewriter: bool,
    pub(crate) tls: ListenerTls,
    /// Instead of the one that the rig plays.
    pub(crate) next_hops: Option<NextHops>,
    pub(crate) next_hop_tls: NextHopTls,
    pub(crate) implicit_tls: bool,
    pub(crate) trust: Option<Trust>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) proxy_from: Vec<IpNet>,
    pub(crate) xforward_from: Vec<IpNet>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Smtp,
            dialect: Dialect::Smtp,
            unix: false,
            bare_line_ends: BareLineEnds::Refuse,
            on_error: OnError::Tempfail,
            max_message: 1_000_000,
            max_connections: 20,
            spool_memory: 64 << 10,
            trusted: true,
            xclient: false,
            max_connections_per_client: 0,
            max_recipients: 1000,
            max_transactions: 1000,
            max_passes: 5,
            command_line: 4096,
            text_line: 10_000_000,
            message_timeout: 10 * PATIENCE,
            timeout: PATIENCE,
            final_timeout: None,
            store_fails: false,
            real_rewriter: false,
            tls: ListenerTls::Off,
            next_hops: None,
            next_hop_tls: NextHopTls::Off,
            implicit_tls: false,
            trust: None,
            connect_timeout: None,
            proxy_from: vec![],
            xforward_from: vec![],
        }
    }
}

/// A running listener.
pub(crate) struct Rig {
    runtime: Runtime,
    options: Options,
    address: Address,
    next_hop: Ear,
    /// Where unix sockets are.
    sockets: tempfile::TempDir,
    context: Arc<ListenerContext>,
    stop: watch::Sender<bool>,
    settings: watch::Sender<Arc<Settings>>,
    spool_dir: tempfile::TempDir,
    records: Arc<Records>,
}

impl Rig {
    pub(crate) fn start(options: &Options) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let (next_hop, to) = Ear::open(options.unix.then(|| sockets.path().join("next-hop")));
        let listen = if options.unix {
            Address::Unix(sockets.path().join("linkgate"))
        } else {
            Address::Tcp((Ipv4Addr::LOCALHOST, 0).into())
        };
        let spool_dir = tempfile::tempdir().unwrap();
        let records = Arc::new(Records {
            fails: options.store_fails,
            ..Records::default()
        });
        let listener = listener(options, listen, to);
        let (settings, current) = watch::channel(Arc::new(settings(options, &listener, spool_dir.path().into())));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let socket = runtime
            .block_on(Socket::bind(&listener.listen, listener.socket_mode))
            .unwrap();
        let address = socket.local_address().unwrap();
        let recorder: Arc<dyn Recorder> = records.clone();
        let rewriter: Arc<dyn Rewriter> = if options.real_rewriter {
            Arc::new(Pipeline::new(Arc::new(NoSources)))
        } else {
            Arc::new(Obedient)
        };
        let shared = MailContext {
            budgets: Arc::new(Budgets::new(&current.borrow().limits)),
            settings: current.clone(),
            rewriter,
            recorder,
            in_flight: Arc::default(),
            metrics: Arc::default(),
        };
        let context = Arc::new(ListenerContext::new(listener, 0, &shared));
        runtime.spawn(serve(socket, Arc::clone(&context), stopped));
        Self {
            runtime,
            options: options.clone(),
            address,
            next_hop,
            sockets,
            context,
            stop,
            settings,
            spool_dir,
            records,
        }
    }

    /// A new client.
    pub(crate) fn client(&self) -> Peer {
        let wire = match &self.address {
            Address::Tcp(address) => Wire::Tcp(TcpStream::connect(address).unwrap()),
            Address::Unix(path) => Wire::Unix(UnixStream::connect(path).unwrap()),
        };
        Peer::new(wire, "client", &self.options)
    }

    /// The connection that the relay makes to its next hop.
    pub(crate) fn next_hop(&self) -> Peer {
        self.next_hop_within(PATIENCE).expect("a connection to the next hop")
    }

    /// The same, if it comes in time.
    pub(crate) fn next_hop_within(&self, time: Duration) -> Option<Peer> {
        let start = Instant::now();
        loop {
            match self.next_hop.accept() {
                Ok(wire) => return Some(Peer::new(wire, "next hop", &self.options)),
                Err(e) if e.kind() != ErrorKind::WouldBlock => panic!("{e}"),
                Err(_) if start.elapsed() > time => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Where the listener is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Nobody listens where mail should go.
    pub(crate) fn without_next_hop(mut self) -> Self {
        // Another port, which is bound but not listened on by anyone who answers: the relay keeps the old, closed one.
        self.next_hop = Ear::open(self.options.unix.then(|| self.sockets.path().join("elsewhere"))).0;
        self
    }

    /// Whether the relay has a connection waiting that no test step asked for.
    pub(crate) fn has_unasked_connection(&self) -> bool {
        self.next_hop.accept().is_ok()
    }

    /// Starts the drain.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Puts other settings in place, as a reload does.
    pub(crate) fn reload(&self, options: &Options) {
        let listener = Listener {
            tls: options.tls.clone(),
            ..self.context.listener.clone()
        };
        let settings = settings(options, &listener, self.spool_dir.path().into());
        self.settings.send_replace(Arc::new(settings));
    }

    /// Takes the folder of the spool away.
    pub(crate) fn lose_spool_dir(&self) {
        std::fs::remove_dir(self.spool_dir.path()).unwrap();
    }

    /// Recipients so far who may get a message twice.
    pub(crate) fn possible_duplicates(&self) -> u64 {
        self.counts().possible_duplicates.get()
    }

    /// What was counted of the listener.
    pub(crate) fn counts(&self) -> &ListenerCounts {
        &self.context.counts
    }

    /// What the click link says that `text` begins with.
    pub(crate) fn claims(&self, text: &str) -> Option<MessageClaims> {
        let settings = self.settings.borrow();
        let opener = Opener::new(&settings.keys, &settings.click.base);
        Some(opener.recognise(text)?.message().clone())
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

fn listener(options: &Options, listen: Address, to: Endpoint) -> Listener {
    let here: IpNet = "127.0.0.0/8".parse().unwrap();
    let mut xforward_from = options.xforward_from.clone();
    xforward_from.extend(options.trusted.then_some(here));
    let played = NextHop {
        tls: options.next_hop_tls,
        implicit_tls: options.implicit_tls,
        ..NextHop::plain(options.dialect, to)
    };
    let plain = settings_of("").listeners.remove(0);
    Listener {
        protocol: options.protocol,
        listen,
        socket_mode: 0o600,
        next_hops: options.next_hops.clone().unwrap_or_else(|| NextHops {
            all: vec![played],
            trust: options.trust.clone(),
            order: NextHopOrder::InOrder,
        }),
        tls: options.tls.clone(),
        proxy_from: options.proxy_from.clone(),
        bare_line_ends: options.bare_line_ends,
        on_error: options.on_error,
        xforward_from,
        xclient_from: options.xclient.then_some(here).into_iter().collect(),
        max_connections: options.max_connections,
        max_connections_per_client: options.max_connections_per_client,
        max_recipients: options.max_recipients,
        max_message: options.max_message,
        max_passes: options.max_passes,
        ..plain
    }
}

/// A next hop in plain text that listens there.
pub(crate) fn hop_at(socket: &TcpListener) -> NextHop {
    NextHop::plain(
        Dialect::Smtp,
        Endpoint::Tcp {
            host: "127.0.0.1".into(),
            port: socket.local_addr().unwrap().port(),
        },
    )
}

/// A connection to a next hop that a test plays.
pub(crate) fn accept(next_hop: &TcpListener) -> Peer {
    next_hop.set_nonblocking(true).unwrap();
    let stream = eventually("a connection to the next hop", || match next_hop.accept() {
        Ok((stream, _)) => Some(stream),
        Err(e) if e.kind() == ErrorKind::WouldBlock => None,
        Err(e) => panic!("{e}"),
    });
    stream.set_nonblocking(false).unwrap();
    Peer::over(stream, "next hop")
}

/// The settings of a file with the sections that must be there, and these.
pub(crate) fn settings_of(sections: &str) -> Settings {
    let text = "[click]\npublic_url = \"https://click.test\"\nlisten = \"127.0.0.1:1\"\nclient_ip = \"none\"\n\
                [admin]\nlisten = \"127.0.0.1:2\"\n[store]\nurl = \"sqlite:/nowhere/linkgate.db\"\n\
                [keys]\nfile = \"/nowhere/keys.toml\"\n\
                [[listener]]\nprotocol = \"smtp\"\nlisten = \"127.0.0.1:3\"\nnext_hop = \"smtp://127.0.0.1:4\"\n\
                hostname = \"us.test\"\n";
    let text = format!("{text}{sections}");
    let settings = Settings::from_toml(&text, Path::new("test"), Absent::Pretend).unwrap();
    Settings {
        keys: Arc::new(KeyRing::generate([7; 32], 0)),
        ..settings
    }
}

fn settings(options: &Options, listener: &Listener, spool_dir: PathBuf) -> Settings {
    let plain = settings_of(
        "[domain.\"on.test\"]\n[domain.\"other.test\"]\nrewrite = \"suspicious\"\n\
         [domain.\"tags.test\"]\nat_delivery = \"tag\"\ndelivery_score = 60\n\
         [domain.\"refuses.test\"]\nat_delivery = \"refuse\"\ndelivery_score = 60\n",
    );
    let policy = |name| plain.domains.of(name).map(Arc::clone).unwrap();
    let names = ["on.test", "other.test", "tags.test", "refuses.test"];
    // Two names with one policy share their copy of a message.
    let twin = ("twin.test".to_owned(), policy("on.test"));
    let domains = names.map(|name| (name.to_owned(), policy(name)));
    Settings {
        listeners: vec![listener.clone()],
        domains: Domains::new(domains.into_iter().chain([twin]).collect()),
        limits: Limits {
            spool_memory: options.spool_memory,
            spool_dir,
            max_transactions: options.max_transactions,
            command_line: options.command_line,
            text_line: options.text_line,
            command_timeout: options.timeout,
            data_timeout: options.timeout,
            message_timeout: options.message_timeout,
            next_hop_connect_timeout: options.connect_timeout.unwrap_or(options.timeout),
            next_hop_timeout: options.timeout,
            final_reply_timeout: options.final_timeout.unwrap_or(options.timeout),
            drain: options.timeout,
            ..plain.limits
        },
        ..plain
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
    fn rewrite(&self, spool: &Spool, job: &Job<'_>) -> Result<RewriteOutcome, Failure> {
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
        let for_other = job.recipients.iter().any(|r| r.ends_with("@other.test"));
        let mut outcome = RewriteOutcome::default();
        match word {
            "insert" => outcome.patch = insert(format!("X-For: {} {}\r\n", job.sender, job.recipients.join(","))),
            "insert-id" => outcome.patch = insert(format!("X-Id: {}\r\n", job.mail_id)),
            // Only one domain's policy wants the change.
            "insert-other" if for_other => {
                outcome.patch = insert(format!("X-For: {} {}\r\n", job.sender, job.recipients.join(",")));
            }
            "refuse-other" if for_other => outcome.action = RewriteAction::Refuse("told to".into()),
            "dot" => outcome.patch = insert(".leading\r\n".into()),
            "stray" => outcome.patch = insert("a\nb\r\n".into()),
            "swap" => outcome.patch = swap(&text),
            "slow" => std::thread::sleep(Duration::from_millis(10_500)),
            "refuse" => outcome.action = RewriteAction::Refuse("told to".into()),
            "fail" => return Err(Failure::ours(Phase::Rewrite, io::Error::other("told to"))),
            "panic" => panic!("told to"),
            "wrong-offset" => {
                let change = Change {
                    at: spool.len() + 9..spool.len() + 9,
                    with: b"told to".to_vec(),
                };
                let _ = Patch::new(vec![change]).unwrap().apply(&bytes);
            }
            "offset" => {
                let beyond = bytes.len() + 1;
                let _ = &bytes[beyond..];
            }
            "beyond" => {
                let change = Change {
                    at: spool.len() - 1..spool.len() + 1,
                    with: b"x".to_vec(),
                };
                outcome.patch = Patch::new(vec![change]).unwrap();
            }
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

/// Where the next hop is connected to.
enum Ear {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Ear {
    fn open(path: Option<PathBuf>) -> (Self, Endpoint) {
        match path {
            Some(path) => {
                let listener = UnixListener::bind(&path).unwrap();
                listener.set_nonblocking(true).unwrap();
                (Self::Unix(listener), Endpoint::Unix(path))
            }
            None => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                listener.set_nonblocking(true).unwrap();
                let host = "127.0.0.1".into();
                let port = listener.local_addr().unwrap().port();
                (Self::Tcp(listener), Endpoint::Tcp { host, port })
            }
        }
    }

    /// A connection that is there already.
    fn accept(&self) -> io::Result<Wire> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Wire::Tcp(stream)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Wire::Unix(stream)
            }
        })
    }
}

pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    fn set_read_timeout(&self, wait: Duration) {
        match self {
            Self::Tcp(s) => s.set_read_timeout(Some(wait)).unwrap(),
            Self::Unix(s) => s.set_read_timeout(Some(wait)).unwrap(),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(s) => s.try_clone().map(Self::Tcp),
            Self::Unix(s) => s.try_clone().map(Self::Unix),
        }
    }

    fn half_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.shutdown(Shutdown::Write),
            Self::Unix(s) => s.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(buf),
            Self::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(buf),
            Self::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    stream: Wire,
    /// What speaks over the stream, once it is encrypted.
    encrypted: Option<Box<dyn Encrypted>>,
    /// The encrypted connection has ended, and nobody has said so.
    cut: bool,
    unread: Vec<u8>,
    name: &'static str,
    protocol: Protocol,
    dialect: Dialect,
}

impl Peer {
    /// A peer that speaks SMTP over a connection of the test's own.
    pub(crate) fn over(stream: TcpStream, name: &'static str) -> Self {
        Self::new(Wire::Tcp(stream), name, &Options::default())
    }

    fn new(stream: Wire, name: &'static str, options: &Options) -> Self {
        match &stream {
            Wire::Tcp(s) => {
                s.set_nodelay(true).unwrap();
                s.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Wire::Unix(s) => s.set_write_timeout(Some(PATIENCE)).unwrap(),
        }
        stream.set_read_timeout(PATIENCE);
        Self {
            stream,
            encrypted: None,
            cut: false,
            unread: Vec::new(),
            name,
            protocol: options.protocol,
            dialect: options.dialect,
        }
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.try_send(text).unwrap();
    }

    /// Like [`send`](Self::send), to a peer that may have gone.
    pub(crate) fn try_send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.encrypted {
            Some(encrypted) => encrypted.write_all(text.as_ref()).and_then(|()| encrypted.flush()),
            None => self.stream.write_all(text.as_ref()),
        }
    }

    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match &mut self.encrypted {
            Some(encrypted) => encrypted.read(block),
            None => self.stream.read(block),
        }
    }

    /// The next line without its end; `None` when the connection has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let line = self.whole_line();
        assert!(
            line.is_some() || self.unread.is_empty(),
            "{} left half a line: {:?}",
            self.name,
            self.unread.escape_ascii().to_string()
        );
        line
    }

    /// The same of a peer that may break off anywhere.
    pub(crate) fn whole_line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                let line = &line[..at];
                return Some(String::from_utf8(line.to_vec()).unwrap_or_else(|_| line.escape_ascii().to_string()));
            }
            let mut block = [0; 4096];
            match self.read(&mut block) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    self.unread.clear();
                    return None;
                }
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    self.cut = true;
                    return None;
                }
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
        self.stream.set_read_timeout(patience);
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
        assert!(!self.cut, "the {} cannot tell the end from a cut", self.name);
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        let read = match &mut self.encrypted {
            Some(encrypted) => encrypted.read_to_end(&mut rest),
            None => self.stream.read_to_end(&mut rest),
        };
        match read {
            Ok(_) => rest,
            // What is left to be written of an encrypted connection fails where it is read.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                ) =>
            {
                rest
            }
            Err(e) => panic!("reading as {}: {e}", self.name),
        }
    }

    /// What has arrived or arrives next, lines or parts of them; `None` at the end of the connection.
    pub(crate) fn block(&mut self) -> Option<String> {
        if self.unread.is_empty() {
            let mut block = [0; 4096];
            match self.read(&mut block) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("reading as {}: {e}", self.name),
            }
        }
        Some(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// What arrives within a short while that should be silence.
    pub(crate) fn overhears(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Duration::from_millis(50));
        let mut block = [0; 4096];
        if let Ok(n) = self.read(&mut block) {
            self.unread.extend_from_slice(&block[..n]);
        }
        self.stream.set_read_timeout(PATIENCE);
        self.unread.clone()
    }

    /// Says that nothing more will be said; still listens.
    pub(crate) fn half_close(&mut self) {
        // A connection that the other side has ended already cannot be ended again.
        if let Some(encrypted) = &mut self.encrypted {
            encrypted.notify();
            let _ = encrypted.flush();
        }
        let _ = self.stream.half_close();
    }

    /// As a next hop: greets and answers EHLO.
    pub(crate) fn greet(&mut self, keywords: &[&str]) {
        self.send("220 hop.test ESMTP\r\n");
        self.expect(match self.dialect {
            Dialect::Smtp => "EHLO us.test",
            Dialect::Lmtp => "LHLO us.test",
        });
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
        if self.protocol == Protocol::Lmtp {
            self.expect("220 us.test LMTP linkgate");
            self.send("LHLO client.test\r\n");
        } else {
            self.expect("220 us.test ESMTP linkgate");
            self.send("EHLO client.test\r\n");
        }
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
