//! What becomes of suspicious links, and of links that do not belong, when mail comes in.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use link::{
    Category, ClickBase, Evidence, Finding, Listing, MessageClaims, Opened, Opener, Scope, Style, Target, Weight, Word,
    wrap_link,
};
use linkgate::config::Settings;
use linkgate::config::keyfile::Absent;
use linkgate::intel::Intel;
use linkgate::intel::follow::Follower;
use linkgate::intel::new_domains::NewDomains;
use linkgate::intel::revoked::{self, Revocations};
use linkgate::intel::sources::{ServerSources, Sources};
use linkgate::ledger::Ledger;
use linkgate::mail::rewrite::{Job, LinkReport, RewriteAction, RewriteOutcome, rewrite};
use linkgate::metrics::Metrics;
use store::RevocationRow;
use tokio::sync::watch;

use crate::cli::{Home, code, json_lines, out};
use crate::rig::{Options, Peer, Rig};

const LEAST: &str = include_str!("../../fixtures/config/good/least.toml");
const BAD: &str = "https://paypal.com.evil.example:81/login";
const GOOD: &str = "https://www.shop.example/offer";
const LISTED: &str = "https://listed.example/x";
const DOUBTED: &str = "https://doubted.example/x";
const READER: &str = "jo@here.test";
const SENDER: &str = "ann@there.example";

/// A list in memory that names two hosts; and, where they are remembered, the domain of one link and of one sender, and the
/// domains that were noted.
#[derive(Debug, Default)]
struct Known {
    remembers: bool,
    noted: Mutex<Vec<String>>,
}

impl Sources for Known {
    fn local(&self, target: &Target) -> Vec<Evidence> {
        let weight = match target.host() {
            "listed.example" => Weight::Block,
            "doubted.example" => Weight::Warn,
            _ => return Vec::new(),
        };
        vec![Evidence {
            source: "my-list".into(),
            about: target.as_str().to_owned(),
            finding: Finding::Listed(Listing {
                category: Category::Phishing,
                scope: Scope::Host,
                weight,
            }),
        }]
    }

    fn remembers_domains(&self) -> bool {
        self.remembers
    }

    fn is_new(&self, domain: &str, _: i64) -> bool {
        self.remembers && !["shop.example", "@there.example"].contains(&domain)
    }

    fn note(&self, domains: &mut dyn Iterator<Item = &str>, _: i64) {
        self.noted.lock().unwrap().extend(domains.map(str::to_owned));
    }
}

struct Site {
    settings: Settings,
    sources: Known,
}

impl Site {
    /// `keys`: those of the section of `here.test`.
    fn new(keys: &str) -> Self {
        let text = format!(
            "{LEAST}\n[domain.\"here.test\"]\n{keys}\n[domain.\"own.test\"]\n[checks]\nauthserv_ids = [\"mx.here.test\"]\n"
        );
        let settings = Settings::from_toml(&text, Path::new("linkgate.toml"), Absent::Pretend).unwrap();
        Self {
            settings,
            sources: Known::default(),
        }
    }

    fn judge_from(&self, sender: &str, recipients: &[&str], mail_id: &str, message: &str) -> RewriteOutcome {
        self.judge_by(&self.sources, sender, recipients, mail_id, message)
    }

    fn judge_by(
        &self,
        sources: &dyn Sources,
        sender: &str,
        recipients: &[&str],
        mail_id: &str,
        message: &str,
    ) -> RewriteOutcome {
        let recipients: Vec<String> = recipients.iter().map(|r| (*r).to_owned()).collect();
        let job = Job {
            settings: &self.settings,
            sender,
            recipients: &recipients,
            mail_id,
            now_s: 1_767_603_600,
        };
        rewrite(&message.as_bytes(), &job, sources).unwrap()
    }

    fn judge(&self, message: &str) -> RewriteOutcome {
        self.judge_from(SENDER, &[READER], "m1", message)
    }

    fn opener(&self) -> Opener<'_> {
        Opener::new(&self.settings.keys, &self.settings.click.base)
    }

    /// The tokens of a message, in order.
    fn opened(&self, message: &str) -> Vec<Opened> {
        let base = self.settings.click.base.as_str();
        let links = message.match_indices(base).map(|(at, _)| &message[at..]);
        links.map(|link| self.opener().open_url(link).unwrap()).collect()
    }

    /// A click link of ours in a mail to `recipient`.
    fn own_link(&self, sender: &str, recipient: Option<&str>, domain: &str) -> String {
        let claims = MessageClaims {
            message_id: "another".into(),
            recipient: recipient.map(str::to_owned),
            sender: sender.into(),
            issued_at: 1_767_000_000,
            domain: domain.into(),
        };
        let sealer = self.settings.keys.sealer(&claims);
        let target = Target::parse("https://evil.example/").unwrap();
        wrap_link(&sealer, &self.settings.click.base, &target, None, 0).click_url
    }
}

