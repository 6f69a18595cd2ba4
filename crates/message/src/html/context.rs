//! What markup is to a browser: lol_html's reading of it, by offsets.
//!
//! lol_html tells text from markup and raw text from both. Its output is thrown away.

use std::cell::RefCell;
use std::ops::Range;

use lol_html::html_content::TextType;
use lol_html::{AsciiCompatibleEncoding, HtmlRewriter, MemorySettings, Settings, doc_text};

use super::plain;
use super::sites::Action;
use super::tag::{self, Tag};
use crate::site::Use;

/// How deep raw text within raw text is looked into.
const MAX_RAW_DEPTH: usize = 4;
/// Memory that the parser may take beside the text, in octets.
const PARSER_MEMORY: usize = 8 << 20;

/// Stretches of a text by what they are.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Runs of running text.
    pub(crate) runs: Vec<Run>,
    /// Text on screen in which no tag can stand (xmp, plaintext, CDATA sections): URLs in it are text.
    pub(crate) shown_raw: Vec<Range<usize>>,
    /// Raw text in which tags are no markup to any browser (title, textarea, style, script, xmp, plaintext).
    pub(crate) inert: Vec<Range<usize>>,
    /// Where a tag begins that the end of the text cuts off.
    pub(crate) dangling: Option<usize>,
}

/// Running text on one line, inline markup left out.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) pieces: Vec<Range<usize>>,
    /// Where the start tag of the link begins that the text stands in.
    pub(crate) link: Option<usize>,
}

