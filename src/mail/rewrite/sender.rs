//! Reads from the header of a message what it says about its sender, as far as that can be believed.

use std::collections::BTreeSet;

use link::SenderFacts;
use mail_parser::parsers::MessageStream;
use message::Source;

use crate::mail::header;

/// The facts about a sender.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sender {
    /// The facts that count against links. Whether the sender was here before, and poses as another, is found out later.
    pub(super) facts: SenderFacts,
    /// The mailboxes of the From field, at most [`MAX_SENDERS`]; nearly always there is one.
    pub(super) from: Vec<Mailbox>,
}

/// A mailbox of the From field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// The name that readers see in place of the address; may be empty.
    pub(super) shown: String,
    /// The registrable domain of the address.
    pub(super) domain: String,
}

/// Readers see the first few, and each is looked for in the store.
const MAX_SENDERS: usize = 4;

/// Reads the facts. `authserv_ids`: whose `Authentication-Results` are believed, in lower case.
///
/// Of several results the worst counts: a forged field can only make things look worse than they are. Our own mail server
/// has to take such fields out that come in under its name (RFC 8601 section 5); one that does not, and finds nothing
/// itself, would let a stranger say that all is well, which is what is taken for granted anyway.
pub(super) fn read(source: &dyn Source, authserv_ids: &[String]) -> Sender {
    // A message that cannot be read fails soon after this, with a word on why.
    let front = header::read_front(source).unwrap_or_default();
    let end = header::end(&front).unwrap_or(front.len());
    read_header(front.get(..end).unwrap_or_default(), authserv_ids)
}

fn read_header(header: &[u8], authserv_ids: &[String]) -> Sender {
    let mut facts = SenderFacts::default();
    let mut senders = Vec::new();
    let (mut from, mut reply_to) = (BTreeSet::new(), BTreeSet::new());
    for (name, value) in fields(header) {
        if name.eq_ignore_ascii_case(b"authentication-results") {
            let value = String::from_utf8_lossy(&value);
            if let Some(results) = results(&value, authserv_ids) {
                facts.dmarc_failed |= results.iter().any(|r| r == "dmarc=fail");
                facts.spf_failed |= results.iter().any(|r| r == "spf=fail");
            }
        } else if name.eq_ignore_ascii_case(b"from") {
            from.extend(domain(&value));
            senders.extend(mailboxes(&value));
            senders.truncate(MAX_SENDERS);
        } else if name.eq_ignore_ascii_case(b"reply-to") {
            reply_to.extend(domain(&value));
        }
    }
    facts.reply_to_elsewhere = !from.is_empty() && reply_to.iter().any(|d| !from.contains(d));
    Sender { facts, from: senders }
}

/// The mailboxes of a field, with their names as readers see them.
fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let line = [value, b"\n"].concat();
    let parsed = MessageStream::new(&line).parse_address().into_address();
    let boxes = parsed.into_iter().flat_map(mail_parser::Address::into_list);
    boxes
        .filter_map(|mailbox| {
            Some(Mailbox {
                shown: mailbox.name.unwrap_or_default().into_owned(),
                domain: registrable(mailbox.address?.rsplit_once('@')?.1)?,
            })
        })
        .collect()
}

/// The fields of a header, unfolded.
fn fields(header: &[u8]) -> Vec<(&[u8], Vec<u8>)> {
    let mut fields: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for line in header.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let [b' ' | b'\t', ..] = line {
            if let Some((_, value)) = fields.last_mut() {
                value.extend_from_slice(line);
            }
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        fields.push((name.trim_ascii_end(), value.get(1..).unwrap_or_default().to_vec()));
    }
    fields
}

/// The methods with their results, `dmarc=fail`, in lower case, of a field that one of `authserv_ids` made (RFC 8601 section
/// 2.2).
fn results(value: &str, authserv_ids: &[String]) -> Option<Vec<String>> {
    let mut parts = split(value).into_iter();
    // Behind the name there may be a version.
    let name = parts.next()?.split_ascii_whitespace().next()?.to_ascii_lowercase();
    if !authserv_ids.contains(&name) {
        return None;
    }
    Some(parts.filter_map(|part| result(&part)).collect())
}

/// `method[/version] = result ...`
fn result(part: &str) -> Option<String> {
    let (method, rest) = part.split_once('=')?;
    let method = method.split('/').next()?.trim();
    let result = rest.split_ascii_whitespace().next()?;
    Some(format!("{method}={result}").to_ascii_lowercase())
}

/// The parts between semicolons, without comments; quoted strings lose their quotes.
fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quoted) = (0u32, false);
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted || depth > 0 => {
                let escaped = chars.next().filter(|_| quoted);
                parts.last_mut().into_iter().for_each(|p| p.extend(escaped));
            }
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => depth -= 1,
            ';' if !quoted && depth == 0 => parts.push(String::new()),
            _ if depth > 0 => {}
            // What stands in quotes is one word, whatever is in it.
            ';' | '=' | ' ' => parts
                .last_mut()
                .into_iter()
                .for_each(|p| p.push(if quoted { '_' } else { c })),
            _ => parts.last_mut().into_iter().for_each(|p| p.push(c)),
        }
    }
    parts
}

/// The registrable domain of the (last) address of a field: what follows the `@` in angle brackets, or the last one.
fn domain(value: &[u8]) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    let address = value
        .rsplit_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or(&*value, |(address, _)| address);
    registrable(address.rsplit_once('@')?.1)
}

