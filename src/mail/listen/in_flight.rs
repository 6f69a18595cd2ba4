//! How many messages are on their way at a time, over all listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The messages on their way, from MAIL to the reply at the end of data.
#[derive(Debug, Default)]
pub struct InFlight {
    now: AtomicUsize,
    freed: Notify,
}

/// The place of one message; given back on drop.
#[derive(Debug)]
pub(in crate::mail) struct Place {
    of: Arc<InFlight>,
}

impl InFlight {
    /// A place for one more message, if fewer than `limit` are on their way.
    pub(in crate::mail) fn try_enter(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let one_more = |now| (now < limit).then_some(now + 1);
        let entered = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.ok().map(|_| Place { of: Arc::clone(self) })
    }

    /// A place for one more message, as soon as there is one; `None` if that takes longer than `patience`.
    pub(in crate::mail) async fn enter(self: &Arc<Self>, limit: usize, patience: Duration) -> Option<Place> {
        let deadline = Instant::now() + patience;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // What is freed between the try and the wait must not be missed.
            freed.as_mut().enable();
            if let Some(place) = self.try_enter(limit) {
                return Some(place);
            }
            timeout_at(deadline, freed).await.ok()?;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.now.fetch_sub(1, Ordering::Relaxed);
        self.of.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let house = Arc::new(InFlight::default());
        let patience = Duration::from_millis(100);
        let first = house.enter(2, patience).await.unwrap();
        let _second = house.enter(2, patience).await.unwrap();
        let before = Instant::now();
        assert!(house.enter(2, patience).await.is_none());
        assert!(before.elapsed() >= patience);
        let waiting = tokio::spawn({
            let house = Arc::clone(&house);
            async move { house.enter(2, 100 * patience).await }
        });
        tokio::time::sleep(patience / 10).await;
        drop(first);
        assert!(waiting.await.unwrap().is_some());
        assert_eq!(house.now.load(Ordering::Relaxed), 1, "only the second is left");
    }

    #[tokio::test]
    async fn a_place_that_nobody_waits_for_is_free() {
        let house = Arc::new(InFlight::default());
        drop(house.try_enter(1));
        assert!(house.try_enter(1).is_some());
    }
}
