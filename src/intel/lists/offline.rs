//! Looking URLs up when no server runs: in the revocations of the store, and in lists read anew from their files or from the
//! copies that a server kept.

use std::io::Read;

use link::{Finding, Listing, Target};
use lists::{Canonical, HashKey, ListTable};
use store::Reader;

use crate::config::{Origin, Settings, Source};
use crate::intel::kinds;
use crate::intel::lists::disk::CopyStore;
use crate::intel::lists::reading::read;
use crate::intel::lists::refresh::open;
use crate::intel::revoked::{self, Revocations};
use crate::intel::setup_of;

/// The answers of one source about some URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OfflineAnswer {
    /// Its listings; none when it does not name the URL.
    Listings(Vec<Listing>),
    /// The list or the store cannot be read.
    Unreadable(String),
    /// It is off, by the terms of use that are not met.
    Off(String),
    /// It is asked by a running server only.
    NotAsked,
}

/// Looks URLs up in all sources that need no network; each answer with the name of its source. The revocations are among them
/// where they say something. Reads every list from its beginning, which takes as long as the list is.
pub(crate) fn ask(settings: &Settings, urls: &[&Target]) -> Vec<(String, OfflineAnswer)> {
    let revoked = of_revocations(settings, urls).map(|answer| (revoked::SOURCE.to_owned(), answer));
    let sources = settings.checks.sources.iter();
    let answers = sources.map(|source| (source.name.to_string(), of_source(settings, source, urls)));
    revoked.into_iter().chain(answers).collect()
}

/// The revocations of these URLs; `None` when none is revoked, or there is no store yet.
fn of_revocations(settings: &Settings, urls: &[&Target]) -> Option<OfflineAnswer> {
    if !settings.store.exists() {
        return None;
    }
    let rows = match Reader::open(&settings.store).and_then(|reader| reader.revocations()) {
        Ok(rows) => rows,
        Err(e) => return Some(OfflineAnswer::Unreadable(e.to_string())),
    };
    let revocations = Revocations::of(&rows);
    let listings = urls.iter().filter_map(|url| match revocations.find(url)?.finding {
        Finding::Listed(listing) => Some(listing),
        _ => None,
    });
    let listings: Vec<Listing> = listings.collect();
    (!listings.is_empty()).then_some(OfflineAnswer::Listings(listings))
}

fn of_source(settings: &Settings, source: &Source, urls: &[&Target]) -> OfflineAnswer {
    if let Some(why) = source.refused_for(settings.checks.usage) {
        return OfflineAnswer::Off(why.to_string());
    }
    let Some(kind) = kinds::list(source.kind) else {
        return OfflineAnswer::NotAsked;
    };
    let body: std::io::Result<Option<Box<dyn Read + Send>>> = match &source.from {
        Origin::File(path) => open(kind, path).map(Some),
        Origin::Url(_) => {
            let kept = CopyStore::new(&settings.checks.lists_dir).get(source);
            kept.map(|kept| kept.map(|kept| Box::new(kept.body) as _))
        }
        Origin::Zone(_) => return OfflineAnswer::NotAsked,
    };
    // No click waits for this, so that hash collisions harm nobody.
    let key = HashKey::new([0; 16]);
    let mut body = match body {
        Ok(Some(body)) => body,
        Ok(None) => return OfflineAnswer::Unreadable("no copy of it was kept yet".to_owned()),
        Err(e) => return OfflineAnswer::Unreadable(e.to_string()),
    };
    let copy = match read(kind, &key, &setup_of(settings).protected, &mut body) {
        Ok(copy) => copy,
        Err(e) => return OfflineAnswer::Unreadable(e.to_string()),
    };
    if let Err(why) = lists::accept(None, &copy) {
        return OfflineAnswer::Unreadable(why.to_string());
    }
    let table = ListTable::build(&key, 1, &[(0, &copy)]);
    let mut listings = Vec::new();
    for url in urls {
        let Ok(url) = Canonical::of(url.as_str().as_bytes()) else {
            continue;
        };
        for hit in table.find(&url) {
            let listing = source.judged(hit.listing);
            if !listings.contains(&listing) {
                listings.push(listing);
            }
        }
    }
    OfflineAnswer::Listings(listings)
}