fn mail(links: &[&str]) -> String {
    let links: Vec<String> = links.iter().map(|l| format!("<a href=\"{l}\">here</a>\r\n")).collect();
    format!(
        "From: Ann <{SENDER}>\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{}",
        links.concat()
    )
}

fn went(outcome: &RewriteOutcome, message: &str) -> String {
    String::from_utf8(outcome.patch.apply(message.as_bytes())).unwrap()
}

fn reasons(outcome: &RewriteOutcome) -> Vec<(&'static str, &'static str)> {
    outcome
        .report
        .links
        .iter()
        .map(|l| (l.decision.kind().as_str(), l.decision.reason()))
        .collect()
}

const TAG: &str = "X-Linkgate-Suspicious: yes; links=";

#[test]
fn a_bad_link_is_wrapped_tagged_blocked_or_refused_as_the_domain_says() {
    let message = mail(&[GOOD, BAD, LISTED, DOUBTED]);
    for (keys, bad) in [
        ("at_delivery = \"wrap\"\ndelivery_score = 60", None),
        ("at_delivery = \"tag\"\ndelivery_score = 60", Some((3, [false; 4]))),
        ("at_delivery = \"tag\"", Some((2, [false; 4]))),
        (
            "at_delivery = \"block-link\"\ndelivery_score = 60",
            Some((3, [false, true, true, false])),
        ),
        ("at_delivery = \"block-link\"", Some((2, [false, false, true, false]))),
        (
            "at_delivery = \"block-link\"\ndelivery_score = 999",
            Some((2, [false, false, true, false])),
        ),
    ] {
        let site = Site::new(keys);
        let outcome = site.judge(&message);
        assert_eq!(outcome.action, RewriteAction::Forward, "{keys}");
        let went = went(&outcome, &message);
        let (links, blocked) = bad.unwrap_or((0, [false; 4]));
        if links == 0 {
            assert!(went.starts_with("From:"), "{keys}: {went}");
        } else {
            assert!(went.starts_with(&format!("{TAG}{links}\r\nFrom:")), "{keys}: {went}");
        }
        let opened = site.opened(&went);
        let found: Vec<_> = opened.iter().map(Opened::blocked_at_delivery).collect();
        assert_eq!(found, blocked, "{keys}");
        let wanted = blocked.map(|b| ("wrapped", if b { "blocked" } else { "policy" }));
        assert_eq!(reasons(&outcome), wanted, "{keys}");
    }
    for keys in [
        "at_delivery = \"refuse\"",
        "at_delivery = \"refuse\"\ndelivery_score = 60",
    ] {
        let site = Site::new(keys);
        let RewriteAction::Refuse(why) = site.judge(&message).action else {
            panic!("taken: {keys}");
        };
        let first = if keys.contains("score") {
            BAD
        } else {
            "listed by my-list: https://listed.example/x"
        };
        assert!(why.contains(first), "{why}");
        let doubted = site.judge(&mail(&[GOOD, DOUBTED]));
        assert_eq!(doubted.action, RewriteAction::Forward);
        assert!(went(&doubted, &mail(&[GOOD, DOUBTED])).starts_with(TAG));
    }
}

#[test]
fn the_report_says_what_speaks_against_a_link() {
    let site = Site::new("at_delivery = \"tag\"\ndelivery_score = 60");
    let outcome = site.judge(&mail(&[GOOD, BAD, LISTED]));
    let suspicion = |l: &LinkReport| l.suspicion.clone();
    let found: Vec<_> = outcome.report.links.iter().map(suspicion).collect();
    assert_eq!(found[0], None);
    let bad = found[1].as_deref().unwrap();
    let codes: Vec<_> = bad.signs.iter().map(|s| s.code).collect();
    assert_eq!(codes, ["odd-port", "embedded-domain", "name-in-subdomain"]);
    assert_eq!((bad.score(), bad.listed.len()), (80, 0));
    assert_eq!(
        found[2].as_deref().unwrap().listed,
        [("my-list".to_owned(), Weight::Block)]
    );
}

