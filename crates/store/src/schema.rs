//! Opening the file: what it must be, and the steps that bring it up to date.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::StoreError;

/// The steps from an empty file to the schema of today. A step that has been released is never edited.
const STEPS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_checked.sql"),
    include_str!("../migrations/0003_seen.sql"),
];

/// The schema version this code reads and writes.
pub(crate) const VERSION: u32 = 3;
const _: () = assert!(STEPS.len() == VERSION as usize);

/// `application_id` of our files ("lkgt"), so that a database of someone else is never migrated.
const APPLICATION_ID: u32 = 0x6c6b_6774;

/// The longest time that opening waits for another process' lock.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens the file for writing; makes it, readable by its owner only, where there is none; brings its schema up to date.
pub(crate) fn open_writing(path: &Path) -> Result<Connection, StoreError> {
    let folder = prove_folder(path)?;
    create_private(path, folder)?;
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let sql = |e: rusqlite::Error| StoreError::opening(path, &e);
    // Identity first: switching to WAL would already write into a stranger's file.
    let version = version(&conn, path)?;
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0))
        .map_err(sql)?;
    if mode != "wal" {
        let why = format!("its folder's file system does not allow a write-ahead log (journal mode {mode})").into();
        return Err(StoreError::Open {
            path: path.to_owned(),
            why,
        });
    }
    conn.pragma_update(None, "synchronous", "full").map_err(sql)?;
    // A commit never pays for a checkpoint: the writer runs them between commits.
    conn.pragma_update(None, "wal_autocheckpoint", 0).map_err(sql)?;
    conn.pragma_update(None, "journal_size_limit", 32 << 20).map_err(sql)?;
    conn.pragma_update(None, "cache_size", -4096).map_err(sql)?;
    if version < VERSION {
        migrate(&mut conn, path)?;
    }
    Ok(conn)
}

/// Opens the file for queries alone; it must be there and of today's schema.
pub(crate) fn open_reading(path: &Path) -> Result<Connection, StoreError> {
    match fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(StoreError::Missing(path.to_owned())),
        Err(e) => {
            return Err(StoreError::Open {
                path: path.to_owned(),
                why: e.to_string().into(),
            });
        }
    }
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = version(&conn, path)?;
    if found < VERSION {
        return Err(StoreError::OlderSchema {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    conn.pragma_update(None, "cache_size", -1024)
        .map_err(|e| StoreError::opening(path, &e))?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    // No SQLITE_OPEN_URI: a path is a path, whatever it begins with.
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|conn| conn.busy_timeout(OPEN_TIMEOUT).map(|()| conn))
        .map_err(|e| StoreError::opening(path, &e))
}

/// The schema version of a file that is ours or empty.
fn version(conn: &Connection, path: &Path) -> Result<u32, StoreError> {
    let sql = |e: rusqlite::Error| StoreError::opening(path, &e);
    let application: u32 = conn
        .pragma_query_value(None, "application_id", |r| r.get(0))
        .map_err(sql)?;
    let found: u32 = conn
        .pragma_query_value(None, "user_version", |r| r.get(0))
        .map_err(sql)?;
    let tables: u32 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .map_err(sql)?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        let why = "an SQLite database of another program".into();
        return Err(StoreError::NotAStore {
            path: path.to_owned(),
            why,
        });
    }
    if found > VERSION {
        return Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(found)
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sql = |e: rusqlite::Error| StoreError::opening(path, &e);
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql)?;
    // Read again under the lock: another process may have taken the steps meanwhile.
    let done = version(&tx, path)?;
    for step in STEPS.iter().skip(done as usize) {
        tx.execute_batch(step).map_err(sql)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    tx.pragma_update(None, "user_version", VERSION).map_err(sql)?;
    tx.commit().map_err(sql)
}

fn prove_folder(path: &Path) -> Result<&Path, StoreError> {
    let refuse = |why: String| {
        Err(StoreError::Open {
            path: path.to_owned(),
            why: why.into(),
        })
    };
    let folder = match path.parent() {
        None => return refuse("a folder, not a file".to_owned()),
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
    };
    match fs::metadata(folder) {
        Ok(m) if !m.is_dir() => refuse(format!("{} is not a folder", folder.display())),
        Ok(_) => Ok(folder),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            refuse(format!("the folder {} does not exist", folder.display()))
        }
        Err(e) => refuse(format!("the folder {} cannot be used: {e}", folder.display())),
    }
}

/// Makes an empty file that only its owner can read; SQLite gives the log beside it the same mode.
fn create_private(path: &Path, folder: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // SQLite syncs the folder for files that it makes; this one it will find made.
    let why = match options.open(path).and_then(|_| File::open(folder)?.sync_all()) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            if !path.is_dir() {
                return Ok(());
            }
            "a folder, not a file".into()
        }
        Err(e) => e.to_string().into(),
    };
    Err(StoreError::Open {
        path: path.to_owned(),
        why,
    })
}
