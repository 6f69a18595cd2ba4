//! The claims of a token, and their compact binary form.
//!
//! The sealed part of a token is a message section, the same for all links of a copy, and a link section:
//!
//! ```text
//! message = flags u8, issued_at varint (zigzag, seconds since 2024-01-01), message_id text,
//!           [recipient text], [domain text], sender text
//!           flags: 1 recipient present, 2 domain left out because it is the recipient's
//! link    = kind u8, [more u8], [form u8], direct | reference, [pad 0]
//!           kind:  bits 0-1 written (0 none, 1 the target with & as &amp;, 2 spliced from the target, 3 from that escaped target)
//!                  bits 2-4 start of the target (see STARTS) or 7 (more present), 5 form present, 6 reference, 7 one pad
//!                  octet at the end
//!           more:  bits 0-2 start of the target, 3 blocked at delivery
//! direct  = [written splice: head varint, tail varint, middle text], rest of the target
//! reference = id (16 octets), host
//! text    = length varint, octets
//! ```
//!
//! All of it is frozen for version 1: tokens live in mail for years.

use crate::escapes::clip;

/// The facts about one copy of a mail that every token in it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageClaims {
    /// Our own id of the mail, as in the log and the store. A token carries at most 128 octets of it.
    pub message_id: String,
    /// The recipient this copy goes to; `None` when one copy serves several.
    ///
    /// A token leaves out the sender, then the recipient, when they are longer than any real address (together some
    /// 400 octets): the link has to stay short, and the stored message row names them.
    pub recipient: Option<String>,
    /// Envelope sender; empty for `<>`.
    pub sender: String,
    /// Time of the rewriting, in seconds since 1970.
    pub issued_at: i64,
    /// The recipient domain of the policy, in lower case.
    pub domain: String,
}

impl MessageClaims {
    /// The claims as opened from a token: without addresses longer than any real one.
    #[must_use]
    pub fn as_sealed(&self) -> Self {
        let mut plain = encode_message(self);
        push_direct(&mut plain, "", None, 0);
        decode(&plain).map_or_else(|| self.clone(), |claims| claims.message)
    }
}

/// The claims of one link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The target itself, and the octets that stood in the mail when they differ.
    Direct { target: String, written: Option<Vec<u8>> },
    /// The id of a stored target, and its host (empty when there was no room).
    Reference { id: [u8; 16], host: String },
}

/// Longest message section, in octets; with it any reference fits into a click link.
pub(crate) const MAX_MESSAGE: usize = 512;
const MAX_MESSAGE_ID: usize = 128;
const MAX_DOMAIN: usize = 255;

/// 2024-01-01: times after it take four octets for years to come.
const TIME_BASE: i64 = 1_704_067_200;

const HAS_RECIPIENT: u8 = 1;
const DOMAIN_OF_RECIPIENT: u8 = 2;

const WRITTEN: u8 = 0b11;
const WRITTEN_ESCAPED: u8 = 1;
const WRITTEN_SPLICED: u8 = 2;
const WRITTEN_SPLICED_ESCAPED: u8 = 3;
const START_SHIFT: u8 = 2;
const HAS_FORM: u8 = 1 << 5;
const REFERENCE: u8 = 1 << 6;
/// In the place of the start: it stands in the next octet.
const MORE: u8 = 0b111;
const BLOCKED: u8 = 1 << 3;
const PADDED: u8 = 1 << 7;

/// Starts of most targets, sealed as their index. Never change an entry; up to seven fit.
const STARTS: [&str; 5] = ["", "https://", "http://", "https://www.", "http://www."];

/// Encodes the message section.
pub(crate) fn encode_message(claims: &MessageClaims) -> Vec<u8> {
    let whole = message_section(claims, claims.recipient.as_deref(), &claims.sender);
    if whole.len() <= MAX_MESSAGE {
        return whole;
    }
    let unsent = message_section(claims, claims.recipient.as_deref(), "");
    if unsent.len() <= MAX_MESSAGE {
        return unsent;
    }
    message_section(claims, None, "")
}

