//! One leaf of a message: which kind of text it is to whom, and what changes in it.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use encoding_rs::Encoding;

use super::leads;
use super::relabel::{drop_field, set_field};
use super::{Ambiguous, Amp, MarkupFiles, Options};
use crate::autolink;
use crate::charset::{self, Charset};
use crate::header::{Fields, Typed, lossy};
use crate::html::{self, Outcome, Work};
use crate::patch::Change;
use crate::quirk::{Quirk, Quirks};
use crate::restore::{Originals, restore};
use crate::scan::{Kind, Part, PartMap, is_message};
use crate::site::{Judge, Ruling, Site, Use};
use crate::source::Source;
use crate::text::{self, Lines};
use crate::transfer::{Coding, Decoded, TextEdit, apply, decode, encode_base64, encode_edits, encode_qp};

/// Largest body that is looked into as text, in octets.
const MAX_TEXT: u64 = 64 << 20;

/// What programs take a leaf for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Html,
    Text(Lines),
    /// Nothing that is looked into.
    Other,
}

/// The work on the leaves of one message.
pub(super) struct LeafWork<'a, 't> {
    pub(super) source: &'a dyn Source,
    pub(super) map: &'a PartMap,
    pub(super) task: Task<'t>,
    pub(super) links: autolink::Options,
    pub(super) options: &'a Options,
    /// Nothing about the structure can be read in several ways.
    pub(super) sound: bool,
    /// Texts may be taken for HTML as well.
    pub(super) ambiguous: bool,
    pub(super) quirks: Quirks,
    pub(super) changes: Vec<Change>,
    /// Something may lead somewhere that cannot be seen from here.
    pub(super) unseen: Option<Quirk>,
    /// A text is beyond what can be made safe at a bearable cost.
    pub(super) lost: Option<Quirk>,
}

/// What is done to the texts of a message.
pub(super) enum Task<'a> {
    /// Links are put before a judge.
    Rewrite(&'a mut dyn Judge),
    /// Our links give way to what stood there.
    Restore(&'a mut dyn Originals),
}

impl Task<'_> {
    /// The same task, for a message within.
    pub(super) fn again(&mut self) -> Task<'_> {
        match self {
            Self::Rewrite(judge) => Task::Rewrite(&mut **judge),
            Self::Restore(originals) => Task::Restore(&mut **originals),
        }
    }
}

/// Whether a leaf is a message that a transfer encoding hides.
pub(super) fn is_coded_message(part: &Part) -> bool {
    part.types.iter().any(|t| is_message(&t.value)) && part.codings.iter().any(|c| *c != Coding::Identity)
}

/// The bytes of a message that a transfer encoding hides.
pub(super) fn coded_message(part: &Part, source: &dyn Source) -> io::Result<Option<(Coding, Vec<u8>)>> {
    let Some(coding) = part.codings.iter().copied().find(|c| *c != Coding::Identity) else {
        return Ok(None);
    };
    let raw = source.read(part.body.clone())?;
    Ok(Some((coding, decode(coding, &raw).bytes.into_owned())))
}

/// A whole body in a coding, laid out like the one it replaces.
pub(super) fn encode_whole(coding: Coding, text: &[u8], like: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::QuotedPrintable => encode_qp(text, newline(like)),
        Coding::Base64 => encode_base64(text, like),
    }
}

fn newline(like: &[u8]) -> &'static [u8] {
    if memchr::memmem::find(like, b"\r\n").is_some() || !like.contains(&b'\n') {
        b"\r\n"
    } else {
        b"\n"
    }
}

impl LeafWork<'_, '_> {
    /// Works on a part that holds others: only what its header gives its contents as a base.
    pub(super) fn container(&mut self, index: usize) {
        let Some(part) = self.map.parts.get(index) else { return };
        if part.kind == Kind::Multipart && part.codings.iter().any(|c| *c != Coding::Identity) {
            self.quirks.insert(Quirk::MalformedTransferEncoding);
        }
        self.drop_bases(part);
    }

