//! Holds the octets of one message on their way through: in memory while they are few, else in an unlinked file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use message::Source;

use crate::config::Limits;
use crate::mail::budget::SpoolBudget;

/// Octets that gather before they are written to the file. Each session with a large message holds that many.
const BLOCK: usize = 32 << 10;

/// Octets of a message that are held in memory whatever the budget says: making a file for each small message would cost
/// more than it saves.
const ALWAYS_IN_MEMORY: usize = 8 << 10;

/// One message, without dot-stuffing.
///
/// Scratch only: nothing here survives the process, and the file has no name from the moment it is made.
///
/// The default has no place for anything: it stands where a spool has been taken away.
#[derive(Debug, Default)]
pub struct Spool {
    /// Without a file: the whole message. With one: what is not written yet.
    memory: Vec<u8>,
    file: Option<File>,
    written: u64,
    limit: usize,
    dir: PathBuf,
    budget: Arc<SpoolBudget>,
    /// Octets that all spools of the budget may hold in memory.
    total: usize,
    /// Octets taken from the budget.
    charged: usize,
    /// Octets of `memory` that [`usage`] knows of.
    counted: u64,
}

/// The octets that all spools of the process hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Octets in memory.
    pub in_memory: u64,
    /// Octets in files.
    pub in_files: u64,
    /// Files.
    pub files: u64,
}

/// Counts the octets that all spools of the process hold now.
#[must_use]
pub fn usage() -> SpoolUsage {
    SpoolUsage {
        in_memory: IN_MEMORY.load(Ordering::Relaxed),
        in_files: IN_FILES.load(Ordering::Relaxed),
        files: FILES.load(Ordering::Relaxed),
    }
}

static IN_MEMORY: AtomicU64 = AtomicU64::new(0);
static IN_FILES: AtomicU64 = AtomicU64::new(0);
static FILES: AtomicU64 = AtomicU64::new(0);

impl Spool {
    /// An empty spool for a message that comes in under these limits.
    #[must_use]
    pub fn new(limits: &Limits, budget: &Arc<SpoolBudget>) -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            written: 0,
            limit: limits.spool_memory,
            dir: limits.spool_dir.clone(),
            budget: Arc::clone(budget),
            total: limits.spool_memory_total,
            charged: 0,
            counted: 0,
        }
    }

    /// Appends octets. The file is written in blocks; a caller that cannot wait for a disk calls [`flush`](Self::flush) on another
    /// thread as soon as [`wants_flush`](Self::wants_flush) says so.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.memory.capacity() == 0 {
            self.memory.reserve_exact(BLOCK + BLOCK / 2);
        }
        self.memory.extend_from_slice(bytes);
        self.charge();
        self.count_memory();
        if self.memory.len() >= self.threshold().saturating_add(BLOCK) {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether more is in memory than should be.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.memory.len() > self.threshold()
    }

    /// Writes what is in memory to the file, if the message has outgrown memory.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() <= self.limit {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = tempfile::tempfile_in(&self.dir)?;
                FILES.fetch_add(1, Ordering::Relaxed);
                none.insert(file)
            }
        };
        file.write_all(&self.memory)?;
        self.written += self.memory.len() as u64;
        IN_FILES.fetch_add(self.memory.len() as u64, Ordering::Relaxed);
        if self.memory.capacity() <= 2 * BLOCK {
            self.memory.clear();
        } else {
            self.memory = Vec::new();
        }
        self.budget.give_back(std::mem::take(&mut self.charged));
        self.count_memory();
        Ok(())
    }

    /// The whole message, if it is in memory.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.file.is_none().then_some(self.memory.as_slice())
    }

    fn threshold(&self) -> usize {
        if self.file.is_some() { BLOCK } else { self.limit }
    }

    /// Takes what is held in memory from the budget; without one left, the message has to go to its file.
    fn charge(&mut self) {
        let held = self.memory.capacity();
        if self.file.is_some() || held <= self.charged.max(ALWAYS_IN_MEMORY) || self.limit == 0 {
            return;
        }
        if self.budget.take(held - self.charged, self.total) {
            self.charged = held;
        } else {
            self.limit = 0;
        }
    }

    fn count_memory(&mut self) {
        let now = self.memory.len() as u64;
        // Wraps where memory was given back; the sum is right all the same.
        IN_MEMORY.fetch_add(now.wrapping_sub(self.counted), Ordering::Relaxed);
        self.counted = now;
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.budget.give_back(self.charged);
        IN_MEMORY.fetch_sub(self.counted, Ordering::Relaxed);
        IN_FILES.fetch_sub(self.written, Ordering::Relaxed);
        FILES.fetch_sub(u64::from(self.file.is_some()), Ordering::Relaxed);
    }
}

