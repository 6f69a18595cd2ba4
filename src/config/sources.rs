//! `[checks]` and `[[source]]`: who is asked about links.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use link::Word;

use super::build::{MIB, Root, path};
use super::keys::{ROOTS, SOURCE_KEY_FILE};
use super::walk::{Item, Section, Walk};
use crate::config::keyfile::{HOW_TO_CLOSE, TOO_OPEN};
use crate::config::{Checks, DnsKind, ListKind, Origin, Secret, Source, SourceKind, Usage, ascii_domain};
use crate::net::tls::Trust;

/// Sources of evidence that are no list. They stand in docs/api.md.
const RESERVED: &[&str] = &[
    "bypass_urls",
    "check",
    "contact",
    "delivery",
    "link",
    "revoked",
    "score",
    "wrapper",
];
const MAX_NAME: usize = 64;
/// More than this is no key.
const MAX_KEY_OCTETS: u64 = 4096;
/// Where the key goes.
const KEY: &str = "{key}";

/// The section and all sources. `store` is the store's file: lists are kept beside it by default.
pub(super) fn checks<'t>(w: &Walk<'t>, root: &'t Root<'t>, store: Option<&Path>) -> Option<Checks> {
    let s = w.section(root, "checks", false);
    let usage = w.choice(&s, "use");
    let dns_servers = w.parsed_list(&s, "dns_servers", |a| a.parse().ok());
    let lists_dir = if w.says(&s, "lists_dir") {
        w.parsed(&s, "lists_dir", path).map(|i| i.value)
    } else {
        Some(store.and_then(Path::parent).unwrap_or(Path::new("")).join("lists"))
    };
    let contact = w.parsed(&s, "list_contact", |c| {
        let sound = c.len() <= 200 && c.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        sound.then(|| c.trim().to_owned())
    });
    let protected = w.parsed_list(&s, "protected", ascii_domain);

    let mut sources = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for s in w.sections(root, "source") {
        let Some(name) = w.parsed(&s, "name", source_name) else {
            // What else is wrong is worth knowing all the same.
            let _ = source(w, &s, "", usage);
            continue;
        };
        if let Some(line) = names.get(&name.value) {
            let what = format!(
                "found {:?}, which the source in line {line} is called too, allowed: a name of its own",
                name.value
            );
            w.fault(name.at, &*name.key, what);
        }
        names.entry(name.value.clone()).or_insert_with(|| w.line(&name));
        if let Some(Some(source)) = source(w, &s, &name.value, usage) {
            sources.push(Arc::new(source));
        }
    }
    Some(Checks {
        usage: usage?,
        dns_servers,
        lists_dir: lists_dir?,
        list_contact: contact?.value,
        protected,
        sources,
    })
}

/// A source; `Some(None)` when it is sound but not enabled, `None` when it has a fault.
fn source<'t>(w: &Walk<'t>, s: &Section<'t>, name: &str, usage: Option<Usage>) -> Option<Option<Source>> {
    let kind = w.choice(s, "type");
    let enabled = w.flag(s, "enabled");
    let licensed = w.flag(s, "licensed");
    let refresh = w.integer(s, "refresh_s");
    let max_size = w.integer(s, "max_size_mib");
    let category = named(w, s, "category");
    let weight = w.choice(s, "weight");
    let key_file = if w.says(s, "key_file") {
        Some(w.parsed(s, "key_file", path)?)
    } else {
        None
    };
    let ca_file = if w.says(s, "ca_file") {
        Some(w.parsed(s, "ca_file", path)?)
    } else {
        None
    };
    let kind = kind?;
    let refresh = refresh?;
    let least = least_refresh(kind);
    if refresh < least {
        let what = format!(
            "found {refresh} with type = {:?}, allowed: at least {least}, which is what its terms ask for",
            kind.as_str()
        );
        w.fault_at(s, "refresh_s", what);
        return None;
    }
    let from = origin(w, s, kind, key_file.is_some())?;
    let is_url = matches!(from, Origin::Url(_));
    if let (Origin::File(_), Some(item)) = (&from, &key_file) {
        let what = "found a key for a file, allowed: key_file where from is a URL or a zone";
        w.fault(item.at, &*item.key, what);
        return None;
    }
    if let (false, Some(item)) = (is_url, &ca_file) {
        w.fault(
            item.at,
            &*item.key,
            "found it without a URL, allowed: ca_file where from is a https:// URL",
        );
        return None;
    }
    let mut source = Source {
        name: name.into(),
        kind,
        from,
        refresh: Duration::from_secs(refresh),
        key: None,
        category: category?,
        weight: weight?,
        licensed: licensed?,
        max_size: max_size? * MIB,
        trust: None,
    };
    if !enabled? {
        return Some(None);
    }
    // Files of a source that is off need not be there yet.
    if usage.is_none_or(|usage| source.refused_for(usage).is_some()) {
        return Some(Some(source));
    }
    if let Some(item) = &key_file {
        source.key = Some(secret(w, item, matches!(source.from, Origin::Zone(_)))?);
    } else if needs_key(kind) {
        let what = format!(
            "found nothing with type = {:?}, allowed: {SOURCE_KEY_FILE}",
            kind.as_str()
        );
        w.fault_at(s, "key_file", what);
        return None;
    }
    if is_url {
        let loaded = Trust::load(ca_file.as_ref().map(|i| &*i.value));
        source.trust = match (loaded, &ca_file) {
            (Ok(trust), _) => Some(trust),
            (Err(why), Some(item)) => {
                w.fault(
                    item.at,
                    &*item.key,
                    format!("found {:?} ({why}), allowed: {ROOTS}", item.value),
                );
                return None;
            }
            (Err(why), None) => {
                w.fault_at(s, "ca_file", format!("found nothing ({why}), allowed: {ROOTS}"));
                return None;
            }
        };
    }
    Some(Some(source))
}

