//! Reading a list into a copy that can be put in force.

use std::io::{self, BufRead, BufReader, Read};

use link::{Category, Weight};
use lists::{Format, HashKey, ListCopy, Protected, Reading};

use crate::config::ListKind;

const PIECE: usize = 64 << 10;

/// Reads all of a list; faults of its lines stand in the report of the copy.
pub(crate) fn read(kind: ListKind, key: &HashKey, protected: &Protected, body: &mut impl Read) -> io::Result<ListCopy> {
    let mut reading = Reading::new(format(kind), category(kind), Weight::Block, key, protected);
    let mut body = BufReader::with_capacity(PIECE, body);
    if kind == ListKind::Misp {
        // An event on each line: see `misp`.
        let mut line = Vec::new();
        while body.read_until(b'\n', &mut line)? > 0 {
            reading.push(&line);
            reading.end_document();
            line.clear();
        }
        return Ok(reading.finish());
    }
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            return Ok(reading.finish());
        }
        reading.push(piece);
        let n = piece.len();
        body.consume(n);
    }
}

fn format(kind: ListKind) -> Format {
    match kind {
        ListKind::Hosts => Format::Hosts,
        ListKind::Domains => Format::Domains,
        ListKind::Urls | ListKind::Openphish => Format::Urls,
        ListKind::UrlhausCsv | ListKind::Csv => Format::Csv,
        ListKind::UrlhausJson => Format::UrlhausJson,
        ListKind::Adblock => Format::Adblock,
        ListKind::Regex => Format::Regex,
        ListKind::Misp => Format::Misp,
        ListKind::Rpz => Format::Rpz,
        ListKind::Dnset => Format::Dnset,
    }
}

/// The category of entries that do not name one, by kind of list.
fn category(kind: ListKind) -> Category {
    match kind {
        ListKind::UrlhausCsv | ListKind::UrlhausJson => Category::Malware,
        ListKind::Openphish => Category::Phishing,
        _ => Category::Unspecified,
    }
}
