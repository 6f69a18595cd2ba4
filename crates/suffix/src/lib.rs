//! Public suffixes and registrable domains of host names, by Mozilla's list.
//!
//! The list of the crate `psl` is a hundred thousand lines of generic functions, which every crate that calls one of them compiles
//! anew, for minutes. Here they are compiled once: none of these functions is generic, and none may be inlined.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub use psl::{Domain, Suffix, Type};

/// The public suffix of a host name in lower case: `co.uk` of `www.example.co.uk`. A name whose last label is not in the list has
/// that label for one, which is then not [known](Suffix::is_known).
#[must_use]
#[inline(never)]
pub fn suffix(name: &[u8]) -> Option<Suffix<'_>> {
    psl::suffix(name)
}

/// The registrable domain of a host name in lower case: `example.co.uk` of `www.example.co.uk`. `None` for a suffix alone.
#[must_use]
#[inline(never)]
pub fn domain(name: &[u8]) -> Option<Domain<'_>> {
    psl::domain(name)
}

/// As [`domain`], as text.
#[must_use]
#[inline(never)]
pub fn domain_str(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_suffixes_and_registrable_domains() {
        let name = "www.example.co.uk";
        assert_eq!(
            suffix(name.as_bytes()).map(|s| s.as_bytes().to_vec()),
            Some(b"co.uk".to_vec())
        );
        assert_eq!(
            domain(name.as_bytes()).map(|d| d.as_bytes().to_vec()),
            Some(b"example.co.uk".to_vec())
        );
        assert_eq!((domain_str(name), domain_str("co.uk")), (Some("example.co.uk"), None));
        assert_eq!(suffix(b"host.nosuch").map(|s| s.is_known()), Some(false));
    }
}
