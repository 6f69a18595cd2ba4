//! The program under test: a process that can be killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::next_hop::Dialect;

pub(super) struct Program {
    dir: tempfile::TempDir,
    child: Child,
    listeners: Vec<(Dialect, SocketAddr)>,
    /// The end of its log, for when it fails.
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    pub(super) fn start(smtp: u16, lmtp: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        let ports: Vec<u16> = free_ports(5);
        let [click, admin, a, b, c] = ports[..] else {
            unreachable!()
        };
        let text = format!(
            r#"[click]
public_url = "https://click.example.com"
listen = "127.0.0.1:{click}"
[admin]
listen = "127.0.0.1:{admin}"
[store]
url = "sqlite:{at}/linkgate.db"
[keys]
file = "{at}/keys.toml"
[log]
level = "warn"
[limits]
command_timeout_s = 6
next_hop_timeout_s = 2
final_reply_timeout_s = 2
spool_memory_kib = 64
spool_dir = "{at}"
[domain."on.test"]
[[listener]]
protocol = "smtp"
listen = "127.0.0.1:{a}"
next_hop = "smtp://127.0.0.1:{smtp}"
[[listener]]
protocol = "lmtp"
listen = "127.0.0.1:{b}"
next_hop = "lmtp://127.0.0.1:{lmtp}"
[[listener]]
protocol = "lmtp"
listen = "127.0.0.1:{c}"
next_hop = "smtp://127.0.0.1:{smtp}"
"#
        );
        fs::write(dir.path().join("linkgate.toml"), text).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let listener = |dialect, port: u16| (dialect, SocketAddr::from(([127, 0, 0, 1], port)));
        let listeners = vec![
            listener(Dialect::Smtp, a),
            listener(Dialect::Lmtp, b),
            listener(Dialect::Lmtp, c),
        ];
        let child = spawn(&dir, &log);
        Self {
            dir,
            child,
            listeners,
            log,
        }
    }

    pub(super) fn listeners(&self) -> Vec<(Dialect, SocketAddr)> {
        self.listeners.clone()
    }

    /// SIGKILL, and a new process at once.
    pub(super) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.dir, &self.log);
    }

    pub(super) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!(
                "the program ended with {status}:\n{}",
                self.log.lock().unwrap().join("\n")
            );
        }
    }

    pub(super) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    }

    pub(super) fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let panics: Vec<_> = self
            .log
            .lock()
            .unwrap()
            .iter()
            .filter(|l| l.contains("panic"))
            .cloned()
            .collect();
        assert!(panics.is_empty(), "{}", panics.join("\n"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &tempfile::TempDir, log: &Arc<Mutex<Vec<String>>>) -> Child {
    const KEPT: usize = 2000;
    // Another build of the same program, a release build say.
    let binary = std::env::var_os("LINKGATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_linkgate").into());
    let mut child = Command::new(binary)
        .args(["serve", "--config"])
        .arg(dir.path().join("linkgate.toml"))
        .env_remove("LINKGATE_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            if log.len() >= KEPT {
                log.drain(..KEPT / 2);
            }
            log.push(line);
        }
    });
    child
}

/// Ports that were free a moment ago.
fn free_ports(n: usize) -> Vec<u16> {
    let held: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().port()).collect()
}
