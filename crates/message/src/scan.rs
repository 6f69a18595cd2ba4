//! The structure of a message: a push scanner that is fed with bytes and yields a part map.
//!
//! It follows what mail programs do, not one grammar: every boundary that may be meant is one, a closed multipart may go
//! on, a header block may lack its blank line. Each such doubt is a [`Quirk`]. Offsets only; bodies are not kept.

use std::ops::Range;

use crate::header::{Fields, Typed, encoded_words, lossy, trim_line_end};
use crate::quirk::{Quirk, Quirks};
use crate::transfer::Coding;

/// Deepest nesting of parts that is looked into.
pub const MAX_DEPTH: usize = 200;
/// Most parts that are looked into.
pub const MAX_PARTS: usize = 10_000;
/// Largest header block that is looked into, in octets.
pub const MAX_HEADER: usize = 1 << 20;
/// Longest line that can be a boundary, in octets (RFC 2046 allows 70 characters; some senders use more).
const MAX_BOUNDARY_LINE: usize = 2048;

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Content.
    Leaf,
    /// Parts between boundaries.
    Multipart,
    /// A message of its own, not encoded.
    Message,
}

/// One part of a message, by offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index of the part that holds this one.
    pub parent: Option<usize>,
    /// The header block, without the blank line that ends it.
    pub header: Range<u64>,
    /// The body as it stands there, without the line end that belongs to the boundary.
    pub body: Range<u64>,
    /// What it is made of.
    pub kind: Kind,
    pub(crate) block: Box<[u8]>,
    pub(crate) types: Vec<Typed>,
    pub(crate) codings: Vec<Coding>,
    pub(crate) disposition: Option<Typed>,
    pub(crate) quirks: Quirks,
}

/// The parts of a message in the order in which they begin, the message itself first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartMap {
    /// The parts.
    pub parts: Vec<Part>,
    /// What was doubtful about the structure.
    pub quirks: Quirks,
    /// Length of the message in octets.
    pub len: u64,
}

impl PartMap {
    /// The number of a part as IMAP writes it (RFC 9051 6.4.5): `1.2`, and an empty text for the message itself.
    #[must_use]
    pub fn number(&self, index: usize) -> String {
        let mut path = Vec::new();
        let mut at = index;
        while let Some(parent) = self.parts.get(at).and_then(|p| p.parent) {
            // A message inside a message/rfc822 part shares that part's number.
            if self.parts.get(parent).is_some_and(|p| p.kind != Kind::Message) {
                let before = self.parts.get(parent..at).unwrap_or_default();
                path.push(before.iter().filter(|p| p.parent == Some(parent)).count() + 1);
            }
            at = parent;
        }
        path.iter().rev().map(usize::to_string).collect::<Vec<_>>().join(".")
    }

    /// Indexes of the direct parts of one.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.parts
            .iter()
            .enumerate()
            .skip(index + 1)
            .filter(move |(_, p)| p.parent == Some(index))
            .map(|(i, _)| i)
    }
}

/// Reads a message chunk by chunk.
#[derive(Debug, Default)]
pub struct Scanner {
    map: PartMap,
    frames: Vec<Frame>,
    state: State,
    /// Bytes that cannot be judged before more of them come.
    pending: Vec<u8>,
    /// Offset of the first byte that is not yet consumed.
    at: u64,
    line_start: bool,
    /// The last two bytes consumed.
    last: [u8; 2],
}

#[derive(Debug)]
struct Frame {
    part: usize,
    boundaries: Vec<Vec<u8>>,
    /// No boundary was named: the first line that looks like one is it.
    sniff: bool,
    closed: bool,
    begun: bool,
}

#[derive(Debug)]
enum State {
    /// Collecting the header block of the newest part.
    Header(Vec<u8>),
    Body,
    /// A limit was passed; nothing more is looked at.
    Lost,
}