    /// Works on a leaf; `left` says why its bytes must stay.
    pub(super) fn leaf(
        &mut self,
        index: usize,
        number: &dyn Fn() -> String,
        left: Option<&'static str>,
    ) -> io::Result<()> {
        let Some(part) = self.map.parts.get(index) else {
            return Ok(());
        };
        let class = self.class(part);
        self.flag(part);
        if part.types.iter().any(|t| t.value == "message/external-body") && left.is_none() {
            self.external_body(part, &number());
        }
        if class == Class::Other || part.body.is_empty() {
            return Ok(());
        }
        let rewrites = matches!(self.task, Task::Rewrite(_));
        let left = left
            .or((is_file(part, class) || self.is_left_markup(part, class)).then_some("attachment"))
            .filter(|_| rewrites);
        if rewrites && left.is_none() && self.options.amp == Amp::Strip && self.strip_amp(index) {
            self.quirks.insert(Quirk::AmpStripped);
            return Ok(());
        }
        if part.body.end - part.body.start > MAX_TEXT {
            self.quirks.insert(Quirk::TextTooLarge);
            if rewrites && left.is_none() {
                self.lost = self.lost.or(Some(Quirk::TextTooLarge));
            }
            return Ok(());
        }
        let raw = self.source.read(part.body.clone())?;
        let coding = choose_coding(part, &raw);
        if rewrites
            && class == Class::Text(Lines::Plain)
            && coding == Coding::Identity
            && !self.ambiguous
            && part.codings.len() < 2
            && !needs_a_look(&raw, part)
        {
            return Ok(());
        }
        if part.types.iter().any(|t| t.value == "message/partial") && hides_text(&raw) {
            // Only whoever has all the pieces can decode them.
            self.unseen = self.unseen.or(Some(Quirk::PartialMessage));
        }
        let number = number();
        let decoded = decode(coding, &raw);
        self.quirks.insert_if(Quirk::DoubtfulEncoding, decoded.doubtful);
        let labels: Vec<&str> = part.types.iter().flat_map(|t| t.all("charset")).collect();
        let (html, links) = (class == Class::Html, self.links);
        let leads = |text: &[u8], encoding| match class {
            Class::Html => leads::of_html(text, encoding, links),
            Class::Text(lines) => leads::of_text(text, lines, encoding, links),
            Class::Other => None,
        };
        let charset = charset::read(&decoded.bytes, &labels, html, &leads, &mut self.quirks);
        let base = content_base(part);
        let work = |encoding, queries| Work {
            part: &number,
            encoding,
            queries,
            base: base.as_deref(),
            links,
            left,
            mapped: None,
        };
        match charset {
            Charset::Bytes { encoding, queries } => {
                let Some(outcome) = self.outcome(class, &decoded.bytes, &work(encoding, queries)) else {
                    return Ok(());
                };
                self.put(part, coding, &raw, &decoded, outcome, class);
            }
            Charset::Text { text, queries, several } => {
                let Some(outcome) = self.outcome(class, text.as_bytes(), &work(encoding_rs::UTF_8, queries)) else {
                    return Ok(());
                };
                let new = match outcome {
                    Outcome::Edits(e) if e.is_empty() && !(several && rewrites) => return Ok(()),
                    Outcome::Edits(e) => apply(text.as_bytes(), &e),
                    Outcome::Anew(new) => new,
                };
                self.quirks.insert(Quirk::Transcoded);
                self.put_utf8(part, coding, &raw, &new, class);
            }
            Charset::Unseen if rewrites && left.is_none() => {
                self.quirks.insert(Quirk::UnknownCharset);
                self.unseen = self.unseen.or(Some(Quirk::UnknownCharset));
            }
            Charset::Unseen => self.quirks.insert(Quirk::UnknownCharset),
        }
        Ok(())
    }

    /// Whether a part is a file of markup that the options leave as it is.
    fn is_left_markup(&self, part: &Part, class: Class) -> bool {
        class == Class::Html
            && self.options.markup_files == MarkupFiles::Leave
            && part.disposition.as_ref().is_some_and(|d| d.value == "attachment")
    }

