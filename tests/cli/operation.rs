//! What keeps a running server going: metrics, readiness, the service manager, passed sockets, reloads, a bounded log.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use super::serve::{PATIENCE, Server, connect, half_a_message, next_hop, refused_start, reply, say, signal};
use super::*;

/// Status and body of an admin page.
fn page(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = connect(admin);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of a series; 0 when it is not there.
fn metric(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let (status, body) = page(admin, "/metrics");
    assert_eq!(status, 200);
    let mut found = body.lines().filter(|line| {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        &line[..end] == name && labels.iter().all(|label| line.contains(label))
    });
    let line = found
        .next()
        .unwrap_or_else(|| panic!("{name} {labels:?} is not in {body}"));
    assert_eq!(found.next(), None, "{name} {labels:?} names more than one series");
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until a series has a value.
fn metric_becomes(admin: SocketAddr, name: &str, labels: &[&str], value: f64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = metric(admin, name, labels);
        if now == value {
            return;
        }
        assert!(Instant::now() < until, "{name} {labels:?} is {now}, not {value}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Gives a message to the server, and what it said to the final dot.
fn message(mail: SocketAddr, to: &str, text: &str) -> String {
    let mut client = connect(mail);
    assert!(reply(&mut client).starts_with("220 "));
    assert!(say(&mut client, "EHLO client.test").starts_with("250 "));
    assert!(say(&mut client, "MAIL FROM:<s@x.test>").starts_with("250 "));
    assert!(say(&mut client, &format!("RCPT TO:<{to}>")).starts_with("250 "));
    assert!(say(&mut client, "DATA").starts_with("354 "));
    let answer = say(&mut client, &format!("{text}\r\n."));
    assert!(say(&mut client, "QUIT").starts_with("221 "));
    answer
}

const WITH_LINK: &str = "Subject: x\r\nContent-Type: text/plain\r\n\r\nsee https://shop.example/a today";

#[test]
fn metrics_count_what_happened() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    assert!(message(mail, "u@on.test", WITH_LINK).starts_with("250 "));
    assert!(message(mail, "u@elsewhere.test", WITH_LINK).starts_with("250 "));
    assert!(message(mail, "u@on.test", "Subject: bare\n\nx").starts_with("550 "));
    metric_becomes(admin, "linkgate_connections_ended_total", &["end=\"quit\""], 3.0);
    let is =
        |name: &str, labels: &[&str], value: f64| assert_eq!(metric(admin, name, labels), value, "{name} {labels:?}");
    is("linkgate_messages_total", &["result=\"rewritten\""], 1.0);
    is("linkgate_messages_total", &["result=\"unchanged\""], 1.0);
    is("linkgate_messages_total", &["result=\"bare-line-end\""], 1.0);
    is("linkgate_links_total", &["decision=\"wrapped\""], 1.0);
    is("linkgate_connections", &[], 0.0);
    is("linkgate_max_connections", &[], 200.0);
    is("linkgate_transactions", &[], 0.0);
    is("linkgate_rewrite_seconds_count", &[], 1.0);
    is("linkgate_message_seconds_count", &[], 3.0);
    is("linkgate_next_hop_connects_total", &["result=\"connected\""], 3.0);
    is("linkgate_next_hop_replies_total", &["class=\"4xx\""], 0.0);
    is("linkgate_next_hop_delivery_seconds_count", &[], 2.0);
    is("linkgate_lost_final_replies_total", &[], 0.0);
    is("linkgate_quirks_total", &["quirk=\"bare-lf\""], 1.0);
    is("linkgate_spool_bytes", &["place=\"memory\""], 0.0);
    is("linkgate_spool_memory_bytes", &[], 0.0);
    is("linkgate_rewrite_memory_bytes", &[], 0.0);
    assert!(metric(admin, "linkgate_rewrite_memory_limit_bytes", &[]) >= 1048576.0);
    is("linkgate_store_healthy", &[], 1.0);
    assert!(metric(admin, "linkgate_sent_bytes_total", &[]) > 2.0 * WITH_LINK.len() as f64);
    metric_becomes(admin, "linkgate_store_rows_total", &["kind=\"message\""], 1.0);
    assert!(
        metric(
            admin,
            "linkgate_http_requests_total",
            &["server=\"admin\"", "status=\"200\""]
        ) > 10.0
    );
    assert!(metric(admin, "linkgate_start_time_seconds", &[]) > 1.7e9);
}

#[test]
fn each_copy_of_a_message_is_counted_and_its_octets_once() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit("protocol = \"smtp\"", "protocol = \"lmtp\"");
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    let mut client = connect(mail);
    assert!(reply(&mut client).starts_with("220 "));
    assert!(say(&mut client, "LHLO client.test").starts_with("250 "));
    assert!(say(&mut client, "MAIL FROM:<s@x.test>").starts_with("250 "));
    for name in ["a@on.test", "b@on.test", "c@elsewhere.test"] {
        assert!(say(&mut client, &format!("RCPT TO:<{name}>")).starts_with("250 "));
    }
    assert!(say(&mut client, "DATA").starts_with("354 "));
    assert!(say(&mut client, &format!("{WITH_LINK}\r\n.")).starts_with("250 "));
    assert!(reply(&mut client).starts_with("250 ") && reply(&mut client).starts_with("250 "));
    assert!(say(&mut client, "QUIT").starts_with("221 "));
    metric_becomes(admin, "linkgate_messages_total", &["result=\"rewritten\""], 2.0);
    metric_becomes(admin, "linkgate_messages_total", &["result=\"unchanged\""], 1.0);
    assert_eq!(metric(admin, "linkgate_links_total", &["decision=\"wrapped\""]), 2.0);
    let octets = WITH_LINK.len() as f64 + 2.0;
    assert_eq!(metric(admin, "linkgate_received_bytes_total", &[]), octets);
    assert!(metric(admin, "linkgate_sent_bytes_total", &[]) > 3.0 * octets);
    assert_eq!(metric(admin, "linkgate_possible_duplicates_total", &[]), 0.0);
    metric_becomes(admin, "linkgate_transactions", &[], 0.0);
}

#[test]
fn a_message_on_its_way_is_counted_as_open() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    let client = half_a_message(mail);
    metric_becomes(admin, "linkgate_spool_bytes", &["place=\"memory\""], 15.0);
    assert_eq!(metric(admin, "linkgate_transactions", &[]), 1.0);
    assert_eq!(metric(admin, "linkgate_connections", &[]), 1.0);
    drop(client);
    metric_becomes(admin, "linkgate_connections", &[], 0.0);
    metric_becomes(admin, "linkgate_connections_ended_total", &["end=\"closed\""], 1.0);
    assert_eq!(metric(admin, "linkgate_spool_bytes", &["place=\"memory\""]), 0.0);
    assert_eq!(metric(admin, "linkgate_transactions", &[]), 0.0);
}

#[test]
fn files_of_the_spool_are_counted() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit(
        "[domain.\"on.test\"]",
        "[limits]\nspool_memory_kib = 0\n[domain.\"on.test\"]",
    );
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    let mut client = half_a_message(mail);
    metric_becomes(admin, "linkgate_spool_files", &[], 1.0);
    metric_becomes(admin, "linkgate_spool_bytes", &["place=\"file\""], 15.0);
    assert_eq!(say(&mut client, "\r\nbody\r\n."), "250 ok");
    metric_becomes(admin, "linkgate_spool_files", &[], 0.0);
    assert_eq!(metric(admin, "linkgate_spool_bytes", &["place=\"file\""]), 0.0);
    assert_eq!(metric(admin, "linkgate_spool_bytes", &["place=\"memory\""]), 0.0);
}