impl Default for State {
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

enum Hit {
    Delimiter(usize),
    Close(usize),
    No,
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
            self.pending.extend_from_slice(chunk.get(used..).unwrap_or_default());
        } else {
            let mut buf = std::mem::take(&mut self.pending);
            buf.extend_from_slice(chunk);
            let used = self.consume(&buf, false);
            buf.drain(..used);
            self.pending = buf;
        }
    }

    /// The message has ended.
    #[must_use]
    pub fn finish(mut self) -> PartMap {
        let rest = std::mem::take(&mut self.pending);
        self.consume(&rest, true);
        let end = self.at;
        if let State::Header(block) = std::mem::replace(&mut self.state, State::Body) {
            self.header_done(block, end);
        }
        self.close_above(0, end);
        self.map.len = end;
        self.map
    }

    /// Consumes what can be judged; returns how much that is.
    fn consume(&mut self, buf: &[u8], last: bool) -> usize {
        let mut i = 0;
        while let Some(rest) = buf.get(i..).filter(|r| !r.is_empty()) {
            let used = match &self.state {
                State::Lost => rest.len(),
                State::Header(_) => self.header_line(rest, last),
                State::Body => self.body(rest, last),
            };
            if used == 0 {
                break;
            }
            match rest.get(..used).unwrap_or_default() {
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
        let line = rest.get(..len).unwrap_or_default();
        let text = trim_line_end(line);
        self.line_start = true;
        if text.is_empty() {
            if let State::Header(block) = std::mem::replace(&mut self.state, State::Body) {
                self.header_done(block, self.at + len as u64);
            }
            return len;
        }
        if text.starts_with(b"--") && !matches!(self.boundary(text), Hit::No) {
            // The part ends within its own header.
            if let State::Header(block) = std::mem::replace(&mut self.state, State::Body) {
                self.map.quirks.insert(Quirk::UnendedHeader);
                self.header_done(block, self.at);
            }
            return self.body(rest, last);
        }
        if let State::Header(block) = &mut self.state {
            if block.len() + len > MAX_HEADER {
                self.lose(Quirk::HeaderTooLarge);
            } else {
                block.extend_from_slice(line);
            }
        }
        len
    }

    fn body(&mut self, rest: &[u8], last: bool) -> usize {
        if !self.frames.iter().any(|f| f.sniff || !f.boundaries.is_empty()) {
            return rest.len();
        }
        if std::mem::take(&mut self.line_start) {
            if rest.starts_with(b"--") {
                let end = memchr::memchr(b'\n', rest.get(..MAX_BOUNDARY_LINE.min(rest.len())).unwrap_or_default());
                let len = match end {
                    Some(n) => n + 1,
                    None if rest.len() >= MAX_BOUNDARY_LINE => 2,
                    None if last => rest.len(),
                    None => {
                        self.line_start = true;
                        return 0;
                    }
                };
                let line = rest.get(..len).unwrap_or_default();
                self.line_start = line.ends_with(b"\n");
                self.boundary_line(trim_line_end(line), len as u64);
                return len;
            }
            if rest == b"-" && !last {
                self.line_start = true;
                return 0;
            }
        }
        match memchr::memmem::find(rest, b"\n--") {
            Some(n) => {
                self.line_start = true;
                n + 1
            }
            None if rest.ends_with(b"\n") => {
                self.line_start = true;
                rest.len()
            }
            None if rest.ends_with(b"\n-") && !last => {
                self.line_start = true;
                rest.len() - 1
            }
            None => rest.len(),
        }
    }

    fn boundary_line(&mut self, text: &[u8], len: u64) {
        let start = self.at;
        let line_end = match self.last {
            [b'\r', b'\n'] => 2,
            [_, b'\n'] => 1,
            _ => 0,
        };
        let end = start.saturating_sub(line_end);
        match self.boundary(text) {
            Hit::Delimiter(frame) => {
                self.close_above(frame + 1, end);
                let Some(f) = self.frames.get_mut(frame) else { return };
                f.begun = true;
                let (part, closed) = (f.part, f.closed);
                self.map.quirks.insert_if(Quirk::PartsAfterEnd, closed);
                self.open_part(Some(part), start + len);
            }
            Hit::Close(frame) => {
                self.close_above(frame + 1, end);
                if let Some(f) = self.frames.get_mut(frame) {
                    f.closed = true;
                }
                self.state = State::Body;
            }
            Hit::No => {}
        }
    }

    /// Which open multipart a line belongs to, innermost first, those not yet closed before the others.
    fn boundary(&mut self, text: &[u8]) -> Hit {
        let Some(after) = text.strip_prefix(b"--") else {
            return Hit::No;
        };
        let mut prefix = false;
        for closed in [false, true] {
            for (i, f) in self
                .frames
                .iter_mut()
                .enumerate()
                .rev()
                .filter(|(_, f)| f.closed == closed)
            {
                if f.sniff && f.boundaries.is_empty() && !after.trim_ascii().is_empty() && after.first() != Some(&b' ')
                {
                    f.boundaries.push(after.trim_ascii_end().to_vec());
                }
                for b in &f.boundaries {
                    let Some(tail) = after.strip_prefix(b.as_slice()) else {
                        continue;
                    };
                    match tail.trim_ascii() {
                        [] => return Hit::Delimiter(i),
                        b"--" => return Hit::Close(i),
                        _ if tail.starts_with(b"--") && tail.get(2).is_some_and(u8::is_ascii_whitespace) => {
                            return Hit::Close(i);
                        }
                        _ => prefix = true,
                    }
                }
            }
        }
        self.map.quirks.insert_if(Quirk::BoundaryPrefix, prefix);
        Hit::No
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
        });
        self.map.parts.push(Part {
            parent,
            header: start..start,
            body: start..start,
            kind: Kind::Leaf,
            block: Box::default(),
            types: Vec::new(),
            codings: Vec::new(),
            disposition: None,
            quirks: Quirks::default(),
        });
        self.state = State::Header(Vec::new());
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
        read_fields(part);
        if part.types.is_empty() && in_digest {
            part.types.push(Typed {
                value: "message/rfc822".into(),
                ..Typed::default()
            });
        }
        let multipart = part.types.iter().any(|t| t.top() == "multipart");
        let message =
            part.types.iter().any(|t| is_message(&t.value)) && part.codings.iter().all(|c| *c == Coding::Identity);
        if multipart {
            part.kind = Kind::Multipart;
            let boundaries = boundaries(&part.types);
            part.quirks.insert_if(Quirk::SeveralBoundaries, boundaries.len() > 1);
            part.quirks.insert_if(Quirk::MissingBoundary, boundaries.is_empty());
            if let Some(f) = self.frames.last_mut() {
                f.sniff = boundaries.is_empty();
                f.boundaries = boundaries;
            }
        } else if message {
            part.kind = Kind::Message;
        }
        let (quirks, kind) = (part.quirks, part.kind);
        self.map.quirks.merge(quirks);
        if kind == Kind::Message {
            self.open_part(Some(index), start);
        }
    }

    /// Ends every part at frame `depth` and deeper.
    fn close_above(&mut self, depth: usize, end: u64) {
        while self.frames.len() > depth {
            let Some(f) = self.frames.pop() else { return };
            if let Some(p) = self.map.parts.get_mut(f.part) {
                p.body.end = end.max(p.body.start);
                if p.kind == Kind::Multipart {
                    if !f.begun {
                        // Nothing between boundaries: programs show the body as it stands.
                        p.kind = Kind::Leaf;
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
        self.state = State::Lost;
    }
}

/// Whether a media type is a message whose body is a header block and a body.
pub(crate) fn is_message(value: &str) -> bool {
    matches!(value, "message/rfc822" | "message/global" | "message/news")
}

fn read_fields(part: &mut Part) {
    let block = &part.block;
    let fields = Fields::parse(block);
    part.quirks.insert_if(Quirk::StrayHeaderLine, fields.stray_line);
    part.quirks.insert_if(Quirk::OddHeaderField, fields.odd_field);
    for f in fields.named(block, "content-type") {
        let t = Typed::parse(block.get(f.value.clone()).unwrap_or_default());
        part.quirks.insert_if(Quirk::MalformedContentType, t.malformed);
        part.types.push(t);
    }
    part.quirks.insert_if(Quirk::DuplicateContentType, part.types.len() > 1);
    for f in fields.named(block, "content-transfer-encoding") {
        let raw = block.get(f.value.clone()).unwrap_or_default();
        let plain = lossy(raw.trim_ascii()).to_ascii_lowercase();
        let coding = Coding::named(&plain).or_else(|| {
            part.quirks.insert(Quirk::MalformedTransferEncoding);
            // Comments, quotes, a list: the first word counts.
            let t = Typed::parse(raw);
            Coding::named(t.value.split(',').next().unwrap_or_default())
        });
        part.quirks.insert_if(Quirk::UnknownTransferEncoding, coding.is_none());
        part.codings.push(coding.unwrap_or(Coding::Identity));
    }
    part.quirks
        .insert_if(Quirk::DuplicateTransferEncoding, part.codings.len() > 1);
    part.disposition = fields
        .named(block, "content-disposition")
        .next()
        .map(|f| Typed::parse(block.get(f.value.clone()).unwrap_or_default()));
}

/// Every boundary that may be meant, without doubles.
fn boundaries(types: &[Typed]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for value in types.iter().flat_map(|t| t.all("boundary")) {
        for v in [Some(value.to_owned()), encoded_words(value)].into_iter().flatten() {
            // Values were read as ISO 8859-1 where they are not UTF-8; the bytes are what is compared.
            let bytes = if v.is_ascii() {
                v.into_bytes()
            } else {
                v.chars().map(|c| c as u32 as u8).collect()
            };
            let bytes = bytes.trim_ascii_end().to_vec();
            if !bytes.is_empty() && !out.contains(&bytes) {
                out.push(bytes);
            }
        }
    }
    out
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
                    if p.kind == Kind::Leaf { body } else { "" }
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
    fn a_boundary_that_never_comes_leaves_a_leaf() {
        let map = scan(b"Content-Type: multipart/mixed; boundary=x\r\n\r\ntext\r\n");
        assert_eq!(map.parts[0].kind, Kind::Leaf);
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
            .filter(|(a, _)| a.kind == Kind::Leaf)
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
                "--bx\r\n", "\r\n", "\n", "text\r\n", "--", "-", "Subject: y\r\n", "Content-Type: multipart/mixed\r\n", "--b",
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