fn message_section(claims: &MessageClaims, recipient: Option<&str>, sender: &str) -> Vec<u8> {
    let id = clip(&claims.message_id, MAX_MESSAGE_ID);
    let domain = clip(&claims.domain, MAX_DOMAIN);
    let implied = recipient.is_some_and(|r| domain_of(r) == domain);
    let mut out = Vec::with_capacity(24 + id.len() + domain.len() + sender.len() + recipient.map_or(0, str::len));
    let mut flags = 0;
    if recipient.is_some() {
        flags |= HAS_RECIPIENT;
    }
    if implied {
        flags |= DOMAIN_OF_RECIPIENT;
    }
    out.push(flags);
    let t = claims.issued_at.wrapping_sub(TIME_BASE);
    push_varint(&mut out, ((t << 1) ^ (t >> 63)) as u64);
    push_text(&mut out, id.as_bytes());
    if let Some(r) = recipient {
        push_text(&mut out, r.as_bytes());
    }
    if !implied {
        push_text(&mut out, domain.as_bytes());
    }
    push_text(&mut out, sender.as_bytes());
    out
}

/// Appends the link section of a direct token; `written` equal to the target counts as none.
pub(crate) fn push_direct(out: &mut Vec<u8>, target: &str, written: Option<&[u8]>, form: u8) {
    let written = written.filter(|w| *w != target.as_bytes());
    // The longest start that fits: the later entries are the longer ones of their scheme.
    let (start, rest) = STARTS
        .iter()
        .enumerate()
        .rev()
        .find_map(|(i, s)| target.strip_prefix(s).map(|rest| (i as u8, rest)))
        .unwrap_or((0, target));
    let mut kind = start << START_SHIFT;
    if form != 0 {
        kind |= HAS_FORM;
    }
    let splice = written.map(|w| splice_of(target, w));
    kind |= splice.as_ref().map_or(0, |s| s.mode);
    out.push(kind);
    if form != 0 {
        out.push(form);
    }
    if let Some(s) = splice.filter(|s| s.mode != WRITTEN_ESCAPED) {
        push_varint(out, s.head as u64);
        push_varint(out, s.tail as u64);
        push_text(out, s.middle);
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Appends the link section of a reference token.
pub(crate) fn push_reference(out: &mut Vec<u8>, id: &[u8; 16], host: &str, form: u8) {
    out.push(if form == 0 { REFERENCE } else { REFERENCE | HAS_FORM });
    if form != 0 {
        out.push(form);
    }
    out.extend_from_slice(id);
    out.extend_from_slice(host.as_bytes());
}

/// Marks the link section, whose kind octet stands at `kind_at`, as blocked at delivery.
pub(crate) fn block(out: &mut Vec<u8>, kind_at: usize) {
    if let Some(kind) = out.get_mut(kind_at) {
        let start = (*kind >> START_SHIFT) & MORE;
        *kind |= MORE << START_SHIFT;
        out.insert(kind_at + 1, start | BLOCKED);
    }
}

/// Appends one pad octet, and notes it in the kind octet, which stands at `kind_at`.
pub(crate) fn pad(out: &mut Vec<u8>, kind_at: usize) {
    if let Some(kind) = out.get_mut(kind_at) {
        *kind |= PADDED;
        out.push(0);
    }
}

/// The claims of a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) message: MessageClaims,
    pub(crate) link: Link,
    pub(crate) form: u8,
    /// The link was known to be bad at delivery.
    pub(crate) blocked: bool,
}

/// Reads both sections; `None` for octets that version 1 does not write.
pub(crate) fn decode(plain: &[u8]) -> Option<Claims> {
    let mut r = Reader(plain);
    let flags = r.octet()?;
    if flags & !(HAS_RECIPIENT | DOMAIN_OF_RECIPIENT) != 0 {
        return None;
    }
    let z = r.varint()?;
    let issued_at = (((z >> 1) as i64) ^ -((z & 1) as i64)).wrapping_add(TIME_BASE);
    let message_id = r.text()?;
    let recipient = if flags & HAS_RECIPIENT == 0 {
        None
    } else {
        Some(r.text()?)
    };
    let domain = if flags & DOMAIN_OF_RECIPIENT == 0 {
        r.text()?
    } else {
        domain_of(recipient.as_deref()?)
    };
    let sender = r.text()?;
    let message = MessageClaims {
        message_id,
        recipient,
        sender,
        issued_at,
        domain,
    };

    let kind = r.octet()?;
    if kind & PADDED != 0 {
        let (0, rest) = r.0.split_last()? else { return None };
        r.0 = rest;
    }
    let mut start = (kind >> START_SHIFT) & MORE;
    let mut blocked = false;
    if start == MORE {
        let more = r.octet()?;
        if more & !(MORE | BLOCKED) != 0 {
            return None;
        }
        start = more & MORE;
        blocked = more & BLOCKED != 0;
    }
    let form = if kind & HAS_FORM == 0 { 0 } else { r.octet()? };
    let claims = |link| Claims {
        message,
        link,
        form,
        blocked,
    };
    if kind & REFERENCE != 0 {
        let id = *r.0.first_chunk::<16>()?;
        let host = String::from_utf8(r.0.get(16..)?.to_vec()).ok()?;
        return Some(claims(Link::Reference { id, host }));
    }
    let mode = kind & WRITTEN;
    let splice = if mode & WRITTEN_SPLICED == 0 {
        None
    } else {
        Some((r.varint()?, r.varint()?, r.counted()?))
    };
    let start = STARTS.get(usize::from(start))?;
    let rest = std::str::from_utf8(r.0).ok()?;
    let mut target = String::with_capacity(start.len() + rest.len());
    target.push_str(start);
    target.push_str(rest);
    let written = match (mode, splice) {
        (WRITTEN_ESCAPED, _) => Some(escaped(&target)),
        (WRITTEN_SPLICED, Some(s)) => Some(spliced(target.as_bytes(), s)?),
        (WRITTEN_SPLICED_ESCAPED, Some(s)) => Some(spliced(&escaped(&target), s)?),
        _ => None,
    };
    Some(claims(Link::Direct { target, written }))
}

struct Splice<'a> {
    mode: u8,
    head: usize,
    tail: usize,
    middle: &'a [u8],
}

