//! Opening the store of the configuration for a command; only a server makes one.

use anyhow::Context as _;
use store::{Reader, Store, StoreError};

use crate::config::Settings;

const NO_STORE: &str = "the store cannot be opened (store.url)";

/// The store, to read from.
pub(super) fn reader(settings: &Settings) -> anyhow::Result<Reader> {
    Reader::open(&settings.store).context(NO_STORE)
}

/// The store, to write to beside a server.
pub(super) fn writable(settings: &Settings) -> anyhow::Result<Store> {
    if !settings.store.exists() {
        return Err(StoreError::Missing(settings.store.clone())).context(NO_STORE);
    }
    Store::open_beside(&settings.store).context(NO_STORE)
}
