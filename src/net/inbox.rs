//! Octets that arrived on a connection and are not used up yet.

use std::io;

use super::Stream;

/// A read buffer that holds memory only while something is in it.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Octets at the front that are used up.
    used: usize,
}

impl Inbox {
    /// The octets that arrived and are not used up.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Drops `n` octets at the front.
    pub fn consume(&mut self, n: usize) {
        self.used = (self.used + n).min(self.bytes.len());
    }

    /// Waits for octets and appends up to about `block` of them; 0 at the end of the stream. Cancelling loses nothing.
    ///
    /// # Errors
    /// The error of the connection.
    pub async fn fill(&mut self, stream: &mut Stream, block: usize) -> io::Result<usize> {
        loop {
            // An idle connection waits without a buffer.
            self.release();
            stream.readable().await?;
            match self.try_fill(stream, block) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// [`fill`](Self::fill) without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else what the connection says.
    pub fn try_fill(&mut self, stream: &mut Stream, block: usize) -> io::Result<usize> {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.reserve(block);
        stream.try_read_buf(&mut self.bytes)
    }

    /// Drops everything; says how many octets that were.
    pub fn clear(&mut self) -> usize {
        let dropped = self.filled().len();
        *self = Self::default();
        dropped
    }

    fn release(&mut self) {
        if self.used == self.bytes.len() {
            *self = Self::default();
        }
    }
}
