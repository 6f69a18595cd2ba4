//! Bounds what all messages together use of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::config::Limits;

/// The budgets of all messages. How large they are is a matter of settings, and may change.
#[derive(Debug)]
pub struct Budgets {
    /// Memory for messages as they come in.
    pub spool: Arc<SpoolBudget>,
    rewrite: Mutex<Arc<RewriteBudget>>,
}

impl Budgets {
    /// Budgets of which nothing is used.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            spool: Arc::default(),
            rewrite: Mutex::new(Arc::new(RewriteBudget::new(limits.rewrite_memory_mib))),
        }
    }

    /// The budget for rewriting under the settings of the moment. With another size it is another budget: messages under way
    /// keep their share of the one before.
    #[must_use]
    pub fn rewrite(&self, limits: &Limits) -> Arc<RewriteBudget> {
        let mut rewrite = self.rewrite.lock();
        if rewrite.mib() != limits.rewrite_memory_mib {
            *rewrite = Arc::new(RewriteBudget::new(limits.rewrite_memory_mib));
        }
        Arc::clone(&rewrite)
    }

    /// MiB that are in use for rewriting.
    #[must_use]
    pub fn rewrite_used_mib(&self) -> u32 {
        self.rewrite.lock().used_mib()
    }
}

/// The octets that all messages together hold in memory.
///
/// Once there are as many as may be, messages go to their files early: what a burst of large messages costs is disk, not
/// memory.
#[derive(Debug, Default)]
pub struct SpoolBudget {
    used: AtomicUsize,
}

impl SpoolBudget {
    /// How many octets are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `n` octets, if no more than `total` are in use then.
    pub(crate) fn take(&self, n: usize, total: usize) -> bool {
        let taken = |used: usize| used.checked_add(n).filter(|sum| *sum <= total);
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
    async fn a_budget_of_another_size_is_another_and_messages_under_way_keep_their_share() {
        let mut limits = Limits::default();
        let budgets = Budgets::new(&limits);
        let before = budgets.rewrite(&limits);
        let under_way = before.acquire(1 << 30).await.unwrap();
        assert!(Arc::ptr_eq(&before, &budgets.rewrite(&limits)));
        limits.rewrite_memory_mib = 16;
        let after = budgets.rewrite(&limits);
        assert_eq!((after.mib(), after.used_mib()), (16, 0));
        assert_eq!(before.used_mib(), before.mib());
        drop(under_way);
        assert_eq!(before.used_mib(), 0);
    }

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
