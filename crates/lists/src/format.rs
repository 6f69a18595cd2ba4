//! From the octets of a list, in any of the formats, to a [`ListCopy`].

mod adblock;
mod csv;
mod json;
mod lines;
mod zone;

use std::borrow::Cow;

use link::{Category, Weight};
use regex::{RegexBuilder, RegexSetBuilder};

use crate::copy::{ListCopy, Meta, Packed, Protected};
use crate::entry::{Entry, Extent, Role, Unfit, host_expression, tree_expression, url_expression};
use crate::hash_key::HashKey;
use crate::report::{Fault, Report};
use crate::slice::part;

pub use json::{MispEvent, misp_manifest};

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// A hosts file: an address that leads nowhere, then names. Lists the hosts.
    Hosts,
    /// A name on each line. Lists the host; `*.name` and `.name` list the domain.
    Domains,
    /// A URL on each line, as OpenPhish's community feed has them.
    Urls,
    /// Comma-separated values with a column `url` and perhaps `threat` and `score`, named in the first line, which may be a
    /// comment: URLhaus, PhishTank, PhishStats.
    Csv,
    /// URLhaus' JSON: records with `url` and `threat`, however they are nested.
    UrlhausJson,
    /// Filter lists: `||host^`, `||host/path^`, `@@` exceptions. Rules that are not about whole pages are skipped.
    Adblock,
    /// A regular expression on each line, for canonical URLs.
    Regex,
    /// Events of a MISP feed, each a document: attributes for detection of the types `url`, `domain`, `hostname` and
    /// `domain|ip`. The feed's `hashes.csv` is of no use here: it holds MD5 digests of values as they were written, so that
    /// neither canonical forms nor hosts can be compared with it.
    Misp,
    /// A response policy zone: QNAME triggers with their actions.
    Rpz,
    /// A data set of rbldnsd (`dnset`): names, `.name` and `*.name` with all below, `!name` for exceptions.
    Dnset,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 10] = [
        Self::Hosts,
        Self::Domains,
        Self::Urls,
        Self::Csv,
        Self::UrlhausJson,
        Self::Adblock,
        Self::Regex,
        Self::Misp,
        Self::Rpz,
        Self::Dnset,
    ];
}

/// Reader of a list that comes in pieces.
#[derive(Debug)]
pub struct Reading<'a> {
    reader: Reader,
    out: Output<'a>,
    /// The front of an incomplete line or document.
    held: Vec<u8>,
    /// Whether the held line is too long and dropped.
    dropping: bool,
    /// Whether a document must come: no octets are no JSON, but a feed may have no events.
    expected: bool,
}

impl<'a> Reading<'a> {
    /// A reader before the first piece. `category` and `weight` hold for entries of which the list says nothing else.
    #[must_use]
    pub fn new(format: Format, category: Category, weight: Weight, key: &HashKey, protected: &'a Protected) -> Self {
        let reader = match format {
            Format::Hosts => Reader::Line(lines::hosts),
            Format::Domains => Reader::Line(lines::domains),
            Format::Urls => Reader::Line(lines::urls),
            Format::Regex => Reader::Line(lines::regex),
            Format::Dnset => Reader::Line(lines::dnset),
            Format::Adblock => Reader::Line(adblock::line),
            Format::Csv => Reader::Csv(csv::Columns::default()),
            Format::Rpz => Reader::Zone(zone::Zone::default()),
            Format::UrlhausJson => Reader::Document(json::urlhaus),
            Format::Misp => Reader::Document(json::misp),
        };
        Self {
            reader,
            out: Output {
                key: *key,
                protected,
                category,
                weight,
                min_score: 0.0,
                line: 0,
                entries: Vec::new(),
                patterns: Vec::new(),
                pattern_metas: Vec::new(),
                forbidden: Vec::new(),
                report: Report::default(),
                #[cfg(test)]
                seen: Vec::new(),
            },
            held: Vec::new(),
            dropping: false,
            expected: format == Format::UrlhausJson,
        }
    }

