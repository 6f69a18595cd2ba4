//! A next hop that keeps what it took, and fails at random.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::{Ledger, Piece};
use super::{Dice, mails};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Smtp,
    Lmtp,
}

pub(super) struct NextHop {
    port: u16,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Close,
    Stall,
    Tempfail,
    Permfail,
    Nonsense,
    HalfReply,
}

const FAULTS: [Fault; 6] = [
    Fault::Close,
    Fault::Stall,
    Fault::Tempfail,
    Fault::Permfail,
    Fault::Nonsense,
    Fault::HalfReply,
];

/// Longer than the program waits.
const STALL: Duration = Duration::from_secs(4);

impl NextHop {
    pub(super) async fn start(dialect: Dialect, faults: u32, seed: u64, ledger: Arc<Ledger>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let session = Session {
                    stream: BufReader::new(stream),
                    dialect,
                    faults,
                    dice: Dice::new(seed, n),
                    ledger: Arc::clone(&ledger),
                };
                tokio::spawn(session.run());
            }
        });
        Self { port }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    dialect: Dialect,
    faults: u32,
    dice: Dice,
    ledger: Arc<Ledger>,
}

/// What became of a reply.
enum Said {
    /// The client was told what it should.
    Yes,
    /// It was told that this comes to nothing.
    No,
}

impl Session {
    async fn run(mut self) {
        let _ = self.serve().await;
    }

    /// `None` when the session is over.
    async fn serve(&mut self) -> Option<()> {
        self.say("220 next hop\r\n").await?;
        let mut recipients: Vec<usize> = Vec::new();
        loop {
            let line = self.line().await?;
            let verb = line.get(..4)?.to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    let name = if self.dialect == Dialect::Lmtp { "LHLO" } else { "EHLO" };
                    if verb != name {
                        self.ledger.wrong(format!("{verb} to a {:?} server", self.dialect));
                    }
                    self.say("250-next hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n")
                        .await?;
                }
                "MAIL" | "RSET" => {
                    recipients.clear();
                    self.say("250 ok\r\n").await?;
                }
                "RCPT" => {
                    let address = line.split(['<', '>']).nth(1)?.to_owned();
                    if let Said::Yes = self.say("250 ok\r\n").await? {
                        recipients.push(mails::recipient(&address)?);
                    }
                }
                "DATA" => {
                    if let Said::Yes = self.say("354 go\r\n").await? {
                        self.data(&recipients).await?;
                    }
                    recipients.clear();
                }
                "QUIT" => {
                    self.stream.get_mut().write_all(b"221 bye\r\n").await.ok()?;
                    return None;
                }
                _ => {
                    self.ledger.wrong(format!("the next hop was told {line:?}"));
                    return None;
                }
            }
        }
    }

    async fn data(&mut self, recipients: &[usize]) -> Option<()> {
        let mut message = Vec::new();
        let die_at = self
            .dice
            .permille(self.faults)
            .then(|| self.dice.below(40_000) as usize);
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await.ok()? == 0 || !line.ends_with(b"\r\n") {
                return None;
            }
            if line == b".\r\n" {
                break;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if die_at.is_some_and(|at| message.len() > at) {
                return None;
            }
        }
        let Some(number) = mails::number(&message) else {
            self.ledger.wrong("a message without its number".to_owned());
            return None;
        };
        for recipient in recipients {
            if let Some(fault) = mails::fault(number, *recipient, &message) {
                self.ledger
                    .wrong(format!("message {number} for recipient {recipient}: {fault}"));
            }
        }
        let groups: Vec<&[usize]> = match self.dialect {
            Dialect::Smtp => vec![recipients],
            Dialect::Lmtp => recipients.chunks(1).collect(),
        };
        for (at, group) in groups.iter().enumerate() {
            let fault = self.fault();
            let take = |answered| {
                for recipient in *group {
                    let recipient = *recipient;
                    self.ledger.taken(
                        Piece {
                            message: number,
                            recipient,
                        },
                        answered,
                    );
                }
            };
            if !matches!(fault, Some(Fault::Tempfail | Fault::Permfail)) {
                take(fault.is_none());
            }
            if self.say_or(fault, "250 taken\r\n").await.is_none() {
                // Those behind it are taken as well, and never told.
                for recipient in groups.iter().skip(at + 1).flat_map(|g| g.iter()) {
                    let recipient = *recipient;
                    self.ledger.taken(
                        Piece {
                            message: number,
                            recipient,
                        },
                        false,
                    );
                }
                return None;
            }
        }
        Some(())
    }

    fn fault(&mut self) -> Option<Fault> {
        self.dice
            .permille(self.faults)
            .then(|| FAULTS[self.dice.below(FAULTS.len() as u64) as usize])
    }

    async fn say(&mut self, reply: &str) -> Option<Said> {
        let fault = self.fault();
        self.say_or(fault, reply).await
    }

    /// Says `reply`, or does what `fault` says; `None` when the session is over.
    async fn say_or(&mut self, fault: Option<Fault>, reply: &str) -> Option<Said> {
        let stream = self.stream.get_mut();
        let (words, said) = match fault {
            None => (reply, Some(Said::Yes)),
            Some(Fault::Tempfail) => ("451 4.3.0 not now\r\n", Some(Said::No)),
            Some(Fault::Permfail) => ("554 5.0.0 never\r\n", Some(Said::No)),
            Some(Fault::Nonsense) => ("hello there\r\n", None),
            Some(Fault::HalfReply) => ("25", None),
            Some(Fault::Close) => return None,
            Some(Fault::Stall) => {
                tokio::time::sleep(STALL).await;
                return None;
            }
        };
        stream.write_all(words.as_bytes()).await.ok()?;
        said
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.ok()?;
        (read > 0 && line.ends_with("\r\n")).then(|| line.trim_end().to_owned())
    }
}
