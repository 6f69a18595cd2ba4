//! A promise that something is on disk, kept across threads without an async runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::StoreError;

/// Resolves once the row it was given for is on disk, or will not be for now.
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
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Done(Result<(), StoreError>),
}

impl Receipt {
    /// Blocks until the row is on disk.
    ///
    /// # Errors
    /// The row is not on disk: see [`StoreError`] for what becomes of it.
    pub fn wait(self) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        loop {
            match &*state {
                State::Done(result) => return result.clone(),
                State::Waiting(_) => state = self.0.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Blocks until the row is on disk, but no longer than `limit`; `None` when that has passed.
    #[must_use]
    pub fn wait_for(&self, limit: Duration) -> Option<Result<(), StoreError>> {
        let end = Instant::now() + limit;
        let mut state = self.0.lock();
        loop {
            if let State::Done(result) = &*state {
                return Some(result.clone());
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self
                .0
                .ready
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// A receipt that has resolved already.
    pub(crate) fn resolved(result: Result<(), StoreError>) -> Self {
        Self(Arc::new(Slot {
            state: Mutex::new(State::Done(result)),
            ready: Condvar::new(),
        }))
    }
}

impl Future for Receipt {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.lock() {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Waiting(waker) => {
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
            state: Mutex::new(State::Waiting(None)),
            ready: Condvar::new(),
        });
        (Self(Some(Arc::clone(&slot))), Receipt(slot))
    }

    /// Resolves the receipt.
    pub(crate) fn resolve(mut self, result: Result<(), StoreError>) {
        self.settle(result);
    }

    fn settle(&mut self, result: Result<(), StoreError>) {
        let Some(slot) = self.0.take() else { return };
        let before = std::mem::replace(&mut *slot.lock(), State::Done(result));
        slot.ready.notify_all();
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.settle(Err(StoreError::Closed));
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn wakes_whoever_polled_last() {
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
