//! `linkgate serve` as a process, and the click links it answers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use link::{ClickBase, KeyRing, MessageClaims, Style, Target, wrap_link};
use store::{ClickQuery, ClickRow, Reader};
use tempfile::TempDir;

use super::eventually;
use crate::click::server::{Answer, ask, post};

const PUBLIC: &str = "https://click.example.com";

/// Everything but what a test is about.
const BASE: &str = r#"
[click]
public_url = "https://click.example.com"
listen = "127.0.0.1:0"
trusted_proxies = ["127.0.0.0/8"]
per_link_per_minute = 0
per_network_per_minute = 0
[admin]
listen = "127.0.0.1:0"
[store]
url = "sqlite:DIR/linkgate.db"
[keys]
file = "DIR/keys.toml"
[[listener]]
protocol = "smtp"
listen = "127.0.0.1:0"
next_hop = "smtp://127.0.0.1:9"
"#;

/// A running server with a folder of its own.
pub(super) struct Program {
    pub(super) dir: TempDir,
    child: Child,
    click: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    keys: KeyRing,
    links: AtomicUsize,
    change: Box<dyn Fn(&mut Command)>,
}

impl Program {
    /// Starts it with these sections besides; `DIR` in them is its folder, in which these files stand.
    pub(super) fn start(config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, files)
    }

    /// The same in a folder that is there.
    pub(super) fn start_in(dir: TempDir, config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(dir, config, files, |_| {})
    }

    /// The same after a change of how it is started.
    pub(super) fn start_with(
        dir: TempDir,
        config: &str,
        files: &[(&str, &str)],
        change: impl Fn(&mut Command) + 'static,
    ) -> Self {
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let text = format!("{BASE}{config}").replace("DIR", dir.path().to_str().unwrap());
        std::fs::write(dir.path().join("linkgate.toml"), text).unwrap();
        let log = Arc::default();
        let (child, click) = serve(dir.path(), &log, &change);
        let keys = std::fs::read_to_string(dir.path().join("keys.toml")).unwrap();
        Self {
            dir,
            child,
            click,
            log,
            keys: KeyRing::parse(&keys).unwrap(),
            links: AtomicUsize::new(0),
            change: Box::new(change),
        }
    }

    /// SIGKILL, and a new process with the same folder.
    pub(super) fn kill_and_restart(&mut self) {
        self.kill();
        (self.child, self.click) = serve(self.dir.path(), &self.log, &self.change);
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.click
    }

    pub(super) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The path of a click link to `target` in a mail of its own to a recipient in `domain`.
    pub(super) fn path(&self, domain: &str, target: &str) -> String {
        self.path_of(domain, target, now_s())
    }

    /// The same for a mail that came at a time, in seconds since 1970.
    pub(super) fn path_of(&self, domain: &str, target: &str, issued_at: u32) -> String {
        let n = self.links.fetch_add(1, Ordering::Relaxed);
        let claims = MessageClaims {
            message_id: format!("mail-{n}"),
            recipient: Some(format!("anna@{domain}")),
            sender: "news@shop.example".to_owned(),
            issued_at: issued_at.into(),
            domain: domain.to_owned(),
        };
        let base = ClickBase::new(PUBLIC, Style::Readable).unwrap();
        let target = Target::parse(target).unwrap();
        let wrapped = wrap_link(&self.keys.sealer(&claims), &base, &target, None, 0);
        wrapped.click_url.strip_prefix(PUBLIC).unwrap().to_owned()
    }

    pub(super) fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        ask(self.click, method, path, fields)
    }

    /// Presses a button.
    pub(super) fn post(&self, path: &str, form: &str, fields: &str) -> Answer {
        post(self.click, path, form, fields)
    }

    /// Runs another command with the same configuration.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkgate"));
        command
            .args(args)
            .arg("--config")
            .arg(self.dir.path().join("linkgate.toml"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(super) fn store(&self) -> PathBuf {
        self.dir.path().join("linkgate.db")
    }

    pub(super) fn rows(&self) -> Vec<ClickRow> {
        let reader = Reader::open(&self.store()).unwrap();
        reader.clicks(&ClickQuery::default()).collect::<Result<_, _>>().unwrap()
    }

    /// The row of the last click.
    pub(super) fn row(&self) -> ClickRow {
        self.rows().pop().unwrap()
    }

    /// The row of the last click of the half minute around a time, in seconds since 1970.
    pub(super) fn click_at(&self, at_s: i64) -> ClickRow {
        let near = |row: &ClickRow| (row.at_us / 1_000_000 - at_s).abs() < 15;
        self.rows().into_iter().rfind(near).unwrap()
    }

    /// Lines of the log that hold `piece`.
    pub(super) fn logged(&self, piece: &str) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(piece)).cloned().collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log.lock().unwrap().join("\n"));
        } else {
            assert_eq!(self.logged("panicked"), [""; 0]);
        }
    }
}

/// Starts the program, that in the folder if there is one; returns when it says where click links are answered.
fn serve(dir: &Path, log: &Arc<Mutex<Vec<String>>>, change: &dyn Fn(&mut Command)) -> (Child, SocketAddr) {
    let own = dir.join("linkgate");
    let mut command = Command::new(if own.exists() {
        own.as_path()
    } else {
        Path::new(env!("CARGO_BIN_EXE_linkgate"))
    });
    command
        .args(["serve", "--config"])
        .arg(dir.join("linkgate.toml"))
        .env_remove("LINKGATE_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let from = log.lock().unwrap().len();
    let lines = BufReader::new(child.stderr.take().unwrap());
    let kept = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
    let mut address = None;
    eventually("the click address", || {
        let log = log.lock().unwrap();
        let line = log[from..].iter().find(|line| line.contains("what=\"click links\""));
        let told = line.and_then(|line| line.split_once("address="));
        address = told.map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
        assert!(address.is_some() || child.try_wait().unwrap().is_none(), "{log:#?}");
        address.is_some()
    });
    (child, address.unwrap())
}

/// Now, in seconds since 1970.
pub(super) fn now_s() -> u32 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32
}
