//! A mail client and a browser, as far as these tests need them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any reply may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An SMTP session, past its EHLO.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects from `from` to `to`, and says EHLO.
    pub(crate) fn connect(from: Ipv4Addr, to: SocketAddr) -> Self {
        // The standard library cannot choose a local address; tokio can.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let stream = runtime
            .block_on(async {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((from, 0)))?;
                socket.connect(to).await?.into_std()
            })
            .expect("the Postfix in front takes connections");
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        // The final dot is a write of its own, and need not wait until what came before it is acknowledged.
        stream.set_nodelay(true).expect("a socket");
        let mut session = Self {
            stream: BufReader::new(stream),
        };
        assert!(session.reply().starts_with("220 "), "greeting");
        assert!(session.command("EHLO client.sender.example").starts_with("250"), "EHLO");
        session
    }

    /// Sends a command line; the last line of its reply.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// A whole transaction, with MAIL parameters that fit 8-bit mail; the reply to the final dot.
    pub(crate) fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> String {
        self.envelope(
            &format!("MAIL FROM:<{sender}> BODY=8BITMIME"),
            recipients.iter().map(|r| format!("RCPT TO:<{r}>")),
        );
        self.data(message)
    }

    /// MAIL and RCPT commands, all of which must be taken.
    pub(crate) fn envelope(&mut self, mail: &str, recipients: impl IntoIterator<Item = String>) {
        for line in std::iter::once(mail.to_owned()).chain(recipients) {
            let reply = self.command(&line);
            assert!(reply.starts_with("250 "), "{line}: {reply}");
        }
    }

    /// DATA and the message; the reply to the final dot.
    pub(crate) fn data(&mut self, message: &[u8]) -> String {
        let mut wire = Vec::with_capacity(message.len() + 100);
        for line in message.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        self.raw_data(&wire)
    }

    /// DATA, `wire` just as it is, and the final dot; the reply to that.
    pub(crate) fn raw_data(&mut self, wire: &[u8]) -> String {
        let reply = self.command("DATA");
        assert!(reply.starts_with("354 "), "DATA: {reply}");
        self.write(wire);
        self.write(b".\r\n");
        self.reply()
    }

    /// `payload` as a chunk of message data, the last one or not; the reply to it.
    pub(crate) fn chunk(&mut self, payload: &[u8], last: bool) -> String {
        let end = if last { " LAST" } else { "" };
        self.write(&[format!("BDAT {}{end}\r\n", payload.len()).as_bytes(), payload].concat());
        self.reply()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("Postfix reads");
    }

    /// The last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("Postfix answers");
            assert!(line.len() > 3, "not a reply: {line:?}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }
}

/// GET without following anything: the status, and `Location:` if there is one.
pub(crate) fn http_get(to: SocketAddr, host: &str, path: &str) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(to).expect("the click listener takes connections");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: peers\r\nConnection: close\r\n\r\n"
    )
    .expect("a socket");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the click listener answers");
    let answer = String::from_utf8_lossy(&answer);
    let mut lines = answer.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let location = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| {
            line.split_once(": ")
                .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
        })
        .map(|(_, value)| value.to_owned());
    (
        status.unwrap_or_else(|| panic!("not an HTTP answer: {answer:?}")),
        location,
    )
}
