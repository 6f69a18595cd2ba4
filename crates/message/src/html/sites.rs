//! Which attributes of which tags lead somewhere, in every reading of a text.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::Encoding;

use super::reference::decode_attribute;
use super::tag::{self, Attr, OVERLAP, Tag};
use crate::site::Use;

/// Something to do about one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The judge decides.
    Ask {
        usage: Use,
        /// Name of the element.
        tag: Range<usize>,
        /// Name of the attribute; empty where it is none.
        name: Range<usize>,
        value: Range<usize>,
        /// The whole attribute.
        whole: Range<usize>,
    },
    /// The attribute loses its effect, whatever it says.
    Off { whole: Range<usize> },
}

/// All that leads somewhere.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) actions: Vec<Action>,
    /// The href of the first base element.
    pub(crate) base: Option<Range<usize>>,
    /// Something was left out because it stands where tags are text.
    pub(crate) deferred: bool,
    /// Tags overlap beyond measure; this is not all.
    pub(crate) tangled: bool,
}

/// More places than this make a text tangled: no mail has them, and each costs a link.
pub(crate) const MAX_SITES: usize = 20_000;

/// Finds everything that leads somewhere. Tags within `inert` (sorted) are left out, unless the text has elements around
/// which parsers disagree about what is raw text.
pub(crate) fn scan(text: &[u8], inert: &[Range<usize>]) -> Scan {
    let mut out = Scan::default();
    let mut bases: Vec<Attr> = Vec::new();
    let mut valueless = false;
    let mut held: Vec<Action> = Vec::new();
    let mut contested = false;
    let mut scripts: Vec<(Range<usize>, usize)> = Vec::new();
    let mut inert_at = 0;
    let whole = tag::sweep(text, |t| {
        while inert.get(inert_at).is_some_and(|r| r.end <= t.start) {
            inert_at += 1;
        }
        let in_raw = inert.get(inert_at).is_some_and(|r| r.start <= t.start);
        let actions = if in_raw { &mut held } else { &mut out.actions };
        look(text, t, actions, &mut bases, &mut valueless, &mut scripts);
        contested |= is_contested(t.name(text));
    });
    out.tangled = !whole;
    if contested {
        out.actions.append(&mut held);
        out.actions.sort_by_key(Action::start);
    }
    out.deferred = !held.is_empty();
    let mut budget = text.len() * OVERLAP;
    for (tag, from) in scripts {
        if !json_strings(text, &tag, from, &mut budget, &mut out.actions) {
            out.tangled = true;
            break;
        }
    }
    word_fields(text, &mut out.actions);
    // The first one counts, unless it stands in a comment and another does not.
    let shown = bases
        .iter()
        .find(|a| bases.len() > 1 && !in_comment(text, a.name.start));
    out.base = shown.or(bases.first()).and_then(|a| a.value.clone());
    // One base that pictures need may stay: every link was resolved against it. Any other is taken out of effect.
    // But a link without a value would lead to the base itself.
    if bases.len() != 1 || valueless || !has_relative_resource(text) {
        out.actions
            .extend(bases.iter().map(|a| Action::Off { whole: a.whole() }));
    }
    out.tangled |= out.actions.len() > MAX_SITES;
    out
}

impl Action {
    fn start(&self) -> usize {
        match self {
            Self::Ask { value, .. } => value.start,
            Self::Off { whole } => whole.start,
        }
    }
}

/// Where a site stands, in words: `a[href]`.
pub(crate) fn place(text: &[u8], tag: &Range<usize>, name: &Range<usize>) -> Cow<'static, str> {
    if text.get(tag.clone()) == Some(b"a") && text.get(name.clone()) == Some(b"href") {
        return Cow::Borrowed("a[href]");
    }
    let word = |r: &Range<usize>| {
        let raw = text.get(r.clone()).unwrap_or_default();
        let shown = raw.iter().take(40).filter(|b| b.is_ascii_graphic());
        shown.map(|b| b.to_ascii_lowercase() as char)
    };
    let mut out = String::with_capacity(16);
    out.extend(word(tag));
    if !name.is_empty() {
        out.push('[');
        out.extend(word(name));
        out.push(']');
    }
    Cow::Owned(out)
}

