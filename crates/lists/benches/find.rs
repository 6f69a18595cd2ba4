//! The cost of a look-up in a table of a million URLs, for every expression of a URL, and of making the table.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use link::{Category, Weight};
use lists::{Canonical, Format, HashKey, ListCopy, ListTable, Protected, Reading};

const MILLION: usize = 1_000_000;

fn listed(i: usize) -> String {
    let host = i / 3;
    format!("https://host{host}.bad{}.example/login/step{i}.php?id={i}", host % 1000)
}

fn copy(key: &HashKey, format: Format, lines: impl Iterator<Item = String>) -> ListCopy {
    let protected = Protected::default();
    let mut reading = Reading::new(format, Category::Phishing, Weight::Block, key, &protected);
    for line in lines {
        reading.push(line.as_bytes());
        reading.push(b"\n");
    }
    reading.finish()
}

/// URLs that are all different and far apart in the table, so that it does not lie in the processor's cache.
fn urls(make: impl Fn(usize) -> String) -> Vec<Canonical> {
    (0..200_000_usize)
        .map(|i| Canonical::of(make(i.wrapping_mul(7919) % MILLION).as_bytes()).expect("a URL"))
        .collect()
}

/// The processor time of this thread, as Linux counts it: what else the machine does is not in it.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds come first"))
}

fn find(c: &mut Criterion) {
    let key = HashKey::new([3; 16]);
    let list = copy(&key, Format::Urls, (0..MILLION).map(listed));
    let rules = copy(
        &key,
        Format::Adblock,
        (0..10_000).map(|i| format!("||tree{i}.example/dir^")),
    );
    let table = ListTable::build(&key, 1, &[(0, &list), (1, &rules)]);
    println!("{} entries in {} KiB", table.len(), table.memory() / 1024);

    let mut group = c.benchmark_group("find in a million");
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    let cases = [
        ("hit", urls(listed)),
        (
            "miss, host unknown",
            urls(|i| format!("https://www.shop{i}.example.com/a/b/c/d.html?x={i}")),
        ),
        (
            "miss, host listed",
            urls(|i| format!("https://host{}.bad{}.example/a/b/c/{i}?x=1", i / 3, i / 3 % 1000)),
        ),
        (
            "miss, ten labels",
            urls(|i| format!("https://a.b.c.d.e.f.g.h{i}.example.com/a/b/c/d/e/f?x={i}")),
        ),
    ];
    for (name, urls) in &cases {
        let began = processor_time();
        for url in urls.iter().cycle().take(MILLION) {
            black_box(table.find(url).len());
        }
        println!("{name}: {:?} of processor time for a million", processor_time() - began);
        let mut at = 0;
        group.bench_function(*name, |b| {
            b.iter(|| {
                at = (at + 1) % urls.len();
                black_box(table.find(&urls[at]).len())
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("make");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("table of a million", |b| {
        b.iter_batched(
            || (),
            |()| ListTable::build(&key, 1, &[(0, &list)]),
            BatchSize::PerIteration,
        );
    });
    let lines: Vec<String> = (0..10_000).map(listed).collect();
    group.bench_function("read 10000 URLs", |b| {
        b.iter(|| copy(&key, Format::Urls, lines.iter().cloned()).len());
    });
    let url = "https://www.shop.example.com/a/./b/../c%20d.html?x=%2541&y=1";
    group.bench_function("canonical form", |b| {
        b.iter(|| Canonical::of(black_box(url.as_bytes())))
    });
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