#[test]
fn what_a_rule_lets_pass_is_not_looked_at() {
    let keys = "at_delivery = \"refuse\"\nbypass_senders = [\"ann@there.example\"]";
    assert_eq!(Site::new(keys).judge(&mail(&[LISTED])).action, RewriteAction::Forward);
    let keys = "at_delivery = \"refuse\"\nbypass_urls = [\"listed.example\"]";
    let message = mail(&[LISTED]);
    let outcome = Site::new(keys).judge(&message);
    assert_eq!(
        (&outcome.action, reasons(&outcome)),
        (&RewriteAction::Forward, vec![("kept", "bypass-url")])
    );
    assert!(outcome.patch.is_empty());
}

#[test]
fn a_bad_link_in_a_signed_part_is_seen_though_it_stays() {
    let message = format!(
        "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; micalg=pgp-sha256; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\n{LISTED}\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n\
         -----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n-----END PGP SIGNATURE-----\r\n--b--\r\n"
    );
    let tagged = Site::new("at_delivery = \"block-link\"").judge(&message);
    assert_eq!(reasons(&tagged), [("kept", "signed")]);
    assert!(went(&tagged, &message).starts_with(TAG));
    let refused = Site::new("at_delivery = \"refuse\"").judge(&message);
    assert!(matches!(refused.action, RewriteAction::Refuse(_)));
}

#[test]
fn a_message_that_begins_with_no_header_gets_no_line() {
    let message = format!("just text {LISTED}\r\n\r\nmore {LISTED}\r\n");
    let outcome = Site::new("at_delivery = \"tag\"").judge(&message);
    assert!(!went(&outcome, &message).contains(TAG));
}

#[test]
fn only_links_with_enough_points_are_wrapped_on_demand() {
    let with_text = |url: &str, text: &str| format!("Content-Type: text/html\r\n\r\n<a href=\"{url}\">{text}</a>");
    let site = Site::new("rewrite = \"suspicious\"");
    let reason = |site: &Site, message: &str| reasons(&site.judge(message))[0];
    assert_eq!(reason(&site, &mail(&[GOOD])), ("kept", "not-suspicious"));
    assert_eq!(
        reason(&site, &mail(&["https://a.example:81/"])),
        ("kept", "not-suspicious")
    );
    assert_eq!(reason(&site, &mail(&[BAD])), ("wrapped", "policy"));
    assert_eq!(reason(&site, &mail(&[LISTED])), ("wrapped", "policy"));
    let other = with_text(GOOD, "https://www.bank.com/");
    assert_eq!(reason(&site, &other), ("wrapped", "policy"));
    let low = Site::new("rewrite = \"suspicious\"\nsuspicious_score = 20");
    assert_eq!(reason(&low, &mail(&["https://a.example:81/"])), ("wrapped", "policy"));
    // The same link with another text is another link.
    let twice =
        with_text(GOOD, "Offer") + &with_text(GOOD, "https://www.bank.com/")["Content-Type: text/html\r\n\r\n".len()..];
    assert_eq!(
        reasons(&site.judge(&twice)),
        [("kept", "not-suspicious"), ("wrapped", "policy")]
    );
}

#[test]
fn protected_names_are_those_of_the_domain_and_of_all() {
    let site = Site::new("delivery_score = 1\nat_delivery = \"tag\"\nprotected_names = [\"musterbank.example\"]");
    let codes = |url: &str| -> Vec<&'static str> {
        let outcome = site.judge(&mail(&[url]));
        let suspicion = outcome.report.links[0].suspicion.clone();
        suspicion
            .map(|s| s.signs.iter().map(|s| s.code).collect())
            .unwrap_or_default()
    };
    assert_eq!(codes("https://rnusterbank.example/"), ["look-alike"]);
    assert_eq!(codes("https://0wn.test/"), ["digits-for-letters"], "a domain of ours");
    assert_eq!(codes("https://own-login.test/"), [""; 0], "one of many domains of ours");
    assert_eq!(codes("https://musterbank.example/"), [""; 0]);
}

#[test]
fn a_domain_that_was_never_seen_is_a_sign() {
    let mut site = Site::new("delivery_score = 1\nat_delivery = \"tag\"");
    site.sources.remembers = true;
    let outcome = site.judge(&mail(&[GOOD, "https://www.other.example/"]));
    let signs: Vec<_> = outcome.report.links.iter().map(|l| l.suspicion.is_some()).collect();
    assert_eq!(signs, [false, true]);
    assert_eq!(
        *site.sources.noted.lock().unwrap(),
        ["@there.example", "other.example", "shop.example"]
    );
}

