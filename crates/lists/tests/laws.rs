//! Laws of reading lists, whatever stands in them.

use link::{Category, Weight};
use lists::{Canonical, Format, HashKey, ListCopy, ListTable, Protected, Reading, accept};
use proptest::prelude::*;

fn read(format: Format, text: &[u8], size: usize) -> ListCopy {
    let protected = Protected::default();
    let key = HashKey::new([5; 16]);
    let mut reading = Reading::new(format, Category::Malware, Weight::Block, &key, &protected).min_score(1.0);
    for piece in text.chunks(size) {
        reading.push(piece);
    }
    reading.finish()
}

/// Texts made of what formats are made of.
fn text() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "\n",
        "\n",
        "\r\n",
        " ",
        "\t",
        ",",
        ";",
        "#",
        "\"",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ":",
        "|",
        "||",
        "^",
        "@@",
        "$",
        "!",
        "/",
        "*",
        "*.",
        ".",
        "@",
        "evil",
        ".example",
        "evil.example",
        "github.io",
        "com",
        "1.2.3.4",
        "::1",
        "0.0.0.0",
        "http://",
        "https://evil.example/a?b",
        "hxxp://evil[.]example",
        "url",
        "\"url\":\"http://evil.example/\"",
        "score",
        "threat",
        "malware",
        "CNAME",
        " CNAME .",
        " CNAME rpz-passthru.",
        "SOA",
        "$ORIGIN",
        "IN",
        "\"type\":\"domain\"",
        "\"value\":\"evil.example\"",
        "\"to_ids\":true",
        "true",
        "null",
        "document",
        "##",
        "\u{feff}",
        "\u{fc}",
        "%00",
        "\\",
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(PIECES).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_of_any_size_read_the_same(
        format in prop::sample::select(&Format::ALL[..]),
        text in text(),
        size in 1_usize..40,
    ) {
        let whole = read(format, &text, text.len().max(1));
        let pieces = read(format, &text, size);
        prop_assert_eq!((whole.len(), whole.report()), (pieces.len(), pieces.report()));
        let report = whole.report();
        prop_assert!(u64::try_from(report.faults.len()).unwrap() <= report.bad);
        prop_assert!(report.bad == 0 || report.lines > 0);
        let _ = accept(Some(whole.len()), &whole);
    }

    #[test]
    fn whatever_is_listed_is_found(host in "[a-z0-9-]{1,12}\\.(example|co\\.uk|xn--p1ai)", rest in "(/[ !-'*-Z^-~\u{e4}]{0,12}){0,3}") {
        let line = format!("https://{host}{rest}");
        let copy = read(Format::Urls, format!("{line}\n").as_bytes(), 7);
        let url = url::Url::parse(&line);
        prop_assert_eq!(copy.len(), usize::from(url.is_ok()), "{}", line);
        if let Ok(url) = url {
            let table = ListTable::build(&HashKey::new([5; 16]), 1, &[(3, &copy)]);
            let url = Canonical::of(url.as_str().as_bytes()).unwrap();
            let found = table.find(&url);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!((found[0].source, found[0].expression), (3, url.expression()));
        }
    }
}
