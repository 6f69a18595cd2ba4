//! Signs in a link that it does not belong into its mail.

use crate::unwrap::{LayerKind, Unwrapped, Vendor};
use crate::verdict::Smuggled;

/// The mail that a link was found in, and the domains and wrappers that are ours.
#[derive(Clone, Copy)]
pub struct Provenance<'a> {
    /// The sender's address; empty for `<>`, or when unknown.
    pub sender: &'a str,
    /// The recipient, if there is one.
    pub recipient: Option<&'a str>,
    /// Whether a domain, in lower case, is one of ours.
    pub is_ours: &'a dyn Fn(&str) -> bool,
    /// Vendors that wrap our own mail, or did: `own_wrappers`.
    pub own_wrappers: &'a [Vendor],
    /// Whether a sender, by its address in any case, is known to use a vendor's wrappers.
    pub sender_uses: &'a dyn Fn(&str, Vendor) -> bool,
}

/// The signs of smuggling in the layers of a link; each once.
///
/// * [`Smuggled::OwnLinkInside`]: a genuine click link of ours is in it.
/// * [`Smuggled::OtherRecipient`]: that click link was made for another recipient.
/// * [`Smuggled::ForeignWrapper`]: a wrapper of a vendor that neither we nor the sender's domain uses. A Safe Link that names a
///   recipient of the sender's domain, or of ours, shows by itself that one of us does.
/// * [`Smuggled::SeveralWrappers`]: wrappers of more than one vendor.
/// * [`Smuggled::WrapperOfSomeoneElse`]: a Safe Link that names a recipient of neither domain: it comes from their mail.
#[must_use]
pub fn signs_of_smuggling(inside: &Unwrapped, around: &Provenance<'_>) -> Vec<Smuggled> {
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
            || (!around.sender.is_empty() && (around.sender_uses)(around.sender, *vendor))
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
    a == b || matches!((suffix::domain_str(a), suffix::domain_str(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use crate::unwrap::unwrap;
    use crate::{ClickBase, KeyRing, MessageClaims, Opener, SenderRules, Style, Target, wrap_link};

    const SAFE_LINK: &str = "https://eur05.safelinks.protection.outlook.com/?url=https%3A%2F%2Fevil.example";
    const BARRACUDA: &str = "https://linkprotect.cudasvc.com/url?a=https%3A%2F%2Fevil.example&c=E,1,x&typo=1";
    const LIBRAESVA: &str = "https://urlsand.esvalabs.com/?e=0&h=1&u=";
    const MIMECAST: &str = "https://protect-eu.mimecast.com/s/AbC?domain=evil.example";

    /// The signs of a link in mail from `sender` to jo@example.com; partner.example uses Mimecast.
    fn signs(url: &str, sender: &str, own_wrappers: &[Vendor]) -> Vec<Smuggled> {
        let ring = KeyRing::generate([7; 32], 0);
        let base = ClickBase::new("https://click.example.com", Style::Readable).unwrap();
        let opener = Opener::new(&ring, &base);
        let inside = unwrap(&Target::parse(url).unwrap(), &|url| opener.recognise(url));
        let partner = SenderRules::parse(&["@partner.example"]).unwrap();
        signs_of_smuggling(
            &inside,
            &Provenance {
                sender,
                recipient: Some("jo@example.com"),
                is_ours: &|domain| domain == "example.com",
                own_wrappers,
                sender_uses: &|sender, vendor| partner.find(sender).is_some() && vendor == Vendor::Mimecast,
            },
        )
    }

    fn safe_link(recipient: &str) -> String {
        format!(
            "{SAFE_LINK}&data=05%7C02%7C{}%7Ca%7Cb%7C1%7C0",
            recipient.replace('@', "%40")
        )
    }

    fn around(url: &str) -> String {
        format!("{LIBRAESVA}{}", utf8_percent_encode(url, NON_ALPHANUMERIC))
    }

    fn own(recipient: Option<&str>, url: &str) -> String {
        let claims = MessageClaims {
            message_id: "m1".into(),
            recipient: recipient.map(str::to_owned),
            sender: "a@b.example".into(),
            issued_at: 1_760_000_000,
            domain: "example.com".into(),
        };
        let base = ClickBase::new("https://click.example.com", Style::Readable).unwrap();
        let target = Target::parse(url).unwrap();
        wrap_link(&KeyRing::generate([7; 32], 0).sealer(&claims), &base, &target, None, 0).click_url
    }

    #[test]
    fn links_that_do_not_belong_are_told_from_those_that_do() {
        use Smuggled::{ForeignWrapper, OtherRecipient, OwnLinkInside, SeveralWrappers, WrapperOfSomeoneElse};
        const SHOP: &str = "https://www.shop.example/?u=https://b.example";
        let long = format!("https://www.shop.example/{}", "x".repeat(5000));
        for (url, sender, own_wrappers, want) in [
            (SHOP.to_owned(), "x@partner.example", &[][..], &[][..]),
            (
                "https://www.google.com/url?q=https%3A%2F%2Fb.example".into(),
                "",
                &[],
                &[],
            ),
            (
                "https://track.news.example/a1b2c3/AbCdEfGh12345678".into(),
                "",
                &[],
                &[],
            ),
            // A vendor that nobody uses, the sender, or we.
            (BARRACUDA.into(), "x@partner.example", &[], &[ForeignWrapper]),
            (BARRACUDA.into(), "", &[], &[ForeignWrapper]),
            (BARRACUDA.into(), "x@partner.example", &[Vendor::Barracuda], &[]),
            (MIMECAST.into(), "x@partner.example", &[], &[]),
            (MIMECAST.into(), "x@PARTNER.example", &[], &[]),
            (MIMECAST.into(), "x@evil.example", &[], &[ForeignWrapper]),
            // Safe Links say for whom they were made.
            (safe_link("sam@partner.example"), "x@partner.example", &[], &[]),
            (safe_link("sam@eu.partner.example"), "x@mail.partner.example", &[], &[]),
            (safe_link("jo@EXAMPLE.com"), "x@partner.example", &[], &[]),
            (
                safe_link("sam@victim.example"),
                "x@partner.example",
                &[],
                &[WrapperOfSomeoneElse, ForeignWrapper],
            ),
            (
                safe_link("sam@victim.example"),
                "",
                &[Vendor::Microsoft],
                &[WrapperOfSomeoneElse],
            ),
            (
                safe_link("sam@notpartner.example"),
                "x@partner.example",
                &[],
                &[WrapperOfSomeoneElse, ForeignWrapper],
            ),
            (SAFE_LINK.into(), "x@partner.example", &[], &[ForeignWrapper]),
            // Several of them.
            (
                around(BARRACUDA),
                "x@partner.example",
                &[Vendor::Barracuda],
                &[ForeignWrapper, SeveralWrappers],
            ),
            (
                around(MIMECAST),
                "x@partner.example",
                &[Vendor::Libraesva],
                &[SeveralWrappers],
            ),
            (around(&around(SHOP)), "x@partner.example", &[Vendor::Libraesva], &[]),
            // Our own links.
            (
                own(Some("jo@example.com"), SHOP),
                "x@evil.example",
                &[],
                &[OwnLinkInside],
            ),
            (
                own(Some("Jo@Example.com"), SHOP),
                "x@evil.example",
                &[],
                &[OwnLinkInside],
            ),
            (own(None, SHOP), "x@evil.example", &[], &[OwnLinkInside]),
            (
                own(Some("jo@example.com"), &long),
                "x@evil.example",
                &[],
                &[OwnLinkInside],
            ),
            (
                own(Some("sam@example.com"), SHOP),
                "x@evil.example",
                &[],
                &[OwnLinkInside, OtherRecipient],
            ),
            (
                around(&own(Some("sam@example.com"), &own(None, SHOP))),
                "x@evil.example",
                &[Vendor::Libraesva],
                &[OwnLinkInside, OtherRecipient],
            ),
        ] {
            assert_eq!(signs(&url, sender, own_wrappers), want, "{url} from {sender:?}");
        }
    }

    #[test]
    fn a_click_link_of_ours_without_a_key_is_a_wrapper_of_a_stranger() {
        let url = own(Some("jo@example.com"), "https://www.shop.example/")
            .replace("click.example.com", "click.other.example");
        assert_eq!(signs(&url, "x@evil.example", &[]), [Smuggled::ForeignWrapper]);
    }
}
