//! What holds for replies: whatever a program makes of a rewritten text that it quotes, the links in it come back.

use std::fmt::Write as _;

use data_encoding::BASE64;
use proptest::prelude::*;
use proptest::sample::select;

use super::messages::{plain_text, quoted_printable};
use crate::mail::messages::pipeline::{BASE, Pipeline};
use crate::mail::restore::message;

/// What a program does to the text that it quotes.
#[derive(Debug, Clone, Copy)]
struct Quoting {
    mark: &'static str,
    /// Lines are cut at this width, come what may.
    width: Option<usize>,
    charset: &'static str,
    coding: &'static str,
}

fn quoting() -> impl Strategy<Value = Quoting> {
    (
        select(&["", "> ", ">", ">> ", "| ", "    ", "\t"][..]),
        prop_oneof![Just(None), (20..80_usize).prop_map(Some)],
        select(&["utf-8", "iso-8859-1", "utf-16le"][..]),
        select(&["8bit", "quoted-printable", "base64"][..]),
    )
        .prop_map(|(mark, width, charset, coding)| Quoting {
            mark,
            width,
            charset,
            coding: if charset == "utf-16le" { "base64" } else { coding },
        })
}

impl Quoting {
    /// The lines of a text, quoted.
    fn quote(&self, text: &str) -> String {
        let mut out = String::new();
        for line in text.split("\r\n") {
            let mut rest = line;
            while let Some(width) = self.width.filter(|w| *w < rest.chars().count()) {
                let at = rest.char_indices().nth(width).map_or(rest.len(), |(n, _)| n);
                let _ = write!(out, "{}{}\r\n", self.mark, &rest[..at]);
                rest = &rest[at..];
            }
            let _ = write!(out, "{}{rest}\r\n", self.mark);
        }
        out
    }

    /// The reply as a message.
    fn send(&self, kind: &str, text: &str) -> Vec<u8> {
        let octets: Vec<u8> = match self.charset {
            "utf-8" => text.as_bytes().to_vec(),
            "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
        };
        let octets = match self.coding {
            "base64" => BASE64.encode(&octets).into_bytes(),
            "quoted-printable" => quoted_printable(&octets, 72),
            _ => octets,
        };
        let plain = message(&format!("{kind}; charset={}", self.charset), &octets);
        let named = String::from_utf8_lossy(&plain).find("8bit").unwrap_or_default();
        [&plain[..named], self.coding.as_bytes(), &plain[named + 4..]].concat()
    }
}

/// A text without what quoting and re-wrapping do to its lines.
fn bare(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '>' | '|'))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Each click link of a text as programs make a link of it.
fn linked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BASE) {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "-._~:/".contains(c));
        let end = at + rest[at..].find(ends).unwrap_or(rest.len() - at);
        // Programs leave out the full stop of a sentence.
        let end = at + rest[at..end].trim_end_matches('.').len();
        let url = &rest[at..end];
        let _ = write!(out, "{}<a href=\"{url}\">{url}</a>", &rest[..at]);
        rest = &rest[end..];
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn links_in_quoted_text_come_back((text, targets) in plain_text(), how in quoting()) {
        let pipeline = Pipeline::shared();
        let went = pipeline.rewrite(&message("plain; charset=utf-8", text.as_bytes()));
        let reply = how.send("plain", &how.quote(&super::texts(&went)));
        let restored = super::texts(&pipeline.restore(&reply));
        prop_assert_eq!(bare(&restored), bare(&how.quote(&text)), "{}", super::show(&reply));
        for target in targets {
            prop_assert!(restored.contains(&target), "{} is not in {}", target, restored);
        }
    }

    #[test]
    fn links_in_text_that_markup_quotes_come_back((text, targets) in plain_text(), how in quoting()) {
        let pipeline = Pipeline::shared();
        let went = pipeline.rewrite(&message("plain; charset=utf-8", text.as_bytes()));
        let html = linked(&escaped(&super::texts(&went)));
        let reply = Quoting { width: None, ..how }.send("html", &format!("<pre>{html}</pre>"));
        let restored = super::texts(&pipeline.restore(&reply));
        prop_assert!(!restored.contains(BASE), "{}", restored);
        for target in targets {
            let target = escaped(&target);
            let both = format!("<a href=\"{target}\">{target}</a>");
            prop_assert!(restored.contains(&both), "{} is not in {}", both, restored);
        }
    }
}
