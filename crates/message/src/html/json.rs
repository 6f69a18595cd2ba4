//! URLs in scripts of JSON: schema.org actions, which mail programs show as buttons.

use std::ops::Range;

use super::action::{SiteAction, find_ignoring_case};
use crate::site::Use;
use crate::slice::Slice;

/// URLs in the strings of a JSON script, but for the names of vocabularies. `false` when scripts overlap too often.
pub(super) fn strings(
    text: &[u8],
    tag: &Range<usize>,
    from: usize,
    budget: &mut usize,
    actions: &mut Vec<SiteAction>,
) -> bool {
    let rest = text.slice(from..);
    let end = from + find_ignoring_case(rest, b"</script").unwrap_or(rest.len());
    let Some(left) = budget.checked_sub(end - from) else {
        return false;
    };
    *budget = left;
    let mut at = from;
    let mut key: Option<Range<usize>> = None;
    while let Some(n) = memchr::memchr(b'"', text.slice(at..end)) {
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
        let string = text.slice(start..close);
        at = end.min(close + 1);
        let after = text.slice(at..end).trim_ascii_start();
        if after.starts_with(b":") {
            key = Some(start..close);
        } else {
            let named = key.clone().map(|k| text.slice(k));
            let lower = unescape(&String::from_utf8_lossy(string)).to_ascii_lowercase();
            let lower = lower.trim_start();
            let url = ["http:", "https:", "ftp:"].iter().any(|s| lower.starts_with(s));
            if url && !matches!(named, Some(b"@context" | b"@type")) {
                actions.push(SiteAction::Judge {
                    usage: Use::Json,
                    tag: tag.clone(),
                    name: start..start,
                    value: start..close,
                    whole: start..close,
                });
            }
        }
    }
    true
}

/// A string of JSON (RFC 8259 7), read leniently.
pub(super) fn unescape(s: &str) -> String {
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
