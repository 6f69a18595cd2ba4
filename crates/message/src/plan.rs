//! A whole message: from its bytes to the patch that makes its links safe.

mod class;
mod container;
mod encode;
mod frozen;
mod hidden;
mod leaf;
mod nested;
mod relabel;
mod targets;

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use leaf::Task;

use crate::autolink;
use crate::patch::{Overlap, Patch};
use crate::quirk::{Quirk, Quirks};
use crate::scan::{PartKind, PartMap, Scanner};
use crate::site::{Judge, Originals, Ruling, Seal, Site};
use crate::slice::Slice;
use crate::source::Source;

/// The options of work on messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether domain names without a scheme or `www.` are taken for links in text.
    pub bare_domains: bool,
    /// The treatment of a message that can be read in several ways.
    pub ambiguous: Ambiguous,
    /// The treatment of AMP parts.
    pub amp: Amp,
    /// Which files that hold HTML or SVG are worked on.
    pub markup_files: MarkupFiles,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bare_domains: true,
            ambiguous: Ambiguous::Normalise,
            amp: Amp::Rewrite,
            markup_files: MarkupFiles::Typed,
        }
    }
}

/// The treatment of AMP parts (text/x-amp-html). Programs show them only under an intact DKIM signature, which does
/// not survive a rewritten link; then they show the HTML part beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Amp {
    /// Their links are made safe like those of HTML.
    #[default]
    Rewrite,
    /// They are taken out, where another part says the same.
    Strip,
}

/// Which files (Content-Disposition: attachment) that hold HTML or SVG are worked on. Others are flagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarkupFiles {
    /// None.
    Leave,
    /// Those that their media type names so: some programs show them with the text.
    #[default]
    Typed,
    /// Those that only their file name names so, as well.
    Named,
}

/// The treatment of a message that can be read in several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ambiguous {
    /// Every reading is made safe, and one is left.
    #[default]
    Normalise,
    /// The message is refused.
    Refuse,
    /// Every reading is made safe, and the structure stays as it came.
    Pass,
}

/// The plan for a message.
#[derive(Debug)]
pub struct Planned {
    /// The changes.
    pub patch: Patch,
    /// The quirks found.
    pub quirks: Quirks,
    /// The number of parts.
    pub parts: usize,
    /// The message cannot be made safe, for this reason.
    pub refused: Option<Quirk>,
    /// The Message-ID field, without its angle brackets.
    pub message_id: Option<String>,
}

impl Planned {
    /// Takes over what was doubtful in a message within.
    fn merge(&mut self, inner: &Self) {
        self.refused = self.refused.or(inner.refused);
        self.quirks.merge(inner.quirks);
    }
}

/// The reason a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The message could not be read.
    #[error("the message cannot be read")]
    Read(#[from] io::Error),
}

/// Octets read at a time while the structure is scanned.
const BLOCK: u64 = 256 << 10;
/// Messages within encoded messages are looked into so many times.
const MAX_NESTED: usize = 4;

/// Structures that mail programs read differently.
const AMBIGUOUS: &[Quirk] = &[
    Quirk::DuplicateContentType,
    Quirk::DuplicateTransferEncoding,
    Quirk::MalformedContentType,
    Quirk::MalformedTransferEncoding,
    Quirk::UnknownTransferEncoding,
    Quirk::StrayHeaderLine,
    Quirk::OddHeaderField,
    Quirk::UnendedHeader,
    Quirk::SeveralBoundaries,
    Quirk::MissingBoundary,
    Quirk::BoundaryPrefix,
    Quirk::NoParts,
    Quirk::PartsAfterEnd,
    Quirk::TangledBoundaries,
    Quirk::PartialMessage,
];

/// Structures that cannot be made safe.
const LOST: &[Quirk] = &[Quirk::TooDeep, Quirk::TooManyParts, Quirk::HeaderTooLarge];

/// Makes the plan for a message. Every place that leads somewhere is put before `judge`.
///
/// # Errors
/// When the message cannot be read.
pub fn plan(source: &dyn Source, options: &Options, judge: &mut dyn Judge) -> Result<Planned, PlanError> {
    if let Some(shown) = BareCrLines::over(source)? {
        // Such a message cannot travel (RFC 5321 2.3.8): it is only reported on, and left as it is.
        let mut left = KeepAll(judge);
        let planned = plan_nested(&shown, options, Task::Rewrite(&mut left), "", 0)?;
        let mut quirks = planned.quirks;
        quirks.insert(Quirk::MixedLineEnds);
        return Ok(Planned {
            patch: Patch::default(),
            quirks,
            ..planned
        });
    }
    plan_nested(source, options, Task::Rewrite(judge), "", 0)
}

/// Makes the plan that brings back what stood in a message before its links were wrapped.
///
/// # Errors
/// When the message cannot be read.
pub fn plan_restore(source: &dyn Source, originals: &mut dyn Originals) -> Result<Planned, PlanError> {
    let options = Options {
        ambiguous: Ambiguous::Pass,
        // Every file that may have been worked on then.
        markup_files: MarkupFiles::Named,
        ..Options::default()
    };
    plan_nested(source, &options, Task::Restore(originals), "", 0)
}

