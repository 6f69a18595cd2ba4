//! Command lines, classified.

use crate::PathLine;
use crate::slice::part;

/// A command line, classified; the octets are those received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with the client's name for itself.
    Ehlo(&'a [u8]),
    /// HELO with the client's name for itself.
    Helo(&'a [u8]),
    /// LHLO (RFC 2033) with the client's name for itself.
    Lhlo(&'a [u8]),
    /// MAIL FROM:
    Mail(PathLine<'a>),
    /// RCPT TO:
    Rcpt(PathLine<'a>),
    /// DATA
    Data,
    /// RSET
    Rset,
    /// NOOP, with or without an argument
    Noop,
    /// QUIT
    Quit,
    /// VRFY
    Vrfy,
    /// HELP
    Help,
    /// XFORWARD: the whole line.
    Xforward(&'a [u8]),
    /// STARTTLS (RFC 3207)
    StartTls,
    /// XCLIENT: the whole line.
    Xclient(&'a [u8]),
    /// BDAT (RFC 3030): a chunk of message data follows at once.
    Bdat {
        /// Its length in octets.
        size: u64,
        /// It is the last one of the message.
        last: bool,
    },
    /// A command of SMTP or an extension that is not offered.
    NotImplemented,
    /// BDAT with a payload of unknown length, or the first line of another protocol: no command may be read behind it.
    Foreign,
    /// A known verb with bad parameters.
    BadSyntax,
    /// No command.
    Unknown,
}

/// Classifies a line without its CRLF.
#[must_use]
pub fn classify(whole: &[u8]) -> Command<'_> {
    let line = whole.trim_ascii_end();
    let end = line
        .iter()
        .position(|b| !b.is_ascii_alphanumeric())
        .unwrap_or(line.len());
    let (verb, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let argument = rest.trim_ascii();
    // A verb is followed by a blank or by nothing.
    let separated = matches!(rest.first(), None | Some(b' ' | b'\t'));
    let is = |name: &str| separated && verb.eq_ignore_ascii_case(name.as_bytes());
    let bare = |command| {
        if argument.is_empty() {
            command
        } else {
            Command::BadSyntax
        }
    };

    if is("MAIL") {
        path_after(whole, end, b"FROM").map_or(Command::BadSyntax, Command::Mail)
    } else if is("RCPT") {
        path_after(whole, end, b"TO").map_or(Command::BadSyntax, Command::Rcpt)
    } else if is("DATA") {
        bare(Command::Data)
    } else if is("EHLO") || is("HELO") || is("LHLO") {
        match argument {
            [] => Command::BadSyntax,
            name if is("EHLO") => Command::Ehlo(name),
            name if is("LHLO") => Command::Lhlo(name),
            name => Command::Helo(name),
        }
    } else if is("RSET") {
        bare(Command::Rset)
    } else if is("QUIT") {
        bare(Command::Quit)
    } else if is("NOOP") {
        Command::Noop
    } else if is("VRFY") {
        Command::Vrfy
    } else if is("HELP") {
        Command::Help
    } else if is("STARTTLS") {
        bare(Command::StartTls)
    } else if is("XFORWARD") {
        Command::Xforward(whole)
    } else if is("XCLIENT") {
        Command::Xclient(whole)
    } else if is("BDAT") {
        chunk(argument).unwrap_or(Command::Foreign)
    } else if ["GET", "POST", "CONNECT", "PUT", "OPTIONS"].iter().any(|v| is(v)) {
        Command::Foreign
    } else if ["AUTH", "ETRN", "EXPN", "TURN", "ATRN", "BURL", "SEND", "SOML", "SAML"]
        .iter()
        .any(|v| is(v))
    {
        Command::NotImplemented
    } else {
        Command::Unknown
    }
}

/// Reads `size [LAST]`; with any other argument the length of the payload is unknown.
fn chunk(argument: &[u8]) -> Option<Command<'static>> {
    let mut words = argument
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let digits = words.next().filter(|word| word.iter().all(u8::is_ascii_digit))?;
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") && words.next().is_none() => true,
        Some(_) => return None,
    };
    Some(Command::Bdat { size, last })
}

/// Finds the path behind `FROM:` or `TO:`; blanks around the word and the colon are allowed.
fn path_after<'a>(line: &'a [u8], from: usize, word: &[u8]) -> Option<PathLine<'a>> {
    let skip_blanks = |at: usize| {
        let rest = part(line, at..);
        at + rest.len() - rest.trim_ascii_start().len()
    };
    let at = skip_blanks(from);
    let found = line.get(at..at + word.len())?;
    let colon = skip_blanks(at + word.len());
    if !found.eq_ignore_ascii_case(word) || line.get(colon) != Some(&b':') {
        return None;
    }
    let path = skip_blanks(colon + 1);
    (path < line.trim_ascii_end().len()).then(|| PathLine::new(line, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn verbs_are_told_apart() {
        for (line, wanted) in [
            ("ehlo [127.0.0.1]", Command::Ehlo(b"[127.0.0.1]")),
            ("HELO under_score", Command::Helo(b"under_score")),
            ("lhlo c.example", Command::Lhlo(b"c.example")),
            ("EHLO", Command::BadSyntax),
            ("data ", Command::Data),
            ("DATA now", Command::BadSyntax),
            ("NOOP whatever", Command::Noop),
            ("QUIT", Command::Quit),
            ("MAIL FROM", Command::BadSyntax),
            ("MAIL <a@b.example>", Command::BadSyntax),
            ("MAIL FROM:", Command::BadSyntax),
            ("MAILFROM:<a>", Command::Unknown),
            ("starttls ", Command::StartTls),
            ("STARTTLS now", Command::BadSyntax),
            ("BDAT 10", Command::Bdat { size: 10, last: false }),
            ("bdat  0 last ", Command::Bdat { size: 0, last: true }),
            ("BDAT", Command::Foreign),
            ("BDAT LAST", Command::Foreign),
            ("BDAT +1", Command::Foreign),
            ("BDAT -1 LAST", Command::Foreign),
            ("BDAT 10 LAST 5", Command::Foreign),
            ("BDAT 10 FIRST", Command::Foreign),
            ("BDAT 10,LAST", Command::Foreign),
            ("BDAT 99999999999999999999", Command::Foreign),
            ("XCLIENT NAME=x", Command::Xclient(b"XCLIENT NAME=x")),
            ("GET / HTTP/1.1", Command::Foreign),
            ("", Command::Unknown),
            ("X-Spam: yes", Command::Unknown),
            ("DATA:", Command::Unknown),
        ] {
            assert_eq!(classify(line.as_bytes()), wanted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_classified(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Command::Mail(p) | Command::Rcpt(p) = classify(&line) {
                let mut out = Vec::new();
                p.write_with_size(Some(1), &mut out);
                prop_assert!(out.ends_with(b"\r\n"));
                prop_assert!(p.address().len() <= line.len() * 3);
            }
        }

        #[test]
        fn a_path_line_without_size_goes_on_as_it_came(path in "[!-~]{1,40}", tail in "( [A-Z]{2,5}=[!-<>-~]{1,8}){0,3}") {
            let line = format!("RCPT TO:<{path}>{tail}");
            let Command::Rcpt(p) = classify(line.as_bytes()) else { return Err(TestCaseError::fail("not RCPT")) };
            if p.size().is_none() {
                let mut out = Vec::new();
                p.write_with_size(None, &mut out);
                prop_assert_eq!(out, format!("{line}\r\n").into_bytes());
            }
        }
    }
}
