//! The structure of a message: a push scanner that is fed with bytes and yields a part map.
//!
//! It follows what mail programs do, not one grammar: every boundary that may be meant is one, a closed multipart may go
//! on, a header block may lack its blank line. Each such doubt is a [`Quirk`]. Offsets only; bodies are not kept.

mod boundary;
mod fields;
mod map;

use boundary::{BoundaryLine, Frame};
pub(crate) use fields::is_message;
use fields::{boundaries, read_fields};
pub use map::{Part, PartKind, PartMap};

use crate::header::{HeaderFields, TypedField, trim_line_end};
use crate::quirk::{Quirk, Quirks};
use crate::slice::{Slice, head};
use crate::transfer::Coding;

/// Deepest nesting of parts that is looked into.
pub const MAX_DEPTH: usize = 200;
/// Most parts that are looked into.
pub const MAX_PARTS: usize = 10_000;
/// Largest header block that is looked into, in octets.
pub const MAX_HEADER: usize = 1 << 20;
/// Longest line that can be a boundary, in octets (RFC 2046 allows 70 characters; some senders use more), unless the header
/// names a longer one.
const MAX_BOUNDARY_LINE: usize = 2048;
/// Most boundaries of one multipart.
const MAX_BOUNDARIES: usize = 64;
/// How far a message within a message is looked into for a field behind blank lines, in octets.
const MAX_LOOK_AHEAD: usize = 1024;

/// Reads a message chunk by chunk.
#[derive(Debug, Default)]
pub struct Scanner {
    map: PartMap,
    frames: Vec<Frame>,
    state: ScanState,
    /// Bytes that can be read only with those that follow.
    pending: Vec<u8>,
    /// Offset of the first byte that is not yet consumed.
    at: u64,
    line_start: bool,
    /// The last two bytes consumed.
    last: [u8; 2],
    /// Length of the longest boundary.
    longest: usize,
}

#[derive(Debug)]
enum ScanState {
    /// Collecting the header block of the newest part.
    Header(Vec<u8>),
    Body,
    /// A limit was passed; nothing more is looked at.
    Lost,
}