/// Writes `written` as its difference from the target, or from the target as HTML writes it.
fn splice_of<'a>(target: &str, written: &'a [u8]) -> Splice<'a> {
    let ands = target.contains('&');
    if ands && is_escaped(target, written) {
        return Splice {
            mode: WRITTEN_ESCAPED,
            head: 0,
            tail: 0,
            middle: &[],
        };
    }
    let plain = splice_from(target.as_bytes(), written, WRITTEN_SPLICED);
    if !ands {
        return plain;
    }
    let escaped = escaped(target);
    let html = splice_from(&escaped, written, WRITTEN_SPLICED_ESCAPED);
    if html.middle.len() < plain.middle.len() {
        html
    } else {
        plain
    }
}

fn splice_from<'a>(template: &[u8], written: &'a [u8], mode: u8) -> Splice<'a> {
    let head = template.iter().zip(written).take_while(|(a, b)| a == b).count();
    let (_, rest) = template.split_at(head);
    let (_, middle) = written.split_at(head);
    let tail = rest
        .iter()
        .rev()
        .zip(middle.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (middle, _) = middle.split_at(middle.len() - tail);
    Splice {
        mode,
        head,
        tail,
        middle,
    }
}

fn spliced(template: &[u8], (head, tail, middle): (u64, u64, &[u8])) -> Option<Vec<u8>> {
    let head = usize::try_from(head).ok()?;
    let from = template.len().checked_sub(usize::try_from(tail).ok()?)?;
    let (head, tail) = (
        template.get(..head.min(from)).filter(|h| h.len() == head)?,
        template.get(from..)?,
    );
    Some([head, middle, tail].concat())
}

/// The target as HTML writes it in an attribute: a serialised URL holds no other character that must be escaped there.
fn escaped(target: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() + 4 * target.bytes().filter(|b| *b == b'&').count());
    for piece in target.split_inclusive('&') {
        out.extend_from_slice(piece.as_bytes());
        if piece.ends_with('&') {
            out.extend_from_slice(b"amp;");
        }
    }
    out
}

/// Whether `written` is the target as [`escaped`] writes it; without allocation, as this is the usual case.
fn is_escaped(target: &str, written: &[u8]) -> bool {
    let mut rest = written;
    for piece in target.split_inclusive('&') {
        let Some(behind) = rest.strip_prefix(piece.as_bytes()) else {
            return false;
        };
        rest = behind;
        if piece.ends_with('&') {
            let Some(behind) = rest.strip_prefix(b"amp;") else {
                return false;
            };
            rest = behind;
        }
    }
    rest.is_empty()
}

fn domain_of(address: &str) -> String {
    let domain = address.rsplit_once('@').map_or("", |(_, d)| d);
    domain.trim_end_matches('.').to_ascii_lowercase()
}

