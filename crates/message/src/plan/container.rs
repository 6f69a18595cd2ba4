//! Containers, and what is doubtful about them: texts that only some programs show, parts that only some programs see.

use std::io;

use super::class::is_text;
use super::hidden;
use super::leaf::{LeafWork, MAX_TEXT};
use super::relabel::{multipart_type, set_field};
use super::targets::may_lead_somewhere;
use crate::header::{HeaderFields, trim_line_end};
use crate::quirk::Quirk;
use crate::scan::{Part, PartKind, is_message};
use crate::slice::{Slice, item};
use crate::transfer::Coding;

impl LeafWork<'_, '_> {
    /// Works on a part that holds others: what its header gives its contents as a base, and what programs show of it that
    /// take it for a text.
    pub(super) fn container(&mut self, index: usize, number: &dyn Fn() -> String) -> io::Result<()> {
        let part = item(&self.map.parts, index);
        if part.kind == PartKind::Multipart && part.codings.iter().any(|c| *c != Coding::Identity) {
            self.quirks.insert(Quirk::MalformedTransferEncoding);
        }
        self.drop_bases(part);
        // Without that field a strict program shows the whole as text (RFC 2045 4).
        let bare = || {
            let fields = HeaderFields::parse(&part.block);
            part.parent.is_none() && fields.named(&part.block, "mime-version").next().is_none()
        };
        if self.is_readable_otherwise(part) || part.kind == PartKind::Multipart && bare() {
            self.between(index, part, &number())?;
        }
        if part.kind == PartKind::Message && part.types.iter().any(|t| !is_message(&t.value))
            || part.kind == PartKind::Multipart && part.types.iter().any(|t| is_message(&t.value))
        {
            // Where one program sees a text, another one sees a header.
            self.note_unseen(Quirk::DuplicateContentType);
        }
        Ok(())
    }

    /// Whether some programs show what is in a container as a text, or cut it into other parts.
    fn is_readable_otherwise(&self, part: &Part) -> bool {
        part.kind == PartKind::Multipart
            && (part.mixed
                || part.quirks.contains(Quirk::SeveralBoundaries)
                || part.types.iter().any(|t| t.top() != "multipart"))
    }

    /// Whether a leaf stands in a container that is readable otherwise.
    pub(super) fn is_in_doubt(&self, part: &Part) -> bool {
        self.ambiguous && self.map.ancestors(part).any(|p| self.is_readable_otherwise(p))
    }

    /// Works on what stands before the first part of a container and behind its parts.
    fn between(&mut self, index: usize, part: &Part, number: &str) -> io::Result<()> {
        let map = self.map;
        let mut from = part.body.start;
        let mut gaps = Vec::new();
        for child in map.children(index).map(|c| item(&map.parts, c)) {
            gaps.push(from..child.header.start);
            from = child.body.end;
        }
        gaps.push(from..part.body.end);
        for (i, gap) in gaps.iter().enumerate() {
            if gap.end <= gap.start {
                continue;
            }
            if gap.end - gap.start > MAX_TEXT {
                self.note_too_large();
                continue;
            }
            let raw = self.source.read(gap.clone())?;
            // The lines of the boundary stay.
            let mut from = 0;
            let mut to = raw.len();
            if i > 0 {
                let lead = raw.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                let line = raw.slice(lead..);
                from = lead + memchr::memchr(b'\n', line).map_or(line.len(), |n| n + 1);
            }
            if i + 1 < gaps.len() {
                let lines = trim_line_end(&raw);
                to = memchr::memrchr(b'\n', lines).map_or(0, |n| n + 1);
            }
            let text = raw.slice(from..to.max(from));
            if may_lead_somewhere(text) {
                self.clear_text(text, gap.start + from as u64, Quirk::PartsAfterEnd, number);
            }
        }
        Ok(())
    }

    /// Names one boundary of a container that may have several.
    pub(super) fn state_container(&mut self, index: usize) {
        let part = item(&self.map.parts, index);
        // Without a change no reading leads anywhere.
        if !self.is_readable_otherwise(part) || part.mixed || !self.normalises() || self.changes.is_empty() {
            return;
        }
        match multipart_type(part, part.boundary.as_deref().unwrap_or_default()) {
            Some(value) => self.changes.extend(set_field(part, "Content-Type", &value)),
            None => self.note_unseen(Quirk::SeveralBoundaries),
        }
    }

    /// Names the boundary of a multipart whose own never came.
    pub(super) fn state_boundary(&mut self, part: &Part, boundary: &[u8], coding: Coding) {
        if !self.normalises() {
            return;
        }
        if part
            .types
            .iter()
            .all(|t| t.all("boundary").eq([String::from_utf8_lossy(boundary).as_ref()]))
        {
            self.state_coding(part, coding);
            return;
        }
        match multipart_type(part, boundary) {
            Some(value) => self.changes.extend(set_field(part, "Content-Type", &value)),
            None => self.note_unseen(Quirk::MissingBoundary),
        }
        self.state_coding(part, coding);
    }

