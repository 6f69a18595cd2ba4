//! The life of `linkgate serve`: start, reload, drain, and what keeps it from starting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::rig::Peer;
use crate::rig::tls::Certificate;

/// What takes longer will not happen any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal by name.
pub(super) fn signal(child: &Child, name: &str) {
    // The shell's own: a program of that name is not on every machine.
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// A running server, and what it logs.
pub(super) struct Server {
    pub(super) child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    pub(super) fn start(home: &Home) -> Self {
        Self::spawn(home.command(&["serve"]).stdin(Stdio::null()))
    }

    /// Starts what `command` says.
    pub(super) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            log,
            seen: Vec::new(),
        }
    }

    /// The next log line that holds `piece`.
    pub(super) fn logged(&mut self, piece: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(piece) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{piece:?} was not logged: {:#?}", self.seen)
                }
            }
        }
    }

    /// The address bound for a purpose.
    pub(super) fn address(&mut self, what: &str) -> SocketAddr {
        let line = self.logged(&format!("what={what}"));
        let (_, rest) = line.split_once("address=").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    pub(super) fn exit(mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.seen);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line of the next reply.
pub(super) fn reply(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.trim_end().to_owned();
        }
    }
}

pub(super) fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

pub(super) fn say(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    reply(stream)
}

/// A next hop that says yes to everything, for one connection at a time.
pub(super) fn next_hop() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut answer = "220 next hop";
                let mut in_data = false;
                loop {
                    if !answer.is_empty() && stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).is_err() {
                        return;
                    }
                    let mut line = Vec::new();
                    if !matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                        return;
                    }
                    answer = match line.get(..4).unwrap_or_default() {
                        _ if in_data && line != b".\r\n" => "",
                        b"DATA" => {
                            in_data = true;
                            "354 go"
                        }
                        _ => {
                            in_data = false;
                            "250 ok"
                        }
                    };
                }
            });
        }
    });
    address
}

/// A message up to the middle of its data.
pub(super) fn half_a_message(address: SocketAddr) -> BufReader<TcpStream> {
    let mut client = connect(address);
    assert!(reply(&mut client).starts_with("220 "));
    assert!(say(&mut client, "EHLO client.test").starts_with("250 "));
    assert!(say(&mut client, "MAIL FROM:<s@x.test>").starts_with("250 "));
    assert!(say(&mut client, "RCPT TO:<u@elsewhere.test>").starts_with("250 "));
    assert!(say(&mut client, "DATA").starts_with("354 "));
    client.get_mut().write_all(b"Subject: half\r\n").unwrap();
    client
}

#[test]
fn every_address_is_logged_and_answers() {
    let home = Home::new();
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let click = server.address("\"click links\"");
    let admin = server.address("admin");
    for address in [mail, click, admin] {
        TcpStream::connect(address).unwrap();
    }
    let mut health = connect(admin);
    health
        .get_mut()
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert!(reply(&mut health).starts_with("HTTP/1.1 200"), "healthz");
    signal(&server.child, "TERM");
    server.logged("stopped");
    assert_eq!(server.exit(), 0);
}

#[test]
fn a_reload_takes_new_settings_whole_or_keeps_the_old_and_says_why() {
    let home = Home::new();
    let mut server = Server::start(&home);
    server.logged("what=admin");
    let good = fs::read_to_string(home.config()).unwrap();

    home.edit("on.test", "new.test");
    signal(&server.child, "HUP");
    let line = server.logged("reloaded");
    assert!(line.contains("domain new.test, domain on.test"), "{line}");

    home.edit("rewrite = \"all\"", "rewrite = \"al\"");
    signal(&server.child, "HUP");
    assert!(
        server
            .logged("bad configuration")
            .contains("domain.\\\"new.test\\\".rewrite")
    );
    server.logged("not reloaded");

    let other = good.replace("smtp\"\nlisten = \"127.0.0.1:0\"", "smtp\"\nlisten = \"127.0.0.2:0\"");
    fs::write(home.config(), other).unwrap();
    signal(&server.child, "HUP");
    let line = server.logged("not reloaded");
    assert!(
        line.contains("needs restart") && line.contains("keys=listener[1].listen"),
        "{line}"
    );

    fs::write(home.config(), good).unwrap();
    fs::rename(home.path("keys.toml"), home.path("lost.toml")).unwrap();
    signal(&server.child, "HUP");
    assert!(server.logged("bad configuration").contains("no such key file"));
    server.logged("not reloaded");
    assert!(!home.path("keys.toml").exists(), "a running server makes no keys up");

    fs::rename(home.path("lost.toml"), home.path("keys.toml")).unwrap();
    assert_eq!(code(&home.run(&["keys", "add"])), 0);
    signal(&server.child, "HUP");
    let line = server.logged("reloaded");
    assert!(line.contains("keys"), "{line}");
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
}