/// Puts every site before the judge as one that stays.
struct KeepAll<'a>(&'a mut dyn Judge);

impl Judge for KeepAll<'_> {
    fn rule(&mut self, site: &Site<'_>) -> Ruling {
        let url = Cow::Borrowed(&*site.url);
        self.0.rule(&Site {
            left: Some("bare-cr"),
            at: site.at.clone(),
            place: Cow::Borrowed(&*site.place),
            url,
            ..*site
        })
    }

    fn is_safe(&mut self, _: &Site<'_>) -> bool {
        true
    }

    fn seal_mark(&self, kept: &[u8]) -> Seal {
        self.0.seal_mark(kept)
    }
}

/// A message whose lines end in CR alone, shown with LF in their place: some programs read it so, and offsets stay.
struct BareCrLines<'a>(&'a dyn Source);

impl<'a> BareCrLines<'a> {
    /// Some when the start of the message has a CR and not a single LF.
    fn over(source: &'a dyn Source) -> io::Result<Option<Self>> {
        let head = source.read(0..source.len().min(4096))?;
        let cr_only = memchr::memchr(b'\n', &head).is_none() && memchr::memchr(b'\r', &head).is_some();
        Ok(cr_only.then_some(Self(source)))
    }
}

impl Source for BareCrLines<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let mut bytes = self.0.read(range)?.into_owned();
        for at in bytes.iter_mut().filter(|b| **b == b'\r') {
            *at = b'\n';
        }
        Ok(Cow::Owned(bytes))
    }
}

/// Reads the structure of a message.
///
/// # Errors
/// When the message cannot be read.
pub fn scan_source(source: &dyn Source) -> io::Result<PartMap> {
    let mut scanner = Scanner::new();
    let mut at = 0;
    while at < source.len() {
        let end = (at + BLOCK).min(source.len());
        scanner.feed(&source.read(at..end)?);
        at = end;
    }
    Ok(scanner.finish())
}

/// Makes the plan for a message, or for one within another: `prefix` is the number of the part that holds it, `depth` how
/// many messages stand around it.
fn plan_nested(
    source: &dyn Source,
    options: &Options,
    task: Task<'_>,
    prefix: &str,
    depth: usize,
) -> Result<Planned, PlanError> {
    let map = scan_source(source)?;
    let mut out = Planned {
        patch: Patch::default(),
        quirks: map.quirks,
        parts: map.parts.len(),
        refused: LOST.iter().copied().find(|q| map.quirks.contains(*q)),
        message_id: message_id(&map),
    };
    if out.refused.is_some() {
        return Ok(out);
    }
    let ambiguous = map.quirks.any(AMBIGUOUS);
    if ambiguous && options.ambiguous == Ambiguous::Refuse {
        out.refused = AMBIGUOUS.iter().copied().find(|q| map.quirks.contains(*q));
        return Ok(out);
    }
    let frozen = frozen::frozen(&map, source, &mut out.quirks)?;
    let mut work = leaf::LeafWork {
        source,
        map: &map,
        task,
        links: autolink::UrlForms {
            bare_domains: options.bare_domains,
            ..autolink::UrlForms::ALL
        },
        options,
        sound: !ambiguous,
        ambiguous,
        quirks: Quirks::default(),
        changes: Vec::new(),
        unseen: map
            .quirks
            .contains(Quirk::TangledBoundaries)
            .then_some(Quirk::TangledBoundaries),
        lost: None,
    };
    for (index, (part, frozen)) in map.parts.iter().zip(frozen).enumerate() {
        let number = || {
            let own = map.number(index);
            match (prefix, own.as_str()) {
                ("", _) => own,
                (prefix, "") => prefix.to_owned(),
                (prefix, own) => format!("{prefix}.{own}"),
            }
        };
        if part.quirks.contains(Quirk::StrayHeaderLine) {
            work.stray_lines(part, &number);
        }
        let left = frozen.then_some("signed");
        let is_free = part.kind == PartKind::Leaf && left.is_none();
        if is_free && part.quirks.contains(Quirk::NoParts) && work.sniffed_parts(part, &number, depth, &mut out)? {
            continue;
        }
        if is_free && leaf::is_coded_message(part) {
            if depth >= MAX_NESTED {
                out.refused = Some(Quirk::TooDeep);
                return Ok(out);
            }
            work.coded_message(part, &number(), depth, &mut out)?;
        } else if part.kind == PartKind::Leaf {
            work.leaf(index, &number, left)?;
        } else {
            work.container(index, &number)?;
        }
    }
    for index in 0..map.parts.len() {
        work.state_container(index);
    }
    out.quirks.merge(work.quirks);
    let (unseen, lost) = (work.unseen, work.lost);
    match Patch::new(work.changes) {
        Ok(patch) => out.patch = patch,
        // Two readings of a header change the same bytes: the result is undefined.
        Err(Overlap { .. }) => out.refused = Some(Quirk::OddHeaderField),
    }
    out.refused = out.refused.or(lost);
    if options.ambiguous != Ambiguous::Pass {
        out.refused = out.refused.or(unseen);
    }
    Ok(out)
}

