//! A leaf as mail programs take it: which kind of text, in which encoding, under which base, and the header field that says so.

use encoding_rs::Encoding;

use super::relabel::with_params;
use crate::autolink;
use crate::header::{HeaderFields, TypedField, lossy};
use crate::scan::Part;
use crate::slice::{Slice, head};
use crate::text::Lines;
use crate::transfer::{Coding, is_base64_text};

/// The class that programs give a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Html,
    Text(Lines),
    /// Nothing that is looked into.
    Other,
}

/// Whether programs show a part as text of some kind.
pub(super) fn is_text(part: &Part) -> bool {
    part.types.is_empty() || part.types.iter().any(|t| class_of(t, false) != Class::Other)
}

/// The class that programs give a part of one media type; `no_parts`: a multipart in which no part was found.
pub(super) fn class_of(t: &TypedField, no_parts: bool) -> Class {
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
        "text/css" | "text/javascript" | "text/x-javascript" | "text/rtf" => Class::Other,
        "application/xhtml+xml" | "application/vnd.wap.xhtml+xml" | "application/html" => Class::Html,
        "image/svg+xml" | "text/xml" | "application/xml" => Class::Html,
        v if v.starts_with("multipart/") && no_parts => Class::Html,
        v if v.starts_with("text/") && v.contains("html") => Class::Html,
        // What is no type at all is text to some programs (RFC 2045 5.2), and looked into by others.
        v if v.starts_with("text/") || !t.is_sound() => Class::Text(Lines::Plain),
        _ => Class::Other,
    }
}

/// Whether a part is HTML or SVG by its file name.
pub(super) fn names_markup(part: &Part) -> bool {
    let name = file_name(part).to_ascii_lowercase();
    [".htm", ".html", ".shtml", ".xhtml", ".svg", ".mht", ".mhtml"]
        .iter()
        .any(|e| name.ends_with(e))
}

/// The file name of a part, empty when it has none.
pub(super) fn file_name(part: &Part) -> String {
    let named = part.disposition.as_ref().and_then(|d| d.first("filename"));
    named
        .or_else(|| part.types.iter().find_map(|t| t.first("name")))
        .unwrap_or_default()
        .to_owned()
}

/// The codings under which a body may show its text, the likeliest first.
pub(super) fn readings(part: &Part, raw: &[u8]) -> Vec<Coding> {
    let mut out: Vec<Coding> = match part.codings.as_slice() {
        [] => return vec![Coding::Identity],
        // Tags in base64: clear text to programs that see that it is none.
        [Coding::Base64] if raw.contains(&b'<') => return vec![Coding::Base64, Coding::Identity],
        [one] if one.is_standard() => return vec![*one],
        several => several.iter().copied().filter(|c| c.fits(raw)).collect(),
    };
    if !out.contains(&Coding::Identity) {
        out.push(Coding::Identity);
    }
    // Base64 that decodes to text is nothing else; identity shows itself by blanks.
    let blank = raw.iter().any(|b| matches!(b, b' ' | b'<')) && !is_base64_text(raw);
    out.sort_by_key(|c| match c {
        Coding::Uuencode | Coding::Yenc => 0,
        Coding::Base64 => 1 + 3 * u8::from(blank),
        Coding::QuotedPrintable => 2,
        Coding::Identity => 3,
    });
    out
}

/// Whether plain octets may hold a URL, or something that is flagged; a cheap test that most mail passes.
pub(super) fn may_hold_target(raw: &[u8], part: &Part) -> bool {
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

/// Whether a program that looks at the content may take a text for HTML: it names the outermost elements near its start,
/// or begins with a tag that the WHATWG MIME Sniffing standard (7.1) knows.
pub(super) fn looks_like_html(text: &[u8]) -> bool {
    let head = head(text, 1024).to_ascii_lowercase();
    [&b"<html"[..], b"<!doctype html", b"<body", b"<head"]
        .iter()
        .any(|t| memchr::memmem::find(&head, t).is_some())
        || begins_with_tag(&head)
}

/// Whether a text in lower case begins with a tag, blanks and comments aside.
fn begins_with_tag(text: &[u8]) -> bool {
    const TAGS: &[&[u8]] = &[
        b"script", b"iframe", b"h1", b"div", b"font", b"table", b"a", b"style", b"title", b"b", b"br", b"p",
    ];
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"<!--") {
        match memchr::memmem::find(comment, b"-->") {
            Some(n) => rest = comment.slice(n + 3..).trim_ascii_start(),
            None => return true,
        }
    }
    rest.strip_prefix(b"<").is_some_and(|tag| {
        let name = tag.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let ends = tag.get(name).is_some_and(|b| *b == b'>' || b.is_ascii_whitespace());
        ends && tag.get(..name).is_some_and(|n| TAGS.contains(&n))
    })
}

/// The base that a Content-Base field gives (RFC 2110, Thunderbird's reading).
pub(super) fn content_base(part: &Part) -> Option<String> {
    let value = field(part, "content-base")?;
    Some(value.trim_ascii().trim_matches('"').to_owned())
}

/// The base that Thunderbird takes from a Content-Location field where no Content-Base is (RFC 2557 5). The field stays:
/// pictures may need it, and links that were resolved do not.
pub(super) fn content_location(part: &Part) -> Option<String> {
    let value: String = field(part, "content-location")?
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let value = value.trim_matches('"');
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https")).then(|| value.to_owned())
}

/// The first field of a name, given in lower case.
fn field(part: &Part, name: &str) -> Option<String> {
    // Nearly no part has it: a look at the bytes costs less than reading the fields.
    let named = |w: &[u8]| w.eq_ignore_ascii_case(name.as_bytes());
    let is_there = |at: usize| part.block.get(at..at + name.len()).is_some_and(named);
    if !memchr::memchr2_iter(b'c', b'C', &part.block).any(is_there) {
        return None;
    }
    let fields = HeaderFields::parse(&part.block);
    let field = fields.named(&part.block, name).next()?;
    Some(lossy(part.block.slice(field.value.clone())).into_owned())
}

/// A Content-Type field that says what was decided, with the parameters that were there.
pub(super) fn content_type(part: &Part, class: Class, charset: Option<&str>) -> String {
    let chosen = part
        .types
        .iter()
        .find(|t| class_of(t, true) == class)
        .or(part.types.first());
    let value = match (chosen.map(|t| t.value.as_str()).unwrap_or_default(), class) {
        (v, _) if chosen.is_some_and(TypedField::is_sound) && !v.starts_with("multipart/") => v,
        (_, Class::Html) => "text/html",
        _ => "text/plain",
    };
    let params = chosen.map(|t| t.params.as_slice()).unwrap_or_default();
    let mut out = with_params(value, params, |name| name != "charset" || charset.is_none());
    if let Some(c) = charset {
        out.push_str(&format!(";\r\n\tcharset={c}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_like_html_is_taken_for_it() {
        for (text, wanted) in [
            ("<p>x", true),
            (" \r\n<!-- a --> <A href=b>", true),
            ("\u{feff}<div\r\nid=a>", true),
            ("so <p>x", false),
            ("<pre>x", false),
            ("<p", false),
            ("<anna@mail.example> wrote:", false),
            ("words\r\n<html>", true),
        ] {
            assert_eq!(looks_like_html(text.as_bytes()), wanted, "{text}");
        }
    }
}
