//! URLs in scripts of JSON: schema.org actions, which mail programs show as buttons.

use std::ops::Range;

use super::sites::{Action, find_ignoring_case};
use crate::site::Use;

/// URLs in the strings of a JSON script, but for the names of vocabularies. `false` when scripts overlap beyond measure.
pub(super) fn strings(
    text: &[u8],
    tag: &Range<usize>,
    from: usize,
    budget: &mut usize,
    actions: &mut Vec<Action>,
) -> bool {
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
            let lower = unescape(&String::from_utf8_lossy(string)).to_ascii_lowercase();
            let lower = lower.trim_start();
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
