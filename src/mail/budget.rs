//! Bounds what all messages together use of the machine.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// The octets that all messages together may hold in memory.
///
/// Once it is used up, messages go to their files early: what a burst of large messages costs is disk, not memory.
#[derive(Debug)]
pub struct SpoolBudget {
    octets: usize,
    used: AtomicUsize,
}

impl SpoolBudget {
    /// A budget of that many octets.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        Self {
            octets,
            used: AtomicUsize::new(0),
        }
    }

    /// How many octets there are in all.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// How many octets are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, n: usize) -> bool {
        let taken = |used: usize| used.checked_add(n).filter(|sum| *sum <= self.octets);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    pub(crate) fn give_back(&self, n: usize) {
        self.used.fetch_sub(n, Ordering::Relaxed);
    }
}

/// Processors and memory for rewriting.
///
/// As many messages are worked on at a time as there are processors, and one more; fewer when they are so large that their
/// texts would not fit into memory together.
#[derive(Debug)]
pub struct RewriteBudget {
    processors: Semaphore,
    memory: Semaphore,
    mib: u32,
}

/// Memory that a message takes while it is rewritten, in multiples of its size: its texts decoded, their edits, the proof.
const GROWTH: u64 = 6;

/// The right to rewrite one message.
#[derive(Debug)]
pub struct RewritePermit<'a> {
    _processor: SemaphorePermit<'a>,
    _memory: SemaphorePermit<'a>,
}

impl RewriteBudget {
    /// A budget of that many MiB.
    #[must_use]
    pub fn new(mib: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            processors: Semaphore::new(processors + 1),
            memory: Semaphore::new(mib as usize),
            mib,
        }
    }

    /// How many MiB there are in all.
    #[must_use]
    pub fn mib(&self) -> u32 {
        self.mib
    }

    /// How many MiB are in use.
    #[must_use]
    pub fn used_mib(&self) -> u32 {
        let left = u32::try_from(self.memory.available_permits()).unwrap_or(self.mib);
        self.mib.saturating_sub(left)
    }

    /// Waits until a message of `octets` may be rewritten. One that is larger than the budget has it for itself.
    ///
    /// # Errors
    /// Never while the program runs.
    pub async fn acquire(&self, octets: u64) -> Result<RewritePermit<'_>, AcquireError> {
        let mib = (octets.saturating_mul(GROWTH) >> 20).clamp(1, u64::from(self.mib.max(1)));
        let memory = self.memory.acquire_many(u32::try_from(mib).unwrap_or(self.mib)).await?;
        Ok(RewritePermit {
            _processor: self.processors.acquire().await?,
            _memory: memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_messages_are_rewritten_one_after_the_other() {
        let budget = RewriteBudget::new(64);
        let large = budget.acquire(1 << 30).await.unwrap();
        assert_eq!(budget.used_mib(), 64);
        let second = tokio::time::timeout(std::time::Duration::from_millis(20), budget.acquire(1)).await;
        assert!(second.is_err(), "it has to wait");
        drop(large);
        let small = (budget.acquire(1).await.unwrap(), budget.acquire(4 << 20).await.unwrap());
        assert_eq!(budget.used_mib(), 25);
        drop(small);
        assert_eq!(budget.used_mib(), 0);
    }
}
