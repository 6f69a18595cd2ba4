//! A click server to test, and a client that sees every byte.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{ClickBase, ClickPolicy, MessageClaims, Style, Target, Wrapped, wrap_link};
use linkgate::admin::Admin;
use linkgate::click::ClickPages;
use linkgate::click::visitor::VisitorHistory;
use linkgate::config::keyfile::Absent;
use linkgate::config::{self, CheckLimits, ClickRules, ClientIp, DomainRules, Settings};
use linkgate::http::HttpLimits;
use linkgate::intel::Intel;
use linkgate::intel::follow::Follower;
use linkgate::intel::new_domains::NewDomains;
use linkgate::intel::revoked::Revocations;
use linkgate::intel::sources::{ServerSources, Sources};
use linkgate::ledger::Ledger;
use linkgate::mail::budget::Budgets;
use linkgate::metrics::{ClickMetrics, ClickRefusal, Metrics};
use store::{ClickQuery, ClickRow, Outcome};
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
    /// Takes other settings, as a reload does.
    pub(crate) reload: watch::Sender<Arc<Settings>>,
    pub(crate) ledger: Ledger,
    pub(crate) pages: Arc<ClickPages>,
    pub(crate) stop: watch::Sender<bool>,
    /// Above the folder: it has to end before the store's file goes.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) folder: Arc<TempDir>,
    setup: Setup,
}

/// The fields of a current browser that was told by a person to open a link.
pub(crate) const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\n";

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) style: Style,
    pub(crate) client_ip: ClientIp,
    pub(crate) trusted: Vec<&'static str>,
    pub(crate) limits: HttpLimits,
    pub(crate) folder: Arc<TempDir>,
    /// Instead of the real ones.
    pub(crate) sources: Option<Arc<dyn Sources>>,
    /// What is different from the default settings.
    pub(crate) tune: fn(&mut Settings),
    /// The same, for what a function cannot hold.
    pub(crate) policy: ClickPolicy,
    /// Lists and the like, as `[[source]]` sections.
    pub(crate) config: String,
}

