//! The costliest inputs: CPU time and peak memory of each, worst first.
//!
//! `cargo run --release --example pathological`; each input is worked on in a process of its own.

mod cases;
#[path = "../differential/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../differential/wrapper.rs"]
#[allow(dead_code)]
mod wrapper;

use std::process::Command;

use cases::CASES;

fn main() -> std::io::Result<()> {
    if let Some(number) = std::env::args().nth(1).and_then(|n| n.parse::<usize>().ok()) {
        one(number);
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let mut rows = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let out = Command::new(&program).arg(number.to_string()).output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut words = text.split_whitespace().map(|w| w.parse::<f64>().unwrap_or(f64::NAN));
        let row = (words.next(), words.next(), words.next());
        let (Some(ms), Some(mib), Some(len)) = row else {
            println!("{}: failed ({})", case.name, out.status);
            continue;
        };
        rows.push((ms, mib, len, case.name));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{:>9}  {:>9}  {:>9}  input of 1 MiB", "CPU time", "peak", "result");
    for (ms, mib, len, name) in rows {
        println!(
            "{ms:6.1} ms  {mib:5.1} MiB  {:5.1} MiB  {name}",
            len / f64::from(1 << 20)
        );
    }
    Ok(())
}

fn one(number: usize) {
    let case = CASES[number];
    let input = case.input();
    let before = kib("VmRSS:");
    let start = on_cpu_ns();
    let len = case.run(&input);
    let ms = (on_cpu_ns() - start) / 1e6;
    println!("{ms} {} {len}", kib("VmHWM:").saturating_sub(before) as f64 / 1024.0);
}

/// Nanoseconds that this process was running, whatever else the machine did; Linux only.
fn on_cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|w| w.parse().ok())
        .unwrap_or(0.0)
}

/// A figure of this process's memory, in KiB; Linux only.
fn kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}
