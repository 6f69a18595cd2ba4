//! The context of markup as lol_html reads it, by offsets.
//!
//! lol_html distinguishes text, markup and raw text. Its output is discarded.

use std::cell::RefCell;
use std::ops::Range;

use lol_html::html_content::TextType;
use lol_html::{AsciiCompatibleEncoding, HtmlRewriter, MemorySettings, Settings, doc_text};

use super::action::{SiteAction, is_contested};
use super::line::{OpenBlocks, OpenLink, word};
use super::tag::{self, Tag};
use crate::edit::meets;
use crate::site::Use;
use crate::slice::Slice;

/// The greatest depth of raw text within raw text.
const MAX_RAW_DEPTH: usize = 4;
/// Memory that the parser may take beside the text, in octets.
const PARSER_MEMORY: usize = 8 << 20;
const TEMPLATE: u64 = word(b"template");

/// The stretches of a text by kind.
#[derive(Debug, Default)]
pub(crate) struct MarkupContext {
    /// Runs of running text.
    pub(crate) runs: Vec<Run>,
    /// Text on screen in which no tag can stand (xmp, plaintext, CDATA sections): URLs in it are text.
    pub(crate) shown_raw: Vec<Range<usize>>,
    /// Raw text in which tags are no markup to any browser (title, textarea, style, script, xmp, plaintext).
    pub(crate) inert: Vec<Range<usize>>,
    /// Comments, the bogus kinds included.
    pub(crate) comments: Vec<Range<usize>>,
    /// The offset at which a tag begins that the end of the text cuts off.
    pub(crate) dangling: Option<usize>,
}

/// Running text on one line, inline markup left out.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) pieces: Vec<Range<usize>>,
    /// The start of the start tag of the link around the text.
    pub(crate) link: Option<usize>,
}

impl MarkupContext {
    fn add(&mut self, run: Run) {
        if !run.pieces.is_empty() {
            self.runs.push(run);
        }
    }

    /// Whether an attribute that leads somewhere stands, in part, in what this reading takes for text, or runs on to the end
    /// of it, `len`.
    pub(crate) fn holds_text(&self, actions: &[SiteAction], len: usize) -> bool {
        let shown = sorted(self.runs.iter().flat_map(|r| &r.pieces).chain(&self.shown_raw));
        let inert = sorted(self.inert.iter());
        actions.iter().any(|a| match a {
            SiteAction::Judge { usage, whole, .. } if *usage == Use::Json => meets(&shown, whole),
            SiteAction::Judge { usage, .. } if *usage == Use::WordField => false,
            SiteAction::Judge { whole, .. } | SiteAction::Disable { whole } => {
                whole.end >= len || meets(&shown, whole) || meets(&inert, whole)
            }
        })
    }
}

fn sorted<'a>(ranges: impl Iterator<Item = &'a Range<usize>>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = ranges.cloned().collect();
    out.sort_by_key(|r| r.start);
    out
}

/// Renames the elements about which parsers disagree to unknown ones; `None` when there are none.
pub(super) fn plainer(text: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    for at in memchr::memchr_iter(b'<', text) {
        let start = at + 1 + usize::from(text.get(at + 1) == Some(&b'/'));
        let rest = text.slice(start..);
        let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if is_contested(rest.slice(..len)) {
            let out = out.get_or_insert_with(|| text.to_vec());
            out.iter_mut().skip(start).take(len).for_each(|b| *b = b'x');
        }
    }
    out
}

/// Reads the context of a text; `None` when lol_html cannot (ambiguous markup, out of memory).
pub(super) fn read_fully(text: &[u8]) -> Option<MarkupContext> {
    read_as(text, text)
}

/// Reads the context of a text that the parser is given as `shown`, of the same length.
pub(super) fn read_as(text: &[u8], shown: &[u8]) -> Option<MarkupContext> {
    let mut out = MarkupContext::default();
    read_into(text, shown, 0, 0, &mut out)?;
    Some(out)
}

