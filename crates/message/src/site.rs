//! Places in a message that lead somewhere, and what the caller is asked about them.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::{EncoderResult, Encoding};

use crate::html::link_text::LinkText;
use crate::origin;
use crate::slice::Slice;

/// The effect when a site is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Use {
    /// A link of HTML: a reader clicks it.
    Link,
    /// A URL in running text of HTML: a mail program may turn it into a link.
    HtmlText,
    /// A URL in plain text.
    PlainText,
    /// A URL in a JSON string (schema.org actions).
    Json,
    /// The target of a Word field code.
    WordField,
    /// A form that would be sent there.
    Submit,
    /// A page that is framed, embedded or loaded by itself.
    Load,
    /// A URL that is called beside a click.
    Ping,
    /// A URL in a calendar or contact card, whose line is folded around it.
    Folded {
        /// There is a fold of ours before the link.
        before: bool,
        /// There is a fold of ours behind it.
        after: bool,
    },
    /// The place where the body of a message/external-body part is.
    ExternalBody,
    /// A URL in a quoted-printable value of a contact card or calendar of the old kind.
    QuotedValue,
}

impl Use {
    /// A small number, of four bits, that stands for it in a token permanently.
    #[must_use]
    pub const fn form(self) -> u8 {
        match self {
            Self::Link => 0,
            Self::HtmlText => 1,
            Self::PlainText => 2,
            Self::Json => 3,
            Self::WordField => 4,
            Self::Submit => 5,
            Self::Load => 6,
            Self::Ping => 7,
            Self::Folded { before, after } => 8 + before as u8 + 2 * after as u8,
            Self::ExternalBody => 12,
            Self::QuotedValue => 13,
        }
    }
}

/// A place that leads somewhere.
#[derive(Debug)]
pub struct Site<'a> {
    /// The effect when it is followed.
    pub usage: Use,
    /// Its place in words: `a[href]`, `text`.
    pub place: Cow<'a, str>,
    /// The number of the part (RFC 9051 6.4.5); empty for the message itself.
    pub part: &'a str,
    /// The bytes as they stand there, after transfer decoding.
    pub written: &'a [u8],
    /// Their place in the text; `None` for what is in a header, or is no stretch of the text.
    pub(crate) at: Option<Range<usize>>,
    /// Their meaning: character references and folding resolved.
    pub url: Cow<'a, str>,
    /// The document's base, where relative references start.
    pub base: Option<&'a str>,
    /// The reason the part stays byte for byte, whatever is in it (`signed`, `attachment`); the site is only reported then.
    pub left: Option<&'static str>,
    pub(crate) encoding: &'static Encoding,
    /// The place of the text of a link in HTML.
    pub(crate) link_text: Option<LinkText<'a>>,
}

impl Site<'_> {
    /// A number that says how the site is written, for its token: the use in the low four bits ([`Use::form`]), and in
    /// the high four the encoding, where what is written is more than ASCII. It stands for that permanently.
    #[must_use]
    pub fn form(&self) -> u8 {
        self.usage.form() | origin::number(self.written, self.encoding) << 4
    }

    /// The text seen in place of the URL: the text of a link in HTML, empty for a picture; `None` where the URL itself
    /// is seen. Reads it anew at each call.
    #[must_use]
    pub fn link_text(&self) -> Option<String> {
        self.link_text.map(|s| s.read())
    }

    /// Whether queries are to be encoded in something else than UTF-8 (WHATWG URL 4.4, encoding override).
    #[must_use]
    pub fn has_legacy_query(&self) -> bool {
        self.encoding.output_encoding() != encoding_rs::UTF_8
    }

    /// A query in the document's encoding; what has no place there becomes a character reference, percent-encoded
    /// (WHATWG URL 1.3, "percent-encode after encoding").
    #[must_use]
    pub fn encode_query<'q>(&self, query: &'q str) -> Cow<'q, [u8]> {
        if !self.encoding.encode(query).2 {
            return self.encoding.encode(query).0;
        }
        encode_with_references(query, self.encoding)
    }
}

/// The treatment of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It stays as it is.
    Keep,
    /// It is replaced by this: letters, digits and `-._~:/?` only, so that it is safe in every context.
    Replace(String),
    /// It is made to lead nowhere.
    Disarm,
}

/// Octets of a seal.
pub const MARK_SEAL: usize = 9;

/// A seal over some octets, which only the holder of the key can make.
pub type Seal = [u8; MARK_SEAL];

/// Decides what is done with the sites of a message.
pub trait Judge {
    /// Decides about a site. Called once for each.
    fn rule(&mut self, site: &Site<'_>) -> Ruling;

    /// Whether a site of the result may stay: it is ours, leads nowhere, or was excused. Reports nothing.
    fn is_safe(&mut self, site: &Site<'_>) -> bool;

    /// A seal for what is taken out and kept in the text, by which [`Originals::knows_mark`](crate::Originals::knows_mark)
    /// tells it from what senders write. The same octets give the same seal.
    fn seal_mark(&self, kept: &[u8]) -> Seal;
}

/// The original of a click link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Length in octets of our link, whatever follows it.
    pub len: usize,
    /// The form of its site, from [`Site::form`](crate::Site::form).
    pub form: u8,
    /// The target.
    pub target: String,
    /// The bytes that stood there, when they were others.
    pub written: Option<Vec<u8>>,
}

/// Knows the click links and the marks of this installation.
pub trait Originals {
    /// Finds where in a text a click link may begin; cheap.
    fn find(&self, text: &[u8]) -> Option<usize>;

    /// Opens the link that `text` begins with.
    fn open(&mut self, text: &str) -> Option<Original>;

    /// Whether a seal was made by [`Judge::seal_mark`](crate::Judge::seal_mark) for what a mark keeps.
    fn knows_mark(&self, kept: &[u8], seal: &Seal) -> bool;
}

fn encode_with_references(query: &str, encoding: &'static Encoding) -> Cow<'static, [u8]> {
    let mut encoder = encoding.new_encoder();
    let mut out = Vec::new();
    let mut rest = query;
    loop {
        let room = encoder
            .max_buffer_length_from_utf8_without_replacement(rest.len())
            .unwrap_or_default();
        let start = out.len();
        out.resize(start + room, 0);
        let to = out.get_mut(start..).unwrap_or_default();
        let (result, read, written) = encoder.encode_from_utf8_without_replacement(rest, to, true);
        out.truncate(start + written);
        rest = rest.slice(read..);
        match result {
            EncoderResult::Unmappable(c) => out.extend(format!("%26%23{}%3B", c as u32).bytes()),
            EncoderResult::InputEmpty | EncoderResult::OutputFull => return Cow::Owned(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_characters_that_its_encoding_lacks() {
        for (encoding, query, want) in [
            (
                encoding_rs::WINDOWS_1252,
                "q=\u{416}&r=\u{e9}",
                &b"q=%26%231046%3B&r=\xe9"[..],
            ),
            (encoding_rs::ISO_2022_JP, "q=\u{8868}", b"q=\x1b$BI=\x1b(B"),
            (
                encoding_rs::ISO_2022_JP,
                "\u{8868}\u{e9}x",
                b"\x1b$BI=\x1b(B%26%23233%3Bx",
            ),
        ] {
            let site = Site {
                usage: Use::Link,
                place: "a[href]".into(),
                part: "1",
                written: b"",
                at: None,
                url: "".into(),
                base: None,
                left: None,
                encoding,
                link_text: None,
            };
            assert_eq!(site.encode_query(query), want, "{query}");
        }
    }
}
