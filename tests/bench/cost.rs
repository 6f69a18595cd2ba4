//! Work to count instructions of: `cost WORK COUNT` does one piece of work so many times, after a start that is the same for
//! every count. `tests/run cost` runs it twice under callgrind and takes the difference, so the start is not in it.
//!
//! `cost --list` prints a line for each: the work, and the two counts. Inputs are the same in every run.

#[expect(dead_code, reason = "this shares the mail of the bench `plan`, but not all of it")]
mod mail;
mod setup;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use link::{Category, Circumstances, Decision, MessageClaims, Policy, Target, Weight, wrap_link};
use linkgate::click::ClickPages;
use linkgate::click::visitor::VisitorHistory;
use linkgate::config::Settings;
use linkgate::intel::Intel;
use linkgate::intel::follow::Follower;
use linkgate::intel::new_domains::NewDomains;
use linkgate::intel::revoked::Revocations;
use linkgate::intel::sources::{NoSources, ServerSources};
use linkgate::ledger::Ledger;
use linkgate::mail::budget::Budgets;
use linkgate::mail::context::{ListenerContext, MailContext};
use linkgate::mail::listen::serve;
use linkgate::mail::rewrite::{Job, Pipeline, rewrite};
use linkgate::metrics::Metrics;
use linkgate::net::Socket;
use lists::{Canonical, Format, HashKey, ListCopy, ListTable, Protected, Reading};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The names of the work, and the two counts whose difference is taken.
const WORKS: [(&str, usize, usize); 6] = [
    ("newsletter-plan", 5, 35),
    ("plain-5k-plan", 100, 2_100),
    ("off-message", 50, 550),
    ("click", 200, 1_200),
    ("list-lookup", 2_000, 22_000),
    ("policy-decision", 2_000, 22_000),
];

/// Clicks that are made ready: no fewer than the larger count.
const CLICKS: usize = 1_200;
/// Entries of the list that is looked into.
const LISTED: usize = 30_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let work = args.next().unwrap_or_default();
    // `cargo bench` runs every bench: this one has nothing to do with time.
    if std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    if work == "--list" {
        for (name, few, many) in WORKS {
            println!("{name} {few} {many}");
        }
        return;
    }
    let Some(count) = args.next().and_then(|count| count.parse().ok()) else {
        eprintln!("cost --list, or cost WORK COUNT");
        std::process::exit(64);
    };
    match work.as_str() {
        "newsletter-plan" => plan(count, &mail::newsletter(), mail::HTML_LINKS + mail::TEXT_LINKS),
        "plain-5k-plan" => plan(count, &mail::plain(5 << 10), 0),
        "off-message" => off_message(count),
        "click" => click(count),
        "list-lookup" => list_lookup(count),
        "policy-decision" => policy_decision(count),
        _ => {
            eprintln!("there is no work {work:?}: see cost --list");
            std::process::exit(64);
        }
    }
}

/// The plan of a message as `serve` makes it, without lists to ask.
fn plan(count: usize, message: &[u8], links: usize) {
    let dir = TempDir::new().expect("a temporary folder");
    let settings = setup::settings(dir.path());
    let recipients = ["reader@example.com".to_owned()];
    let job = Job {
        settings: &settings,
        sender: "letters@kitchen.example",
        recipients: &recipients,
        mail_id: "01JBVK0000BENCH000000000",
        now_s: 1_762_248_600,
    };
    for _ in 0..count {
        let outcome = rewrite(black_box(&message), &job, &NoSources).expect("a plan");
        let wrapped = outcome
            .report
            .links
            .iter()
            .filter(|link| matches!(link.decision, Decision::Wrap(_)));
        assert_eq!(wrapped.count(), links);
    }
}

