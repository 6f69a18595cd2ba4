//! Bounds on the chains followed at a time, and on how many of them ask the same host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One host is not asked more often than this at a time: a newsletter's readers must not become an attack.
const PER_HOST: usize = 4;

/// A gate with a bounded queue before it.
#[derive(Debug)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    /// Places in the queue, chains that are through included.
    places: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// ChainPermit to follow one chain; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct ChainPermit {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// ChainPermit to ask one host; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct HostPermit<'a> {
    gate: &'a Gate,
    host: String,
    permit: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// Lets `most` through at a time; as many more wait.
    pub(super) fn new(most: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(most)),
            places: Arc::new(Semaphore::new(most * 2)),
            hosts: Mutex::default(),
        }
    }

    /// Waits for leave to follow a chain, until `until`. `None` when the queue is full, or time is up.
    pub(super) async fn enter(&self, until: Instant) -> Option<ChainPermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let running = Arc::clone(&self.running).acquire_owned();
        let running = tokio::time::timeout_at(until.into(), running).await.ok()?.ok()?;
        Some(ChainPermit {
            _running: running,
            _place: place,
        })
    }

    /// Waits for leave to ask `host`, until `until`.
    pub(super) async fn host(&self, host: &str, until: Instant) -> Option<HostPermit<'_>> {
        let semaphore = {
            let mut hosts = self.hosts.lock();
            let new = || Arc::new(Semaphore::new(PER_HOST));
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
        };
        // Made first, so that the map is tidied when the wait is given up.
        let mut leave = HostPermit {
            gate: self,
            host: host.to_owned(),
            permit: None,
        };
        let permit = tokio::time::timeout_at(until.into(), semaphore.acquire_owned()).await;
        leave.permit = Some(permit.ok()?.ok()?);
        Some(leave)
    }
}

impl Drop for HostPermit<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut hosts = self.gate.hosts.lock();
        // A chain that waits for the host or asks it holds another one.
        if hosts.get(&self.host).is_some_and(|s| Arc::strong_count(s) == 1) {
            hosts.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_queue_is_as_long_as_the_gate_is_wide() {
        let gate = Gate::new(1);
        let long = Instant::now() + Duration::from_secs(60);
        let first = gate.enter(long).await.unwrap();
        assert!(gate.enter(Instant::now() + Duration::from_millis(20)).await.is_none());
        let mut waiting = Box::pin(gate.enter(long));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        // The queue is full: the answer comes at once.
        assert!(gate.enter(long).await.is_none());
        drop(first);
        assert!(waiting.await.is_some());
    }

    #[tokio::test]
    async fn one_host_is_asked_a_few_times_at_once_and_forgotten_after() {
        let gate = Gate::new(100);
        let soon = || Instant::now() + Duration::from_millis(20);
        let mut held = Vec::new();
        for _ in 0..PER_HOST {
            held.push(gate.host("a.example", soon()).await.unwrap());
        }
        assert!(gate.host("a.example", soon()).await.is_none());
        assert!(gate.host("b.example", soon()).await.is_some());
        drop(held);
        assert_eq!(gate.hosts.lock().len(), 0);
    }
}