/// A choice that may be left out: `None` is a fault.
fn named<'t, T: FromStr>(w: &Walk<'t>, s: &Section<'t>, name: &str) -> Option<Option<T>> {
    if w.says(s, name) {
        w.choice(s, name).map(Some)
    } else {
        Some(None)
    }
}

fn origin<'t>(w: &Walk<'t>, s: &Section<'t>, kind: SourceKind, keyed: bool) -> Option<Origin> {
    let parse: fn(&str) -> Option<Origin> = match kind {
        SourceKind::List(_) => |t| url(t).or_else(|| (!t.contains("://")).then(|| path(t).map(Origin::File))?),
        // Their key goes into a header.
        SourceKind::SafeBrowsing | SourceKind::WebRisk => |t| url(t).filter(|_| !t.contains(KEY)),
        SourceKind::Dns(_) => zone,
    };
    let allowed = match kind {
        SourceKind::List(_) => "the path of a file, or an http or https URL",
        SourceKind::SafeBrowsing | SourceKind::WebRisk => "an http or https URL",
        SourceKind::Dns(_) => "a DNS zone such as \"bl.example.com\"",
    };
    let from = if w.says(s, "from") {
        let item = w.text(s, "from")?;
        let Some(origin) = parse(item.value) else {
            w.refuse(&item, allowed);
            return None;
        };
        origin
    } else if let Some(default) = default_origin(kind, keyed) {
        parse(default)?
    } else {
        let what = format!("found nothing with type = {:?}, allowed: {allowed}", kind.as_str());
        w.fault_at(s, "from", what);
        return None;
    };
    if let (Origin::Url(text) | Origin::Zone(text), false) = (&from, keyed)
        && text.contains(KEY)
    {
        let what = format!("found {text:?} without a key_file, allowed: {KEY} in it where there is one");
        w.fault_at(s, "from", what);
        return None;
    }
    if let (Origin::Zone(text), true) = (&from, keyed)
        && !text.contains(KEY)
    {
        let what = format!("found {text:?} with a key_file, allowed: a zone with {KEY} in it, where the key goes");
        w.fault_at(s, "from", what);
        return None;
    }
    Some(from)
}

/// Where a type is by itself.
fn default_origin(kind: SourceKind, keyed: bool) -> Option<&'static str> {
    match kind {
        SourceKind::List(ListKind::Openphish) => Some("https://openphish.com/feed.txt"),
        SourceKind::Dns(DnsKind::SpamhausDbl) if keyed => Some("{key}.dbl.dq.spamhaus.net"),
        SourceKind::Dns(DnsKind::SpamhausDbl) => Some("dbl.spamhaus.org"),
        SourceKind::Dns(DnsKind::SpamhausZrd) => Some("{key}.zrd.dq.spamhaus.net"),
        SourceKind::Dns(DnsKind::Surbl) => Some("multi.surbl.org"),
        SourceKind::Dns(DnsKind::Uribl) => Some("multi.uribl.com"),
        SourceKind::SafeBrowsing => Some("https://safebrowsing.googleapis.com"),
        SourceKind::WebRisk => Some("https://webrisk.googleapis.com"),
        SourceKind::List(_) | SourceKind::Dns(DnsKind::Generic) => None,
    }
}

fn needs_key(kind: SourceKind) -> bool {
    matches!(kind, SourceKind::SafeBrowsing | SourceKind::WebRisk)
}