/// A next hop that takes a message and closes the connection instead of replying.
fn forgetful_next_hop() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut answer = "220 next hop";
            loop {
                let _ = stream.get_mut().write_all(format!("{answer}\r\n").as_bytes());
                let mut line = String::new();
                if !matches!(stream.read_line(&mut line), Ok(1..)) {
                    break;
                }
                answer = "250 ok";
                if line.starts_with("DATA") {
                    let _ = stream.get_mut().write_all(b"354 go\r\n");
                    while line != ".\r\n" {
                        line.clear();
                        stream.read_line(&mut line).unwrap();
                    }
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_final_reply_that_never_came_is_counted() {
    let home = Home::with_next_hop(&forgetful_next_hop().to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    assert!(message(mail, "u@on.test", WITH_LINK).starts_with("451 "));
    assert_eq!(metric(admin, "linkgate_lost_final_replies_total", &[]), 1.0);
    assert_eq!(metric(admin, "linkgate_possible_duplicates_total", &[]), 1.0);
    assert_eq!(
        metric(admin, "linkgate_next_hop_failures_total", &["phase=\"final-reply\""]),
        1.0
    );
    assert_eq!(
        metric(admin, "linkgate_messages_total", &["result=\"next-hop-lost\""]),
        1.0
    );
    assert_eq!(metric(admin, "linkgate_next_hop_up", &[]), 1.0, "it could be reached");
}

/// Opens a session and hears 421 at EHLO, as every client does while the next hop is away.
fn turned_away(mail: SocketAddr) {
    let mut client = connect(mail);
    assert!(reply(&mut client).starts_with("220 "));
    assert!(say(&mut client, "EHLO client.test").starts_with("421 "));
}

#[test]
fn a_next_hop_that_is_away_makes_it_unready_and_comes_back() {
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = reserved.local_addr().unwrap();
    drop(reserved);
    let home = Home::with_next_hop(&away.to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    assert_eq!(page(admin, "/readyz"), (200, "ready\n".to_owned()));
    turned_away(mail);
    let (status, why) = page(admin, "/readyz");
    assert_eq!(status, 503);
    assert!(
        why.contains(&format!("listener[1]: smtp://{away} could not be reached 0 s ago")),
        "{why}"
    );
    assert_eq!(page(admin, "/healthz").0, 200, "that is no reason to start us again");
    assert_eq!(metric(admin, "linkgate_next_hop_up", &[]), 0.0);

    home.edit(&away.to_string(), &next_hop().to_string());
    signal(&server.child, "HUP");
    server.logged("reloaded");
    assert_eq!(page(admin, "/readyz").0, 200, "the new one has not failed");
    let up = metric(admin, "linkgate_next_hop_up", &[]);
    assert_eq!(up, 1.0, "nobody asks for the old one any more");
    assert!(message(mail, "u@on.test", WITH_LINK).starts_with("250 "));
}

#[test]
fn a_milter_is_ready_without_a_next_hop() {
    let home = Home::new();
    home.edit("next_hop = \"smtp://127.0.0.1:9\"", "");
    home.edit("protocol = \"smtp\"", "protocol = \"milter\"");
    let mut server = Server::start(&home);
    let (mail, admin) = (server.address("milter"), server.address("admin"));
    assert_eq!(page(admin, "/readyz"), (200, "ready\n".to_owned()));
    // Version 2 of the terms, with all that it knows.
    let mut mta = TcpStream::connect(mail).unwrap();
    mta.write_all(b"\0\0\0\x0dO\0\0\0\x02\0\0\0\x3f\0\0\0\x7f").unwrap();
    let mut terms = [0; 17];
    mta.read_exact(&mut terms).unwrap();
    assert_eq!(terms[4..9], *b"O\0\0\0\x02");
    assert_eq!(metric(admin, "linkgate_connections", &[]), 1.0);
    drop(mta);
    metric_becomes(admin, "linkgate_connections_ended_total", &["end=\"closed\""], 1.0);
    let (_, body) = page(admin, "/metrics");
    assert!(!body.contains("linkgate_next_hop_up{"), "{body}");
    assert_eq!(page(admin, "/readyz").0, 200);
}

#[test]
fn a_dead_next_hop_does_not_flood_the_log() {
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = reserved.local_addr().unwrap();
    drop(reserved);
    let home = Home::with_next_hop(&away.to_string());
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    for _ in 0..50 {
        turned_away(mail);
    }
    metric_becomes(admin, "linkgate_connections_ended_total", &["end=\"next-hop\""], 50.0);
    let left_out = metric(admin, "linkgate_log_lines_left_out_total", &[]);
    assert!((40.0..=45.0).contains(&left_out), "{left_out}");
    assert_eq!(
        metric(admin, "linkgate_next_hop_connects_total", &["result=\"failed\""]),
        50.0
    );

    // It comes back under the same address.
    let listener = TcpListener::bind(away).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let _ = stream.get_mut().write_all(b"220 hello\r\n");
            let _ = stream.read_line(&mut String::new());
            let _ = stream.get_mut().write_all(b"250 hello\r\n");
            let _ = stream.read_line(&mut String::new());
        }
    });
    let mut client = connect(mail);
    assert!(reply(&mut client).starts_with("220 "));
    let line = server.logged("the next hop answers again");
    let told: u32 = line.split_once("left_out=").unwrap().1.trim().parse().unwrap();
    assert!((1..=45).contains(&told), "{line}");
    assert_eq!(page(admin, "/readyz").0, 200);
}

#[test]
fn a_drain_is_seen_from_outside_and_ends_when_a_stalled_session_is_cut_off() {
    let home = Home::with_next_hop(&next_hop().to_string());
    home.edit("[domain.\"on.test\"]", "[limits]\ndrain_s = 2\n[domain.\"on.test\"]");
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    let mut stalled = half_a_message(mail);
    signal(&server.child, "TERM");
    server.logged("stopping");
    let (status, why) = page(admin, "/readyz");
    assert_eq!(status, 503);
    assert!(why.contains("draining"), "{why}");
    assert_eq!(page(admin, "/healthz").0, 200);
    assert_eq!(metric(admin, "linkgate_transactions", &[]), 1.0);
    server.logged("cutting off sessions");
    let mut line = String::new();
    assert!(
        matches!(stalled.read_line(&mut line), Ok(0) | Err(_)),
        "nothing was promised: {line:?}"
    );
    assert_eq!(server.exit(), 0);
}

#[test]
fn new_connections_take_a_listeners_new_settings_up() {
    let (first, second) = (next_hop(), forgetful_next_hop());
    let home = Home::with_next_hop(&first.to_string());
    home.edit(
        "[domain.\"on.test\"]",
        "hostname = \"old.test\"\nmax_connections = 1\n[domain.\"on.test\"]",
    );
    let mut server = Server::start(&home);
    let mail = server.address("mail");
    let admin = server.address("admin");
    let mut old = connect(mail);
    assert!(reply(&mut old).starts_with("220 old.test "));
    let mut waiting = connect(mail);
    assert!(say(&mut old, "EHLO c.test").starts_with("250 "));

    home.edit(
        "hostname = \"old.test\"\nmax_connections = 1",
        "hostname = \"new.test\"\nmax_connections = 3\nmax_message_mib = 7\nxforward_from = []",
    );
    home.edit(&first.to_string(), &second.to_string());
    signal(&server.child, "HUP");
    let line = server.logged("reloaded");
    assert!(line.contains("changed=listener[1]"), "{line}");
    assert!(
        reply(&mut waiting).starts_with("220 new.test "),
        "it need not wait any more"
    );
    waiting.get_mut().write_all(b"EHLO c.test\r\n").unwrap();
    let mut offers = Vec::new();
    while offers.last().is_none_or(|line: &String| line.as_bytes()[3] == b'-') {
        let mut line = String::new();
        waiting.read_line(&mut line).unwrap();
        offers.push(line);
    }
    let offers = offers.concat();
    assert!(!offers.contains("XFORWARD"), "{offers}");
    assert!(say(&mut waiting, "MAIL FROM:<s@x.test> SIZE=8000000").starts_with("552 "));
    assert_eq!(metric(admin, "linkgate_max_connections", &[]), 3.0);
    assert_eq!(metric(admin, "linkgate_reloads_total", &["result=\"applied\""]), 1.0);
    // The session from before goes on as it began: by the first next hop.
    assert!(say(&mut old, "MAIL FROM:<s@x.test>").starts_with("250 "));
    assert!(say(&mut old, "RCPT TO:<u@elsewhere.test>").starts_with("250 "));
    assert!(say(&mut old, "DATA").starts_with("354 "));
    assert_eq!(say(&mut old, "x: y\r\n\r\nz\r\n."), "250 ok");
    drop((old, waiting));
    assert!(
        message(mail, "u@elsewhere.test", WITH_LINK).starts_with("451 "),
        "the second next hop"
    );

    let good = fs::read_to_string(home.config()).unwrap();
    let more = "[[listener]]\nprotocol = \"smtp\"\nlisten = \"127.0.0.1:0\"\nnext_hop = \"smtp://127.0.0.1:9\"\n";
    fs::write(home.config(), format!("{good}{more}").replace("new.test", "newer.test")).unwrap();
    signal(&server.child, "HUP");
    let line = server.logged("needs restart");
    assert!(line.contains("keys=listener[2]"), "{line}");
    assert!(
        reply(&mut connect(mail)).starts_with("220 new.test "),
        "nothing of it is in force"
    );
    metric_becomes(admin, "linkgate_last_reload_successful", &[], 0.0);
}

/// The next notification that holds `piece`.
fn notified(socket: &UnixDatagram, piece: &str) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut text = [0; 4096];
        let n = socket.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..n]).into_owned();
        if text.lines().any(|line| line.starts_with(piece)) {
            return text;
        }
    }
    panic!("{piece} was not notified");
}

