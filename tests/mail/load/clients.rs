//! Clients that send without end, each message once, and go away at random.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::ledger::{Ledger, Piece, Told};
use super::next_hop::Dialect;
use super::{Dice, mails};

/// Longer than the program may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub(super) fn start(
        runtime: &Runtime,
        listeners: Vec<(Dialect, SocketAddr)>,
        clients: usize,
        faults: u32,
        rest: u64,
        seed: u64,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(1));
        let mut tasks = JoinSet::new();
        for n in 0..clients {
            let (dialect, address) = listeners[n % listeners.len()];
            let client = Client {
                dialect,
                address,
                faults,
                rest,
                dice: Dice::new(seed, 1000 + n as u64),
                numbers: Arc::clone(&numbers),
                ledger: Arc::clone(ledger),
                stop: Arc::clone(&stop),
            };
            tasks.spawn_on(client.run(), runtime.handle());
        }
        Self { stop, tasks }
    }

    /// Lets each client finish the message it is at.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

struct Client {
    dialect: Dialect,
    address: SocketAddr,
    faults: u32,
    rest: u64,
    dice: Dice,
    numbers: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
}

type Connection = BufReader<TcpStream>;

impl Client {
    async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            if self.session().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn session(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = BufReader::new(stream);
        expect(&mut connection, 2).await?;
        let hello = if self.dialect == Dialect::Lmtp {
            "LHLO c\r\n"
        } else {
            "EHLO c\r\n"
        };
        connection.get_mut().write_all(hello.as_bytes()).await?;
        expect(&mut connection, 2).await?;
        for _ in 0..1 + self.dice.below(10) {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.message(&mut connection).await?;
            if self.rest > 0 {
                tokio::time::sleep(Duration::from_millis(self.dice.below(self.rest))).await;
            }
        }
        connection.get_mut().write_all(b"QUIT\r\n").await
    }

    /// Sends one message; whatever happens, each of its recipients is accounted for.
    async fn message(&mut self, connection: &mut Connection) -> io::Result<()> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        // All sorts, or only such as want nothing changed: large messages to those flow past.
        let all_off = self.dice.below(3) == 0;
        let recipients: Vec<usize> = (0..1 + self.dice.below(4) as usize)
            .map(|n| if all_off { 2 * n + 1 } else { n })
            .collect();
        let mut told: Vec<Told> = vec![Told::Aborted; recipients.len()];
        let ended = self.transaction(connection, number, &recipients, &mut told).await;
        for (recipient, told) in recipients.into_iter().zip(told) {
            let message = number;
            self.ledger.told(Piece { message, recipient }, told);
        }
        ended
    }

    async fn transaction(
        &mut self,
        connection: &mut Connection,
        number: u64,
        recipients: &[usize],
        told: &mut [Told],
    ) -> io::Result<()> {
        let message = mails::message(number);
        let mut envelope = vec![b"MAIL FROM:<a@sender.example>\r\n".to_vec()];
        envelope.extend(
            recipients
                .iter()
                .map(|r| format!("RCPT TO:<{}>\r\n", mails::address(*r)).into_bytes()),
        );
        let mut replies = Vec::new();
        if self.dice.below(2) == 0 {
            connection.get_mut().write_all(&envelope.concat()).await?;
            for _ in &envelope {
                replies.push(reply(connection).await?);
            }
        } else {
            for line in &envelope {
                self.maybe_die()?;
                connection.get_mut().write_all(line).await?;
                replies.push(reply(connection).await?);
            }
        }
        let mail = replies[0];
        for (told, code) in told.iter_mut().zip(&replies[1..]) {
            if mail / 100 != 2 {
                *told = Told::Refused(mail);
            } else if code / 100 != 2 {
                *told = Told::Refused(*code);
            }
        }
        let open: Vec<usize> = (0..told.len()).filter(|i| told[*i] == Told::Aborted).collect();
        if open.is_empty() {
            connection.get_mut().write_all(b"RSET\r\n").await?;
            return expect(connection, 2).await;
        }
        self.maybe_die()?;
        connection.get_mut().write_all(b"DATA\r\n").await?;
        let code = reply(connection).await?;
        if code != 354 {
            open.iter().for_each(|i| told[*i] = Told::Refused(code));
            connection.get_mut().write_all(b"RSET\r\n").await?;
            return expect(connection, 2).await;
        }
        let wire = stuffed(&message);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            self.maybe_die()?;
            let n = (1 + self.dice.below(60_000) as usize).min(rest.len());
            connection.get_mut().write_all(&rest[..n]).await?;
            rest = &rest[n..];
        }
        // From here on only a reply tells.
        open.iter().for_each(|i| told[*i] = Told::Unknown);
        connection.get_mut().write_all(b".\r\n").await?;
        let groups: Vec<Vec<usize>> = match self.dialect {
            Dialect::Smtp => vec![open],
            Dialect::Lmtp => open.into_iter().map(|i| vec![i]).collect(),
        };
        for group in groups {
            let code = reply(connection).await?;
            let outcome = if code / 100 == 2 {
                Told::Accepted
            } else {
                Told::Refused(code)
            };
            group.into_iter().for_each(|i| told[i] = outcome);
        }
        Ok(())
    }

    fn maybe_die(&mut self) -> io::Result<()> {
        match self.dice.permille(self.faults) {
            true => Err(io::Error::other("the client goes away")),
            false => Ok(()),
        }
    }
}

/// The message with its dots doubled.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}

async fn expect(connection: &mut Connection, class: u16) -> io::Result<()> {
    let code = reply(connection).await?;
    if code / 100 == class {
        Ok(())
    } else {
        Err(io::Error::other(format!("{code}")))
    }
}

async fn reply(connection: &mut Connection) -> io::Result<u16> {
    let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, connection.read_line(&mut line)).await;
        if read?? == 0 || !line.ends_with("\r\n") {
            return Err(lost());
        }
        let code = line.get(..3).and_then(|c| c.parse().ok()).ok_or_else(lost)?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(code);
        }
    }
}
