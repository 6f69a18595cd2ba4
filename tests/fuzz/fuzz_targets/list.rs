//! Lists in every format: a list reads the same in pieces of any size, its counts hold together, and what it lists is
//! found again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::{Category, Weight};
use lists::{Canonical, Format, HashKey, ListCopy, ListTable, Protected, Reading, accept};

fn read(format: Format, text: &[u8], size: usize, key: &HashKey) -> ListCopy {
    let mut protected = Protected::default();
    protected.add_domain("own.example");
    let mut reading = Reading::new(format, Category::Malware, Weight::Block, key, &protected).min_score(1.0);
    for piece in text.chunks(size) {
        reading.push(piece);
    }
    reading.finish()
}

fuzz_target!(|data: &[u8]| {
    let [format, size, text @ ..] = data else { return };
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    let key = HashKey::new([5; 16]);
    let copy = read(format, text, text.len().max(1), &key);
    let pieces = read(format, text, usize::from(*size).max(1), &key);
    assert_eq!((copy.len(), copy.report()), (pieces.len(), pieces.report()));
    let report = copy.report();
    assert!(report.faults.len() <= 5 && report.faults.len() as u64 <= report.bad);
    let _ = accept(Some(copy.len()), &copy);

    let table = ListTable::build(&key, 1, &[(7, &copy)]);
    assert_eq!(table.len(), copy.len());
    assert_eq!(table.rebuild(2, Some, &[(8, &copy)]).len(), 2 * copy.len());
    if let Format::Urls = format {
        // Without exceptions, what stands alone on the first line is found.
        let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
        let url = std::str::from_utf8(line).ok().and_then(|l| url::Url::parse(l.trim()).ok());
        let plain = line.starts_with(b"http://") || line.starts_with(b"https://");
        if let (Some(url), true, false) = (url, plain, line.contains(&b'[') || line.contains(&b'(')) {
            let url = Canonical::of(url.as_str().as_bytes()).expect("a URL of the standard");
            assert!(!table.find(&url).is_empty(), "{url}");
        }
    }
    for line in text.split(|b| *b == b'\n').take(8) {
        if let Ok(url) = Canonical::of(line) {
            for hit in table.find(&url) {
                assert_eq!(hit.source, 7);
            }
        }
    }
});