    /// Takes an AMP part out, with its boundary. `false` when nothing would be left in its place.
    fn strip_amp(&mut self, index: usize) -> bool {
        let map = self.map;
        let is_amp = |p: &Part| p.types.iter().any(|t| t.value == "text/x-amp-html");
        let Some(part) = map.parts.get(index).filter(|p| is_amp(p) && self.sound) else {
            return false;
        };
        let Some(parent) = part.parent else { return false };
        let beside: Vec<usize> = map.children(parent).collect();
        let at = beside.iter().position(|i| *i == index).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|n| map.parts.get(*beside.get(n)?));
        let behind = beside.get(at + 1).and_then(|n| map.parts.get(*n));
        let at = match (before, behind) {
            (Some(before), _) => before.body.end..part.body.end,
            (None, Some(behind)) => part.header.start..behind.header.start,
            (None, None) => return false,
        };
        self.changes.push(Change { at, with: Vec::new() });
        true
    }

    /// A body that is elsewhere (RFC 2046 5.2.3): its URL is a link, and any other way to it is closed.
    fn external_body(&mut self, part: &Part, number: &str) {
        let Task::Rewrite(judge) = &mut self.task else { return };
        let Some(t) = part.types.iter().find(|t| t.value == "message/external-body") else {
            return;
        };
        let url: String = t
            .all("url")
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        let site = Site {
            usage: Use::ExternalBody,
            place: "content-type[url]".into(),
            part: number,
            written: url.as_bytes(),
            url: url.as_str().into(),
            base: None,
            left: None,
            encoding: encoding_rs::UTF_8,
        };
        let value = match if url.is_empty() {
            Ruling::Disarm
        } else {
            judge.rule(&site)
        } {
            Ruling::Keep => return,
            Ruling::Replace(with) => format!("message/external-body; access-type=URL;\r\n\tURL=\"{with}\""),
            Ruling::Disarm => "message/external-body; access-type=x-removed".to_owned(),
        };
        self.changes.extend(set_field(part, "Content-Type", &value));
    }

    /// Lines of a header that are no fields: for some programs the text begins there. URLs in it are made safe as well,
    /// unless the first such line is what mailbox files put before a message.
    pub(super) fn stray_lines(&mut self, part: &Part, number: &dyn Fn() -> String) {
        let fields = Fields::parse(&part.block);
        let mut at = 0;
        for f in &fields.list {
            let gap = part.block.get(at..f.whole.start).unwrap_or_default();
            let envelope = gap.starts_with(b"From ") || gap.starts_with(b">From ");
            if !gap.is_empty() && !envelope {
                break;
            }
            at = f.whole.end;
        }
        let text = part.block.get(at..).unwrap_or_default();
        if text.is_empty() || text.starts_with(b"From ") || text.starts_with(b">From ") {
            return;
        }
        let number = number();
        let work = Work {
            part: &number,
            encoding: encoding_rs::UTF_8,
            queries: encoding_rs::UTF_8,
            base: None,
            // Fields name hosts all the time, and are left alone: only what is a URL to everybody counts.
            links: autolink::Options {
                bare_domains: false,
                named_hosts: false,
            },
            left: None,
            mapped: None,
        };
        let edits = match &mut self.task {
            Task::Rewrite(judge) => text::rewrite(text, Lines::Plain, true, &work, &mut **judge, &mut self.quirks),
            Task::Restore(originals) => restore(text, false, &mut **originals),
        };
        let whole = decode(Coding::Identity, text);
        let spans_lines = |e: &TextEdit| text.get(e.at.clone()).unwrap_or_default().contains(&b'\n');
        if edits.iter().any(spans_lines) {
            // What some program takes for one tag are fields to another: they cannot give way to a link.
            self.unseen = self.unseen.or(Some(Quirk::StrayHeaderLine));
            return;
        }
        let Some(edits) = encode_edits(Coding::Identity, text, &whole, &edits) else {
            // A header cannot be encoded to make room.
            self.unseen = self.unseen.or(Some(Quirk::StrayHeaderLine));
            return;
        };
        let start = part.header.start + at as u64;
        self.changes.extend(edits.into_iter().map(|e| Change {
            at: start + e.at.start as u64..start + e.at.end as u64,
            with: e.with,
        }));
    }

    /// What becomes of a text; `None` when it is only reported on.
    fn outcome(&mut self, class: Class, text: &[u8], work: &Work<'_>) -> Option<Outcome> {
        let judge = match &mut self.task {
            Task::Rewrite(judge) => &mut **judge,
            Task::Restore(originals) => {
                let html = class == Class::Html;
                return Some(Outcome::Edits(restore(text, html, &mut **originals)));
            }
        };
        if work.left.is_some() {
            match class {
                Class::Html => drop(html::report(text, work, judge)),
                Class::Text(lines) => {
                    text::rewrite(text, lines, false, work, judge, &mut self.quirks);
                }
                Class::Other => {}
            }
            return None;
        }
        Some(match class {
            Class::Html => html::rewrite(text, work, judge, &mut self.quirks),
            Class::Text(lines) => {
                let both = self.ambiguous || lines == Lines::Folded || looks_like_html(text);
                let mut quirks = Quirks::default();
                let edits = text::rewrite(text, lines, both, work, judge, &mut quirks);
                self.quirks.merge(quirks);
                let found = |q| quirks.contains(q).then_some(q);
                self.lost = self
                    .lost
                    .or_else(|| found(Quirk::TooManyLinks))
                    .or_else(|| found(Quirk::TangledMarkup));
                Outcome::Edits(edits)
            }
            Class::Other => Outcome::Edits(Vec::new()),
        })
    }

    /// Puts the outcome into the body as it is coded.
    fn put(&mut self, part: &Part, coding: Coding, raw: &[u8], decoded: &Decoded<'_>, outcome: Outcome, class: Class) {
        let edits = match outcome {
            Outcome::Edits(e) if e.is_empty() => {
                return;
            }
            Outcome::Edits(e) => e,
            Outcome::Anew(new) => vec![TextEdit {
                at: 0..decoded.bytes.len(),
                with: new,
            }],
        };
        match encode_edits(coding, raw, decoded, &edits) {
            Some(changes) => {
                self.body(part, changes);
                self.one_reading(part, coding, class, false);
            }
            None => {
                let text = apply(&decoded.bytes, &edits);
                self.changes.push(Change {
                    at: part.body.clone(),
                    with: encode_qp(&text, newline(raw)),
                });
                self.changes
                    .extend(set_field(part, "Content-Transfer-Encoding", "quoted-printable"));
                self.one_reading(part, Coding::QuotedPrintable, class, true);
            }
        }
    }

    /// Puts a text that was transcoded into the body, and says so in the header.
    fn put_utf8(&mut self, part: &Part, coding: Coding, raw: &[u8], text: &[u8], class: Class) {
        let text = if class == Class::Html {
            charset::without_labels(text)
        } else {
            Cow::Borrowed(text)
        };
        let (name, with) = match coding {
            Coding::Base64 => ("base64", encode_base64(&text, raw)),
            Coding::Identity | Coding::QuotedPrintable => ("quoted-printable", encode_qp(&text, newline(raw))),
        };
        self.changes.push(Change {
            at: part.body.clone(),
            with,
        });
        self.changes.extend(set_field(part, "Content-Transfer-Encoding", name));
        self.changes.extend(set_field(
            part,
            "Content-Type",
            &content_type(part, class, Some("utf-8")),
        ));
        self.drop_bases(part);
    }

    fn body(&mut self, part: &Part, changes: Vec<TextEdit>) {
        let at = |r: &Range<usize>| part.body.start + r.start as u64..part.body.start + r.end as u64;
        self.changes.extend(changes.into_iter().map(|e| Change {
            at: at(&e.at),
            with: e.with,
        }));
    }

    /// Leaves one reading of a part whose header has several. `coded`: the transfer encoding was written already.
    fn one_reading(&mut self, part: &Part, coding: Coding, class: Class, coded: bool) {
        if matches!(self.task, Task::Restore(_)) {
            return;
        }
        self.drop_bases(part);
        if self.options.ambiguous != Ambiguous::Normalise {
            return;
        }
        let several = part.quirks.any(&[
            Quirk::DuplicateContentType,
            Quirk::MalformedContentType,
            Quirk::OddHeaderField,
            Quirk::StrayHeaderLine,
        ]) && !part.types.is_empty();
        if several && class != Class::Other && !part.quirks.contains(Quirk::NoParts) {
            self.changes
                .extend(set_field(part, "Content-Type", &content_type(part, class, None)));
        }
        let unclear = part.quirks.any(&[
            Quirk::DuplicateTransferEncoding,
            Quirk::MalformedTransferEncoding,
            Quirk::OddHeaderField,
            Quirk::StrayHeaderLine,
        ]) && !part.codings.is_empty();
        if unclear && !coded {
            let name = match coding {
                Coding::Identity => "8bit",
                Coding::QuotedPrintable => "quoted-printable",
                Coding::Base64 => "base64",
            };
            self.changes.extend(set_field(part, "Content-Transfer-Encoding", name));
        }
    }

    /// Fields that give relative links a base; links were resolved against it, and no other may be.
    fn drop_bases(&mut self, part: &Part) {
        if matches!(self.task, Task::Rewrite(_)) && content_base(part).is_some() {
            self.quirks.insert(Quirk::BaseField);
            self.changes.extend(drop_field(part, "content-base"));
        }
    }

    /// What programs take a leaf for: the most that any of them makes of it.
    fn class(&mut self, part: &Part) -> Class {
        if part.types.is_empty() {
            return Class::Text(Lines::Plain);
        }
        part.types
            .iter()
            .map(|t| class_of(t, part.quirks.contains(Quirk::NoParts)))
            .max_by_key(|c| match c {
                Class::Html => 2,
                Class::Text(_) => 1,
                Class::Other => 0,
            })
            .filter(|c| *c != Class::Other || self.options.markup_files != MarkupFiles::Named || !names_markup(part))
            .unwrap_or(Class::Html)
    }

    /// Marks what is left as it is.
    fn flag(&mut self, part: &Part) {
        for t in &part.types {
            self.quirks.insert_if(Quirk::MarkupAttachment, names_markup(part));
            match t.value.as_str() {
                "message/partial" => self.quirks.insert(Quirk::PartialMessage),
                "message/external-body" => self.quirks.insert(Quirk::ExternalBody),
                "application/ms-tnef" | "application/vnd.ms-tnef" => self.quirks.insert(Quirk::Tnef),
                "text/rtf" | "application/rtf" => self.quirks.insert(Quirk::RichText),
                _ => {}
            }
        }
    }
}

