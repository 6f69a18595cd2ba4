//! One leaf of a message: which kinds of text programs take it for, and what changes in it.

use std::io;

use encoding_rs::Encoding;

use super::class::{
    Class, class_of, content_base, content_location, file_name, looks_like_html, may_hold_target, names_markup,
    readings,
};
use super::relabel::set_field;
use super::{Ambiguous, Amp, MarkupFiles, Options};
use super::{hidden, targets};
use crate::autolink;
use crate::charset::{self, Charset};
use crate::edit::{TextEdit, apply};
use crate::header::{HeaderFields, TypedField};
use crate::html::{self, TextOutcome, TextWork};
use crate::patch::Change;
use crate::quirk::{Quirk, Quirks};
use crate::restore::{TextKind, restore};
use crate::scan::{Part, PartKind, PartMap, is_message};
use crate::site::{Judge, Originals, Ruling, Site, Use};
use crate::slice::{Slice, item};
use crate::source::Source;
use crate::text::{self, Lines};
use crate::transfer::{Coding, decode, encode_edits};

/// Largest body that is looked into as text, in octets.
pub(super) const MAX_TEXT: u64 = 64 << 20;

/// The work on the leaves of one message.
pub(super) struct LeafWork<'a, 't> {
    pub(super) source: &'a dyn Source,
    pub(super) map: &'a PartMap,
    pub(super) task: Task<'t>,
    pub(super) links: autolink::UrlForms,
    pub(super) options: &'a Options,
    /// Nothing about the structure can be read in several ways.
    pub(super) sound: bool,
    /// Texts may be taken for HTML as well.
    pub(super) ambiguous: bool,
    pub(super) quirks: Quirks,
    pub(super) changes: Vec<Change>,
    /// The reason a link may be hidden from this program, if so.
    pub(super) unseen: Option<Quirk>,
    /// The reason a text cannot be made safe within the limits, if so.
    pub(super) lost: Option<Quirk>,
}

