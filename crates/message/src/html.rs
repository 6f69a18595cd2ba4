//! Links in HTML: found in every reading, replaced in the bytes as they stand, and the result proved.

pub(crate) mod action;
mod attributes;
pub(crate) mod context;
mod json;
mod line;
pub(crate) mod link_text;
pub(crate) mod mark;
pub(crate) mod parsed;
pub(crate) mod quick;
pub(crate) mod reference;
pub(crate) mod sites;
pub(crate) mod tag;
mod text_links;
pub(crate) mod tree;
mod word_field;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use encoding_rs::Encoding;

use crate::autolink;
use crate::edit::{self, TextEdit, apply};
use crate::mapped::Mapped;
use crate::quirk::{Quirk, Quirks};
use crate::site::{Judge, Ruling, Site, Use};
use crate::slice::Slice;
use action::SiteAction;
use context::MarkupContext;
use link_text::LinkText;
use mark::Mark;
use parsed::Parsed;
use sites::Scan;
use text_links::links_more;

/// The options of work on a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextWork<'a> {
    /// Number of the part, for reports.
    pub(crate) part: &'a str,
    pub(crate) encoding: &'static Encoding,
    /// In which queries of URLs in HTML are written (WHATWG URL 4.4); not always that of the text as it stands here.
    pub(crate) queries: &'static Encoding,
    /// A base that a header field gives.
    pub(crate) base: Option<&'a str>,
    pub(crate) links: autolink::UrlForms,
    /// The reason the part stays as it is, if it does.
    pub(crate) left: Option<&'static str>,
    /// The map from the text to the bytes as they stand, where it is not the same.
    pub(crate) mapped: Option<(&'a Mapped, &'a [u8])>,
}

impl TextWork<'_> {
    /// Finds where a stretch of the text stands in the bytes as they are.
    fn raw(&self, at: Range<usize>) -> Option<Range<usize>> {
        let Some((mapped, _)) = self.mapped else {
            return Some(at);
        };
        let pieces = mapped.raw(&at);
        pieces.first().zip(pieces.last()).map(|(a, b)| a.start..b.end)
    }
}

/// The outcome of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TextOutcome {
    /// Edits, perhaps none.
    Edits(Vec<TextEdit>),
    /// The whole text, written anew.
    Anew(Vec<u8>),
}

/// Opens a comment that holds the rest of a tag which the end of the text cut off.
pub(crate) const CUT: &[u8] = b"<!--linkgate-cut:";

/// Makes every link of an HTML text safe.
pub(crate) fn rewrite(text: &[u8], work: &TextWork<'_>, judge: &mut dyn Judge, quirks: &mut Quirks) -> TextOutcome {
    if memchr::memchr(0, text).is_some() {
        // Browsers replace a NUL, other programs drop it: it is dropped for all of them.
        let clean: Vec<u8> = text.iter().copied().filter(|b| *b != 0).collect();
        return match rewrite(&clean, work, judge, quirks) {
            TextOutcome::Edits(edits)
                if edits.is_empty() && !nul_in_markup(text) && !autolink::may_hold_url(&clean) =>
            {
                TextOutcome::Edits(edits)
            }
            TextOutcome::Edits(edits) => {
                quirks.insert(Quirk::Nul);
                TextOutcome::Anew(apply(&clean, &edits))
            }
            anew => {
                quirks.insert(Quirk::Nul);
                anew
            }
        };
    }
    let parsed = Parsed::of(text);
    quirks.insert_if(Quirk::AmbiguousMarkup, parsed.context().is_none());
    let mut pass = Pass::new(&parsed, work, judge);
    if let Some(context) = parsed.context()
        && let Some((edits, scan)) = pass.edits(ContextReading::Sure(context))
    {
        quirks.insert_if(Quirk::CutOffMarkup, context.dangling.is_some());
        quirks.insert_if(Quirk::AmbiguousMarkup, pass.in_text);
        let idle = edits.is_empty() && !scan.deferred;
        if idle && !scan.contested {
            return TextOutcome::Edits(edits);
        }
        let out = apply(text, &edits);
        if idle || pass.is_proved(&out) {
            // Where parsers may disagree, there may be running text that this parser did not see.
            let other = scan.contested.then(|| pass.with_text_links(&out)).flatten();
            return TextOutcome::Edits(other.filter(|o| links_more(&edits, o)).unwrap_or(edits));
        }
    }
    // Either parsers disagree about this text, or tags overlap: now every reading counts, visible or not.
    quirks.insert(Quirk::AmbiguousMarkup);
    if !pass.flooded
        && let Some((edits, _)) = pass.edits(ContextReading::Every)
    {
        let out = apply(text, &edits);
        let holds = pass.sweeps_clean(&out);
        let linked = if holds { pass.with_text_links(&out) } else { None };
        if holds && !pass.flooded {
            return TextOutcome::Edits(linked.unwrap_or(edits));
        }
        if !pass.flooded
            && let Some(rebuilt) = tree::rebuild(&out, work.encoding, &mut pass)
            && pass.sweeps_clean(&rebuilt)
        {
            quirks.insert(Quirk::MarkupRebuilt);
            return TextOutcome::Anew(rebuilt);
        }
    }
    quirks.insert(Quirk::MarkupFlattened);
    TextOutcome::Anew(flatten(text))
}