#[test]
fn a_sender_that_never_wrote_here_or_shows_somebody_elses_name_is_a_sign() {
    let mut site = Site::new("delivery_score = 1\nat_delivery = \"tag\"\nprotected_names = [\"musterbank.example\"]");
    site.sources.remembers = true;
    let codes = |site: &Site, from: &str| -> Vec<&'static str> {
        let outcome = site.judge(&format!("From: {from}\r\n\r\n{GOOD}\r\n"));
        let suspicion = outcome.report.links[0].suspicion.clone();
        suspicion
            .map(|s| s.signs.iter().map(|s| s.code).collect())
            .unwrap_or_default()
    };
    assert_eq!(codes(&site, "Ann <ann@there.example>"), [""; 0]);
    assert_eq!(codes(&site, "Ann <ann@www.else.example>"), ["first-contact"]);
    assert_eq!(codes(&site, "Musterbank <ann@there.example>"), ["display-name"]);
    assert_eq!(
        codes(&site, "=?utf-8?Q?Muster=62ank?= <ann@else.example>"),
        ["display-name", "first-contact"]
    );
    // Whoever wraps every link remembers all the same, and so has something to compare when it comes to that.
    let mut plain = Site::new("");
    plain.sources.remembers = true;
    plain.judge("From: a@new.example\r\n\r\nhttps://a.example/\r\n");
    assert_eq!(*plain.sources.noted.lock().unwrap(), ["@new.example", "a.example"]);
}

#[test]
fn what_our_own_server_says_of_the_sender_counts() {
    let site = Site::new("delivery_score = 1\nat_delivery = \"tag\"");
    let signs = |header: &str| {
        let outcome = site.judge(&(header.to_owned() + &mail(&[GOOD])));
        outcome.report.links[0].suspicion.as_ref().map_or(0, |s| s.score())
    };
    assert_eq!(
        signs("Authentication-Results: mx.here.test; dmarc=fail; spf=fail\r\n"),
        40
    );
    assert_eq!(signs("Authentication-Results: mx.there.example; dmarc=fail\r\n"), 0);
}

#[test]
fn a_click_link_stays_only_where_it_belongs() {
    let site = Site::new("bypass_urls = [\"*.example.com\"]");
    let forged = "Authentication-Results: mx.here.test; spf=fail\r\n";
    for (what, made_for, sender, header, stays) in [
        (
            "a second pass, a reply of the sender",
            (SENDER, Some(READER), "here.test"),
            SENDER,
            "",
            true,
        ),
        (
            "a reply of someone else to the reader",
            (SENDER, Some("Jo@Here.test"), "here.test"),
            "x@y.example",
            "",
            true,
        ),
        ("a copy for several", (SENDER, None, "here.test"), SENDER, "", true),
        (
            "a colleague forwards",
            (SENDER, Some("ed@here.test"), "here.test"),
            "ed@here.test",
            "",
            true,
        ),
        (
            "a colleague of another domain of ours",
            ("", Some("ed@own.test"), "own.test"),
            "ed@own.test",
            "",
            true,
        ),
        (
            "made for another reader",
            (SENDER, Some("ed@here.test"), "here.test"),
            SENDER,
            "",
            false,
        ),
        (
            "made for another domain",
            (SENDER, Some("ed@own.test"), "own.test"),
            SENDER,
            "",
            false,
        ),
        (
            "for several of another sender",
            (SENDER, None, "here.test"),
            "x@y.example",
            "",
            false,
        ),
        (
            "for several of another domain",
            (SENDER, None, "own.test"),
            SENDER,
            "",
            false,
        ),
        (
            "a forged colleague",
            (SENDER, Some("ed@here.test"), "here.test"),
            "ed@here.test",
            forged,
            false,
        ),
    ] {
        let own = site.own_link(made_for.0, made_for.1, made_for.2);
        let message = header.to_owned() + &mail(&[&own]);
        let outcome = site.judge_from(sender, &[READER], "m1", &message);
        let went = went(&outcome, &message);
        if stays {
            assert_eq!(reasons(&outcome), [("kept", "own-link")], "{what}");
            assert_eq!(went, message, "{what}");
            continue;
        }
        assert_eq!(reasons(&outcome), [("wrapped", "own-link-smuggled")], "{what}");
        let suspicion = outcome.report.links[0].suspicion.as_ref().unwrap();
        assert!(
            suspicion.misplaced.starts_with(&["own-link-smuggled"]),
            "{what}: {suspicion:?}"
        );
        // A token within a token: the click sees the one inside.
        let opened = site.opened(&went);
        let target = opened[0].target().unwrap().as_str();
        assert_eq!(target, own, "{what}");
        assert!(site.opener().open_url(target).is_ok());
        // Another pass leaves it.
        let again = site.judge_from(sender, &[READER], "m2", &went);
        assert_eq!(reasons(&again), [("kept", "own-link")], "{what}");
        assert!(again.patch.is_empty(), "{what}");
    }
}

