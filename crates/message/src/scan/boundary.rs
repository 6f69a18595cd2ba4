//! Lines between parts: which of the open multiparts a line belongs to.

use super::{ScanState, Scanner};
use crate::quirk::Quirk;
use crate::slice::Slice;

/// How many boundaries of multiparts that were cut short are remembered for each multipart around them.
const MAX_CUT_SHORT: usize = 16;

/// A part whose body is not at its end.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) part: usize,
    pub(super) boundaries: Vec<Vec<u8>>,
    /// No boundary was named: the first line that looks like one is it.
    pub(super) sniff: bool,
    pub(super) closed: bool,
    pub(super) begun: bool,
    /// Boundaries of parts within that this one's boundary cut short: to some programs they still count.
    pub(super) cut_short: Vec<Vec<u8>>,
}

/// The role of a line for the multiparts that are open, by the number of the frame.
pub(super) enum BoundaryLine {
    Delimiter(usize),
    Close(usize),
    None,
}

impl Scanner {
    /// Checks a line that only programs see for which a bare CR ends a line: if it is a boundary, the structure is
    /// ambiguous.
    pub(super) fn hidden_line(&mut self, line: &[u8]) {
        let after = line.slice(2..);
        let is_boundary = |b: &Vec<u8>| matches!(behind(after, b), Some([] | b"--"));
        let hit = self.frames.iter().flat_map(|f| &f.boundaries).any(is_boundary);
        self.map.quirks.insert_if(Quirk::TangledBoundaries, hit);
    }

    /// A line of a body that begins with two dashes, its end aside; `len` octets with it.
    pub(super) fn boundary_line(&mut self, text: &[u8], len: u64) {
        let start = self.at;
        let line_end = match self.last {
            [b'\r', b'\n'] => 2,
            [_, b'\n'] => 1,
            _ => 0,
        };
        let end = start.saturating_sub(line_end);
        match self.boundary(text) {
            BoundaryLine::Delimiter(frame) => {
                self.cut_short(frame);
                self.close_above(frame + 1, end);
                let Some(f) = self.frames.get_mut(frame) else { return };
                f.begun = true;
                let (part, closed) = (f.part, f.closed);
                self.map.quirks.insert_if(Quirk::PartsAfterEnd, closed);
                self.open_part(Some(part), start + len);
            }
            BoundaryLine::Close(frame) => {
                self.cut_short(frame);
                self.close_above(frame + 1, end);
                if let Some(f) = self.frames.get_mut(frame) {
                    f.closed = true;
                }
                self.state = ScanState::Body;
            }
            BoundaryLine::None => {}
        }
    }

    /// Remembers the boundaries of the multiparts that end with a line of the one at `frame`, though they are not closed.
    fn cut_short(&mut self, frame: usize) {
        let open = self.frames.iter().skip(frame + 1).filter(|f| f.begun && !f.closed);
        let cut: Vec<_> = open
            .flat_map(|f| f.boundaries.iter().chain(&f.cut_short).cloned())
            .collect();
        if let Some(f) = self.frames.get_mut(frame).filter(|_| !cut.is_empty()) {
            // A sender may repeat itself: the latest are enough.
            f.cut_short.splice(.., cut.into_iter().take(MAX_CUT_SHORT));
        }
    }

    /// Which open multipart a line belongs to, innermost first, those not yet closed before the others.
    pub(super) fn boundary(&mut self, text: &[u8]) -> BoundaryLine {
        let Some(after) = text.strip_prefix(b"--") else {
            return BoundaryLine::None;
        };
        let mut prefix = false;
        for closed in [false, true] {
            for (i, f) in self
                .frames
                .iter_mut()
                .enumerate()
                .rev()
                .filter(|(_, f)| f.closed == closed)
            {
                if f.sniff && f.boundaries.is_empty() && !after.trim_ascii().is_empty() && after.first() != Some(&b' ')
                {
                    f.boundaries.push(after.trim_ascii_end().to_vec());
                }
                for b in &f.boundaries {
                    let Some(tail) = after.strip_prefix(b.as_slice()) else {
                        continue;
                    };
                    let hit = match tail.trim_ascii() {
                        [] => BoundaryLine::Delimiter(i),
                        b"--" => BoundaryLine::Close(i),
                        _ if tail.starts_with(b"--") && tail.get(2).is_some_and(u8::is_ascii_whitespace) => {
                            BoundaryLine::Close(i)
                        }
                        _ => {
                            prefix = true;
                            continue;
                        }
                    };
                    if let Some(part) = self.map.parts.get_mut(f.part) {
                        let used = part.boundary.get_or_insert_with(|| b.as_slice().into());
                        part.mixed |= **used != **b;
                    }
                    return hit;
                }
            }
        }
        let again = |b: &Vec<u8>| behind(after, b) == Some(&[]);
        if let Some((i, f)) = (self.frames.iter().enumerate().rev()).find(|(_, f)| f.cut_short.iter().any(again)) {
            self.map.quirks.insert(Quirk::PartsAfterEnd);
            if let Some(part) = self.map.parts.get_mut(f.part) {
                part.mixed = true;
            }
            return BoundaryLine::Delimiter(i);
        }
        self.map.quirks.insert_if(Quirk::BoundaryPrefix, prefix);
        BoundaryLine::None
    }
}

/// Returns the rest after a boundary on its line, blanks aside.
fn behind<'a>(line: &'a [u8], boundary: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(boundary).map(<[u8]>::trim_ascii)
}