#[test]
fn a_reload_takes_a_renewed_certificate_up_but_not_half_of_it() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let (ours, other) = (Certificate::new("old.test"), Certificate::new("new.test"));
    let files = format!(
        "tls = \"implicit\"\ntls_certificate = {:?}\ntls_key = {:?}\n[domain.\"on.test\"]",
        ours.certificate(),
        ours.key()
    );
    home.edit("[domain.\"on.test\"]", &files);
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    server.logged("what=admin");
    let session = |name: &str| {
        let mut client = Peer::over(TcpStream::connect(mail).unwrap(), "client");
        client.encrypt(&ours, name).unwrap();
        assert!(client.line().unwrap().starts_with("220 "));
        client
    };
    let mut open = session("old.test");

    let old = fs::read(ours.certificate()).unwrap();
    fs::copy(other.certificate(), ours.certificate()).unwrap();
    signal(&server.child, "HUP");
    let line = server.logged("bad configuration");
    assert!(
        line.contains("listener[1].tls_key") && line.contains("not the key of the certificate"),
        "{line}"
    );
    server.logged("not reloaded");
    let new = fs::read(ours.certificate()).unwrap();
    fs::write(ours.certificate(), old).unwrap();
    session("old.test");

    fs::write(ours.certificate(), new).unwrap();
    fs::copy(other.key(), ours.key()).unwrap();
    signal(&server.child, "HUP");
    let line = server.logged("reloaded");
    assert!(line.contains("changed=listener[1].tls_certificate"), "{line}");
    session("new.test");
    assert!(open.ehlo().len() > 1, "a session that was open lives on");
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
}

#[test]
fn new_settings_count_for_the_next_message() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit("[domain.\"on.test\"]", "[limits]\ndrain_s = 30\n[domain.\"on.test\"]");
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    server.logged("what=admin");
    let mut client = half_a_message(mail);
    home.edit("drain_s = 30", "drain_s = 1");
    signal(&server.child, "HUP");
    assert!(server.logged("reloaded").contains("changed=limits"));
    assert_eq!(say(&mut client, "\r\nbody\r\n."), "250 ok");
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
}

#[test]
fn the_log_names_the_client_that_a_proxy_speaks_for() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit(
        "protocol = \"smtp\"",
        "protocol = \"smtp\"\nxclient_from = [\"127.0.0.1\"]",
    );
    let mut server = Server::start(&home);
    let mut client = connect(server.address("mail"));
    assert!(reply(&mut client).starts_with("220 "));
    let xclient = "XCLIENT ADDR=192.0.2.7 PORT=4711 HELO=spike.test LOGIN=u+1B+40x.test";
    assert!(say(&mut client, xclient).starts_with("220 "));
    let line = server.logged("a session for another client");
    for piece in ["client=192.0.2.7:4711", "through=127.0.0.1:", "LOGIN=u+1B+40x.test"] {
        assert!(line.contains(piece), "{piece}: {line}");
    }
    assert!(say(&mut client, "EHLO proxy.test").starts_with("250 "));
    for command in ["MAIL FROM:<s@x.test>", "RCPT TO:<u@elsewhere.test>", "BDAT 0 LAST"] {
        assert!(say(&mut client, command).starts_with("250 "));
    }
    let line = server.logged("recipients=1");
    for piece in ["client=192.0.2.7:4711", "helo=spike.test", "octets_in=0"] {
        assert!(line.contains(piece), "{piece}: {line}");
    }
}

#[test]
fn a_message_under_way_is_finished_after_sigterm() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    server.logged("what=admin");
    let mut busy = half_a_message(mail);
    let mut idle = connect(mail);
    assert!(reply(&mut idle).starts_with("220 "));
    signal(&server.child, "TERM");
    server.logged("stopping");
    assert!(reply(&mut idle).starts_with("421 "), "an idle session is told at once");
    thread::sleep(Duration::from_millis(200));
    assert!(TcpStream::connect(mail).is_err(), "nothing new is taken");
    assert_eq!(say(&mut busy, "\r\nbody\r\n."), "250 ok");
    server.logged("stopped");
    assert_eq!(server.exit(), 0);
}

#[test]
fn draining_has_a_limit() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit("[domain.\"on.test\"]", "[limits]\ndrain_s = 1\n[domain.\"on.test\"]");
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    server.logged("what=admin");
    let _stuck = half_a_message(mail);
    let began = Instant::now();
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    server.logged("what=admin");
    let _stuck = half_a_message(mail);
    signal(&server.child, "TERM");
    server.logged("stopping");
    signal(&server.child, "INT");
    server.logged("stopped at once");
    assert_eq!(server.exit(), 0);
}

