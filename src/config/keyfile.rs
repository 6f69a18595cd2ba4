//! The key file: made once with mode 0600, read strictly, replaced whole.
//!
//! A key that gets lost kills every click link sealed with it, so nothing here ever truncates a key file: a new one is
//! written beside the old one, synced, and renamed over it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use link::KeyRing;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::now_s;
use crate::config::ConfigError;

/// The act when there is no key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is made.
    Make,
    /// Keys are made up for the moment and not written: enough to prove a configuration.
    Pretend,
    /// It is a fault: without the keys of old, nothing can be opened.
    Refuse,
}

/// Mode bits nobody may have: all of others, and writing by the group. A group may read, so that root can own the file
/// of a service.
pub(crate) const TOO_OPEN: u32 = 0o027;

pub(crate) const HOW_TO_CLOSE: &str = "a file only its owner can write and others cannot read: chmod 600";

/// More than this is no key file.
const MAX_OCTETS: u64 = 1024 * 1024;

/// Reads the key ring.
///
/// # Errors
/// The faults of the key file, fit to stand among those of the configuration.
pub fn load(path: &Path, absent: Absent) -> Result<KeyRing, Vec<ConfigError>> {
    match File::open(path) {
        Ok(file) => read(path, file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match absent {
            Absent::Make => make(path),
            Absent::Pretend => fresh(path),
            Absent::Refuse => Err(fault(
                path,
                "no such key file; `linkgate serve`, `rewrite` and `keys add` make one",
            )),
        },
        Err(e) => Err(fault(path, format!("the key file cannot be read: {e}"))),
    }
}

/// Changes the key ring at rest: reads it, lets `change` work on it, and replaces the file, keeping its owner and mode.
///
/// Two changes at a time queue up for each other.
///
/// # Errors
/// The faults of the key file, or what `change` says in words.
pub fn update<T>(path: &Path, change: impl FnOnce(&mut KeyRing) -> Result<T, String>) -> Result<T, Vec<ConfigError>> {
    let unwritable = |e: io::Error| fault(path, format!("the key file cannot be written: {e}"));
    let file = lock(path).map_err(|e| fault(path, format!("the key file cannot be read: {e}")))?;
    let old = file.metadata().map_err(unwritable)?;
    let mut ring = read(path, file.try_clone().map_err(unwritable)?)?;
    let done = change(&mut ring).map_err(|why| fault(path, why))?;
    let replace = || {
        let new = beside(path, &ring)?;
        let f = new.as_file();
        f.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        keep_owner(f, old.uid(), old.gid())?;
        f.sync_all()?;
        new.persist(path).map_err(|e| e.error)?;
        sync_folder(path)
    };
    replace().map_err(unwritable)?;
    Ok(done)
}

/// The file with an exclusive lock on it: on the one that has the name, not on one just replaced.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file = File::open(path)?;
        file.lock()?;
        let (held, named) = (file.metadata()?, fs::metadata(path)?);
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            return Ok(file);
        }
    }
}

fn read(path: &Path, file: File) -> Result<KeyRing, Vec<ConfigError>> {
    let unreadable = |e: io::Error| fault(path, format!("the key file cannot be read: {e}"));
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(fault(path, "the key file cannot be read: it is not a file"));
    }
    let mode = meta.mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(fault(
            path,
            format!("found a key file with mode {mode:04o}, allowed: {HOW_TO_CLOSE}"),
        ));
    }
    let mut text = String::new();
    file.take(MAX_OCTETS).read_to_string(&mut text).map_err(unreadable)?;
    KeyRing::parse(&text).map_err(|e| {
        e.faults
            .into_iter()
            .map(|f| ConfigError {
                place: (f.line > 0).then_some((f.line, 1)),
                ..ConfigError::whole(path, format!("the key file is broken: {}", f.what))
            })
            .collect()
    })
}

fn fault(path: &Path, what: impl Into<String>) -> Vec<ConfigError> {
    vec![ConfigError::whole(path, what)]
}

/// Writes a key ring of one key under a name that nobody has; if another process was first, its keys count.
fn make(path: &Path) -> Result<KeyRing, Vec<ConfigError>> {
    let ring = fresh(path)?;
    let unwritable = |e: io::Error| fault(path, format!("the key file cannot be made: {e}"));
    let new = beside(path, &ring).map_err(unwritable)?;
    // Started once by root, as in a first try of `rewrite`: the service that owns the folder must be able to read it.
    if let Some(folder) = path.parent().and_then(|p| fs::metadata(p).ok()) {
        keep_owner(new.as_file(), folder.uid(), folder.gid()).map_err(unwritable)?;
    }
    new.as_file().sync_all().map_err(unwritable)?;
    match new.persist_noclobber(path) {
        Ok(_) => {
            sync_folder(path).map_err(unwritable)?;
            Ok(ring)
        }
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => load(path, Absent::Refuse),
        Err(e) => Err(unwritable(e.error)),
    }
}

/// A key ring with one new key.
fn fresh(path: &Path) -> Result<KeyRing, Vec<ConfigError>> {
    let secret = secret().ok_or_else(|| fault(path, "the system gives no randomness for a new key"))?;
    Ok(KeyRing::generate(secret, now_s()))
}

/// The secret of a new key.
#[must_use]
pub fn secret() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(secret)
}

/// A file in the same folder (mode 0600) with the ring in it.
fn beside(path: &Path, ring: &KeyRing) -> io::Result<tempfile::NamedTempFile> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".linkgate-keys-").tempfile_in(folder)?;
    new.write_all(ring.to_toml().as_bytes())?;
    Ok(new)
}

/// Gives a file to an owner, as far as this process is able to; the owner of a folder or file could do as much.
fn keep_owner(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (uid, gid) {
        return Ok(());
    }
    match fchown(file, Some(uid), Some(gid)) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// A new name lasts only once its folder is on disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_closed_to_others_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let made = load(&path, Absent::Make).unwrap().to_toml();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), made);
        assert_eq!(load(&path, Absent::Make).unwrap().to_toml(), made);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn first_starts_at_a_time_agree_on_the_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let rings: Vec<_> = std::thread::scope(|s| {
            let starts: Vec<_> = (0..8)
                .map(|_| s.spawn(|| load(&path, Absent::Make).unwrap().to_toml()))
                .collect();
            starts.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(rings.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn pretended_keys_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        load(&dir.path().join("keys.toml"), Absent::Pretend).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_open_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        load(&path, Absent::Make).unwrap();
        for (mode, fine) in [
            (0o600, true),
            (0o640, true),
            (0o400, true),
            (0o644, false),
            (0o660, false),
            (0o606, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(load(&path, Absent::Refuse).is_ok(), fine, "{mode:o}");
        }
        let e = load(&path, Absent::Refuse).unwrap_err()[0].to_string();
        assert!(e.contains("mode 0606") && e.contains("chmod 600"), "{e}");
    }

    #[test]
    fn changes_at_a_time_are_all_kept_with_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        load(&path, Absent::Make).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| update(&path, |ring| crate::cli::keys::add_key(ring).map(|_| ())).unwrap());
            }
        });
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("[[key]]").count(), 5, "{text}");
    }

    #[test]
    fn a_broken_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let mut f = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .unwrap();
        f.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        f.write_all(b"[[key]]\nid = 7\n").unwrap();
        let e = load(&path, Absent::Make).unwrap_err()[0].to_string();
        assert!(e.contains("the key file is broken"), "{e}");
        assert!(update(&path, |_| Ok(())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"[[key]]\nid = 7\n");
    }
}
