//! Links behind the hosts of vendors and redirectors: whatever stands there comes apart or not, into web URLs, and what is left
//! does not come apart again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::{MAX_LAYERS, Target, looks_one_time, unwrap};

const FRONTS: [&str; 16] = [
    "https://eur05.safelinks.protection.outlook.com/?url=",
    "https://urldefense.proofpoint.com/v2/url?u=",
    "https://urldefense.com/v3/__",
    "https://linkprotect.cudasvc.com/url?a=",
    "https://secure-web.cisco.com/1x/",
    "https://eu.protection.sophos.com/?d=shop.example&u=",
    "https://m.example/fmlurlsvc/?fewReq=:B:QQ==&url=",
    "https://protect.checkpoint.com/v2/___",
    "https://clicktime.symantec.com/x?u=",
    "https://link.edgepilot.com/s/1/2?u=",
    "https://m.example/lg/?t=1.",
    "https://seclinks.cloud-security.net/",
    "https://www.google.com/",
    "https://www.bing.com/ck/a?u=a1",
    "https://shop.example/",
    "",
];

fuzz_target!(|data: &[u8]| {
    let Some((front, rest)) = data.split_first() else {
        return;
    };
    let url = format!(
        "{}{}",
        FRONTS[usize::from(*front) % FRONTS.len()],
        String::from_utf8_lossy(rest)
    );
    let Ok(target) = Target::parse(&url) else {
        return;
    };
    let found = unwrap(&target, &|_| None);
    assert!(found.layers.len() <= MAX_LAYERS && found.outer() == &target);
    for url in found.to_check().into_iter().filter(|url| **url != target) {
        assert!(matches!(url.scheme(), "http" | "https"), "{}", url.as_str());
    }
    if found.unfinished.is_none() {
        assert!(unwrap(&found.target, &|_| None).layers.is_empty());
    }
    let _ = looks_one_time(&target, Some(&url));
});
