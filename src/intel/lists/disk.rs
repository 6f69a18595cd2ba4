//! Last good copies of lists on disk: what is in force after a start when a feed is gone.
//!
//! A copy is one file: a line that says where it is from, and the list as it came. The file's time is when it was last known
//! to be what its source has.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use link::Word;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::config::Source;
use crate::intel::lists::fetch::Validators;

/// The folder of all copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyStore {
    dir: PathBuf,
}

/// The first line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    /// The version of this format.
    linkgate_list: u32,
    /// The source as it was configured: another one's copy is no copy of this one.
    from: String,
    r#type: String,
    #[serde(flatten)]
    validators: Validators,
}

const VERSION: u32 = 1;
/// Longer first lines are none of ours.
const MAX_HEAD: u64 = 64 << 10;

/// A copy that was kept.
#[derive(Debug)]
pub(crate) struct StoredCopy {
    /// Behind the first line.
    pub(crate) body: BufReader<File>,
    pub(crate) validators: Validators,
    pub(crate) confirmed: SystemTime,
}

impl CopyStore {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// A file for a copy that is being fetched. When the folder cannot be had, one that is gone with the process.
    pub(crate) fn begin(&self) -> io::Result<(NamedTempFile, Option<io::Error>)> {
        match self.in_folder() {
            Ok(file) => Ok((file, None)),
            Err(e) => Ok((NamedTempFile::new()?, Some(e))),
        }
    }

    fn in_folder(&self) -> io::Result<NamedTempFile> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.dir)?;
        tempfile::Builder::new()
            .prefix(".fetching-")
            .permissions(Permissions::from_mode(0o640))
            .tempfile_in(&self.dir)
    }

    /// Keeps a list that came just now in place of the copy before. `body`: what came.
    pub(crate) fn put(&self, source: &Source, validators: &Validators, body: &mut impl io::Read) -> io::Result<()> {
        let head = Head {
            linkgate_list: VERSION,
            from: source.from.to_string(),
            r#type: source.kind.as_str().to_owned(),
            validators: validators.clone(),
        };
        let mut file = self.in_folder()?;
        serde_json::to_writer(&mut file, &head)?;
        file.write_all(b"\n")?;
        io::copy(body, &mut file)?;
        // A name that survives a crash must not lead to half a list.
        file.as_file().sync_all()?;
        file.persist(self.path(source)).map_err(|e| e.error)?;
        File::open(&self.dir)?.sync_all()
    }

    /// The copy of a source; `None` when there is none that is from there.
    pub(crate) fn get(&self, source: &Source) -> io::Result<Option<StoredCopy>> {
        let file = match File::open(self.path(source)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let confirmed = file.metadata()?.modified()?;
        let mut body = BufReader::with_capacity(64 << 10, file);
        let mut head = Vec::new();
        io::Read::take(&mut body, MAX_HEAD).read_until(b'\n', &mut head)?;
        let Ok(head) = serde_json::from_slice::<Head>(&head) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not begin as a copy does",
            ));
        };
        let same = head.linkgate_list == VERSION
            && head.from == source.from.to_string()
            && head.r#type == source.kind.as_str();
        Ok(same.then_some(StoredCopy {
            body,
            validators: head.validators,
            confirmed,
        }))
    }

    /// The copy is what the source has now.
    pub(crate) fn confirm(&self, source: &Source, now: SystemTime) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(source))?;
        file.set_modified(now)
    }

    fn path(&self, source: &Source) -> PathBuf {
        // Names have no slash and do not begin with a dot.
        self.dir.join(format!("{}.list", source.name))
    }
}
