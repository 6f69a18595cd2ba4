//! Lists in JSON: URLhaus dumps, events and the manifest of MISP feeds.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::csv::category;
use super::{Output, refanged};
use crate::entry::{Extent, Role};

/// An event of a MISP feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MispEvent {
    /// Its identifier; the file of the event has this name, with `.json`.
    pub uuid: String,
    /// Time of the last change, in seconds since 1970; 0 when the manifest has none.
    pub timestamp: u64,
}

/// Reads `manifest.json` of a MISP feed, newest event first.
///
/// # Errors
/// It is not a JSON object of events, or an identifier is no UUID, which must not become part of a file's name.
pub fn misp_manifest(text: &[u8]) -> Result<Vec<MispEvent>, String> {
    #[derive(Deserialize)]
    struct About {
        timestamp: Option<serde_json::Value>,
    }
    let text = super::without_mark(text);
    let events: std::collections::BTreeMap<String, About> =
        serde_json::from_slice(text).map_err(|e| format!("not a manifest: {e}"))?;
    let mut events = events
        .into_iter()
        .map(|(uuid, about)| {
            let sound = uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            let timestamp = match about.timestamp {
                Some(serde_json::Value::String(s)) => s.parse().unwrap_or(0),
                Some(value) => value.as_u64().unwrap_or(0),
                None => 0,
            };
            sound
                .then_some(MispEvent { uuid, timestamp })
                .ok_or_else(|| "not a manifest: the key of an event is not a UUID".to_owned())
        })
        .collect::<Result<Vec<_>, _>>()?;
    events.sort_by(|a, b| b.timestamp.cmp(&a.timestamp).then_with(|| a.uuid.cmp(&b.uuid)));
    Ok(events)
}

/// Reads a URLhaus dump: `{"<id>": [{"url": ..., "threat": ...}], ...}`, or `{"urls": [{...}]}`.
pub(super) fn urlhaus(text: &[u8], out: &mut Output<'_>) {
    walk(text, out, |record, out| {
        let Some(url) = &record.url else { return };
        out.counted();
        out.url(url, Role::Listed, record.threat.as_deref().and_then(category));
    });
}

/// Reads an event of a MISP feed.
pub(super) fn misp(text: &[u8], out: &mut Output<'_>) {
    walk(text, out, |record, out| {
        let (Some(kind), Some(value)) = (&record.kind, &record.value) else {
            return;
        };
        out.counted();
        if record.to_ids != Some(true) || record.deleted == Some(true) {
            return out.skipped();
        }
        let value = refanged(value.trim());
        match kind.as_str() {
            "url" => out.url(&value, Role::Listed, None),
            "domain" | "hostname" => out.host(&value, Extent::Host, Role::Listed),
            "domain|ip" => out.host(value.split('|').next().unwrap_or_default(), Extent::Host, Role::Listed),
            _ => out.skipped(),
        }
    });
}

/// The members of an object of either format.
#[derive(Default)]
struct Record {
    url: Option<String>,
    threat: Option<String>,
    kind: Option<String>,
    value: Option<String>,
    to_ids: Option<bool>,
    deleted: Option<bool>,
}

/// Walks all objects of a document, one at a time, without keeping them.
fn walk(text: &[u8], out: &mut Output<'_>, each: fn(&Record, &mut Output<'_>)) {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let all = Any { out: &mut *out, each };
    if let Err(error) = all.deserialize(&mut reader).and_then(|_| reader.end()) {
        out.report.broken = Some(format!("not a JSON document: {error}"));
    }
}