impl Default for ScanState {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

/// Scans a message that is in memory.
#[must_use]
pub fn scan(message: &[u8]) -> PartMap {
    let mut s = Scanner::new();
    s.feed(message);
    s.finish()
}

impl Scanner {
    /// A scanner at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        let mut s = Self {
            line_start: true,
            ..Self::default()
        };
        s.open_part(None, 0);
        s
    }

    /// Takes the next bytes of the message.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.pending.is_empty() {
            let used = self.consume(chunk, false);
            self.pending.extend_from_slice(chunk.slice(used..));
        } else {
            let mut buf = std::mem::take(&mut self.pending);
            buf.extend_from_slice(chunk);
            let used = self.consume(&buf, false);
            buf.drain(..used);
            self.pending = buf;
        }
    }

    /// Ends the message and returns its part map.
    #[must_use]
    pub fn finish(mut self) -> PartMap {
        let rest = std::mem::take(&mut self.pending);
        self.consume(&rest, true);
        let end = self.at;
        if let ScanState::Header(block) = std::mem::replace(&mut self.state, ScanState::Body) {
            self.header_done(block, end);
        }
        self.close_above(0, end);
        self.map.len = end;
        self.map
    }

    /// Consumes the bytes that can be read without those that follow; returns how many.
    fn consume(&mut self, buf: &[u8], last: bool) -> usize {
        let mut i = 0;
        while i < buf.len() {
            let rest = buf.slice(i..);
            let used = match &self.state {
                ScanState::Lost => rest.len(),
                ScanState::Header(_) => self.header_line(rest, last),
                ScanState::Body => self.body(rest, last),
            };
            if used == 0 {
                break;
            }
            match rest.slice(..used) {
                [.., a, b] => self.last = [*a, *b],
                [b] => self.last = [self.last[1], *b],
                [] => {}
            }
            i += used;
            self.at += used as u64;
        }
        i
    }

    fn header_line(&mut self, rest: &[u8], last: bool) -> usize {
        let Some(len) = memchr::memchr(b'\n', rest)
            .map(|n| n + 1)
            .or(last.then_some(rest.len()))
        else {
            if rest.len() > MAX_HEADER {
                self.lose(Quirk::HeaderTooLarge);
                return rest.len();
            }
            return 0;
        };
        let line = rest.slice(..len);
        let text = trim_line_end(line);
        if text.is_empty() {
            match self.opens_late(rest, len, last) {
                Some(true) => {
                    if let Some(p) = self.map.parts.last_mut() {
                        p.header = self.at + len as u64..self.at + len as u64;
                        p.quirks.insert(Quirk::OddHeaderField);
                    }
                    self.line_start = true;
                    return len;
                }
                Some(false) => {}
                None => return 0,
            }
        }
        self.line_start = true;
        if text.is_empty() {
            if let ScanState::Header(block) = std::mem::replace(&mut self.state, ScanState::Body) {
                let bare = |l: &[u8]| l.ends_with(b"\n") && !l.ends_with(b"\r\n");
                let mixed = (bare(line) || bare(&block)) && memchr::memmem::find(&block, b"\r\n").is_some();
                let index = self.map.parts.len().saturating_sub(1);
                self.header_done(block, self.at + len as u64);
                if let Some(p) = self.map.parts.get_mut(index) {
                    p.quirks.insert_if(Quirk::MixedLineEnds, mixed);
                }
            }
            return len;
        }
        if text.starts_with(b"--") && !matches!(self.boundary(text), BoundaryLine::None) {
            // The part ends within its own header.
            if let ScanState::Header(block) = std::mem::replace(&mut self.state, ScanState::Body) {
                self.map.quirks.insert(Quirk::UnendedHeader);
                self.header_done(block, self.at);
            }
            return self.body(rest, last);
        }
        if let ScanState::Header(block) = &mut self.state {
            if block.len() + len > MAX_HEADER {
                self.lose(Quirk::HeaderTooLarge);
            } else {
                block.extend_from_slice(line);
            }
        }
        len
    }

    /// Whether a message within another begins behind the blank line of `len` octets that `rest` starts with: its header is
    /// still empty, and a field comes next. `None` when more must be read to tell.
    fn opens_late(&self, rest: &[u8], len: usize, last: bool) -> Option<bool> {
        let within = || {
            let parent = self.map.parts.last().and_then(|p| self.map.parts.get(p.parent?));
            parent.is_some_and(|p| p.kind == PartKind::Message)
        };
        if !matches!(&self.state, ScanState::Header(block) if block.is_empty()) || !within() {
            return Some(false);
        }
        let behind = rest.slice(len..);
        let behind = head(behind, MAX_LOOK_AHEAD);
        // Of several blank lines the last one decides, and it is known when a line with something in it is there.
        let blanks = behind.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let next = behind.slice(blanks..);
        match memchr::memchr(b'\n', next) {
            Some(n) => {
                let fields = HeaderFields::parse(next.slice(..n));
                Some(!fields.stray_line && !fields.list.is_empty())
            }
            None if last || behind.len() >= MAX_LOOK_AHEAD => Some(false),
            None => None,
        }
    }

    fn body(&mut self, rest: &[u8], last: bool) -> usize {
        if !self.frames.iter().any(|f| f.sniff || !f.boundaries.is_empty()) {
            return rest.len();
        }
        let max_line = MAX_BOUNDARY_LINE.max(self.longest + 64);
        if std::mem::take(&mut self.line_start) {
            if rest.starts_with(b"--") {
                let end = memchr::memchr(b'\n', head(rest, max_line));
                let len = match end {
                    Some(n) => n + 1,
                    None if rest.len() >= max_line => 2,
                    None if last => rest.len(),
                    None => {
                        self.line_start = true;
                        return 0;
                    }
                };
                let line = rest.slice(..len);
                self.line_start = line.ends_with(b"\n");
                self.boundary_line(trim_line_end(line), len as u64);
                return len;
            }
            if rest == b"-" && !last {
                self.line_start = true;
                return 0;
            }
        }
        let mut from = 0;
        while let Some(n) = memchr::memmem::find(rest.slice(from..), b"--").map(|n| from + n) {
            let before = n.checked_sub(1).map_or(self.last[1], |n| *rest.slice(n));
            let line = rest.slice(n..);
            if before == b'\n' && n > 0 {
                self.line_start = true;
                return n;
            }
            if before == b'\r' {
                // Some programs end lines at a bare CR.
                match memchr::memchr2(b'\r', b'\n', head(line, max_line)) {
                    Some(len) => self.hidden_line(line.slice(..len)),
                    None if line.len() >= max_line => {}
                    None if last => self.hidden_line(line),
                    None => return n,
                }
            }
            from = n + line.iter().take_while(|b| **b == b'-').count();
        }
        match rest {
            [.., b'\n'] => {
                self.line_start = true;
                rest.len()
            }
            [.., b'\n', b'-'] if !last => {
                self.line_start = true;
                rest.len() - 1
            }
            [.., b'\r', b'-'] if !last => rest.len() - 1,
            [b'-'] if !last && self.last[1] == b'\r' => 0,
            _ => rest.len(),
        }
    }

    /// Begins a part whose header starts at `start`.
    fn open_part(&mut self, parent: Option<usize>, start: u64) {
        if self.map.parts.len() >= MAX_PARTS {
            self.lose(Quirk::TooManyParts);
            return;
        }
        if self.frames.len() >= MAX_DEPTH {
            self.lose(Quirk::TooDeep);
            return;
        }
        self.frames.push(Frame {
            part: self.map.parts.len(),
            boundaries: Vec::new(),
            sniff: false,
            closed: false,
            begun: false,
            cut_short: Vec::new(),
        });
        self.map.parts.push(Part {
            parent,
            header: start..start,
            body: start..start,
            kind: PartKind::Leaf,
            block: Box::default(),
            types: Vec::new(),
            codings: Vec::new(),
            disposition: None,
            boundary: None,
            mixed: false,
            quirks: Quirks::default(),
        });
        self.state = ScanState::Header(Vec::new());
    }

    /// The header of the newest part is complete; its body starts at `start`.
    fn header_done(&mut self, block: Vec<u8>, start: u64) {
        let index = self.map.parts.len().saturating_sub(1);
        let in_digest = self
            .map
            .parts
            .get(index)
            .and_then(|p| self.map.parts.get(p.parent?))
            .is_some_and(|p| p.types.iter().any(|t| t.value == "multipart/digest"));
        let Some(part) = self.map.parts.get_mut(index) else {
            return;
        };
        part.header.end = part.header.start + block.len() as u64;
        part.body = start..start;
        part.block = block.into_boxed_slice();
        let spellings = read_fields(part);
        if part.types.is_empty() && in_digest {
            part.types.push(TypedField {
                value: "message/rfc822".into(),
                ..TypedField::default()
            });
        }
        let multipart = part.types.iter().any(|t| t.top() == "multipart");
        let message =
            part.types.iter().any(|t| is_message(&t.value)) && part.codings.iter().all(|c| *c == Coding::Identity);
        if multipart {
            part.kind = PartKind::Multipart;
            let mut boundaries = boundaries(&part.types);
            let crowded = boundaries.len() + spellings.len() > MAX_BOUNDARIES;
            part.quirks.insert_if(Quirk::TangledBoundaries, crowded);
            for b in spellings.into_iter().take(MAX_BOUNDARIES) {
                if !boundaries.contains(&b) {
                    boundaries.push(b);
                }
            }
            part.quirks.insert_if(Quirk::SeveralBoundaries, boundaries.len() > 1);
            part.quirks.insert_if(Quirk::MissingBoundary, boundaries.is_empty());
            if boundaries.is_empty() && part.types.iter().any(|t| t.first("boundary") == Some("")) {
                // The boundary line is then two dashes alone.
                boundaries.push(Vec::new());
            }
            self.longest = boundaries
                .iter()
                .map(|b| b.len().min(MAX_HEADER / 16))
                .fold(self.longest, usize::max);
            if let Some(f) = self.frames.last_mut() {
                f.sniff = boundaries.is_empty();
                f.boundaries = boundaries;
            }
        } else if message {
            part.kind = PartKind::Message;
        }
        let (quirks, kind) = (part.quirks, part.kind);
        self.map.quirks.merge(quirks);
        if kind == PartKind::Message {
            self.open_part(Some(index), start);
        }
    }

    /// Ends every part at frame `depth` and deeper.
    fn close_above(&mut self, depth: usize, end: u64) {
        while self.frames.len() > depth {
            let Some(f) = self.frames.pop() else { return };
            if let Some(p) = self.map.parts.get_mut(f.part) {
                p.body.end = end.max(p.body.start);
                if p.kind == PartKind::Multipart {
                    if !f.begun {
                        // Nothing between boundaries: programs show the body as it stands.
                        p.kind = PartKind::Leaf;
                        p.quirks.insert(Quirk::NoParts);
                        self.map.quirks.insert(Quirk::NoParts);
                    } else if !f.closed {
                        p.quirks.insert(Quirk::UnclosedMultipart);
                        self.map.quirks.insert(Quirk::UnclosedMultipart);
                    }
                }
            }
        }
    }

    fn lose(&mut self, quirk: Quirk) {
        self.map.quirks.insert(quirk);
        self.state = ScanState::Lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(message: &str) -> Vec<String> {
        let message = message.replace('\n', "\r\n");
        let map = scan(message.as_bytes());
        map.parts
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let body = &message[p.body.start as usize..p.body.end as usize];
                format!(
                    "{}:{:?}:{}",
                    map.number(i),
                    p.kind,
                    if p.kind == PartKind::Leaf { body } else { "" }
                )
            })
            .collect()
    }

    #[test]
    fn plain_message() {
        assert_eq!(shape("Subject: x\n\nbody\n"), [":Leaf:body\r\n"]);
        assert_eq!(shape("Subject: x"), [":Leaf:"]);
        assert_eq!(shape(""), [":Leaf:"]);
    }

    #[test]
    fn nested_multiparts_and_messages() {
        let m = "Content-Type: multipart/mixed; boundary=o\n\npre\n--o\nContent-Type: multipart/alternative; boundary=i\n\n\
                 --i\n\none\n--i\n\ntwo\n--i--\n--o\nContent-Type: message/rfc822\n\nSubject: s\n\ninner\n--o--\nepilogue\n";
        assert_eq!(
            shape(m),
            [
                ":Multipart:",
                "1:Multipart:",
                "1.1:Leaf:one",
                "1.2:Leaf:two",
                "2:Message:",
                "2:Leaf:inner"
            ]
        );
    }

    #[test]
    fn boundaries_in_every_reading() {
        for (head, body) in [
            (
                "multipart/mixed; boundary=aa; boundary=bb",
                "--aa\n\n1\n--aa--\n--bb\n\n2\n--bb--\n",
            ),
            ("multipart/mixed", "--aa\n\n1\n--aa\n\n2\n--aa--\n"),
            (
                "multipart/mixed; boundary=\"=?utf-8?Q?b?=\"",
                "--=?utf-8?Q?b?=\n\n1\n--b\n\n2\n--b--\n",
            ),
            ("multipart/mixed; boundary*0=a; boundary*1=b", "--ab  \n\n1\n--ab\n\n2"),
        ] {
            let s = shape(&format!("Content-Type: {head}\n\n{body}"));
            assert_eq!(s[1..], ["1:Leaf:1", "2:Leaf:2"], "{head}");
        }
    }

    #[test]
    fn a_part_of_an_inner_multipart_behind_the_outer_end_is_a_part() {
        let m = "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\n1\n--o--\n--i\n\n2\n";
        assert_eq!(shape(m), [":Multipart:", "1:Multipart:", "1.1:Leaf:1", "2:Leaf:2\r\n"]);
    }

    #[test]
    fn a_boundary_between_bare_crs_is_marked() {
        let m = "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\n1\r--o\r\r2\r\n--o--\r\n";
        assert!(scan(m.as_bytes()).quirks.contains(Quirk::TangledBoundaries));
        assert!(
            !scan(m.replace("1\r--o", "1\r--x").as_bytes())
                .quirks
                .contains(Quirk::TangledBoundaries)
        );
    }

    #[test]
    fn a_message_within_may_begin_behind_blank_lines() {
        let m = "Content-Type: message/rfc822\n\n\n\nContent-Type: text/html\n\nx";
        let map = scan(m.as_bytes());
        assert_eq!(map.parts[1].types[0].value, "text/html");
        let m = "Content-Type: message/rfc822\n\n\nno field here\n";
        assert_eq!(shape(m), [":Message:", ":Leaf:no field here\r\n"]);
    }

    #[test]
    fn a_boundary_that_never_comes_leaves_a_leaf() {
        let map = scan(b"Content-Type: multipart/mixed; boundary=x\r\n\r\ntext\r\n");
        assert_eq!(map.parts[0].kind, PartKind::Leaf);
        assert!(map.quirks.contains(Quirk::NoParts));
    }

    #[test]
    fn outer_boundary_inside_inner_ends_both() {
        let m = "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\n1\n--o\n\n2\n--o--\n";
        assert_eq!(shape(m), [":Multipart:", "1:Multipart:", "1.1:Leaf:1", "2:Leaf:2"]);
    }

    #[test]
    fn limits_are_marked() {
        let mut m = String::new();
        for i in 0..220 {
            m += &format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n");
        }
        assert!(scan(m.as_bytes()).quirks.contains(Quirk::TooDeep));
        let m = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
            "--b\r\n\r\n".repeat(11_000)
        );
        assert!(scan(m.as_bytes()).quirks.contains(Quirk::TooManyParts));
    }

    #[test]
    fn agrees_with_mail_parser_on_sound_messages() {
        let m = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=\"o o\"\r\n\r\n--o o\r\nContent-Type: text/html\r\n\r\n<p>a\r\n--o o\r\n\r\nb\r\n--o o--\r\n";
        let theirs = mail_parser::MessageParser::default().parse(&m[..]).unwrap();
        let ours = scan(m);
        for (a, b) in ours
            .parts
            .iter()
            .zip(&theirs.parts)
            .filter(|(a, _)| a.kind == PartKind::Leaf)
        {
            assert_eq!(a.body, b.offset_body as u64..b.offset_end as u64);
        }
        assert_eq!(ours.parts.len(), theirs.parts.len());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_part_map(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: message/rfc822\r\n", "--b\r\n", "--b--\r\n",
                "--bx\r\n", "\r--b\r", "\r", "\r\n", "\n", "text\r\n", "--", "-", "Subject: y\r\n", "Content-Type: multipart/mixed\r\n", "--b",
            ]), 0..30),
            cuts in prop::collection::vec(1..9usize, 1..20),
        ) {
            let message = pieces.concat();
            let whole = scan(message.as_bytes());
            let mut s = Scanner::new();
            let (mut rest, mut i) = (message.as_bytes(), 0);
            while !rest.is_empty() {
                let n = cuts[i % cuts.len()].min(rest.len());
                s.feed(&rest[..n]);
                rest = &rest[n..];
                i += 1;
            }
            prop_assert_eq!(s.finish(), whole);
        }
    }
}
