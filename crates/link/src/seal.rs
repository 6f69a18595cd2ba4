//! Seals of marks in rewritten mail and of forms on pages.

mod form;
mod mark;

pub use form::{Page, PageError, PageUse};
pub use mark::MARK_SEAL;
