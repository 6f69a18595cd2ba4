//! Character references (WHATWG HTML 13.2.5.72 ff.), decoded as attributes or as text decode them.

use std::borrow::Cow;

use crate::slice::Slice;
use html5ever::data::{C1_REPLACEMENTS, NAMED_ENTITIES};

/// Longest name of a reference, with its semicolon.
const MAX_NAME: usize = 33;
/// Octets in which a whole reference stands, and the octet behind it.
pub(crate) const MAX_REFERENCE: usize = 40;

/// Decodes an attribute value.
pub(crate) fn decode_attribute(value: &str) -> Cow<'_, str> {
    if memchr::memchr(b'&', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(rest.slice(..at));
        rest = rest.slice(at..);
        let used = match reference(rest, true) {
            Some((used, a, b)) => {
                out.push(a);
                out.extend(b);
                used
            }
            None => {
                out.push('&');
                1
            }
        };
        rest = rest.slice(used..);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Reads the reference that `text` begins with: its length in octets and the one or two characters that it stands for.
pub(crate) fn reference(text: &str, in_attribute: bool) -> Option<(usize, char, Option<char>)> {
    let bytes = text.as_bytes();
    // Nine in ten of all references in links.
    if bytes.starts_with(b"&amp;") {
        return Some((5, '&', None));
    }
    if bytes.get(1) == Some(&b'#') {
        return numeric(bytes).map(|(n, c)| (n, c, None));
    }
    let name_len = bytes
        .iter()
        .skip(1)
        .take(MAX_NAME)
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    let with_semicolon = bytes.get(1 + name_len) == Some(&b';');
    let longest = name_len + usize::from(with_semicolon);
    for len in (2..=longest).rev() {
        let name = text.slice(1..1 + len);
        let Some((a, b)) = NAMED_ENTITIES.get(name).filter(|(a, _)| *a != 0) else {
            continue;
        };
        let next = bytes.get(1 + len);
        let bare = !name.ends_with(';');
        if bare && in_attribute && next.is_some_and(|n| *n == b'=' || n.is_ascii_alphanumeric()) {
            // For compatibility with old pages `?a=1&copy=2` is no reference.
            return None;
        }
        return Some((1 + len, char::from_u32(*a)?, char::from_u32(*b).filter(|c| *c != '\0')));
    }
    None
}

fn numeric(bytes: &[u8]) -> Option<(usize, char)> {
    let (radix, from) = match bytes.get(2) {
        Some(b'x' | b'X') => (16, 3),
        _ => (10, 2),
    };
    let digits = bytes
        .slice(from..)
        .iter()
        .take_while(|b| (**b as char).is_digit(radix))
        .count();
    if digits == 0 {
        return None;
    }
    let value = bytes.slice(from..from + digits).iter().fold(0u32, |n, b| {
        n.saturating_mul(radix)
            .saturating_add((*b as char).to_digit(radix).unwrap_or(0))
            .min(0x11_0000)
    });
    let end = from + digits;
    let used = end + usize::from(bytes.get(end) == Some(&b';'));
    let c = match value {
        0 => '\u{fffd}',
        0x80..=0x9f => C1_REPLACEMENTS
            .get(value as usize - 0x80)
            .copied()
            .flatten()
            .or(char::from_u32(value))
            .unwrap_or('\u{fffd}'),
        v => char::from_u32(v).unwrap_or('\u{fffd}'),
    };
    Some((used, c))
}

/// Whether a reference, without its `&`, is a common one that makes no part of a URL but its blanks and ampersands.
pub(super) fn is_plain_reference(rest: &[u8]) -> bool {
    const PLAIN: [&[u8]; 14] = [
        b"nbsp;", b"amp;", b"lt;", b"gt;", b"quot;", b"copy;", b"reg;", b"middot;", b"bull;", b"mdash;", b"ndash;",
        b"rsquo;", b"zwnj;", b"#8199;",
    ];
    PLAIN.iter().any(|n| rest.starts_with(n))
}

/// Escapes text for a double-quoted attribute value.
pub(crate) fn escape_attribute(value: &str) -> Cow<'_, str> {
    if value.contains(['&', '"', '<', '>']) {
        Cow::Owned(
            value
                .replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('<', "&lt;")
                .replace('>', "&gt;"),
        )
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use html5ever::tendril::StrTendril;
    use html5ever::tokenizer::{BufferQueue, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
    use proptest::prelude::*;
    use std::cell::RefCell;

    #[test]
    fn attribute_values_decode_as_browsers_do() {
        for (raw, want) in [
            ("https://x.example/", "https://x.example/"),
            ("&#104;&#x74;tps&colon;&sol;&sol;e", "https://e"),
            (
                "https&#58//e2.example/?a=1&copy=2&amp;lt=3",
                "https://e2.example/?a=1&copy=2&lt=3",
            ),
            ("a&amp", "a&"),
            ("a&ampx", "a&ampx"),
            ("&notit; &notin;", "&notit; ∉"),
            ("&#0;&#x80;&#xD800;&#x110000;", "\u{fffd}€\u{fffd}\u{fffd}"),
            ("&#;&#x;&", "&#;&#x;&"),
        ] {
            assert_eq!(decode_attribute(raw), want, "{raw}");
        }
    }

    #[derive(Default)]
    struct Values(RefCell<Vec<String>>);
    impl TokenSink for Values {
        type Handle = ();
        fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
            if let Token::TagToken(t) = token {
                self.0.borrow_mut().extend(t.attrs.iter().map(|a| a.value.to_string()));
            }
            TokenSinkResult::Continue
        }
    }

    proptest! {
        #[test]
        fn attribute_values_decode_as_html5ever_does(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "&", "#", "x", "X", "6", "a", "amp", "lt", "notin", ";", "=", "&copy", "&amp;", "&#", "&#x", "é", " ", "ngE", "&nvlt;", "&#128",
            ]), 0..12)
        ) {
            let value = pieces.concat();
            let tok = Tokenizer::new(Values::default(), TokenizerOpts::default());
            let queue = BufferQueue::default();
            queue.push_back(StrTendril::from(format!("<a b=\"{value}\">")));
            let _ = tok.feed(&queue);
            tok.end();
            let theirs = tok.sink.0.borrow()[0].clone();
            prop_assert_eq!(decode_attribute(&value), theirs);
        }
    }
}