/// Reads `text`, which begins at `offset`; the parser is given `shown`, of the same length.
fn read_into(text: &[u8], shown: &[u8], offset: usize, depth: usize, out: &mut MarkupContext) -> Option<()> {
    let chunks = chunks(shown)?;
    let mut walk = LineWalk::default();
    let mut at = 0;
    for (range, kind) in chunks {
        let gap = text.get(at..range.start)?;
        let owner = walk.add_markup(gap, at + offset, out);
        at = range.end;
        let there = range.start + offset..range.end + offset;
        match kind {
            TextType::Data => walk.add_text(there),
            TextType::CDataSection if walk.link.open.is_none() => out.shown_raw.push(there),
            TextType::CDataSection => {}
            TextType::RCData | TextType::ScriptData => out.inert.push(there),
            TextType::PlainText => {
                out.inert.push(there.clone());
                out.shown_raw.push(there);
            }
            TextType::RawText => match owner.map(|o| gap.slice(o)) {
                Some(o) if o.eq_ignore_ascii_case(b"style") => out.inert.push(there),
                Some(o) if o.eq_ignore_ascii_case(b"xmp") => {
                    out.inert.push(there.clone());
                    out.shown_raw.push(there);
                }
                _ if depth < MAX_RAW_DEPTH => {
                    let (text, shown) = (text.get(range.clone())?, shown.get(range)?);
                    read_into(text, shown, there.start, depth + 1, out)?;
                    if holds_link_or_table(text) {
                        walk.link.forget();
                    }
                }
                _ => return None,
            },
        }
    }
    let rest = text.get(at..)?;
    walk.add_markup(rest, at + offset, out);
    if depth == 0 {
        out.dangling = dangling(rest).map(|n| at + n);
    }
    walk.finish(out);
    Some(())
}

/// The text of a document, stretch by stretch, as lol_html reads it.
fn chunks(text: &[u8]) -> Option<Vec<(Range<usize>, TextType)>> {
    let found: RefCell<Vec<(Range<usize>, TextType)>> = RefCell::new(Vec::new());
    let settings = Settings::new()
        .append_document_content_handler(doc_text!(|t| {
            let at = t.source_location().bytes();
            let mut found = found.borrow_mut();
            match found.last_mut() {
                Some((r, kind)) if r.end == at.start && *kind == t.text_type() => r.end = at.end,
                _ if at.start < at.end => found.push((at, t.text_type())),
                _ => {}
            }
            Ok(())
        }))
        .with_encoding(AsciiCompatibleEncoding::utf_8())
        .with_strict(true)
        .with_memory_settings(
            MemorySettings::new().with_max_allowed_memory_usage(text.len().saturating_mul(2) + PARSER_MEMORY),
        );
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    rewriter.write(text).ok()?;
    rewriter.end().ok()?;
    Some(found.into_inner())
}

/// Assembles the lines of running text.
#[derive(Default)]
struct LineWalk {
    run: Run,
    blocks: OpenBlocks,
    link: OpenLink,
    tag: Tag,
    /// Lines that a template stands in: what is in it does not show there.
    aside: Vec<Run>,
}

impl LineWalk {
    fn add_text(&mut self, at: Range<usize>) {
        if !self.link.in_option() {
            self.run.pieces.push(at);
        }
    }

