//! Which attributes of which tags lead somewhere, in every reading of a text.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::Encoding;

use super::action::{SiteAction, is_any, is_contested, most};
use super::attributes::{AttributeUse, is_frame, is_href, is_resource, may_lead, use_of};
use super::parsed::Parsed;
use super::reference::decode_attribute;
use super::tag::{self, Attr, OVERLAP, Tag};
use super::{json, tree, word_field};
use crate::site::Use;
use crate::slice::Slice;

/// The places of a text that lead somewhere.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) actions: Vec<SiteAction>,
    /// The href of the first base element.
    pub(crate) base: Option<Range<usize>>,
    /// Something was left out because it stands where tags are text.
    pub(crate) deferred: bool,
    /// Tags overlap too often: the list is incomplete.
    pub(crate) tangled: bool,
    /// There is an element about whose rules parsers disagree.
    pub(crate) contested: bool,
    /// Comments without their end marks, if something may run out of one.
    comments: Vec<Range<usize>>,
}

/// The sites in the tags of a text.
#[derive(Debug, Default)]
struct TagSites {
    actions: Vec<SiteAction>,
    /// Attributes of base elements that give one.
    bases: Vec<Attr>,
    /// A link has no value.
    valueless: bool,
    /// Names of JSON scripts, and where their content begins.
    scripts: Vec<(Range<usize>, usize)>,
}

/// Finds everything that leads somewhere. Tags within `inert` (sorted) are left out, unless an element stands before them
/// around which parsers disagree about what is raw text.
pub(crate) fn scan(parsed: &Parsed<'_>, inert: &[Range<usize>]) -> Scan {
    let text = parsed.text();
    let mut out = Scan::default();
    let mut seen = TagSites::default();
    let mut held = TagSites::default();
    let mut inert_at = 0;
    let whole = tag::sweep(text, |t| {
        while inert.get(inert_at).is_some_and(|r| r.end <= t.start) {
            inert_at += 1;
        }
        let in_raw = inert.get(inert_at).is_some_and(|r| r.start <= t.start);
        if in_raw && !out.contested {
            collect(text, t, &mut held);
        } else {
            collect(text, t, &mut seen);
            out.contested |= is_contested(t.name(text));
        }
    });
    out.tangled = !whole;
    out.actions = seen.actions;
    out.deferred = !held.actions.is_empty() || !held.bases.is_empty();
    let mut budget = text.len() * OVERLAP;
    for (tag, from) in held.scripts.into_iter().chain(seen.scripts) {
        if !json::strings(text, &tag, from, &mut budget, &mut out.actions) {
            out.tangled = true;
            break;
        }
    }
    word_field::find(text, &mut out.actions);
    let bases = seen.bases;
    // All bases of the text, those in inert stretches included.
    out.base = parsed.base(|text| base(text, &bases, &held.bases));
    // One base that pictures need may stay: every link was resolved against it. Any other is taken out of effect. A
    // link without a value would lead to the base itself.
    if bases.len() != 1 || seen.valueless || !has_relative_resource(text) {
        out.actions
            .extend(bases.iter().map(|a| SiteAction::Disable { whole: a.whole() }));
    }
    out.tangled |= out.actions.len() > most(text.len());
    out.clip(parsed);
    out
}

impl Scan {
    /// Ends a stretch that is to be replaced before the end of the comment that it stands in.
    pub(crate) fn clipped(&self, at: &Range<usize>) -> Range<usize> {
        let comment = self.comments.partition_point(|c| c.start <= at.start).checked_sub(1);
        let end = comment
            .and_then(|n| self.comments.get(n))
            .filter(|c| at.start < c.end)
            .map_or(at.end, |c| at.end.min(c.end));
        at.start..end
    }

    /// Finds the comments that something runs out of: where a quote is missing, a value goes on to the next one, and the
    /// comment would go on with it.
    fn clip(&mut self, parsed: &Parsed<'_>) {
        let text = parsed.text();
        let mut bogus = None;
        let runs_on = self.actions.iter().any(|a| match a {
            SiteAction::Judge { name, .. } if name.is_empty() => false,
            SiteAction::Judge { whole, .. } | SiteAction::Disable { whole } => {
                let written = text.slice(whole.clone());
                memchr::memchr(b'>', written).is_some()
                    && (memchr::memmem::find(written, b"--").is_some()
                        || *bogus.get_or_insert_with(|| has_bogus_comment(text)))
            }
        });
        if runs_on {
            self.comments = parsed.comments().to_vec();
        }
    }
}

