//! Differential fuzzing of the HTML finder: documents made from numbers are rewritten, and a browser's parser looks at what
//! came out.
//!
//! `cargo run --release --example differential -- [--seed N] [--count N] [--threads N]` prints counts, and every document
//! that breaks a law, cut down. Exit code 1 when there was one.

mod documents;
mod laws;
mod oracle;
mod wrapper;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many failing documents are printed of each kind; the rest is only counted.
const PRINTED: usize = 12;

#[derive(Debug, Default)]
struct Totals {
    documents: u64,
    with_targets: u64,
    targets: u64,
    rebuilt: u64,
    flattened: u64,
    broken: BTreeMap<&'static str, Vec<(u64, String)>>,
}

fn main() -> ExitCode {
    let (mut seed, mut count, mut threads) = (1, 100_000, 1);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|v| v.replace('_', "").parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(n)) => seed = n,
            ("--count", Some(n)) => count = n,
            ("--threads", Some(n)) => threads = n.clamp(1, 64),
            _ => {
                eprintln!("usage: differential [--seed N] [--count N] [--threads N]");
                return ExitCode::from(64);
            }
        }
    }
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mine = run(seed, count, &next);
                if let Ok(mut all) = totals.lock() {
                    all.add(mine);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_default();
    totals.print(seed);
    ExitCode::from(u8::from(!totals.broken.is_empty()))
}

fn run(seed: u64, count: u64, next: &AtomicU64) -> Totals {
    let mut mine = Totals::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return mine;
        }
        let number = seed.wrapping_mul(1_000_000_007).wrapping_add(number);
        let document = documents::document(number);
        let disarms = number.is_multiple_of(2);
        mine.documents += 1;
        match laws::check(&document, disarms, number % 4 < 2) {
            Ok(went) => {
                mine.targets += went.targets as u64;
                mine.with_targets += u64::from(went.targets > 0);
                mine.rebuilt += u64::from(went.rebuilt);
                mine.flattened += u64::from(went.flattened);
            }
            Err(broken) => {
                let kind = match &broken {
                    laws::Broken::Escape(..) => "escape",
                    laws::Broken::Blind(..) => "blind",
                    laws::Broken::Text(..) => "text",
                    laws::Broken::Again => "again",
                    laws::Broken::Restore => "restore",
                };
                let list = mine.broken.entry(kind).or_default();
                let shown = if list.len() < PRINTED {
                    laws::minimise(&document, disarms, &broken)
                } else {
                    String::new()
                };
                list.push((number, shown));
            }
        }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.with_targets += other.with_targets;
        self.targets += other.targets;
        self.rebuilt += other.rebuilt;
        self.flattened += other.flattened;
        for (kind, list) in other.broken {
            self.broken.entry(kind).or_default().extend(list);
        }
    }

    fn print(&self, seed: u64) {
        println!(
            "seed {seed}: {} documents, {} with targets, {} targets, {} rebuilt, {} flattened",
            self.documents, self.with_targets, self.targets, self.rebuilt, self.flattened
        );
        for (kind, list) in &self.broken {
            println!("{kind}: {} documents", list.len());
            for (number, document) in list.iter().filter(|(_, d)| !d.is_empty()).take(PRINTED) {
                println!("  {number}: {document:?}");
            }
        }
    }
}
