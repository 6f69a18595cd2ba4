//! MAIL and RCPT lines: the octets as received, and a lenient reading of the address for policy and logs.

use std::borrow::Cow;

use crate::slice::part;

/// A MAIL or RCPT command.
///
/// `line` goes to the next hop as it is; the address is never judged here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathLine<'a> {
    /// The whole line without its CRLF.
    pub line: &'a [u8],
    /// The text behind the colon.
    text: &'a [u8],
    /// The text between the angle brackets, less a source route.
    address: &'a [u8],
    /// The text behind the path.
    parameters: &'a [u8],
}

impl<'a> PathLine<'a> {
    /// Reads `line`, whose path begins at octet `path_at` (behind the colon).
    pub(crate) fn new(line: &'a [u8], path_at: usize) -> Self {
        let text = part(line, path_at..).trim_ascii_start();
        // Some write a name before the brackets, and some servers let it pass.
        let (inside, parameters) = match behind_name(text).unwrap_or(text) {
            [b'<', inner @ ..] => match closing_bracket(inner) {
                Some(at) => (part(inner, ..at), part(inner, at + 1..)),
                // No end: everything may be address. The next hop will refuse it.
                None => (inner, &b""[..]),
            },
            _ => {
                let end = text
                    .iter()
                    .position(|b| *b == b' ' || *b == b'\t')
                    .unwrap_or(text.len());
                text.split_at(end)
            }
        };
        Self {
            line,
            text,
            address: without_route(inside.trim_ascii()),
            parameters,
        }
    }

    /// Reads path and parameters from the text behind the colon of a MAIL or RCPT line.
    #[must_use]
    pub fn behind_colon(line: &'a [u8]) -> Self {
        Self::new(line, 0)
    }

