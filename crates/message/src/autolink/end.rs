//! The ends of URLs in running text.

use super::host::{is_invisible, known_suffix};
use crate::slice::Slice;

/// Octets before and behind a colon in which angle brackets or quotation marks are looked for.
const BRACKET_REACH: usize = 40;
/// Longest URL with blanks in it that is put together, in octets.
const MAX_BLANK: usize = 1000;

/// Finds where a URL that begins at `start`, and is sought from `body` on, ends.
pub(super) fn end_of_url(text: &str, start: usize, body: usize) -> usize {
    let quoted = text.slice(..start).ends_with('\'');
    // Where an author writes backslashes for slashes, they are so in the path as well (WHATWG URL 4.4).
    let backslashes = text.slice(start..body).contains('\\');
    let rest = text.slice(body..);
    let mut open: Vec<char> = Vec::new();
    let mut end = rest.len();
    for (i, c) in rest.char_indices() {
        let stop = match c {
            '\\' => !backslashes,
            '<' | '>' | '"' | '`' | '^' => true,
            '|' => !is_in_query(rest, i),
            '\'' => quoted,
            '(' | '[' | '{' => {
                open.push(c);
                false
            }
            ')' | ']' | '}' => {
                let mate = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match open.iter().rposition(|o| *o == mate) {
                    Some(n) => {
                        open.truncate(n);
                        false
                    }
                    None => true,
                }
            }
            ',' | ';' => {
                let next = rest.slice(i + 1..).as_bytes();
                [&b"http://"[..], b"https://", b"ftp://"]
                    .iter()
                    .any(|s| next.get(..s.len()).is_some_and(|n| n.eq_ignore_ascii_case(s)))
            }
            '。' | '｡' => !is_dot(rest, i, c),
            c if c.is_ascii() => c.is_ascii_whitespace() || c.is_ascii_control(),
            c => ends_url(c),
        };
        if stop {
            end = i;
            break;
        }
    }
    let url = rest.slice(..end);
    let trimmed = url.trim_end_matches(|c: char| {
        matches!(
            c,
            '.' | ',' | ';' | '!' | '?' | ':' | '\'' | '*' | '-' | '(' | '[' | '{' | '~' | '–' | '—' | '。' | '｡'
        ) || is_invisible(c)
    });
    // Tokens in base64url may end in a hyphen.
    let hyphen = usize::from(trimmed.contains('/') && url.slice(trimmed.len()..) == "-");
    body + trimmed.len() + hyphen
}

/// Whether a vertical bar at `at` is part of a query rather than the edge of a table.
fn is_in_query(rest: &str, at: usize) -> bool {
    let behind = rest.slice(at..).trim_start_matches('|');
    rest.slice(..at).contains('?')
        && behind.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '-' | '_'))
        && !behind.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("http"))
}

/// Whether an ideographic full stop at `at` is the dot of a host name (IDNA) rather than the end of a sentence.
fn is_dot(rest: &str, at: usize, c: char) -> bool {
    let host = rest.slice(..at);
    let next = rest.as_bytes().get(at + c.len_utf8());
    next.is_some_and(u8::is_ascii_alphanumeric)
        && !host.is_empty()
        && !host.contains(['/', '?', '#'])
        && !known_suffix(&host.to_lowercase())
}

/// Finds where a host name ends that a word in another script follows without a blank: `www.example.com을`.
pub(super) fn foreign_word(text: &str, body: usize, end: usize) -> Option<usize> {
    let url = text.slice(body..end);
    let host = url.slice(..url.find(['/', '?', '#', ':', '@']).unwrap_or(url.len()));
    let at = host.find(|c: char| !c.is_ascii() && !is_invisible(c))?;
    let (name, rest) = host.split_at(at);
    // Behind a scheme a name may go on in another script; where that gives no URL, the URL ends before it.
    let word = !rest.contains('.') && host.len() == url.len() && name.contains('.') && !name.ends_with(['.', '-']);
    (word && known_suffix(&name.to_ascii_lowercase())).then_some(body + at)
}

