//! Notifying the service manager (sd_notify(3)); without `NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use store::StoreError;
use tokio::runtime::Handle;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tracing::{debug, error};

use crate::ledger::Ledger;

/// How long to wait before a full queue is asked again.
const QUEUE_PAUSE: Duration = Duration::from_millis(100);

/// All sockets are bound, the store is open.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] says when that is done.
pub(super) fn reloading() {
    // systemd 253 and later take the first without the second for a failed reload.
    let now = NotifyState::monotonic_usec_now();
    let mut states = vec![NotifyState::Reloading];
    states.extend(now.ok());
    states.push(NotifyState::Status("reloading"));
    send(&states);
}

/// Nothing new is taken; what is open may take that long.
pub(super) fn stopping(at_most: Duration) {
    let extend = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    let status = format!("draining, for {} s at most", at_most.as_secs());
    send(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(extend),
        NotifyState::Status(&status),
    ]);
}

/// Tells the watchdog that we are alive, for as long as we are: the runtime of the pages runs this, and the threads of mail
/// and the thread of the store have to answer. A store whose disk fails answers too, with an error. Returns at once where no
/// watchdog waits.
pub(super) async fn watch(ledger: Ledger, mail: Handle) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    let pause = limit / 2;
    let mut turns = interval_at(Instant::now(), pause);
    loop {
        turns.tick().await;
        let moves = mail.spawn(async {});
        if !matches!(timeout(pause, moves).await, Ok(Ok(()))) {
            error!(target: "linkgate::server", "the watchdog is not told: the threads of the mail path do not answer");
        } else if timeout(pause, answers(&ledger)).await == Ok(true) {
            send(&[NotifyState::Watchdog]);
        } else {
            error!(target: "linkgate::server", "the watchdog is not told: the store's thread does not answer");
        }
    }
}

/// Whether the store's thread moves. While its queue is full that cannot be told yet.
async fn answers(ledger: &Ledger) -> bool {
    loop {
        match ledger.flush().await {
            Err(StoreError::Full) => sleep(QUEUE_PAUSE).await,
            Err(StoreError::Closed) => return false,
            Ok(()) | Err(_) => return true,
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        debug!(target: "linkgate::server", cause = %e, "the service manager was not told");
    }
}
