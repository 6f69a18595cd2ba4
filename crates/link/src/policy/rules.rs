//! Rules of `bypass_senders` and `bypass_urls`.
//!
//! Names are looked up in hash tables, label by label: a list of ten thousand rules costs no more than one of ten. Only
//! regular expressions are tried one by one.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use url::{Host, Url};

use crate::rule_error::RuleError;
use crate::target::Target;

/// `bypass_senders`: rules for envelope senders.
///
/// * `news@shop.example`: this address, compared without case;
/// * `@partner.example`: all addresses of this domain, not of its subdomains;
/// * `*.trusted.example`: all addresses of its subdomains at any depth, not of the domain itself.
///
/// The empty sender `<>` matches no rule. The envelope sender can be forged: such a rule is only as good as the checks (SPF)
/// in front of linkgate.
#[derive(Debug, Clone, Default)]
pub struct SenderRules {
    texts: Vec<String>,
    addresses: HashMap<String, usize>,
    domains: HashMap<String, usize>,
    /// By the domain below which they hold.
    below: HashMap<String, usize>,
}

impl SenderRules {
    /// The allowed forms of a rule.
    pub const ALLOWED: &'static str = "an address, @domain or *.domain";

    /// Compiles rules; white space around them is dropped.
    ///
    /// # Errors
    /// Every rule that cannot be used.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self, Vec<RuleError>> {
        let mut out = Self::default();
        let errors = each(rules, Self::ALLOWED, |index, rule| out.add(index, rule));
        if errors.is_empty() { Ok(out) } else { Err(errors) }
    }

    /// Place of the first rule that matches.
    #[must_use]
    pub fn find(&self, sender: &str) -> Option<usize> {
        if self.texts.is_empty() {
            return None;
        }
        let (local, domain) = split_address(sender)?;
        let domain = domain_name(domain).ok()?;
        let address = self.addresses.get(&format!("{}@{domain}", local.to_lowercase()));
        let same = self.domains.get(&domain);
        let below = parents(&domain).filter_map(|d| self.below.get(d));
        address.into_iter().chain(same).chain(below).min().copied()
    }

    /// The rules as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn add(&mut self, index: usize, rule: &str) -> Result<(), String> {
        let (map, key) = if let Some(domain) = rule.strip_prefix("*.") {
            (&mut self.below, domain_name(domain)?)
        } else if let Some(domain) = rule.strip_prefix('@') {
            (&mut self.domains, domain_name(domain)?)
        } else if let Some((local, domain)) = split_address(rule) {
            if local.contains('*') {
                return Err(format!("a * in an address; for all of a domain write @{domain}"));
            }
            (
                &mut self.addresses,
                format!("{}@{}", local.to_lowercase(), domain_name(domain)?),
            )
        } else {
            return Err(format!(
                "neither an address nor a domain; for all of a domain write @{rule}"
            ));
        };
        map.entry(key).or_insert(index);
        self.texts.push(rule.into());
        Ok(())
    }
}

impl PartialEq for SenderRules {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

/// `bypass_urls`: rules for targets, matched on the parsed host and path.
///
/// * `intranet.example.com`: this host, on any port;
/// * `*.example.com`: its subdomains at any depth, not the host itself;
/// * `example.com/docs` or `*.example.com/docs`: as above, and the path is `/docs` or lies below it. A path with an encoded
///   slash (`%2F`, `%5C`) is matched by no such rule, as servers read it differently;
/// * `re:` and a regular expression, searched in the whole serialised URL. That includes path, query and fragment: a sender can
///   put any name there, so an expression should be anchored (`re:^https://...`).
///
/// Host names are compared as A-labels and without case.
#[derive(Debug, Clone, Default)]
pub struct UrlRules {
    texts: Vec<String>,
    hosts: HashMap<String, Vec<PathRule>>,
    /// By the host below which they hold.
    below: HashMap<String, Vec<PathRule>>,
    patterns: Vec<(usize, Regex)>,
}

#[derive(Debug, Clone)]
struct PathRule {
    index: usize,
    /// Without a final slash; empty for any path.
    path: String,
}

/// Compiled size of a regular expression, in octets.
const MAX_PATTERN: usize = 1 << 20;

impl UrlRules {
    /// The allowed forms of a rule.
    pub const ALLOWED: &'static str = "host, *.host, host/path or re:expression";