fn class_of(t: &Typed, no_parts: bool) -> Class {
    match t.value.as_str() {
        "" | "text" | "text/plain" => {
            let flowed = t.first("format").is_some_and(|f| f.eq_ignore_ascii_case("flowed"))
                && t.first("delsp").is_some_and(|d| d.eq_ignore_ascii_case("yes"));
            Class::Text(if flowed { Lines::Flowed } else { Lines::Plain })
        }
        "text/calendar" | "text/x-vcalendar" | "text/vcard" | "text/x-vcard" | "text/directory" | "application/ics" => {
            Class::Text(Lines::Folded)
        }
        "message/partial" => Class::Text(Lines::Plain),
        "text/css" | "text/javascript" | "text/x-javascript" | "text/rtf" | "text/csv" => Class::Other,
        "application/xhtml+xml" | "image/svg+xml" | "text/xml" | "application/xml" => Class::Html,
        v if v.starts_with("multipart/") && no_parts => Class::Html,
        v if v.starts_with("text/") && v.contains("html") => Class::Html,
        v if v.starts_with("text/") || !v.contains('/') => Class::Text(Lines::Plain),
        _ => Class::Other,
    }
}

/// A text that is sent as a file stays as it is; HTML does not, because programs open it where links live.
fn is_file(part: &Part, class: Class) -> bool {
    matches!(class, Class::Text(_)) && part.disposition.as_ref().is_some_and(|d| d.value == "attachment")
}

