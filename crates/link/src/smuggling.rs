//! Links that turn up where they do not belong, as far as the links themselves tell.

use crate::unwrap::{LayerKind, Unwrapped, Vendor};
use crate::verdict::Smuggled;

/// The circumstances in which a link was found.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The sender's address; empty for `<>`, or when it is not known.
    pub sender: &'a str,
    /// The recipient, when there is one.
    pub recipient: Option<&'a str>,
    /// Whether a domain, in lower case, is one of ours.
    pub is_ours: &'a dyn Fn(&str) -> bool,
    /// Vendors that wrap our own mail, or did: `own_wrappers`.
    pub own_wrappers: &'a [Vendor],
    /// Whether a sender's domain, in lower case, is known to use a vendor.
    pub sender_uses: &'a dyn Fn(&str, Vendor) -> bool,
}

/// Where a link turns up that does not belong there, from what is inside it; each once.
///
/// * [`Smuggled::OwnLinkInside`]: a genuine click link of ours is in it.
/// * [`Smuggled::OtherRecipient`]: and it was made for somebody else.
/// * [`Smuggled::ForeignWrapper`]: a wrapper of a vendor that neither we nor the sender's domain uses. A Safe Link that names a
///   recipient of the sender's domain, or of ours, shows by itself that one of us does.
/// * [`Smuggled::SeveralWrappers`]: wrappers of more than one vendor.
/// * [`Smuggled::WrapperOfSomeoneElse`]: a Safe Link that names a recipient of neither domain: it was taken from their mail.
#[must_use]
pub fn signs_of_smuggling(inside: &Unwrapped, around: &Circumstances<'_>) -> Vec<Smuggled> {
    let mut signs = Vec::new();
    let mut add = |sign| {
        if !signs.contains(&sign) {
            signs.push(sign);
        }
    };
    let sender = domain_of(around.sender);
    let belongs = |recipient: &str| {
        domain_of(recipient)
            .is_some_and(|domain| (around.is_ours)(&domain) || sender.as_deref().is_some_and(|s| related(s, &domain)))
    };
    let mut shown_to_be_used = Vec::new();
    for layer in &inside.layers {
        match &layer.kind {
            LayerKind::Own(opened) => {
                add(Smuggled::OwnLinkInside);
                if let (Some(ours), Some(theirs)) = (around.recipient, &opened.message().recipient)
                    && !ours.eq_ignore_ascii_case(theirs)
                {
                    add(Smuggled::OtherRecipient);
                }
            }
            LayerKind::Vendor(wrapper) => match &wrapper.recipient {
                Some(recipient) if belongs(recipient) => shown_to_be_used.push(wrapper.vendor),
                Some(_) => add(Smuggled::WrapperOfSomeoneElse),
                None => {}
            },
            LayerKind::Redirector(_) | LayerKind::Generic => {}
        }
    }
    let vendors = inside.vendors();
    let is_known = |vendor: &Vendor| {
        around.own_wrappers.contains(vendor)
            || shown_to_be_used.contains(vendor)
            || sender.as_deref().is_some_and(|s| (around.sender_uses)(s, *vendor))
    };
    if !vendors.iter().all(is_known) {
        add(Smuggled::ForeignWrapper);
    }
    if vendors.len() > 1 {
        add(Smuggled::SeveralWrappers);
    }
    signs
}

/// The domain of an address, in lower case.
fn domain_of(address: &str) -> Option<String> {
    let (_, domain) = address.trim_end_matches('>').rsplit_once('@')?;
    let domain = domain.trim_end_matches('.');
    (!domain.is_empty()).then(|| domain.to_ascii_lowercase())
}

/// Whether two domains belong to the same registrable one.
fn related(a: &str, b: &str) -> bool {
    a == b || matches!((psl::domain_str(a), psl::domain_str(b)), (Some(a), Some(b)) if a == b)
}
