//! A name server that answers as a test says, over UDP and TCP, and a client of one question.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it answers to a question for an address.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Addresses(Vec<[u8; 4]>),
    NxDomain,
    ServFail,
    Refused,
    /// Octets that are no message.
    Garbage,
    Silence,
    /// Over UDP only that there is more; over TCP these.
    Truncated(Vec<[u8; 4]>),
    /// After that long, these.
    Late(Duration, Vec<[u8; 4]>),
}

type Answers = Arc<Mutex<Box<dyn Fn(&str) -> Answer + Send>>>;

/// A running server; it runs on until the process ends.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    pub(super) fn new(answers: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let server = Self {
            address: udp.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&server.answers), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            loop {
                let (n, from) = udp.recv_from(&mut packet).unwrap();
                let question = packet[..n].to_vec();
                let name = name(&question);
                let answer = (answers.lock().unwrap())(&name);
                asked.lock().unwrap().push(name);
                let udp = udp.try_clone().unwrap();
                std::thread::spawn(move || {
                    if let Some(reply) = reply(&question, &answer, true) {
                        let _ = udp.send_to(&reply, from);
                    }
                });
            }
        });
        let answers = Arc::clone(&server.answers);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let answer = (answers.lock().unwrap())(&name(&question));
                if let Some(reply) = reply(&question, &answer, false) {
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length, &reply[..]].concat()).unwrap();
                }
            }
        });
        server
    }

    /// Other answers from now on.
    pub(super) fn now(&self, answers: impl Fn(&str) -> Answer + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    /// The names that were asked for over UDP, in lower case.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Asks a server for the addresses of a name: `None` without an answer in time, nothing for anything but addresses.
pub(super) fn ask(server: SocketAddr, name: &str) -> Option<Vec<[u8; 4]>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, server).unwrap();
    let mut packet = [0; 4096];
    let (n, _) = socket.recv_from(&mut packet).ok()?;
    let reply = &packet[..n];
    let records = u16::from_be_bytes([reply[6], reply[7]]);
    let mut at = question.len();
    let mut addresses = Vec::new();
    for _ in 0..records {
        // All names of the servers that are asked here are pointers.
        let length = usize::from(u16::from_be_bytes([reply[at + 10], reply[at + 11]]));
        if reply[at + 2..at + 4] == [0, 1] {
            addresses.push(reply[at + 12..at + 16].try_into().unwrap());
        }
        at += 12 + length;
    }
    Some(addresses)
}

fn name(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        at = end;
    }
    labels.join(".")
}

fn reply(question: &[u8], answer: &Answer, udp: bool) -> Option<Vec<u8>> {
    let (code, truncated, addresses): (u8, bool, &[[u8; 4]]) = match answer {
        Answer::Addresses(addresses) => (0, false, addresses),
        Answer::NxDomain => (3, false, &[]),
        Answer::ServFail => (2, false, &[]),
        Answer::Refused => (5, false, &[]),
        Answer::Garbage => return Some(vec![question[0], question[1], 0x81, 0x80, 0xff, 0xff, 1, 2, 3]),
        Answer::Silence => return None,
        Answer::Truncated(_) if udp => (0, true, &[]),
        Answer::Truncated(addresses) => (0, false, addresses),
        Answer::Late(time, addresses) => {
            std::thread::sleep(*time);
            (0, false, addresses)
        }
    };
    let mut end = 12;
    while question[end] != 0 {
        end += 1 + usize::from(question[end]);
    }
    let asked = &question[12..end + 5];
    let flags = [0x81 | if truncated { 2 } else { 0 }, 0x80 | code];
    let is_address = asked[asked.len() - 3] == 1;
    let addresses = if is_address { addresses } else { &[] };
    let count = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    let mut reply = [&question[..2], &flags, &[0, 1], &count, &[0; 4], asked].concat();
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address);
    }
    Some(reply)
}
