//! What markup is to a browser: lol_html's reading of it, by offsets.
//!
//! lol_html tells text from markup and raw text from both. Its output is thrown away.

use std::cell::RefCell;
use std::ops::Range;

use lol_html::html_content::TextType;
use lol_html::{AsciiCompatibleEncoding, HtmlRewriter, MemorySettings, Settings, doc_text};

use super::tag::{self, Tag};

/// How deep raw text within raw text is looked into.
const MAX_RAW_DEPTH: usize = 4;
/// Memory that the parser may take beside the text, in octets.
const PARSER_MEMORY: usize = 8 << 20;

/// Stretches of a text by what they are.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Runs of running text outside links, each as the stretches that stand on one line, inline markup left out.
    pub(crate) runs: Vec<Vec<Range<usize>>>,
    /// Raw text on screen (xmp, plaintext): URLs in it are text.
    pub(crate) shown_raw: Vec<Range<usize>>,
    /// Raw text in which tags are no markup to any browser (title, textarea, style, script, xmp, plaintext).
    pub(crate) inert: Vec<Range<usize>>,
    /// Where a tag begins that the end of the text cuts off.
    pub(crate) dangling: Option<usize>,
}

/// Reads the context of a text; `None` when lol_html cannot tell (ambiguous markup, out of memory).
pub(crate) fn read(text: &[u8]) -> Option<Context> {
    let mut out = Context::default();
    read_into(text, 0, 0, &mut out)?;
    Some(out)
}

fn read_into(text: &[u8], offset: usize, depth: usize, out: &mut Context) -> Option<()> {
    let chunks = chunks(text)?;
    let mut linked = false;
    let mut run: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for (range, kind) in chunks {
        let gap = text.get(at..range.start)?;
        let owner = cross(gap, &mut linked, &mut || out.runs.push(std::mem::take(&mut run)));
        at = range.end;
        let there = range.start + offset..range.end + offset;
        match kind {
            TextType::Data | TextType::CDataSection => {
                if !linked {
                    run.push(there);
                }
            }
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
    out.runs.retain(|r| !r.is_empty());
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

/// Goes over the markup between two stretches of text: keeps track of links, tells where a line of text ends. Returns where
/// the name of the last start tag stands.
fn cross(gap: &[u8], linked: &mut bool, line: &mut impl FnMut()) -> Option<Range<usize>> {
    let mut last = None;
    let mut tag = Tag {
        start: 0,
        end: 0,
        name: 0..0,
        attrs: Vec::new(),
        cut_off: false,
    };
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'<', gap.get(at..).unwrap_or_default()) {
        let start = at + n;
        let rest = gap.get(start + 1..).unwrap_or_default();
        match rest {
            [b'!', b'-', b'-', body @ ..] => {
                at = start + 4 + memchr::memmem::find(body, b"-->").map_or(body.len(), |n| n + 3);
                continue;
            }
            [b'/', c, ..] if c.is_ascii_alphabetic() => {
                let len = rest
                    .iter()
                    .skip(1)
                    .take_while(|b| !b.is_ascii_whitespace() && !matches!(b, b'/' | b'>'))
                    .count();
                let name = word(rest.get(1..1 + len).unwrap_or_default());
                if name == LINK || is_cell(name) {
                    line();
                    *linked = false;
                } else if !is_inline(name) {
                    line();
                }
            }
            [c, ..] if c.is_ascii_alphabetic() => {
                tag::read(gap, start, &mut tag);
                let name = word(tag.name(gap));
                if name == LINK {
                    let has_target = tag.named(gap, b"href").any(|a| a.value.is_some())
                        || tag.named(gap, b"xlink:href").next().is_some();
                    // An anchor that leads nowhere lends its text no protection, and does not break the line either.
                    if has_target || *linked {
                        line();
                    }
                    *linked = has_target;
                } else if is_cell(name) {
                    line();
                    *linked = false;
                } else if !is_inline(name) {
                    line();
                }
                last = Some(tag.name.clone());
                at = tag.end;
                continue;
            }
            _ => {}
        }
        at = start + 1;
    }
    last
}

/// A name of up to eight octets in lower case, as a number: comparing those is cheaper than comparing texts. Longer
/// names, of which none matters, and names with a NUL are 0.
const fn word(name: &[u8]) -> u64 {
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

/// Where in the markup that ends a text a tag begins that does not end.
fn dangling(gap: &[u8]) -> Option<usize> {
    let mut tag = Tag {
        start: 0,
        end: 0,
        name: 0..0,
        attrs: Vec::new(),
        cut_off: false,
    };
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'<', gap.get(at..)?) {
        let start = at + n;
        match gap.get(start + 1..)? {
            [b'!', b'-', b'-', body @ ..] => at = start + 4 + memchr::memmem::find(body, b"-->")? + 3,
            [b'/', ..] | [b'!', ..] | [b'?', ..] => at = start + 1 + memchr::memchr(b'>', gap.get(start + 1..)?)?,
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

const LINK: u64 = word(b"a");

/// Elements at whose edge an open link ends for the text within.
fn is_cell(name: u64) -> bool {
    const CELLS: [u64; 5] = [word(b"td"), word(b"th"), word(b"tr"), word(b"table"), word(b"caption")];
    CELLS.contains(&name)
}

/// Elements that do not break a line of text.
fn is_inline(name: u64) -> bool {
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
        let c = read(html.as_bytes()).unwrap();
        c.runs
            .iter()
            .map(|r| r.iter().map(|r| &html[r.clone()]).collect())
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
        let c = read(html.as_bytes()).unwrap();
        let text = |r: &[Range<usize>]| r.iter().map(|r| html[r.clone()].to_owned()).collect::<Vec<_>>();
        assert_eq!(text(&c.inert), ["t", "s", "u", "x"]);
        assert_eq!(text(&c.shown_raw), ["x"]);
        assert_eq!(runs(html), ["n"]);
    }
}
