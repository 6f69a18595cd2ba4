//! A next hop that answers as its recipients' names ask for.
//!
//! `rcpt-452-x@example.com` is answered 452 at RCPT, `data-452-x` at DATA, `dot-552-x` at the final dot; `dot-lost-x`
//! loses the connection after the dot. All others are taken. In LMTP, the replies at the dot are each recipient's own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Replies are each other's neighbours in logs: this says where one came from.
pub(crate) const TEXT: &str = "the next hop says so";

/// A listening next hop. It listens until the test ends.
pub(crate) struct Scripted {
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A message that was answered 250 for a recipient.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) recipient: String,
    pub(crate) message: Vec<u8>,
}

impl Scripted {
    /// Listens on `address`: SMTP, or LMTP when the client says LHLO.
    pub(crate) fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a port of the place");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let record = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let record = record.clone();
                // A client that goes away ends its session and nothing else.
                std::thread::spawn(move || drop(serve(stream, &record)));
            }
        });
        Self { taken }
    }

    /// The recipients so far, in order.
    pub(crate) fn recipients(&self) -> Vec<String> {
        self.taken().into_iter().map(|taken| taken.recipient).collect()
    }

    /// What was taken so far, in order.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("no panic in a session").clone()
    }
}

fn serve(stream: TcpStream, taken: &Mutex<Vec<Taken>>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes());
    let mut recipients: Vec<String> = Vec::new();
    let mut lmtp = false;
    say("220 scripted.test ready")?;
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                lmtp = verb == "LHLO";
                say(
                    "250-scripted.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 20000000\r\n250 ENHANCEDSTATUSCODES",
                )?;
            }
            "MAIL" | "RSET" => {
                recipients.clear();
                say("250 2.1.0 ok")?;
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                match asked(&address, "rcpt") {
                    None => {
                        recipients.push(address);
                        say("250 2.1.5 ok")?;
                    }
                    Some(code) => {
                        say(&reply(code))?;
                        if code == "421" {
                            return Ok(());
                        }
                    }
                }
            }
            "DATA" => {
                if let Some(code) = recipients.iter().find_map(|address| asked(address, "data")) {
                    say(&reply(code))?;
                    continue;
                }
                if recipients.is_empty() {
                    say("503 5.5.1 no recipients")?;
                    continue;
                }
                say("354 go")?;
                let Some(message) = data(&mut lines)? else {
                    return Ok(());
                };
                if recipients.iter().any(|address| asked(address, "dot") == Some("lost")) && !lmtp {
                    return Ok(());
                }
                let replies = recipients.len().min(if lmtp { usize::MAX } else { 1 });
                let shared = recipients.iter().find_map(|address| asked(address, "dot"));
                for address in recipients.iter().take(replies) {
                    let code = if lmtp { asked(address, "dot") } else { shared };
                    match code {
                        None if lmtp => {
                            record(taken, std::slice::from_ref(address), &message);
                            say("250 2.0.0 taken")?;
                        }
                        None => {
                            record(taken, &recipients, &message);
                            say("250 2.0.0 taken")?;
                        }
                        Some("lost") => return Ok(()),
                        Some(code) => {
                            say(&reply(code))?;
                            if code == "421" {
                                return Ok(());
                            }
                        }
                    }
                }
                recipients.clear();
            }
            "QUIT" => return say("221 2.0.0 bye"),
            _ => say("500 5.5.1 what?")?,
        }
    }
}

/// The code that an address asks for at a step.
fn asked<'a>(address: &'a str, step: &str) -> Option<&'a str> {
    let mut words = address.split('-');
    (words.next() == Some(step)).then(|| words.next()).flatten()
}

fn reply(code: &str) -> String {
    // Enhanced codes fit the class.
    format!("{code} {}.3.0 {TEXT}", &code[..1])
}

fn record(taken: &Mutex<Vec<Taken>>, recipients: &[String], message: &[u8]) {
    let mut taken = taken.lock().expect("no panic in a session");
    taken.extend(recipients.iter().map(|recipient| Taken {
        recipient: recipient.clone(),
        message: message.to_owned(),
    }));
}

/// A message up to its final dot; `None` when the client went away before.
fn data(lines: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    loop {
        let start = message.len();
        if lines.read_until(b'\n', &mut message)? == 0 {
            return Ok(None);
        }
        if message[start..] == *b".\r\n" {
            message.truncate(start);
            return Ok(Some(message));
        }
        if message[start] == b'.' {
            message.remove(start);
        }
    }
}
