//! What hostile inputs may cost.

#[path = "../examples/pathological/cases.rs"]
mod cases;
#[path = "../examples/differential/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../examples/differential/wrapper.rs"]
#[allow(dead_code)]
mod wrapper;

use std::time::{Duration, Instant};

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
