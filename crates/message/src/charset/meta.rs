//! Encodings that a document names itself: in meta elements, and in an XML declaration.

use std::borrow::Cow;
use std::ops::Range;

use crate::edit::{self, TextEdit, apply};
use crate::html::context::comment_end;
use crate::html::reference::decode_attribute;
use crate::html::tag::{self, Tag};
use crate::slice::{Slice, head};

/// Octets in which every program looks for a meta element.
const WINDOW: usize = 1024;
/// Octets that a meta element may be long.
const MAX_META: usize = 1024;

/// All labels that a document gives, those in comments last.
pub(super) fn labels(bytes: &[u8]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    if let Some(label) = declared(bytes).map(|r| bytes.slice(r)) {
        out.push(String::from_utf8_lossy(label).into_owned());
    }
    // Some programs believe a meta element further down, where the head is long. It can only matter where the text has
    // control characters: an encoding that hides markup shifts by them.
    let len = match memchr::memchr3(0x1b, 0x0e, 0x0f, bytes) {
        Some(_) => bytes.len(),
        None => bytes.len().min(WINDOW),
    };
    let text = bytes.slice(..len);
    let mut in_comments = Vec::new();
    let mut comment = 0;
    let mut budget = text.len() * tag::OVERLAP + MAX_META;
    let mut tag = Tag::default();
    for at in memchr::memchr_iter(b'<', text) {
        let rest = text.slice(at + 1..);
        if at >= comment && rest.starts_with(b"!--") {
            comment = at + 1 + comment_end(rest).unwrap_or(rest.len());
        }
        if !rest.get(..4).is_some_and(|n| n.eq_ignore_ascii_case(b"meta")) {
            continue;
        }
        let piece = bytes.slice(at..bytes.len().min(at + MAX_META));
        tag::read(piece, 0, &mut tag);
        let Some(left) = budget.checked_sub(tag.end) else { break };
        budget = left;
        let to = if at < comment { &mut in_comments } else { &mut out };
        in_meta(piece, &tag, to);
    }
    out.append(&mut in_comments);
    out
}

/// HTML in UTF-8 whose meta elements and XML declaration say nothing else. `keep` says how an attribute that was changed is
/// kept beside, if it is.
pub(crate) fn without_labels(text: &[u8], keep: impl Fn(&[u8]) -> Option<String>) -> Cow<'_, [u8]> {
    let mut edits: Vec<TextEdit> = Vec::new();
    let utf8 = |at| TextEdit {
        at,
        with: b"utf-8".to_vec(),
    };
    edits.extend(declared(text).map(utf8));
    tag::sweep(text, |t| {
        if !t.name(text).eq_ignore_ascii_case(b"meta") {
            return;
        }
        for a in t.named(text, b"charset").chain(t.named(text, b"content")) {
            let Some(value) = a.value.clone() else { continue };
            let written = text.slice(value.clone());
            let is_charset = text
                .get(a.name.clone())
                .is_some_and(|n| n.eq_ignore_ascii_case(b"charset"));
            let (label, with) = if is_charset {
                (0..written.len(), "utf-8")
            } else if let Some(label) = charsets(written).into_iter().next() {
                (label, "utf-8")
            } else if !charsets(decoded(written).as_bytes()).is_empty() {
                (0..written.len(), "text/html;charset=utf-8")
            } else {
                continue;
            };
            let whole = a.whole();
            let mut with = [
                text.slice(whole.start..value.start + label.start),
                with.as_bytes(),
                text.slice(value.start + label.end..whole.end),
            ]
            .concat();
            if let Some(kept) = keep(text.slice(whole.clone())) {
                with.extend([b" ", tag::WAS, b"=\"", kept.as_bytes(), b"\""].concat());
            }
            edits.push(TextEdit { at: whole, with });
        }
    });
    match edit::sorted(edits) {
        Some(e) if !e.is_empty() => Cow::Owned(apply(text, &e)),
        _ => Cow::Borrowed(text),
    }
}

