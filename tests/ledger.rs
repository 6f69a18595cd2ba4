//! What mail and clicks leave behind: the store on disk, and the rows of clicks, labels and alerts.

pub(crate) mod records;
pub(crate) mod store;
