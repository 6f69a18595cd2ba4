//! The two ends of a demo: a sender that also clicks, and a next hop that keeps what it gets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// More lines of a reply or head than any of ours has.
const MAX_LINES: usize = 100;

/// A message as the next hop got it.
pub(super) struct Delivery {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) message: Vec<u8>,
}

/// An SMTP server that takes everything and keeps it.
pub(super) struct DemoHop {
    pub(super) address: SocketAddr,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl DemoHop {
    /// Starts on a bound socket.
    pub(super) fn start(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (send, deliveries) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let send = send.clone();
                tokio::spawn(async move {
                    // A session that breaks off leaves no message; the one that waits for it reports that.
                    let _ = session(stream, &send).await;
                });
            }
        });
        Ok(Self { address, deliveries })
    }

    /// The next message.
    pub(super) async fn next(&mut self, patience: Duration) -> Option<Delivery> {
        tokio::time::timeout(patience, self.deliveries.recv()).await.ok()?
    }
}

async fn session(stream: TcpStream, deliveries: &mpsc::UnboundedSender<Delivery>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 demo ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = command.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-demo\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SIZE 10485760\r\n",
            "MAIL" => {
                from = address(&command);
                b"250 2.1.0 ok\r\n"
            }
            "RCPT" => {
                to.push(address(&command));
                b"250 2.1.5 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                let message = data(&mut stream).await?;
                let (from, to) = (std::mem::take(&mut from), std::mem::take(&mut to));
                let _ = deliveries.send(Delivery { from, to, message });
                b"250 2.0.0 kept by the demo\r\n"
            }
            "RSET" => {
                (from, to) = (String::new(), Vec::new());
                b"250 2.0.0 ok\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        stream.write_all(reply).await?;
    }
}

/// The text between the angle brackets.
fn address(command: &str) -> String {
    let inner = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(String::new(), |(address, _)| address.to_owned())
}

/// The message up to the final dot, with the dots of stuffed lines taken away (RFC 5321, 4.5.2).
async fn data(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_slice() {
            b".\r\n" => return Ok(message),
            [b'.', rest @ ..] => message.extend_from_slice(rest),
            whole => message.extend_from_slice(whole),
        }
    }
}

/// Sends a message as a client would; gives the reply at its end.
pub(super) async fn send(to: SocketAddr, sender: &str, recipient: &str, message: &[u8]) -> anyhow::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(to).await?);
    reply(&mut stream, 220).await?;
    let steps = [
        ("EHLO sender.demo\r\n".to_owned(), 250),
        (format!("MAIL FROM:<{sender}>\r\n"), 250),
        (format!("RCPT TO:<{recipient}>\r\n"), 250),
        ("DATA\r\n".to_owned(), 354),
    ];
    for (command, expected) in steps {
        stream.write_all(command.as_bytes()).await?;
        reply(&mut stream, expected)
            .await
            .with_context(|| command.trim_end().to_owned())?;
    }
    let mut stuffed = Vec::with_capacity(message.len() + 5);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stream.write_all(&stuffed).await?;
    let last = reply(&mut stream, 250).await.context("the end of the message")?;
    stream.write_all(b"QUIT\r\n").await?;
    reply(&mut stream, 221).await?;
    Ok(last)
}

/// The last line of a reply that has the expected code.
async fn reply(stream: &mut BufReader<TcpStream>, expected: u16) -> anyhow::Result<String> {
    for _ in 0..MAX_LINES {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "the connection was closed");
        let line = line.trim_end();
        if line.as_bytes().get(3) != Some(&b'-') {
            ensure!(line.starts_with(&expected.to_string()), "the answer was {line:?}");
            return Ok(line.to_owned());
        }
    }
    anyhow::bail!("the answer has no end")
}

/// An answer of an HTTP server.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
}

/// Asks for a URL or a path, without following what comes back.
pub(super) async fn get(server: SocketAddr, url: &str) -> anyhow::Result<Answer> {
    let origin = format!("http://{server}");
    let path = url.strip_prefix(&origin).unwrap_or(url);
    let mut stream = TcpStream::connect(server).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: linkgate-demo\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok());
    let location = lines.take_while(|l| !l.is_empty()).find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Ok(Answer {
        status: status.context("no HTTP answer")?,
        location,
    })
}
