use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use link::{Category, Listing, Obstacle, SIGNS, Scope, Smuggled, Weight, Word};
use link::{Finding, Target};
use proptest::prelude::*;
use strum::VariantArray;

use super::texts::Texts;
use super::*;
use crate::pages::{Colours, Logo};

/// Stands for what the operator and we put in: it need not be plain.
const OWN: &str = "<script>alert(3)</script>\"'><img src=x onerror=alert(4)>&lt;{source}";

/// Stands for every text of a stranger.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u{202e}\u{7}{source}";

fn sample_of_rtl() -> BTreeMap<String, String> {
    language::read(include_str!("../../fixtures/languages/ar.toml"))
}

fn languages() -> Languages {
    let mut all = Languages::default();
    all.add("ar", &sample_of_rtl()).unwrap();
    all
}

fn brand() -> Brand {
    Brand {
        name: Some(OWN.into()),
        logo: Some(Logo::new(b"<svg/>".to_vec(), "/mail").unwrap().into()),
        colour: Colours::parse("#ffee00").unwrap(),
        contact: Some(Contact::new(OWN)),
        text: Some(format!("{OWN}\n\n{OWN}")),
        back_to: Target::parse("https://intranet.example/?a=\"&b='").ok(),
        ..Brand::default()
    }
}

fn kinds(to: &Target) -> [PageKind<'_>; 15] {
    [
        PageKind::Confirm,
        PageKind::Neutral,
        PageKind::Checking {
            refresh_s: 2,
            attempt: "/c/x",
        },
        PageKind::Warning,
        PageKind::Blocked,
        PageKind::Unknown,
        PageKind::CouldNotCheck,
        PageKind::NotOurs,
        PageKind::Expired,
        PageKind::Revoked,
        PageKind::TryLater { retry_after_s: 60 },
        PageKind::TooMany { retry_after_s: 60 },
        PageKind::Onward { to },
        PageKind::ReviewSent,
        PageKind::WrongMethod,
    ]
}

fn listed(category: Category, weight: Weight) -> Finding {
    Finding::Listed(Listing {
        category,
        scope: Scope::Host,
        weight,
    })
}

fn evidence(source: &str, about: &str, finding: Finding) -> Evidence {
    Evidence {
        source: source.to_owned().into(),
        about: about.to_owned(),
        finding,
    }
}

/// Every kind of finding, with a stranger's text wherever one fits.
fn all_findings(text: &str) -> Vec<Evidence> {
    let mut all: Vec<Finding> = vec![
        Finding::NotListed,
        Finding::CouldNotAsk(text.into()),
        Finding::TargetUnknown(text.to_owned().into()),
        Finding::Bypassed(text.into()),
        Finding::Sign {
            code: "not-a-sign",
            points: 90,
            detail: text.into(),
        },
    ];
    all.extend(Category::VARIANTS.iter().map(|c| listed(*c, Weight::Block)));
    all.extend(Obstacle::VARIANTS.iter().map(|o| Finding::CouldNotInspect(*o)));
    all.extend(Smuggled::VARIANTS.iter().map(|s| Finding::Smuggled(*s)));
    all.into_iter().map(|f| evidence(text, text, f)).collect()
}

/// Fails for markup that no page may have, whatever was put into it.
fn must_be_sound(html: &str, lang: &Language, what: &str) {
    let lower = html.to_ascii_lowercase();
    assert_eq!(lower.matches("<h1").count(), 1, "{what}");
    for bad in [
        "<script",
        "onerror=",
        " onclick",
        "javascript:",
        "<img src=x",
        " style=",
    ] {
        // As text between escaped brackets it may stand; as markup it may not.
        let live = lower.match_indices(bad).any(|(at, _)| {
            let before = &lower[..at];
            bad.starts_with('<') || before.rfind('<') > before.rfind('>')
        });
        assert!(!live, "{what}: {bad}\n{html}");
    }
    assert!(!html.contains('\u{202e}') && !html.contains('\u{7}'), "{what}");
    let start = format!(
        "<!doctype html>\n<html lang=\"{}\" dir=\"{}\">",
        lang.tag(),
        lang.direction().as_str()
    );
    assert!(html.starts_with(&start), "{what}: {}", &html[..80]);
    assert_eq!(lower.matches("<main").count(), 1, "{what}");
    assert!(
        lower.contains("<title>") && lower.trim_end().ends_with("</html>"),
        "{what}"
    );
    for (open, close) in [
        ("<form", "</form>"),
        ("<details", "</details>"),
        ("<section", "</section>"),
        ("<p", "</p>"),
    ] {
        let opened = lower.match_indices(open).filter(|(at, _)| {
            let next = lower.as_bytes().get(at + open.len());
            matches!(next, Some(b' ' | b'>'))
        });
        assert_eq!(opened.count(), lower.matches(close).count(), "{what}: {open}");
    }
}