/// The least `refresh_s` that a source's operator bears.
fn least_refresh(kind: SourceKind) -> u64 {
    match kind {
        SourceKind::List(ListKind::UrlhausCsv | ListKind::UrlhausJson) => 300,
        SourceKind::List(ListKind::Openphish) => 3_600,
        _ => 60,
    }
}

fn source_name(s: &str) -> Option<String> {
    let sound = (1..=MAX_NAME).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && !s.starts_with('.')
        && !RESERVED.contains(&s);
    sound.then(|| s.to_owned())
}

fn url(s: &str) -> Option<Origin> {
    let parsed = reqwest::Url::parse(&s.replace(KEY, "key")).ok()?;
    let web = matches!(parsed.scheme(), "http" | "https") && parsed.host_str().is_some_and(|h| !h.is_empty());
    let plain = parsed.username().is_empty() && parsed.password().is_none() && parsed.fragment().is_none();
    // A key in the host would be asked for by DNS in plain text.
    let host_is_ours = !s.split('/').nth(2).is_some_and(|authority| authority.contains(KEY));
    (web && plain && host_is_ours).then(|| Origin::Url(s.to_owned()))
}

fn zone(s: &str) -> Option<Origin> {
    let name = ascii_domain(&s.replace(KEY, "key"))?;
    if !s.contains(KEY) {
        return Some(Origin::Zone(name));
    }
    Some(Origin::Zone(s.trim_end_matches('.').to_ascii_lowercase()))
}

/// Reads a key; the file must not be open to others.
fn secret(w: &Walk<'_>, item: &Item<std::path::PathBuf>, in_zone: bool) -> Option<Secret> {
    let found = |why: String| {
        w.fault(
            item.at,
            &*item.key,
            format!("found {:?} ({why}), allowed: {SOURCE_KEY_FILE}", item.value),
        );
    };
    let read = || -> std::io::Result<(u32, String)> {
        let file = File::open(&item.value)?;
        let mode = file.metadata()?.mode() & 0o777;
        let mut text = String::new();
        file.take(MAX_KEY_OCTETS).read_to_string(&mut text)?;
        Ok((mode, text))
    };
    match read() {
        Err(e) => found(e.to_string()),
        Ok((mode, _)) if mode & TOO_OPEN != 0 => found(format!("its mode is {mode:04o}; {HOW_TO_CLOSE}")),
        Ok((_, text)) => {
            let text = text.trim();
            let sound = !in_zone || (text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            match Secret::new(text).filter(|_| sound) {
                Some(secret) => return Some(secret),
                None => found("what it holds is no key".to_owned()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use link::Word;
    use strum::VariantArray;

    use super::*;
    use crate::config::{KEYS, Kind};

    #[test]
    fn origins() {
        for good in [
            "https://lists.example/a?b={key}",
            "http://127.0.0.1:8/x",
            "https://a.example/{key}/x.csv",
        ] {
            assert!(url(good).is_some(), "{good}");
        }
        for bad in [
            "ftp://a.example/",
            "https://",
            "https://u:p@a.example/",
            "https://{key}.a.example/",
            "x",
        ] {
            assert_eq!(url(bad), None, "{bad}");
        }
        assert_eq!(zone("BL.Example."), Some(Origin::Zone("bl.example".into())));
        assert_eq!(zone("{key}.dq.Example"), Some(Origin::Zone("{key}.dq.example".into())));
        assert_eq!(zone("127.0.0.1"), None);
    }

    #[test]
    fn names() {
        assert!(source_name("urlhaus-1.x_y").is_some());
        for bad in ["", "A", "a b", "../x", ".x", "score", "ä"] {
            assert_eq!(source_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_type_with_an_address_of_its_own_has_one_that_is_taken() {
        let key = KEYS.iter().find(|key| (key.section, key.name) == ("source", "type"));
        let Some(Kind::Choice(words)) = key.map(|key| &key.kind) else {
            panic!("no words");
        };
        // Two services, and all lists: the list of keys leaves none out.
        assert_eq!(words.len(), 2 + ListKind::VARIANTS.len() + DnsKind::VARIANTS.len());
        for word in *words {
            let kind: SourceKind = word.parse().unwrap();
            assert_eq!(kind.as_str(), *word);
            for keyed in [false, true] {
                let Some(default) = default_origin(kind, keyed) else {
                    continue;
                };
                let taken = match kind {
                    SourceKind::Dns(_) => zone(default),
                    _ => url(default),
                };
                assert!(taken.is_some(), "{word} {default}");
            }
        }
    }
}
