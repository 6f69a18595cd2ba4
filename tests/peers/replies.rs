//! Every class of reply at every step, from a scripted next hop through linkgate to a real Postfix: what becomes of each
//! recipient, and that the next hop's own words arrive.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::chain::{Recipe, before};
use super::place::{Linkgate, Place, eventually};
use super::postfix::Postfix;
use super::scripted::{Scripted, TEXT};
use super::session::Session;
use super::{newsletter, odd_but_without_links};

const PUBLIC_PORT: u16 = 2525;
const NEXT_HOP_PORT: u16 = 10026;

/// Postfix takes mail, linkgate hands it on to a scripted next hop.
struct Line {
    edge: Postfix,
    next_hop: Scripted,
    _linkgate: Linkgate,
    // Last, so that it goes when all processes are gone.
    place: Place,
}

impl Line {
    /// With `extra` at the end of main.cf, where the last setting of a name counts.
    fn start(recipe: Recipe, extra: &str) -> Option<Self> {
        let place = recipe.place()?;
        let (main, master) = before(&place, recipe);
        let next_hop = Scripted::listen(place.at(NEXT_HOP_PORT));
        let linkgate = Linkgate::start(&place, &place.recipe_file("linkgate.toml"));
        let edge = Postfix::start(
            &place.path("edge"),
            "edge.example.org",
            &format!(
                "relay_domains = example.com\nrelayhost = [{}]:1\n{main}{extra}",
                place.address
            ),
            &master,
        );
        place.wait_for(PUBLIC_PORT);
        Some(Self {
            edge,
            next_hop,
            place,
            _linkgate: linkgate,
        })
    }

    fn client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(PUBLIC_PORT))
    }

    /// Sends one message to all of `recipients` and waits until Postfix has logged what became of each: its status and
    /// the words in brackets. Bounces are not sent: the sender is the null sender.
    fn outcomes(&self, recipients: &[String]) -> BTreeMap<String, (String, String)> {
        let to: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let reply = self.client().send("", &to, &newsletter());
        assert!(reply.starts_with("250 "), "{reply}");
        let pattern = regex::Regex::new(r"to=<([^>]+)>,.* status=(\w+) (\(.*\))").expect("a pattern");
        eventually(&format!("an outcome for each of {recipients:?}"), || {
            let log = self.edge.log();
            let found: BTreeMap<_, _> = pattern
                .captures_iter(&log)
                .map(|c| (c[1].to_owned(), (c[2].to_owned(), c[3].to_owned())))
                .filter(|(recipient, _)| recipients.contains(recipient))
                .collect();
            (found.len() == recipients.len()).then_some(found)
        })
    }
}

/// What Postfix makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    Deferred,
    Bounced,
}
use Fate::{Bounced, Deferred, Sent};

impl Fate {
    fn status(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
        }
    }
}

/// A message whose second recipient asks for a reply: the fate of that recipient, and of one before and one behind it.
struct Case {
    asks: &'static str,
    first: Fate,
    asking: Fate,
    last: Fate,
}

const fn case(asks: &'static str, first: Fate, asking: Fate, last: Fate) -> Case {
    Case {
        asks,
        first,
        asking,
        last,
    }
}

/// Checks each case, and that exactly the recipients that were sent are taken, once.
fn check(line: &Line, cases: &[Case]) {
    for case in cases {
        let address = |name: &str| format!("{}-{name}@example.com", case.asks);
        let first = format!("first-{}@example.com", case.asks);
        let last = format!("last-{}@example.com", case.asks);
        let asking = address("x");
        let recipients = [first, asking.clone(), last];
        let outcomes = line.outcomes(&recipients);
        let mut sent = Vec::new();
        for (recipient, fate) in recipients.iter().zip([case.first, case.asking, case.last]) {
            let (status, words) = &outcomes[recipient];
            assert_eq!(status, fate.status(), "{}: {recipient}: {words}", case.asks);
            if fate == Sent {
                sent.push(recipient.clone());
            }
        }
        // The reply's own words and code, unless the connection was lost before there was one.
        let (_, words) = &outcomes[&asking];
        let code = case.asks.split('-').nth(1).expect("a code");
        if code == "lost" {
            assert!(words.contains(" 451 4.4.2 "), "{}: {words}", case.asks);
        } else {
            assert!(words.contains(TEXT) && words.contains(code), "{}: {words}", case.asks);
        }
        let mut taken: Vec<String> = line.next_hop.recipients();
        taken.retain(|recipient| recipients.contains(recipient));
        taken.sort();
        sent.sort();
        assert_eq!(taken, sent, "{}", case.asks);
    }
}

/// One case must not count against the next: Postfix would stop trying after the first lost session.
const PATIENT: &str = "linkgate_destination_concurrency_failed_cohort_limit = 0\n";

