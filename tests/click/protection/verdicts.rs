//! What lists in files, and a word of the operator, make of a click: page, row, reason.

use link::Verdict;
use store::Outcome;

use super::program::Program;
use super::{eventually, reader};

const URLS: &str = "https://shop.example/bad/page\n";
const WARN: &str = "host.example\n.odd.example\n";
const REGEX: &str = "^https?://[^/]+/wp-content/.*\\.php$\n";
const ADBLOCK: &str = "! ours\n||ads.example^\n@@||fine.ads.example^\n";
const ZONE: &str = "$TTL 60\n@ SOA localhost. root.localhost. 1 60 60 60 60\n  NS localhost.\n\
    zone.example CNAME .\n*.zone.example CNAME .\nfine.zone.example CNAME rpz-passthru.\n";

const CONFIG: &str = r#"
[domain."on.test"]
[[source]]
name = "urls"
type = "urls"
from = "DIR/urls.txt"
category = "malware"
[[source]]
name = "odd"
type = "domains"
from = "DIR/odd.txt"
weight = "warn"
[[source]]
name = "patterns"
type = "regex"
from = "DIR/regex.txt"
category = "phishing"
[[source]]
name = "ads"
type = "adblock"
from = "DIR/ads.txt"
[[source]]
name = "zone"
type = "rpz"
from = "DIR/zone.txt"
"#;

/// A click: the URL; then the status, what the row says, and which list for which reason.
type Case = (
    &'static str,
    u16,
    Outcome,
    Verdict,
    &'static [(&'static str, &'static str)],
);

const CASES: [Case; 17] = [
    (
        "https://shop.example/bad/page",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("urls", "malware")],
    ),
    (
        "http://SHOP.example:80/bad/../bad/page#x",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("urls", "malware")],
    ),
    // The same page with another query is not what is listed.
    (
        "https://shop.example/bad/page?x=1",
        200,
        Outcome::Warned,
        Verdict::Warn,
        &[("urls", "malware")],
    ),
    (
        "https://shop.example/bad",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    (
        "https://odd.example/",
        200,
        Outcome::Warned,
        Verdict::Warn,
        &[("odd", "unspecified")],
    ),
    (
        "https://www.odd.example/x",
        200,
        Outcome::Warned,
        Verdict::Warn,
        &[("odd", "unspecified")],
    ),
    (
        "https://host.example/",
        200,
        Outcome::Warned,
        Verdict::Warn,
        &[("odd", "unspecified")],
    ),
    // Without a dot in front, an entry is about one host.
    (
        "https://www.host.example/",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    (
        "https://odd.example.org/",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    (
        "https://blog.example/wp-content/a/b.php",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("patterns", "phishing")],
    ),
    (
        "https://blog.example/wp-content/a/b.html",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    (
        "https://x.ads.example/",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("ads", "unspecified")],
    ),
    (
        "https://fine.ads.example/",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    (
        "https://a.zone.example/",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("zone", "unspecified")],
    ),
    (
        "https://fine.zone.example/",
        302,
        Outcome::Redirected,
        Verdict::Allow,
        &[],
    ),
    // Two lists at once: the gravest counts, and both are told.
    (
        "https://odd.example/wp-content/x.php",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("odd", "unspecified"), ("patterns", "phishing")],
    ),
    // Inside another vendor's wrapper that can be read: what is inside is looked up.
    (
        "https://www.google.com/url?q=https%3A%2F%2Fshop.example%2Fbad%2Fpage&sa=D",
        403,
        Outcome::Blocked,
        Verdict::Block,
        &[("urls", "malware")],
    ),
];

#[test]
fn lists_in_files_decide_what_a_reader_gets_and_the_row_says_which() {
    let files = [
        ("urls.txt", URLS),
        ("odd.txt", WARN),
        ("regex.txt", REGEX),
        ("ads.txt", ADBLOCK),
        ("zone.txt", ZONE),
    ];
    let program = Program::start(CONFIG, &files);
    let get = |n, url: &str| program.ask("GET", &program.path("on.test", url), &reader(n));
    // All lists are in force when nothing could not be asked any more.
    eventually("the lists", || {
        get(200, "https://warm.example/");
        program.row().verdict == Some(Verdict::Allow)
    });
    for (n, (url, status, outcome, verdict, reasons)) in CASES.into_iter().enumerate() {
        let answer = get(n, url);
        let row = program.row();
        assert_eq!(answer.status, status, "{url}: {:?}", row.reasons);
        assert_eq!(
            (row.outcome, row.verdict),
            (outcome, Some(verdict)),
            "{url}: {:?}",
            row.reasons
        );
        let mut told: Vec<_> = row.reasons.iter().map(|r| (&*r.source, &*r.code)).collect();
        told.retain(|(source, _)| *source != "signs" && *source != "score");
        told.sort_unstable();
        assert_eq!(told, reasons, "{url}");
        let goes_on = answer.form("continue").is_some();
        assert_eq!(goes_on, verdict == Verdict::Warn, "{url}");
        let location = answer.field("location").is_some();
        assert_eq!(location, outcome == Outcome::Redirected, "{url}");
        if status == 403 {
            assert!(!answer.body.contains("href=\"https://shop.example"), "{url}: a way on");
        }
    }
}

#[test]
fn what_another_process_revokes_is_blocked_for_readers_and_opened_again() {
    let program = Program::start("[domain.\"on.test\"]\nbypass_urls = [\"shop.example\"]\n", &[]);
    let path = program.path("on.test", "https://shop.example/invoice");
    let status = |n| program.ask("GET", &path, &reader(n)).status;
    assert_eq!(status(1), 302);
    assert_eq!(&*program.row().reasons[0].code, "bypassed");
    let revoke = |args: &[&str]| {
        let output = program.run(args);
        assert!(output.status.success(), "{output:?}");
    };
    revoke(&["revoke", "*.shop.example", "--note", "ticket 4711"]);
    eventually("the target to be blocked", || status(2) == 403);
    let row = program.row();
    assert_eq!((row.outcome, row.verdict), (Outcome::Blocked, Some(Verdict::Block)));
    let told: Vec<_> = row.reasons.iter().map(|r| (&*r.source, &*r.code)).collect();
    assert!(told.contains(&("revoked", "revoked")), "{told:?}");
    revoke(&["revoke", "--undo", "*.shop.example"]);
    eventually("the target to be open", || status(3) == 302);
}
