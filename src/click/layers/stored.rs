//! Unwrapping a link whose layers may be click links of ours with their target in the store.

use std::cell::RefCell;
use std::collections::HashMap;

use link::{Glance, Opened, Opener, Target, Unwrapped, unwrap};
use store::{Reader, ReferenceRow};
use tracing::error;

use crate::config::Settings;

/// Rounds of reading the store for one link: a target from the store may wrap another one that stands there.
const MAX_ROUNDS: usize = 4;

/// Targets read in one round; links by accident nest fewer.
const MAX_IDS: usize = 16;

type ReferenceId = [u8; 16];

/// Rows by the name that a click link gives them; `None` where there is no such row.
type Rows = HashMap<ReferenceId, Option<ReferenceRow>>;

/// Unwraps a link. The store is read, on a thread for that, only where a click link inside keeps its target there; one that
/// cannot be read stays unknown.
pub(crate) async fn unwrapped(settings: &Settings, reader: &Reader, target: &Target) -> Unwrapped {
    if Glance::new(&settings.click.base).is_plain(target) {
        return Unwrapped::plain(target);
    }
    let mut rows = Rows::new();
    for _ in 0..MAX_ROUNDS {
        let (inside, mut missing) = unwrap_with(settings, target, &rows);
        if missing.is_empty() {
            return inside;
        }
        missing.truncate(MAX_IDS);
        let reader = reader.clone();
        let read = move || missing.into_iter().map(|id| Ok((id, reader.reference(&id)?))).collect();
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(found)) => rows.extend::<Rows>(found),
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
    unwrap_with(settings, target, &rows).0
}

/// Unwraps a link with the rows read so far; gives the names of rows that are missing, too.
fn unwrap_with(settings: &Settings, target: &Target, rows: &Rows) -> (Unwrapped, Vec<ReferenceId>) {
    let opener = Opener::new(&settings.keys, &settings.click.base);
    let missing = RefCell::new(Vec::new());
    let own = |url: &str| -> Option<Opened> {
        let opened = opener.recognise(url)?;
        let Some(id) = opened.reference_id() else {
            return Some(opened);
        };
        match rows.get(&id) {
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