    /// Leaves out records whose `score` column is below this.
    #[must_use]
    pub fn min_score(mut self, score: f64) -> Self {
        self.out.min_score = score;
        self
    }

    /// Reads the next piece.
    pub fn push(&mut self, mut piece: &[u8]) {
        if let Reader::Document(_) = self.reader {
            self.held.extend_from_slice(piece);
            return;
        }
        while let Some(at) = memchr::memchr(b'\n', piece) {
            let line = part(piece, ..at);
            piece = part(piece, at + 1..);
            if self.held.is_empty() && !self.dropping {
                self.line(line);
            } else {
                self.hold(line);
                self.held_line();
            }
        }
        self.hold(piece);
    }

    /// Ends a document: the next piece begins another one of the same list.
    pub fn end_document(&mut self) {
        self.expected = false;
        if let Reader::Document(read) = self.reader {
            let document = std::mem::take(&mut self.held);
            read(without_mark(&document), &mut self.out);
        } else if !self.held.is_empty() || self.dropping {
            self.held_line();
        }
        match &mut self.reader {
            Reader::Csv(columns) => *columns = csv::Columns::default(),
            Reader::Zone(zone) => std::mem::take(zone).end(&mut self.out),
            Reader::Line(_) | Reader::Document(_) => {}
        }
        self.out.line = 0;
    }

    /// Ends the list, and a document that has been begun.
    #[must_use]
    pub fn finish(mut self) -> ListCopy {
        if self.expected || !self.held.is_empty() || self.out.line > 0 {
            self.end_document();
        }
        self.out.finish()
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.held.len().saturating_add(piece.len()) > MAX_LINE {
            self.dropping = true;
            self.held.truncate(MAX_FAULT);
        } else if !self.dropping {
            self.held.extend_from_slice(piece);
        }
    }

    fn held_line(&mut self) {
        let line = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.dropping) {
            self.out.line += 1;
            self.out.counted();
            self.out
                .bad("the line is longer than 64 KiB", &String::from_utf8_lossy(&line));
        } else {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.out.line += 1;
        let line = if self.out.line == 1 { without_mark(line) } else { line };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(text) = std::str::from_utf8(line) else {
            self.out.counted();
            self.out.bad("not UTF-8", &String::from_utf8_lossy(line));
            return;
        };
        match &mut self.reader {
            Reader::Line(read) => {
                let text = text.trim();
                if !text.is_empty() {
                    read(text, &mut self.out);
                }
            }
            Reader::Csv(columns) => columns.line(text.trim(), &mut self.out),
            Reader::Zone(zone) => zone.line(text, &mut self.out),
            Reader::Document(_) => {}
        }
    }
}

/// Longest line, in octets.
const MAX_LINE: usize = 64 << 10;
/// Most faults kept, and most of the text of each, in characters.
const MAX_FAULTS: usize = 5;
const MAX_FAULT: usize = 80;
/// Most patterns of a list, and the largest size of one when compiled, in octets.
const MAX_PATTERNS: usize = 2000;
const MAX_PATTERN_SIZE: usize = 256 << 10;
/// Largest size of all patterns of a list, compiled together, in octets.
const MAX_PATTERNS_SIZE: usize = 8 << 20;

