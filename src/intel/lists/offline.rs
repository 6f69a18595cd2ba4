//! What lists say of a URL when no server runs: read anew from their files, and from the copies that a server kept.

use std::io::Read;

use link::{Listing, Target};
use lists::{Canonical, HashKey, ListTable};

use crate::config::{Origin, Settings, Source};
use crate::intel::base_of;
use crate::intel::lists::disk::Keep;
use crate::intel::lists::reading::read;
use crate::intel::lists::refresh::{List, open};

/// What one source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its listings; none when it does not name the URL.
    Listings(Vec<Listing>),
    /// It is a list, but cannot be read.
    Unreadable(String),
    /// It is off: the terms of use, which are not met.
    Off(String),
    /// Only a running server asks it.
    NotAsked,
}

/// Asks all sources that can be asked without the network about these URLs, each by its name. Reads every list from its
/// beginning, which takes as long as it is.
pub(crate) fn ask(settings: &Settings, urls: &[&Target]) -> Vec<(String, Said)> {
    let sources = settings.checks.sources.iter();
    let said = sources.map(|source| (source.name.to_string(), of_source(settings, source, urls)));
    said.collect()
}

fn of_source(settings: &Settings, source: &Source, urls: &[&Target]) -> Said {
    if let Some(why) = source.refused_for(settings.checks.usage) {
        return Said::Off(why.to_string());
    }
    let Some(kind) = List::kind_of(source) else {
        return Said::NotAsked;
    };
    let body: std::io::Result<Option<Box<dyn Read + Send>>> = match &source.from {
        Origin::File(path) => open(kind, path).map(Some),
        Origin::Url(_) => {
            let kept = Keep::new(&settings.checks.lists_dir).get(source);
            kept.map(|kept| kept.map(|kept| Box::new(kept.body) as _))
        }
        Origin::Zone(_) => return Said::NotAsked,
    };
    // Nobody who could profit from collisions waits for this.
    let key = HashKey::new([0; 16]);
    let mut body = match body {
        Ok(Some(body)) => body,
        Ok(None) => return Said::Unreadable("no copy of it was kept yet".to_owned()),
        Err(e) => return Said::Unreadable(e.to_string()),
    };
    let copy = match read(kind, &key, &base_of(settings).protected, &mut body) {
        Ok(copy) => copy,
        Err(e) => return Said::Unreadable(e.to_string()),
    };
    if let Err(why) = lists::accept(None, &copy) {
        return Said::Unreadable(why.to_string());
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
    Said::Listings(listings)
}