#[test]
fn logs_can_be_json_and_louder() {
    let home = Home::new();
    home.edit("[keys]", "[log]\nformat = \"json\"\nlevel = \"error\"\n[keys]");
    let mut child = home.command(&["serve"]);
    let mut child = child
        .env("LINKGATE_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for what in ["mail", "click links", "admin"] {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&line["what"], &line["level"]), (&what.into(), &"info".into()));
        assert!(
            line["address"].as_str().unwrap().parse::<SocketAddr>().is_ok(),
            "{line}"
        );
    }
    signal(&child, "TERM");
    for line in lines {
        serde_json::from_str::<Value>(&line.unwrap()).unwrap();
    }
    assert!(child.wait().unwrap().success());
}

/// Runs `serve`, which must not start; gives exit code and message.
fn refused(home: &Home) -> (i32, String) {
    refused_start(Server::start(home))
}

/// As [`refused`], of a server that was started otherwise.
pub(super) fn refused_start(mut server: Server) -> (i32, String) {
    let until = Instant::now() + PATIENCE;
    while server.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it started");
        thread::sleep(Duration::from_millis(10));
    }
    let code = server.child.wait().unwrap().code().unwrap_or(-1);
    (code, server.log.iter().collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_port_in_use_is_named() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = taken.each_ref().map(|l| l.local_addr().unwrap());
    let home = Home::new();
    home.edit(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        &format!("[admin]\nlisten = \"{first}\""),
    );
    home.edit(
        "smtp\"\nlisten = \"127.0.0.1:0\"",
        &format!("smtp\"\nlisten = \"{second}\""),
    );
    let (code, message) = refused(&home);
    assert_eq!(code, 1);
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    for (line, (key, address)) in lines
        .iter()
        .zip([("admin.listen", first), ("listener[1].listen", second)])
    {
        let start = format!("linkgate: {key}: cannot listen on {address}: Address already in use");
        assert!(line.starts_with(&start) && line.contains("ss -ltnp"), "{line}");
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    let home = Home::new();
    home.edit(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        "[admin]\nlisten = \"192.0.2.7:8081\"",
    );
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    assert!(
        message.contains("192.0.2.7:8081") && message.contains("no network interface"),
        "{message}"
    );
}

#[test]
fn a_key_file_that_cannot_be_used_is_one_clear_message() {
    let home = Home::new();
    let keys = home.path("keys.toml");
    fs::create_dir(&keys).unwrap();
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (78, 1), "{message}");
    assert!(
        message.starts_with(&format!("{}: the key file cannot be read", keys.display())),
        "{message}"
    );

    fs::remove_dir(&keys).unwrap();
    fs::write(&keys, "[[key]]\nid = \"12\"\n").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, message) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        message.lines().all(|l| l.contains("the key file is broken")),
        "{message}"
    );

    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (78, 1), "{message}");
    assert!(
        message.contains("mode 0644") && message.contains("chmod 600"),
        "{message}"
    );

    fs::remove_file(&keys).unwrap();
    home.edit("keys.toml", "missing/keys.toml");
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (78, 1), "{message}");
    assert!(message.contains("the key file cannot be made"), "{message}");
}

#[test]
fn a_store_that_cannot_be_opened_is_one_clear_message() {
    let home = Home::new();
    let db = home.path("linkgate.db");
    fs::write(
        &db,
        "this is no database, and is longer than the header of one\n".repeat(20),
    )
    .unwrap();
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    let db = db.display().to_string();
    assert!(
        message.contains("the store cannot be opened") && message.contains(&db),
        "{message}"
    );

    home.edit("linkgate.db", "missing/linkgate.db");
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    assert!(message.contains("the store cannot be opened"), "{message}");
}

#[test]
fn a_bad_configuration_stops_it_before_anything_is_made() {
    let home = Home::new();
    home.edit("sqlite:", "postgres:");
    let (code, message) = refused(&home);
    assert_eq!((code, message.lines().count()), (78, 1), "{message}");
    assert!(message.contains("not yet supported, allowed: \"sqlite:\""), "{message}");
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_log_variable_that_says_nothing_is_refused() {
    let home = Home::new();
    let output = home
        .command(&["serve"])
        .env("LINKGATE_LOG", "linkgate=loud")
        .output()
        .unwrap();
    assert_eq!(code(&output), 78, "{}", err(&output));
    assert!(
        err(&output).contains("LINKGATE_LOG") && err(&output).contains("loud"),
        "{}",
        err(&output)
    );
}
