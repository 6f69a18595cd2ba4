//! Text hidden in URLs: percent escapes, Base64, values of a query, and the web URLs in them.

use std::borrow::Cow;

use data_encoding::BASE64_NOPAD;
use percent_encoding::{percent_decode_str, percent_encode_byte};

use crate::target::{Resolve, Resolved, Target, resolve};

/// Longest text read as a URL, in octets: the longest that browsers open from a link is far below.
pub(crate) const MAX_TEXT: usize = 32 * 1024;

/// Most times that a value is decoded in search of a URL.
const MAX_ROUNDS: usize = 3;

/// The front of a text: `max` octets, or as many fewer as leave its last character whole.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// Decodes percent escapes once. Escapes that are not UTF-8 stay: decoded they would lose their octets.
pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    let octets: Cow<'_, [u8]> = percent_decode_str(text).into();
    let Cow::Owned(octets) = octets else {
        return Cow::Borrowed(text);
    };
    let mut decoded = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|octet| percent_encode_byte(*octet)));
    }
    Cow::Owned(decoded)
}

/// Decodes Base64 of either alphabet, with or without padding; spaces are read as `+`, as forms replace it.
pub(crate) fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    let mut plain: String = text
        .chars()
        .map(|c| match c {
            '-' | ' ' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    plain.truncate(plain.trim_end_matches('=').len());
    if let Ok(octets) = BASE64_NOPAD.decode(plain.as_bytes()) {
        return Some(octets);
    }
    // Some encoders leave bits at the end that are not zero; no URL depends on them.
    let mut lax = data_encoding::Specification::new();
    lax.symbols.push_str(STANDARD);
    lax.check_trailing_bits = false;
    lax.encoding().ok()?.decode(plain.as_bytes()).ok()
}

/// Encodes as Base64 for URLs, for tests.
#[cfg(test)]
pub(crate) fn base64(text: &[u8]) -> String {
    data_encoding::BASE64URL_NOPAD.encode(text)
}

/// Names and values of a query as they stand there. A name that copying has left with `amp;` in front (`&amp;`) loses it.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut name = name;
        while let Some(rest) = name.strip_prefix("amp;") {
            name = rest;
        }
        (name, value)
    })
}

/// The first value of `name` in a query, as it stands there; the name in any case.
pub(crate) fn value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    pairs(query)
        .find(|(n, v)| n.eq_ignore_ascii_case(name) && !v.is_empty())
        .map(|(_, v)| v)
}

/// The text behind `name=` in a query: some wrappers put the target last, unescaped, with a query of its own.
pub(crate) fn tail<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut at = 0;
    for pair in query.split('&') {
        let (bare, stripped) = match pair.strip_prefix("amp;") {
            Some(rest) => (rest, 4),
            None => (pair, 0),
        };
        if let Some((n, v)) = bare.split_once('=')
            && n.eq_ignore_ascii_case(name)
            && !v.is_empty()
        {
            return query.get(at + stripped + n.len() + 1..);
        }
        at += pair.len() + 1;
    }
    None
}

/// Whether a text begins with `http:` or `https:`, in any case.
pub(crate) fn is_web(text: &str) -> bool {
    ["http:", "https:"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(scheme))
    })
}

/// Reads a decoded text as an http or https URL, after mending faults of copying: remaining escapes, `&amp;`, `https:/x`, a
/// missing scheme.
pub(crate) fn web_target(text: &str) -> Option<Target> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut text = Cow::Borrowed(text.trim());
    for _ in 0..MAX_ROUNDS {
        let lower: String = text.chars().take(12).collect::<String>().to_ascii_lowercase();
        if !(lower.starts_with("http%") || lower.starts_with("https%")) {
            break;
        }
        text = Cow::Owned(percent_decoded(&text).into_owned());
    }
    let text = text.replace("&amp;", "&");
    let how = Resolve {
        bare_hosts: true,
        ..Resolve::default()
    };
    match resolve(&text, &how) {
        Resolved::Web(target) if matches!(target.scheme(), "http" | "https") => Some(target),
        _ => None,
    }
}