#[test]
fn a_second_pass_changes_nothing_whatever_the_recipients() {
    let site = Site::new("at_delivery = \"tag\"");
    let long = format!("{}@there.example", "x".repeat(600));
    for (sender, recipients) in [
        (SENDER, &[READER][..]),
        (SENDER, &[READER, "ed@here.test"]),
        ("", &[READER]),
        ("", &[READER, "ed@here.test"]),
        (&long, &[READER]),
        (&long, &[READER, "ed@here.test"]),
    ] {
        let message = mail(&[GOOD, "https://other.example/"]);
        let first = went(&site.judge_from(sender, recipients, "m1", &message), &message);
        assert_ne!(first, message);
        let second = site.judge_from(sender, recipients, "m2", &first);
        assert!(second.patch.is_empty(), "{sender} {recipients:?}");
    }
}

#[test]
fn a_wrapper_of_someone_else_is_reported_and_worth_the_line() {
    let safe = "https://eur05.safelinks.protection.outlook.com/?url=https%3A%2F%2Fshop.example%2F&amp;data=05%7C01%7Cvictim%40bank.example%7C1";
    let message = mail(&[safe]);
    let outcome = Site::new("at_delivery = \"tag\"").judge(&message);
    let misplaced = outcome.report.links[0].suspicion.as_ref().unwrap().misplaced.clone();
    assert!(misplaced.contains(&"foreign-wrapper"), "{misplaced:?}");
    assert!(went(&outcome, &message).starts_with(TAG));
    let quiet = Site::new("").judge(&message);
    assert!(quiet.report.links[0].suspicion.is_some());
    assert!(!went(&quiet, &message).contains(TAG));
    let uses = |rule: &str| {
        let text = format!("{LEAST}\n[domain.\"here.test\"]\n[checks]\nsender_wrappers = [\"{rule}\"]\n");
        let settings = Settings::from_toml(&text, Path::new("linkgate.toml"), Absent::Pretend).unwrap();
        let site = Site {
            settings,
            sources: Known::default(),
        };
        let quoted = mail(&["https://urldefense.com/v3/__https://shop.example/__;!!a!b$"]);
        let outcome = site.judge_from("Ann@Partner.example", &[READER], "m1", &quoted);
        outcome.report.links[0].suspicion.is_none()
    };
    assert!(uses("proofpoint @partner.example"));
    assert!(!uses("microsoft @partner.example") && !uses("proofpoint  *.partner.example"));
    // From inside, nothing is out of place.
    let inside = Site::new("").judge_from("ed@own.test", &[READER], "m1", &message);
    assert_eq!(inside.report.links[0].suspicion, None);
}

#[test]
fn a_forged_click_link_is_a_link_like_any_other() {
    let site = Site::new("");
    let own = site.own_link(SENDER, Some(READER), "here.test");
    let (rest, last) = own.split_at(own.len() - 1);
    let forged = format!("{rest}{}", if last == "A" { "B" } else { "A" });
    let elsewhere = ClickBase::new("https://click.elsewhere.example", Style::Readable).unwrap();
    let other = own.replace(site.settings.click.base.as_str(), elsewhere.as_str());
    for link in [forged, other] {
        assert_eq!(reasons(&site.judge(&mail(&[&link]))), [("wrapped", "policy")], "{link}");
    }
}

/// Sends a message with a bad link to `recipient` through the proxy, up to the final dot.
fn through_the_proxy(rig: &Rig, recipient: &str) -> (Peer, Peer) {
    let (mut client, mut next_hop) = (rig.client(), rig.next_hop());
    next_hop.greet(&[]);
    client.hello();
    for command in ["MAIL FROM:<a@x.test>".to_owned(), format!("RCPT TO:<{recipient}>")] {
        client.send(format!("{command}\r\n"));
        next_hop.expect(&command);
        next_hop.send("250 ok\r\n");
        client.expect("250 ok");
    }
    client.send("DATA\r\n");
    assert!(client.line().unwrap().starts_with("354"));
    client.send(format!("Subject: x\r\n\r\n{BAD}\r\n.\r\n"));
    (client, next_hop)
}