/// A message of 5 KB to a domain that is off, through a listener's session to a next hop, both on kept connections over unix
/// sockets. The client and the next hop, which read and write whole commands, are in the figure.
fn off_message(count: usize) {
    let (dir, settings, ledger) = running();
    let runtime = one_thread();
    let message = [mail::plain(5 << 10).as_slice(), b".\r\n"].concat();
    runtime.block_on(async {
        let next_hop = UnixListener::bind(dir.path().join("next-hop.sock")).expect("a socket for the next hop");
        let listener = settings.listeners[0].clone();
        let socket = Socket::bind(&listener.listen, listener.socket_mode)
            .await
            .expect("a socket");
        let (_reload, settings) = watch::channel(settings);
        let (_stop, stopping) = watch::channel(false);
        let shared = MailContext {
            budgets: Arc::new(Budgets::new(&settings.borrow().limits)),
            settings: settings.clone(),
            rewriter: Arc::new(Pipeline::new(Arc::new(NoSources))),
            recorder: Arc::new(ledger),
            in_flight: Arc::default(),
            metrics: Arc::default(),
        };
        let context = ListenerContext::new(listener, 0, &shared);
        tokio::spawn(serve(socket, Arc::new(context), stopping));
        tokio::spawn(play_next_hop(next_hop));

        let stream = UnixStream::connect(dir.path().join("linkgate.sock"))
            .await
            .expect("the listener");
        let mut client = Client {
            stream: BufReader::new(stream),
            line: String::new(),
        };
        client.expect(220).await;
        client.say(b"EHLO client.example\r\n", 250).await;
        for _ in 0..count {
            client.say(b"MAIL FROM:<letters@kitchen.example>\r\n", 250).await;
            client.say(b"RCPT TO:<reader@off.example>\r\n", 250).await;
            client.say(b"DATA\r\n", 354).await;
            client.say(&message, 250).await;
        }
    });
}

/// A next hop that takes every message.
async fn play_next_hop(listener: UnixListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let (mut buffer, mut in_data) = (Vec::with_capacity(64 << 10), false);
            stream.write_all(b"220 next-hop.example\r\n").await.ok();
            while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
                let end: &[u8] = if in_data { b"\r\n.\r\n" } else { b"\r\n" };
                if !buffer.ends_with(end) {
                    continue;
                }
                let reply: &[u8] = match buffer.get(..4) {
                    _ if in_data => b"250 2.0.0 taken\r\n",
                    Some(b"EHLO") => b"250-next-hop.example\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
                    Some(b"DATA") => b"354 go on\r\n",
                    _ => b"250 2.0.0 well\r\n",
                };
                in_data = reply.starts_with(b"354");
                buffer.clear();
                if stream.write_all(reply).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A client that waits for each reply.
struct Client {
    stream: BufReader<UnixStream>,
    line: String,
}

impl Client {
    async fn say(&mut self, words: &[u8], code: u16) {
        self.stream.get_mut().write_all(words).await.expect("a session");
        self.expect(code).await;
    }

    async fn expect(&mut self, code: u16) {
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).await.expect("a reply");
            let (found, rest) = self.line.split_at_checked(3).expect("a reply with a code");
            assert_eq!(found.parse(), Ok(code), "{}", self.line);
            if !rest.starts_with('-') {
                return;
            }
        }
    }
}

/// Clicks of readers on links that nothing speaks against, each checked, labelled, and committed to the store before its
/// redirect is there.
fn click(count: usize) {
    let (_dir, settings, ledger) = running();
    let clicks: Vec<(String, SocketAddr)> = (0..CLICKS).map(|i| click_link(&settings, i)).collect();
    let runtime = one_thread();
    runtime.block_on(async {
        let (_reload, settings) = watch::channel(settings);
        let metrics = Arc::new(Metrics::new());
        let world = ServerSources {
            intel: Intel::start(settings.clone(), &metrics),
            follower: Arc::new(Follower::new(settings.clone(), Arc::clone(&metrics.contact))),
            revocations: Revocations::start(ledger.store().reader()).expect("a store"),
            domains: Arc::new(NewDomains::new(ledger.store().clone())),
        };
        let visitors = VisitorHistory::start(&ledger, 0).expect("a store");
        let counts = Arc::clone(&metrics.clicks);
        let pages = ClickPages::new(settings, ledger.clone(), Arc::new(world), visitors, counts);
        let pages = Arc::new(pages);
        for (path, peer) in &clicks[..count] {
            let answer = pages.answer(browser(path), *peer).await;
            let (head, body) = answer.into_parts();
            if head.status != StatusCode::FOUND {
                let page = axum::body::to_bytes(body, 1 << 20).await.expect("a page");
                panic!("no redirect but {}: {}", head.status, String::from_utf8_lossy(&page));
            }
        }
        ledger.flush().await.expect("a store");
    });
    let stored = ledger.store().counts().clicks;
    assert_eq!(stored, count as u64);
}

