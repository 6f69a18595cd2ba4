//! Receipts: a promise between threads that rows are on disk, without an async runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::StoreError;

/// A receipt for rows: it resolves once they are on disk, or with the reason why they are not.
///
/// Await it, or block on [`wait`](Self::wait). Dropping it takes nothing back: the row is stored all the same.
#[derive(Debug)]
#[must_use = "a row is durable only when its receipt has resolved"]
pub struct Receipt(Arc<Slot>);

/// The writer's end: resolves the receipt, with [`StoreError::Closed`] if it is dropped before that.
#[derive(Debug)]
pub(crate) struct Promise(Option<Arc<Slot>>);

#[derive(Debug)]
struct Slot {
    progress: Mutex<Progress>,
    ready: Condvar,
}

#[derive(Debug)]
enum Progress {
    Waiting(Option<Waker>),
    Done(Result<(), StoreError>),
}

impl Receipt {
    /// Blocks until the row is on disk.
    ///
    /// # Errors
    /// The row is not on disk: see [`StoreError`] for what becomes of it.
    pub fn wait(self) -> Result<(), StoreError> {
        let mut progress = self.0.progress.lock();
        loop {
            match &*progress {
                Progress::Done(result) => return result.clone(),
                Progress::Waiting(_) => self.0.ready.wait(&mut progress),
            }
        }
    }

    /// Blocks until the row is on disk, but no longer than `limit`; `None` when that has passed.
    #[must_use]
    pub fn wait_for(&self, limit: Duration) -> Option<Result<(), StoreError>> {
        let end = Instant::now() + limit;
        let mut progress = self.0.progress.lock();
        loop {
            if let Progress::Done(result) = &*progress {
                return Some(result.clone());
            }
            if self.0.ready.wait_until(&mut progress, end).timed_out() && matches!(&*progress, Progress::Waiting(_)) {
                return None;
            }
        }
    }

    /// A receipt that has resolved already.
    pub(crate) fn resolved(result: Result<(), StoreError>) -> Self {
        Self(Arc::new(Slot {
            progress: Mutex::new(Progress::Done(result)),
            ready: Condvar::new(),
        }))
    }
}

impl Future for Receipt {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.progress.lock() {
            Progress::Done(result) => Poll::Ready(result.clone()),
            Progress::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Promise {
    /// Both ends of a new promise.
    pub(crate) fn pair() -> (Self, Receipt) {
        let slot = Arc::new(Slot {
            progress: Mutex::new(Progress::Waiting(None)),
            ready: Condvar::new(),
        });
        (Self(Some(Arc::clone(&slot))), Receipt(slot))
    }

    /// Resolves the receipt.
    pub(crate) fn resolve(mut self, result: Result<(), StoreError>) {
        self.resolve_once(result);
    }

    fn resolve_once(&mut self, result: Result<(), StoreError>) {
        let Some(slot) = self.0.take() else { return };
        let before = std::mem::replace(&mut *slot.progress.lock(), Progress::Done(result));
        slot.ready.notify_all();
        if let Progress::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.resolve_once(Err(StoreError::Closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_task_that_polled_is_woken() {
        let (promise, mut receipt) = Promise::pair();
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for count in [&first, &second] {
            let waker = Arc::clone(count).into();
            assert!(
                Pin::new(&mut receipt)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        promise.resolve(Ok(()));
        assert_eq!(
            (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)),
            (0, 1)
        );
        let ready = Pin::new(&mut receipt).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))));
    }

    #[test]
    fn a_dropped_promise_is_an_error_not_a_hang() {
        let (promise, receipt) = Promise::pair();
        assert!(receipt.wait_for(Duration::from_millis(1)).is_none());
        drop(promise);
        assert!(matches!(receipt.wait(), Err(StoreError::Closed)));
    }

    #[test]
    fn blocks_across_threads() {
        let (promise, receipt) = Promise::pair();
        let other = std::thread::spawn(move || receipt.wait());
        promise.resolve(Err(StoreError::Full));
        assert!(matches!(other.join().unwrap(), Err(StoreError::Full)));
    }
}
