//! Lengths of the lines of a message, none of which is held.

use memchr::{memchr_iter, memrchr};

use crate::slice::part;

/// Detects lines that are too long in message content, over any chunking.
#[derive(Debug, Clone)]
pub struct LineMeter {
    /// Longest line, without its end, in octets.
    limit: u64,
    /// Octets since the last LF.
    open: u64,
    exceeded: bool,
}

impl LineMeter {
    /// A meter at the start of a message, with the longest line in octets, without its CRLF.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            open: 0,
            exceeded: false,
        }
    }

    /// Counts the next content.
    pub fn count(&mut self, content: &[u8]) {
        let whole = self.open.saturating_add(content.len() as u64);
        if whole > self.limit {
            // Only here may a line be too long: each one is looked at.
            let mut from = 0;
            for at in memchr_iter(b'\n', content) {
                self.close(part(content, from..at));
                from = at + 1;
            }
            self.open += part(content, from..).len() as u64;
            // A CR at the end may be half of the line end.
            self.exceeded |= self.open > self.limit.saturating_add(1);
        } else if let Some(at) = memrchr(b'\n', content) {
            self.open = (content.len() - at - 1) as u64;
        } else {
            self.open = whole;
        }
    }

    /// Whether a line was too long so far. A last line without an end may have one octet more.
    #[must_use]
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    fn close(&mut self, rest: &[u8]) {
        // The CR before the LF is no part of the line.
        let length = (self.open + rest.len() as u64).saturating_sub(1);
        self.exceeded |= length > self.limit;
        self.open = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exceeded(limit: u64, chunks: &[&[u8]]) -> bool {
        let mut meter = LineMeter::new(limit);
        chunks.iter().for_each(|chunk| meter.count(chunk));
        meter.exceeded()
    }

    #[test]
    fn the_line_end_does_not_count() {
        assert!(!exceeded(4, &[b"abcd\r\nabcd\r\n"]));
        assert!(exceeded(4, &[b"abcd\r\nabcde\r\nx\r\n"]));
        assert!(!exceeded(4, &[b"abcd\r", b"\n"]));
        assert!(exceeded(4, &[b"abcdef"]), "no end in sight");
        assert!(!exceeded(u64::MAX, &[b"abcd"]));
    }

    proptest! {
        #[test]
        fn any_chunking_measures_the_same(lines in proptest::collection::vec("[ab]{0,9}", 0..8), limit in 0u64..9, cut in 0usize..60) {
            let text: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let (a, b) = text.as_bytes().split_at(cut.min(text.len()));
            let wanted = lines.iter().any(|l| l.len() as u64 > limit);
            prop_assert_eq!(exceeded(limit, &[text.as_bytes()]), wanted);
            prop_assert_eq!(exceeded(limit, &[a, b]), wanted);
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(exceeded(limit, &single), wanted);
        }
    }
}