    /// Names the transfer encoding of a body where the header allows of several.
    pub(super) fn state_coding(&mut self, part: &Part, coding: Coding) {
        if self.normalises() && part.codings.iter().any(|c| *c != coding) {
            self.changes
                .extend(set_field(part, "Content-Transfer-Encoding", coding.name()));
        }
    }

    /// Looks for parts within a leaf that only other programs see.
    pub(super) fn check_hidden_parts(&mut self, part: &Part) -> io::Result<()> {
        let doubtful = &[Quirk::BoundaryPrefix, Quirk::MissingBoundary];
        if self.map.quirks.any(doubtful) && part.parent.is_some() {
            if part.body.end - part.body.start > MAX_TEXT {
                self.note_too_large();
            } else if !hidden::boundaries(&self.source.read(part.body.clone())?, 1).is_empty() {
                self.note_unseen(Quirk::TangledBoundaries);
            }
        }
        if part.quirks.contains(Quirk::MixedLineEnds) {
            let end = part.body.end.min(part.body.start + hidden::HEADER_REST);
            if hidden::is_part_header(&self.source.read(part.body.start..end)?) {
                self.note_unseen(Quirk::MixedLineEnds);
            }
        }
        if is_text(part)
            && part.codings.iter().any(|c| *c != Coding::Identity)
            && self.is_in_doubt(part)
            && self.map.ancestors(part).any(|p| p.mixed)
        {
            // What is a part of its own to one program is more of the same encoded body to another.
            self.note_unseen(Quirk::SeveralBoundaries);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::ops::Range;

    use super::*;
    use crate::plan::tests::Letters;
    use crate::plan::{Options, PlanError, plan, plan_restore};
    use crate::site::{Original, Originals, Seal};
    use crate::source::Source;

    /// Knows no link.
    struct Nothing;

    impl Originals for Nothing {
        fn find(&self, _: &[u8]) -> Option<usize> {
            None
        }

        fn open(&mut self, _: &str) -> Option<Original> {
            None
        }

        fn knows_mark(&self, _: &[u8], _: &Seal) -> bool {
            false
        }
    }

    /// A message of which one stretch cannot be read by itself, as on a disk that fails in between.
    struct Failing<'a> {
        message: &'a [u8],
        at: u64,
    }

    impl Source for Failing<'_> {
        fn len(&self) -> u64 {
            self.message.len() as u64
        }

        fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
            if range.start == self.at {
                return Err(io::ErrorKind::Other.into());
            }
            self.message.read(range)
        }
    }

    /// A text that shows a link and then nothing, one octet longer than what is looked into.
    fn endless(link: &str) -> String {
        link.to_owned() + &" ".repeat(MAX_TEXT as usize + 1 - link.len())
    }

    fn refused(mail: &str, options: &Options) -> Option<Quirk> {
        plan(&mail.as_bytes(), options, &mut Letters).unwrap().refused
    }

    #[test]
    fn a_text_before_the_parts_that_cannot_be_read_is_an_error() {
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let mail = format!("{head}http://a.example/\r\n--b\r\n\r\nx\r\n--b--\r\n");
        let (message, at) = (mail.as_bytes(), head.len() as u64);
        let planned = plan(&Failing { message, at }, &Options::default(), &mut Letters);
        assert!(matches!(planned, Err(PlanError::Read(_))), "{planned:?}");
    }

    #[test]
    fn a_text_before_or_behind_the_parts_that_is_too_large_does_not_pass() {
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let parts = "--b\r\n\r\nx\r\n--b--\r\n";
        let text = endless("http://a.example/ ");
        for mail in [format!("{head}{text}\r\n{parts}"), format!("{head}{parts}{text}")] {
            assert_eq!(refused(&mail, &Options::default()), Some(Quirk::TextTooLarge));
        }
        // Where there is nothing but parts to every program, nobody sees it.
        let sound = format!("MIME-Version: 1.0\r\n{head}{parts}{text}");
        assert_eq!(refused(&sound, &Options::default()), None);
        let restored = plan_restore(&format!("{head}{parts}{text}").as_bytes(), &mut Nothing).unwrap();
        assert!(restored.refused.is_none() && restored.quirks.contains(Quirk::TextTooLarge));
    }

    #[test]
    fn parts_in_a_body_that_is_too_large_do_not_pass() {
        let head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
        let part = "Content-Type: application/octet-stream\r\n\r\n--bx\r\nContent-Type: text/html\r\n\r\n";
        let body = endless("<a href=http://a.example/>");
        let mail = format!("{head}{part}{body}\r\n--b--\r\n");
        assert_eq!(refused(&mail, &Options::default()), Some(Quirk::TextTooLarge));
        assert_eq!(refused(&mail.replace("--bx", "x--b"), &Options::default()), None);
    }
}
