//! The threads of the mail path.
//!
//! Sessions with clients and next hops are mostly waiting, and a thread that hands one to another thread spends more than
//! either does on it: half as many threads as processors pass on more mail than as many. With one, nothing is handed over at
//! all. What is work goes to threads of its own. The pages have a runtime apart, whose requests are short and many.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// More threads would idle.
pub(super) const MAX_WORKERS: usize = 4;
/// Threads for files, beside those for rewriting, of which there is one for each processor. Each busy one costs memory.
const FILE_THREADS: usize = 8;
/// A thread that has nothing to do goes away, and its memory with it.
pub(super) const KEEP_THREAD: Duration = Duration::from_secs(2);

/// Threads that sessions run on, until this is dropped.
#[derive(Debug)]
pub(super) struct MailThreads {
    handle: Handle,
    threads: Option<Threads>,
}

#[derive(Debug)]
enum Threads {
    One {
        /// Dropped to end the thread.
        _stop: oneshot::Sender<()>,
        _thread: JoinHandle<()>,
    },
    Several(Runtime),
}

impl MailThreads {
    /// Starts them; each has `stack` octets of stack.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub(super) fn start(stack: usize) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = (processors / 2).clamp(1, MAX_WORKERS);
        let mut builder = if workers == 1 {
            Builder::new_current_thread()
        } else {
            Builder::new_multi_thread()
        };
        if workers > 1 {
            builder.worker_threads(workers);
        }
        let runtime = builder
            .thread_name("linkgate-mail")
            .max_blocking_threads(processors + 1 + FILE_THREADS)
            .thread_keep_alive(KEEP_THREAD)
            .thread_stack_size(stack)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let threads = if workers > 1 {
            Threads::Several(runtime)
        } else {
            let (stop, stopped) = oneshot::channel::<()>();
            let run = move || {
                // Ends when the other side is dropped.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            };
            let thread = thread::Builder::new()
                .name("linkgate-mail".to_owned())
                .stack_size(stack)
                .spawn(run)?;
            Threads::One {
                _stop: stop,
                _thread: thread,
            }
        };
        Ok(Self {
            handle,
            threads: Some(threads),
        })
    }

    /// Where to spawn sessions.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for MailThreads {
    fn drop(&mut self) {
        // Work that goes on elsewhere is not waited for: a runtime may not be in an async context.
        if let Some(Threads::Several(runtime)) = self.threads.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spawned_runs_and_the_threads_end() {
        let threads = MailThreads::start(1 << 20).unwrap();
        let (done, answer) = std::sync::mpsc::channel();
        threads.handle().spawn(async move {
            tokio::task::spawn_blocking(move || done.send(()).unwrap())
                .await
                .unwrap();
        });
        answer.recv_timeout(Duration::from_secs(5)).unwrap();
        let metrics = threads.handle().metrics();
        drop(threads);
        let ended = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            metrics.num_alive_tasks() == 0
        });
        assert!(ended);
    }
}
