//! The handle that takes rows.

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::reader::{ClickQuery, Clicks, Reader};
use crate::receipt::{Promise, Receipt};
use crate::rows::{AlertRow, ClickRow, LabelRow, MessageRow, ReferenceRow, RevocationRow, RevokedScope};
use crate::writer::{BUSY_TIMEOUT, Item, Rows, Writer};
use crate::writer_state::{Counts, Health, Notice, OnNotice, WriterState};
use crate::{StoreError, schema};

/// Items that may wait for the writer; one more is refused.
const QUEUE: usize = 8192;

/// The store, open for writing. Cheap to clone; the last clone to go waits until the queue is on disk.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` only while the last clone is dropped.
    queue: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<()>>,
    reader: Reader,
    state: Arc<WriterState>,
}

impl Store {
    /// Opens the file, makes it where there is none (mode 0600), and starts the writer.
    ///
    /// # Errors
    /// The folder is missing or cannot be written to, the file holds something else or a newer schema, or it is locked.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::start(path, None, BUSY_TIMEOUT)
    }

    /// As [`open`](Self::open), and calls `on_notice` when something goes wrong later. It is called on the writer's thread
    /// or on that of a caller who hands in a row, and must not block.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_watched(path: &Path, on_notice: impl Fn(&Notice) + Send + Sync + 'static) -> Result<Self, StoreError> {
        Self::start(path, Some(Box::new(on_notice)), BUSY_TIMEOUT)
    }

    /// As [`open`](Self::open), for a command beside a server that may be writing all the time: waits ten seconds for its turn.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_beside(path: &Path) -> Result<Self, StoreError> {
        Self::start(path, None, Duration::from_secs(10))
    }

    fn start(path: &Path, on_notice: Option<OnNotice>, patience: Duration) -> Result<Self, StoreError> {
        let conn = schema::open_writing(path)?;
        let reader = Reader::open(path)?;
        let state = Arc::new(WriterState::new(on_notice));
        let (queue, items) = mpsc::sync_channel(QUEUE);
        let writer = Writer::new(conn, path.to_owned(), Arc::clone(&state), patience);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&items))
            .map_err(|e| StoreError::Open {
                path: path.to_owned(),
                why: e.to_string().into(),
            })?;
        Ok(Self(Arc::new(Inner {
            queue: Some(queue),
            thread: Some(thread),
            reader,
            state,
        })))
    }

    /// Stores a click. It is durable once the receipt resolves without an error.
    ///
    /// Never blocks. After an error other than [`StoreError::Write`] the row is not kept; after `Write` it is held in
    /// memory, as long as there is room, and tried again.
    pub fn record_click(&self, row: impl Into<Arc<ClickRow>>) -> Receipt {
        self.send(Rows::Click(row.into()))
    }

    /// Stores a message some time soon. Never blocks; what cannot be kept is counted, and notice given.
    pub fn record_message(&self, row: MessageRow) {
        let item = Item {
            rows: Rows::Message(Box::new(row)),
            promise: None,
        };
        let why = match self.0.queue.as_ref().map(|queue| queue.try_send(item)) {
            Some(Ok(())) => return,
            Some(Err(TrySendError::Full(item))) => (item, StoreError::Full),
            Some(Err(TrySendError::Disconnected(item))) => (item, StoreError::Closed),
            None => return,
        };
        if let (
            Item {
                rows: Rows::Message(row),
                ..
            },
            error,
        ) = why
        {
            self.0.state.count_lost(row.mail_id, error);
        }
    }

    /// Notes registrable domains that links lead to, some time soon; one that is known keeps its first time. Never blocks; what
    /// cannot be kept is noted when the domain turns up again.
    pub fn note_domains(&self, names: Vec<String>, at_us: i64) {
        if let (false, Some(queue)) = (names.is_empty(), &self.0.queue) {
            let rows = Rows::NewDomains(names, at_us);
            let _ = queue.try_send(Item { rows, promise: None });
        }
    }

    /// Stores targets too long for a token. All are durable once the receipt resolves without an error; after an error
    /// none is kept, and the caller has to try again.
    pub fn store_references(&self, rows: Vec<ReferenceRow>) -> Receipt {
        self.send(Rows::References(rows))
    }

    /// Stores an alert, unless one is there of the same kind and target that speaks of its last click already. Durable
    /// once the receipt resolves without an error; kept and tried again as clicks are.
    pub fn record_alert(&self, row: AlertRow) -> Receipt {
        self.send(Rows::Alert(Box::new(row)))
    }

    /// Gives clicks other labels. All are durable once the receipt resolves without an error; after an error none is.
    pub fn relabel(&self, rows: Vec<LabelRow>) -> Receipt {
        self.send(Rows::Labels(rows))
    }

    /// Stores a revocation, in place of one of the same scope and name. Durable once the receipt resolves without an error.
    pub fn revoke(&self, row: RevocationRow) -> Receipt {
        self.send(Rows::Revoke(Box::new(row)))
    }

    /// Takes a revocation back. Durable once the receipt resolves without an error, whether there was one or not.
    pub fn unrevoke(&self, scope: RevokedScope, name: &str) -> Receipt {
        self.send(Rows::Unrevoke(scope, name.to_owned()))
    }

    /// Resolves when everything handed in before is on disk; with an error when it is not. Either way the writer's thread
    /// has answered, unless the error is [`StoreError::Closed`] or [`StoreError::Full`].
    pub fn flush(&self) -> Receipt {
        self.send(Rows::References(Vec::new()))
    }

    /// For queries; shares nothing with the writer but the file.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// See [`Reader::reference`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reference(&self, id: &[u8; 16]) -> Result<Option<ReferenceRow>, StoreError> {
        self.0.reader.reference(id)
    }

    /// See [`Reader::clicks`].
    #[must_use]
    pub fn clicks(&self, query: &ClickQuery) -> Clicks {
        self.0.reader.clicks(query)
    }

    /// Counts of what the writer has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.state.counts()
    }

    /// Whether the store takes rows.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.0.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Health::Dead;
        }
        self.0.state.health()
    }

    fn send(&self, rows: Rows) -> Receipt {
        let (promise, receipt) = Promise::pair();
        let item = Item {
            rows,
            promise: Some(promise),
        };
        match self.0.queue.as_ref().map(|queue| queue.try_send(item)) {
            Some(Ok(())) => receipt,
            Some(Err(TrySendError::Full(_))) => Receipt::resolved(Err(StoreError::Full)),
            Some(Err(TrySendError::Disconnected(_))) | None => Receipt::resolved(Err(StoreError::Closed)),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends when its queue does, after it has written what is left.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so through the receipts it dropped.
            let _ = thread.join();
        }
    }
}