/// The registrable domain of what stands behind an `@`.
fn registrable(domain: &str) -> Option<String> {
    let end = domain.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_')));
    let domain = link::ascii_domain(domain.get(..end.unwrap_or(domain.len()))?)?;
    link::registrable_domain(&link::Target::parse(&format!("http://{domain}/")).ok()?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(header: &str) -> SenderFacts {
        read_header(header.as_bytes(), &["mx.here.example".to_owned()]).facts
    }

    #[test]
    fn only_our_own_server_is_believed() {
        let failed = SenderFacts {
            dmarc_failed: true,
            spf_failed: true,
            ..SenderFacts::default()
        };
        for ours in [
            "Authentication-Results: mx.here.example; spf=fail smtp.mailfrom=a@x.test; dmarc=fail\r\n",
            "authentication-results: MX.here.example 1;\r\n\tspf = fail (no) ;\r\n\tdmarc/1=FAIL reason=\"a;b\"\r\n",
            "Authentication-Results: (a ; comment (nested \\))) mx.here.example; dkim=pass; spf=fail; dmarc=fail\n",
            "Authentication-Results: \"mx.here.example\"; spf=fail; dmarc=fail\n",
            "Authentication-Results: mx.here.example; spf=pass; dmarc=pass\r\n\
             Authentication-Results: mx.here.example; spf=fail; dmarc=fail\r\n",
        ] {
            assert_eq!(of(ours), failed, "{ours}");
        }
        for theirs in [
            "Authentication-Results: mx.elsewhere.example; spf=fail; dmarc=fail\r\n",
            "Authentication-Results: mx.here.example.evil.test; spf=fail; dmarc=fail\r\n",
            "Authentication-Results: evil.test (mx.here.example); spf=fail; dmarc=fail\r\n",
            "X-Authentication-Results: mx.here.example; spf=fail; dmarc=fail\r\n",
            "Authentication-Results: mx.here.example; none\r\n",
            "Authentication-Results: mx.here.example; spf=softfail; dmarc=none reason=\"dmarc=fail; spf=fail\"\r\n",
            "Authentication-Results: mx.here.example; spf=pass (spf=fail; dmarc=fail)\r\n",
            "",
        ] {
            assert_eq!(of(theirs), SenderFacts::default(), "{theirs}");
        }
        let nobody = read_header(b"Authentication-Results: mx.here.example; dmarc=fail\r\n", &[]);
        assert_eq!(nobody, Sender::default());
    }

    #[test]
    fn replies_that_go_elsewhere_are_seen() {
        let elsewhere = |from: &str, to: &str| of(&format!("From: {from}\r\nReply-To: {to}\r\n")).reply_to_elsewhere;
        assert!(elsewhere("a@x.example", "b@y.example"));
        assert!(elsewhere("\"b@y.example\" <a@x.example>", "B <b@y.example>"));
        assert!(!elsewhere("a@news.x.example", "A <a@x.example>"));
        assert!(!elsewhere("a@x.example", "nothing"));
        assert!(!elsewhere("nothing", "a@x.example"));
        assert!(!of("From: a@x.example\r\n").reply_to_elsewhere);
    }

    #[test]
    fn what_stands_behind_the_header_is_no_field() {
        let message: &[u8] =
            b"Subject: x\r\n\r\nAuthentication-Results: mx.here.example; dmarc=fail\r\nReply-To: a@b.example\r\n";
        assert_eq!(read(&message, &["mx.here.example".to_owned()]), Sender::default());
    }

    #[test]
    fn a_sender_is_known_by_the_name_that_readers_see() {
        let from = |value: &str| {
            let read = read_header(format!("From: {value}\r\n").as_bytes(), &[]);
            let pairs = read.from.into_iter().map(|f| (f.shown, f.domain));
            pairs.collect::<Vec<_>>()
        };
        let one = |shown: &str, domain: &str| vec![(shown.to_owned(), domain.to_owned())];
        assert_eq!(from("a@news.x.example"), one("", "x.example"));
        assert_eq!(from("Ann <a@x.example>"), one("Ann", "x.example"));
        assert_eq!(from("\"b@y.example\" <a@x.example>"), one("b@y.example", "x.example"));
        assert_eq!(
            from("=?utf-8?Q?Pay=50al?=\r\n =?utf-8?B?IQ==?= <a@X.example>"),
            one("PayPal!", "x.example")
        );
        assert_eq!(
            from("Ann <a@x.example>, b@y.example"),
            [one("Ann", "x.example"), one("", "y.example")].concat()
        );
        assert_eq!(from(&"a@x.example, ".repeat(1000)).len(), MAX_SENDERS);
        for nobody in ["", "Ann", "Ann <>", "a@localhost", "<@>"] {
            assert_eq!(from(nobody), [], "{nobody}");
        }
    }

    proptest! {
        #[test]
        fn hostile_headers_are_read_without_panic(octets: Vec<u8>, value in "[()\"\\\\;= a-z/.@<>]{0,80}") {
            let ids = ["mx".to_owned()];
            let _ = read_header(&octets, &ids);
            let _ = read_header(format!("Authentication-Results: mx{value}\r\nFrom:{value}\r\nReply-To: {value}").as_bytes(), &ids);
        }
    }
}