impl Source for Spool {
    fn len(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        if range.start > range.end || range.end > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_memory = |from: u64, to: u64| {
            let offset = |at: u64| usize::try_from(at - self.written).map_err(io::Error::other);
            self.memory
                .get(offset(from)?..offset(to)?)
                .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        let file = match &self.file {
            Some(file) if range.start < self.written => file,
            _ => return in_memory(range.start, range.end).map(Cow::Borrowed),
        };
        let on_disk = range.end.min(self.written) - range.start;
        let mut bytes = vec![0; usize::try_from(on_disk).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, range.start)?;
        if range.end > self.written {
            bytes.extend_from_slice(in_memory(self.written, range.end)?);
        }
        Ok(Cow::Owned(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use proptest::prelude::*;

    /// A spool of `limit` octets within `total`.
    fn spool(limit: usize, dir: &Path, total: usize, budget: &Arc<SpoolBudget>) -> Spool {
        let limits = Limits {
            spool_memory: limit,
            spool_memory_total: total,
            spool_dir: dir.to_owned(),
            ..Limits::default()
        };
        Spool::new(&limits, budget)
    }

    /// The same with memory for all.
    fn roomy(limit: usize, dir: &Path) -> Spool {
        spool(limit, dir, 1 << 30, &Arc::default())
    }

    #[test]
    fn a_used_up_budget_sends_messages_to_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let budget = Arc::default();
        let spool = |dir: &Path| spool(90_000, dir, 100_000, &budget);
        let mut first = spool(dir.path());
        first.append(&[b'a'; 80_000]).unwrap();
        assert!(first.as_slice().is_some() && budget.used() >= 80_000);
        let mut second = spool(dir.path());
        second.append(&[b'b'; 4_000]).unwrap();
        assert!(!second.wants_flush(), "small ones stay in memory");
        second.append(&[b'b'; 26_000]).unwrap();
        assert!(second.wants_flush());
        second.flush().unwrap();
        assert_eq!(second.read(0..30_000).unwrap(), &[b'b'; 30_000][..]);
        drop(first);
        assert_eq!(budget.used(), 0, "all is given back");
        let mut third = spool(dir.path());
        third.append(&[b'c'; 80_000]).unwrap();
        assert!(third.as_slice().is_some());
        third.append(&[b'c'; 20_000]).unwrap();
        third.flush().unwrap();
        assert_eq!(budget.used(), 0, "what is on disk is not in memory");
    }

    #[test]
    fn a_small_message_makes_no_file() {
        let mut spool = roomy(10, Path::new("/nonexistent"));
        spool.append(b"0123456789").unwrap();
        spool.flush().unwrap();
        assert_eq!(spool.as_slice(), Some(&b"0123456789"[..]));
        spool.append(b"x").unwrap();
        assert!(spool.wants_flush());
        assert!(spool.flush().is_err(), "one octet more needs the file");
    }

    #[test]
    fn the_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = roomy(4, dir.path());
        spool.append(b"0123456789").unwrap();
        spool.flush().unwrap();
        assert_eq!(spool.as_slice(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn memory_stays_bounded_without_flush() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = roomy(1000, dir.path());
        for _ in 0..100 {
            spool.append(&[b'x'; 10_000]).unwrap();
            assert!(spool.memory.len() < 2 * BLOCK + 10_000);
        }
        assert_eq!(spool.len(), 1_000_000);
    }

    proptest! {
        #[test]
        fn any_range_reads_what_was_appended(
            chunks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
            limit in 0usize..100,
            a in 0u64..200,
            b in 0u64..200,
        ) {
            let mut spool = roomy(limit, &std::env::temp_dir());
            let mut whole = Vec::new();
            for (chunk, flush) in &chunks {
                spool.append(chunk).unwrap();
                whole.extend_from_slice(chunk);
                if *flush {
                    spool.flush().unwrap();
                }
            }
            prop_assert_eq!(spool.len(), whole.len() as u64);
            let wanted = whole.get(a as usize..b as usize);
            let read = spool.read(a..b).ok();
            prop_assert_eq!(read.as_deref(), wanted);
        }
    }
}