    /// Reads the markup between two stretches of text, which begins at `offset`, for links and the ends of lines.
    /// Returns where the name of the last start tag stands.
    fn add_markup(&mut self, gap: &[u8], offset: usize, out: &mut MarkupContext) -> Option<Range<usize>> {
        let mut last = None;
        let mut at = 0;
        while let Some(n) = memchr::memchr(b'<', gap.slice(at..)) {
            let start = at + n;
            let rest = gap.slice(start + 1..);
            match rest {
                [b'/', c, ..] if c.is_ascii_alphabetic() => {
                    tag::read(gap, start + 1, &mut self.tag);
                    let name = self.tag.name(gap);
                    let word = word(name);
                    let ends = self.blocks.end_at(name, word, true);
                    self.link.end(word);
                    self.break_line(ends, out);
                    if word == TEMPLATE
                        && let Some(outer) = self.aside.pop()
                    {
                        out.add(std::mem::replace(&mut self.run, outer));
                        self.link.forget();
                        self.break_line(false, out);
                    }
                    at = self.tag.end;
                }
                [c, ..] if c.is_ascii_alphabetic() => {
                    tag::read(gap, start, &mut self.tag);
                    let name = self.tag.name(gap);
                    let word = word(name);
                    let ends = self.blocks.end_at(name, word, false);
                    self.link.start(gap, &self.tag, word, start + offset);
                    self.break_line(ends, out);
                    if word == TEMPLATE {
                        self.aside.push(std::mem::take(&mut self.run));
                        self.link.forget();
                    }
                    last = Some(self.tag.name.clone());
                    at = self.tag.end;
                }
                [b'!' | b'?' | b'/', ..] => {
                    at = start + 1 + comment_end(rest).unwrap_or(rest.len());
                    out.comments.push(start + offset..at + offset);
                }
                _ => at = start + 1,
            }
        }
        last
    }

    /// Ends the line, if it is to end, or if other text than before belongs to a link.
    fn break_line(&mut self, ends: bool, out: &mut MarkupContext) {
        if ends || self.run.link != self.link.open {
            out.add(std::mem::take(&mut self.run));
            self.run.link = self.link.open;
        }
    }

    fn finish(self, out: &mut MarkupContext) {
        out.add(self.run);
        self.aside.into_iter().for_each(|run| out.add(run));
        out.runs.sort_by_key(|r| r.pieces.first().map(|p| p.start));
    }
}

/// Whether raw text has tags in it that end or begin a link for programs that take it for markup.
fn holds_link_or_table(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'<', raw).any(|at| {
        let rest = raw.slice(at + 1..);
        let name = rest.strip_prefix(b"/").unwrap_or(rest);
        matches!(name.first(), Some(b'a' | b'A' | b't' | b'T' | b'c' | b'C'))
    })
}

/// Finds the end of a comment whose `<` stands before `rest`, the bogus kinds included (WHATWG HTML 13.2.5.41 to 13.2.5.52).
pub(crate) fn comment_end(rest: &[u8]) -> Option<usize> {
    let Some(body) = rest.strip_prefix(b"!--") else {
        return memchr::memchr(b'>', rest).map(|n| n + 1);
    };
    if body.starts_with(b">") {
        return Some(4);
    }
    if body.starts_with(b"->") {
        return Some(5);
    }
    memchr::memchr_iter(b'>', body)
        .find(|n| {
            let before = body.slice(..*n);
            before.strip_suffix(b"!").unwrap_or(before).ends_with(b"--")
        })
        .map(|n| 3 + n + 1)
}