/// Puts every site of a text that stays as it is before the judge, for the report. Returns what would change; `None`
/// when its tags overlap too often.
pub(crate) fn report(text: &[u8], work: &TextWork<'_>, judge: &mut dyn Judge) -> Option<Vec<TextEdit>> {
    let parsed = Parsed::of(text);
    let mut pass = Pass::new(&parsed, work, judge);
    pass.edits(parsed.context().map_or(ContextReading::Every, ContextReading::Sure))
        .map(|(edits, _)| edits)
}

/// The edits of a text without a proof, for [`crate::bench`], which measures what the proof costs.
#[cfg(feature = "internals")]
pub(crate) fn unproved(text: &[u8], work: &TextWork<'_>, judge: &mut dyn Judge) -> Option<Vec<TextEdit>> {
    let parsed = Parsed::of(text);
    let context = parsed.context()?;
    Pass::new(&parsed, work, judge)
        .edits(ContextReading::Sure(context))
        .map(|(edits, _)| edits)
}

/// Makes the tags safe of a text that is HTML to few programs or none.
pub(crate) fn tags_only(text: &[u8], work: &TextWork<'_>, judge: &mut dyn Judge) -> Option<Vec<TextEdit>> {
    let parsed = Parsed::of(text);
    let mut pass = Pass::new(&parsed, work, judge);
    pass.edits(ContextReading::Every).map(|(edits, _)| edits)
}

/// Whether every tag, in every reading of a text, is safe.
#[cfg(feature = "internals")]
pub(crate) fn sweeps_clean(text: &[u8], work: &TextWork<'_>, judge: &mut dyn Judge) -> bool {
    Pass::new(&Parsed::of(text), work, judge).sweeps_clean(text)
}

