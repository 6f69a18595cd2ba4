//! Host names in running text: their characters, their suffixes, and where they are glued to words.

use crate::slice::Slice;

/// Top-level domains under which a name alone, without path or port, is taken for a link. Many others are file
/// extensions (`main.rs`), words (`it.is`) or members in program text (`dev.name`).
const PLAIN_TLDS: &[&str] = &[
    "com", "net", "org", "edu", "gov", "mil", "int", "info", "biz", "eu", "de", "fr", "nl", "uk", "ru", "cn", "jp",
    "br", "ca", "ch", "cz", "dk", "fi", "gr", "hu", "kr", "mx", "nz", "pt", "ro", "se", "sk", "tr", "tw", "ua", "za",
    "au", "cl", "xyz", "online", "icu", "site", "website", "shop",
];

/// Top-level domains under which it takes a third label: in program text a name with one dot is a member.
const LONG_TLDS: &[&str] = &[
    "top", "club", "live", "vip", "cyou", "buzz", "pw", "cc", "tk", "ml", "ga", "cf", "gq", "co", "io", "app",
];

/// Words that begin a package name or an expression, not a host name.
const PROGRAM_WORDS: &[&str] = &[
    "com", "org", "net", "io", "de", "java", "javax", "android", "androidx", "self", "this", "window", "document",
];

/// Letters, digits, hyphens, and whatever an internationalised name may hold.
pub(super) fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii() && (c.is_alphanumeric() || is_invisible(c))
}

/// Characters that IDNA drops from host names: soft hyphen, zero-width characters, word joiner.
pub(super) const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Characters of scripts that put no blanks between words: an address may follow or precede them directly.
const fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{3130}'..='\u{318f}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// How much of a first label is a word in front of the address: `请访问www`.
pub(super) fn leading_word(label: &str) -> usize {
    label
        .char_indices()
        .rev()
        .find(|(_, c)| is_unspaced(*c))
        .map(|(i, c)| i + c.len_utf8())
        .filter(|n| *n < label.len())
        .unwrap_or(0)
}

/// Finds where a host name ends that a word in a script without blanks follows: `www.example.com을`.
pub(super) fn trailing_word(host: &str) -> Option<usize> {
    let at = host.find(is_unspaced)?;
    let name = host.slice(..at);
    let word = name.contains('.') && !name.ends_with(['.', '-']);
    (word && known_suffix(&name.to_ascii_lowercase())).then_some(at)
}

/// Whether a host name ends in a suffix under which names are registered.
pub(super) fn known_suffix(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.len() < 2 || last.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    suffix::suffix(host.as_bytes()).is_some_and(|s| s.is_known() && s.as_bytes().len() < host.len())
}

/// Whether a name that stands alone is meant as a web address rather than a file, an abbreviation or program text.
pub(super) fn plain_name(host: &str, rest: &str) -> bool {
    let mut labels = host.rsplit('.');
    let (tld, name) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let first = labels.next_back();
    (PLAIN_TLDS.contains(&tld)
        || !tld.is_ascii()
        || LONG_TLDS.contains(&tld) && first.is_some_and(|f| !PROGRAM_WORDS.contains(&f)))
        && name.len() > 1
        && !rest.starts_with(['(', '[', '_', '=', '-', '/', '{', '*'])
        && name.bytes().any(|b| b.is_ascii_alphabetic() || b >= 0x80)
}

/// Whether a name is an IPv4 address in its usual form (RFC 3986 3.2.2).
pub(super) fn is_ipv4(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>().is_ok()
}