/// An attribute value, decoded as browsers decode it.
pub(crate) fn attribute<'a>(text: &'a [u8], value: &Range<usize>, encoding: &'static Encoding) -> Cow<'a, str> {
    let raw = text.get(value.clone()).unwrap_or_default();
    match std::str::from_utf8(raw) {
        Ok(s) if raw.is_ascii() || encoding == encoding_rs::UTF_8 => decode_attribute(s),
        _ => match encoding.decode_without_bom_handling(raw).0 {
            Cow::Borrowed(s) => decode_attribute(s),
            Cow::Owned(s) => Cow::Owned(decode_attribute(&s).into_owned()),
        },
    }
}

/// The URL that a site's bytes mean.
pub(crate) fn value<'a>(text: &'a [u8], value: &Range<usize>, usage: Use, encoding: &'static Encoding) -> Cow<'a, str> {
    if usage == Use::Json {
        let raw = text.get(value.clone()).unwrap_or_default();
        return Cow::Owned(json_unescape(&encoding.decode_without_bom_handling(raw).0));
    }
    attribute(text, value, encoding)
}

/// What a tag holds that leads somewhere.
fn look(
    text: &[u8],
    t: &Tag,
    actions: &mut Vec<Action>,
    bases: &mut Vec<Attr>,
    valueless: &mut bool,
    scripts: &mut Vec<(Range<usize>, usize)>,
) {
    let tag = t.name(text);
    if tag.eq_ignore_ascii_case(b"script") && t.named(text, b"type").any(|a| contains(text, a, b"json")) {
        scripts.push((t.name.clone(), t.end));
    }
    let itemprop = is_any(tag, &[b"link", b"meta"]) && t.named(text, b"itemprop").next().is_some();
    for a in &t.attrs {
        let raw = text.get(a.name.clone()).unwrap_or_default();
        // Nearly all attributes lead nowhere: their first letter tells.
        if !matches!(
            raw.first().map(u8::to_ascii_lowercase),
            Some(b'h' | b'x' | b'a' | b'f' | b's' | b'd' | b'p' | b'c')
        ) && !raw.contains(&b':')
        {
            continue;
        }
        let is = |name: &[u8]| raw.eq_ignore_ascii_case(name);
        let Some(value) = a.value.clone() else {
            *valueless |= is(b"href") || ends_with(raw, b":href");
            continue;
        };
        let ask = |usage| Action::Ask {
            usage,
            tag: t.name.clone(),
            name: a.name.clone(),
            value: value.clone(),
            whole: a.whole(),
        };
        if is(b"href") || ends_with(raw, b":href") {
            if tag.eq_ignore_ascii_case(b"base") {
                bases.push(a.clone());
            } else if !is_resource(tag) || itemprop {
                actions.push(ask(Use::Link));
            }
        } else if is(b"action") && (is_any(tag, &[b"form", b"isindex"])) || is(b"formaction") || is(b"action-xhr") {
            actions.push(ask(Use::Submit));
        } else if is(b"src") && is_frame(tag) || is(b"data") && tag.eq_ignore_ascii_case(b"object") {
            actions.push(ask(Use::Load));
        } else if is(b"srcdoc") {
            actions.push(Action::Off { whole: a.whole() });
        } else if is(b"http-equiv") && is_refresh(text, a) {
            // Without its content a refresh goes nowhere.
            actions.extend(t.named(text, b"content").map(|c| Action::Off { whole: c.whole() }));
        } else if is(b"ping") {
            actions.push(ask(Use::Ping));
        } else if is(b"content") && tag.eq_ignore_ascii_case(b"meta") && itemprop {
            let url = attribute(text, &value, encoding_rs::UTF_8);
            let url = url.trim_start().as_bytes();
            if [&b"http:"[..], b"https:", b"ftp:"]
                .iter()
                .any(|s| url.get(..s.len()).is_some_and(|u| u.eq_ignore_ascii_case(s)))
            {
                actions.push(ask(Use::Link));
            }
        } else if is(b"attributename")
            && (tag.eq_ignore_ascii_case(b"set") || tag.get(..7).is_some_and(|p| p.eq_ignore_ascii_case(b"animate")))
            && contains(text, a, b"href")
        {
            actions.push(Action::Off { whole: a.whole() });
        }
    }
}

fn is_any(tag: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|n| tag.eq_ignore_ascii_case(n))
}

/// Elements whose src is a page of its own.
fn is_frame(tag: &[u8]) -> bool {
    is_any(
        tag,
        &[
            b"iframe",
            b"frame",
            b"embed",
            b"portal",
            b"fencedframe",
            b"layer",
            b"ilayer",
        ],
    )
}

