//! Canonical URLs: each is its own canonical form, in ASCII, and its expressions are parts of it that grow no longer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lists::{Canonical, safe_browsing};

fuzz_target!(|data: &[u8]| {
    let Ok(url) = Canonical::of(data) else { return };
    assert!(url.as_str().bytes().all(|b| (0x21..0x7f).contains(&b)), "{url}");
    assert_eq!(Canonical::of(url.as_str().as_bytes()).as_ref(), Ok(&url));
    assert!(url.path().starts_with('/') && !url.path().contains("//"), "{url}");
    let expressions = url.expressions_v5();
    assert_eq!(expressions.first().map(String::as_str), Some(url.expression()));
    assert!(expressions.len() <= 30);
    for expression in &expressions {
        assert!(expression.len() <= url.expression().len());
        let _ = safe_browsing::scope(&url, expression);
    }
});
