//! A watch for changes of the revocations, whichever process writes them.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::rows::{RevocationRow, revocation};
use crate::{StoreError, schema};

/// A watch for changes of the revocations, made by this process or another. It costs next to nothing while nothing is
/// written.
#[derive(Debug)]
pub struct RevocationWatch {
    path: PathBuf,
    /// `None` after a failure: opened again at the next read.
    conn: Option<Connection>,
    /// `data_version` of the connection at the last read: changes with every commit of others.
    data_version: Option<i64>,
    generation: Option<u64>,
}

impl RevocationWatch {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            conn: Some(schema::open_reading(path)?),
            data_version: None,
            generation: None,
        })
    }

    /// All revocations, when they have changed since the last call, or at the first one; with the number of the change.
    /// Blocks for a disk read at most.
    ///
    /// # Errors
    /// The file cannot be read. The next call tries again, and misses nothing.
    pub fn changes(&mut self) -> Result<Option<(u64, Vec<RevocationRow>)>, StoreError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                // `data_version` means something on its own connection alone.
                self.data_version = None;
                schema::open_reading(&self.path)?
            }
        };
        let found = self
            .read_changes(&conn)
            .map_err(|e| StoreError::reading(&self.path, &e))?;
        self.conn = Some(conn);
        Ok(found)
    }

    fn read_changes(&mut self, conn: &Connection) -> rusqlite::Result<Option<(u64, Vec<RevocationRow>)>> {
        let version: i64 = conn.pragma_query_value(None, "data_version", |r| r.get(0))?;
        if self.data_version == Some(version) {
            return Ok(None);
        }
        // One transaction: the number and the rows must belong together.
        let tx = conn.unchecked_transaction()?;
        let generation: i64 = tx
            .prepare_cached("SELECT value FROM generation WHERE name = 'revocation'")?
            .query_row([], |r| r.get(0))?;
        let generation = generation.cast_unsigned();
        let rows = match self.generation == Some(generation) {
            true => None,
            false => Some(revocation::all(&tx)?),
        };
        tx.commit()?;
        self.data_version = Some(version);
        self.generation = Some(generation);
        Ok(rows.map(|rows| (generation, rows)))
    }
}
