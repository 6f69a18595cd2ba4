//! Ratios of pairs that are measured in turn: what else the machine does falls on both.
//!
//! Time is processor time of the thread where the system tells (Linux), so that waiting for a busy machine does not count.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mail_parser::MessageParser;

use crate::Bench;

/// Rounds of each pair; the ratio is the median of theirs.
const ROUNDS: usize = 41;
/// How long a side is measured at least in each round: many times the few milliseconds by which the system's account of
/// processor time may lag.
const TURN: Duration = Duration::from_millis(40);

/// What a header parse by mail-parser makes of a message.
pub(crate) fn parse_header(message: &[u8]) -> usize {
    MessageParser::default()
        .parse_headers(black_box(message))
        .map_or(0, |m| m.headers().len())
}

/// Measures every pair and prints its ratio; `false` when one is over its bar.
pub(crate) fn all(bench: &Bench) -> bool {
    println!(
        "\n{:<46} {:>10} {:>10} {:>7} {:>15} {:>6}",
        "pair", "ours", "theirs", "ratio", "quartiles", "bar"
    );
    let mut good = true;
    let mut pair = |name: &str, bar: f64, ours: &mut dyn FnMut(), theirs: &mut dyn FnMut()| {
        let m = measure(ours, theirs);
        let over = if m.ratio > bar { "  OVER" } else { "" };
        good &= m.ratio <= bar;
        println!(
            "{name:<46} {:>10} {:>10} {:>7.2} {:>15} {bar:>6.1}{over}",
            time(m.ours),
            time(m.theirs),
            m.ratio,
            format!("{:.2} to {:.2}", m.low, m.high),
        );
    };
    pair(
        "newsletter, plan / lol_html's pass",
        6.0,
        &mut || used(bench.plan(&bench.newsletter.as_slice())),
        &mut || used(bench.lol_html()),
    );
    pair(
        "its HTML, links with / without proof",
        2.0,
        &mut || used(bench.links(true)),
        &mut || used(bench.links(false)),
    );
    pair(
        "5 KB text, plan / mail-parser's header",
        3.0,
        &mut || used(bench.plan(&bench.plain_5k.as_slice())),
        &mut || used(parse_header(&bench.plain_5k)),
    );
    pair(
        "10 MB attachment, plan and copy / copy",
        3.0,
        &mut || used(bench.planned_copy(&bench.attachment)),
        &mut || used(black_box(&bench.attachment).clone()),
    );
    pair(
        "10 MB attachment, spool and plan / spool",
        3.0,
        &mut || used(bench.spooled(&bench.attachment, true)),
        &mut || used(bench.spooled(&bench.attachment, false)),
    );
    good
}

/// Lets go of a result which must not be thought unneeded.
fn used<T>(result: T) {
    black_box(result);
}

struct Measured {
    /// Medians, in seconds.
    ours: f64,
    theirs: f64,
    ratio: f64,
    /// Quartiles of the ratio.
    low: f64,
    high: f64,
}

fn measure(ours: &mut dyn FnMut(), theirs: &mut dyn FnMut()) -> Measured {
    let (n, m) = (repeats(ours), repeats(theirs));
    let mut rounds: Vec<(f64, f64)> = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        // Who goes first changes, so that neither always finds the caches as the other left them.
        rounds.push(if round % 2 == 0 {
            let a = each(ours, n);
            (a, each(theirs, m))
        } else {
            let b = each(theirs, m);
            (each(ours, n), b)
        });
    }
    let ratios = sorted(rounds.iter().map(|(a, b)| a / b));
    Measured {
        ours: middle(&sorted(rounds.iter().map(|r| r.0))),
        theirs: middle(&sorted(rounds.iter().map(|r| r.1))),
        ratio: middle(&ratios),
        low: ratios[ROUNDS / 4],
        high: ratios[ROUNDS * 3 / 4],
    }
}

/// How often a side runs in its turn.
fn repeats(f: &mut dyn FnMut()) -> u32 {
    let mut n = 1;
    loop {
        let took = each(f, n) * f64::from(n);
        if took >= TURN.as_secs_f64() || n > 1 << 20 {
            return n;
        }
        n *= 2;
    }
}

/// Seconds for one call, measured over `n`.
fn each(f: &mut dyn FnMut(), n: u32) -> f64 {
    let (from, on_processor) = (Instant::now(), processor_time());
    for _ in 0..n {
        f();
    }
    let took = match (on_processor, processor_time()) {
        (Some(a), Some(b)) if b > a => b - a,
        _ => from.elapsed(),
    };
    took.as_secs_f64() / f64::from(n)
}

/// What this thread has used so far: the first number of its schedstat, in nanoseconds.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let used = stat.split(' ').next()?.parse().ok()?;
    (used > 0).then(|| Duration::from_nanos(used))
}

fn sorted(of: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = of.collect();
    all.sort_by(f64::total_cmp);
    all
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn time(seconds: f64) -> String {
    if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.2} us", seconds * 1e6)
    }
}