/// Elements whose href names a picture, a style sheet or another element, and is not followed by a click.
fn is_resource(tag: &[u8]) -> bool {
    is_any(
        tag,
        &[
            b"link",
            b"image",
            b"use",
            b"feimage",
            b"pattern",
            b"lineargradient",
            b"radialgradient",
            b"filter",
            b"mpath",
            b"textpath",
            b"tref",
            b"script",
            b"cursor",
            b"font-face-uri",
            b"glyphref",
            b"altglyph",
            b"color-profile",
            b"set",
            b"animate",
            b"animatemotion",
            b"animatetransform",
            b"animatecolor",
            b"discard",
            b"svg:image",
            b"svg:use",
        ],
    )
}

/// Elements in or around which parsers disagree about raw text: foreign content, and old rules for select and frames.
pub(super) fn is_contested(tag: &[u8]) -> bool {
    is_any(tag, &[b"svg", b"math", b"select", b"frameset", b"template"])
}

/// Whether a comment is open at an offset, as far as the comment marks before it tell.
fn in_comment(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let open = memchr::memmem::rfind(before, b"<!--");
    let close = memchr::memmem::rfind(before, b"-->");
    open.is_some_and(|o| close.is_none_or(|c| c < o + 2))
}

fn is_refresh(text: &[u8], a: &Attr) -> bool {
    a.value.as_ref().is_some_and(|v| {
        attribute(text, v, encoding_rs::UTF_8)
            .trim()
            .eq_ignore_ascii_case("refresh")
    })
}

fn contains(text: &[u8], a: &Attr, what: &[u8]) -> bool {
    a.value.as_ref().is_some_and(|v| {
        let value = attribute(text, v, encoding_rs::UTF_8).to_ascii_lowercase();
        memchr::memmem::find(value.as_bytes(), what).is_some()
    })
}

fn ends_with(name: &[u8], tail: &[u8]) -> bool {
    name.len() > tail.len()
        && name
            .get(name.len() - tail.len()..)
            .is_some_and(|n| n.eq_ignore_ascii_case(tail))
}

/// Whether something is loaded from a place that only a base makes whole.
fn has_relative_resource(text: &[u8]) -> bool {
    let mut found = false;
    tag::sweep(text, |t| {
        if t.cut_off || is_frame(t.name(text)) {
            return;
        }
        for name in [&b"src"[..], b"background", b"srcset", b"poster"] {
            for a in t.named(text, name) {
                let value = a.value.clone().map(|v| text.get(v).unwrap_or_default().trim_ascii());
                found |= value
                    .is_some_and(|v| !v.is_empty() && !v.iter().take(12).any(|b| *b == b':') && !v.starts_with(b"//"));
            }
        }
    });
    found
}

/// URLs in the strings of a JSON script, but for the names of vocabularies. `false` when scripts overlap beyond measure.
fn json_strings(text: &[u8], tag: &Range<usize>, from: usize, budget: &mut usize, actions: &mut Vec<Action>) -> bool {
    let rest = text.get(from..).unwrap_or_default();
    let end = from + find_ignoring_case(rest, b"</script").unwrap_or(rest.len());
    let Some(left) = budget.checked_sub(end - from) else {
        return false;
    };
    *budget = left;
    let mut at = from;
    let mut key: Option<Range<usize>> = None;
    while let Some(n) = text.get(at..end).and_then(|t| memchr::memchr(b'"', t)) {
        let start = at + n + 1;
        let mut close = start;
        while let Some(b) = text.get(close).filter(|_| close < end) {
            match b {
                b'"' => break,
                b'\\' => close += 2,
                _ => close += 1,
            }
        }
        let close = close.min(end);
        let string = text.get(start..close).unwrap_or_default();
        let after = text.get(close + 1..end).unwrap_or_default().trim_ascii_start();
        if after.starts_with(b":") {
            key = Some(start..close);
        } else {
            let named = key.clone().map(|k| text.get(k).unwrap_or_default());
            let lower = json_unescape(&String::from_utf8_lossy(string)).to_ascii_lowercase();
            let url = ["http:", "https:", "ftp:"].iter().any(|s| lower.starts_with(s));
            if url && !matches!(named, Some(b"@context" | b"@type")) {
                actions.push(Action::Ask {
                    usage: Use::Json,
                    tag: tag.clone(),
                    name: start..start,
                    value: start..close,
                    whole: start..close,
                });
            }
        }
        at = close + 1;
    }
    true
}

