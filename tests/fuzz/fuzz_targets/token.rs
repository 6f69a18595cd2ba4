//! Tokens: what was not sealed does not open, and a sealed one opens as it was, whatever follows it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use link::{KeyRing, MessageClaims, Sealed, Target};

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate([7; 32], 1_700_000_000));
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let claims = MessageClaims {
        message_id: "m1".to_owned(),
        recipient: Some("reader@example.com".to_owned()),
        sender: "writer@example.net".to_owned(),
        issued_at: 1_700_000_000,
        domain: "example.com".to_owned(),
    };
    let target = Target::parse("https://shop.example/offer?id=1#top").expect("a target");
    let Sealed::Direct(token) = KEYS.sealer(&claims).seal(&target, None, 0) else {
        panic!("a short target is sealed directly");
    };
    token
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if !text.starts_with(TOKEN.as_str()) {
        assert!(KEYS.open(&text).is_err());
    }
    let followed = format!("{}{text}", *TOKEN);
    let opened = KEYS.open(&followed).expect("a sealed token");
    assert_eq!(
        opened.target().map(Target::as_str),
        Some("https://shop.example/offer?id=1#top")
    );
    // Any change of the octets of the token itself.
    if let [at, with, ..] = data {
        let mut bytes = TOKEN.clone().into_bytes();
        let at = usize::from(*at) * bytes.len() / 256;
        if with.is_ascii() && bytes[at] != *with {
            bytes[at] = *with;
            assert!(KEYS.open(&String::from_utf8_lossy(&bytes)).is_err());
        }
    }
});