    /// The address as text; empty for the null sender. Octets that are not UTF-8 come out as U+FFFD.
    #[must_use]
    pub fn address(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.address)
    }

    /// Names that may be the domain of the mailbox, as they stand.
    ///
    /// For a plain address that is its domain. Mail servers read much more than that as an address (quoted local parts that
    /// are unquoted and read again, `user%domain@relay`, comments, a name before the brackets): then it is every word of the
    /// path, so that an odd spelling does not get a message past the policy of a domain.
    pub fn domains(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        let plain = self.plain_domain();
        let words = if plain.is_some() { &b""[..] } else { self.text };
        let odd = words.split(|b| !is_domain_octet(*b));
        plain
            .into_iter()
            .chain(odd)
            .filter(|word| !word.is_empty())
            .map(String::from_utf8_lossy)
    }

    /// The domain, if the path cannot be read as naming another one.
    fn plain_domain(&self) -> Option<&'a [u8]> {
        let at = memchr::memchr(b'@', self.address)?;
        let local = self.address.get(..at)?;
        let domain = self.address.get(at + 1..)?;
        let is_plain_local = |b: &u8| !b.is_ascii() || b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(b);
        let is_keyword = |p: &[u8]| {
            let name = p.split(|b| *b == b'=').next().unwrap_or_default();
            !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        };
        let plain = behind_name(self.text).is_none()
            && !local.is_empty()
            && local.iter().all(is_plain_local)
            && !local.contains(&b'%')
            && !local.contains(&b'!')
            && !domain.is_empty()
            && (domain.iter().all(|b| is_domain_octet(*b)) || (domain.starts_with(b"[") && domain.ends_with(b"]")))
            && self.parameters().all(is_keyword);
        plain.then_some(domain)
    }

    /// The parameters of the line, as they stand.
    pub fn parameters(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.spans().map(|(_, parameter)| parameter)
    }

    /// The parameters with their offsets in `self.parameters`.
    fn spans(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let mut next = 0;
        self.parameters
            .split(|b| *b == b' ' || *b == b'\t')
            .map(move |p| {
                let at = next;
                next += p.len() + 1;
                (at, p)
            })
            .filter(|(_, p)| !p.is_empty())
    }

    /// Whether a parameter of this name is there, with or without a value.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters().any(|p| {
            p.split(|b| *b == b'=')
                .next()
                .is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
        })
    }

    /// The line without the parameter of this name that has no value, if it is there.
    #[must_use]
    pub fn line_without(&self, keyword: &str) -> Option<Vec<u8>> {
        let (at, found) = self.spans().find(|(_, p)| p.eq_ignore_ascii_case(keyword.as_bytes()))?;
        let kept = self.line.len() - self.parameters.len();
        let mut line = self.line.get(..kept + at)?.trim_ascii_end().to_vec();
        line.extend_from_slice(self.parameters.get(at + found.len()..)?);
        Some(line)
    }

    /// The declared message size (RFC 1870), in octets.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.parameters().find_map(size_value)
    }

    /// Appends the line with its end, and with another declared size: `None` leaves the parameter out.
    ///
    /// Without a readable SIZE parameter the line is appended as it came.
    pub fn write_with_size(&self, size: Option<u64>, out: &mut Vec<u8>) {
        let kept = self.line.len() - self.parameters.len();
        match self.spans().find(|(_, p)| size_value(p).is_some()) {
            None => out.extend_from_slice(self.line),
            Some((at, parameter)) => {
                out.extend_from_slice(part(self.line, ..kept));
                let before = part(self.parameters, ..at);
                match size {
                    Some(n) => {
                        out.extend_from_slice(before);
                        out.extend_from_slice(format!("SIZE={n}").as_bytes());
                    }
                    None => out.extend_from_slice(before.trim_ascii_end()),
                }
                out.extend_from_slice(part(self.parameters, at + parameter.len()..));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn is_domain_octet(b: u8) -> bool {
    !b.is_ascii() || b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')
}

fn size_value(parameter: &[u8]) -> Option<u64> {
    let (name, value) = parameter.split_at_checked(5)?;
    if !name.eq_ignore_ascii_case(b"SIZE=") || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The path behind a name: `Some One <u@d.example>`.
fn behind_name(text: &[u8]) -> Option<&[u8]> {
    if text.starts_with(b"<") {
        return None;
    }
    memchr::memmem::find(text, b" <").and_then(|at| text.get(at + 1..))
}

/// Offset of the end of the path; a `>` within a quoted local part does not count.
fn closing_bracket(inner: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, b) in inner.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    // A lone quote must not hide the domain from policy.
    memchr::memrchr(b'>', inner)
}

/// `@a.example,@b.example:user@c.example` names `user@c.example` (RFC 5321 C: source routes are to be ignored).
fn without_route(path: &[u8]) -> &[u8] {
    match path {
        [b'@', ..] => path
            .iter()
            .position(|b| *b == b':')
            .and_then(|colon| path.get(colon + 1..))
            .unwrap_or(path),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use crate::{Command, classify};

    fn address(line: &str) -> String {
        match classify(line.as_bytes()) {
            Command::Mail(p) | Command::Rcpt(p) => p.address().into_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn odd_addresses_are_read() {
        for (line, wanted) in [
            ("MAIL FROM:<>", ""),
            ("mail from: <a@b.example> SIZE=3", "a@b.example"),
            ("MAIL FROM:a@b.example SIZE=3", "a@b.example"),
            ("RCPT TO:<@r1.example,@r2.example:u@d.example>", "u@d.example"),
            ("RCPT TO:<\"a>b@c\"@d.example> NOTIFY=NEVER", "\"a>b@c\"@d.example"),
            ("RCPT TO:<\"a@d.example>", "\"a@d.example"),
            ("RCPT TO:<u@[IPv6:2001:db8::1]>", "u@[IPv6:2001:db8::1]"),
            ("RCPT TO:<postmaster>", "postmaster"),
            ("RCPT TO:<under_score@x_y.example", "under_score@x_y.example"),
            ("RCPT TO:Some One <u@d.example> NOTIFY=NEVER", "u@d.example"),
            ("MAIL FROM:u@d.example AUTH=<>", "u@d.example"),
            ("RCPT TO:< spaced@d.example >", "spaced@d.example"),
            ("RCPT TO:<用户@例子.example> NOTIFY=SUCCESS", "用户@例子.example"),
        ] {
            assert_eq!(address(line), wanted, "{line}");
        }
    }

    #[test]
    fn an_odd_spelling_does_not_hide_the_domain() {
        let domains = |line: &str| match classify(line.as_bytes()) {
            Command::Rcpt(p) => p.domains().map(|d| d.into_owned()).collect::<Vec<_>>(),
            other => panic!("{line}: {other:?}"),
        };
        for plain in [
            "RCPT TO:<u.on.test@d.test> ORCPT=rfc822;x@on.test",
            "RCPT TO:u+a@d.test NOTIFY=NEVER",
            "RCPT TO:<@on.test:u@d.test>",
        ] {
            assert_eq!(domains(plain), ["d.test"], "{plain}");
        }
        assert_eq!(domains("RCPT TO:<jörg@exämple.test>"), ["exämple.test"]);
        for odd in [
            "RCPT TO:User <u@on.test>",
            "RCPT TO:x@off.test <u@on.test>",
            "RCPT TO:x@on.test <u@off.test>",
            "RCPT TO:<\"a <x@on.test>\"@off.test>",
            "RCPT TO:<u@on.test(comment)>",
            "RCPT TO:<u@ on.test>",
            "RCPT TO:<u%on.test@off.test>",
            "RCPT TO:<on.test!u@off.test>",
            "RCPT TO:<on.test!u>",
            "RCPT TO:<\"u@on.test\"@off.test>",
            "RCPT TO:<u@on.test@off.test>",
            "RCPT TO:<u@\"on.test\">",
            "RCPT TO:<u@on.test",
            "RCPT TO:u@on.test>",
            "RCPT TO:<<u@on.test>>",
            "RCPT TO:<u@on.test,x@off.test>",
            "RCPT TO:<group:u@on.test;>",
        ] {
            assert!(domains(odd).iter().any(|d| d == "on.test"), "{odd}: {:?}", domains(odd));
        }
    }

    #[test]
    fn a_parameter_can_be_left_out() {
        for (line, wanted) in [
            ("MAIL FROM:<a> PRDR", Some("MAIL FROM:<a>")),
            (
                "MAIL FROM:<a> SIZE=1 prdr ENVID=x",
                Some("MAIL FROM:<a> SIZE=1 ENVID=x"),
            ),
            ("MAIL FROM:<PRDR> PRDR=1", None),
            ("MAIL FROM:<a>", None),
        ] {
            let Command::Mail(path) = classify(line.as_bytes()) else {
                panic!()
            };
            let left = path.line_without("PRDR").map(|l| String::from_utf8(l).unwrap());
            assert_eq!(left.as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn only_the_size_changes() {
        for (line, dropped, raised) in [
            (
                "MAIL FROM:<a@b.example> BODY=8BITMIME size=10 RET=HDRS ENVID=a.b+3D",
                "MAIL FROM:<a@b.example> BODY=8BITMIME RET=HDRS ENVID=a.b+3D\r\n",
                "MAIL FROM:<a@b.example> BODY=8BITMIME SIZE=99 RET=HDRS ENVID=a.b+3D\r\n",
            ),
            (
                "mail  from: <a@b.example>  SIZE=10",
                "mail  from: <a@b.example>\r\n",
                "mail  from: <a@b.example>  SIZE=99\r\n",
            ),
            (
                "MAIL FROM:<a> SIZE=x",
                "MAIL FROM:<a> SIZE=x\r\n",
                "MAIL FROM:<a> SIZE=x\r\n",
            ),
            (
                "MAIL FROM:<SIZE=5@b.example>",
                "MAIL FROM:<SIZE=5@b.example>\r\n",
                "MAIL FROM:<SIZE=5@b.example>\r\n",
            ),
        ] {
            let Command::Mail(path) = classify(line.as_bytes()) else {
                panic!()
            };
            for (size, wanted) in [(None, dropped), (Some(99), raised)] {
                let mut out = Vec::new();
                path.write_with_size(size, &mut out);
                assert_eq!(String::from_utf8_lossy(&out), wanted);
            }
        }
    }
}
