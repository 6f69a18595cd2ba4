//! HTML: after rewriting, a browser's parser sees nothing that is not ours; a second pass changes nothing; there is a way
//! back. The laws, and the eyes they look with, are those of the differential run.
#![no_main]

#[path = "../../../crates/message/examples/differential/laws.rs"]
#[allow(dead_code)]
mod laws;
#[path = "../../../crates/message/examples/differential/oracle.rs"]
mod oracle;
#[path = "../../../crates/message/examples/differential/wrapper.rs"]
mod wrapper;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = std::str::from_utf8(data) else {
        let _ = message::fuzzing::html(data, &mut wrapper::Wrapper::new(true));
        return;
    };
    match laws::check(document, data.len() % 2 == 0, true) {
        // A reader of strange markup may see strange things; nobody may get away.
        Ok(_) | Err(laws::Broken::Text(..) | laws::Broken::Again | laws::Broken::Restore) => {}
        Err(broken) => panic!("{broken:?}"),
    }
});
