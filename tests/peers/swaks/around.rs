//! What goes around a dialog: TLS, and the two ways of saying for whom a peer speaks, XCLIENT and the PROXY protocol.

use std::process::Command;

use super::{BODY, Bench, SMTP};
use crate::peers::place::Place;

#[test]
fn swaks_hands_mail_over_by_tls() {
    let certificate = |place: &Place| {
        let (certificate, key) = (place.path("certificate.pem"), place.path("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args([
                "-subj",
                "/CN=us.test",
                "-addext",
                &format!("subjectAltName=IP:{}", place.address),
            ])
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key)
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!(
            "tls_certificate = \"{}\"\ntls_key = \"{}\"",
            certificate.display(),
            key.display()
        )
    };
    for (mode, option, steps) in [
        ("starttls", "--tls", &["FIRST-HELO", "TLS", "HELO", "MAIL", "DATA"][..]),
        (
            "implicit",
            "--tls-on-connect",
            &["CONNECT", "TLS", "HELO", "MAIL", "DATA"],
        ),
    ] {
        let start =
            |place: &Place, config: String| with_keys(&config, &format!("tls = \"{mode}\"\n{}", certificate(place)));
        let Some(bench) = Bench::start_with(SMTP, start) else {
            return;
        };
        let (fine, dialog) = bench.swaks(&[option, "--to", "a@example.com", "--body", BODY]);
        assert!(fine && dialog.contains("TLS started with cipher"), "{mode}: {dialog}");
        assert_eq!(bench.next_hop.recipients(), ["a@example.com"], "{mode}: {dialog}");
        let idle = bench.idle();
        for step in steps {
            bench.swaks(&[option, "--drop-after", step, "--to", "b@example.com"]);
            bench.wait_until_idle(idle, step);
        }
        assert_eq!(bench.next_hop.recipients(), ["a@example.com"], "{mode}");
        // In plain text, where that is allowed.
        let (fine, dialog) = bench.swaks(&["--to", "c@example.com", "--timeout", "3"]);
        assert_eq!(fine, mode == "starttls", "{mode}: {dialog}");
    }
}

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

#[test]
fn swaks_speaks_the_proxy_protocol_as_a_load_balancer_does() {
    let behind = |_: &Place, config: String| with_keys(&config, "proxy_from = [\"127.0.0.0/8\"]");
    let Some(bench) = Bench::start_with(SMTP, behind) else {
        return;
    };
    let addresses = "--proxy-source 192.0.2.9 --proxy-source-port 4321 --proxy-dest 192.0.2.1 --proxy-dest-port 25";
    let first = "--proxy-version 1 --proxy-family TCP4";
    let second = "--proxy-version 2 --proxy-family AF_INET --proxy-protocol STREAM --proxy-command PROXY";
    for (version, to) in [(first, "a@example.com"), (second, "b@example.com")] {
        let header: Vec<&str> = version.split(' ').chain(addresses.split(' ')).collect();
        let (fine, dialog) = bench.swaks(&[&header[..], &["--to", to, "--body", BODY]].concat());
        assert!(fine, "{dialog}");
        assert!(bench.next_hop.recipients().contains(&to.to_owned()), "{dialog}");
        let line = bench.linkgate.log();
        let line = line
            .lines()
            .find(|line| line.contains(&format!("to={to}")))
            .expect("a line");
        assert!(line.contains("client=192.0.2.9:4321"), "{line}");
        let idle = bench.idle();
        for step in ["PROXY", "CONNECT", "HELO", "DATA"] {
            bench.swaks(&[&header[..], &["--drop-after", step, "--to", "c@example.com"]].concat());
            bench.wait_until_idle(idle, step);
        }
    }
    assert_eq!(bench.next_hop.recipients(), ["a@example.com", "b@example.com"]);
    // No header, no mail: whoever is named there must say so.
    let (fine, dialog) = bench.swaks(&["--to", "d@example.com", "--timeout", "15"]);
    assert!(!fine, "{dialog}");
    assert_eq!(bench.next_hop.recipients(), ["a@example.com", "b@example.com"]);
}

/// The configuration with more keys in the listener's section.
fn with_keys(config: &str, keys: &str) -> String {
    assert!(config.contains("\n[limits]"), "{config}");
    config.replace("\n[limits]", &format!("\n{keys}\n[limits]"))
}
