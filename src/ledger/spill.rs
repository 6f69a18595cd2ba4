//! Clicks that the store could not take: lines of JSON in a file beside it, until it can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use store::ClickRow;

/// The file may grow to this many octets; what comes on top is refused.
const LIMIT: u64 = 256 << 20;

/// Rows handed over at a time: leaves room in the store's queue for clicks that happen meanwhile.
const GROUP: usize = 1024;

/// A file that rows are appended to, durably, and taken from in one go.
#[derive(Debug)]
pub(super) struct Spill {
    /// Rows are appended here.
    path: PathBuf,
    /// The name of the file while its rows are taken back, so that new rows go to a new file.
    taken: PathBuf,
    writing: Mutex<Writing>,
    /// How many appends are on disk. Held during a sync: a caller that waits finds its row synced, too.
    synced: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Writing {
    file: Option<File>,
    octets: u64,
    appended: u64,
}

impl Spill {
    /// The spill of the store at `store`.
    pub(super) fn beside(store: &Path) -> Self {
        let beside = |ending: &str| {
            let mut name = store.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self {
            path: beside(".unstored.jsonl"),
            taken: beside(".unstored-taken.jsonl"),
            writing: Mutex::default(),
            synced: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there are rows to take back.
    pub(super) fn is_empty(&self) -> bool {
        !self.path.exists() && !self.taken.exists()
    }

    /// Appends a row; it is on disk when this returns. Blocks for a disk sync, which concurrent callers share.
    pub(super) fn append(&self, row: &ClickRow) -> io::Result<()> {
        // A line end in front as well: the line before may have been cut, by a crash or a full disk.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, row)?;
        line.push(b'\n');
        let mine = {
            let mut writing = self.writing();
            if writing.octets + line.len() as u64 > LIMIT {
                return Err(io::Error::other(format!(
                    "{} has reached its limit of {LIMIT} octets",
                    self.path.display()
                )));
            }
            if writing.file.is_none() {
                writing.octets = fs::metadata(&self.path).map_or(0, |m| m.len());
                writing.file = Some(open_private(&self.path)?);
            }
            let Writing {
                file: Some(file),
                octets,
                appended,
            } = &mut *writing
            else {
                return Err(io::Error::other("no file"));
            };
            file.write_all(&line)?;
            *octets += line.len() as u64;
            *appended += 1;
            *appended
        };
        let mut synced = self.synced.lock();
        if *synced < mine {
            let (file, appended) = {
                let writing = self.writing();
                (
                    writing.file.as_ref().map(File::try_clone).transpose()?,
                    writing.appended,
                )
            };
            // No file: it was taken, which syncs it.
            if let Some(file) = file {
                file.sync_data()?;
            }
            *synced = appended;
        }
        Ok(())
    }

    /// Hands all rows to `store`, a group at a time, and forgets them once it has kept them all. Lines that are no rows
    /// go to `broken`.
    ///
    /// Returns how many rows were kept. Rows may be handed over again after an error or a crash.
    pub(super) fn take(
        &self,
        mut store: impl FnMut(Vec<ClickRow>) -> Result<(), store::StoreError>,
        mut broken: impl FnMut(&str),
    ) -> Result<usize, TakeError> {
        // A file left over from a take that was cut short comes first.
        if !self.taken.exists() {
            let mut writing = self.writing();
            if let Some(file) = writing.file.take() {
                file.sync_data()?;
            }
            writing.octets = 0;
            match fs::rename(&self.path, &self.taken) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(e) => return Err(e.into()),
            }
        }
        let mut count = 0;
        let mut lines = BufReader::new(File::open(&self.taken)?).split(b'\n');
        loop {
            let group = lines.by_ref().take(GROUP).collect::<Result<Vec<_>, _>>()?;
            if group.is_empty() {
                break;
            }
            let mut rows = Vec::with_capacity(group.len());
            for line in group.into_iter().filter(|line| !line.is_empty()) {
                match serde_json::from_slice(&line) {
                    Ok(row) => rows.push(row),
                    Err(_) => broken(&String::from_utf8_lossy(&line)),
                }
            }
            count += rows.len();
            store(rows)?;
        }
        fs::remove_file(&self.taken)?;
        Ok(count)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock()
    }
}

/// Why rows could not be taken back.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The name has to be on disk as well, not only what the file holds.
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{EventId, Method, Outcome, StoreError};

    fn row(n: u8) -> ClickRow {
        ClickRow {
            user: None,
            url: "https://a.example/\u{e4}\n".to_owned(),
            host: "a.example".to_owned(),
            mail_id: "m".to_owned(),
            sender: String::new(),
            policy_domain: "example.com".to_owned(),
            user_agent: String::new(),
            client_ip: None,
            method: Method::Get,
            outcome: Outcome::Redirected,
            ..ClickRow::new(EventId([n; 16]), i64::from(n))
        }
    }

    #[test]
    fn rows_stay_until_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::beside(&folder.path().join("s.db"));
        assert!(spill.is_empty());
        spill.append(&row(1)).unwrap();
        let refused = spill.take(|_| Err(StoreError::Full), |_| panic!());
        assert!(matches!(refused, Err(TakeError::Store(_))));
        // Meanwhile another one comes; it goes to a file of its own and is taken next.
        spill.append(&row(2)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            spill
                .take(
                    |rows| {
                        seen.extend(rows);
                        Ok(())
                    },
                    |_| panic!(),
                )
                .unwrap();
        }
        assert_eq!(seen, [row(1), row(2)]);
        assert!(spill.is_empty());
    }

    #[test]
    fn a_line_cut_by_a_crash_does_not_keep_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let spill = Spill::beside(&store);
        spill.append(&row(1)).unwrap();
        let whole = fs::read(spill.path()).unwrap();
        fs::write(spill.path(), [&whole[..], &whole[..20]].concat()).unwrap();
        // The next run adds to what the last one left.
        let again = Spill::beside(&store);
        again.append(&row(2)).unwrap();
        let (mut seen, mut broken) = (Vec::new(), Vec::new());
        let keep = |rows| {
            seen.extend(rows);
            Ok(())
        };
        let count = again.take(keep, |line| broken.push(line.to_owned())).unwrap();
        assert_eq!((count, seen), (2, vec![row(1), row(2)]));
        assert_eq!(broken.len(), 1);
    }

    #[test]
    fn concurrent_appends_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::beside(&folder.path().join("s.db"));
        std::thread::scope(|s| {
            for n in 0..16 {
                let spill = &spill;
                s.spawn(move || (0..4).for_each(|i| spill.append(&row(n * 4 + i)).unwrap()));
            }
        });
        let count = spill.take(|_| Ok(()), |_| panic!()).unwrap();
        assert_eq!(count, 64);
    }
}