#[test]
fn after_queue_replies_of_the_next_hop_decide_over_each_recipient() {
    let Some(line) = Line::start(Recipe::AfterQueue, PATIENT) else {
        return;
    };
    // A transaction for each recipient: whatever one hears, the others are sent.
    check(
        &line,
        &[
            case("rcpt-452", Sent, Deferred, Sent),
            case("rcpt-552", Sent, Bounced, Sent),
            case("rcpt-421", Sent, Deferred, Sent),
            case("data-452", Sent, Deferred, Sent),
            case("dot-552", Sent, Bounced, Sent),
            case("dot-554", Sent, Bounced, Sent),
            case("dot-421", Sent, Deferred, Sent),
            case("dot-lost", Sent, Deferred, Sent),
        ],
    );
}

#[test]
fn after_queue_replies_of_the_next_hop_decide_over_a_shared_transaction() {
    let shared = format!("{PATIENT}linkgate_destination_recipient_limit = 50\n");
    let Some(line) = Line::start(Recipe::AfterQueue, &shared) else {
        return;
    };
    check(
        &line,
        &[
            case("rcpt-452", Sent, Deferred, Sent),
            case("rcpt-552", Sent, Bounced, Sent),
            case("rcpt-421", Deferred, Deferred, Deferred),
            case("data-452", Deferred, Deferred, Deferred),
            case("dot-552", Bounced, Bounced, Bounced),
            case("dot-554", Bounced, Bounced, Bounced),
            case("dot-421", Deferred, Deferred, Deferred),
            case("dot-lost", Deferred, Deferred, Deferred),
        ],
    );
}

#[test]
fn lmtp_replies_of_the_next_hop_decide_over_each_recipient_of_a_shared_transaction() {
    let virtual_domain =
        "relay_domains =\nvirtual_mailbox_domains = example.com\nvirtual_mailbox_maps = static:known\n";
    let Some(line) = Line::start(Recipe::Lmtp, &format!("{PATIENT}{virtual_domain}")) else {
        return;
    };
    check(
        &line,
        &[
            case("rcpt-452", Sent, Deferred, Sent),
            case("rcpt-552", Sent, Bounced, Sent),
            case("rcpt-421", Deferred, Deferred, Deferred),
            case("data-452", Sent, Deferred, Sent),
            case("dot-452", Sent, Deferred, Sent),
            case("dot-552", Sent, Bounced, Sent),
            case("dot-554", Sent, Bounced, Sent),
            case("dot-421", Sent, Deferred, Sent),
            case("dot-lost", Sent, Deferred, Sent),
        ],
    );
    // Mixed replies: each recipient's own, in the order in which they were named.
    let recipients = ["dot-452-m", "m1", "dot-554-m", "m2", "rcpt-550-m"].map(|name| format!("{name}@example.com"));
    let outcomes = line.outcomes(&recipients);
    let statuses = recipients.each_ref().map(|recipient| outcomes[recipient].0.as_str());
    assert_eq!(statuses, ["deferred", "sent", "bounced", "sent", "bounced"]);
}

#[test]
fn before_queue_replies_of_the_next_hop_reach_the_sender() {
    let Some(line) = Line::start(Recipe::BeforeQueue, "") else {
        return;
    };
    for (asks, at_rcpt, at_data, at_dot) in [
        ("rcpt-452", "452 4.3.0", "354 ", "250 2.0.0 taken"),
        ("rcpt-552", "552 5.3.0", "354 ", "250 2.0.0 taken"),
        ("rcpt-421", "421 4.3.0", "", ""),
        ("data-452", "250 ", "354 ", "452 4.3.0"),
        ("dot-552", "250 ", "354 ", "552 5.3.0"),
        ("dot-554", "250 ", "354 ", "554 5.3.0"),
        ("dot-421", "250 ", "354 ", "421 4.3.0"),
        ("dot-lost", "250 ", "354 ", "451 4.4.2"),
    ] {
        let first = format!("first-{asks}@example.com");
        let mut client = line.client();
        client.envelope("MAIL FROM:<>", [format!("RCPT TO:<{first}>")]);
        let own_words = |reply: &str| reply.starts_with(['2', '3']) || reply.contains(TEXT) || asks == "dot-lost";
        let reply = client.command(&format!("RCPT TO:<{asks}-x@example.com>"));
        assert!(reply.starts_with(at_rcpt) && own_words(&reply), "{asks}: {reply}");
        if at_data.is_empty() {
            continue;
        }
        let reply = client.data(&odd_but_without_links());
        assert!(reply.starts_with(at_dot) && own_words(&reply), "{asks}: {reply}");
        let taken = line.next_hop.recipients();
        let is_taken = |recipient: &str| taken.iter().any(|taken| taken == recipient);
        assert_eq!(is_taken(&first), at_dot.starts_with('2'), "{asks}");
        assert!(!is_taken(&format!("{asks}-x@example.com")), "{asks}");
    }
}