#[derive(Debug)]
enum Reader {
    Line(fn(&str, &mut Output<'_>)),
    Csv(csv::Columns),
    Zone(zone::Zone),
    Document(fn(&[u8], &mut Output<'_>)),
}

/// Entries and report, which readers of formats write to.
#[derive(Debug)]
struct Output<'a> {
    key: HashKey,
    protected: &'a Protected,
    category: Category,
    weight: Weight,
    min_score: f64,
    line: u64,
    entries: Vec<Packed>,
    patterns: Vec<String>,
    pattern_metas: Vec<Meta>,
    forbidden: Vec<String>,
    report: Report,
    #[cfg(test)]
    seen: Vec<String>,
}

impl Output<'_> {
    /// Counts a line or record.
    fn counted(&mut self) {
        self.report.lines += 1;
    }

    fn skipped(&mut self) {
        self.report.skipped += 1;
    }

    fn bad(&mut self, why: impl Into<Cow<'static, str>>, text: &str) {
        self.report.bad += 1;
        keep_fault(&mut self.report.faults, self.line, text, why.into());
    }

    fn unfit(&mut self, unfit: Unfit, text: &str) {
        match unfit {
            Unfit::Invalid => self.bad(unfit.to_string(), text),
            Unfit::Deep => self.skipped(),
            Unfit::PublicSuffix => {
                self.report.refused += 1;
                keep_fault(&mut self.report.refusals, self.line, text, unfit.to_string().into());
            }
        }
    }

    fn host(&mut self, text: &str, extent: Extent, role: Role) {
        match host_expression(text, extent) {
            Ok(expression) => self.entry(expression, extent, role, None),
            Err(unfit) => self.unfit(unfit, text),
        }
    }

    fn url(&mut self, text: &str, role: Role, category: Option<Category>) {
        match url_expression(text) {
            Ok(expression) => self.entry(expression.into(), Extent::Url, role, category),
            Err(unfit) => self.unfit(unfit, text),
        }
    }

    fn tree(&mut self, text: &str, extent: Extent, role: Role) {
        match tree_expression(text, extent) {
            Ok((expression, extent)) => self.entry(expression.into(), extent, role, None),
            Err(unfit) => self.unfit(unfit, text),
        }
    }

    fn pattern(&mut self, pattern: &str) {
        if self.patterns.len() >= MAX_PATTERNS {
            return self.bad("more than 2000 patterns", pattern);
        }
        match RegexBuilder::new(pattern).size_limit(MAX_PATTERN_SIZE).build() {
            Err(regex::Error::CompiledTooBig(_)) => self.bad("the pattern is too large", pattern),
            Err(_) => self.bad("not a regular expression", pattern),
            Ok(compiled) if compiled.is_match("") => self.bad("the pattern fits everything", pattern),
            Ok(_) => {
                let entry = Entry {
                    expression: Cow::Borrowed(pattern),
                    extent: Extent::Url,
                    role: Role::Listed,
                    category: self.category,
                    weight: self.weight,
                };
                self.pattern_metas.push(Meta::new(&entry));
                self.patterns.push(pattern.to_owned());
            }
        }
    }

    fn entry(&mut self, expression: Cow<'_, str>, extent: Extent, role: Role, category: Option<Category>) {
        let entry = Entry {
            expression,
            extent,
            role,
            category: category.unwrap_or(self.category),
            weight: self.weight,
        };
        if self.forbidden.len() < MAX_FAULTS && self.protected.forbids(&entry) {
            self.forbidden.push(entry.expression.clone().into_owned());
        }
        #[cfg(test)]
        self.seen
            .push(format!("{:?} {:?} {}", entry.role, entry.extent, entry.expression));
        self.entries.push(Packed::new(&self.key, &entry));
    }

    fn finish(mut self) -> ListCopy {
        self.entries.sort_unstable();
        self.entries.dedup();
        self.entries.shrink_to_fit();
        let patterns = RegexSetBuilder::new(&self.patterns)
            .size_limit(MAX_PATTERNS_SIZE)
            .build()
            .unwrap_or_else(|_| {
                self.report.broken = Some("the patterns are too large together".to_owned());
                regex::RegexSet::empty()
            });
        ListCopy {
            entries: self.entries,
            patterns,
            pattern_metas: self.pattern_metas,
            report: self.report,
            protected: self.forbidden,
        }
    }
}

fn keep_fault(faults: &mut Vec<Fault>, line: u64, text: &str, why: Cow<'static, str>) {
    if faults.len() < MAX_FAULTS {
        let text = text.chars().take(MAX_FAULT).collect();
        faults.push(Fault { line, text, why });
    }
}

fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// Undoes what makes a name or URL harmless to click in a report: `hxxp`, `[.]`, `(.)`, `[dot]`, `[:]`.
fn refanged(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if let Some(after) = text
        .get(..4)
        .filter(|s| s.eq_ignore_ascii_case("hxxp"))
        .and(text.get(4..))
    {
        text = Cow::Owned(format!("http{after}"));
    }
    for (written, meant) in [
        ("[.]", "."),
        ("(.)", "."),
        ("[dot]", "."),
        ("[:]", ":"),
        ("[://]", "://"),
    ] {
        if text.contains(written) {
            text = Cow::Owned(text.replace(written, meant));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const KEY: [u8; 16] = *b"a key for tests.";

    /// Reads a text: entries as words, and the report.
    pub(super) fn read(format: Format, text: impl AsRef<[u8]>) -> (Vec<String>, Report) {
        read_above(0.0, format, text)
    }

    pub(super) fn read_above(score: f64, format: Format, text: impl AsRef<[u8]>) -> (Vec<String>, Report) {
        let protected = Protected::default();
        let key = HashKey::new(KEY);
        let mut reading = Reading::new(format, Category::Abuse, Weight::Block, &key, &protected).min_score(score);
        reading.push(text.as_ref());
        reading.end_document();
        (reading.out.seen, reading.out.report)
    }

    /// Lines that are bad, by number.
    pub(super) fn bad(report: &Report) -> Vec<u64> {
        assert_eq!(report.bad, u64::try_from(report.faults.len()).unwrap());
        report.faults.iter().map(|f| f.line).collect()
    }

    #[test]
    fn pieces_of_any_size_read_the_same() {
        let text = "\u{feff}a.example\r\n\n# note\nb.example\nnot a name\n\u{fc}.example\nlast.example";
        let protected = Protected::default();
        let key = HashKey::new(KEY);
        let whole = read(Format::Domains, text);
        assert_eq!(whole.0.len(), 4);
        for size in 1..text.len() {
            let mut reading = Reading::new(Format::Domains, Category::Abuse, Weight::Block, &key, &protected);
            for piece in text.as_bytes().chunks(size) {
                reading.push(piece);
            }
            reading.end_document();
            assert_eq!((reading.out.seen, reading.out.report), whole, "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_one_bad_line() {
        let mut text = b"a.example\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 3 * MAX_LINE));
        text.extend(b"\nb.example\n\xff\xfe\n");
        let protected = Protected::default();
        let key = HashKey::new(KEY);
        for size in [1000, text.len()] {
            let mut reading = Reading::new(Format::Urls, Category::Abuse, Weight::Block, &key, &protected);
            for piece in text.chunks(size) {
                reading.push(piece);
                assert!(reading.held.len() <= MAX_LINE);
            }
            reading.end_document();
            let report = &reading.out.report;
            assert_eq!((report.lines, report.bad), (4, 2), "{size}: {report:?}");
            assert_eq!(report.faults[0].text.chars().count(), MAX_FAULT);
            assert_eq!(reading.out.seen.len(), 2);
        }
    }

    #[test]
    fn several_documents_make_one_list() {
        let protected = Protected::default();
        let key = HashKey::new(KEY);
        let mut reading = Reading::new(Format::Misp, Category::Malware, Weight::Block, &key, &protected);
        for name in ["a.example", "b.example"] {
            let event = format!(r#"{{"Event":{{"Attribute":[{{"type":"domain","value":"{name}","to_ids":true}}]}}}}"#);
            reading.push(event.as_bytes());
            reading.end_document();
        }
        assert_eq!(reading.finish().len(), 2);
    }

    #[test]
    fn nothing_at_all_is_no_json_but_a_feed_may_have_no_events() {
        let protected = Protected::default();
        let key = HashKey::new(KEY);
        let nothing = |format| Reading::new(format, Category::Malware, Weight::Block, &key, &protected).finish();
        assert!(nothing(Format::UrlhausJson).report().broken.is_some());
        assert_eq!(nothing(Format::Misp).report().broken, None);
    }
}
