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
    let mut wrong = Vec::new();
    for name in ["urltestdata.json", "ada_extra_urltestdata.json"] {
        let path = corpus().join("vectors/url").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("{} is not there; nothing compared", path.display());
            continue;
        };
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in cases.iter().filter(|c| c.is_object()) {
            match verdict(case) {
                Some(Ok(())) => checked += 1,
                Some(Err(found)) => wrong.push(format!("{} under {}: {found:?}", case["input"], case["base"])),
                None => {}
            }
        }
        assert!(checked > 200, "only {checked} of {name} were compared");
    }
    println!("{checked} compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hosts_become_the_names_that_browsers_look_up() {
    for name in ["toascii.json", "IdnaTestV2.json"] {
        let path = corpus().join("vectors/url").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("{} is not there; nothing compared", path.display());
            continue;
        };
        // One object at a time: some hold half a surrogate pair, which no Rust string can.
        let cases: Vec<Value> = text
            .split_inclusive('}')
            .filter_map(|object| serde_json::from_str(object.get(object.find('{')?..)?).ok())
            .collect();
        assert!(cases.len() > 30, "only {} of {name} can be read", cases.len());
        let mut wrong = Vec::new();
        for case in &cases {
            let Some(input) = case["input"].as_str().filter(|i| !i.is_empty()) else {
                continue;
            };
            let found = resolve(&format!("https://{input}/x"), &Resolve::default());
            let right = match (case["output"].as_str(), &found) {
                (Some(host), Resolved::Web(t)) => t.host() == host,
                // Today's standard lets ASCII hosts with broken A-labels pass, the `url` crate refuses them: such a link is
                // disarmed, which is safe.
                (Some(_), Resolved::Inert(why)) => why == "invalid" && input.is_ascii(),
                // A host that browsers refuse may be wrapped: characters get assigned from one Unicode version to the next.
                (None, Resolved::Web(_)) => true,
                (None, found) => *found == Resolved::Inert("invalid".into()),
                _ => false,
            };
            if !right {
                wrong.push(format!("{case}: {found:?}"));
            }
        }
        assert!(
            wrong.is_empty(),
            "{name}: {} of {}:\n{}",
            wrong.len(),
            cases.len(),
            wrong.join("\n")
        );
    }
}

/// `None` when the case is none of ours: other schemes, or values that are cleaned beyond what the standard says.
fn verdict(case: &Value) -> Option<Result<(), Resolved>> {
    let input = case["input"].as_str()?;
    if input.contains('\0') || input.starts_with(|c: char| !c.is_ascii()) {
        return None;
    }
    let base = match case["base"].as_str() {
        None => None,
        Some(text) => Some(Target::parse(text).ok()?),
    };
    let found = resolve(
        input,
        &Resolve {
            base: base.as_ref(),
            ..Resolve::default()
        },
    );
    let right = match (case["href"].as_str(), &found) {
        (Some(href), Resolved::Web(t)) => t.as_str() == href,
        (Some(href), _) => Target::parse(href).is_err(),
        (None, found) if base.is_some() => *found == Resolved::Inert("invalid".into()),
        (None, found) if input.trim_start().starts_with("http") && input.contains("://") => {
            *found == Resolved::Inert("invalid".into())
        }
        // Without a base, `//host` and the like have a meaning to webmail, though none to the standard.
        (None, _) => return None,
    };
    Some(if right { Ok(()) } else { Err(found) })
}
