//! Puts the original links back into a message that was rewritten.

use link::{Opened, Opener};
use message::{Original, Originals, Patch, Seal, Source};

use crate::config::Settings;

/// A message whose links are restored.
#[derive(Debug)]
pub struct Restored {
    /// The changes to it.
    pub patch: Patch,
}

/// Why a message could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its bytes cannot be read.
    #[error(transparent)]
    Plan(#[from] message::PlanError),
}

/// Finds click links that open with the key ring and puts back what stood in their place.
///
/// Links whose targets are stored need `store`; without it they stay.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    source: &dyn Source,
    settings: &Settings,
    store: Option<&store::Reader>,
) -> Result<Restored, RestoreError> {
    let opener = Opener::new(&settings.keys, &settings.click.base);
    let mut ours = Ours {
        settings,
        opener,
        store,
    };
    Ok(Restored {
        patch: message::plan_restore(source, &mut ours)?.patch,
    })
}

struct Ours<'a> {
    settings: &'a Settings,
    opener: Opener<'a>,
    store: Option<&'a store::Reader>,
}

impl Originals for Ours<'_> {
    fn find(&self, text: &[u8]) -> Option<usize> {
        self.settings.click.base.find_prefix(text)
    }

    fn open(&mut self, text: &str) -> Option<Original> {
        let len = self.settings.click.base.link_len(text)?;
        let opened = self.complete(self.opener.recognise(text)?)?;
        Some(Original {
            len,
            form: opened.form(),
            target: opened.target()?.as_str().to_owned(),
            written: opened.written().map(std::borrow::Cow::into_owned),
        })
    }

    fn knows_mark(&self, kept: &[u8], seal: &Seal) -> bool {
        self.settings.keys.knows_mark(kept, seal)
    }
}

impl Ours<'_> {
    /// Fetches a target that is stored.
    fn complete(&self, opened: Opened) -> Option<Opened> {
        let Some(id) = opened.reference_id().filter(|_| opened.target().is_none()) else {
            return Some(opened);
        };
        let row = self.store?.reference(&id).ok()??;
        self.opener.complete(opened, &row.target, row.written.as_deref()).ok()
    }
}
