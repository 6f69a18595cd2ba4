//! A quick test for links with nothing inside, which nearly all links of a mail are.

use crate::click_link::ClickBase;
use crate::redirectors::{embedded, is_site};
use crate::target::Target;
use crate::unwrap::{is_vendors_host, stands_anywhere};

/// Tests the links of one message, most of which share a few hosts.
#[derive(Debug)]
pub struct Glance<'a> {
    base: &'a ClickBase,
    /// The host of the last link, and whether it is a wrapper's or a redirector's.
    host: String,
    known: bool,
}

impl<'a> Glance<'a> {
    /// A test for one message; `base`: the front of our own click links.
    #[must_use]
    pub fn new(base: &'a ClickBase) -> Self {
        Self {
            base,
            host: String::new(),
            known: false,
        }
    }

    /// Whether [`crate::unwrap`] would find nothing in this link: no layer, no other URL, no opaque wrapper. May be false for
    /// such a link, never true for another.
    pub fn is_plain(&mut self, target: &Target) -> bool {
        let host = target.host().trim_end_matches('.');
        if self.host != host {
            host.clone_into(&mut self.host);
            self.known = is_vendors_host(host) || is_site(host);
        }
        !self.known
            && !stands_anywhere(target)
            && self.base.parse(target.as_str()).is_none()
            && embedded(target).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unwrap::{Unwrapped, unwrap};
    use crate::{KeyRing, MessageClaims, Opener, Style, wrap_link};

    fn base() -> ClickBase {
        ClickBase::new("https://click.example.com", Style::Readable).unwrap()
    }

    fn is_plain(url: &str) -> bool {
        Glance::new(&base()).is_plain(&Target::parse(url).unwrap())
    }

    #[test]
    fn links_of_newsletters_are_plain() {
        for url in [
            "https://www.shop.example/",
            "https://click.letters.example/c/7f/8c41b0f3a2de/offer?utm_source=letter&utm_campaign=week-45&id=5e1f",
            "https://shop.example/a%20b?q=c%2Fd&e=caf%C3%A9#top",
            "https://shop.example/at/12:30",
            "http://192.0.2.7:8080/x",
        ] {
            assert!(is_plain(url), "{url}");
        }
    }

    #[test]
    fn a_host_is_not_taken_for_the_one_before() {
        let base = base();
        let mut glance = Glance::new(&base);
        let mut look = |url: &str| glance.is_plain(&Target::parse(url).unwrap());
        assert!(look("https://shop.example/a"));
        assert!(!look("https://linkscan.io/scan/ux/abc"));
        assert!(!look("https://linkscan.io./scan/ux/abc"));
        assert!(look("https://shop.example/b"));
        assert!(!look("https://shop.example/fmlurlsvc/?fewReq=x"));
    }

    #[test]
    fn our_own_links_are_not_plain() {
        let ring = KeyRing::generate([7; 32], 0);
        let claims = MessageClaims {
            message_id: "m1".into(),
            recipient: None,
            sender: "a@b.example".into(),
            issued_at: 1_760_000_000,
            domain: "example.com".into(),
        };
        let inner = Target::parse("https://shop.example/").unwrap();
        let own = wrap_link(&ring.sealer(&claims), &base(), &inner, None, 0).click_url;
        assert!(Opener::new(&ring, &base()).recognise(&own).is_some());
        assert!(!is_plain(&own));
    }

    proptest! {
        #[test]
        fn what_is_plain_has_nothing_inside(
            host in prop_oneof![
                Just("shop.example"), Just("www.google.co.uk"), Just("google.evil.example"), Just("track.shop.example"),
                Just("eur01.safelinks.protection.outlook.com"), Just("urldefense.com"), Just("a-ctp.trendmicro.com"),
                Just("ctp.trendmicro.com."), Just("protect-eu.mimecast.com"), Just("a-b.translate.goog"), Just("vk.com"),
                Just("192.0.2.1"), Just("l.facebook.com"),
            ],
            path in prop_oneof![
                Just(String::new()), Just("url".into()), Just("s/x".into()), Just("fmlurlsvc/".into()), Just("lg/".into()),
                Just("abcd1234/AbcdefghIjklmnop".into()), Just("c/shop.example/AAAA".into()), Just("v3/__https://b.example__;".into()),
                "[a-z/%:.]{0,20}", "(go/)?(http|HTTP|%68ttp)(:|%3a)//b\\.example", "aHR0cHM6Ly9iLmV4YW1wbGU",
            ],
            query in prop_oneof![
                Just(String::new()), "(u|url|q|a|t|fewReq)=(3D)?(http|hTTps|%68ttp|http%253a|1\\.|:B:)(:|%3A)?(//|%2F%2F)b\\.example",
                "[a-z&=%2Fh:]{0,30}", "x=aHR0cHM6Ly9iLmV4YW1wbGU", "x=SFRUUDovL2IuZXhhbXBsZQ", "x=aHR0%63HM6Ly9iLmV4YW1wbGU",
            ],
            fragment in prop_oneof![Just(String::new()), "#(/go\\?u=)?(https://b\\.example|x)"],
        ) {
            if let Ok(target) = Target::parse(&format!("https://{host}/{path}?{query}{fragment}"))
                && Glance::new(&base()).is_plain(&target)
            {
                let nothing = Unwrapped {
                    layers: Vec::new(),
                    target: target.clone(),
                    also: Vec::new(),
                    opaque: None,
                    unfinished: None,
                };
                prop_assert_eq!(unwrap(&target, &|_| None), nothing);
            }
        }
    }
}