/// The source of the context of tags.
#[derive(Clone, Copy)]
enum ContextReading<'c> {
    /// All parsers agree on it.
    Sure(&'c MarkupContext),
    /// It may be so: tags count wherever they stand, and links for URLs in the text are put in where it says so.
    Guess(&'c MarkupContext),
    /// Not known: tags count wherever they stand.
    Every,
}

/// A ruling that is stored, cheap to clone.
#[derive(Clone)]
enum KnownRuling {
    Keep,
    Replace(Rc<str>),
    Disarm,
}

/// One text and the rulings about its sites.
struct Pass<'t, 'j> {
    text: &'t [u8],
    parsed: &'t Parsed<'t>,
    work: &'t TextWork<'t>,
    judge: &'j mut dyn Judge,
    /// The links put in so far.
    issued: Issued,
    /// Rulings by place and use, so that a second pass over the same text does not call the judge again.
    rulings: BTreeMap<(usize, usize, u8), KnownRuling>,
    /// Something that leads somewhere in one reading is text on screen in another.
    in_text: bool,
    /// There are more URLs in running text than the limit ([`action::most`]).
    flooded: bool,
}

impl<'t, 'j> Pass<'t, 'j> {
    fn new(parsed: &'t Parsed<'t>, work: &'t TextWork<'t>, judge: &'j mut dyn Judge) -> Self {
        Self {
            text: parsed.text(),
            parsed,
            work,
            judge,
            issued: Issued::default(),
            rulings: BTreeMap::new(),
            in_text: false,
            flooded: false,
        }
    }

    /// Makes the edits for a text that parsers read differently, with links for URLs in what one of them takes for
    /// running text. `None` unless a browser then still shows the same text as for `out`, the result without those
    /// links.
    fn with_text_links(&mut self, out: &[u8]) -> Option<Vec<TextEdit>> {
        if !autolink::may_hold_url(out) {
            return None;
        }
        let (edits, _) = self.edits(ContextReading::Guess(self.parsed.guess()?))?;
        let linked = apply(self.text, &edits);
        (linked.len() > out.len() && self.sweeps_clean(&linked) && tree::words(&linked)? == tree::words(out)?)
            .then_some(edits)
    }

    /// Makes the edits that make every site safe; tags in what is certainly raw text are left. `None` when edits would
    /// overlap.
    fn edits(&mut self, reading: ContextReading<'_>) -> Option<(Vec<TextEdit>, Scan)> {
        let (text, work) = (self.text, self.work);
        let inert = match reading {
            ContextReading::Sure(context) => context.inert.as_slice(),
            ContextReading::Guess(_) | ContextReading::Every => &[],
        };
        let scan = sites::scan(self.parsed, inert);
        if scan.tangled {
            return None;
        }
        let base = scan
            .base
            .clone()
            .map(|r| sites::attribute(text, &r, work.encoding).into_owned());
        let base = base.as_deref().or(work.base);
        let mut edits = Vec::with_capacity(scan.actions.len());
        // Links by the offset of their tag, and whether all their targets were taken out.
        let mut dead: HashMap<usize, bool> = HashMap::new();
        for action in &scan.actions {
            match action {
                SiteAction::Judge {
                    usage,
                    tag,
                    name,
                    value,
                    whole,
                } => {
                    let place = sites::place(text, tag, name);
                    let url = sites::value(text, value, *usage, work.encoding);
                    // A value that runs past the end of its comment is judged whole, but only the part within is
                    // replaced.
                    let (value, whole) = (&scan.clipped(value), scan.clipped(whole));
                    let mut site = self.site(*usage, place, value.clone(), url, base);
                    if *usage == Use::Link {
                        let text = text.slice(tag.start.saturating_sub(1)..);
                        let encoding = work.encoding;
                        site.link_text = Some(LinkText { text, encoding });
                    }
                    let ruling = self.rule(value, *usage, &site);
                    if *usage == Use::Link {
                        let gone = matches!(ruling, KnownRuling::Disarm);
                        dead.entry(tag.start.saturating_sub(1))
                            .and_modify(|d| *d &= gone)
                            .or_insert(gone);
                    }
                    match ruling {
                        KnownRuling::Keep => {}
                        KnownRuling::Replace(with) => edits.push(TextEdit {
                            at: value.clone(),
                            with: with.as_bytes().to_vec(),
                        }),
                        KnownRuling::Disarm if name.is_empty() => edits.push(TextEdit {
                            at: value.clone(),
                            with: Vec::new(),
                        }),
                        KnownRuling::Disarm => edits.push(self.disable(&whole)),
                    }
                }
                SiteAction::Disable { whole } => edits.push(self.disable(&scan.clipped(whole))),
            }
        }
        if !self.text_edits(reading, &dead, base, &mut edits) {
            return None;
        }
        if let ContextReading::Sure(context) = reading {
            self.in_text |= context.holds_text(&scan.actions, text.len());
            if let Some(from) = context.dangling {
                edits.retain(|e| e.at.start < from || e.at.is_empty() && e.at.start == from);
                edits.push(TextEdit {
                    at: from..text.len(),
                    with: self.cut_comment(text.slice(from..)),
                });
            }
        }
        edit::sorted(edits).map(|e| (e, scan))
    }

    fn site<'s>(
        &self,
        usage: Use,
        place: std::borrow::Cow<'s, str>,
        at: Range<usize>,
        url: std::borrow::Cow<'s, str>,
        base: Option<&'s str>,
    ) -> Site<'s>
    where
        Self: 's,
    {
        // Lifetimes of text and work outlive this borrow; the judge is not part of a site.
        let (text, work): (&[u8], &TextWork<'_>) = (self.text, self.work);
        let bytes = work.mapped.map_or(text, |(_, raw)| raw);
        let at = work.raw(at);
        Site {
            usage,
            place,
            part: work.part,
            written: at.clone().map(|at| bytes.slice(at)).unwrap_or_default(),
            at,
            url,
            base,
            left: work.left,
            encoding: work.queries,
            link_text: None,
        }
    }

    fn rule(&mut self, at: &Range<usize>, usage: Use, site: &Site<'_>) -> KnownRuling {
        let key = (at.start, at.end, usage.form());
        // Sites come in order the first time, when no ruling is stored yet.
        let later = self.rulings.last_key_value().is_none_or(|(last, _)| *last < key);
        if !later && let Some(r) = self.rulings.get(&key) {
            return r.clone();
        }
        let decided = match self.judge.rule(site) {
            Ruling::Keep => KnownRuling::Keep,
            Ruling::Disarm => KnownRuling::Disarm,
            Ruling::Replace(with) => {
                let with: Rc<str> = with.into();
                self.issued.insert(&with);
                KnownRuling::Replace(with)
            }
        };
        self.rulings.insert(key, decided.clone());
        decided
    }

    /// Whether `out` leads nowhere unsafe: in no reading of any tag, or at least in no browser.
    fn is_proved(&mut self, out: &[u8]) -> bool {
        self.sweeps_clean(out) || tree::every_tag(out, |tag| self.tag_is_safe(tag))
    }

    fn sweeps_clean(&mut self, out: &[u8]) -> bool {
        let scan = sites::scan(&Parsed::of(out), &[]);
        !scan.tangled && self.scan_is_safe(out, &scan)
    }

    fn scan_is_safe(&mut self, out: &[u8], scan: &Scan) -> bool {
        let work = self.work;
        let base = scan
            .base
            .clone()
            .map(|r| sites::attribute(out, &r, work.encoding).into_owned());
        let base = base.as_deref().or(work.base);
        scan.actions.iter().all(|action| match action {
            SiteAction::Disable { .. } => false,
            SiteAction::Judge {
                usage,
                tag,
                name,
                value,
                ..
            } => {
                let at = scan.clipped(value);
                let written = out.slice(at.clone());
                if self.issued.contains(written) {
                    return true;
                }
                let site = Site {
                    usage: *usage,
                    place: sites::place(out, tag, name),
                    part: work.part,
                    written,
                    at: Some(at),
                    url: sites::value(out, value, *usage, work.encoding),
                    base,
                    left: work.left,
                    encoding: work.queries,
                    link_text: None,
                };
                self.judge.is_safe(&site)
            }
        })
    }

    /// Replaces an attribute by one that keeps it, encoded and without effect.
    fn disable(&self, whole: &Range<usize>) -> TextEdit {
        let written = self.text.slice(whole.clone());
        let kept = self.write_mark(Mark::Off, written);
        let quote = written
            .last()
            .filter(|b| matches!(b, b'"' | b'\''))
            .map_or("", |b| if *b == b'"' { "\"" } else { "'" });
        let with = [
            tag::OFF.as_bytes(),
            b"=",
            quote.as_bytes(),
            kept.as_bytes(),
            quote.as_bytes(),
        ]
        .concat();
        TextEdit {
            at: whole.clone(),
            with,
        }
    }

    /// Writes the comment that keeps, without effect, the rest of a tag that was cut off.
    fn cut_comment(&self, rest: &[u8]) -> Vec<u8> {
        [CUT, self.write_mark(Mark::Cut, rest).as_bytes(), b"-->"].concat()
    }

    fn write_mark(&self, mark: Mark, octets: &[u8]) -> String {
        mark.write(octets, self.work.encoding, |covered| self.judge.seal_mark(covered))
    }

    /// Whether a start tag, written out plainly, leads nowhere unsafe.
    fn tag_is_safe(&mut self, tag: &[u8]) -> bool {
        let scan = sites::scan(&Parsed::of(tag), &[]);
        self.scan_is_safe(tag, &scan)
    }
}

impl tree::TagJudge for Pass<'_, '_> {
    fn is_safe(&mut self, tag: &[u8]) -> bool {
        self.tag_is_safe(tag)
    }

    fn keep(&self, attribute: &str) -> String {
        Mark::Off.write(attribute.as_bytes(), encoding_rs::UTF_8, |covered| {
            self.judge.seal_mark(covered)
        })
    }
}

/// Links that were put in. Each ends in its seal, so the last octets differ in nearly all of them: only those are
/// hashed.
#[derive(Default)]
struct Issued(HashMap<u128, Rc<str>>, Vec<Rc<str>>);

impl Issued {
    fn insert(&mut self, link: &Rc<str>) {
        if let Some(other) = self.0.insert(Self::end(link.as_bytes()), link.clone())
            && other != *link
        {
            self.1.push(other);
        }
    }

    fn contains(&self, written: &[u8]) -> bool {
        let is = |link: &Rc<str>| link.as_bytes() == written;
        self.0.get(&Self::end(written)).is_some_and(is) || self.1.iter().any(is)
    }

    fn end(link: &[u8]) -> u128 {
        link.last_chunk().copied().map_or(0, u128::from_le_bytes)
    }
}

fn nul_in_markup(text: &[u8]) -> bool {
    let mut found = false;
    tag::sweep(text, |t| found |= text.slice(t.start..t.end).contains(&0));
    found
}

/// Turns markup into plain text: every tag is shown as text.
fn flatten(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4 + 16);
    out.extend_from_slice(b"<pre>");
    for b in text {
        match b {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            // No program makes a link of a name without its dots and colons.
            b':' => out.extend_from_slice(b"[:]"),
            b'.' => out.extend_from_slice(b"[.]"),
            0 => {}
            b => out.push(*b),
        }
    }
    out.extend_from_slice(b"</pre>");
    out
}