pub(crate) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.octet()?;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(text)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.counted()?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> MessageClaims {
        MessageClaims {
            message_id: "m1".into(),
            recipient: Some("Jo@Example.com".into()),
            sender: "news@shop.example".into(),
            issued_at: TIME_BASE + 60,
            domain: "example.com".into(),
        }
    }

    fn direct(target: &str, written: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        push_direct(&mut out, target, written, 0);
        out
    }

    #[test]
    fn the_message_section_is_small() {
        let want = [
            &[3, 120, 2][..],
            b"m1",
            &[14],
            b"Jo@Example.com",
            &[17],
            b"news@shop.example",
        ]
        .concat();
        assert_eq!(encode_message(&claims()), want);
    }

    #[test]
    fn a_domain_that_the_recipient_does_not_tell_is_written() {
        let other = MessageClaims {
            domain: "example.net".into(),
            ..claims()
        };
        let mut plain = encode_message(&other);
        push_direct(&mut plain, "https://a.example/", None, 0);
        assert_eq!(decode(&plain).unwrap().message, other);
    }

    #[test]
    fn what_html_writes_costs_nothing() {
        assert_eq!(direct("https://www.a.example/?x&y", None), b"\x0ca.example/?x&y");
        assert_eq!(
            direct("https://www.a.example/?x&y", Some(b"https://www.a.example/?x&y")),
            b"\x0ca.example/?x&y"
        );
        assert_eq!(
            direct("https://www.a.example/?x&y", Some(b"https://www.a.example/?x&amp;y")),
            b"\x0da.example/?x&y"
        );
    }

    #[test]
    fn written_octets_are_spliced_from_the_nearer_text() {
        // "HTTPS" for "https": only the head differs.
        assert_eq!(
            direct("ftp://a.example/", Some(b"FTP://a.example/")),
            b"\x02\x00\x0d\x03FTPftp://a.example/"
        );
        assert_eq!(
            direct("http://a/?x&y", Some(b"http://A/?x&amp;y"))[..5],
            *b"\x0b\x07\x09\x01A"
        );
    }

    #[test]
    fn addresses_longer_than_a_link_are_left_out() {
        let mut long = MessageClaims {
            sender: "s".repeat(450),
            ..claims()
        };
        long.message_id = "m".repeat(200);
        let section = encode_message(&long);
        assert!(section.len() <= MAX_MESSAGE);
        long.recipient = Some(format!("{}@example.com", "r".repeat(600)));
        assert!(encode_message(&long).len() <= MAX_MESSAGE);
        let mut plain = encode_message(&long);
        push_reference(&mut plain, &[7; 16], "h", 3);
        let Claims {
            message, link, form, ..
        } = decode(&plain).unwrap();
        assert_eq!(
            (message.recipient, message.sender.as_str(), message.message_id.len()),
            (None, "", 128)
        );
        assert_eq!(
            (link, form),
            (
                Link::Reference {
                    id: [7; 16],
                    host: "h".into()
                },
                3
            )
        );
    }

    proptest! {
        #[test]
        fn claims_come_back(
            message_id in "\\PC{0,20}", recipient in proptest::option::of("[a-z]{0,9}(@[A-Za-z.]{0,12})?"),
            sender in "\\PC{0,40}", issued_at: i64, domain in "[a-z.]{0,12}",
            target in "(https?://(www\\.)?)?[a-z&/?]{0,40}", form: u8, padded: bool, blocked: bool,
            written in proptest::option::of(prop_oneof!["[a-z&/?;:]{0,40}".prop_map(String::into_bytes), any::<Vec<u8>>()]),
        ) {
            let message = MessageClaims { message_id, recipient, sender, issued_at, domain };
            let mut plain = encode_message(&message);
            let kind_at = plain.len();
            push_direct(&mut plain, &target, written.as_deref(), form);
            if blocked {
                block(&mut plain, kind_at);
            }
            if padded {
                pad(&mut plain, kind_at);
            }
            let written = written.filter(|w| w != target.as_bytes());
            let link = Link::Direct { target, written };
            prop_assert_eq!(decode(&plain), Some(Claims { message, link, form, blocked }));
        }

        #[test]
        fn any_octets_decode_without_panic(plain: Vec<u8>) {
            let _ = decode(&plain);
        }
    }
}
