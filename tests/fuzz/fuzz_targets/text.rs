//! Text that is no HTML: a second pass changes nothing, and there is a way back.
#![no_main]

#[path = "../../../crates/message/examples/differential/oracle.rs"]
#[allow(dead_code)]
mod oracle;
#[path = "../../../crates/message/examples/differential/wrapper.rs"]
#[allow(dead_code)]
mod wrapper;

use libfuzzer_sys::fuzz_target;
use message::fuzzing::{Layout, may_hold_url, restored, text, urls};

fuzz_target!(|data: &[u8]| {
    let Some((&how, body)) = data.split_first() else { return };
    let layout = [Layout::Plain, Layout::Flowed, Layout::Folded][usize::from(how % 3)];
    if let Ok(body) = std::str::from_utf8(body) {
        let found = urls(body, how & 8 == 0);
        for pair in found.windows(2) {
            assert!(pair[0].0.end <= pair[1].0.start);
        }
        for (at, url) in &found {
            assert!(body.get(at.clone()).is_some_and(|t| !t.is_empty()) && !url.is_empty());
        }
        assert!(found.is_empty() || may_hold_url(body.as_bytes()));
    }
    let mut judge = wrapper::Wrapper::new(true);
    let both = how & 4 != 0;
    let out = text(body, layout, both, &mut judge);
    // What is broken over lines comes back on one where the line looks like a quoted one: the next would lack its mark.
    let quoted = body
        .split(|b| matches!(b, b'\n' | b'\r'))
        .any(|line| matches!(line.trim_ascii_start().first(), Some(b'>' | b'|')));
    // Folded lines may be joined anew, and tags in text overlap with it: only the plain layouts have a strict way back.
    if layout == Layout::Plain && !both && !quoted && memchr::memmem::find(body, wrapper::PREFIX.as_bytes()).is_none() {
        let back = restored(&out.bytes, false, &mut judge);
        assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(body));
        let again = text(&out.bytes, layout, both, &mut judge);
        assert_eq!(
            String::from_utf8_lossy(&again.bytes),
            String::from_utf8_lossy(&out.bytes)
        );
    }
});