    /// Compiles rules; white space around them is dropped.
    ///
    /// # Errors
    /// Every rule that cannot be used.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self, Vec<RuleError>> {
        let mut out = Self::default();
        let errors = each(rules, Self::ALLOWED, |index, rule| out.add(index, rule));
        if errors.is_empty() { Ok(out) } else { Err(errors) }
    }

    /// Place of the first rule that matches.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<usize> {
        if self.texts.is_empty() {
            return None;
        }
        let host = target.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        let path = target.url().path();
        let below = parents(host).filter_map(|h| self.below.get(h));
        let by_name = self.hosts.get(host).into_iter().chain(below).flatten();
        let by_name = by_name.filter(|r| r.matches(path)).map(|r| r.index).min();
        // Patterns stand in order, so the first that matches is the only one that counts.
        let before = by_name.unwrap_or(usize::MAX);
        let mut patterns = self.patterns.iter().take_while(|(i, _)| *i < before);
        patterns
            .find(|(_, re)| re.is_match(target.as_str()))
            .map(|(i, _)| *i)
            .or(by_name)
    }

    /// The rules as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn add(&mut self, index: usize, rule: &str) -> Result<(), String> {
        if let Some(pattern) = rule.strip_prefix("re:") {
            if pattern.is_empty() {
                return Err("an empty expression matches everything".into());
            }
            let re = RegexBuilder::new(pattern)
                .size_limit(MAX_PATTERN)
                .build()
                .map_err(|e| regex_fault(&e))?;
            self.patterns.push((index, re));
        } else {
            let (below, host, path) = place(rule)?;
            let map = if below { &mut self.below } else { &mut self.hosts };
            map.entry(host).or_default().push(PathRule { index, path });
        }
        self.texts.push(rule.into());
        Ok(())
    }
}

impl PartialEq for UrlRules {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl PathRule {
    fn matches(&self, path: &str) -> bool {
        if self.path.is_empty() {
            return true;
        }
        let Some(rest) = path.strip_prefix(self.path.as_str()) else {
            return false;
        };
        (rest.is_empty() || rest.starts_with('/')) && !has_encoded_slash(rest)
    }
}

/// Parses a rule: whether it holds below the host, the host, the path.
fn place(rule: &str) -> Result<(bool, String, String), String> {
    if rule.contains("://") {
        return Err("a rule holds for every scheme: leave the part with :// away".into());
    }
    let (below, name) = rule.strip_prefix("*.").map_or((false, rule), |rest| (true, rest));
    if name.contains('*') {
        return Err("a * stands only in front, as in *.example.com; a path is a prefix anyway".into());
    }
    if name.contains(['?', '#', '\\']) {
        return Err("query and fragment cannot be matched; use an expression: re:".into());
    }
    let (host, path) = name.split_once('/').map_or((name, ""), |(h, p)| (h, p));
    if host.contains('@') {
        return Err("a user name cannot be matched".into());
    }
    let host = if host.starts_with('[') && host.ends_with(']') && !below {
        Host::parse(host)
            .map_err(|_| "not an IPv6 address".to_string())?
            .to_string()
    } else if host.contains(':') {
        return Err("neither scheme nor port can be matched; a rule holds for all of them".into());
    } else if let (Ok(Host::Ipv4(ip)), false) = (Host::parse(host), below) {
        ip.to_string()
    } else {
        domain_name(host)?
    };
    let path = Url::parse(&format!("http://h/{path}")).map_err(|_| "not a path".to_string())?;
    let path = path.path().trim_end_matches('/').to_string();
    Ok((below, host, path))
}

fn has_encoded_slash(path: &str) -> bool {
    path.split('%').skip(1).any(|after| {
        after
            .get(..2)
            .is_some_and(|hex| hex.eq_ignore_ascii_case("2f") || hex.eq_ignore_ascii_case("5c"))
    })
}

fn each<S: AsRef<str>>(
    rules: &[S],
    allowed: &'static str,
    mut add: impl FnMut(usize, &str) -> Result<(), String>,
) -> Vec<RuleError> {
    let mut errors = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let rule = rule.as_ref();
        let trimmed = rule.trim();
        let result = if trimmed.is_empty() {
            Err("empty".into())
        } else {
            add(index, trimmed)
        };
        errors.extend(result.err().map(|why| RuleError {
            index,
            rule: rule.into(),
            why,
            allowed,
        }));
    }
    errors
}

