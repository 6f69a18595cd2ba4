//! One entry of a list.

use std::borrow::Cow;

use link::{Category, Scope, Weight};
use url::{Host, Url};

use crate::canonical::{Canonical, registrable};

/// The expression that one line or record of a list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The expression in canonical form, without scheme: `a.example`, `a.example/b?c`; without a final slash for
    /// [`Extent::Tree`] and [`Extent::DomainTree`].
    pub expression: Cow<'a, str>,
    /// The extent of the entry.
    pub extent: Extent,
    /// Listed or excepted.
    pub role: Role,
    /// Category of the listing.
    pub category: Category,
    /// Weight of the listing.
    pub weight: Weight,
}

/// The part of the web that an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One URL. Without query it also stands for itself with any query, with the weight of a warning; the front page of a
    /// host does not.
    Url,
    /// One path of one host with any query, and everything below it.
    Tree,
    /// The same on the host and on every host below it.
    DomainTree,
    /// One host.
    Host,
    /// One host and every host below it.
    Domain,
    /// Every host below one, without itself.
    Below,
}

/// The effect of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A listing.
    Listed,
    /// An exception from all entries of its source.
    Excepted,
    /// An exception from the entries of its source that are not for a longer name (response policy zones).
    ExceptedHere,
}

/// The reason a text is no entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Neither a URL nor a host.
    #[error("not a URL or host")]
    Invalid,
    /// A whole platform or public suffix, where hosts belong to many: `com`, `co.uk`, `github.io`.
    #[error("a public suffix: no list may name all of it")]
    PublicSuffix,
    /// A path deeper than those looked up.
    #[error("a path of more than 8 directories cannot be named with all below it")]
    Deep,
}

/// Most directories of a path looked up for entries that name all below them.
pub(crate) const MAX_DEPTH: usize = 8;

impl Extent {
    /// The scope, for verdicts.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Url => Scope::Url,
            Self::Tree | Self::DomainTree => Scope::Path,
            Self::Host => Scope::Host,
            Self::Domain | Self::Below => Scope::Domain,
        }
    }

    pub(crate) fn names_hosts(self) -> bool {
        matches!(self, Self::Host | Self::Domain | Self::Below)
    }
}

/// The canonical expression of a URL in a list: with or without scheme, perhaps with a name that is not ASCII.
pub(crate) fn url_expression(text: &str) -> Result<String, Unfit> {
    let with_scheme = text.contains("://");
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    if !with_scheme && authority.contains('@') {
        return Err(Unfit::Invalid);
    }
    let parsed = if with_scheme {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = parsed.map_err(|_| Unfit::Invalid)?;
    if !matches!(url.scheme(), "http" | "https" | "ftp") {
        return Err(Unfit::Invalid);
    }
    let canonical = Canonical::of(url.as_str().as_bytes()).map_err(|_| Unfit::Invalid)?;
    // Any word could be a host; without a scheme it takes more to be read as one.
    if !with_scheme && !canonical.is_address() && !canonical.host().contains('.') {
        return Err(Unfit::Invalid);
    }
    Ok(canonical.expression().to_owned())
}

/// The canonical form of a host in a list, for an entry with this extent.
pub(crate) fn host_expression(text: &str, extent: Extent) -> Result<Cow<'_, str>, Unfit> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = name
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && name.bytes().next_back().is_some_and(|b| b.is_ascii_lowercase())
        && name.len() <= 253
        && name.split('.').all(|label| (1..=63).contains(&label.len()));
    let host: Cow<'_, str> = if plain {
        Cow::Borrowed(name)
    } else {
        let ascii = match Host::parse(name).map_err(|_| Unfit::Invalid)? {
            Host::Domain(domain) => domain,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => format!("[{address}]"),
        };
        let canonical = Canonical::of(ascii.as_bytes()).map_err(|_| Unfit::Invalid)?;
        if canonical.is_address() {
            // Nothing is below an address.
            return match extent {
                Extent::Below => Err(Unfit::Invalid),
                _ => Ok(Cow::Owned(canonical.host().to_owned())),
            };
        }
        let host = canonical.host().to_owned();
        if !host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            return Err(Unfit::Invalid);
        }
        Cow::Owned(host)
    };
    if extent.names_hosts() && registrable(&host).is_none() {
        // An unknown word is no mistake of a list, but a sign that the text is none.
        let known = suffix::suffix(host.as_bytes()).is_some_and(|s| s.is_known());
        return Err(if known { Unfit::PublicSuffix } else { Unfit::Invalid });
    }
    Ok(host)
}

