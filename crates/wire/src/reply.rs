//! Replies of the next hop.

use memchr::memmem;

use crate::Printable;
use crate::slice::part;

/// Longest reply taken, all its lines together, in octets.
///
/// RFC 5321 4.5.3.1.5 allows 512 octets a line; Postfix cuts what it relays near 2,048 octets in total. An EHLO reply with
/// many keywords must fit.
pub const MAX_REPLY: usize = 8192;

/// Longest single line of a reply taken, in octets.
const MAX_LINE: usize = 2048;

/// Longest line passed on, with its CRLF, in octets (RFC 5321 4.5.3.1.5).
const MAX_LINE_ON: usize = 512;

/// Most octets of a reply passed on, all its lines together, as in Postfix.
const MAX_REPLY_ON: usize = 2048;

/// One complete reply, of one or more lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The three-digit code, 200 to 599.
    pub code: u16,
    /// The octets received, line ends included.
    pub bytes: &'a [u8],
}

/// The reason octets are no SMTP reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line does not begin with a code and a separator.
    #[error("a line without a reply code")]
    Code,
    /// The lines of one reply carry different codes.
    #[error("a reply with differing codes")]
    Mixed,
    /// A line or the whole reply is too long.
    #[error("an endless reply")]
    TooLong,
}

impl<'a> Reply<'a> {
    /// Reads the reply at the front of `input`: its length with it; `None` while it is not complete.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(input: &'a [u8]) -> Result<Option<(usize, Self)>, Malformed> {
        let mut end = 0;
        let mut first_code = None;
        loop {
            let rest = part(input, end..);
            let line = match memmem::find(rest.get(..MAX_LINE).unwrap_or(rest), b"\r\n") {
                Some(at) => part(rest, ..at),
                None if rest.len() >= MAX_LINE || end + rest.len() >= MAX_REPLY => return Err(Malformed::TooLong),
                // A line that can never become a reply is not waited for.
                None if rest.len() > 3 && line_code(rest).is_none() => return Err(Malformed::Code),
                None => return Ok(None),
            };
            end += line.len() + 2;
            let (code, last) = line_code(line).ok_or(Malformed::Code)?;
            if *first_code.get_or_insert(code) != code {
                return Err(Malformed::Mixed);
            }
            if end > MAX_REPLY {
                return Err(Malformed::TooLong);
            }
            if last {
                let bytes = part(input, ..end);
                return Ok(Some((end, Self { code, bytes })));
            }
        }
    }

    /// Appends the reply for a client: the octets received, but with question marks for control characters, lines cut at 512
    /// octets, and no lines beyond 2,048 octets in all.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let mut last_line = begin;
        for line in self.lines() {
            let line = shortened(line);
            if out.len() - begin + line.len() + 2 > MAX_REPLY_ON {
                break;
            }
            last_line = out.len();
            out.extend(line.iter().map(|b| match b {
                b'\t' => b'\t',
                b if b.is_ascii_control() => b'?',
                b => *b,
            }));
            out.extend_from_slice(b"\r\n");
        }
        // The last line written is marked as the last.
        if let Some(mark @ b'-') = out.get_mut(last_line + 3) {
            *mark = b' ';
        }
    }

    /// The lines without their ends.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let at = memmem::find(rest, b"\r\n")?;
            let (line, after) = rest.split_at_checked(at)?;
            rest = after.get(2..)?;
            Some(line)
        })
    }

    /// The class of the code: 2 to 5.
    #[must_use]
    pub fn class(&self) -> u16 {
        self.code / 100
    }
}

impl std::fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Printable(self.bytes.trim_ascii_end()).fmt(f)
    }
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// A line for a client, without its end, cut at a character boundary.
fn shortened(line: &[u8]) -> &[u8] {
    let Some(next) = line.get(MAX_LINE_ON - 2) else {
        return line;
    };
    let mut end = MAX_LINE_ON - 2;
    let continues = |b: &u8| b & 0xc0 == 0x80;
    if continues(next) {
        let head = part(line, ..end);
        end -= head.iter().rev().take(3).take_while(|b| continues(b)).count() + 1;
    }
    line.get(..end).unwrap_or(line)
}

