//! Real mail between real Postfix instances: what comes out behind linkgate is what comes out without it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::chain::{Recipe, before};
use super::place::{Linkgate, skip};
use super::postfix::Postfix;
use super::scripted::Scripted;
use super::session::Session;

const PUBLIC_PORT: u16 = 2525;
/// As the public port, but mail that comes in there goes past linkgate.
const REFERENCE_PORT: u16 = 2526;
const RETURN_PORT: u16 = 10026;
const SINK_PORT: u16 = 2527;

/// How long all messages may take.
const PATIENCE: Duration = Duration::from_secs(100);

/// Both instances hand mail on as it comes: by default Postfix completes the header of mail from its own machine, drops
/// some fields and folds long lines.
const AS_IT_COMES: &str = "\
local_header_rewrite_clients =
message_drop_headers =
disable_mime_output_conversion = yes
smtp_line_length_limit = 0
smtpd_client_connection_count_limit = 0
message_size_limit = 22480000
smtpd_error_sleep_time = 0
smtp_destination_concurrency_limit = 4
";

/// LINKGATE_CORPUS names a folder of messages, LINKGATE_CORPUS_COUNT how many of them are sent (300).
#[test]
fn after_queue_real_mail_for_a_domain_that_is_off_is_byte_identical() {
    let Some(folder) = std::env::var_os("LINKGATE_CORPUS") else {
        println!("SKIPPED: no corpus of real mail (LINKGATE_CORPUS)");
        return;
    };
    let count = std::env::var("LINKGATE_CORPUS_COUNT").map_or(300, |count| count.parse().expect("a number"));
    let messages = messages(Path::new(&folder), count);
    if messages.is_empty() {
        skip("LINKGATE_CORPUS holds no message");
        return;
    }
    let recipe = Recipe::AfterQueue;
    let Some(place) = recipe.place() else { return };
    let (main, master) = before(&place, recipe);
    let sink = Scripted::listen(place.at(SINK_PORT));
    let _linkgate = Linkgate::start(&place, &place.recipe_file("linkgate.toml"));
    let address = place.address;
    let _inner = Postfix::start(
        &place.path("inner"),
        "inner.example.org",
        &format!("relay_domains = example.net\nrelayhost = [{address}]:{SINK_PORT}\n{AS_IT_COMES}"),
        &place.recipe_file("master-return.cf"),
    );
    let _edge = Postfix::start(
        &place.path("edge"),
        "edge.example.org",
        &format!("relay_domains = example.net\n{AS_IT_COMES}{main}"),
        &format!(
            "{master}\n{address}:{REFERENCE_PORT} inet n - n - - smtpd\n  \
             -o content_filter=linkgate:[{address}]:{RETURN_PORT}\n"
        ),
    );
    for port in [PUBLIC_PORT, REFERENCE_PORT, RETURN_PORT] {
        place.wait_for(port);
    }

    // A message's recipient says its number and its way.
    let start = Instant::now();
    let mut sent = 0;
    let mut clients = [(PUBLIC_PORT, "filtered"), (REFERENCE_PORT, "reference")]
        .map(|(port, way)| (Session::connect(Ipv4Addr::LOCALHOST, place.at(port)), way));
    for (number, (file, message)) in messages.iter().enumerate() {
        let replies = clients
            .each_mut()
            .map(|(client, way)| client.send("", &[&recipient(number, way)], message));
        let taken = replies.each_ref().map(|reply| reply.starts_with("250 "));
        assert_eq!(taken[0], taken[1], "{}: {replies:?}", file.display());
        sent += usize::from(taken[0]);
    }
    let arrived = loop {
        let arrived: BTreeMap<_, _> = sink
            .taken()
            .into_iter()
            .map(|taken| (taken.recipient, taken.message))
            .collect();
        if arrived.len() >= 2 * sent {
            break arrived;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {} messages arrived",
            arrived.len(),
            2 * sent
        );
        std::thread::sleep(Duration::from_millis(100));
    };

    let mut as_sent = 0;
    for (number, (file, message)) in messages.iter().enumerate() {
        let [filtered, reference] =
            ["filtered", "reference"].map(|way| arrived.get(&recipient(number, way)).map(|m| without_trace(m)));
        assert!(
            filtered == reference,
            "{}: linkgate changed what Postfix alone does not",
            file.display()
        );
        as_sent += usize::from(filtered == Some(message.as_slice()));
    }
    println!("{sent} messages sent, {as_sent} of them arrived as they were sent, the others as without linkgate");
    // Postfix mends what is no mail; most of it is.
    assert!(
        as_sent * 10 > sent * 8,
        "only {as_sent} of {sent} arrived as they were sent"
    );
}

fn recipient(number: usize, way: &str) -> String {
    format!("{way}-{number}@example.net")
}

/// `count` messages of a folder, evenly taken, with CRLF line ends and no mbox line.
fn messages(folder: &Path, count: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("LINKGATE_CORPUS is readable") {
            let path = entry.expect("a folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let step = files.len().div_ceil(count.max(1)).max(1);
    files
        .into_iter()
        .step_by(step)
        .filter_map(|file| {
            let text = fs::read(&file).expect("a message is readable");
            let text = on_the_wire(&text);
            (!text.is_empty() && text.len() < 5_000_000).then_some((file, text))
        })
        .collect()
}

fn on_the_wire(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() + text.len() / 30);
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if number == 0 && line.starts_with(b"From ") {
            continue;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// The message below the Received fields of the two instances.
fn without_trace(message: &[u8]) -> &[u8] {
    let mut rest = message;
    for _ in 0..2 {
        assert!(
            rest.starts_with(b"Received: "),
            "{}",
            rest[..rest.len().min(200)].escape_ascii()
        );
        let mut end = 0;
        while let Some(line) = memchr::memchr(b'\n', &rest[end..]) {
            end += line + 1;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        rest = &rest[end..];
    }
    rest
}