fn names_markup(part: &Part) -> bool {
    let name = file_name(part).to_ascii_lowercase();
    [".htm", ".html", ".shtml", ".xhtml", ".svg", ".mht", ".mhtml"]
        .iter()
        .any(|e| name.ends_with(e))
}

fn file_name(part: &Part) -> String {
    let named = part.disposition.as_ref().and_then(|d| d.first("filename"));
    named
        .or_else(|| part.types.iter().find_map(|t| t.first("name")))
        .unwrap_or_default()
        .to_owned()
}

/// The coding under which a body shows its text, where the header names several.
fn choose_coding(part: &Part, raw: &[u8]) -> Coding {
    match part.codings.as_slice() {
        [] => Coding::Identity,
        [one] => *one,
        several => {
            // Base64 that decodes to text is nothing else; identity shows itself by blanks.
            let blank = raw.iter().any(|b| matches!(b, b' ' | b'<'));
            let of = |c: Coding| several.contains(&c).then_some(c);
            let decoded = if blank { None } else { of(Coding::Base64) };
            decoded
                .or(of(Coding::QuotedPrintable))
                .or(of(Coding::Identity))
                .unwrap_or(Coding::Base64)
        }
    }
}

/// Whether plain octets may hold a URL, or something that is flagged; the cheap test for most of the mail there is.
fn needs_a_look(raw: &[u8], part: &Part) -> bool {
    let ascii_like = part
        .types
        .iter()
        .flat_map(|t| t.all("charset"))
        .all(|c| Encoding::for_label(c.trim().as_bytes()).is_some_and(Encoding::is_ascii_compatible));
    !ascii_like
        || raw.starts_with(&[0xff, 0xfe])
        || raw.starts_with(&[0xfe, 0xff])
        || autolink::may_hold_url(raw)
        // What no label tells may be in an encoding that hides a URL.
        || memchr::memchr2(0, 0x1b, raw).is_some()
        || memchr::memmem::find(raw, b"begin ").is_some()
        || memchr::memmem::find(raw, &[0xe2, 0x96]).is_some()
        || raw.contains(&b'<') && looks_like_html(raw)
}