/// The path of a click link, one of four of its mail, and the address of its reader.
fn click_link(settings: &Settings, i: usize) -> (String, SocketAddr) {
    let (mail, link) = (i / 4, i % 4);
    let claims = MessageClaims {
        message_id: format!("01JBVK0000BENCH{mail:09}"),
        recipient: Some(format!("reader{mail}@example.com")),
        sender: "letters@kitchen.example".into(),
        // A link that is opened long after its mail gets a warning.
        issued_at: an_hour_ago(),
        domain: "example.com".into(),
    };
    let url = format!("https://shop{}.kitchen.example/offer/{mail}?step={link}", mail % 10);
    let target = Target::parse(&url).expect("a URL");
    let wrapped = wrap_link(&settings.keys.sealer(&claims), &settings.click.base, &target, None, 0);
    let path = wrapped
        .click_url
        .strip_prefix("https://click.example.com")
        .expect("our host");
    let network = u16::try_from(mail).expect("few mails").to_be_bytes();
    (
        path.to_owned(),
        (Ipv4Addr::new(10, network[0], network[1], 7), 40_000).into(),
    )
}

/// In seconds since 1970.
fn an_hour_ago() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(now.as_secs()).expect("a clock") - 3_600
}

/// A request as a browser sends it that was told by a person to open a link.
fn browser(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "click.example.com")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("accept-language", "en-GB,en;q=0.5")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "none")
        .header("sec-fetch-user", "?1")
        .body(Body::empty())
        .expect("a request")
}

/// Looks a URL up in a table, its canonical form and all. Of four, one is listed, one is beside listed ones, one has a host of
/// ten labels.
fn list_lookup(count: usize) {
    let key = HashKey::new([3; 16]);
    let list = list(&key, (0..LISTED).map(listed));
    let table = ListTable::build(&key, 1, &[(0, &list)]);
    let urls: Vec<String> = (0..LISTED)
        .map(|i| i.wrapping_mul(7919) % LISTED)
        .flat_map(|i| {
            [
                listed(i),
                format!("https://www.shop{i}.example.com/a/b/c/d.html?x={i}"),
                format!("https://host{}.bad{}.example/a/b/c/{i}?x=1", i / 3, i / 3 % 1000),
                format!("https://a.b.c.d.e.f.g.h{i}.example.com/a/b/c/d/e/f?x={i}"),
            ]
        })
        .take(22_000)
        .collect();
    let mut found = 0;
    for url in &urls[..count] {
        let canonical = Canonical::of(black_box(url.as_bytes())).expect("a URL");
        found += usize::from(!table.find(&canonical).is_empty());
    }
    assert_eq!(found, count / 4);
}

fn listed(i: usize) -> String {
    let host = i / 3;
    format!("https://host{host}.bad{}.example/login/step{i}.php?id={i}", host % 1000)
}

fn list(key: &HashKey, lines: impl Iterator<Item = String>) -> ListCopy {
    let protected = Protected::default();
    let mut reading = Reading::new(Format::Urls, Category::Phishing, Weight::Block, key, &protected);
    for line in lines {
        reading.push(line.as_bytes());
        reading.push(b"\n");
    }
    reading.finish()
}

/// What becomes of a link under "suspicious", where every rule is looked at and every sign is looked for.
fn policy_decision(count: usize) {
    let dir = TempDir::new().expect("a temporary folder");
    let settings = setup::settings(dir.path());
    let policy: &Policy = settings.domains.policy("reader@suspicious.example").expect("a policy");
    let targets = [
        "https://www.kitchen.example/c/7f/offer?utm_source=letter&utm_medium=email&id=5e1f9c0b7a3d2468",
        "https://login-paypal.com.account.example/verify/session?user=reader%40example.com",
        "http://192.0.2.7:8080/a/b.exe",
        "https://xn--bcher-kva.example/%C3%BC?u=https://other.example/x",
    ]
    .map(|url| Target::parse(url).expect("a URL"));
    let texts = [
        None,
        Some("www.paypal.com"),
        Some("the invoice"),
        Some("https://bücher.example/"),
    ];
    for i in 0..count {
        let circumstances = Circumstances {
            link_text: texts[i % 4],
            ..Circumstances::default()
        };
        black_box(policy.decide(
            black_box("letters@kitchen.example"),
            black_box(&targets[i % 4]),
            &circumstances,
        ));
    }
}

/// Settings and a store of their own.
fn running() -> (TempDir, Arc<Settings>, Ledger) {
    let dir = TempDir::new().expect("a temporary folder");
    let settings = Arc::new(setup::settings(dir.path()));
    let ledger = Ledger::open(&settings.store).expect("a store");
    (dir, settings, ledger)
}

/// A runtime on this thread: with one thread, what it does is the same in every run.
fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