fn json_unescape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                out.push(
                    u32::from_str_radix(&hex, 16)
                        .ok()
                        .and_then(char::from_u32)
                        .unwrap_or('\u{fffd}'),
                );
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(c) => out.push(c),
            None => {}
        }
    }
    out
}

/// Targets of Word's field codes: `HYPERLINK "https://..."`, which its engine follows without any href.
fn word_fields(text: &[u8], actions: &mut Vec<Action>) {
    if memchr::memmem::find(text, b"HYPERLINK").is_none() || find_ignoring_case(text, b"mso-element").is_none() {
        return;
    }
    for at in memchr::memmem::find_iter(text, b"HYPERLINK") {
        let mut from = at + 9;
        loop {
            let rest = text.get(from..).unwrap_or_default();
            let skip = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            if skip > 0 {
                from += skip;
            } else if rest.starts_with(b"&nbsp;") {
                from += 6;
            } else if let [b'\\', _, ..] = rest {
                from += 2;
            } else {
                break;
            }
        }
        let rest = text.get(from..).unwrap_or_default();
        for (open, close) in [(&b"\""[..], &b"\""[..]), (b"&quot;", b"&quot;"), (b"'", b"'")] {
            let Some(body) = rest.strip_prefix(open) else { continue };
            let Some(n) = memchr::memmem::find(body, close) else {
                continue;
            };
            let start = from + open.len();
            actions.push(Action::Ask {
                usage: Use::WordField,
                tag: at..at + 9,
                name: start..start,
                value: start..start + n,
                whole: start..start + n,
            });
        }
    }
}

fn find_ignoring_case(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).find(|at| {
        text.get(*at..at + what.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> Vec<String> {
        let text = html.as_bytes();
        let s = scan(text, &[]);
        s.actions
            .iter()
            .map(|a| match a {
                Action::Ask {
                    usage,
                    tag,
                    name,
                    value,
                    ..
                } => {
                    format!(
                        "{usage:?} {} {}",
                        place(text, tag, name),
                        super::value(text, value, *usage, encoding_rs::UTF_8)
                    )
                }
                Action::Off { whole } => format!("Off {}", html[whole.clone()].split('=').next().unwrap()),
            })
            .collect()
    }

    #[test]
    fn everything_that_leads_somewhere() {
        for (html, want) in [
            ("<a href=x>", "Link a[href] x"),
            ("<A HREF='x&amp;y'>", "Link a[href] x&y"),
            ("<v:rect href=x>", "Link v:rect[href] x"),
            ("<svg><a xlink:href=x>", "Link a[xlink:href] x"),
            ("<form action=x>", "Submit form[action] x"),
            ("<button formaction=x>", "Submit button[formaction] x"),
            ("<iframe src=x>", "Load iframe[src] x"),
            ("<object data=x>", "Load object[data] x"),
            ("<iframe srcdoc=x>", "Off srcdoc"),
            ("<meta http-equiv=\" Refresh\" content='0;url=x'>", "Off content"),
            ("<a ping=x>", "Ping a[ping] x"),
            ("<set attributeName=xlink:href to=x>", "Off attributeName"),
            (
                "<script type=application/ld+json>{\"@type\":\"http://t\",\"u\":\"http:\\/\\/x\"}</script>",
                "Json script http://x",
            ),
            (
                "<span style='mso-element:field-begin'>HYPERLINK \"x\"",
                "WordField hyperlink x",
            ),
            ("<base href=x>", "Off href"),
            ("<meta itemprop=url content=http://x>", "Link meta[content] http://x"),
        ] {
            assert_eq!(found(html), [want], "{html}");
        }
    }

    #[test]
    fn resources_are_left() {
        for html in [
            "<img src=x>",
            "<link rel=stylesheet href=x>",
            "<a name=x>",
            "<td background=x>",
            "<a data-linkgate-href=x>",
            "<image href=x>",
        ] {
            assert_eq!(found(html), [""; 0], "{html}");
        }
    }

    #[test]
    fn a_base_in_a_comment_does_not_count_beside_another() {
        let html = "<!-- <base href=https://old.example/> --><base href=https://new.example/><a href=x>";
        let base = scan(html.as_bytes(), &[]).base.unwrap();
        assert_eq!(&html[base], "https://new.example/");
    }

    #[test]
    fn a_base_that_pictures_need_stays() {
        assert_eq!(found("<base href=http://x/><img src=a.png>"), [""; 0]);
        assert_eq!(found("<base href=http://x/><img src=http://y/a.png>"), ["Off href"]);
    }
}
