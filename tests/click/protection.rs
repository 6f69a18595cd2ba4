//! Protection at the time of click as an operator runs it: `linkgate serve` with real lists, real targets, and what fails around it.

mod asked;
mod faults;
mod kill;
mod program;
mod verdicts;

use std::time::{Duration, Instant};

/// How long a test waits for what must happen, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A list that blocks `bad.example` and one that warns of `odd.example`.
const LISTS: &str = r#"
[[source]]
name = "bad"
type = "domains"
from = "DIR/bad.txt"
[[source]]
name = "odd"
type = "domains"
from = "DIR/odd.txt"
weight = "warn"
"#;

/// What stands in them.
const LISTED: [(&str, &str); 2] = [("bad.txt", "bad.example\n"), ("odd.txt", "odd.example\n")];

/// The fields of a browser, and an address that nothing is known of.
fn reader(n: usize) -> String {
    format!(
        "{}X-Forwarded-For: 203.0.{}.{}\r\n",
        crate::click::server::BROWSER,
        n / 250 % 250,
        n % 250
    )
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
