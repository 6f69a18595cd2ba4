//! The messages of a run, made from their numbers, so that both ends know what is right.

use std::fmt::Write;

use super::Dice;

/// Recipients `0..`: those with an even number have their links wrapped.
pub(super) fn address(recipient: usize) -> String {
    let domain = if recipient.is_multiple_of(2) {
        "on.test"
    } else {
        "off.test"
    };
    format!("r{recipient}@{domain}")
}

/// The number of a recipient.
pub(super) fn recipient(address: &str) -> Option<usize> {
    address.strip_prefix('r')?.split('@').next()?.parse().ok()
}

/// The bytes of message `n`, with CRLF line ends.
pub(super) fn message(n: u64) -> Vec<u8> {
    let mut dice = Dice::new(n, 7);
    let (kind, links) = (dice.below(10), links(n));
    let mut text = format!(
        "X-Load: {n}\r\nFrom: a@sender.example\r\nTo: all@on.test\r\nSubject: number {n}\r\nMessage-ID: <{n}@sender.example>\r\nMIME-Version: 1.0\r\n"
    );
    let urls = |out: &mut String, html: bool| {
        for i in 0..links {
            let url = format!("https://shop{i}.example/path/{n}/{i}?q=1&amp;r=2");
            let _ = match html {
                true => write!(out, "<p>.dots and <a href=\"{url}\">link {i}</a></p>\r\n.\r\n..\r\n"),
                false => write!(out, "see https://shop{i}.example/path/{n}/{i} there\r\n.\r\n..\r\n"),
            };
        }
    };
    match kind {
        0..=3 => {
            text += "Content-Type: text/plain; charset=us-ascii\r\n\r\n.first line\r\n";
            urls(&mut text, false);
        }
        4..=7 => {
            text += "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<html><body>\r\n";
            urls(&mut text, true);
            text += "</body></html>\r\n";
        }
        _ => {
            text += "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n";
            urls(&mut text, true);
            text += "\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n";
            for _ in 0..dice.below(if kind == 9 { 20_000 } else { 800 }) {
                text += "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n";
            }
            text += "--b--\r\n";
        }
    }
    let _ = write!(text, "end of {n}\r\n");
    text.into_bytes()
}

/// How many links message `n` has.
fn links(n: u64) -> u64 {
    match Dice::new(n, 8).below(4) {
        0 => 0,
        1 => 1,
        _ => 20,
    }
}

/// What is wrong with message `n` as it arrived for `recipient`.
pub(super) fn fault(n: u64, recipient: usize, arrived: &[u8]) -> Option<String> {
    let sent = message(n);
    if !recipient.is_multiple_of(2) || links(n) == 0 {
        return (arrived != sent).then(|| format!("changed: {} octets in, {} out", sent.len(), arrived.len()));
    }
    let text = String::from_utf8_lossy(arrived);
    let wrapped = text.matches("https://click.example.com/c/").count() as u64;
    if !text.ends_with(&format!("end of {n}\r\n")) {
        return Some("half a message".to_owned());
    }
    if wrapped < links(n) || text.contains("://shop") {
        return Some(format!("{wrapped} of {} links wrapped", links(n)));
    }
    None
}

/// The number in the header.
pub(super) fn number(arrived: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(arrived.get(..arrived.len().min(4096))?).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("X-Load: "))?;
    line.trim().parse().ok()
}
