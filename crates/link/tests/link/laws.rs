//! Laws of the link room.

use std::borrow::Cow;

use link::{
    ClickBase, KeyRing, MessageClaims, Opener, Resolve, Resolved, Sealed, Style, Target, UrlRules, resolve, wrap_link,
};
use proptest::prelude::*;

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn claims(recipient: Option<&str>) -> MessageClaims {
    MessageClaims {
        message_id: "01m9x7q2".into(),
        recipient: recipient.map(str::to_owned),
        sender: "news@shop.example".into(),
        issued_at: 1_760_000_000,
        domain: "example.com".into(),
    }
}

fn token(ring: &KeyRing, url: &str) -> String {
    match ring
        .sealer(&claims(Some("jo@example.com")))
        .seal(&Target::parse(url).unwrap(), None, 1)
    {
        Sealed::Direct(token) => token,
        Sealed::TooLong => panic!("too long"),
    }
}

#[test]
fn every_other_character_at_every_place_is_refused() {
    let ring = KeyRing::generate([5; 32], 0);
    // One length of each kind of last character.
    for url in [
        "https://shop.example/a",
        "https://shop.example/ab",
        "https://shop.example/abc",
    ] {
        let good = token(&ring, url);
        assert!(ring.open(&good).is_ok());
        for at in 0..good.len() {
            for &other in ALPHABET.iter().filter(|c| **c != good.as_bytes()[at]) {
                let mut forged = good.clone().into_bytes();
                forged[at] = other;
                // What follows a token is ignored, so a forged length must not find more text to its liking either.
                let forged = String::from_utf8(forged).unwrap() + &"A".repeat(64);
                assert!(ring.open(&forged).is_err(), "{at}: {}", other as char);
            }
        }
    }
}

#[test]
fn ten_thousand_tokens_with_a_changed_bit_stay_shut() {
    let mut ring = KeyRing::generate([5; 32], 0);
    ring.add([6; 32], 1).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for n in 0..10_000 {
        let good = token(&ring, &format!("https://shop.example/{n}/{}", "x".repeat(random(120))));
        let (at, bit) = (random(good.len()), 1 << random(7));
        let mut octets = good.clone().into_bytes();
        octets[at] ^= bit;
        let Ok(forged) = String::from_utf8(octets) else {
            continue;
        };
        assert!(ring.open(&forged).is_err(), "{good} at {at}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_comes_back(
        secret: [u8; 32],
        path in "[ -~]{0,80}",
        written in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
        form: u8,
        recipient in proptest::option::of("[a-zA-Z0-9._%+-]{1,20}@[a-zA-Z0-9.-]{1,20}"),
        readable: bool,
        tail in "[^A-Za-z0-9_-]\\PC{0,20}",
    ) {
        let ring = KeyRing::generate(secret, 0);
        let style = if readable { Style::Readable } else { Style::Short };
        let base = ClickBase::new("https://click.example.test", style).unwrap();
        let target = Target::parse(&format!("https://shop.example/{path}")).unwrap();
        let message = claims(recipient.as_deref());
        let link = wrap_link(&ring.sealer(&message), &base, &target, written.as_deref(), form);
        prop_assert!(link.reference.is_none());
        prop_assert!(link.click_url.bytes().last().unwrap().is_ascii_alphanumeric());
        let opened = Opener::new(&ring, &base).recognise(&format!("{}{tail}", link.click_url)).unwrap();
        prop_assert_eq!(opened.target(), Some(&target));
        let stood = written.as_deref().unwrap_or(target.as_str().as_bytes());
        prop_assert_eq!(opened.written(), Some(Cow::Borrowed(stood)));
        prop_assert_eq!((opened.form(), opened.message()), (form, &message));
        // Another key opens nothing.
        prop_assert!(KeyRing::generate([0xa5; 32], 0).open(&link.click_url).is_err());
    }

    #[test]
    fn any_text_resolves_without_panic_and_a_target_is_a_fixed_point(
        raw in prop_oneof!["\\PC{0,40}", "(https?|ftp|HTTP|//|\\\\\\\\)?:?[/\\\\]{0,4}[\\PC\\x00-\\x20@:#?%]{0,40}", ".{0,40}"],
        base in proptest::option::of(Just("https://b.example/dir/?q#f")),
        bare_hosts: bool,
    ) {
        let base = base.map(|b| Target::parse(b).unwrap());
        match resolve(&raw, &Resolve { base: base.as_ref(), query_encoding: None, bare_hosts }) {
            Resolved::Web(t) => {
                prop_assert!(t.as_str().is_ascii());
                prop_assert_eq!(Target::parse(t.as_str()), Ok(t.clone()));
                prop_assert_eq!(resolve(t.as_str(), &Resolve::default()), Resolved::Web(t));
            }
            Resolved::Leave(_) => prop_assert!(!raw.to_ascii_lowercase().trim_start().starts_with("http")),
            Resolved::Inert(scheme) => prop_assert!(!["http", "https", "ftp"].contains(&scheme.as_str())),
            Resolved::Relative => prop_assert!(base.is_none()),
        }
    }

    #[test]
    fn a_host_rule_matches_that_host_only(host in "([a-z]{1,3}\\.){0,3}(example|test)", rule in "([a-z]{1,3}\\.){0,2}(example|test)") {
        let target = Target::parse(&format!("https://{rule}@{host}/{rule}?{rule}#{rule}")).unwrap();
        let exact = UrlRules::parse(&[&rule]).unwrap();
        prop_assert_eq!(exact.find(&target).is_some(), host == rule);
        let below = UrlRules::parse(&[format!("*.{rule}")]).unwrap();
        prop_assert_eq!(below.find(&target).is_some(), host.ends_with(&format!(".{rule}")));
    }

    #[test]
    fn any_text_opens_nothing_and_parses_without_panic(text in "\\PC{0,60}", path in "[A-Za-z0-9_./-]{0,200}") {
        let ring = KeyRing::generate([1; 32], 0);
        let base = ClickBase::new("https://click.example.test", Style::Readable).unwrap();
        let opener = Opener::new(&ring, &base);
        for text in [text.clone(), path.clone(), format!("https://click.example.test/c/{text}"), format!("https://click.example.test/c/{path}")] {
            prop_assert!(ring.open(&text).is_err());
            prop_assert!(opener.recognise(&text).is_none());
            let _ = (base.parse_path(&text), base.find_prefix(text.as_bytes()), KeyRing::parse(&text));
        }
    }
}