/// How many clicks were answered in some ways.
#[derive(Debug)]
pub(crate) struct ClickCounts {
    pub(crate) redirected: u64,
    pub(crate) refused: u64,
    pub(crate) target_missing: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            style: Style::Readable,
            client_ip: ClientIp::Truncated,
            trusted: Vec::new(),
            limits: HttpLimits::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            sources: None,
            tune: |_| {},
            policy: ClickPolicy::default(),
            config: String::new(),
        }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Setup {
    fn settings(&self, store: &Path) -> Settings {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let rules = DomainRules {
            policy: self.policy,
            ..DomainRules::default()
        };
        let plain = crate::rig::settings_of("");
        let mut settings = Settings {
            click: config::Click {
                base: ClickBase::new(PREFIXED, self.style).unwrap(),
                listen: local,
                client_ip: self.client_ip,
                trusted_proxies: self.trusted.iter().map(|net| net.parse().unwrap()).collect(),
            },
            admin_listen: local,
            store: store.to_owned(),
            listeners: Vec::new(),
            click_rules: ClickRules::new(rules, HashMap::new()),
            // Tests ask often.
            check_limits: CheckLimits {
                per_link: 0,
                per_network: 0,
                ..CheckLimits::default()
            },
            ..plain
        };
        if !self.config.is_empty() {
            settings.checks = checks(&self.config, store);
        }
        (self.tune)(&mut settings);
        settings
    }

    pub(crate) fn start(self) -> Server {
        let store = self.folder.path().join("linkgate.db");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let setup = self.clone();
        let settings = Arc::new(self.settings(&store));
        let limits = settings.limits.clone();
        let ledger = Ledger::open(&store).unwrap();
        let (reload, watched) = watch::channel(Arc::clone(&settings));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let metrics = Arc::new(Metrics::new());
        let sources = self.sources.unwrap_or_else(|| {
            let _inside = runtime.enter();
            Arc::new(ServerSources {
                intel: Intel::start(watched.clone(), &metrics),
                follower: Arc::new(Follower::new(watched.clone(), Arc::clone(&metrics.contact))),
                revocations: Revocations::start(ledger.store().reader()).unwrap(),
                domains: Arc::new(NewDomains::new(ledger.store().clone())),
            })
        });
        let visitors = VisitorHistory::start(&ledger, 0).unwrap();
        let clicks = Arc::clone(&metrics.clicks);
        let pages = Arc::new(ClickPages::new(
            watched.clone(),
            ledger.clone(),
            sources,
            visitors,
            clicks,
        ));
        let (stop, stopping) = watch::channel(false);
        let counts = Arc::clone(&metrics.click_http);
        let told = Arc::new(Admin {
            ledger: ledger.clone(),
            budgets: Arc::new(Budgets::new(&limits)),
            metrics,
            pages: Arc::clone(&pages),
            settings: watched,
            stopping: stopping.clone(),
        });
        let bind = || runtime.block_on(TcpListener::bind(local)).unwrap();
        let (click, admin) = (bind(), bind());
        let (address, admin_address) = (click.local_addr().unwrap(), admin.local_addr().unwrap());
        runtime.spawn(linkgate::click::serve_click(
            click,
            Arc::clone(&pages),
            self.limits,
            counts,
            stopping.clone(),
        ));
        runtime.spawn(linkgate::admin::serve_admin(admin, told, self.limits, stopping));
        Server {
            address,
            admin: admin_address,
            settings,
            reload,
            ledger,
            pages,
            stop,
            runtime: Some(runtime),
            folder: self.folder,
            setup,
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

    /// Waits until so many clicks are in the store, and none beside it.
    pub(crate) fn until_stored(&self, rows: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.rows().len() < rows || files(self).iter().any(|name| name.contains("unstored")) {
            assert!(Instant::now() < end, "{} rows, {:?}", self.rows().len(), files(self));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn counts(&self) -> ClickCounts {
        let metrics = self.metrics();
        ClickCounts {
            redirected: metrics.outcomes.get(Outcome::Redirected),
            refused: metrics.refusals.get(ClickRefusal::Refused),
            target_missing: metrics.refusals.get(ClickRefusal::TargetMissing),
        }
    }

    pub(crate) fn metrics(&self) -> &ClickMetrics {
        self.pages.counts()
    }

    /// The settings once more, to be changed and put in place.
    pub(crate) fn settings_again(&self) -> Settings {
        self.setup.settings(&self.settings.store)
    }

    /// Puts other settings in place, as a reload does.
    pub(crate) fn reload_with(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
        self.reload.send_replace(Arc::clone(&self.settings));
    }

    /// Presses a button: sends a form as a browser does.
    pub(crate) fn post(&self, path: &str, form: &str, fields: &str) -> Answer {
        post(self.address, path, form, fields)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// `[checks]` and `[[source]]` as the configuration has them.
fn checks(sections: &str, store: &Path) -> config::Checks {
    let text = include_str!("../../fixtures/config/good/least.toml");
    let lists = store.with_file_name("lists");
    let text = format!("{text}\n{}", sections.replace("LISTS_DIR", lists.to_str().unwrap()));
    let settings = Settings::from_toml(&text, Path::new("x"), Absent::Pretend);
    settings.unwrap_or_else(|faults| panic!("{faults:?}")).checks
}

impl Answer {
    /// The fields of the form with this button: `continue` or `review`.
    pub(crate) fn form(&self, button: &str) -> Option<String> {
        let form = self
            .body
            .split("<form")
            .skip(1)
            .find(|form| form.contains(&format!("value=\"{button}\"")))?;
        let form = form.split("</form>").next()?;
        let fields = form.split("<input").skip(1).filter_map(|input| {
            let value = |name: &str| input.split_once(&format!("{name}=\""))?.1.split('"').next();
            Some(format!("{}={}", value(" name")?, value(" value")?))
        });
        Some(fields.collect::<Vec<_>>().join("&"))
    }

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

/// A question in JSON, and its answer.
pub(crate) fn ask_json(address: SocketAddr, path: &str, body: &str) -> (u16, serde_json::Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = Answer::of(&talk(address, request.as_bytes()));
    let told = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body));
    (answer.status, told)
}

/// One request on a connection of its own.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n{fields}\r\n");
    Answer::of(&talk(address, request.as_bytes()))
}

/// Presses a button: sends a form as a browser does.
pub(crate) fn post(address: SocketAddr, path: &str, form: &str, fields: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{fields}\r\n{form}",
        form.len()
    );
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