impl Context {
    /// Whether an attribute that leads somewhere stands, in part, in what this reading takes for text, or runs on to the end
    /// of it, `len`.
    pub(crate) fn holds_text(&self, actions: &[Action], len: usize) -> bool {
        let shown = sorted(self.runs.iter().flat_map(|r| &r.pieces).chain(&self.shown_raw));
        let inert = sorted(self.inert.iter());
        actions.iter().any(|a| match a {
            Action::Ask { usage, whole, .. } if *usage == Use::Json => meets(&shown, whole),
            Action::Ask { usage, .. } if *usage == Use::WordField => false,
            Action::Ask { whole, .. } | Action::Off { whole } => {
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

/// Whether a stretch meets one of those that are sorted and apart.
pub(crate) fn meets(sorted: &[Range<usize>], at: &Range<usize>) -> bool {
    let next = sorted.partition_point(|r| r.start < at.end);
    sorted.get(next.wrapping_sub(1)).is_some_and(|r| at.start < r.end)
}

/// Reads the context of a text; `None` when lol_html cannot tell (ambiguous markup, out of memory).
pub(crate) fn read(text: &[u8]) -> Option<Context> {
    if plain::has_no_context(text) {
        return Some(Context::default());
    }
    read_fully(text)
}

/// A guess at the context of a text that parsers read differently: elements that bring rules of their own with them are
/// taken for ones that mean nothing. What is built on it has to be proved.
pub(crate) fn guess(text: &[u8]) -> Option<Context> {
    let mut plainer = text.to_vec();
    for at in memchr::memchr_iter(b'<', text) {
        let start = at + 1 + usize::from(text.get(at + 1) == Some(&b'/'));
        let rest = text.get(start..).unwrap_or_default();
        let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if super::sites::is_contested(rest.get(..len).unwrap_or_default()) {
            plainer.get_mut(start..start + len)?.fill(b'x');
        }
    }
    read_fully(&plainer)
}

/// The same as [`read`], whatever the text is like.
pub(super) fn read_fully(text: &[u8]) -> Option<Context> {
    let mut out = Context::default();
    read_into(text, 0, 0, &mut out)?;
    Some(out)
}

fn read_into(text: &[u8], offset: usize, depth: usize, out: &mut Context) -> Option<()> {
    let chunks = chunks(text)?;
    let mut run = Run::default();
    let mut at = 0;
    for (range, kind) in chunks {
        let gap = text.get(at..range.start)?;
        let owner = cross(gap, at + offset, &mut run, &mut out.runs);
        at = range.end;
        let there = range.start + offset..range.end + offset;
        match kind {
            TextType::Data => run.pieces.push(there),
            TextType::CDataSection if run.link.is_none() => out.shown_raw.push(there),
            TextType::CDataSection => {}
            TextType::RCData | TextType::ScriptData => out.inert.push(there),
            TextType::PlainText => {
                out.inert.push(there.clone());
                out.shown_raw.push(there);
            }
            TextType::RawText => match owner.map(|o| gap.get(o).unwrap_or_default()) {
                Some(o) if o.eq_ignore_ascii_case(b"style") => out.inert.push(there),
                Some(o) if o.eq_ignore_ascii_case(b"xmp") => {
                    out.inert.push(there.clone());
                    out.shown_raw.push(there);
                }
                _ if depth < MAX_RAW_DEPTH => read_into(text.get(range.clone())?, there.start, depth + 1, out)?,
                _ => return None,
            },
        }
    }
    if depth == 0 {
        out.dangling = dangling(text.get(at..)?).map(|n| at + n);
    }
    out.runs.push(run);
    out.runs.retain(|r| !r.pieces.is_empty());
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

/// Goes over the markup between two stretches of text, which begins at `offset`: keeps track of links, tells where a line
/// of text ends. Returns where the name of the last start tag stands.
fn cross(gap: &[u8], offset: usize, run: &mut Run, runs: &mut Vec<Run>) -> Option<Range<usize>> {
    let mut last = None;
    let mut tag = Tag::default();
    let mut at = 0;
    let mut line = |run: &mut Run, link: Option<usize>| {
        if !run.pieces.is_empty() {
            runs.push(std::mem::take(run));
        }
        run.link = link;
    };
    while let Some(n) = memchr::memchr(b'<', gap.get(at..).unwrap_or_default()) {
        let start = at + n;
        let rest = gap.get(start + 1..).unwrap_or_default();
        match rest {
            [b'/', c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start + 1, &mut tag);
                let name = word(tag.name(gap));
                if name == LINK || is_cell(name) {
                    line(run, None);
                } else if !is_inline(name) {
                    let link = run.link;
                    line(run, link);
                }
                at = tag.end;
            }
            [c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start, &mut tag);
                let name = word(tag.name(gap));
                if name == LINK {
                    let has_target = tag.named(gap, b"href").any(|a| a.value.is_some())
                        || tag.named(gap, b"xlink:href").next().is_some();
                    // An anchor that leads nowhere lends its text no protection, and does not break the line either.
                    if has_target || run.link.is_some() {
                        line(run, has_target.then_some(start + offset));
                    }
                } else if is_cell(name) {
                    line(run, None);
                } else if !is_inline(name) {
                    let link = run.link;
                    line(run, link);
                }
                last = Some(tag.name.clone());
                at = tag.end;
            }
            [b'!' | b'?' | b'/', ..] => at = start + 1 + comment_end(rest).unwrap_or(rest.len()),
            _ => at = start + 1,
        }
    }
    last
}

/// A name of up to eight octets in lower case, as a number: comparing those is cheaper than comparing texts. Longer
/// names, of which none matters, and names with a NUL are 0.
pub(super) const fn word(name: &[u8]) -> u64 {
    let (mut out, mut rest, mut at) = (0, name, 0);
    if name.len() > 8 {
        return 0;
    }
    while let [first, behind @ ..] = rest {
        if *first == 0 {
            return 0;
        }
        out |= (first.to_ascii_lowercase() as u64) << at;
        at += 8;
        rest = behind;
    }
    out
}

/// Where a comment ends whose `<` stands before `rest`, the bogus kinds included (WHATWG HTML 13.2.5.41 to 13.2.5.52).
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
            let before = body.get(..*n).unwrap_or_default();
            before.strip_suffix(b"!").unwrap_or(before).ends_with(b"--")
        })
        .map(|n| 3 + n + 1)
}

/// Where in the markup that ends a text a tag begins that does not end.
fn dangling(gap: &[u8]) -> Option<usize> {
    let mut tag = Tag::default();
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'<', gap.get(at..)?) {
        let start = at + n;
        match gap.get(start + 1..)? {
            [b'/', c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start + 1, &mut tag);
                at = tag.end;
            }
            [b'/' | b'!' | b'?', ..] => at = start + 1 + comment_end(gap.get(start + 1..)?)?,
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

pub(super) const LINK: u64 = word(b"a");

/// Elements at whose edge an open link ends for the text within.
fn is_cell(name: u64) -> bool {
    const CELLS: [u64; 5] = [word(b"td"), word(b"th"), word(b"tr"), word(b"table"), word(b"caption")];
    CELLS.contains(&name)
}

/// Elements that do not break a line of text.
pub(super) fn is_inline(name: u64) -> bool {
    const INLINE: [u64; 34] = [
        word(b"b"),
        word(b"i"),
        word(b"u"),
        word(b"s"),
        word(b"em"),
        word(b"strong"),
        word(b"font"),
        word(b"span"),
        word(b"small"),
        word(b"big"),
        word(b"strike"),
        word(b"sub"),
        word(b"sup"),
        word(b"code"),
        word(b"tt"),
        word(b"mark"),
        word(b"wbr"),
        word(b"ins"),
        word(b"del"),
        word(b"abbr"),
        word(b"acronym"),
        word(b"cite"),
        word(b"kbd"),
        word(b"samp"),
        word(b"var"),
        word(b"time"),
        word(b"data"),
        word(b"bdi"),
        word(b"bdo"),
        word(b"label"),
        word(b"dfn"),
        word(b"nobr"),
        word(b"o:p"),
        word(b"blink"),
    ];
    INLINE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn raw_text_is_told_apart() {
        let html = "<title>t</title><style>s</style><textarea>u</textarea><xmp>x</xmp><noscript><p>n</p></noscript>";
        let c = read_fully(html.as_bytes()).unwrap();
        let text = |r: &[Range<usize>]| r.iter().map(|r| html[r.clone()].to_owned()).collect::<Vec<_>>();
        assert_eq!(text(&c.inert), ["t", "s", "u", "x"]);
        assert_eq!(text(&c.shown_raw), ["x"]);
        assert_eq!(runs(html), ["n"]);
    }
}