/// The work on the texts of a message.
pub(super) enum Task<'a> {
    /// Links are put before a judge.
    Rewrite(&'a mut dyn Judge),
    /// Click links are replaced by the originals.
    Restore(&'a mut dyn Originals),
}

impl Task<'_> {
    /// The same task, for a message within.
    pub(super) fn reborrow(&mut self) -> Task<'_> {
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

impl LeafWork<'_, '_> {
    /// Works on a leaf; `left` says why its bytes must stay.
    pub(super) fn leaf(
        &mut self,
        index: usize,
        number: &dyn Fn() -> String,
        left: Option<&'static str>,
    ) -> io::Result<()> {
        let part = item(&self.map.parts, index);
        let mut class = self.class(part);
        self.flag_types(part);
        if class == Class::Other && part.codings.iter().all(|c| *c == Coding::Identity) && self.is_in_doubt(part) {
            class = Class::Text(Lines::Plain);
        }
        let rewrites = self.rewrites();
        if rewrites && left.is_none() {
            self.check_hidden_parts(part)?;
        }
        if part.types.iter().any(|t| t.value == "message/external-body") && left.is_none() {
            self.external_body(part, &number());
        }
        if class == Class::Other || part.body.is_empty() {
            return Ok(());
        }
        let left = left
            .or((self.is_file(part, class) || self.is_left_markup(part, class)).then_some("attachment"))
            .filter(|_| rewrites);
        if rewrites && left.is_none() && self.options.amp == Amp::Strip && self.strip_amp(index) {
            self.quirks.insert(Quirk::AmpStripped);
            return Ok(());
        }
        if part.body.end - part.body.start > MAX_TEXT {
            if left.is_some() {
                self.quirks.insert(Quirk::TextTooLarge);
            } else {
                self.note_too_large();
            }
            return Ok(());
        }
        let raw = self.source.read(part.body.clone())?;
        let mut readings = readings(part, &raw);
        if part.codings.is_empty() {
            // Some programs take the encoding of a multipart off, others take it for the parts' (RFC 2045 6.4 forbids it).
            let holder = part.parent.map(|p| item(&self.map.parts, p));
            let holder = holder.filter(|p| p.kind == PartKind::Multipart);
            let coded = holder.into_iter().flat_map(|p| &p.codings);
            readings.extend(coded.copied().filter(|c| *c != Coding::Identity && c.fits(&raw)));
        }
        if rewrites
            && class == Class::Text(Lines::Plain)
            && readings == [Coding::Identity]
            && !self.ambiguous
            && part.types.iter().all(TypedField::is_sound)
            && !may_hold_target(&raw, part)
        {
            return Ok(());
        }
        if let Some(t) = part.types.iter().find(|t| t.value == "message/partial")
            && hidden::hides_text(&raw, t.first("number") == Some("1"))
        {
            // Only all the pieces together can be decoded.
            self.note_unseen(Quirk::PartialMessage);
        }
        let number = number();
        for coding in readings {
            let before = self.changes.len();
            self.text(part, class, coding, &raw, &number, left);
            // Once something changes, the header says which reading holds.
            if self.changes.len() > before || left.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Whether links are made safe, and not brought back.
    pub(super) fn rewrites(&self) -> bool {
        matches!(self.task, Task::Rewrite(_))
    }

    /// Whether one reading is to be left of what has several.
    pub(super) fn normalises(&self) -> bool {
        self.options.ambiguous == Ambiguous::Normalise && self.rewrites()
    }

    /// Notes why a link may be hidden from this program; the first reason is kept.
    pub(super) fn note_unseen(&mut self, quirk: Quirk) {
        self.unseen.get_or_insert(quirk);
    }

    /// Notes a text that is too large to be searched for links.
    pub(super) fn note_too_large(&mut self) {
        self.quirks.insert(Quirk::TextTooLarge);
        if self.rewrites() {
            self.lost.get_or_insert(Quirk::TextTooLarge);
        }
    }

    /// Works on the text that a body is in one reading of its transfer encoding.
    fn text(
        &mut self,
        part: &Part,
        class: Class,
        coding: Coding,
        raw: &[u8],
        number: &str,
        left: Option<&'static str>,
    ) {
        let odd = part.types.iter().any(|t| !t.is_sound());
        let decoded = decode(coding, raw);
        self.quirks.insert_if(Quirk::DoubtfulEncoding, decoded.doubtful);
        let labels: Vec<&str> = part.types.iter().flat_map(|t| t.all("charset")).collect();
        let html = class == Class::Html;
        // A header (RFC 6522 4) names hosts all the time, and programs read them there: only URLs with a scheme count.
        let header = part.types.iter().all(|t| t.value == "text/rfc822-headers") && !part.types.is_empty();
        let links = if header {
            autolink::UrlForms::NO_NAMES
        } else {
            self.links
        };
        let targets_in = |text: &[u8], encoding| match class {
            Class::Html => targets::of_html(text, encoding, links),
            Class::Text(lines) => targets::of_text(text, lines, encoding, links),
            Class::Other => None,
        };
        let charset = charset::read(&decoded.bytes, &labels, html, &targets_in, &mut self.quirks);
        let base = content_base(part).or_else(|| html.then(|| content_location(part)).flatten());
        let work = |encoding, queries| TextWork {
            part: number,
            encoding,
            queries,
            base: base.as_deref(),
            links,
            left,
            mapped: None,
        };
        let rewrites = self.rewrites();
        match charset {
            Charset::Bytes { encoding, queries } => {
                // Only what is put back has to fit the encoding of the text.
                let known = match rewrites {
                    true => None,
                    false => charset::labelled_encoding(&decoded.bytes, &labels, html, encoding),
                };
                let Some(outcome) = self.outcome(class, odd, &decoded.bytes, &work(encoding, queries), known) else {
                    return;
                };
                self.encode_outcome(part, coding, raw, &decoded, outcome, class);
            }
            Charset::Text { text, queries, several } => {
                let utf8 = encoding_rs::UTF_8;
                let Some(outcome) = self.outcome(class, odd, text.as_bytes(), &work(utf8, queries), Some(utf8)) else {
                    return;
                };
                let new = match outcome {
                    TextOutcome::Edits(e) if e.is_empty() && self.may_stay(coding) && !(several && rewrites) => return,
                    TextOutcome::Edits(e) => apply(text.as_bytes(), &e),
                    TextOutcome::Anew(new) => new,
                };
                self.quirks.insert(Quirk::Transcoded);
                self.encode_utf8(part, coding, raw, &new, class);
            }
            Charset::Unseen if rewrites && left.is_none() => {
                self.quirks.insert(Quirk::UnknownCharset);
                self.note_unseen(Quirk::UnknownCharset);
            }
            Charset::Unseen => self.quirks.insert(Quirk::UnknownCharset),
        }
    }

    /// Whether a part is a file of markup that the options leave as it is.
    fn is_left_markup(&self, part: &Part, class: Class) -> bool {
        class == Class::Html
            && self.options.markup_files == MarkupFiles::Leave
            && part.disposition.as_ref().is_some_and(|d| d.value == "attachment")
    }

    /// A text that is sent as a file stays as it is; HTML does not, because programs open it where links live, nor does an
    /// invitation, because they show it.
    fn is_file(&self, part: &Part, class: Class) -> bool {
        let invites = |t: &TypedField| matches!(t.value.as_str(), "text/calendar" | "text/x-vcalendar");
        let named_csv = || part.types.iter().any(|t| t.value == "text/csv") && !file_name(part).is_empty();
        matches!(class, Class::Text(_))
            && !self.is_in_doubt(part)
            && (self.is_attached(part) && !part.types.iter().any(invites) || named_csv())
    }

    /// Whether a part is beside the message, not the message itself: programs show what stands alone, whatever it is
    /// called.
    fn is_attached(&self, part: &Part) -> bool {
        let is_labelled = part.disposition.as_ref().is_some_and(|d| d.value == "attachment");
        let alone = || {
            let Some(parent) = part.parent else { return true };
            item(&self.map.parts, parent).kind == PartKind::Message
                || file_name(part).is_empty() && self.map.children(parent).nth(1).is_none()
        };
        is_labelled && !alone()
    }

    /// Takes an AMP part out, with its boundary. `false` when nothing would be left in its place.
    fn strip_amp(&mut self, index: usize) -> bool {
        let map = self.map;
        let is_amp = |p: &Part| p.types.iter().any(|t| t.value == "text/x-amp-html");
        let part = item(&map.parts, index);
        let Some(parent) = part.parent.filter(|_| is_amp(part) && self.sound) else {
            return false;
        };
        let before = map.children(parent).take_while(|i| *i < index).last();
        let behind = map.children(parent).find(|i| *i > index);
        let (before, behind) = (before.map(|n| item(&map.parts, n)), behind.map(|n| item(&map.parts, n)));
        let at = match (before, behind) {
            (Some(before), _) => before.body.end..part.body.end,
            (None, Some(behind)) => part.header.start..behind.header.start,
            (None, None) => return false,
        };
        self.changes.push(Change { at, with: Vec::new() });
        true
    }

    /// Works on a body that is elsewhere (RFC 2046 5.2.3): its URL is a link, and any other access type is removed.
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
            at: None,
            url: url.as_str().into(),
            base: None,
            left: None,
            encoding: encoding_rs::UTF_8,
            link_text: None,
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
        let fields = HeaderFields::parse(&part.block);
        let mut at = 0;
        for f in &fields.list {
            let gap = part.block.slice(at..f.whole.start);
            let envelope = gap.starts_with(b"From ") || gap.starts_with(b">From ");
            if !gap.is_empty() && !envelope {
                break;
            }
            at = f.whole.end;
        }
        let text = part.block.slice(at..);
        if text.is_empty() || text.starts_with(b"From ") || text.starts_with(b">From ") {
            return;
        }
        self.clear_text(text, part.header.start + at as u64, Quirk::StrayHeaderLine, &number());
    }

    /// Works on an uncoded text outside any body, from `start` on. `quirk` says what it is.
    pub(super) fn clear_text(&mut self, text: &[u8], start: u64, quirk: Quirk, number: &str) {
        let work = TextWork {
            part: number,
            encoding: encoding_rs::UTF_8,
            queries: encoding_rs::UTF_8,
            base: None,
            // Fields name hosts all the time, and are left alone: only URLs with a scheme count.
            links: autolink::UrlForms::NO_NAMES,
            left: None,
            mapped: None,
        };
        let edits = match &mut self.task {
            Task::Rewrite(judge) => text::rewrite(text, Lines::Plain, true, &work, &mut **judge, &mut self.quirks),
            Task::Restore(originals) => {
                let kind = TextKind {
                    html: false,
                    lines: Lines::Plain,
                    encoding: None,
                };
                restore(text, kind, &mut **originals)
            }
        };
        let whole = decode(Coding::Identity, text);
        let spans_lines = |e: &TextEdit| text.slice(e.at.clone()).contains(&b'\n');
        if edits.iter().any(spans_lines) {
            // What is one tag to some programs is several fields to others: it cannot be replaced by a link.
            self.note_unseen(quirk);
            return;
        }
        let Some(edits) = encode_edits(Coding::Identity, text, &whole, &edits) else {
            // A header cannot be encoded to make room.
            self.note_unseen(quirk);
            return;
        };
        self.changes.extend(edits.into_iter().map(|e| Change {
            at: start + e.at.start as u64..start + e.at.end as u64,
            with: e.with,
        }));
    }

    /// Works on a decoded text; `None` when it is only reported on. `odd`: its media type is malformed; `encoding`: its
    /// known encoding.
    fn outcome(
        &mut self,
        class: Class,
        odd: bool,
        text: &[u8],
        work: &TextWork<'_>,
        encoding: Option<&'static Encoding>,
    ) -> Option<TextOutcome> {
        let judge = match &mut self.task {
            Task::Rewrite(judge) => &mut **judge,
            Task::Restore(originals) => {
                let kind = TextKind {
                    html: class == Class::Html,
                    lines: if let Class::Text(lines) = class {
                        lines
                    } else {
                        Lines::Plain
                    },
                    encoding,
                };
                return Some(TextOutcome::Edits(restore(text, kind, &mut **originals)));
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
                let both = self.ambiguous || odd || lines == Lines::Folded || looks_like_html(text);
                let mut quirks = Quirks::default();
                let edits = text::rewrite(text, lines, both, work, judge, &mut quirks);
                self.quirks.merge(quirks);
                let found = |q| quirks.contains(q).then_some(q);
                self.lost = self
                    .lost
                    .or_else(|| found(Quirk::TooManyLinks))
                    .or_else(|| found(Quirk::TangledMarkup));
                TextOutcome::Edits(edits)
            }
            Class::Other => TextOutcome::Edits(Vec::new()),
        })
    }

    /// The class that programs give a leaf: HTML before text before anything else.
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

    /// Notes the types that are left as they are.
    fn flag_types(&mut self, part: &Part) {
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
