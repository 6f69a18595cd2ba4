//! Pages as the click address answers them: their language, their look, and what stands beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use link::{ClickPolicy, Flow};
use linkgate::config::Settings;
use linkgate::pages::{Brand, Colours, Logo, Pages, ReviewTo};

use super::server::{Server, Setup};

const LOGO: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
const TARGET: &str = "https://www.shop.example/autumn";

/// The domain of the test's mail has a look of its own, everybody else another.
fn looks(settings: &mut Settings) {
    let own = Brand {
        name: Some("Müller & Söhne".to_owned()),
        logo: Some(Arc::new(Logo::new(LOGO.to_vec(), "/safe").unwrap())),
        colour: Colours::parse("#7a1fa2").unwrap(),
        language: Some("ja".to_owned()),
        review_to: ReviewTo::Nobody,
        ..Brand::default()
    };
    let common = Brand {
        name: Some("Everybody".to_owned()),
        language: Some("fr".to_owned()),
        ..Brand::default()
    };
    settings.pages = Pages {
        common: Arc::new(common),
        by_name: [("example.com".to_owned(), Arc::new(own))].into(),
        ..Pages::default()
    };
}

fn confirming() -> Setup {
    Setup {
        tune: looks,
        policy: ClickPolicy {
            flow: Flow::Confirm,
            ..ClickPolicy::default()
        },
        ..Setup::default()
    }
}

const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n";

#[test]
fn a_reader_gets_the_language_of_the_browser_or_of_the_domain() {
    let server = confirming().start();
    let path = server.path(TARGET);
    for (accept, wanted) in [
        ("Accept-Language: de-AT,de;q=0.9,en;q=0.5\r\n", "de"),
        ("Accept-Language: tlh, ES\r\n", "es"),
        ("Accept-Language: tlh\r\n", "ja"),
        ("", "ja"),
    ] {
        let answer = server.ask("GET", &path, &format!("{BROWSER}{accept}"));
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(&format!("<html lang=\"{wanted}\"")), "{accept}");
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains(&format!("content-language: {wanted}")), "{head}");
    }
    // Whose link it would be, nobody knows: the common look.
    let nowhere = server.ask("GET", "/safe/c/AAAA", BROWSER);
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("<html lang=\"fr\"") && nowhere.body.contains("Everybody"));
}

#[test]
fn a_page_has_the_look_of_its_domain_and_the_logo_stands_beside_it() {
    let server = confirming().start();
    let answer = server.ask("GET", &server.path(TARGET), BROWSER);
    assert!(answer.body.contains("Müller &#38; Söhne"), "{}", answer.body);
    assert!(answer.body.contains(&Colours::parse("#7a1fa2").unwrap().css));
    assert!(answer.body.contains("www.<b>shop.example</b>/autumn"));
    let src = answer
        .body
        .split_once("<img src=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap();
    assert!(src.starts_with("/safe/logo/"), "{src}");
    for path in [src, src.strip_prefix("/safe").unwrap()] {
        let logo = server.ask("GET", path, BROWSER);
        let head = logo.head.to_ascii_lowercase();
        assert_eq!((logo.status, logo.body.as_bytes()), (200, LOGO));
        for field in [
            "content-type: image/svg+xml",
            "x-content-type-options: nosniff",
            "style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
        ] {
            assert!(head.contains(field), "{field}: {head}");
        }
    }
    assert_eq!(server.get("/robots.txt").body, "User-agent: *\nDisallow: /\n");
}

#[test]
fn a_reload_takes_up_looks_and_languages() {
    let mut server = confirming().start();
    let path = server.path(TARGET);
    let ask = |server: &Server| {
        let fields = format!("{BROWSER}Accept-Language: de\r\n");
        server.ask("GET", &path, &fields).body
    };
    assert!(ask(&server).contains("Link öffnen"));
    let mut languages = (*server.settings.pages.languages).clone();
    let words: BTreeMap<_, _> = [("confirm_button".to_owned(), "Dorthin".to_owned())].into();
    languages.add("de", &words).unwrap();
    let mut other = server.settings_again();
    other.pages.languages = Arc::new(languages);
    server.reload_with(other);
    assert!(ask(&server).contains(">Dorthin</button>"));
}
