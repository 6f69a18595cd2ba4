//! Plays the scripts of `fixtures/dialogs` against the real relay: who says what, to our port and from a next hop.
//!
//! A script is read line by line:
//!
//! | line | means |
//! | --- | --- |
//! | `set KEY VALUE` | an option of the listener (see [`option`]); only at the top |
//! | `hello [KEYWORD, ...]` | greetings and EHLO on both sides; the next hop offers these keywords |
//! | `C: text` | the client says a line; such lines that follow each other go out in one write |
//! | `C\| text` | the client sends these octets, escapes as in Rust, without a line end |
//! | `S: text` | the client hears exactly this line; a `*` at its end stands for anything |
//! | `> text` | the next hop hears this line |
//! | `< text` | the next hop says this line |
//! | `connect` | the next hop gets a (further) connection |
//! | `C!`, `<!` | the client, the next hop closes its connection |
//! | `S!`, `>!` | the client, the next hop sees the end of the connection, after QUIT at most |
//! | `record N` | so many message rows were recorded so far |
//!
//! At the end neither side may have heard anything more, and nothing of the session may be left. Each script runs three
//! times: the second time the client sends octet by octet, the third time both sides are encrypted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use linkgate::config::{BareLineEnds, Dialect, ListenerTls, OnError, Protocol};
use linkgate::net::tls::NextHopTls;

use crate::rig::tls::Certificate;
use crate::rig::{Options, Peer, Rig, eventually};

#[test]
fn every_dialog_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dialogs");
    let mut scripts: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "dialog"))
        .collect();
    scripts.sort();
    assert!(scripts.len() > 20, "the scripts are missing");
    let faults: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = scripts
            .iter()
            .map(|script| scope.spawn(|| play_thrice(script)))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A line of a script, with its number from 0.
type Line<'t> = (usize, &'t str);

/// What went wrong with a script.
fn play_thrice(script: &Path) -> Vec<String> {
    let text = fs::read_to_string(script).unwrap();
    let name = script.file_name().unwrap().to_string_lossy();
    let mut faults = Vec::new();
    for (way, how) in [
        (Way::Plain, ""),
        (Way::OctetByOctet, " (octet by octet)"),
        (Way::Encrypted, " (encrypted)"),
    ] {
        let run = std::panic::catch_unwind(|| play(&text, way));
        let fault = run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap_or(&"panic").to_string()))
        });
        faults.extend(fault.err().map(|fault| format!("{name}{how}: {fault}")));
    }
    faults
}

/// How the same is said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    OctetByOctet,
    Encrypted,
}

fn play(text: &str, way: Way) -> Result<(), String> {
    let mut options = Options::default();
    for line in text.lines() {
        if let Some((key, value)) = line.strip_prefix("set ").and_then(|rest| rest.split_once(' ')) {
            option(&mut options, key, value)?;
        }
    }
    let certificate = (way == Way::Encrypted).then(|| Certificate::new("us.test"));
    if let Some(certificate) = &certificate {
        options.tls = ListenerTls::Implicit(certificate.identity());
        // A next hop that is reached by a unix socket has no name that could stand in a certificate.
        if !options.unix {
            options.implicit_tls = true;
            options.next_hop_tls = NextHopTls::Opportunistic;
            options.trust = Some(certificate.trust());
        }
    }
    let rig = if text.lines().any(|line| line == "set next_hop down") {
        Rig::start(&options).without_next_hop()
    } else {
        Rig::start(&options)
    };
    let mut stage = Stage {
        client: Some(rig.client()),
        next_hop: None,
        pending: Vec::new(),
        octet_by_octet: way == Way::OctetByOctet,
        certificate,
        hop_encrypted: options.implicit_tls,
        rig,
    };
    if let (Some(certificate), Some(client)) = (&stage.certificate, &mut stage.client) {
        client.encrypt(certificate, "us.test").map_err(|e| e.to_string())?;
    }
    let mut lines: Vec<Line<'_>> = text.lines().enumerate().collect();
    if way == Way::OctetByOctet {
        take_turns(&mut lines);
    }
    for (at, line) in lines {
        stage
            .step(line)
            .map_err(|fault| format!("line {}: {line:?}: {fault}", at + 1))?;
    }
    stage.end()
}

