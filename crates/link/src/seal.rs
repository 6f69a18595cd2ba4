//! Seals beside tokens: of the marks that a rewritten mail holds, and of the forms on pages.

mod form;
mod mark;

pub use form::{Page, PageError, PageUse};
pub use mark::MARK_SEAL;
