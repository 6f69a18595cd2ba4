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
    /// Its identifier; the event is in the file of this name, with `.json`.
    pub uuid: String,
    /// When it last changed, in seconds since 1970; 0 when the manifest does not say.
    pub timestamp: u64,
}

/// Reads `manifest.json` of a MISP feed, newest event first.
///
/// # Errors
/// It is not a JSON object of events; or an identifier is none, which must not become part of a file's name.
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

/// A URLhaus dump: `{"<id>": [{"url": ..., "threat": ...}], ...}`, or `{"urls": [{...}]}`.
pub(super) fn urlhaus(text: &[u8], out: &mut Output<'_>) {
    walk(text, out, |record, out| {
        let Some(url) = &record.url else { return };
        out.counted();
        out.url(url, Role::Listed, record.threat.as_deref().and_then(category));
    });
}

/// An event of a MISP feed.
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

/// What an object of either kind may have.
#[derive(Default)]
struct Record {
    url: Option<String>,
    threat: Option<String>,
    kind: Option<String>,
    value: Option<String>,
    to_ids: Option<bool>,
    deleted: Option<bool>,
}

/// Goes through all objects of a document, one at a time, without keeping them.
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

/// A value, as far as it matters.
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