/// Lets the next hop answer each command before it hears the next one: commands that come octet by octet may or may not be
/// passed on in one go.
fn take_turns(lines: &mut [Line<'_>]) {
    let is_next_hop = |line: &str| line.starts_with("> ") || line.starts_with("< ");
    for block in lines.chunk_by_mut(|a, b| is_next_hop(a.1) && is_next_hop(b.1)) {
        let (heard, said): (Vec<Line<'_>>, Vec<Line<'_>>) =
            block.iter().copied().partition(|(_, line)| line.starts_with('>'));
        let continues = |line: &Line<'_>| line.1.as_bytes().get(5) == Some(&b'-');
        let mut replies = said.chunk_by(|a, _| continues(a));
        if said.chunk_by(|a, _| continues(a)).count() == heard.len() {
            let turns = heard.iter().flat_map(|line| {
                [*line]
                    .into_iter()
                    .chain(replies.next().unwrap_or_default().iter().copied())
            });
            for (place, line) in block.iter_mut().zip(turns.collect::<Vec<_>>()) {
                *place = line;
            }
        }
    }
}

fn option(options: &mut Options, key: &str, value: &str) -> Result<(), String> {
    match (key, value) {
        ("bare_line_ends", "normalise") => options.bare_line_ends = BareLineEnds::Normalise,
        ("on_error", "pass") => options.on_error = OnError::Pass,
        ("max_message", n) => options.max_message = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("spool_memory", n) => options.spool_memory = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("timeout_ms", n) => options.timeout = Duration::from_millis(n.parse().map_err(|e| format!("{key}: {e}"))?),
        ("trusted", "no") => options.trusted = false,
        ("xclient", "yes") => options.xclient = true,
        ("max_recipients", n) => options.max_recipients = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("max_passes", n) => options.max_passes = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("command_line", n) => options.command_line = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("text_line", n) => options.text_line = n.parse().map_err(|e| format!("{key}: {e}"))?,
        ("store", "fails") => options.store_fails = true,
        ("next_hop", "down") => {}
        ("protocol", "lmtp") => options.protocol = Protocol::Lmtp,
        ("next_hop", "lmtp") => options.dialect = Dialect::Lmtp,
        ("sockets", "unix") => options.unix = true,
        _ => return Err(format!("no option {key} {value}")),
    }
    Ok(())
}

struct Stage {
    rig: Rig,
    client: Option<Peer>,
    next_hop: Option<Peer>,
    /// What the client says next, in one write.
    pending: Vec<u8>,
    octet_by_octet: bool,
    /// For the sides that are encrypted.
    certificate: Option<Certificate>,
    hop_encrypted: bool,
}

impl Stage {
    fn step(&mut self, line: &str) -> Result<(), String> {
        if let Some(text) = line.strip_prefix("C: ").or(line.strip_prefix("C:")) {
            self.pending.extend_from_slice(text.as_bytes());
            self.pending.extend_from_slice(b"\r\n");
            return Ok(());
        }
        if let Some(text) = line.strip_prefix("C| ") {
            self.pending.extend_from_slice(&unescape(text)?);
            return Ok(());
        }
        self.speak()?;
        match line {
            "" => Ok(()),
            "connect" => {
                self.next_hop = Some(self.call()?);
                Ok(())
            }
            "C!" => {
                self.client = None;
                Ok(())
            }
            "<!" => {
                self.next_hop = None;
                Ok(())
            }
            "S!" => {
                self.client()?.expect_end();
                Ok(())
            }
            ">!" => match self.next_hop()?.line().as_deref() {
                Some("QUIT") | None => Ok(()),
                Some(other) => Err(format!("the next hop hears {other:?}")),
            },
            _ => self.step_with_text(line),
        }
    }

    fn step_with_text(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with('#') || line.starts_with("set ") {
            return Ok(());
        }
        if let Some(wanted) = line.strip_prefix("S: ") {
            return self.client()?.hears(wanted);
        }
        if let Some(wanted) = line.strip_prefix("> ").or((line == ">").then_some("")) {
            return self.next_hop()?.hears(wanted);
        }
        if let Some(text) = line.strip_prefix("< ") {
            self.next_hop()?.send(format!("{text}\r\n"));
            return Ok(());
        }
        if let Some(n) = line.strip_prefix("record ") {
            let wanted: usize = n.parse().map_err(|e| format!("{e}"))?;
            eventually("message rows", || (self.rig.messages().len() == wanted).then_some(()));
            return Ok(());
        }
        if let Some(keywords) = line.strip_prefix("hello") {
            let keywords: Vec<&str> = keywords.split(',').map(str::trim).filter(|k| !k.is_empty()).collect();
            let mut next_hop = self.call()?;
            next_hop.greet(&keywords);
            self.next_hop = Some(next_hop);
            self.client()?.hello();
            return Ok(());
        }
        Err("no such step".into())
    }

    /// The connection that the next hop gets.
    fn call(&self) -> Result<Peer, String> {
        let mut next_hop = self.rig.next_hop();
        if let Some(certificate) = self.certificate.as_ref().filter(|_| self.hop_encrypted) {
            next_hop.accept_tls(certificate).map_err(|e| e.to_string())?;
        }
        Ok(next_hop)
    }

    fn speak(&mut self) -> Result<(), String> {
        let said = std::mem::take(&mut self.pending);
        if said.is_empty() {
            return Ok(());
        }
        let size = if self.octet_by_octet { 1 } else { said.len() };
        let octet_by_octet = self.octet_by_octet;
        let client = self.client()?;
        for chunk in said.chunks(size) {
            match client.try_send(chunk) {
                Ok(()) => {}
                // Whoever is sent away in the middle of a line cannot finish it; what it hears is looked at all the same.
                Err(_) if octet_by_octet => break,
                Err(e) => return Err(format!("the client cannot speak: {e}")),
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), String> {
        self.speak()?;
        if let Some(client) = &mut self.client {
            client.half_close();
            let heard = client.rest();
            if !heard.is_empty() {
                return Err(format!("the client also hears {:?}", heard.escape_ascii().to_string()));
            }
        }
        self.client = None;
        if let Some(next_hop) = &mut self.next_hop {
            let heard = next_hop.overhears();
            if !heard.is_empty() && heard != b"QUIT\r\n" {
                return Err(format!(
                    "the next hop also hears {:?}",
                    heard.escape_ascii().to_string()
                ));
            }
        }
        self.next_hop = None;
        if self.rig.has_unasked_connection() {
            return Err("the next hop gets another connection".into());
        }
        self.rig.assert_nothing_left();
        Ok(())
    }

    fn client(&mut self) -> Result<&mut Peer, String> {
        self.client.as_mut().ok_or_else(|| "there is no client".into())
    }

    fn next_hop(&mut self) -> Result<&mut Peer, String> {
        self.next_hop.as_mut().ok_or_else(|| "there is no next hop".into())
    }
}

/// `\r`, `\n`, `\0`, `\t`, `\\`, `\xNN`, and `\*N*text*`: the text N times.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (octets, used) = match escape.as_bytes().first() {
            Some(b'r') => (vec![b'\r'], 1),
            Some(b'n') => (vec![b'\n'], 1),
            Some(b't') => (vec![b'\t'], 1),
            Some(b'0') => (vec![0], 1),
            Some(b'\\') => (vec![b'\\'], 1),
            Some(b'x') => {
                let digits = escape.get(1..3).ok_or("short \\x")?;
                (vec![u8::from_str_radix(digits, 16).map_err(|e| e.to_string())?], 3)
            }
            Some(b'*') => {
                let parts: Vec<&str> = escape[1..].splitn(3, '*').collect();
                let [n, what, _] = parts[..] else {
                    return Err("bad repetition".into());
                };
                let times: usize = n.parse().map_err(|_| "bad count")?;
                (unescape(what)?.repeat(times), 3 + n.len() + what.len())
            }
            other => return Err(format!("no escape {other:?}")),
        };
        out.extend_from_slice(&octets);
        rest = &escape[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}