/// Finds where an XML declaration names an encoding.
fn declared(text: &[u8]) -> Option<Range<usize>> {
    let body = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    let head = head(body, WINDOW);
    if !head.get(..5)?.eq_ignore_ascii_case(b"<?xml") {
        return None;
    }
    let head = head.slice(..memchr::memchr(b'>', head)?);
    let at = text.len() - body.len();
    let label = values(head, b"encoding").into_iter().next()?;
    Some(at + label.start..at + label.end)
}

/// The labels in a meta element, by its attributes and by its bytes alone: programs that look for them differ in how.
fn in_meta(text: &[u8], tag: &Tag, out: &mut Vec<String>) {
    let mut push = |label: &[u8]| {
        let label = String::from_utf8_lossy(label).into_owned();
        if !out.contains(&label) {
            out.push(label);
        }
    };
    for a in &tag.attrs {
        let name = text.slice(a.name.clone());
        let value = decoded(a.value.clone().map(|v| text.slice(v)).unwrap_or_default());
        if name.eq_ignore_ascii_case(b"charset") {
            push(value.trim().as_bytes());
        } else if name.eq_ignore_ascii_case(b"content") {
            for r in charsets(value.as_bytes()) {
                push(value.as_bytes().slice(r));
            }
        }
    }
    let whole = text.slice(..tag.end);
    for r in charsets(whole) {
        push(whole.slice(r));
    }
}

fn decoded(value: &[u8]) -> String {
    decode_attribute(&String::from_utf8_lossy(value)).into_owned()
}

/// Finds where the labels stand that follow `charset=` (WHATWG HTML 2.4.3).
fn charsets(text: &[u8]) -> Vec<Range<usize>> {
    values(text, b"charset")
}

/// Finds where the values stand that follow a name in lower case and an equals sign.
fn values(text: &[u8], name: &[u8]) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let value = |at: usize| {
        let rest = text.slice(at + name.len()..).trim_ascii_start();
        let rest = rest.strip_prefix(b"=")?.trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
        let len = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(b))
            .count();
        let start = text.len() - rest.len();
        (len > 0).then_some(start..start + len)
    };
    memchr::memmem::find_iter(&lower, name).filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_of_a_document_counts() {
        for (html, want) in [
            ("<meta charset=utf-8>", &["utf-8"][..]),
            ("<META CONTENT='text/html; charset = big5'>", &["big5"]),
            ("<!-- <meta charset=a> --><meta charset=b>", &["b", "a"]),
            ("<meta title=\">\" charset=a>", &["a"]),
            ("<meta name=\"charset\" charset=\"a\">", &["a"]),
            ("<meta charset=\"a&#45;b\">", &["a-b", "a"]),
            ("<?xml version=\"1.0\" encoding=\"a\"?><p>", &["a"]),
            ("<p>charset=a</p>", &[]),
        ] {
            assert_eq!(labels(html.as_bytes()), want, "{html}");
        }
    }

    #[test]
    fn a_late_label_counts_where_it_may_hide_something() {
        let late = |body: &str| format!("<title>{}</title><meta charset=a>{body}", "x".repeat(2 * WINDOW));
        assert_eq!(labels(late("").as_bytes()), [""; 0]);
        assert_eq!(labels(late("\x1b$B").as_bytes()), ["a"]);
    }

    #[test]
    fn no_label_is_left_but_utf_8() {
        for html in [
            "<meta charset=utf-7>",
            "<meta content='text/html; charset = utf-7'>",
            "<meta content='text/html; charset&#61;utf-7'>",
            "<?xml version='1.0' encoding='utf-7' ?>",
        ] {
            let out = without_labels(html.as_bytes(), |_| Some("x".to_owned())).into_owned();
            assert_eq!(labels(&out), ["utf-8"], "{html}");
        }
    }

    #[test]
    fn a_hundred_thousand_labels_take_no_time() {
        let text = "\x1b<meta x=\"".repeat(100_000);
        let t = std::time::Instant::now();
        assert_eq!(labels(text.as_bytes()).len(), 0);
        assert!(t.elapsed().as_secs() < 5);
    }
}
