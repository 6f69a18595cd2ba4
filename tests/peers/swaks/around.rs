//! What goes around a dialog: XCLIENT, by which a peer says for whom it speaks.

use super::{BODY, Bench, SMTP};
use crate::peers::place::Place;

#[test]
fn swaks_says_by_xclient_for_whom_it_speaks() {
    let trusting = |_: &Place, config: String| with_keys(&config, "xclient_from = [\"127.0.0.0/8\"]");
    let Some(bench) = Bench::start_with(SMTP, trusting) else {
        return;
    };
    let speaks_for = ["--xclient-addr", "192.0.2.7", "--xclient-helo", "far.test"];
    let (fine, dialog) = bench.swaks(&[&speaks_for[..], &["--to", "a@example.com", "--body", BODY]].concat());
    assert!(fine, "{dialog}");
    assert_eq!(bench.next_hop.recipients(), ["a@example.com"], "{dialog}");
    assert!(
        bench.linkgate.log().contains("client=192.0.2.7"),
        "{}",
        bench.linkgate.log()
    );
    let idle = bench.idle();
    for step in ["FIRST-HELO", "XCLIENT", "HELO", "MAIL"] {
        bench.swaks(&[&speaks_for[..], &["--drop-after", step, "--to", "b@example.com"]].concat());
        bench.wait_until_idle(idle, step);
    }
    assert_eq!(bench.next_hop.recipients(), ["a@example.com"]);

    // Without leave it is not offered.
    let Some(bench) = Bench::start(SMTP) else { return };
    let (fine, dialog) = bench.swaks(&[&speaks_for[..], &["--to", "a@example.com"]].concat());
    assert!(!fine && !dialog.contains("XCLIENT ADDR"), "{dialog}");
    assert!(bench.next_hop.recipients().is_empty());
}

/// The configuration with more keys in the listener's section.
fn with_keys(config: &str, keys: &str) -> String {
    assert!(config.contains("\n[limits]"), "{config}");
    config.replace("\n[limits]", &format!("\n{keys}\n[limits]"))
}
