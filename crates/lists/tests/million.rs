//! The cost of a million URLs.

use std::hint::black_box;
use std::time::Instant;

use link::{Category, Weight};
use lists::{Canonical, Format, HashKey, ListTable, Protected, Reading};

const MILLION: usize = 1_000_000;
const MIB: usize = 1 << 20;

/// A URL of the list, as feeds have them: many hosts, some with several URLs.
fn listed(i: usize) -> String {
    let host = i / 3;
    format!("https://host{host}.bad{}.example/login/step{i}.php?id={i}", host % 1000)
}

/// All that a million URLs take up: the table in use and, while the list is renewed, its new copy and the next table. Time
/// is printed only: what a debug build takes says little. `cargo bench -p linkgate-lists` measures it.
#[test]
fn a_million_urls_fit_into_64_mib() {
    let key = HashKey::new([3; 16]);
    let protected = Protected::default();
    let mut reading = Reading::new(Format::Urls, Category::Phishing, Weight::Block, &key, &protected);
    let began = Instant::now();
    for i in 0..MILLION {
        reading.push(listed(i).as_bytes());
        reading.push(b"\n");
    }
    let copy = reading.finish();
    let read = began.elapsed();
    assert_eq!((copy.len(), copy.report().bad), (MILLION, 0));

    let began = Instant::now();
    let table = ListTable::build(&key, 1, &[(0, &copy)]);
    let built = began.elapsed();
    let next = table.rebuild(2, |_| None, &[(0, &copy)]);
    assert_eq!(next.len(), MILLION);
    let all = table.memory() + copy.memory() + next.memory();
    println!(
        "table {} MiB, with the next one and its copy {} MiB; read in {read:?}, built in {built:?}",
        table.memory() / MIB,
        all / MIB
    );
    assert!(table.memory() <= 32 * MIB, "{}", table.memory());
    assert!(all <= 64 * MIB, "{all}");

    for i in (0..MILLION).step_by(997) {
        let url = Canonical::of(listed(i).as_bytes()).expect("a URL");
        assert_eq!(table.find(&url).len(), 1, "{url}");
        let other = Canonical::of(format!("https://fine{i}.example/login/").as_bytes()).expect("a URL");
        assert!(table.find(&other).is_empty(), "{other}");
    }
    let urls: Vec<Canonical> = (0..10_000)
        .map(|i| Canonical::of(listed(i * 97 % MILLION).as_bytes()).expect("a URL"))
        .collect();
    let began = Instant::now();
    for url in &urls {
        black_box(table.find(url));
    }
    println!("{} ns for a hit, in a debug build", began.elapsed().as_nanos() / 10_000);
}
