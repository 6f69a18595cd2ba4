//! Actions on the places of a text, and items that the modules that look for them share.

use std::ops::Range;

use crate::site::Use;

/// The change to make at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SiteAction {
    /// The judge decides.
    Judge {
        usage: Use,
        /// Name of the element.
        tag: Range<usize>,
        /// Name of the attribute; empty where it is none.
        name: Range<usize>,
        value: Range<usize>,
        /// The whole attribute.
        whole: Range<usize>,
    },
    /// The attribute loses its effect, whatever it says.
    Disable { whole: Range<usize> },
}

/// Places that any text may have; a larger text may have one in every [`SPARSE`] octets.
const MANY_SITES: usize = 20_000;
/// Fewest octets that a link takes in a list of links, with what is around it.
const SPARSE: usize = 48;

/// More places than this make a text of that many octets tangled: no mail has them, and each costs a link.
pub(crate) const fn most(len: usize) -> usize {
    if len / SPARSE > MANY_SITES {
        len / SPARSE
    } else {
        MANY_SITES
    }
}

/// Elements in or around which parsers disagree about raw text: foreign content, and old rules for select and frames.
pub(super) fn is_contested(tag: &[u8]) -> bool {
    is_any(tag, &[b"svg", b"math", b"select", b"frameset", b"template"])
}

pub(super) fn is_any(tag: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|n| tag.eq_ignore_ascii_case(n))
}

/// Finds where `what` first stands in a text, letter case aside.
pub(super) fn find_ignoring_case(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).find(|at| {
        text.get(*at..at + what.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(what))
    })
}
