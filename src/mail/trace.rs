//! The header line by which linkgate recognises a message that comes back to it: `X-Linkgate-Trace: <instance>; <seconds>`.
//!
//! It stands on top of a message that changes anyway, of one that has such a line already, and of one that has passed so many
//! servers that it may well go in circles. Any other message that needs no change stays byte for byte as it came.

use std::io;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use memchr::memchr;
use message::Patch;
use ring::digest;

use crate::config::Listener;
use crate::mail::header;
use crate::mail::spool::Spool;

/// The name of the header field.
const FIELD: &str = "X-Linkgate-Trace";

/// Received fields from which on a message is marked: Postfix gives it up at 50.
const MANY_RECEIVED: usize = 25;

/// Octets of the hash that names an instance.
const INSTANCE_OCTETS: usize = 8;

/// The name of one listener, the same after every start; it says nothing about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance(String);

/// The header lines of a message that the servers it has passed left in it, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// Trace lines of this instance.
    pub(super) passes: usize,
    /// Trace lines of any instance.
    marks: usize,
    received: usize,
    /// The message begins with a header field, or with the empty line behind none.
    sound: bool,
}

impl Instance {
    /// The name of a listener, the `index`th of its configuration.
    pub(super) fn of(listener: &Listener, index: usize) -> Self {
        let whole = format!("{}\0{}\0{index}", listener.hostname, listener.listen);
        let hash = digest::digest(&digest::SHA256, whole.as_bytes());
        Self(HEXLOWER.encode(hash.as_ref().get(..INSTANCE_OCTETS).unwrap_or_default()))
    }
}

impl Trace {
    /// Reads the header block at the front of `bytes`, up to its end or theirs.
    pub(super) fn read(bytes: &[u8], instance: &Instance) -> Self {
        let mut trace = Self {
            sound: header::begins_soundly(bytes),
            ..Self::default()
        };
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            match line {
                b"\r\n" | b"\n" => break,
                [b'r' | b'R', ..] if field(line, "Received").is_some() => trace.received += 1,
                [b'x' | b'X', ..] => {
                    if let Some(value) = field(line, FIELD) {
                        trace.marks += 1;
                        let name = value.split(|b| *b == b';').next().unwrap_or_default();
                        trace.passes += usize::from(name.trim_ascii() == instance.0.as_bytes());
                    }
                }
                _ => {}
            }
        }
        trace
    }

    /// Reads the trace of a message from its spool.
    ///
    /// # Errors
    /// The spool's file cannot be read.
    pub(super) async fn of(spool: &Arc<Spool>, instance: &Instance) -> io::Result<Self> {
        if let Some(bytes) = spool.as_slice() {
            let most = usize::try_from(header::MAX_HEADER).unwrap_or(usize::MAX);
            return Ok(Self::read(bytes.get(..most).unwrap_or(bytes), instance));
        }
        let (spool, instance) = (Arc::clone(spool), instance.clone());
        let read = tokio::task::spawn_blocking(move || {
            let front = header::read_front(&*spool)?;
            Ok(Self::read(&front, &instance))
        });
        read.await.map_err(io::Error::other)?
    }

    /// Adds the line to `patch` if it is due; `now_s` in seconds since 1970.
    pub(super) fn mark(&self, patch: Patch, instance: &Instance, now_s: i64) -> Patch {
        let due = !patch.is_empty() || self.marks > 0 || self.received >= MANY_RECEIVED;
        if !due || !self.sound {
            return patch;
        }
        let line = format!("{FIELD}: {}; {now_s}\r\n", instance.0);
        header::on_top(line.into_bytes(), patch)
    }
}

/// The text behind the colon, if the line begins a field of this name.
fn field<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
}

#[cfg(test)]
mod tests {
    use message::Change;

    use super::*;

    fn instance(name: &str) -> Instance {
        Instance(name.to_owned())
    }

    fn trace_of(header: &str) -> Trace {
        Trace::read(header.as_bytes(), &instance("ab12"))
    }

    fn marked(message: &str, change: bool) -> String {
        let changes = change.then(|| Change {
            at: 0..1,
            with: b"s".to_vec(),
        });
        let patch = Patch::new(changes.into_iter().collect()).unwrap();
        let patch = trace_of(message).mark(patch, &instance("ab12"), 7);
        String::from_utf8(patch.apply(message.as_bytes())).unwrap()
    }

    #[test]
    fn ordinary_mail_that_needs_no_change_is_left_alone() {
        let ordinary = format!("{}Subject: x\r\n\r\nbody\r\n", "Received: by a\r\n".repeat(24));
        assert_eq!(marked(&ordinary, false), ordinary);
    }

    #[test]
    fn what_changes_or_may_go_in_circles_is_marked_on_top() {
        assert_eq!(
            marked("Subject: x\r\n\r\n", true),
            "X-Linkgate-Trace: ab12; 7\r\nsubject: x\r\n\r\n"
        );
        for message in [
            "X-Linkgate-Trace: other; 1\r\n\r\n".to_owned(),
            format!("{}\r\n", "received: by a\r\n\tfor b\r\n".repeat(25)),
        ] {
            assert_eq!(
                marked(&message, false),
                format!("X-Linkgate-Trace: ab12; 7\r\n{message}")
            );
        }
    }

    #[test]
    fn only_lines_of_this_instance_are_passes() {
        let trace = trace_of(
            "X-Linkgate-Trace: ab12; 5\r\nx-linkgate-trace :  ab12 ;4\r\nX-Linkgate-Trace: ab123; 3\r\n\
             X-Linkgate-Traces: ab12; 2\r\n X-Linkgate-Trace: ab12; 2\r\nSubject: X-Linkgate-Trace: ab12; 1\r\n\
             X-Linkgate-Trace: ab12\r\n\r\nX-Linkgate-Trace: ab12; 0\r\n",
        );
        assert_eq!((trace.passes, trace.marks), (3, 4));
    }

    #[test]
    fn a_message_without_a_header_keeps_its_first_line() {
        for text in ["just text\r\n", "just\r\n: text\r\n", " Subject: x\r\n", ": x\r\n"] {
            assert_eq!(marked(text, true), format!("s{}", &text[1..]));
        }
        assert_eq!(marked("", false), "");
        assert!(trace_of("\r\nbody").sound);
    }

    #[test]
    fn a_name_is_short_and_tells_nothing() {
        let listener = |text: &str| {
            let text = format!(
                "[click]\npublic_url = \"https://c.test\"\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\n\
                 [store]\nurl = \"sqlite:x\"\n[keys]\nfile = \"/nowhere/k\"\n[[listener]]\nprotocol = \"smtp\"\n\
                 listen = \"{text}\"\nhostname = \"secret.test\"\nnext_hop = \"smtp://127.0.0.1:4\"\n"
            );
            let absent = crate::config::keyfile::Absent::Pretend;
            let settings = crate::config::Settings::from_toml(&text, std::path::Path::new("x"), absent).unwrap();
            settings.listeners.into_iter().next().unwrap()
        };
        let one = Instance::of(&listener("127.0.0.1:3"), 0);
        assert_eq!(one, Instance::of(&listener("127.0.0.1:3"), 0));
        assert_ne!(one, Instance::of(&listener("127.0.0.1:3"), 1));
        assert_ne!(one, Instance::of(&listener("127.0.0.1:5"), 0));
        assert_eq!(one.0.len(), 16);
        assert!(one.0.bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn an_endless_header_is_read_as_far_as_it_is_given() {
        let header = "X-Linkgate-Trace: ab12; 1\r\n".repeat(3) + "X-Long: ";
        assert_eq!(trace_of(&header).passes, 3);
    }
}