fn body_of(html: &str) -> &str {
    html.split_once("<body>").unwrap().1
}

#[test]
fn every_page_is_sound_in_every_language_whatever_strangers_wrote() {
    let languages = languages();
    let to = Target::parse("https://shop.example/?a=\"'&b=<x>").unwrap();
    let (plain, branded) = (Brand::default(), brand());
    let found = all_findings(HOSTILE);
    let chain = vec![HOSTILE.to_owned(), to.as_str().to_owned()];
    let fields = [("go", "\"'<>&")];
    let form = PageForm {
        action: "/c/x?\"'<>",
        fields: &fields,
    };
    for lang in languages.iter() {
        for kind in kinds(&to) {
            for brand in [&plain, &branded] {
                for target in [None, Some(&to)] {
                    let view = View {
                        target,
                        evidence: &found,
                        google_sources: &[(HOSTILE, GoogleService::WebRisk)],
                        chain: &chain,
                        form: Some(form),
                        review: Some(form),
                        reference: Some(OWN),
                        checked_at_s: Some(0),
                        ..View::plain(kind, brand, lang)
                    };
                    must_be_sound(&html(&view), lang, &format!("{kind:?} {}", lang.tag()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_that_is_put_in_becomes_markup(
        text in "[<>\"'&a-z{}=/:;%\u{202a}-\u{202e}\u{e4}\u{5d0}\\s]{0,60}",
        path in "[<>\"'&a-z{}=/:;%?#@\\\\ ]{0,40}",
    ) {
        let languages = languages();
        let Ok(target) = Target::parse(&format!("https://a.example/{path}")) else { return Ok(()) };
        let found = all_findings(&text);
        let chain = vec![text.clone(), format!("https://b.example/{path}")];
        let brand = Brand { name: Some(text.clone()), text: Some(text.clone()), ..brand() };
        let lang = language("de", &languages, None);
        let count = |html: &str| html.matches('<').count();
        for kind in [PageKind::Warning, PageKind::Unknown, PageKind::Onward { to: &target }] {
            let view = View {
                target: Some(&target),
                evidence: &found,
                chain: &chain,
                                ..View::plain(kind, &brand, lang)
            };
            let page = html(&view);
            // Tags come from the template alone: as many as with harmless text, give or take whole elements.
            for tag in page.split('<').skip(1) {
                let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
                prop_assert!(TAGS.contains(&name.as_str()) || tag.starts_with('!'), "<{}", tag.chars().take(40).collect::<String>());
            }
            prop_assert!(count(&page) > 10);
        }
    }
}

const TAGS: [&str; 34] = [
    "html", "head", "meta", "link", "title", "style", "body", "header", "img", "span", "bdi", "main", "p", "svg",
    "path", "div", "h1", "h2", "section", "b", "ul", "ol", "li", "a", "form", "input", "button", "details", "summary",
    "time", "footer", "i", "br", "em",
];

#[test]
fn each_kind_has_its_status_and_headers() {
    let languages = Languages::default();
    let lang = language("fr", &languages, None);
    let to = Target::parse("https://shop.example/").unwrap();
    let brand = Brand::default();
    let wanted = [
        200, 200, 200, 200, 403, 200, 200, 404, 410, 410, 503, 429, 200, 200, 405,
    ];
    for (kind, wanted) in kinds(&to).into_iter().zip(wanted) {
        let response = answer(&View::plain(kind, &brand, lang));
        assert_eq!(response.status().as_u16(), wanted, "{kind:?}");
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(headers[header::CONTENT_LANGUAGE], "fr");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "img-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        let retry = headers.get(header::RETRY_AFTER).map(|v| v.to_str().unwrap());
        assert_eq!(retry, matches!(wanted, 503 | 429).then_some("60"), "{kind:?}");
        assert_eq!(headers.contains_key(header::ALLOW), wanted == 405);
        assert!(!headers.contains_key(header::LOCATION), "a page never redirects");
    }
}

#[test]
fn a_page_with_a_form_says_nothing_about_where_forms_lead() {
    let languages = Languages::default();
    let brand = Brand::default();
    let form = PageForm {
        action: "/c/x",
        fields: &[],
    };
    let plain = View::plain(PageKind::Confirm, &brand, language("", &languages, None));
    for view in [
        View {
            form: Some(form),
            ..plain.clone()
        },
        View {
            kind: PageKind::Warning,
            review: Some(form),
            ..plain
        },
    ] {
        let policy = answer(&view).headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(!policy.contains("form-action"), "{policy}");
    }
}

#[test]
fn the_policy_names_the_very_style_sheets_of_the_page() {
    let languages = Languages::default();
    let brand = brand();
    let view = View::plain(PageKind::NotOurs, &brand, language("", &languages, None));
    let page = html(&view);
    let sheets: Vec<_> = page
        .split("<style>")
        .skip(1)
        .map(|s| s.split_once("</style>").unwrap().0)
        .collect();
    assert_eq!(sheets.len(), 2);
    let policy = answer(&view).headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap()
        .to_owned();
    for sheet in sheets {
        let digest = ring::digest::digest(&ring::digest::SHA256, sheet.as_bytes());
        let source = format!("'sha256-{}'", data_encoding::BASE64.encode(digest.as_ref()));
        assert!(policy.contains(&source), "{policy}");
    }
}

#[test]
fn buttons_stand_only_where_they_should() {
    let languages = Languages::default();
    let lang = language("en", &languages, None);
    let to = Target::parse("https://shop.example/").unwrap();
    let fields = [("go", "seal")];
    let form = Some(PageForm {
        action: "/c/x",
        fields: &fields,
    });
    for kind in kinds(&to) {
        for (form, review) in [(None, None), (form, None), (None, form)] {
            let brand = Brand::default();
            let view = View {
                target: Some(&to),
                form,
                review,
                ..View::plain(kind, &brand, lang)
            };
            let page = html(&view);
            let page = body_of(&page);
            let may_go_on = !matches!(kind, PageKind::Blocked)
                && matches!(
                    kind,
                    PageKind::Confirm
                        | PageKind::Neutral
                        | PageKind::Warning
                        | PageKind::Unknown
                        | PageKind::CouldNotCheck
                );
            let judges = matches!(
                kind,
                PageKind::Warning | PageKind::Blocked | PageKind::Unknown | PageKind::CouldNotCheck
            );
            let wanted = usize::from(form.is_some() && may_go_on) + usize::from(review.is_some() && judges);
            assert_eq!(page.matches("<form").count(), wanted, "{kind:?}");
            // On pages that judge, going on takes a second step.
            if form.is_some() && judges && may_go_on {
                let (before, _) = page.split_once("<form").unwrap();
                assert!(
                    before.rfind("<details class=\"risk\">") > before.rfind("</details>"),
                    "{kind:?}"
                );
            }
        }
    }
}

#[test]
fn a_target_that_is_not_to_be_shown_is_nowhere_on_the_page() {
    let languages = Languages::default();
    let brand = Brand::default();
    let to = Target::parse("https://secret.example/").unwrap();
    let found = [
        evidence("list", to.as_str(), listed(Category::Phishing, Weight::Block)),
        evidence(
            "score",
            to.as_str(),
            Finding::Sign {
                code: "look-alike",
                points: 60,
                detail: "secret".into(),
            },
        ),
    ];
    let chain = ["https://hop.example/?u=secret".to_owned(), to.as_str().to_owned()];
    for kind in kinds(&to).into_iter().filter(|k| !matches!(k, PageKind::Onward { .. })) {
        for shown in [false, true] {
            let view = View {
                target: Some(&to).filter(|_| shown),
                evidence: &found,
                chain: &chain,
                ..View::plain(kind, &brand, language("", &languages, None))
            };
            let page = html(&view);
            let names = page.contains("secret") || page.contains("hop.example");
            let tells = matches!(
                kind,
                PageKind::Confirm
                    | PageKind::Checking { .. }
                    | PageKind::Warning
                    | PageKind::Blocked
                    | PageKind::Unknown
                    | PageKind::CouldNotCheck
            );
            assert_eq!(names, shown && tells, "{kind:?}");
        }
    }
}

#[test]
fn a_target_is_never_a_link_but_on_the_page_that_leads_there() {
    let languages = Languages::default();
    let brand = Brand::default();
    let to = Target::parse("https://shop.example/x").unwrap();
    for kind in kinds(&to) {
        let view = View {
            target: Some(&to),
            ..View::plain(kind, &brand, language("", &languages, None))
        };
        let leads = matches!(kind, PageKind::Onward { .. });
        let page = html(&view);
        assert_eq!(page.contains("href=\"https://shop.example/x\""), leads, "{kind:?}");
        assert_eq!(
            page.contains("content=\"0;url=https://shop.example/x\""),
            leads,
            "{kind:?}"
        );
    }
}

#[test]
fn google_is_named_only_where_it_speaks_and_then_it_only_supposes() {
    let languages = Languages::default();
    let brand = Brand::default();
    let to = Target::parse("https://shop.example/").unwrap();
    let from = |source: &str, weight| evidence(source, to.as_str(), listed(Category::Phishing, weight));
    let page = |found: &[Evidence]| {
        html(&View {
            target: Some(&to),
            evidence: found,
            google_sources: &[
                ("Safe Browsing", GoogleService::SafeBrowsing),
                ("Web Risk", GoogleService::WebRisk),
            ],
            ..View::plain(PageKind::Blocked, &brand, language("", &languages, None))
        })
    };
    let t = &languages.get("en").unwrap().texts;
    let alone = page(&[from("Safe Browsing", Weight::Block)]);
    assert!(alone.contains("Advisory provided by Google</a>") && alone.contains(&t.blocked_hedged));
    assert!(!alone.contains(&t.blocked_phishing));
    assert!(alone.contains("/safe-browsing/v4/advisory\"") && !alone.contains("/web-risk/"));
    let risk = page(&[from("Web Risk", Weight::Block)]);
    assert!(risk.contains("/web-risk/docs/advisory\"") && !risk.contains("/safe-browsing/"));
    let both = page(&[from("Safe Browsing", Weight::Block), from("URLhaus", Weight::Block)]);
    assert!(both.contains("Advisory provided by Google</a>") && both.contains(&t.blocked_phishing));
    let other = page(&[
        from("URLhaus", Weight::Block),
        evidence("Safe Browsing", to.as_str(), Finding::NotListed),
    ]);
    assert!(!other.contains("Google") && other.contains("URLhaus"));
}

#[test]
fn the_operators_own_page_takes_the_place_of_the_blocked_one_only() {
    let languages = Languages::default();
    let to = Target::parse("https://shop.example/").unwrap();
    let brand = Brand {
        redirect_to: Target::parse("https://help.example/blocked?lang=de").ok(),
        ..Brand::default()
    };
    let found = [
        evidence("b", to.as_str(), listed(Category::Abuse, Weight::Block)),
        evidence("a", to.as_str(), listed(Category::Malware, Weight::Block)),
        evidence("c", to.as_str(), listed(Category::Phishing, Weight::Warn)),
    ];
    for kind in kinds(&to) {
        let response = answer(&View {
            evidence: &found,
            reference: Some("a&b=c"),
            ..View::plain(kind, &brand, language("", &languages, None))
        });
        let location = response.headers().get(header::LOCATION).map(|l| l.to_str().unwrap());
        if kind == PageKind::Blocked {
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            let wanted = "https://help.example/blocked?lang=de&reason=malware&reference=a%26b%3Dc";
            assert_eq!(location, Some(wanted));
        } else {
            assert_eq!(location, None, "{kind:?}");
        }
    }
}

#[test]
fn reviews_go_where_the_operator_says() {
    let languages = Languages::default();
    let form = PageForm {
        action: "/c/x",
        fields: &[],
    };
    let page = |review_to| {
        let brand = Brand {
            review_to,
            ..Brand::default()
        };
        html(&View {
            review: Some(form),
            reference: Some("A 1"),
            ..View::plain(PageKind::Warning, &brand, language("", &languages, None))
        })
    };
    assert!(page(ReviewTo::Button).contains("<form method=\"post\" action=\"/c/x\">"));
    let mail = page(ReviewTo::Mailbox("abuse@example.com".into()));
    assert!(
        mail.contains("href=\"mailto:abuse@example.com?subject=Link%20review%20A%201\"") && !mail.contains("<form")
    );
    let none = page(ReviewTo::Nobody);
    assert!(!none.contains("<form") && !none.contains("mailto:"));
}

#[test]
fn reasons_say_which_url_of_the_way_they_are_about() {
    let languages = Languages::default();
    let brand = Brand::default();
    let to = Target::parse("https://shop.example/").unwrap();
    let found = [
        evidence(
            "URLhaus",
            "https://hop.example/x",
            listed(Category::Malware, Weight::Warn),
        ),
        evidence(
            "URLhaus",
            "https://hop.example/x",
            listed(Category::Malware, Weight::Warn),
        ),
        evidence("DBL", "https://hop.example/x", Finding::CouldNotAsk("x".into())),
    ];
    let page = html(&View {
        target: Some(&to),
        evidence: &found,
        ..View::plain(PageKind::Warning, &brand, language("", &languages, None))
    });
    assert_eq!(page.matches("<bdi>URLhaus</bdi>").count(), 1, "once each");
    assert_eq!(page.matches("<bdi>hop.example</bdi>").count(), 1);
    assert!(page.contains("<bdi>DBL</bdi> gave no answer."));
}

#[test]
fn every_language_has_every_key_and_the_same_places_to_fill() {
    let english = language::read(language::ENGLISH_FILE);
    let mut keys: Vec<_> = english.keys().map(String::as_str).filter(|k| *k != "dir").collect();
    let mut wanted = Texts::KEYS.to_vec();
    keys.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(keys, wanted, "the English file");
    for (tag, file) in language::FILES {
        let given: BTreeMap<String, String> = toml::from_str(file).unwrap();
        let keys: Vec<_> = given.keys().collect();
        assert_eq!(keys, english.keys().collect::<Vec<_>>(), "{tag}");
        Languages::default()
            .add("xx", &given)
            .unwrap_or_else(|e| panic!("{tag}: {e:?}"));
        for (key, text) in &given {
            assert!(key == "dir" || *text != english[key], "{tag}.{key} is not translated");
        }
        assert!(Languages::default().get(tag).is_some(), "{tag}");
    }
    assert_eq!(Languages::default().iter().count(), language::FILES.len() + 1);
}

#[test]
fn every_word_of_the_evidence_has_its_sentence() {
    let english = &Languages::default();
    let t = &english.get("en").unwrap().texts;
    let words = |family: &str, words: Vec<&str>| {
        for word in words {
            assert!(t.word(family, word).is_some_and(|s| !s.is_empty()), "{family}_{word}");
        }
    };
    words("sign", SIGNS.iter().map(|(w, _)| *w).collect());
    words("listed", Category::VARIANTS.iter().map(|v| v.as_str()).collect());
    words("obstacle", Obstacle::VARIANTS.iter().map(|v| v.as_str()).collect());
    words("smuggled", Smuggled::VARIANTS.iter().map(|v| v.as_str()).collect());
    let signs = Texts::KEYS.iter().filter(|k| k.starts_with("sign_")).count();
    assert_eq!(signs, SIGNS.len(), "a sentence for a sign that is none");
}

#[test]
fn faults_of_a_language_file_are_told_one_by_one() {
    let given: BTreeMap<_, _> = [
        ("dir", "up"),
        ("confirm_titel", "?"),
        ("source_silent", "{sender} schweigt."),
        ("close_hint", " "),
        ("back_button", "zurück"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    let mut languages = Languages::default();
    let faults = languages.add("x", &given).unwrap_err();
    let keys: Vec<_> = faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["", "dir", "close_hint", "confirm_titel", "source_silent"]);
    assert_eq!(faults[4].what, "found {sender}, allowed: {source}");
    assert_eq!(languages, Languages::default(), "nothing of it is taken");
}

#[test]
fn a_file_changes_some_texts_of_a_built_in_language() {
    let mut languages = Languages::default();
    let given = [("back_button".to_owned(), "Ab nach Hause".to_owned())].into();
    languages.add("de", &given).unwrap();
    let german = languages.get("de").unwrap();
    assert_eq!(german.texts.back_button, "Ab nach Hause");
    assert_eq!(
        german.texts.close_hint,
        Languages::default().get("de").unwrap().texts.close_hint
    );
    assert_eq!(languages.iter().count(), Languages::default().iter().count());
    let arabic = self::languages();
    let arabic = arabic.get("AR").unwrap();
    assert_eq!((arabic.tag(), arabic.direction()), ("ar", Direction::Rtl));
    assert_eq!(
        arabic.texts.later_title,
        Languages::default().get("en").unwrap().texts.later_title
    );
}

#[test]
fn readers_get_the_language_they_ask_for() {
    let languages = languages();
    for (accept, default, wanted) in [
        ("", None, "en"),
        ("", Some("fr"), "fr"),
        ("de", None, "de"),
        ("de-AT,en;q=0.5", None, "de"),
        ("DE-at", None, "de"),
        ("pt-BR,es;q=0.8,en;q=0.9", None, "en"),
        ("pt-BR, es ; q=0.8", Some("de"), "es"),
        ("ja;q=0.3,fr;q=0.7", None, "fr"),
        ("de;q=0,*", Some("ja"), "ja"),
        ("*", Some("de"), "de"),
        ("zh-Hant-TW,zh", Some("es"), "es"),
        ("ar-EG-x-private", None, "ar"),
        ("de;q=nan,fr;q=2,ja;q=-1,es;q=", None, "en"),
        (";;;,,,=;q=1,-,--", None, "en"),
    ] {
        assert_eq!(
            language(accept, &languages, default).tag(),
            wanted,
            "{accept:?} {default:?}"
        );
    }
    let endless = "xx,".repeat(10_000) + "de";
    assert_eq!(language(&endless, &languages, None).tag(), "en");
}

#[test]
fn logos_and_robots_stand_beside_the_links() {
    let logo = Logo::new(b"<svg><script>1</script></svg>".to_vec(), "/mail").unwrap();
    let (with_prefix, without) = (logo.href.clone(), logo.without_prefix().to_owned());
    let pages = Pages {
        by_name: [(
            "a.example".to_owned(),
            std::sync::Arc::new(Brand {
                logo: Some(logo.into()),
                ..Brand::default()
            }),
        )]
        .into(),
        ..Pages::default()
    };
    for path in [with_prefix, without] {
        let response = asset(&path, &pages).unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "image/svg+xml");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("sandbox"),
            "{policy}"
        );
    }
    assert!(asset("/robots.txt", &pages).is_some());
    for path in ["/", "/logo/", "/logo/0000000000000000.svg", "/favicon.ico", "/c/x"] {
        assert!(asset(path, &pages).is_none(), "{path}");
    }
    let named = pages.brand("A.example".to_lowercase().as_str());
    assert!(named.logo.is_some() && pages.brand("b.example").logo.is_none());
}