fn message_id(map: &PartMap) -> Option<String> {
    let block = &map.parts.first()?.block;
    let fields = crate::header::HeaderFields::parse(block);
    let field = fields.named(block, "message-id").next()?;
    let raw = block.slice(field.value.clone());
    let text = crate::header::lossy(raw.trim_ascii()).into_owned();
    let inner = text.trim_start_matches('<').trim_end_matches('>');
    Some(inner.chars().filter(|c| !c.is_control()).take(998).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a letter in place of every link.
    pub(super) struct Letters;

    impl Judge for Letters {
        fn rule(&mut self, site: &Site<'_>) -> Ruling {
            if site.left.is_some() {
                Ruling::Keep
            } else {
                Ruling::Replace("L".to_owned())
            }
        }

        fn is_safe(&mut self, site: &Site<'_>) -> bool {
            site.written == b"L"
        }

        fn seal_mark(&self, _: &[u8]) -> Seal {
            Seal::default()
        }
    }

    fn rewritten(mail: &str, options: Options) -> String {
        let planned = plan(&mail.as_bytes(), &options, &mut Letters).unwrap();
        assert_eq!(planned.refused, None);
        String::from_utf8(planned.patch.apply(mail.as_bytes())).unwrap()
    }

    fn strip() -> Options {
        Options {
            amp: Amp::Strip,
            ..Options::default()
        }
    }

    fn alternatives(parts: &[&str]) -> String {
        let part = |t: &&str| format!("--b\r\nContent-Type: text/{t}\r\n\r\n<p>{t}\r\n");
        let parts: String = parts.iter().map(part).collect();
        format!("MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n{parts}--b--\r\n")
    }

    /// Takes every text for a link of ours that is longer than the text.
    struct TooLong;

    impl Originals for TooLong {
        fn find(&self, text: &[u8]) -> Option<usize> {
            (!text.is_empty()).then_some(0)
        }

        fn open(&mut self, text: &str) -> Option<crate::Original> {
            Some(crate::Original {
                len: text.len() + 1,
                form: 0,
                target: "https://a.example/".into(),
                written: None,
            })
        }

        fn knows_mark(&self, _: &[u8], _: &Seal) -> bool {
            false
        }
    }

    #[test]
    #[should_panic(expected = "out of range for slice of length")]
    fn a_wrong_offset_ends_the_work_on_the_message() {
        let mail = b"Subject: x\r\n\r\nsee https://a.example/";
        let _ = plan_restore(&mail.as_slice(), &mut TooLong);
    }

    #[test]
    fn a_message_below_a_boundary_that_never_comes_keeps_its_first_part_whole() {
        let inner = "--in\r\nContent-Type: text/html\r\n\r\n<a href=https://a.example/>x</a>\r\n--in--\r\n";
        let mail = format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=gone\r\n\r\n--out\r\nContent-Type: \
             multipart/alternative; boundary=in\r\n\r\n{inner}\r\n--out--\r\n"
        );
        let out = rewritten(&mail, Options::default());
        let body = out.split_once("\r\n\r\n").unwrap().1;
        let wanted = mail.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, wanted.replace("https://a.example/", "L"));
    }

    #[test]
    fn amp_parts_are_taken_out_where_others_stand_beside() {
        for (with, without) in [
            (&["x-amp-html", "html"][..], &["html"][..]),
            (&["plain", "x-amp-html", "html"], &["plain", "html"]),
            (&["plain", "html", "x-amp-html"], &["plain", "html"]),
            (&["x-amp-html"], &["x-amp-html"]),
        ] {
            assert_eq!(rewritten(&alternatives(with), strip()), alternatives(without));
        }
        let kept = alternatives(&["x-amp-html", "html"]);
        assert_eq!(rewritten(&kept, Options::default()), kept);
    }

    #[test]
    fn an_amp_part_alone_is_made_safe() {
        let mail = "Content-Type: text/x-amp-html\r\n\r\n<a href=\"http://a.example\">x</a>\r\n";
        assert!(rewritten(mail, strip()).ends_with("<a href=\"L\">x</a>\r\n"));
    }

    #[test]
    fn files_of_markup_are_worked_on_as_far_as_wanted() {
        for (kind, named, typed) in [
            ("text/html", true, true),
            ("image/svg+xml", true, true),
            ("application/octet-stream", true, false),
        ] {
            let mail = format!(
                "Content-Type: {kind}; name=a.html\r\nContent-Disposition: attachment\r\n\r\n<a href=http://a.example>x</a>\r\n"
            );
            for (markup_files, wanted) in [
                (MarkupFiles::Leave, false),
                (MarkupFiles::Typed, typed),
                (MarkupFiles::Named, named),
            ] {
                let options = Options {
                    markup_files,
                    ..Options::default()
                };
                let out = rewritten(&mail, options);
                assert_eq!(out.ends_with("<a href=L>x</a>\r\n"), wanted, "{kind} {markup_files:?}");
                assert_eq!(out == mail, !wanted, "{kind} {markup_files:?}");
            }
        }
    }
}