/// Whether a text has a comment that any `>` ends: a declaration, an instruction, or the end of a tag without a name.
fn has_bogus_comment(text: &[u8]) -> bool {
    memchr::memchr_iter(b'<', text).any(|at| match text.slice(at + 1..) {
        [b'!', b'-', b'-', ..] => false,
        [b'!' | b'?', ..] => true,
        [b'/', c, ..] => !c.is_ascii_alphabetic(),
        _ => false,
    })
}

/// The href of the base of a text, whose base elements those are, the ones in raw text apart.
fn base(text: &[u8], bases: &[Attr], held: &[Attr]) -> Option<Range<usize>> {
    let mut all: Vec<&Attr> = bases.iter().chain(held).collect();
    all.sort_by_key(|a| a.name.start);
    if all.len() > 1 {
        let hrefs: Vec<Range<usize>> = all.iter().filter_map(|a| a.value.clone()).collect();
        if let Some(n) = tree::base(text, &hrefs) {
            return hrefs.get(n).cloned();
        }
    }
    // No browser has one, or that cannot be found out: the first one counts, unless it stands in a comment and another
    // does not.
    let shown = all.iter().find(|a| all.len() > 1 && !in_comment(text, a.name.start));
    shown.or(all.first()).and_then(|a| a.value.clone())
}

/// Returns the place of a site in words: `a[href]`.
pub(crate) fn place(text: &[u8], tag: &Range<usize>, name: &Range<usize>) -> Cow<'static, str> {
    if text.get(tag.clone()) == Some(b"a") && text.get(name.clone()) == Some(b"href") {
        return Cow::Borrowed("a[href]");
    }
    let word = |r: &Range<usize>| {
        let raw = text.slice(r.clone());
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
    let raw = text.slice(value.clone());
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
        let raw = text.slice(value.clone());
        return Cow::Owned(json::unescape(&encoding.decode_without_bom_handling(raw).0));
    }
    attribute(text, value, encoding)
}

/// Collects the attributes of a tag that lead somewhere.
fn collect(text: &[u8], t: &Tag, seen: &mut TagSites) {
    let tag = t.name(text);
    if tag.eq_ignore_ascii_case(b"script") && t.named(text, b"type").any(|a| contains(text, a, b"json")) {
        seen.scripts.push((t.name.clone(), t.end));
    }
    if tag.eq_ignore_ascii_case(b"base") {
        // Roundcube finds the base by a pattern, which matches within other attributes as well.
        let fakes = t.attrs.iter().filter(|a| {
            let name = text.slice(a.name.clone());
            !name.eq_ignore_ascii_case(b"href") && contains(text, a, b"href=") && contains(text, a, b":")
        });
        seen.actions.extend(fakes.map(disabled));
    }
    let itemprop = is_any(tag, &[b"link", b"meta"]) && t.named(text, b"itemprop").next().is_some();
    for a in &t.attrs {
        let name = text.slice(a.name.clone());
        // Nearly all attributes lead nowhere.
        if !may_lead(name) {
            continue;
        }
        let Some(value) = a.value.clone() else {
            seen.valueless |= is_href(name);
            continue;
        };
        let usage = match use_of(name, tag) {
            Some(AttributeUse::Href) if tag.eq_ignore_ascii_case(b"base") => {
                seen.bases.push(a.clone());
                continue;
            }
            Some(AttributeUse::Href) if !is_resource(tag) || itemprop => Use::Link,
            Some(AttributeUse::Submit) => Use::Submit,
            Some(AttributeUse::Load) => Use::Load,
            Some(AttributeUse::Ping) => Use::Ping,
            Some(AttributeUse::Microdata) if itemprop && is_url(text, &value) => Use::Link,
            Some(AttributeUse::Document) => {
                seen.actions.push(disabled(a));
                continue;
            }
            Some(AttributeUse::Animated) if contains(text, a, b"href") => {
                seen.actions.push(disabled(a));
                continue;
            }
            Some(AttributeUse::Pragma) if is_refresh(text, a) => {
                // Without its content a refresh goes nowhere.
                seen.actions.extend(t.named(text, b"content").map(disabled));
                continue;
            }
            _ => continue,
        };
        seen.actions.push(SiteAction::Judge {
            usage,
            tag: t.name.clone(),
            name: a.name.clone(),
            value,
            whole: a.whole(),
        });
    }
}

fn disabled(a: &Attr) -> SiteAction {
    SiteAction::Disable { whole: a.whole() }
}

/// Whether a value begins with the scheme of the web, whatever follows.
fn is_url(text: &[u8], value: &Range<usize>) -> bool {
    let url = attribute(text, value, encoding_rs::UTF_8);
    let url = url.trim_start().as_bytes();
    [&b"http:"[..], b"https:", b"ftp:"]
        .iter()
        .any(|s| url.get(..s.len()).is_some_and(|u| u.eq_ignore_ascii_case(s)))
}