/// Finds where in the markup that ends a text a tag begins that does not end.
fn dangling(gap: &[u8]) -> Option<usize> {
    let mut tag = Tag::default();
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'<', gap.slice(at..)) {
        let start = at + n;
        match gap.slice(start + 1..) {
            [b'/', c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start + 1, &mut tag);
                at = tag.end;
            }
            [b'/' | b'!' | b'?', ..] => at = start + 1 + comment_end(gap.slice(start + 1..))?,
            [c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start, &mut tag);
                if tag.cut_off {
                    return Some(start);
                }
                at = tag.end;
            }
            _ => at = start + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(html: &str) -> Vec<String> {
        let c = read_fully(html.as_bytes()).unwrap();
        c.runs
            .iter()
            .filter(|r| r.link.is_none())
            .map(|r| r.pieces.iter().map(|r| &html[r.clone()]).collect())
            .collect()
    }

    #[test]
    fn runs_cross_inline_markup_and_comments() {
        assert_eq!(runs("<p>a<b>b</b><!-- x -->c</p><p>d</p>"), ["abc", "d"]);
        assert_eq!(runs("a<br>b<wbr>c"), ["a", "bc"]);
    }

    #[test]
    fn text_of_links_is_left_out() {
        assert_eq!(runs("a<a href=x>b</a>c"), ["a", "c"]);
        assert_eq!(runs("<a name=x>b</a>"), ["b"]);
        assert_eq!(runs("<td><a href=x>b</td><td>c</td>"), ["c"]);
    }

    #[test]
    fn text_in_a_table_belongs_to_the_link_around_it() {
        let table = "<table><tr><td>b<table><td>c</table></td><td><a href=y>d</a>e</td></tr></table>";
        assert_eq!(runs(&format!("<a href=x>a{table}f</a>g")), ["g"]);
        assert_eq!(runs(&format!("<a href=x>a</a>{table}f")), ["b", "c", "e", "f"]);
    }

    #[test]
    fn only_what_browsers_break_a_line_at_cuts_text() {
        for html in [
            "a<x-y>b</x-y>c",
            "a<st1:place>b</st1:place>c",
            "a</b></i></div>b</a>c",
            "a<a name=x>b</a>c",
            "a<style>s</style>b<meta>c",
            "a<ruby>b</ruby></img>c",
        ] {
            assert_eq!(runs(html), ["abc"], "{html}");
        }
        assert_eq!(
            runs("<blockquote>a</blockquote>b<p>c</p>d</p>e<br>f"),
            ["a", "b", "c", "d", "e", "f"]
        );
        assert_eq!(runs("a<template>b</template>c"), ["ac", "b"]);
    }

    #[test]
    fn only_svg_gives_xlink_a_meaning() {
        assert_eq!(runs("<a xlink:href=x>a</a>"), ["a"]);
        assert_eq!(runs("<svg><a xlink:href=x>a</a></svg>"), [""; 0]);
        assert_eq!(runs("<svg><p><a xlink:href=x>a</a></svg>"), ["a"]);
        assert_eq!(runs("<svg/><a xlink:href=x>a</a>"), ["a"]);
    }

    #[test]
    fn text_of_choices_is_left_out() {
        assert_eq!(runs("<select><option>a<option>b</select>c"), ["c"]);
        assert_eq!(runs("<select><option>a</option><p>b</select>"), ["b"]);
        assert_eq!(runs("<option>a"), ["a"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        /// Text that is left alone because it stands in a link does so in a browser's tree.
        #[test]
        fn text_of_links_is_in_links(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>", "<caption>", "</caption>", "<th>", "<a href=x>", "</a>",
                "<a name=x>", "<p>", "</p>", "<b>", "</b>", "<div>", "</div>", "<object>", "</object>", "<template>", "</template>",
                "<svg>", "</svg>", "<a xlink:href=x>", "<tbody>", "<button>", "</button>", "<h1>", "</h1>", "<noscript>", "</noscript>",
                "<marquee>", "</marquee>", "<li>", "W", "W", "W", "W",
            ]), 0..16),
            standard: bool,
        ) {
            let mut html = if standard { "<!DOCTYPE html>".to_owned() } else { String::new() };
            for (n, p) in pieces.iter().enumerate() {
                html += &if *p == "W" { format!("[{n}]") } else { (*p).to_owned() };
            }
            let Some(c) = read_fully(html.as_bytes()) else { return Ok(()) };
            let free = super::super::tree::words_outside_links(html.as_bytes());
            for run in c.runs.iter().filter(|r| r.link.is_some()) {
                for word in run.pieces.iter().flat_map(|p| html[p.clone()].split_inclusive(']')) {
                    prop_assert!(!free.contains(word), "{} in {}", word, html);
                }
            }
        }
    }

    #[test]
    fn raw_text_is_told_apart() {
        let html = "<title>t</title><style>s</style><textarea>u</textarea><xmp>x</xmp><noscript><p>n</p></noscript>";
        let c = read_fully(html.as_bytes()).unwrap();
        let text = |r: &[Range<usize>]| r.iter().map(|r| html[r.clone()].to_owned()).collect::<Vec<_>>();
        assert_eq!(text(&c.inert), ["t", "s", "u", "x"]);
        assert_eq!(text(&c.shown_raw), ["x"]);
        assert_eq!(runs(html), ["n"]);
    }
}
