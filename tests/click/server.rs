//! A click server to test, and a client that sees every byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use link::{ClickBase, KeyRing, MessageClaims, Style, Target, Wrapped, wrap_link};
use linkgate::admin::Admin;
use linkgate::click::{ClickCounts, ClickPages};
use linkgate::http::{self, HttpLimits};
use linkgate::metrics::Metrics;
use linkgate::record::Ledger;
use linkgate::settings::{self, ClientIp, Domains, Limits, Log, LogFormat, Settings};
use store::{ClickQuery, ClickRow};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PREFIXED: &str = "https://click.example.com/safe";

/// A click server with a store of its own, on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) settings: Arc<Settings>,
    pub(crate) ledger: Ledger,
    pub(crate) pages: Arc<ClickPages>,
    pub(crate) stop: watch::Sender<bool>,
    /// Above the folder: it has to end before the store's file goes.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) folder: Arc<TempDir>,
}

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) style: Style,
    pub(crate) client_ip: ClientIp,
    pub(crate) trusted: Vec<&'static str>,
    pub(crate) limits: HttpLimits,
    pub(crate) folder: Arc<TempDir>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            style: Style::Readable,
            client_ip: ClientIp::Truncated,
            trusted: Vec::new(),
            limits: HttpLimits::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Setup {
    pub(crate) fn start(self) -> Server {
        let store = self.folder.path().join("linkgate.db");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let settings = Arc::new(Settings {
            click: settings::Click {
                base: ClickBase::new(PREFIXED, self.style).unwrap(),
                listen: local,
                client_ip: self.client_ip,
                trusted_proxies: self.trusted.iter().map(|net| net.parse().unwrap()).collect(),
            },
            admin_listen: local,
            store: store.clone(),
            keys_file: PathBuf::new(),
            keys: Arc::new(KeyRing::generate([7; 32], 0)),
            listeners: Vec::new(),
            domains: Domains::default(),
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
            limits: Limits {
                spool_memory: 0,
                spool_budget: Arc::new(linkgate::budget::SpoolBudget::new(16 << 20)),
                rewrite_budget: Arc::new(linkgate::budget::RewriteBudget::new(512)),
                spool_dir: PathBuf::new(),
                max_transactions: 1,
                command_line: 4096,
                text_line: u64::MAX,
                command_timeout: Duration::ZERO,
                next_hop_connect_timeout: Duration::ZERO,
                data_timeout: Duration::ZERO,
                message_timeout: Duration::ZERO,
                next_hop_timeout: Duration::ZERO,
                final_reply_timeout: Duration::ZERO,
                drain: Duration::ZERO,
            },
            rewriting: Default::default(),
            contact: Default::default(),
            checks: Default::default(),
        });
        let ledger = Ledger::open(&store).unwrap();
        let (_, watched) = watch::channel(Arc::clone(&settings));
        let pages = Arc::new(ClickPages::new(watched.clone(), ledger.clone()));
        let (stop, stopping) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let counts = Arc::clone(&metrics.click_http);
        let told = Arc::new(Admin {
            ledger: ledger.clone(),
            metrics,
            pages: Arc::clone(&pages),
            settings: watched,
            stopping: stopping.clone(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let bind = || runtime.block_on(TcpListener::bind(local)).unwrap();
        let (click, admin) = (bind(), bind());
        let (address, admin_address) = (click.local_addr().unwrap(), admin.local_addr().unwrap());
        runtime.spawn(http::serve_click(
            click,
            Arc::clone(&pages),
            self.limits,
            counts,
            stopping.clone(),
        ));
        runtime.spawn(http::serve_admin(admin, told, self.limits, stopping));
        Server {
            address,
            admin: admin_address,
            settings,
            ledger,
            pages,
            stop,
            runtime: Some(runtime),
            folder: self.folder,
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Setup::default().start()
    }

    pub(crate) fn claims() -> MessageClaims {
        MessageClaims {
            message_id: "mail-1".to_owned(),
            recipient: Some("anna@example.com".to_owned()),
            sender: "news@shop.example".to_owned(),
            issued_at: 1_795_000_000,
            domain: "example.com".to_owned(),
        }
    }

    pub(crate) fn wrap(&self, target: &str) -> Wrapped {
        let target = Target::parse(target).unwrap();
        wrap_link(
            &self.settings.keys.sealer(&Self::claims()),
            &self.settings.click.base,
            &target,
            None,
            0,
        )
    }

    /// The path of the click link for a target, with the path of the public URL.
    pub(crate) fn path(&self, target: &str) -> String {
        let wrapped = self.wrap(target);
        assert!(wrapped.reference.is_none(), "too long for a token: {target}");
        wrapped
            .click_url
            .strip_prefix("https://click.example.com")
            .unwrap()
            .to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    pub(crate) fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        ask(self.address, method, path, fields)
    }

    pub(crate) fn rows(&self) -> Vec<ClickRow> {
        self.ledger
            .store()
            .clicks(&ClickQuery::default())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    pub(crate) fn counts(&self) -> ClickCounts {
        self.pages.counts()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Answer {
    pub(crate) fn of(raw: &[u8]) -> Self {
        let text = std::str::from_utf8(raw).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n{fields}\r\n");
    Answer::of(&talk(address, request.as_bytes()))
}

/// Sends bytes, reads until the server closes.
pub(crate) fn talk(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that closes before it has read everything resets the connection; what it said counts.
    let _ = stream.read_to_end(&mut answer);
    answer
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads one answer off a connection that stays open.
pub(crate) fn next_answer(stream: &mut TcpStream) -> Answer {
    let mut raw = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") {
            let answer = Answer::of(&raw);
            let length: usize = answer.field("content-length").unwrap_or("0").parse().unwrap();
            if raw.len() >= end + 4 + length {
                return answer;
            }
        }
        let n = stream.read(&mut chunk).unwrap();
        assert_ne!(n, 0, "closed in the middle of an answer");
        raw.extend_from_slice(&chunk[..n]);
    }
}

/// What lies beside the store.
pub(crate) fn files(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.folder.path()).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
