//! How a target is written for people: what says whose page it is stands out, and nothing of it can pretend to be more.

use link::Target;

use super::texts::{Piece, Texts, fill};

/// A target in three stretches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownTarget {
    /// Scheme and what stands in front of the registrable domain.
    pub(super) before: String,
    /// The registrable domain (or the whole host where there is none), in ASCII: the one form that cannot imitate another.
    pub(super) domain: String,
    /// Port, path and query, shortened.
    pub(super) after: String,
    /// The name that programs show which decode it; empty where that is the same.
    pub(super) reads_as: Vec<Piece<'static>>,
}

/// Characters that are shown of what stands in front of the domain.
const MAX_FRONT: usize = 24;
/// Of a domain; a longer one keeps its end, which says whose it is.
const MAX_DOMAIN: usize = 72;
/// Of path and query.
const MAX_PATH: usize = 56;

impl ShownTarget {
    pub(super) fn new(target: &Target, t: &Texts) -> Self {
        let host = target.host();
        let domain = registrable(host);
        let front = host.strip_suffix(domain).unwrap_or_default();
        let url = target.url();
        let port = url.port().map_or_else(String::new, |p| format!(":{p}"));
        let query = url.query().map_or_else(String::new, |q| format!("?{q}"));
        let path = match url.path() {
            "/" if query.is_empty() => "",
            path => path,
        };
        let unicode = plain(&idna::domain_to_unicode(host).0, MAX_DOMAIN);
        let reads_as = if unicode.is_ascii() {
            Vec::new()
        } else {
            owned(fill(&t.target_reads_as, &[("name", unicode.into())]))
        };
        Self {
            // A name and password in front of the host are there to deceive: they are left out.
            before: format!("{}://{}", target.scheme(), end_of(front, MAX_FRONT)),
            domain: end_of(domain, MAX_DOMAIN),
            after: format!("{port}{}", middle_cut(&format!("{path}{query}"), MAX_PATH)),
            reads_as,
        }
    }
}

/// A URL, or any text of a stranger, in at most `max` characters, its middle left out.
pub(super) fn shortened(text: &str, max: usize) -> String {
    middle_cut(&plain(text, usize::MAX), max)
}

/// Without what has no shape or turns the direction of what follows.
pub(super) fn plain(text: &str, max: usize) -> String {
    let shapeless = |c: &char| {
        c.is_control()
            || matches!(*c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut chars = text.chars().filter(|c| !shapeless(c));
    let mut kept: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() {
        kept.push('…');
    }
    kept
}

/// The host of a URL, or nothing.
pub(super) fn host_of(url: &str) -> String {
    Target::parse(url).map_or_else(|_| String::new(), |t| end_of(t.host(), MAX_DOMAIN))
}

/// The registrable domain with the final dot that the host has; the host itself where it has none.
fn registrable(host: &str) -> &str {
    let name = host.trim_end_matches('.');
    lists::registrable(name)
        .and_then(|domain| host.get(name.len() - domain.len()..))
        .unwrap_or(host)
}

fn end_of(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count - max).collect();
    format!("…{end}")
}

fn middle_cut(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let back = max / 3;
    let start: String = text.chars().take(max - back).collect();
    let end: String = text.chars().skip(count - back).collect();
    format!("{start}…{end}")
}

fn owned(pieces: Vec<Piece<'_>>) -> Vec<Piece<'static>> {
    let own = |p: Piece<'_>| Piece {
        text: p.text.into_owned().into(),
        is_value: p.is_value,
    };
    pieces.into_iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Languages;

    fn address(url: &str) -> ShownTarget {
        let languages = Languages::default();
        ShownTarget::new(&Target::parse(url).unwrap(), &languages.get("en").unwrap().texts)
    }

    #[test]
    fn the_registrable_domain_stands_out() {
        for (url, before, domain, after) in [
            ("https://example.com/", "https://", "example.com", ""),
            (
                "http://a.b.example.co.uk/x?y=1",
                "http://a.b.",
                "example.co.uk",
                "/x?y=1",
            ),
            (
                "https://paypal.com.evil.example:8443/login",
                "https://paypal.com.",
                "evil.example",
                ":8443/login",
            ),
            ("https://paypal.com@evil.example/", "https://", "evil.example", ""),
            ("http://192.0.2.1/", "http://", "192.0.2.1", ""),
            ("http://[2001:db8::1]:81/x", "http://", "[2001:db8::1]", ":81/x"),
            ("https://intranet/", "https://", "intranet", ""),
            ("https://x.example.com./", "https://x.", "example.com.", ""),
            ("https://evil.github.io/", "https://", "evil.github.io", ""),
        ] {
            let found = address(url);
            let found = (&*found.before, &*found.domain, &*found.after);
            assert_eq!(found, (before, domain, after), "{url}");
        }
    }

    #[test]
    fn names_in_other_alphabets_are_shown_in_both_forms() {
        let found = address("https://www.p\u{430}ypal.com/");
        assert_eq!(found.domain, "xn--pypal-4ve.com");
        assert!(
            found
                .reads_as
                .iter()
                .any(|p| p.is_value && p.text == "www.p\u{430}ypal.com")
        );
        assert!(address("https://paypal.com/").reads_as.is_empty());
    }

    #[test]
    fn an_address_stays_short() {
        let url = format!(
            "https://{}.{}.example/{}?{}",
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(900),
            "d".repeat(900)
        );
        let found = address(&url);
        let shown = format!("{}{}{}", found.before, found.domain, found.after);
        assert!(shown.chars().count() < 8 + 25 + 73 + 60, "{shown}");
        assert!(found.domain.ends_with("bbb.example"));
        assert!(found.after.starts_with("/ccc") && found.after.ends_with("ddd"));
    }

    #[test]
    fn characters_without_a_shape_go() {
        assert_eq!(plain("a\u{202e}b\u{200b}c\u{7}\u{e0041}", 9), "abc");
        assert_eq!(plain("abcd", 3), "abc…");
    }
}
