//! The cookies of one journey: some chains go round in circles without them. They end with it.

use link::Target;

/// Cookies, and a number that changes when they do.
#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
    changes: u32,
}

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    host_only: bool,
    path: String,
    secure: bool,
}

const MAX_COOKIES: usize = 50;
const MAX_COOKIE: usize = 4096;

impl Jar {
    /// How often its content has changed: a target that is asked again with other cookies may answer otherwise.
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes the value of a `Set-Cookie` field (RFC 6265, 5.2 and 5.3), as far as it matters within seconds.
    pub(super) fn set(&mut self, field: &str, from: &Target) {
        if field.len() > MAX_COOKIE || !field.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return;
        }
        let mut parts = field.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            domain: from.host().to_owned(),
            host_only: true,
            path: default_path(from.url().path()),
            secure: false,
        };
        let mut gone = false;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    if !domain.contains('.') || !is_within(from.host(), &domain) {
                        return;
                    }
                    (cookie.domain, cookie.host_only) = (domain, false);
                }
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => gone = value.starts_with('-') || value == "0",
                _ => {}
            }
        }
        if cookie.name.is_empty() {
            return;
        }
        let same = |c: &Cookie| (&c.name, &c.domain, &c.path) == (&cookie.name, &cookie.domain, &cookie.path);
        let at = self.cookies.iter().position(same);
        let known = at.map(|at| self.cookies.remove(at));
        let changed = known.is_none_or(|known| gone || known.value != cookie.value);
        if !gone && self.cookies.len() < MAX_COOKIES {
            self.cookies.push(cookie);
        }
        if changed {
            self.changes += 1;
        }
    }

    /// The value of the `Cookie` field for a request, if there is one to send.
    pub(super) fn field(&self, to: &Target) -> Option<String> {
        let (host, path, secure) = (to.host(), to.url().path(), to.scheme() == "https");
        let sent = self.cookies.iter().filter(|c| {
            let host_matches = if c.host_only {
                host == c.domain
            } else {
                is_within(host, &c.domain)
            };
            host_matches && path_matches(path, &c.path) && (secure || !c.secure)
        });
        let pairs: Vec<String> = sent.map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// RFC 6265, 5.1.3; addresses have no domains below them, and no dot is cut from one.
fn is_within(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// RFC 6265, 5.1.4.
fn default_path(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder.to_owned(),
        _ => "/".to_owned(),
    }
}

fn path_matches(path: &str, of: &str) -> bool {
    path.strip_prefix(of)
        .is_some_and(|rest| rest.is_empty() || of.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn cookies_go_back_where_they_came_from_and_nowhere_else() {
        let mut jar = Jar::default();
        let from = target("https://a.shop.example/in/x");
        jar.set("host=1", &from);
        jar.set("wide=2; Domain=.shop.example; Path=/", &from);
        jar.set("secret=3; Path=/; Secure", &from);
        jar.set("foreign=4; Domain=other.example", &from);
        jar.set("all=5; Domain=example", &from);
        let field = |url: &str| jar.field(&target(url));
        assert_eq!(
            field("https://a.shop.example/in/y").as_deref(),
            Some("host=1; wide=2; secret=3")
        );
        assert_eq!(
            field("https://a.shop.example/inner").as_deref(),
            Some("wide=2; secret=3")
        );
        assert_eq!(field("http://a.shop.example/").as_deref(), Some("wide=2"));
        assert_eq!(field("https://b.shop.example/").as_deref(), Some("wide=2"));
        assert_eq!(field("https://evilshop.example/"), None);
    }

    #[test]
    fn only_another_value_is_a_change() {
        let mut jar = Jar::default();
        let from = target("https://a.example/");
        for (field, changes) in [("a=1", 1), ("a=1", 1), ("a=2", 2), ("a=; Max-Age=0", 3), ("bad", 3)] {
            jar.set(field, &from);
            assert_eq!(jar.changes(), changes, "{field}");
        }
        assert_eq!(jar.field(&from), None);
    }
}