/// The code of a reply line, and whether it is the last line of its reply.
fn line_code(line: &[u8]) -> Option<(u16, bool)> {
    match line {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let last = match rest.first() {
                Some(b'-') => false,
                None | Some(b' ') => true,
                Some(_) => return None,
            };
            let digit = |d: &u8| u16::from(d - b'0');
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), last))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_are_kept_as_they_came() {
        let input = b"250-mx.example\r\n250-SIZE 10\r\n250 HELP\r\n354 go\r\n";
        let (used, reply) = Reply::read(input).unwrap().unwrap();
        assert_eq!((used, reply.code, reply.bytes), (39, 250, &input[..39]));
        let mut out = Vec::new();
        reply.write(&mut out);
        assert_eq!(out, input[..39]);
        let (_, next) = Reply::read(&input[used..]).unwrap().unwrap();
        assert_eq!(next.code, 354);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (input, wanted) in [
            (&b"hello there\r\n"[..], Err(Malformed::Code)),
            (b"+OK dovecot ready", Err(Malformed::Code)),
            (b"600 x\r\n", Err(Malformed::Code)),
            (b"199 x\r\n", Err(Malformed::Code)),
            (b"2500 x\r\n", Err(Malformed::Code)),
            (b"\r\n", Err(Malformed::Code)),
            (b"250-a\r\n550 b\r\n", Err(Malformed::Mixed)),
            (b"250", Ok(None)),
            (b"250-a\r\n", Ok(None)),
            (b"250 lone\nfeed", Ok(None)),
        ] {
            assert_eq!(Reply::read(input), wanted, "{:?}", input.escape_ascii().to_string());
        }
        assert!(Reply::read(b"250\r\n").unwrap().is_some());
    }

    #[test]
    fn endless_replies_are_refused() {
        let line = [b"250 ".to_vec(), vec![b'x'; MAX_LINE]].concat();
        assert_eq!(Reply::read(&line), Err(Malformed::TooLong));
        let lines = b"250-more\r\n".repeat(MAX_REPLY / 10 + 1);
        assert_eq!(Reply::read(&lines), Err(Malformed::TooLong));
    }

    #[test]
    fn control_characters_do_not_reach_the_client() {
        let (_, reply) = Reply::read(b"550 \x1b[2Jlone\nfeed\r\n").unwrap().unwrap();
        let mut out = Vec::new();
        reply.write(&mut out);
        assert_eq!(out, b"550 ?[2Jlone?feed\r\n");
    }

    fn passed_on(input: &[u8]) -> Vec<u8> {
        let (_, reply) = Reply::read(input).unwrap().unwrap();
        let mut out = b"before\r\n".to_vec();
        reply.write(&mut out);
        out.split_off(8)
    }

    #[test]
    fn long_lines_are_cut() {
        let line = |n| [b"550 ".to_vec(), vec![b'x'; n], b"\r\n".to_vec()].concat();
        assert_eq!(passed_on(&line(506)), line(506));
        assert_eq!(passed_on(&line(507)), line(506));
        assert_eq!(passed_on(&line(2000)), line(506));
        let umlauts = format!("550 5{}\r\n", "\u{fc}".repeat(400));
        let cut = passed_on(umlauts.as_bytes());
        assert_eq!(
            cut.len(),
            511,
            "one octet less than allowed, rather than half a character"
        );
        assert!(umlauts.starts_with(std::str::from_utf8(&cut).unwrap().trim_end()));
    }

    #[test]
    fn many_lines_are_cut_and_the_last_one_left_says_so() {
        let many = [
            b"550-5.7.1 a line of some length, and more of it\r\n".repeat(100),
            b"550 end\r\n".to_vec(),
        ]
        .concat();
        let out = passed_on(&many);
        assert!(out.len() <= 2048, "{}", out.len());
        let (used, reply) = Reply::read(&out).unwrap().unwrap();
        assert_eq!((used, reply.lines().count()), (out.len(), 41));
        assert!(many.starts_with(&out[..out.len() - 49]));
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_one_reply_within_limits(input in "(250-[ -\u{ff}\u{0}]{0,700}\r\n){0,6}250( [a-z]{0,900})?\r\n") {
            if let Ok(Some((_, reply))) = Reply::read(input.as_bytes()) {
                let mut out = Vec::new();
                reply.write(&mut out);
                let (used, again) = Reply::read(&out).unwrap().unwrap();
                prop_assert_eq!((used, again.code), (out.len(), reply.code));
                prop_assert!(out.len() <= 2048 && again.lines().all(|l| l.len() <= 510));
            }
        }

        #[test]
        fn a_reply_ends_at_the_same_octet_for_any_chunking(input in "(2[05]0[ -][a-z]{0,5}\r\n){0,4}", cut in 0usize..50) {
            let whole = Reply::read(input.as_bytes());
            let part = Reply::read(&input.as_bytes()[..cut.min(input.len())]);
            match part {
                Ok(None) => {}
                done => prop_assert_eq!(done, whole),
            }
        }
    }
}