/// The expression of a path and all below it, and the extent it may have.
pub(crate) fn tree_expression(text: &str, extent: Extent) -> Result<(String, Extent), Unfit> {
    let mut expression = url_expression(text)?;
    if let Some(at) = expression.find('?') {
        expression.truncate(at);
    }
    let kept = expression.trim_end_matches('/').len();
    expression.truncate(kept);
    let (host, path) = expression.split_once('/').ok_or(Unfit::Invalid)?;
    if path.split('/').count() > MAX_DEPTH {
        return Err(Unfit::Deep);
    }
    // On a platform the hosts below belong to others.
    let extent = match extent {
        Extent::DomainTree if registrable(host).is_none() => Extent::Tree,
        extent => extent,
    };
    Ok((expression, extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_lists_write_them() {
        let host = |text| host_expression(text, Extent::Domain).map(Cow::into_owned);
        assert_eq!(host("Evil.Example."), Ok("evil.example".to_owned()));
        assert_eq!(host("b\u{fc}cher.example"), Ok("xn--bcher-kva.example".to_owned()));
        assert_eq!(host("1.2.3.4"), Ok("1.2.3.4".to_owned()));
        assert_eq!(host("0x7f.1"), Ok("127.0.0.1".to_owned()));
        assert_eq!(host("a_b.evil.example"), Ok("a_b.evil.example".to_owned()));
        for bad in [
            "",
            ".",
            "a b.example",
            "evil.example/x",
            "<p>",
            "1.2.3.256",
            "localhost",
            "a!b.example",
        ] {
            assert_eq!(host(bad), Err(Unfit::Invalid), "{bad}");
        }
    }

    #[test]
    fn no_list_names_a_whole_platform() {
        for name in ["com", "co.uk", "github.io", "GitHub.io", "blogspot.com"] {
            for extent in [Extent::Host, Extent::Domain, Extent::Below] {
                assert_eq!(host_expression(name, extent), Err(Unfit::PublicSuffix), "{name}");
            }
        }
        assert!(host_expression("evil.github.io", Extent::Domain).is_ok());
        let (expression, extent) = tree_expression("github.io/evil/", Extent::DomainTree).unwrap();
        assert_eq!((expression.as_str(), extent), ("github.io/evil", Extent::Tree));
    }

    #[test]
    fn urls_as_lists_write_them() {
        for (text, wanted) in [
            ("http://Evil.example:8080/a/../b?c#d", "evil.example/b?c"),
            ("evil.example", "evil.example/"),
            ("evil.example:81/x", "evil.example/x"),
            ("https://b\u{fc}cher.example/\u{fc}", "xn--bcher-kva.example/%C3%BC"),
            ("http://0x7f.1/", "127.0.0.1/"),
        ] {
            assert_eq!(url_expression(text).as_deref(), Ok(wanted), "{text}");
        }
        for bad in [
            "",
            "http://",
            "mailto:a@b.example",
            "http://a b/",
            "javascript:alert(1)",
        ] {
            assert_eq!(url_expression(bad), Err(Unfit::Invalid), "{bad}");
        }
        assert_eq!(
            tree_expression("a.example/1/2/3/4/5/6/7/8/9", Extent::Tree),
            Err(Unfit::Deep)
        );
        assert_eq!(tree_expression("a.example/?q", Extent::Tree), Err(Unfit::Invalid));
    }
}
