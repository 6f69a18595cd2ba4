//! The cost of hostile inputs.

#[path = "../examples/pathological/cases.rs"]
mod cases;
#[path = "../examples/differential/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../examples/differential/wrapper.rs"]
#[allow(dead_code)]
mod wrapper;

use std::time::{Duration, Instant};

use message::{Options, Quirk, plan};

/// The aim is 150 ms in a release build on an idle machine; without optimisation, beside other tests, much less can be asked.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

#[test]
fn pathological_inputs_stay_bounded() {
    let mut slow = Vec::new();
    for case in cases::CASES {
        let input = case.input();
        let start = Instant::now();
        let len = case.run(&input);
        let took = start.elapsed();
        // Every link costs its length; nothing else may grow.
        if took > LIMIT || len > 12 << 20 {
            slow.push(format!("{}: {took:?}, {len} octets out", case.name));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// A message around a body of one media type.
fn mail(kind: &str, body: &str) -> String {
    format!("MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n{body}")
}

/// Messages of a size that nobody writes, and why they are refused if they are.
fn hostile_sizes() -> Vec<(&'static str, String, Option<Quirk>)> {
    const LINK: &str = "<a href=\"http://evil.example/x\">x</a>\r\n";
    let html = |body: &str| mail("text/html", body);
    let levels = |n: usize| {
        let open: String = (0..n)
            .map(|i| format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n"))
            .collect();
        let close: String = (0..n).rev().map(|i| format!("--b{i}--\r\n")).collect();
        format!("{open}Content-Type: text/html\r\n\r\n{LINK}{close}")
    };
    let within = "Content-Type: message/rfc822\r\n\r\n".repeat(60);
    let parts = |n: usize| {
        let part = format!("--b\r\nContent-Type: text/html\r\n\r\n{LINK}");
        mail("multipart/mixed; boundary=b", &(part.repeat(n) + "--b--\r\n"))
    };
    let long = "word ".repeat(10_000_000);
    vec![
        ("60 levels of parts", levels(60), None),
        ("300 levels of parts", levels(300), Some(Quirk::TooDeep)),
        ("60 messages in messages", within + &html(LINK), None),
        ("5,000 parts", parts(5_000), None),
        ("100,000 parts", parts(100_000), Some(Quirk::TooManyParts)),
        (
            "an attribute of 200 kB",
            html(&format!(
                "<a href=\"http://evil.example/{}\">x</a>",
                "x".repeat(200_000)
            )),
            None,
        ),
        (
            "a line of 50 MB of text",
            mail("text/plain", &format!("{long}http://evil.example/x")),
            None,
        ),
        ("a line of 50 MB of HTML", html(&format!("{long}{LINK}")), None),
        (
            "1 MB of unclosed comments",
            html(&("<!--\r\n".repeat(170_000) + LINK)),
            None,
        ),
        (
            "1 MB of unclosed comments with links",
            html(&format!("<!-- {LINK}").repeat(24_000)),
            None,
        ),
        (
            "70 MB of text",
            mail("text/plain", &("word\r\n".repeat(12_000_000) + "http://evil.example/x")),
            Some(Quirk::TextTooLarge),
        ),
        (
            "80,000 links in a megabyte of text",
            mail("text/plain", &"http://evil,\r\n".repeat(80_000)),
            Some(Quirk::TooManyLinks),
        ),
        (
            "a header of 2 MB",
            format!("X: {}\r\n{}", "y".repeat(2 << 20), html(LINK)),
            Some(Quirk::HeaderTooLarge),
        ),
    ]
}

#[test]
fn hostile_sizes_are_made_safe_or_refused() {
    for (name, mail, refused) in hostile_sizes() {
        let start = Instant::now();
        let mut judge = wrapper::Wrapper::new(false);
        let planned = plan(&mail.as_bytes(), &Options::default(), &mut judge).unwrap();
        assert_eq!(planned.refused, refused, "{name}");
        if refused.is_none() {
            let out = planned.patch.apply(mail.as_bytes());
            assert!(
                memchr::memmem::find(&out, b"http://evil").is_none(),
                "{name}: passed raw"
            );
        }
        let took = start.elapsed();
        assert!(took < LIMIT + LIMIT, "{name}: {took:?}");
    }
}
