//! Whole messages: a plan is made of anything, in bounded time, and its patch can be applied and taken back.
#![no_main]

#[path = "../../../crates/message/examples/differential/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../../../crates/message/examples/differential/wrapper.rs"]
#[allow(dead_code)]
mod wrapper;

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use message::{Ambiguous, Amp, MarkupFiles, Options, plan, plan_restore};

fuzz_target!(|data: &[u8]| {
    let Some((&how, mail)) = data.split_first() else { return };
    let options = Options {
        bare_domains: how & 1 == 0,
        ambiguous: [Ambiguous::Normalise, Ambiguous::Pass, Ambiguous::Refuse][usize::from(how / 2 % 3)],
        amp: if how & 8 == 0 { Amp::Rewrite } else { Amp::Strip },
        markup_files: [MarkupFiles::Typed, MarkupFiles::Named, MarkupFiles::Leave][usize::from(how / 16 % 3)],
    };
    let started = Instant::now();
    let mut judge = wrapper::Wrapper::new(how & 64 == 0);
    let planned = plan(&mail, &options, &mut judge).expect("a plan");
    let out = planned.patch.apply(mail);
    assert_eq!(planned.patch.patched_len(mail.len() as u64), out.len() as u64);
    let back = plan_restore(&out.as_slice(), &mut judge).expect("a way back");
    let _ = back.patch.apply(&out);
    assert!(started.elapsed() < Duration::from_secs(5));
});
