//! Bounds how many messages are on their way at a time, over all listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Counts the messages on their way, from MAIL to the reply at the end of data.
#[derive(Debug, Default)]
pub struct InFlight {
    now: AtomicUsize,
    freed: Notify,
}

/// The slot of one message; freed on drop.
#[derive(Debug)]
pub(in crate::mail) struct InFlightSlot {
    of: Arc<InFlight>,
}

impl InFlight {
    /// Takes a slot for one more message, if fewer than `limit` are on their way.
    pub(in crate::mail) fn try_enter(self: &Arc<Self>, limit: usize) -> Option<InFlightSlot> {
        let one_more = |now| (now < limit).then_some(now + 1);
        let entered = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.ok().map(|_| InFlightSlot { of: Arc::clone(self) })
    }

    /// Takes a slot for one more message, as soon as there is one; `None` if that takes longer than `patience`.
    pub(in crate::mail) async fn enter(self: &Arc<Self>, limit: usize, patience: Duration) -> Option<InFlightSlot> {
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

impl Drop for InFlightSlot {
    fn drop(&mut self) {
        self.of.now.fetch_sub(1, Ordering::Relaxed);
        self.of.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_without_a_slot_waits_for_one() {
        let in_flight = Arc::new(InFlight::default());
        let patience = Duration::from_millis(100);
        let first = in_flight.enter(2, patience).await.unwrap();
        let _second = in_flight.enter(2, patience).await.unwrap();
        let before = Instant::now();
        assert!(in_flight.enter(2, patience).await.is_none());
        assert!(before.elapsed() >= patience);
        let waiting = tokio::spawn({
            let in_flight = Arc::clone(&in_flight);
            async move { in_flight.enter(2, 100 * patience).await }
        });
        tokio::time::sleep(patience / 10).await;
        drop(first);
        assert!(waiting.await.unwrap().is_some());
        assert_eq!(in_flight.now.load(Ordering::Relaxed), 1, "only the second is left");
    }

    #[tokio::test]
    async fn a_slot_that_no_message_waits_for_is_free() {
        let in_flight = Arc::new(InFlight::default());
        drop(in_flight.try_enter(1));
        assert!(in_flight.try_enter(1).is_some());
    }
}