/// Non-ASCII characters that end a URL: blanks, quotation marks, marks of direction, ideographic and full-width
/// punctuation.
fn ends_url(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '«' | '»' | '‘' | '’' | '‚' | '“' | '”' | '„' | '‹' | '›' | '…' | '\u{2028}' | '\u{2029}' | '\u{fffc}'
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}'
            | '！' | '＂' | '（' | '）' | '，' | '：' | '；' | '＜' | '＞' | '？' | '［' | '］' | '｛' | '｜' | '｝' | '｡' | '｢' | '｣' | '､')
}

/// A URL in angle brackets may be broken over lines (RFC 3986 appendix C): the whole of it, if the bracket closes soon.
pub(super) fn joined_in_brackets(text: &str, start: usize, end: usize) -> Option<(usize, String)> {
    let before = text.slice(..start);
    let head = before.as_bytes().slice(before.len().saturating_sub(5)..);
    if !(before.ends_with('<') || head.eq_ignore_ascii_case(b"<url:")) {
        return None;
    }
    let rest = text.slice(end..);
    if !rest.starts_with(['\r', '\n']) {
        return None;
    }
    // Five lines and no more: the whole text is not searched for every bracket.
    let soon = memchr::memchr_iter(b'\n', rest.as_bytes()).nth(4).unwrap_or(rest.len());
    let close = memchr::memchr(b'>', rest.as_bytes().slice(..soon))?;
    let inside = rest.slice(..close);
    let lines: Vec<&str> = inside.lines().map(str::trim).skip(1).collect();
    let sound = (1..=4).contains(&lines.len())
        && lines
            .iter()
            .all(|l| !l.is_empty() && !l.contains([' ', '\t', '<', '"']) && !l.contains("://"));
    sound.then(|| (end + close, format!("{}{}", text.slice(start..end), lines.concat())))
}

/// A URL in angle brackets or quotation marks with blanks in or behind its scheme, whose colon is at `colon`. Thunderbird
/// drops every blank between such marks (mozTXTToHTMLConv): where it begins and ends, and what is left of it.
pub(super) fn spaced_in_brackets(text: &str, colon: usize, floor: usize) -> Option<(usize, usize, String)> {
    let from = colon.saturating_sub(BRACKET_REACH).max(floor);
    let before = text.as_bytes().slice(from..colon);
    let open = memchr::memrchr2(b'<', b'"', before)?;
    let close = if before.get(open) == Some(&b'<') { b'>' } else { b'"' };
    let begin = from + open + 1;
    let rest = text.as_bytes().slice(colon..text.len().min(colon + MAX_BLANK));
    let end = colon + memchr::memchr3(close, b'<', b'"', rest).filter(|n| rest.get(*n) == Some(&close))?;
    let scheme = text.slice(begin..colon);
    let behind = text.slice(colon + 1..end);
    let squeezed = |t: &str| t.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>();
    let name = squeezed(scheme).to_ascii_lowercase();
    let name = name.strip_prefix("url:").unwrap_or(&name);
    if !matches!(name, "http" | "https" | "ftp") {
        return None;
    }
    let rest = squeezed(behind);
    let slashes = rest.len() - rest.trim_start_matches(['/', '\\']).len();
    let host = rest.slice(slashes..);
    // Words behind a colon are prose.
    let first = behind.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '\\'));
    let first = first.split(['/', '\\', '?', '#']).next()?;
    let named = host.starts_with(|c: char| c.is_alphanumeric() || c == '[')
        && !first.trim_end().contains(|c: char| c.is_ascii_whitespace())
        && (slashes > 0 || host.split(['/', '\\', '?', '#']).next()?.contains('.'));
    named.then(|| (begin, end, format!("{name}:{rest}")))
}