/// The fault in a syntax error: its last line; the others draw the place.
fn regex_fault(e: &regex::Error) -> String {
    match e {
        regex::Error::CompiledTooBig(limit) => format!("the expression needs more than {limit} octets"),
        other => {
            let text = other.to_string();
            let last = text.lines().next_back().unwrap_or_default();
            format!("not a regular expression: {}", last.trim_start_matches("error: "))
        }
    }
}

/// Local part and domain; `None` when one of them is empty.
fn split_address(address: &str) -> Option<(&str, &str)> {
    address
        .rsplit_once('@')
        .filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// A domain name in lower case and A-labels, without a final dot.
fn domain_name(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not a domain name");
    if text.contains(['*', '%', '@', '/', ':', '[']) {
        return Err(bad());
    }
    let name = match Host::parse(text) {
        Ok(Host::Domain(name)) => name,
        _ => return Err(bad()),
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let sound = name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()));
    if sound { Ok(name.to_string()) } else { Err(bad()) }
}

/// The parents of a name: `b.c` and `c` of `a.b.c`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |n| n.split_once('.').map(|(_, rest)| rest)).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(rules: &[&str]) -> SenderRules {
        SenderRules::parse(rules).unwrap()
    }

    fn urls(rules: &[&str]) -> UrlRules {
        UrlRules::parse(rules).unwrap()
    }

    fn hits(rules: &UrlRules, url: &str) -> bool {
        rules.find(&Target::parse(url).unwrap()).is_some()
    }

    #[test]
    fn senders_match_by_address_and_domain() {
        let rules = senders(&[
            "@partner.example",
            "*.trusted.example",
            "News@Shop.example",
            "@B\u{fc}cher.example",
        ]);
        for (sender, want) in [
            ("a@partner.example", Some(0)),
            ("A@PARTNER.example.", Some(0)),
            ("\"a@b\"@partner.example", Some(0)),
            ("a@x.trusted.example", Some(1)),
            ("a@x.y.trusted.example", Some(1)),
            ("nEWS@shop.EXAMPLE", Some(2)),
            ("a@xn--bcher-kva.example", Some(3)),
            ("a@b\u{fc}cher.example", Some(3)),
            ("", None),
            ("partner.example", None),
            ("@partner.example", None),
            ("a@", None),
            ("a@sub.partner.example", None),
            ("a@notpartner.example", None),
            ("a@partner.example.evil.test", None),
            ("a@partner.example@evil.test", None),
            ("a@trusted.example", None),
            ("a@nottrusted.example", None),
            ("other@shop.example", None),
            ("xnews@shop.example", None),
            ("a@[192.0.2.1]", None),
        ] {
            assert_eq!(rules.find(sender), want, "{sender}");
        }
        assert_eq!(SenderRules::default().find("a@b.example"), None);
    }

    #[test]
    fn urls_match_by_host() {
        let rules = urls(&[
            "example.com",
            "*.corp.example",
            "B\u{fc}cher.example",
            "192.0.2.1",
            "[2001:DB8::1]",
        ]);
        for (url, want) in [
            ("http://example.com/", true),
            ("ftp://user@EXAMPLE.com.:2121/x?y#z", true),
            ("https://a.corp.example/", true),
            ("https://a.b.corp.example/", true),
            ("https://xn--bcher-kva.example/", true),
            ("https://0xC0.0.2.1/", true),
            ("https://[2001:db8::1]/", true),
            ("https://notexample.com/", false),
            ("https://www.example.com/", false),
            ("https://example.com.evil.test/", false),
            ("https://example.com@evil.test/", false),
            ("https://evil.test/example.com?example.com#example.com", false),
            ("https://corp.example/", false),
            ("https://notcorp.example/", false),
            ("https://x.192.0.2.1.evil.test/", false),
        ] {
            assert_eq!(hits(&rules, url), want, "{url}");
        }
    }

    #[test]
    fn paths_match_by_segment() {
        let rules = urls(&["example.com/docs/", "*.example.net/a b/../c"]);
        for (url, want) in [
            ("https://example.com/docs", true),
            ("https://example.com/docs/x/y?z", true),
            ("https://a.example.net/c/", true),
            ("https://example.com/docsx", false),
            ("https://example.com/Docs", false),
            ("https://example.com/", false),
            ("https://example.com/x/docs", false),
            ("https://example.com/docs/../admin", false),
            ("https://example.com/docs/%2e%2e/admin", false),
            ("https://example.com/docs/..%2fadmin", false),
            ("https://example.com/docs/..%5Cadmin", false),
            ("https://example.net/c", false),
        ] {
            assert_eq!(hits(&rules, url), want, "{url}");
        }
    }

    #[test]
    fn expressions_search_the_whole_url() {
        let rules = urls(&[
            r"re:(?i)\b(apple\.com)\b|\b(www\.microsoft\.com)\b",
            "re:^https://a\\.example/",
        ]);
        assert!(hits(&rules, "https://support.Apple.com/x"));
        assert!(hits(&rules, "https://a.example/x"));
        assert!(!hits(&rules, "https://pineapplexcom.example/"));
        assert!(!hits(&rules, "https://b.example/https://a.example/"));
    }

    #[test]
    fn the_first_rule_in_the_list_is_named() {
        let rules = urls(&[
            "re:zzz",
            "*.example.com",
            "re:example",
            "a.example.com/x",
            "a.example.com",
        ]);
        let first = |url: &str| rules.find(&Target::parse(url).unwrap());
        assert_eq!(first("https://a.example.com/x"), Some(1));
        assert_eq!(first("https://a.example.com/zzz"), Some(0));
        assert_eq!(first("https://example.net/"), Some(2));
    }

    #[test]
    fn all_faults_come_at_once() {
        let errors = SenderRules::parse(&[
            "example.com",
            "ok@example.com",
            "",
            "*@example.com",
            "@*.example.com",
            "a@",
            "@a..b",
            "*.",
            "a@192.0.2.1",
        ])
        .unwrap_err();
        assert_eq!(
            errors.iter().map(|e| e.index).collect::<Vec<_>>(),
            [0, 2, 3, 4, 5, 6, 7, 8]
        );
        assert_eq!(
            errors[0].to_string(),
            "rule 1 (\"example.com\"): neither an address nor a domain; for all of a domain write @example.com; \
             allowed: an address, @domain or *.domain"
        );
        let errors = UrlRules::parse(&[
            "https://example.com",
            "example.com",
            "example.com:8080",
            "mailto:x",
            "u@example.com",
            "example.com/*",
            "a*.example.com",
            "*",
            "example.com?x",
            "re:",
            "re:(",
            "re:(a{1000}){1000}",
            "[::1",
            "ex%61mple.com",
            "//x",
        ])
        .unwrap_err();
        assert_eq!(
            errors.iter().map(|e| e.index).collect::<Vec<_>>(),
            [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
        );
        assert_eq!(errors[9].why, "not a regular expression: unclosed group");
    }
}
