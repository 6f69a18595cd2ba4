//! What is inside a link, with the targets that are too long for a click link of ours and stand in the store.

use std::cell::RefCell;
use std::collections::HashMap;

use link::{Glance, Opened, Opener, Target, Unwrapped, unwrap};
use store::{Reader, ReferenceRow};
use tracing::error;

use crate::config::Settings;

/// How often the store is asked about one link: what stands in it may hold another link whose target stands in it.
const MAX_ROUNDS: usize = 4;

/// Targets asked about at a time; nobody nests more by accident.
const MAX_IDS: usize = 16;

type Id = [u8; 16];

/// Rows by the name that a click link gives them; `None` where there is no such row.
type Rows = HashMap<Id, Option<ReferenceRow>>;

/// Takes a link apart. The store is asked only where a click link of ours is inside whose target it keeps; one that it does not
/// have, or cannot say, stays unknown.
pub(crate) async fn unwrapped(settings: &Settings, reader: &Reader, target: &Target) -> Unwrapped {
    if Glance::new(&settings.click.base).is_plain(target) {
        return Unwrapped::plain(target);
    }
    let mut known = Rows::new();
    for _ in 0..MAX_ROUNDS {
        let (inside, mut missing) = look(settings, target, &known);
        if missing.is_empty() {
            return inside;
        }
        missing.truncate(MAX_IDS);
        let reader = reader.clone();
        let read = move || missing.into_iter().map(|id| Ok((id, reader.reference(&id)?))).collect();
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(rows)) => known.extend::<Rows>(rows),
            failed => {
                let failed: Result<Result<Rows, store::StoreError>, _> = failed;
                let cause = failed.map_or_else(
                    |e| e.to_string(),
                    |e| e.err().map(|e| e.to_string()).unwrap_or_default(),
                );
                error!(target: "linkgate::click", cause, "the target of a link inside a link could not be looked up");
                return inside;
            }
        }
    }
    look(settings, target, &known).0
}

/// Takes a link apart as far as can be done with these rows; also says which others it takes.
fn look(settings: &Settings, target: &Target, known: &Rows) -> (Unwrapped, Vec<Id>) {
    let opener = Opener::new(&settings.keys, &settings.click.base);
    let missing = RefCell::new(Vec::new());
    let own = |url: &str| -> Option<Opened> {
        let opened = opener.recognise(url)?;
        let Some(id) = opened.reference_id() else {
            return Some(opened);
        };
        match known.get(&id) {
            Some(Some(row)) => {
                // A row that is not the one the link was made for is as good as none.
                let completed = opener.complete(opened.clone(), &row.target, row.written.as_deref());
                Some(completed.unwrap_or(opened))
            }
            Some(None) => Some(opened),
            None => {
                let mut missing = missing.borrow_mut();
                if !missing.contains(&id) {
                    missing.push(id);
                }
                Some(opened)
            }
        }
    };
    let inside = unwrap(target, &own);
    (inside, missing.into_inner())
}