#[test]
fn the_service_manager_is_told() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.command(&["serve"]);
    command
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("WATCHDOG_USEC", "200000");
    let mut server = Server::spawn(&mut command);
    let ready = notified(&socket, "READY=1");
    assert!(ready.contains("STATUS=serving: 1 mail listeners, 2 domains"), "{ready}");
    let mail = server.address("mail");
    TcpStream::connect(mail).unwrap();
    let began = Instant::now();
    for _ in 0..5 {
        notified(&socket, "WATCHDOG=1");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

    signal(&server.child, "HUP");
    let reloading = notified(&socket, "RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    notified(&socket, "READY=1");

    home.edit("rewrite = \"all\"", "rewrite = \"al\"");
    signal(&server.child, "HUP");
    notified(&socket, "RELOADING=1");
    let refused = notified(&socket, "READY=1");
    assert!(refused.contains("the last reload was refused"), "{refused}");

    let _stuck = half_a_message(mail);
    signal(&server.child, "TERM");
    let stopping = notified(&socket, "STOPPING=1");
    assert!(stopping.contains("\nEXTEND_TIMEOUT_USEC=36000000"), "{stopping}");
    notified(&socket, "WATCHDOG=1");
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
}

#[test]
fn a_store_that_refuses_rows_is_no_reason_for_the_watchdog_to_bite() {
    let home = Home::new();
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.command(&["serve"]);
    command
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("WATCHDOG_USEC", "1000000");
    let mut server = Server::spawn(&mut command);
    let admin = server.address("admin");
    let other = rusqlite::Connection::open(home.path("linkgate.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    server.logged("the store takes no rows");
    let (status, why) = page(admin, "/readyz");
    assert_eq!(status, 503);
    assert!(why.contains("store: failing: locked"), "{why}");
    assert_eq!(page(admin, "/healthz").0, 200);
    assert_eq!(metric(admin, "linkgate_store_healthy", &[]), 0.0);
    for _ in 0..3 {
        notified(&socket, "WATCHDOG=1");
    }
    other.execute_batch("ROLLBACK").unwrap();
    server.logged("the store takes rows again");
    assert_eq!(page(admin, "/readyz").0, 200);
}

#[test]
fn a_server_that_does_not_start_is_never_ready() {
    let home = Home::new();
    home.edit("linkgate.db", "missing/linkgate.db");
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    let mut command = home.command(&["serve"]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    assert_eq!(refused_start(Server::spawn(&mut command)).0, 1);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err());
}

/// Starts the server with a socket as the only one that a service manager passes.
fn with_passed(home: &Home, socket: impl Into<OwnedFd>) -> Server {
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --config \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_linkgate")])
        .arg(home.config());
    command.env_remove("LINKGATE_LOG").stdin(Stdio::from(socket.into()));
    Server::spawn(&mut command)
}

#[test]
fn a_passed_socket_serves_the_address_that_names_it() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    home.edit(
        "smtp\"\nlisten = \"127.0.0.1:0\"",
        &format!("smtp\"\nlisten = \"{address}\""),
    );
    // Whoever connects before the server runs is served when it does.
    let mut early = connect(address);
    let mut server = with_passed(&home, socket);
    assert_eq!(server.address("mail"), address);
    let admin = server.address("admin");
    assert!(reply(&mut early).starts_with("220 "));
    assert!(message(address, "u@on.test", WITH_LINK).starts_with("250 "));
    assert_eq!(page(admin, "/readyz").0, 200);
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
}

#[test]
fn a_passed_unix_socket_is_served_and_its_file_stays() {
    let home = Home::with_next_hop(&next_hop().to_string());
    let path = home.path("mail.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let name = format!("unix:{}", path.display());
    home.edit(
        "smtp\"\nlisten = \"127.0.0.1:0\"",
        &format!("smtp\"\nlisten = \"{name}\""),
    );
    let mut server = with_passed(&home, socket);
    let line = server.logged("what=mail");
    assert!(line.contains(&name), "{line}");
    let client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = String::new();
    BufReader::new(client).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("220 "), "{greeting}");
    signal(&server.child, "TERM");
    assert_eq!(server.exit(), 0);
    assert!(path.exists(), "the file is the service manager's");
}

#[test]
fn a_passed_socket_that_no_address_wants_is_refused() {
    let home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (code, message) = refused_start(with_passed(&home, socket));
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    assert!(message.contains(&format!("found a socket for {address}")), "{message}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (code, message) = refused_start(with_passed(&home, client));
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    assert!(message.contains("Accept=no"), "{message}");

    let (code, message) = refused_start(with_passed(&home, fs::File::open(home.config()).unwrap()));
    assert_eq!((code, message.lines().count()), (1, 1), "{message}");
    assert!(message.contains("socket 1"), "{message}");
}
