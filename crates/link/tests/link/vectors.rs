//! `fixtures/tokens/v1.json`: tokens that every later version has to open, and forged ones that none may open.
//!
//! The file was made by a second implementation of the format (`fixtures/tokens/make_v1.py`). Cases may be added; none is ever changed.

use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use link::{KeyRing, MessageClaims, Sealed, Target, Word};
use serde_json::Value;

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_else(|| panic!("{key} of {v}"))
}

fn octets(v: &Value, key: &str) -> Option<Vec<u8>> {
    v[key].as_str().map(|s| BASE64.decode(s.as_bytes()).unwrap())
}

fn message(v: &Value) -> MessageClaims {
    MessageClaims {
        message_id: text(v, "message_id").into(),
        recipient: v["recipient"].as_str().map(str::to_owned),
        sender: text(v, "sender").into(),
        issued_at: v["issued_at"].as_i64().unwrap(),
        domain: text(v, "domain").into(),
    }
}

fn secret(v: &Value) -> [u8; 32] {
    HEXLOWER
        .decode(text(v, "secret").as_bytes())
        .unwrap()
        .try_into()
        .unwrap()
}

#[test]
fn version_1_stays() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokens/v1.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let keys = file["keys"].as_array().unwrap();
    let mut ring = KeyRing::generate(secret(&keys[0]), 0);
    for key in &keys[1..] {
        ring.add(secret(key), 0).unwrap();
    }
    let retired = keys.iter().filter(|k| k["retired"].as_bool() == Some(true));
    for key in retired {
        ring.retire(text(key, "id").parse().unwrap(), 1).unwrap();
    }

    let tokens = file["tokens"].as_array().unwrap();
    assert!(tokens.len() >= 12);
    for case in tokens {
        let want = text(case, "token");
        let (url, written, form) = (
            text(case, "target"),
            octets(case, "written"),
            case["form"].as_u64().unwrap() as u8,
        );
        let target = Target::parse(url).unwrap();
        let stood = written.clone().unwrap_or_else(|| url.as_bytes().to_vec());

        let opened = ring.open(want).unwrap_or_else(|e| panic!("{e}: {case}"));
        assert_eq!(opened.key_id().to_string(), text(case, "key"), "{case}");
        assert_eq!((opened.message(), opened.form()), (&message(case), form), "{case}");
        let id = octets(case, "reference");
        assert_eq!(opened.reference_id().map(|i| i.to_vec()), id, "{case}");
        assert_eq!(opened.host(), target.host(), "{case}");
        let opened = ring.complete(opened, url, written.as_deref()).unwrap();
        assert_eq!(
            (opened.target(), opened.written().unwrap().into_owned()),
            (Some(&target), stood),
            "{case}"
        );

        // The sealing side is held as well: the same claims give the same token after an update.
        let key = keys.iter().find(|k| k["id"] == case["key"]).unwrap();
        let one = KeyRing::generate(secret(key), 0);
        let claims = message(case);
        let sealer = one.sealer(&claims);
        let token = match id {
            Some(_) => sealer.seal_reference(&target, written.as_deref(), form).0,
            None => match sealer.seal(&target, written.as_deref(), form) {
                Sealed::Direct(token) => token,
                Sealed::TooLong => panic!("too long: {case}"),
            },
        };
        assert_eq!(token, want, "{case}");
    }

    for case in file["forged"].as_array().unwrap() {
        let error = ring.open(text(case, "token")).expect_err(text(case, "why"));
        assert_eq!(error.as_str(), text(case, "error"), "{case}");
    }
}