/// Reads a value as an absolute web URL: plain, percent-encoded, or in Base64.
pub(crate) fn hidden_target(value: &str) -> Option<Target> {
    // The shortest is longer than `http:`.
    if value.len() < 8 || value.len() > MAX_TEXT {
        return None;
    }
    let mut text = Cow::Borrowed(value);
    for _ in 0..=MAX_ROUNDS {
        let plain = text.trim_start();
        if is_web(plain) {
            return names_host(plain).then(|| web_target(plain)).flatten();
        }
        // `http` in Base64 begins so, whatever follows it.
        if plain.starts_with("aHR0c") || plain.starts_with("SFRUU") {
            let octets = base64_decoded(&percent_decoded(plain))?;
            let inside = String::from_utf8(octets).ok()?;
            return (is_web(&inside) && names_host(&inside))
                .then(|| web_target(&inside))
                .flatten();
        }
        match percent_decoded(&text) {
            Cow::Borrowed(_) => return None,
            Cow::Owned(decoded) if decoded == text => return None,
            Cow::Owned(decoded) => text = Cow::Owned(decoded),
        }
    }
    None
}

const STANDARD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether a slash follows the scheme: `http:` alone begins many a text that is none.
fn names_host(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(_, rest)| rest.starts_with(['/', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_that_are_not_utf8_stay() {
        for (text, want) in [
            ("a%2Fb%2fc", "a/b/c"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%252F", "%2F"),
            ("%C3%BC", "\u{fc}"),
            ("%fc%41", "%FCA"),
            ("\u{fc}%41", "\u{fc}A"),
        ] {
            assert_eq!(percent_decoded(text), want, "{text}");
        }
    }

    #[test]
    fn base64_of_every_make_is_read() {
        for text in [
            "aHR0cDovL2E_Yj4",
            "aHR0cDovL2E/Yj4=",
            "aHR0cDovL2E/Yj5",
            "aHR0cDovL2E/Yj4==",
        ] {
            assert_eq!(base64_decoded(text).unwrap(), b"http://a?b>", "{text}");
        }
        assert_eq!(base64_decoded("+ -_").unwrap(), base64_decoded("+++/").unwrap());
        assert!(base64_decoded("a").is_none());
        assert!(base64_decoded("a*aa").is_none());
    }

    #[test]
    fn values_and_tails_of_a_query() {
        let query = "k=1&amp;u=https://x.example/?a=1&b=2";
        assert_eq!(value(query, "u"), Some("https://x.example/?a=1"));
        assert_eq!(tail(query, "U"), Some("https://x.example/?a=1&b=2"));
        assert_eq!(value(query, "amp;u"), None);
        assert_eq!(tail("u=", "u"), None);
        assert_eq!(value("u=&u=x", "u"), Some("x"));
    }

    #[test]
    fn urls_are_found_in_values() {
        for (text, want) in [
            ("https://a.example/x", Some("https://a.example/x")),
            ("HTTPS%3a%2F%2Fa.example", Some("https://a.example/")),
            (
                "https%253A%252F%252Fa.example%252Fb%25252Fc",
                Some("https://a.example/b%2Fc"),
            ),
            ("aHR0cHM6Ly9hLmV4YW1wbGUv", Some("https://a.example/")),
            ("aHR0cHM6Ly9hLmV4YW1wbGUv%3D", Some("https://a.example/")),
            ("https:/a.example/", Some("https://a.example/")),
            ("http:", None),
            ("http:a.example", None),
            ("ftp://a.example/", None),
            ("javascript:alert(1)//https://a.example/", None),
            ("a.example/x", None),
            ("aHR0cHM6", None),
            ("https://", None),
        ] {
            let found = hidden_target(text);
            assert_eq!(found.as_ref().map(Target::as_str), want, "{text}");
        }
        assert!(hidden_target(&format!("https://a.example/{}", "x".repeat(MAX_TEXT))).is_none());
    }

    #[test]
    fn a_decoded_target_is_http_or_https() {
        for (text, want) in [
            ("www.shop.example/x", Some("http://www.shop.example/x")),
            ("shop.example/x", None),
            ("www.example.com/x", Some("http://www.example.com/x")),
            (" https:/a.example/?a=1&amp;b=2 ", Some("https://a.example/?a=1&b=2")),
            ("https%3A%2F%2Fa.example%2Fb%252Fc", Some("https://a.example/b%2Fc")),
            ("ftp://a.example/", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("", None),
            ("/x", None),
        ] {
            let found = web_target(text);
            assert_eq!(found.as_ref().map(Target::as_str), want, "{text}");
        }
    }
}
