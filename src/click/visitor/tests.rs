use link::Word;
use store::EventId;

use super::*;

/// 2026-11-22, when version 158 of browsers is new.
const NOW: i64 = 1_795_305_600_000_000;
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36";
const SAFARI_OLD: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 15_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.6 Mobile/15E148 Safari/604.1";
const BROWSER: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("accept-language", "de-DE,de;q=0.9"),
];
const NAVIGATION: &[(&str, &str)] = &[
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-user", "?1"),
    ("sec-fetch-site", "none"),
];

fn row(agent: &str, fields: &[&[(&'static str, &str)]]) -> ClickRow {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.concat() {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    ClickRow {
        user: Some("anna@example.com".to_owned()),
        url: "https://a.example/".to_owned(),
        mail_id: "m1".to_owned(),
        user_agent: agent.to_owned(),
        facts: Facts {
            link: Some("l1".to_owned()),
            issued_at_s: Some(NOW / 1_000_000 - 3_600),
            ..facts(&headers, Version::HTTP_11)
        },
        ..ClickRow::new(EventId([1; 16]), NOW)
    }
}

fn verdict(row: &ClickRow) -> String {
    let VisitorLabel { label, reasons } = label(row, Neighbours::default(), &Machines::default());
    format!("{} {}", label.as_str(), reasons.join(" "))
        .trim_end()
        .to_owned()
}

#[test]
fn headers_to_labels() {
    let chrome_with = |more: &[(&'static str, &str)]| row(CHROME, &[BROWSER, NAVIGATION, more]);
    let cases: Vec<(ClickRow, &str)> = vec![
        (
            chrome_with(&[]),
            "likely-person navigation user-activation browser language",
        ),
        (row(CHROME, &[BROWSER]), "unknown browser language"),
        (row(SAFARI_OLD, &[BROWSER]), "unknown browser language"),
        (row(CHROME, &[]), "likely-machine no-html no-language"),
        (
            row(CHROME, &[&[("accept", "*/*")]]),
            "likely-machine no-html no-language",
        ),
        (
            chrome_with(&[("sec-purpose", "prefetch;prerender")]),
            "machine prefetch",
        ),
        (chrome_with(&[("purpose", "Prefetch")]), "machine prefetch"),
        (chrome_with(&[("x-moz", "prefetch")]), "machine prefetch"),
        (chrome_with(&[("x-purpose", "preview")]), "machine prefetch"),
        (
            chrome_with(&[("sec-ch-ua", "\"Chromium\";v=\"157\", \"Not/A)Brand\";v=\"8\"")]),
            "likely-person navigation user-activation browser language",
        ),
        (
            chrome_with(&[("sec-ch-ua", "\"Chromium\";v=\"120\"")]),
            "likely-person navigation user-activation browser language hints-differ",
        ),
        (
            chrome_with(&[("sec-ch-ua", "\"HeadlessChrome\";v=\"157\"")]),
            "machine agent",
        ),
        (
            row(&CHROME.replace("157", "109"), &[BROWSER]),
            "unknown browser language old-browser",
        ),
        (
            row(&CHROME.replace("157", "132"), &[BROWSER]),
            "unknown browser language",
        ),
        (
            row(
                "Mozilla/5.0 (X11; Linux x86_64; rv:98.0) Gecko/20100101 Firefox/98.0",
                &[BROWSER],
            ),
            "unknown browser language old-browser",
        ),
        (
            row("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", &[]),
            "likely-machine no-html no-language old-browser",
        ),
        (
            row(
                CHROME,
                &[BROWSER, &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]],
            ),
            "unknown no-navigation browser language",
        ),
        (row("", &[]), "likely-machine no-agent"),
        (row("  ", &[BROWSER]), "likely-machine no-agent"),
        (row("curl/8.5.0", &[&[("accept", "*/*")]]), "likely-machine tool"),
        (row("Wget/1.21", &[]), "likely-machine tool"),
        (row("python-requests/2.31", &[]), "likely-machine tool"),
        (row("Python/3.11 aiohttp/3.8.5", &[]), "likely-machine tool"),
        (row("Go-http-client/1.1", &[]), "likely-machine tool"),
        (row("Java/17.0.2", &[]), "likely-machine tool"),
        (row("Apache-HttpClient/4.5.13 (Java/11)", &[]), "likely-machine tool"),
        (row("wrk/4.2", &[]), "likely-machine tool"),
        (row("libwww-perl/6.72", &[]), "likely-machine tool"),
        (row("okhttp/4.9", &[]), "likely-machine tool"),
        (row("ApacheBench/2.3", &[]), "unknown"),
        (
            row(
                "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1",
                &[],
            ),
            "likely-machine tool no-html no-language",
        ),
        // Words inside of other words name nobody.
        (row("Gotham Reader/1", &[]), "unknown"),
        (row("JavaFXReader/2", &[]), "unknown"),
        (
            row(
                "Mozilla/5.0 (Linux; Android 9; CUBOT X20) Chrome/157.0.0.0 Mobile Safari/537.36",
                &[BROWSER, NAVIGATION],
            ),
            "likely-person navigation user-activation browser language",
        ),
        (
            row("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", &[]),
            "machine agent",
        ),
        (
            row(
                "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
                &[BROWSER],
            ),
            "machine agent",
        ),
        (row("facebookexternalhit/1.1", &[]), "machine agent"),
        (row("WhatsApp/2.23.20.0", &[]), "machine agent"),
        (row("TelegramBot (like TwitterBot)", &[]), "machine agent"),
        (
            row("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", &[]),
            "machine agent",
        ),
        (
            row("Mozilla/5.0 (compatible; SomeBot/1.0)", &[BROWSER]),
            "machine agent",
        ),
        (
            row(
                "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/157.0.0.0 Safari/537.36",
                &[BROWSER, NAVIGATION],
            ),
            "machine agent",
        ),
        (
            row("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", &[]),
            "machine agent",
        ),
    ];
    for (row, wanted) in cases {
        assert_eq!(verdict(&row), wanted, "{:?} {:?}", row.user_agent, row.facts);
    }
}

#[test]
fn methods_that_ask_for_no_page_are_machines() {
    for (method, wanted) in [(Method::Head, "machine method"), (Method::Options, "machine method")] {
        let row = ClickRow {
            method,
            ..row(CHROME, &[BROWSER, NAVIGATION])
        };
        assert_eq!(verdict(&row), wanted);
    }
}

#[test]
fn a_button_is_a_persons_and_its_other_signs_stay() {
    let pressed = ClickRow {
        method: Method::Post,
        page_event: Some(EventId([9; 16])),
        ..row("Mozilla/5.0 (compatible; SomeBot/1.0)", &[])
    };
    assert_eq!(verdict(&pressed), "person button agent");
    // Without the page that has the button it is a request like any other.
    let bare = ClickRow {
        method: Method::Post,
        ..row("curl/8.5.0", &[])
    };
    assert_eq!(verdict(&bare), "likely-machine tool");
}

#[test]
fn the_operator_names_agents_and_networks() {
    let machines = Machines {
        agents: vec!["acmescan".to_owned()],
        networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..Machines::default()
    };
    let label = |row: &ClickRow| {
        let VisitorLabel { label, reasons } = label(row, Neighbours::default(), &machines);
        (label, reasons.first().copied().unwrap_or_default())
    };
    let person = row(CHROME, &[BROWSER, NAVIGATION]);
    assert_eq!(
        label(&row(&format!("{CHROME} AcmeScan/2"), &[BROWSER])),
        (Label::Machine, "agent")
    );
    for (client, machine) in [
        (Some("192.0.2.7"), true),
        (Some("192.0.2.0/24"), true),
        // Some of a larger network is not all of it.
        (Some("192.0.0.0/16"), false),
        (Some("2001:db8:1::/48"), true),
        (Some("198.51.100.0/24"), false),
        (Some("not an address"), false),
        (None, false),
    ] {
        let row = ClickRow {
            client_ip: client.map(str::to_owned),
            ..person.clone()
        };
        assert_eq!(label(&row).0 == Label::Machine, machine, "{client:?}");
    }
    // Where addresses are not recorded, the fact is.
    let mut row = person.clone();
    row.facts.machine_network = machine_network("192.0.2.7".parse().unwrap(), &machines);
    assert_eq!(row.facts.machine_network.as_deref(), Some("192.0.2.0/24"));
    assert_eq!(label(&row), (Label::Machine, "network"));
    assert_eq!(machine_network("198.51.100.1".parse().unwrap(), &machines), None);
}

#[test]
fn who_gets_the_neutral_page_is_the_operators_choice() {
    let wanted = [
        (Label::Machine, true, true),
        (Label::LikelyMachine, false, true),
        (Label::Unknown, false, false),
        (Label::LikelyPerson, false, false),
        (Label::Person, false, false),
    ];
    let likely = Machines {
        neutral_page: NeutralPage::Likely,
        ..Machines::default()
    };
    for (label, by_default, by_choice) in wanted {
        assert_eq!(gets_neutral_page(label, &Machines::default()), by_default);
        assert_eq!(gets_neutral_page(label, &likely), by_choice);
    }
}

#[test]
fn a_scanner_that_opens_all_links_at_once_is_told_from_the_reader() {
    let mut near = RecentClicks::new(100);
    let at = |link: &str, agent: &str, network: &str, after_ms: i64| {
        let mut row = row(agent, &[BROWSER, NAVIGATION]);
        row.facts.link = Some(link.to_owned());
        row.facts.network = Some(network.to_owned());
        row.at_us = NOW + after_ms * 1000;
        row
    };
    let scanner = format!("{CHROME} Edg/157");
    let hits = [
        at("l1", &scanner, "n1", 0),
        at("l2", &scanner, "n1", 300),
        // From another of its addresses.
        at("l3", &scanner, "n2", 900),
        at("l4", CHROME, "n9", 2_000),
        at("l5", CHROME, "n9", 9_000),
    ];
    for hit in &hits {
        near.add(hit);
    }
    let several: Vec<bool> = hits.iter().map(|hit| near.neighbours(hit).several_links).collect();
    assert_eq!(several, [true, true, true, false, false]);
    let judged = label(&hits[0], near.neighbours(&hits[0]), &Machines::default());
    assert_eq!(judged.label, Label::Unknown, "{judged:?}");
    // The same a second after delivery is no person.
    let mut fresh = hits[0].clone();
    fresh.facts.issued_at_s = Some(NOW / 1_000_000 - 1);
    assert_eq!(
        label(&fresh, near.neighbours(&fresh), &Machines::default()).label,
        Label::LikelyMachine
    );
    // To many recipients at once: many readers do that.
    let mut shared = RecentClicks::new(100);
    let shared_hits = hits.map(|hit| ClickRow { user: None, ..hit });
    for hit in &shared_hits {
        shared.add(hit);
    }
    assert!(
        shared_hits
            .iter()
            .all(|hit| shared.neighbours(hit) == Neighbours::default())
    );
}

#[test]
fn of_two_that_open_the_same_link_the_less_likely_person_is_marked() {
    let mut near = RecentClicks::new(100);
    let person = row(CHROME, &[BROWSER, NAVIGATION]);
    let mut scanner = row(SAFARI_OLD, &[BROWSER]);
    scanner.at_us = NOW + 12_000_000;
    near.add(&person);
    near.add(&scanner);
    assert!(!near.neighbours(&person).elsewhere);
    assert!(near.neighbours(&scanner).elsewhere);
    assert_eq!(
        label(&scanner, near.neighbours(&scanner), &Machines::default()).label,
        Label::LikelyMachine
    );
    // The same program from another network; then a minute later.
    let mut again = person.clone();
    again.facts.network = Some("n2".to_owned());
    assert_eq!(
        near.neighbours(&again),
        Neighbours::default(),
        "no network known for the first"
    );
    again.at_us += 60_000_000;
    again.user_agent = SAFARI_OLD.to_owned();
    assert_eq!(near.neighbours(&again), Neighbours::default());
}

#[test]
fn what_is_remembered_of_neighbours_is_bounded() {
    let mut near = RecentClicks::new(10);
    for mail in 0..1_000 {
        for _ in 0..100 {
            let mut hit = row(CHROME, &[BROWSER]);
            hit.mail_id = mail.to_string();
            near.add(&hit);
        }
    }
    assert_eq!(near.size(), (10, 10 * 64));
    // Time passes, and all of it goes. A clock that jumps back does no harm.
    let mut later = row(CHROME, &[BROWSER]);
    later.at_us += 3_600_000_000;
    near.add(&later);
    assert_eq!(near.size(), (1, 1));
    near.add(&row(CHROME, &[BROWSER]));
    assert_eq!(near.size(), (1, 2));
}

#[test]
fn a_label_that_stays_is_not_written_again() {
    let mut row = row(CHROME, &[BROWSER, NAVIGATION]);
    let judged = label(&row, Neighbours::default(), &Machines::default());
    let relabel = judged.relabel(&row).unwrap();
    assert_eq!(
        (relabel.event_id, relabel.label, relabel.rules),
        (row.event_id, Label::LikelyPerson, RULES)
    );
    judged.write_into(&mut row);
    assert_eq!(judged.relabel(&row), None);
    // The label itself is no fact: judged by it, a wrong one would stay for ever.
    row.label = Label::Machine;
    row.verdict = Some(link::Verdict::Block);
    assert_eq!(label(&row, Neighbours::default(), &Machines::default()), judged);
    assert!(judged.relabel(&row).is_some());
}

#[test]
fn facts_are_shortened_strangers_words() {
    let long = "\u{e9}".repeat(400);
    let row = row(
        CHROME,
        &[&[
            ("accept-language", long.as_str()),
            ("referer", "https://mail.example/inbox?secret=1"),
            ("dnt", "1"),
            ("sec-gpc", " 1"),
        ]],
    );
    assert_eq!(
        row.facts.accept_language.as_deref(),
        Some("\u{e9}".repeat(128).as_str())
    );
    assert_eq!(row.facts.referer_host.as_deref(), Some("mail.example"));
    assert_eq!(
        (row.facts.dnt, row.facts.gpc, row.facts.http.as_deref()),
        (true, true, Some("1.1"))
    );
}

#[test]
fn user_agents_are_cut_between_characters() {
    let long = "\u{e9}".repeat(400);
    let agent = |octets: &[u8]| clip(&HeaderValue::from_bytes(octets).unwrap(), 512);
    assert_eq!(agent(long.as_bytes()), "\u{e9}".repeat(256));
    // Octets that are no UTF-8 grow threefold as they are replaced; the limit counts what is kept.
    assert_eq!(agent(&[0xff; 400]).len(), 510);
    assert_eq!(agent(b""), "");
}