struct Any<'o, 'p> {
    out: &'o mut Output<'p>,
    each: fn(&Record, &mut Output<'_>),
}

/// A value of a member.
enum Scalar {
    Text(String),
    Flag(bool),
    Other,
}

impl<'de> DeserializeSeed<'de> for Any<'_, '_> {
    type Value = Scalar;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_, '_> {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        let Any { out, each } = self;
        let mut record = Record::default();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Any { out: &mut *out, each })?;
            match (name.as_str(), value) {
                ("url", Scalar::Text(text)) => record.url = Some(text),
                ("threat", Scalar::Text(text)) => record.threat = Some(text),
                ("type", Scalar::Text(text)) => record.kind = Some(text),
                ("value", Scalar::Text(text)) => record.value = Some(text),
                ("to_ids", Scalar::Flag(flag)) => record.to_ids = Some(flag),
                ("deleted", Scalar::Flag(flag)) => record.deleted = Some(flag),
                _ => {}
            }
        }
        // Records have no lines; they are counted instead.
        out.line += 1;
        each(&record, out);
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        let Any { out, each } = self;
        while seq.next_element_seed(Any { out: &mut *out, each })?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::read;
    use super::*;

    #[test]
    fn urlhaus_in_both_shapes() {
        let by_id = r#"{"9": [{"dateadded": "2026", "url": "http://1.2.3.4/i", "url_status": "online", "threat": "malware_download",
            "tags": ["elf", "mozi"], "reporter": null}], "8": [{"url": "http://evil.example/", "threat": 3}]}"#;
        let (seen, report) = read(Format::UrlhausJson, by_id);
        assert_eq!(seen, ["Listed Url 1.2.3.4/i", "Listed Url evil.example/"]);
        assert_eq!((report.lines, report.broken), (2, None));
        let recent =
            r#"{"query_status": "ok", "urls": [{"id": 1, "url": "http://evil.example/x"}, {"id": 2, "url": "::"}]}"#;
        let (seen, report) = read(Format::UrlhausJson, recent);
        assert_eq!((seen.len(), report.lines, report.bad), (1, 2, 1));
    }

    #[test]
    fn a_document_cut_short_is_broken() {
        for text in [
            r#"{"9": [{"url": "http://a.example/"}], "8": [{"url": "http://b.exa"#,
            "",
            "<html>",
            "{} {}",
            &"[".repeat(100_000),
        ] {
            let (_, report) = read(Format::UrlhausJson, text);
            assert!(report.broken.is_some(), "{text:.40}");
        }
    }

    #[test]
    fn events_of_misp() {
        let event = r#"{"Event": {"uuid": "x", "info": "y", "Attribute": [
            {"type": "url", "value": "hxxp://evil[.]example/x", "to_ids": true},
            {"type": "domain", "value": "Evil.example", "to_ids": true},
            {"type": "hostname", "value": "www.evil.example", "to_ids": true, "deleted": false},
            {"type": "domain|ip", "value": "pair.example|1.2.3.4", "to_ids": true},
            {"type": "domain", "value": "gone.example", "to_ids": true, "deleted": true},
            {"type": "domain", "value": "mentioned.example", "to_ids": false},
            {"type": "md5", "value": "d41d8cd98f00b204e9800998ecf8427e", "to_ids": true}],
            "Object": [{"name": "url", "Attribute": [{"type": "url", "value": "https://inside.example/y", "to_ids": true}]}]}}"#;
        let (seen, report) = read(Format::Misp, event);
        assert_eq!(
            seen,
            [
                "Listed Url evil.example/x",
                "Listed Host evil.example",
                "Listed Host www.evil.example",
                "Listed Host pair.example",
                "Listed Url inside.example/y",
            ]
        );
        assert_eq!((report.lines, report.skipped, report.bad), (8, 3, 0));
    }

    #[test]
    fn manifests_of_misp() {
        let one = "56bf399d-c46c-4fdb-a9cf-d9bb02de0b81";
        let two = "56bf399d-c46c-4fdb-a9cf-d9bb02de0b82";
        let text =
            format!(r#"{{"{one}": {{"info": "a", "timestamp": "1700000000"}}, "{two}": {{"timestamp": 1800000000}}}}"#);
        let events = misp_manifest(text.as_bytes()).unwrap();
        let got: Vec<(&str, u64)> = events.iter().map(|e| (e.uuid.as_str(), e.timestamp)).collect();
        assert_eq!(got, [(two, 1_800_000_000), (one, 1_700_000_000)]);
        assert!(misp_manifest(br#"{"../../../../../../../../etc/passwd-----": {}}"#).is_err());
        assert!(misp_manifest(b"[]").is_err());
    }
}
