//! The URL test data of web-platform-tests, where it is at hand.

use std::path::PathBuf;

use link::{Resolve, Resolved, Target, resolve};
use serde_json::Value;

/// `LINKGATE_CORPUS`, or a folder `shared/corpus` beside the workspace.
fn corpus() -> PathBuf {
    std::env::var_os("LINKGATE_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    )
}

#[test]
fn whatwg_vectors_resolve_as_browsers_do() {
    let mut checked = 0;
    for name in ["urltestdata.json", "ada_extra_urltestdata.json"] {
        let path = corpus().join("vectors/url").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("{} is not there; nothing compared", path.display());
            continue;
        };
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in cases.iter().filter(|c| c.is_object()) {
            checked += usize::from(holds(case));
        }
        assert!(checked > 300, "only {checked} of {name} were compared");
    }
}

/// False when the case is none of ours: other schemes, or values that are cleaned beyond what the standard says.
fn holds(case: &Value) -> bool {
    let Some(input) = case["input"].as_str() else {
        return false;
    };
    if input.contains('\0') || input.starts_with(|c: char| !c.is_ascii()) {
        return false;
    }
    let base = match case["base"].as_str() {
        None => None,
        Some(text) => match Target::parse(text) {
            Ok(base) => Some(base),
            Err(_) => return false,
        },
    };
    let found = resolve(
        input,
        &Resolve {
            base: base.as_ref(),
            ..Resolve::default()
        },
    );
    match case["href"].as_str() {
        Some(href) if Target::parse(href).is_ok() => {
            assert_eq!(found, Resolved::Web(Target::parse(href).unwrap()), "{case}");
            if let Resolved::Web(t) = &found {
                assert_eq!(t.as_str(), href, "{case}");
            }
        }
        Some(_) => assert!(!matches!(found, Resolved::Web(_)), "{case}"),
        // Without a base, `//host` and the like have a meaning to webmail, though none to the standard.
        None if base.is_some() => assert_eq!(found, Resolved::Inert("invalid".into()), "{case}"),
        None => return false,
    }
    true
}