#[test]
fn a_revoked_link_is_refused_at_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("store.db")).unwrap();
    let site = Site::new("at_delivery = \"refuse\"");
    let (_settings, watched) = watch::channel(Arc::new(Site::new("").settings));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let metrics = Arc::new(Metrics::new());
    let sources = ServerSources {
        intel: Intel::start(watched.clone(), &metrics),
        follower: Arc::new(Follower::new(watched, Arc::clone(&metrics.contact))),
        revocations: Revocations::start(ledger.store().reader()).unwrap(),
        domains: Arc::new(NewDomains::new(ledger.store().clone())),
    };
    let message = mail(&[GOOD]);
    let judge = || site.judge_by(&sources, SENDER, &[READER], "m1", &message).action;
    assert!(!matches!(judge(), RewriteAction::Refuse(_)));
    revoke(&ledger, "*.shop.example");
    let end = Instant::now() + Duration::from_secs(10);
    while !matches!(judge(), RewriteAction::Refuse(_)) {
        assert!(Instant::now() < end, "{:?}", judge());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What `linkgate revoke` does.
fn revoke(ledger: &Ledger, what: &str) {
    let (scope, name) = revoked::parse(what).unwrap();
    let row = RevocationRow {
        scope,
        name,
        note: String::new(),
        made_at_us: 0,
    };
    ledger.store().revoke(row).wait().unwrap();
}

#[test]
fn the_client_hears_nothing_of_why_a_message_is_refused() {
    let rig = Rig::start(&Options {
        real_rewriter: true,
        ..Options::default()
    });
    let (mut client, _next_hop) = through_the_proxy(&rig, "b@refuses.test");
    let heard = client.line().unwrap();
    assert!(heard.starts_with("550 5.7.1 Message refused (id="), "{heard}");
    assert!(!heard.contains("evil") && !heard.contains("link"), "{heard}");
}

#[test]
fn the_line_for_filters_stands_below_the_trace_line() {
    let rig = Rig::start(&Options {
        real_rewriter: true,
        ..Options::default()
    });
    let (mut client, mut next_hop) = through_the_proxy(&rig, "b@tags.test");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    assert!(next_hop.line().unwrap().starts_with("X-Linkgate-Trace: "));
    next_hop.expect("X-Linkgate-Suspicious: yes; links=1");
    next_hop.expect("Subject: x");
    next_hop.expect("");
    assert!(
        next_hop
            .line()
            .unwrap()
            .starts_with("https://click.test/c/paypal.com.evil.example/")
    );
    next_hop.expect(".");
    next_hop.send("250 taken\r\n");
    client.expect("250 taken");
}

#[test]
fn the_command_line_does_what_the_server_does() {
    let home = Home::new();
    let message = mail(&[GOOD, BAD]);
    std::fs::write(home.path("in.eml"), &message).unwrap();
    let (came, report) = (home.path("in.eml"), home.path("report.jsonl"));
    let mut before = "rewrite = \"all\"".to_owned();
    for (word, goes_on, tagged, reason) in [
        ("wrap", true, false, "policy"),
        ("tag", true, true, "policy"),
        ("block-link", true, true, "blocked"),
        ("refuse", false, false, "policy"),
    ] {
        let keys = format!("at_delivery = \"{word}\"\ndelivery_score = 60");
        home.edit(&before, &keys);
        before = keys;
        let run = home.run(&[
            "rewrite",
            "--to",
            "me@on.test",
            "--report",
            report.to_str().unwrap(),
            came.to_str().unwrap(),
        ]);
        assert_eq!(code(&run), i32::from(!goes_on), "{word}");
        assert_eq!(out(&run).starts_with(TAG), tagged, "{word}");
        let line = &json_lines(&std::fs::read_to_string(&report).unwrap())[0];
        assert_eq!(line["links"][1]["reason"], reason, "{word}");
        assert_eq!(line["links"][1]["suspicion"]["score"], 80, "{word}");
        assert_eq!(line["links"][0].get("suspicion"), None, "{word}");
        assert_eq!(line.get("action").is_some(), !goes_on, "{word}");
    }
}
