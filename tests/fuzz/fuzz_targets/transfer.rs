//! Transfer encodings: what was put on comes off again, and edits of the decoded text are in the text that is decoded.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use message::Coding;
use message::fuzzing::{decode, edit, encode};

#[derive(Arbitrary, Debug)]
struct Input {
    coding: u8,
    raw: Vec<u8>,
    edits: Vec<(u16, u8, Vec<u8>)>,
}

fuzz_target!(|input: Input| {
    let coding = [Coding::Identity, Coding::QuotedPrintable, Coding::Base64][usize::from(input.coding % 3)];
    let decoded = decode(coding, &input.raw);
    // Quoted-printable has no way to write a line end but as one: they are the same, whatever they were.
    let lines = |text: &[u8]| String::from_utf8_lossy(text).replace("\r\n", "\n");
    let coded = encode(coding, &input.raw, &input.raw);
    match coding {
        Coding::QuotedPrintable => assert_eq!(lines(&decode(coding, &coded)), lines(&input.raw)),
        _ => assert_eq!(decode(coding, &coded), input.raw),
    }
    if coding != Coding::Identity {
        let limit = if coding == Coding::QuotedPrintable { 76 } else { 998 };
        for line in coded.split(|b| *b == b'\n') {
            assert!(line.strip_suffix(b"\r").unwrap_or(line).len() <= limit);
        }
    }
    // These are only read.
    decode(Coding::Uuencode, &input.raw);
    decode(Coding::Yenc, &input.raw);
    // What stands in for links is text without line ends.
    let mut edits: Vec<_> = input
        .edits
        .into_iter()
        .map(|(at, len, mut with)| {
            with.retain(|b| !matches!(b, b'\r' | b'\n'));
            let start = usize::from(at) % (decoded.len() + 1);
            (start..(start + usize::from(len)).min(decoded.len()), with)
        })
        .collect();
    edits.sort_by_key(|(at, _)| (at.start, at.end));
    if let Some((raw, text)) = edit(coding, &input.raw, &edits) {
        assert_eq!(
            lines(&decode(coding, &raw)),
            lines(&text),
            "{:?}",
            String::from_utf8_lossy(&raw)
        );
    }
});
