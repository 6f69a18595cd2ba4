//! The structure of a message is the same however its bytes come in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, message)) = data.split_first() else {
        return;
    };
    let whole = message::scan(message);
    let mut scanner = message::Scanner::new();
    for chunk in message.chunks(usize::from(cut).max(1)) {
        scanner.feed(chunk);
    }
    assert_eq!(format!("{:?}", scanner.finish()), format!("{whole:?}"));
    for part in &whole.parts {
        assert!(part.body.start <= part.body.end && part.body.end <= message.len() as u64);
    }
    for index in 0..whole.parts.len() {
        let _ = whole.number(index);
        assert!(
            whole
                .children(index)
                .all(|child| child > index && child < whole.parts.len())
        );
    }
});