/// Whether a program that looks at the content may take a text for HTML.
fn looks_like_html(text: &[u8]) -> bool {
    let head = text
        .get(..text.len().min(1024))
        .unwrap_or_default()
        .to_ascii_lowercase();
    [&b"<html"[..], b"<!doctype html", b"<body", b"<head"]
        .iter()
        .any(|t| memchr::memmem::find(&head, t).is_some())
}

/// Whether a piece of a message may hold text that is encoded.
fn hides_text(raw: &[u8]) -> bool {
    memchr::memmem::find(&raw.to_ascii_lowercase(), b"base64").is_some()
}

/// The base that header fields give (RFC 2110, Thunderbird's reading).
fn content_base(part: &Part) -> Option<String> {
    if !part.block.iter().any(|b| matches!(b, b'b' | b'B'))
        || memchr::memmem::find(&part.block.to_ascii_lowercase(), b"content-base").is_none()
    {
        return None;
    }
    let fields = Fields::parse(&part.block);
    let field = fields.named(&part.block, "content-base").next()?;
    let value = lossy(part.block.get(field.value.clone())?.trim_ascii()).into_owned();
    Some(value.trim_matches('"').to_owned())
}

/// A Content-Type field that says what was decided, with the parameters that were there.
fn content_type(part: &Part, class: Class, charset: Option<&str>) -> String {
    let chosen = part
        .types
        .iter()
        .find(|t| class_of(t, true) == class)
        .or(part.types.first());
    let value = match (chosen.map(|t| t.value.as_str()).unwrap_or_default(), class) {
        (v, _) if is_sound_type(v) => v,
        (_, Class::Html) => "text/html",
        _ => "text/plain",
    };
    let mut out = value.to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for p in chosen.map(|t| t.params.as_slice()).unwrap_or_default() {
        if p.name.contains('*')
            || p.name.is_empty()
            || seen.contains(&p.name.as_str())
            || p.name == "charset" && charset.is_some()
        {
            continue;
        }
        seen.push(&p.name);
        let clean: String = p.value.chars().filter(|c| !c.is_control() && c.is_ascii()).collect();
        out.push_str(&format!(
            ";\r\n\t{}=\"{}\"",
            p.name,
            clean.replace('\\', "\\\\").replace('"', "\\\"")
        ));
    }
    if let Some(c) = charset {
        out.push_str(&format!(";\r\n\tcharset={c}"));
    }
    out
}

fn is_sound_type(value: &str) -> bool {
    let mut halves = value.split('/');
    let token = |t: Option<&str>| {
        t.is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+._".contains(&b)))
    };
    token(halves.next()) && token(halves.next()) && halves.next().is_none() && !value.starts_with("multipart/")
}
