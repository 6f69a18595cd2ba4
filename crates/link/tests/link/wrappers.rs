//! Wrappers of every vendor, one sample of each shape and more: `fixtures/wrappers.json`. And laws of taking links apart.

use std::cell::Cell;
use std::fmt::Write as _;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use link::{
    ClickBase, Evidence, Finding, KeyRing, Layer, LayerKind, MAX_LAYERS, MessageClaims, Obstacle, Opened, Opener,
    Style, Target, Unfinished, Unwrapped, Vendor, Word, embedded, unwrap, wrap_link,
};
use proptest::prelude::*;
use serde_json::Value;
use strum::VariantArray;

fn target(url: &str) -> Target {
    Target::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))
}

fn apart(url: &str) -> Unwrapped {
    unwrap(&target(url), &|_| None)
}

fn words(layers: &[Layer]) -> Vec<&str> {
    layers.iter().map(|layer| layer.kind.as_str()).collect()
}

#[test]
fn every_sample_of_a_wrapper_comes_apart_as_it_says() {
    let samples: Vec<Value> = serde_json::from_str(include_str!("../../../../fixtures/wrappers.json")).unwrap();
    let mut seen = Vec::new();
    for sample in &samples {
        let name = &sample["name"];
        let found = apart(sample["url"].as_str().unwrap());
        let layers: Vec<&str> = sample["layers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(words(&found.layers), layers, "{name}: {found:#?}");
        let wanted = target(sample["target"].as_str().unwrap());
        assert_eq!(found.target, wanted, "{name}");
        let opaque = found.opaque.as_ref();
        assert_eq!(opaque.map(|o| o.vendor.as_str()), sample["opaque"].as_str(), "{name}");
        assert_eq!(
            opaque.and_then(|o| o.host.as_deref()),
            sample["opaque_host"].as_str(),
            "{name}"
        );
        let wrappers = || {
            found.layers.iter().filter_map(|layer| match &layer.kind {
                LayerKind::Vendor(wrapper) => Some(wrapper),
                _ => None,
            })
        };
        let recipient = wrappers().find_map(|w| w.recipient.as_deref());
        assert_eq!(recipient, sample["recipient"].as_str(), "{name}");
        let shown = wrappers().find_map(|w| w.shown_host.as_deref());
        assert_eq!(shown, sample["shown"].as_str(), "{name}");
        let by_path = wrappers().any(|w| w.by_path);
        assert_eq!(by_path, sample["by_path"].as_bool().unwrap_or(false), "{name}");
        assert_eq!(found.unfinished, None, "{name}");
        assert_eq!(found.outer(), &target(sample["url"].as_str().unwrap()), "{name}");
        seen.extend(wrappers().map(|w| w.vendor).chain(opaque.map(|o| o.vendor)));
    }
    for vendor in Vendor::VARIANTS {
        assert!(
            seen.contains(vendor) || *vendor == Vendor::Linkgate,
            "no sample of {}",
            vendor.as_str()
        );
    }
}

#[test]
fn the_documentation_names_every_vendor() {
    let flow = include_str!("../../../../docs/flow.md");
    for word in Vendor::VARIANTS.iter().copied().map(Vendor::as_str) {
        assert!(flow.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn a_look_alike_of_a_vendor_is_checked_itself() {
    let found = apart("https://urldefense.com.evil.example/v3/__https://www.shop.example/__;!!a!b$");
    assert!(found.to_check().contains(&found.outer()), "{found:#?}");
    assert_eq!(found.certain(), found.outer());
    // Nobody vouches for a host that only has the right path.
    let found = apart("https://evil.example/fmlurlsvc/?fewReq=:B:QUJD&url=https%3A%2F%2Fwww.shop.example%2F");
    assert_eq!(words(&found.layers), ["fortinet"]);
    assert_eq!(
        found.to_check(),
        [&target("https://www.shop.example/"), found.outer()],
        "{found:#?}"
    );
    assert_eq!(found.certain(), found.outer());
}

#[test]
fn the_host_of_a_vendor_needs_no_check_of_its_own() {
    let found = apart(
        "https://clicktime.symantec.com/1?u=https%3A%2F%2Fsocial.example%2F%3Fu%3Dhttps%253A%252F%252Fevil.example",
    );
    assert_eq!(words(&found.layers), ["symantec", "possible-redirect"]);
    assert_eq!(found.target, target("https://evil.example/"));
    assert_eq!(found.certain().host(), "social.example");
    let hosts: Vec<&str> = found.to_check().iter().map(|t| t.host()).collect();
    assert_eq!(hosts, ["evil.example", "social.example"]);
}

#[test]
fn a_redirector_to_a_one_time_link_looks_one_time() {
    let magic = "https%3A%2F%2Fshop.example%2Fl%2FkQ8zV1nT-x_7Ga2LrYw0Bd";
    for (url, want) in [
        (
            format!("https://urlsand.esvalabs.com/?u={magic}&e=0&h=9f86d081884c7d659a2feaa0c55ad015"),
            true,
        ),
        (format!("https://slack-redir.net/link?url={magic}"), true),
        (
            "https://urlsand.esvalabs.com/?u=https%3A%2F%2Fshop.example%2F&h=9f86d081884c7d659a2feaa0c55ad015".into(),
            false,
        ),
    ] {
        assert_eq!(apart(&url).looks_one_time(None).is_some(), want, "{url}");
    }
    assert!(
        apart("https://shop.example/")
            .looks_one_time(Some("Unsubscribe"))
            .is_some()
    );
}

#[test]
fn all_urls_in_a_link_are_checked_not_only_the_likeliest() {
    let found = apart(
        "https://a.example/?url=https://b.example&next=https%3A%2F%2Furlsand.esvalabs.com%2F%3Fu%3Dhttps%253A%252F%252Fevil.example\
         &x=https://a.example/y",
    );
    let hosts: Vec<&str> = found.to_check().iter().map(|t| t.host()).collect();
    for host in ["b.example", "a.example", "evil.example"] {
        assert!(hosts.contains(&host), "{host}: {hosts:?}");
    }
}

#[test]
fn a_value_that_stands_there_twice_is_checked_twice() {
    for url in [
        "https://www.google.com/url?q=https://shop.example/&q=https://evil.example/",
        "https://www.google.com/url?url=https://evil.example/&q=https://shop.example/",
        "https://urlsand.esvalabs.com/?u=https%3A%2F%2Fshop.example&e=0&u=https%3A%2F%2Fevil.example",
        "https://eu.protection.sophos.com/?d=x&u=aHR0cHM6Ly9zaG9wLmV4YW1wbGU&u=aHR0cHM6Ly9ldmlsLmV4YW1wbGU",
    ] {
        let found = apart(url);
        let hosts: Vec<&str> = found.to_check().iter().map(|t| t.host()).collect();
        assert!(
            hosts.contains(&"evil.example") && hosts.contains(&"shop.example"),
            "{url}: {hosts:?}"
        );
    }
}

#[test]
fn a_redirect_behind_many_harmless_urls_is_not_overlooked() {
    let harmless = |count: u32| {
        (0..count).fold(String::new(), |mut all, i| {
            let _ = write!(all, "x{i}=https://h{i}.example/&");
            all
        })
    };
    let found = apart(&format!("https://a.example/?{}url=https://evil.example/", harmless(12)));
    assert_eq!(found.target.host(), "evil.example");
    assert_eq!((found.to_check().len(), found.unfinished), (14, None));
    // More than are looked at: that is said.
    let found = apart(&format!("https://a.example/?{}", harmless(24)));
    assert_eq!(found.unfinished, Some(Unfinished::TooDeep));
}

#[test]
fn a_redirect_to_the_same_site_is_seen_through() {
    let found =
        apart("https://a.example/login?next=https%3A%2F%2Fa.example%2Fgo%3Furl%3Dhttps%253A%252F%252Fevil.example");
    assert_eq!(found.target, target("https://evil.example/"));
    let found = apart("https://www.a.example/login?next=https%3A%2F%2Fa.example%2Fhome");
    assert!(found.layers.is_empty(), "{found:#?}");
    assert_eq!(found.also, [target("https://a.example/home")]);
}

/// A link in `layers` wrappers.
fn nested(layers: usize) -> String {
    (0..layers).fold("https://www.shop.example/".to_owned(), |inside, _| {
        format!("https://urlsand.esvalabs.com/?u={}&e=0&h=1", percent(&inside))
    })
}

#[test]
fn ten_layers_come_off_and_an_eleventh_stays() {
    let found = apart(&nested(MAX_LAYERS));
    assert_eq!((found.layers.len(), found.unfinished), (MAX_LAYERS, None));
    assert_eq!(found.target.host(), "www.shop.example");
    let found = apart(&nested(MAX_LAYERS + 1));
    assert_eq!(
        (found.layers.len(), found.unfinished),
        (MAX_LAYERS, Some(Unfinished::TooDeep))
    );
    assert_eq!(found.target.host(), "urlsand.esvalabs.com");
    let finding = Finding::CouldNotInspect(Obstacle::TooManyHops);
    assert!(found.evidence().iter().any(|e| e.finding == finding));
}

const BASE: &str = "https://click.example.test";

fn own_link(ring: &KeyRing, url: &str, recipient: &str) -> String {
    let claims = MessageClaims {
        message_id: "m1".into(),
        recipient: Some(recipient.into()),
        sender: "a@b.example".into(),
        issued_at: 1_760_000_000,
        domain: "example.com".into(),
    };
    let base = ClickBase::new(BASE, Style::Readable).unwrap();
    wrap_link(&ring.sealer(&claims), &base, &target(url), None, 0).click_url
}

#[test]
fn click_links_of_ours_are_opened_wherever_they_stand() {
    let ring = KeyRing::generate([7; 32], 0);
    let base = ClickBase::new(BASE, Style::Readable).unwrap();
    let opener = Opener::new(&ring, &base);
    let ours = own_link(
        &ring,
        "https://urlsand.esvalabs.com/?u=https%3A%2F%2Fevil.example",
        "jo@example.com",
    );
    let outer = format!("https://linklock.titanhq.com/analyse?url={}&data=x", percent(&ours));
    let found = unwrap(&target(&outer), &|url| opener.recognise(url));
    assert_eq!(words(&found.layers), ["titanhq", "linkgate", "libraesva"]);
    assert_eq!(found.target.host(), "evil.example");
    assert_eq!(found.vendors(), [Vendor::TitanHq, Vendor::Libraesva]);
}

#[test]
fn a_click_link_that_does_not_open_is_opaque() {
    let ring = KeyRing::generate([7; 32], 0);
    let ours = own_link(&ring, "https://www.shop.example/", "jo@example.com");
    for url in [ours.clone(), ours.replace(BASE, "https://mail.other.example/links")] {
        let found = apart(&url);
        let opaque = found.opaque.clone().unwrap();
        assert_eq!(
            (opaque.vendor, opaque.host.as_deref()),
            (Vendor::Linkgate, Some("www.shop.example"))
        );
        assert_eq!(found.evidence().len(), 1);
    }
    assert_eq!(apart(&ours.replace("/c/", "/d/")).opaque, None);
    assert_eq!(apart("https://blog.example/c/www.shop.example/some-page").opaque, None);
}

#[test]
fn a_click_link_whose_target_is_stored_is_a_layer_and_opaque() {
    let ring = KeyRing::generate([7; 32], 0);
    let base = ClickBase::new(BASE, Style::Readable).unwrap();
    let opener = Opener::new(&ring, &base);
    let long = format!("https://www.shop.example/{}", "x".repeat(5000));
    let ours = own_link(&ring, &long, "jo@example.com");
    let found = unwrap(&target(&ours), &|url| opener.recognise(url));
    assert_eq!(words(&found.layers), ["linkgate"]);
    assert_eq!(found.opaque.as_ref().unwrap().host.as_deref(), Some("www.shop.example"));
    assert_eq!(found.vendors(), []);
    let found = unwrap(&target(&ours), &|url| {
        opener.recognise(url).and_then(|o| opener.complete(o, &long, None).ok())
    });
    assert_eq!((found.target.as_str(), found.opaque), (long.as_str(), None));
}

#[test]
fn a_loop_ends() {
    let ring = KeyRing::generate([7; 32], 0);
    let open = |url: &str| -> Opened {
        let base = ClickBase::new(BASE, Style::Readable).unwrap();
        Opener::new(&ring, &base)
            .recognise(&own_link(&ring, url, "jo@example.com"))
            .unwrap()
    };
    let asked = Cell::new(0);
    let found = unwrap(&target("https://a.example/"), &|url| {
        asked.set(asked.get() + 1);
        match url {
            "https://a.example/" => Some(open("https://b.example/")),
            "https://b.example/" => Some(open("https://a.example/")),
            _ => None,
        }
    });
    assert_eq!(
        (found.unfinished, found.layers.len(), asked.get()),
        (Some(Unfinished::Loop), 2, 2)
    );
    let wanted = Finding::CouldNotInspect(Obstacle::Loop);
    assert!(matches!(&found.evidence()[..], [Evidence { finding, .. }] if *finding == wanted));
    let itself = unwrap(&target("https://a.example/"), &|_| Some(open("https://a.example/")));
    assert_eq!(itself.unfinished, Some(Unfinished::Loop));
}

#[test]
fn what_was_found_is_evidence() {
    let found = apart("https://eu.protection.sophos.com/?d=bank.example&u=aHR0cHM6Ly9ldmlsLmV4YW1wbGUv");
    let [Evidence { source, about, finding }] = &found.evidence()[..] else {
        panic!("{found:?}")
    };
    assert_eq!((source.as_ref(), about.as_str()), ("wrapper", "https://evil.example/"));
    assert!(
        matches!(finding, Finding::Sign { code: "wrapper-shows-other-host", detail, .. } if detail == "bank.example"),
        "{finding:?}"
    );
    let found = apart("https://linkscan.io/scan/ux/AbC");
    assert_eq!(found.evidence()[0].finding, Finding::TargetUnknown("LinkScan".into()));
    assert_eq!(apart("https://www.shop.example/?u=https://b.example").evidence(), []);
}

#[test]
fn a_link_full_of_links_takes_little_time() {
    let many: String = (0..3000).fold(String::new(), |mut all, i| {
        let _ = write!(
            all,
            "&u{i}=https%3A%2F%2Fh{i}.example%2F%3Fu%3Dhttps%253A%252F%252Fa.example"
        );
        all
    });
    let started = std::time::Instant::now();
    for url in [
        format!("https://a.example/?{}", many.get(..30_000).unwrap()),
        format!("https://a.example/?{many}"),
        format!("https://a.example/{}", "?url=https://a.example/".repeat(1300)),
        format!("https://a.example/#{}", "/https://a.example/?".repeat(1300)),
        format!(
            "https://urldefense.com/v3/__{}__;{}!!x$",
            "**_".repeat(9000),
            "QUJD".repeat(9000)
        ),
        format!("https://a.example/?x={}", "%25".repeat(10_000)),
        format!("https://a.example/?x=aHR0cHM6{}", "Ly9h".repeat(8000)),
    ] {
        let found = apart(&url);
        assert!(found.layers.len() <= MAX_LAYERS && found.also.len() <= 16);
    }
    // A debug build on a busy machine; it is some milliseconds.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, b| {
        if b.is_ascii_alphanumeric() {
            all.push(char::from(b));
        } else {
            let _ = write!(all, "%{b:02X}");
        }
        all
    })
}

fn proofpoint_2(url: &str) -> String {
    let u: String = percent(url).replace("%2F", "_").replace('%', "-");
    format!("https://urldefense.proofpoint.com/v2/url?u={u}&d=x&c=y")
}

fn proofpoint_3(url: &str) -> String {
    const RUNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stays = |c: char| c.is_ascii_alphanumeric() || "-._~:/?,".contains(c);
    let chars: Vec<char> = url.chars().collect();
    let (mut text, mut removed, mut at) = (String::new(), String::new(), 0);
    while let Some(&c) = chars.get(at) {
        if stays(c) {
            text.push(c);
            at += 1;
            continue;
        }
        let run = chars[at..].iter().take(65).take_while(|c| !stays(**c)).count();
        if run == 1 {
            text.push('*');
        } else {
            text.push_str("**");
            text.push(char::from(RUNS[run - 2]));
        }
        removed.extend(&chars[at..at + run]);
        at += run;
    }
    format!(
        "https://urldefense.com/v3/__{text}__;{}!!id!blob$",
        BASE64URL_NOPAD.encode(removed.as_bytes())
    )
}

type Shape = (&'static str, fn(&str) -> String);

/// The shapes that can be made of any URL.
fn shapes() -> Vec<Shape> {
    vec![
        ("microsoft", |u| {
            format!(
                "https://nam01.safelinks.protection.outlook.com/?url={}&data=x&sdata=y&reserved=0",
                percent(u)
            )
        }),
        ("proofpoint", proofpoint_2),
        ("proofpoint", proofpoint_3),
        ("barracuda", |u| {
            format!("https://linkprotect.cudasvc.com/url?a={}&c=E,1,x&typo=1", percent(u))
        }),
        ("cisco", |u| format!("https://secure-web.cisco.com/1x/{}", percent(u))),
        ("sophos", |u| {
            format!(
                "https://eu.protection.sophos.com/?d=x&u={}&i=1",
                percent(&BASE64.encode(u.as_bytes()))
            )
        }),
        ("fortinet", |u| {
            format!("https://m.example/fmlurlsvc/?fewReq=:B:QQ==&url={}", percent(u))
        }),
        ("libraesva", |u| {
            format!("https://urlsand.esvalabs.com/?u={}&e=1&h=2", percent(u))
        }),
        ("trend-micro", |u| {
            format!(
                "https://x-ctp.trendmicro.com/wis/clicktime/v1/query?url={}&umid=1&auth=2",
                percent(u)
            )
        }),
        ("trellix", |u| {
            format!("https://protect.fireeye.com/v1/url?k=1&q=1&e=2&u={}", percent(u))
        }),
        ("symantec", |u| {
            format!("https://clicktime.symantec.com/a?h=QQ&u={}", percent(u))
        }),
        ("trustwave", |u| {
            format!("https://scanmail.trustwave.com/?c=1&d=2&u={}", percent(u))
        }),
        ("vade", |u| {
            format!("https://m365.us.vadesecure.com/safeproxy/v3?f=1&u={}", percent(u))
        }),
        ("titanhq", |u| {
            format!("https://linklock.titanhq.com/analyse?url={}&data=1", percent(u))
        }),
        ("appriver", |u| {
            format!("https://link.edgepilot.com/s/1/2?u={}", percent(u))
        }),
        ("hornetsecurity", |u| {
            format!("https://atpscan.global.hornetsecurity.com/?d=1&u={}", percent(u))
        }),
        ("google", |u| {
            format!("https://www.google.com/url?q={}&sa=D", percent(u))
        }),
        ("slack", |u| format!("https://slack-redir.net/link?url={}", percent(u))),
    ]
}

/// URLs as mail has them, with no URL inside.
fn urls() -> impl Strategy<Value = String> {
    (
        "[a-z]{1,8}(-[a-z]{1,4})?",
        "(/[A-Za-z0-9._~!$'()*+,;=:@%\u{e9}\u{1F600}-]{0,12}){0,3}",
        "(\\?[a-z]{1,3}=[A-Za-z0-9._~!$'()*+,;:@%/\u{e9}-]{0,20}(&[a-z]{1,3}=[A-Za-z0-9%]{0,5}){0,3})?",
        "(#[a-z/%0-9]{0,8})?",
    )
        .prop_map(|(host, path, query, fragment)| format!("https://{host}.example{path}{query}{fragment}"))
        .prop_filter_map("holds a URL", |url| {
            let parsed = Target::parse(&url).ok()?;
            let plain = !url.contains("amp;") && embedded(&parsed).is_empty() && apart(&url).opaque.is_none();
            plain.then(|| parsed.as_str().to_owned())
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_wrapped_comes_out_again(url in urls(), picks in prop::collection::vec(0..18_usize, 1..=4)) {
        let shapes = shapes();
        let wrapped = picks.iter().fold(url.clone(), |inside, pick| (shapes[*pick].1)(&inside));
        let found = apart(&wrapped);
        let wanted: Vec<&str> = picks.iter().rev().map(|pick| shapes[*pick].0).collect();
        prop_assert_eq!(words(&found.layers), wanted, "{}", wrapped);
        prop_assert_eq!(found.target.as_str(), url, "{}", wrapped);
        prop_assert!(found.to_check().contains(&&found.target));
    }

    #[test]
    fn any_text_behind_a_vendor_comes_apart_or_not(pick in 0..18_usize, text in "\\PC{0,60}", front in any::<bool>()) {
        let text = if front { format!("https://{text}") } else { text };
        if let Ok(parsed) = Target::parse(&(shapes()[pick].1)(&text)) {
            let found = unwrap(&parsed, &|_| None);
            for url in found.to_check() {
                prop_assert!(matches!(url.scheme(), "http" | "https"));
            }
            prop_assert_eq!(found.outer(), &parsed);
        }
    }

    #[test]
    fn any_url_comes_apart_or_not(rest in "[ -~]{0,200}") {
        for host in ["urldefense.com", "secure-web.cisco.com", "protect.checkpoint.com", "www.google.com", "a.example"] {
            if let Ok(parsed) = Target::parse(&format!("https://{host}/{rest}")) {
                let found = unwrap(&parsed, &|_| None);
                prop_assert!(found.layers.len() <= MAX_LAYERS);
                if found.unfinished.is_none() {
                    prop_assert_eq!(unwrap(&found.target, &|_| None).layers, []);
                }
                let _ = link::looks_one_time(&parsed, Some(&rest));
            }
        }
    }
}
