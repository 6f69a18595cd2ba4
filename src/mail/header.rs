//! The header of a message: reads as much of it as is looked at, and puts lines on top.

use std::borrow::Cow;
use std::io;

use message::{Change, Patch, Source};

/// Octets of a message that are searched for the end of its header.
pub(super) const MAX_HEADER: u64 = 256 << 10;

/// Octets that hold the header of nearly any message.
const USUAL_HEADER: u64 = 16 << 10;

/// The front of a message: all of its header, if that is not longer than [`MAX_HEADER`].
///
/// # Errors
/// The message cannot be read.
pub(super) fn read_front(source: &dyn Source) -> io::Result<Cow<'_, [u8]>> {
    let front = source.read(0..USUAL_HEADER.min(source.len()))?;
    if end(&front).is_some() || source.len() <= USUAL_HEADER {
        return Ok(front);
    }
    source.read(0..MAX_HEADER.min(source.len()))
}

/// The place behind the last line of the header, if its end is there.
pub(super) fn end(front: &[u8]) -> Option<usize> {
    let crlf = memchr::memmem::find(front, b"\r\n\r\n");
    let lf = memchr::memmem::find(front, b"\n\n");
    crlf.into_iter().chain(lf).min().map(|at| at + 1)
}

/// Whether a line may be put on top: a message begins with a header field, or with the empty line behind none. On top of
/// anything else it would make a header of it.
pub(super) fn begins_soundly(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"\r\n") {
        return true;
    }
    let name = bytes.iter().take_while(|b| b.is_ascii_graphic() && **b != b':').count();
    let mut behind = bytes.get(name..).unwrap_or_default().iter();
    name > 0 && behind.find(|b| !matches!(b, b' ' | b'\t')) == Some(&b':')
}

/// Adds a line on top of a message to the changes in it.
pub(super) fn on_top(line: Vec<u8>, patch: Patch) -> Patch {
    let line = Change { at: 0..0, with: line };
    let changes = std::iter::once(line).chain(patch.changes().iter().cloned()).collect();
    // An insertion at the very front overlaps nothing.
    Patch::new(changes).unwrap_or(patch)
}
