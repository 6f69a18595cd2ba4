//! Domain names in ASCII.

use std::net::Ipv4Addr;

use crate::target::Target;

/// A domain name in lower case with A-labels and without a final dot; `None` for other texts, such as an address literal.
#[must_use]
pub fn ascii_domain(name: &str) -> Option<String> {
    const MAX_NAME: usize = 253; // RFC 1035, 2.3.4, without the dot of the root
    const MAX_LABEL: usize = 63;
    let name = name.strip_suffix('.').unwrap_or(name);
    let legal = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(legal) {
        return None;
    }
    let url = Target::parse(&format!("http://{name}/")).ok()?;
    let ascii = url.host();
    let sound = ascii.len() <= MAX_NAME
        && ascii.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()))
        && ascii.parse::<Ipv4Addr>().is_err();
    sound.then(|| ascii.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names() {
        assert_eq!(ascii_domain("Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(ascii_domain("Bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(ascii_domain("mail_1.local").as_deref(), Some("mail_1.local"));
        for bad in [
            "",
            ".",
            "a..b",
            "1.2.3.4",
            "[::1]",
            "a b",
            "user@a.example",
            "a.example/x",
            "a:25",
            "*.example",
        ] {
            assert_eq!(ascii_domain(bad), None, "{bad}");
        }
        assert_eq!(ascii_domain(&"a".repeat(64)), None);
    }
}