/// Whether a comment is open at an offset, as far as the comment marks before it tell.
fn in_comment(text: &[u8], at: usize) -> bool {
    let before = text.slice(..at);
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

/// Whether a resource has a relative address, which needs the base.
fn has_relative_resource(text: &[u8]) -> bool {
    let mut found = false;
    tag::sweep(text, |t| {
        if t.cut_off || is_frame(t.name(text)) {
            return;
        }
        for name in [&b"src"[..], b"background", b"srcset", b"poster"] {
            for a in t.named(text, name) {
                let value = a.value.clone().map(|v| text.slice(v).trim_ascii());
                found |= value
                    .is_some_and(|v| !v.is_empty() && !v.iter().take(12).any(|b| *b == b':') && !v.starts_with(b"//"));
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> Vec<String> {
        let text = html.as_bytes();
        let s = scan(&Parsed::of(text), &[]);
        s.actions
            .iter()
            .map(|a| match a {
                SiteAction::Judge {
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
                SiteAction::Disable { whole } => format!("Off {}", html[whole.clone()].split('=').next().unwrap()),
            })
            .collect()
    }

    /// Something of every kind that leads somewhere, and what is found of it.
    const LEADS: &[(&str, &str)] = &[
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
        ("<base title='href=http://x'>", "Off title"),
        ("<applet archive=x>", "Load applet[archive] x"),
        ("<v:imagedata href=x>", "Link v:imagedata[href] x"),
        ("<meta itemprop=url content=http://x>", "Link meta[content] http://x"),
    ];

    #[test]
    fn everything_that_leads_somewhere() {
        for (html, want) in LEADS {
            assert_eq!(found(html), [*want], "{html}");
        }
    }

    #[test]
    fn nothing_that_leads_somewhere_hides_behind_thousands_of_attributes() {
        let crowd = " x=y".repeat(tag::MANY_ATTRS) + " ";
        for (html, want) in LEADS {
            assert_eq!(found(&html.replacen(' ', &crowd, 1)), [*want], "{html}");
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
            "<v:imagedata src=y o:href=x>",
        ] {
            assert_eq!(found(html), [""; 0], "{html}");
        }
    }

    #[test]
    fn a_base_in_a_comment_does_not_count_beside_another() {
        let html = "<!-- <base href=https://old.example/> --><base href=https://new.example/><a href=x>";
        let base = scan(&Parsed::of(html.as_bytes()), &[]).base.unwrap();
        assert_eq!(&html[base], "https://new.example/");
    }

    #[test]
    fn a_base_that_no_browser_sees_does_not_count_beside_another() {
        let fake = "<base href=https://fake.example/>";
        for before in [
            format!("<title>{fake}</title>"),
            format!("<p title='{fake}'>"),
            format!("<svg>{fake}</svg>"),
            format!("<template>{fake}</template>"),
            format!("<? {fake}"),
            "<!-- x --!>".into(),
            "<style><!-- </style>".into(),
        ] {
            let html = format!("{before}<base href=https://real.example/><!-- {fake} --><a href=x>");
            let base = scan(&Parsed::of(html.as_bytes()), &[]).base.unwrap();
            assert_eq!(&html[base], "https://real.example/", "{html}");
        }
    }

    #[test]
    fn a_missing_quote_takes_nothing_along_that_stands_behind_the_comment() {
        for (html, inside) in [
            (
                "<!--[if mso]><a href=\"//h.example>x</a><![endif]--><p class=\"c\">",
                "//h.example>x</a><![endif]",
            ),
            ("<!-- <a href='//h.example --!><p class='c'>", "//h.example "),
            ("<? <a href='//h.example ><p class='c'>", "//h.example "),
            ("<a href=\"//h.example/-->x\">", "//h.example/-->x"),
        ] {
            let s = scan(&Parsed::of(html.as_bytes()), &[]);
            let SiteAction::Judge { value, .. } = &s.actions[0] else {
                panic!("{html}")
            };
            assert_eq!(&html[s.clipped(value)], inside, "{html}");
        }
    }

    #[test]
    fn text_fields_before_foreign_elements_stay_text() {
        let html = "<textarea><a href=x><base href=y></textarea><svg/><a href=z>";
        let field = 10..html.find("</t").unwrap();
        let s = scan(&Parsed::of(html.as_bytes()), std::slice::from_ref(&field));
        assert_eq!(s.actions.len(), 1);
        assert!(s.deferred && s.contested);
    }

    #[test]
    fn a_base_that_pictures_need_stays() {
        assert_eq!(found("<base href=http://x/><img src=a.png>"), [""; 0]);
        assert_eq!(found("<base href=http://x/><img src=http://y/a.png>"), ["Off href"]);
    }
}
