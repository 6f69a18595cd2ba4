//! Messages from files or standard input, through a filter, to files or standard output.
//!
//! Files are worked on in parallel, reported in order. A message is not held in memory as a whole once it is larger than
//! [`IN_MEMORY`], and no file ever stands half written under its name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use message::{Patch, Segment, Source};
use serde_json::json;
use tempfile::NamedTempFile;

/// Larger messages are read piece by piece.
const IN_MEMORY: u64 = 4 * 1024 * 1024;
/// Octets copied at a time.
const PIECE: u64 = 256 * 1024;
/// A parser that recurses must not meet the two MiB of an ordinary thread.
const STACK: usize = 8 * 1024 * 1024;
/// The name of standard input among the files.
const STDIN: &str = "-";

/// The result of a filter for one message.
#[derive(Debug, Default)]
pub struct Filtered {
    /// The changes; `None` keeps the message back: no output is written.
    pub patch: Option<Patch>,
    /// A line for the report, without line end.
    pub report: Option<String>,
    /// A line for standard error.
    pub complaint: Option<String>,
}

impl Filtered {
    /// A message that goes on unchanged because it could not be read, with its reason.
    #[must_use]
    pub fn unreadable(file: &str, reason: &str) -> Self {
        let report = json!({"file": file, "changed": false, "links": [], "quirks": [], "reason": reason});
        Self {
            patch: Some(Patch::default()),
            report: Some(report.to_string()),
            complaint: Some(format!("{file}: {reason}; the message is passed through unchanged")),
        }
    }
}

/// Looks at one message, given with the name of its file. An error, in words, is a fault with this file: nothing is
/// written for it.
pub type Filter<'f> = dyn Fn(&dyn Source, &str) -> Result<Filtered, String> + Sync + 'f;

/// The outcome of all messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileTally {
    /// Messages written.
    pub written: usize,
    /// Messages that the filter kept back.
    pub kept_back: usize,
    /// Files that could not be read or written.
    pub failed: usize,
}

/// Where messages come from and where they go.
#[derive(Debug)]
pub struct Plan {
    inputs: Vec<Input>,
    out_dir: Option<PathBuf>,
}

#[derive(Debug)]
struct Input {
    /// As given: the `file` of the report.
    shown: String,
    path: Option<PathBuf>,
    /// The name in the folder.
    name: PathBuf,
}

impl Plan {
    /// Standard input when there are no `files`, or for `-`; standard output when there is no `out_dir`.
    ///
    /// # Errors
    /// In words, what cannot be meant: several messages for standard output, or two of one name for a folder.
    pub fn new(files: Vec<PathBuf>, out_dir: Option<PathBuf>) -> Result<Self, String> {
        let files = if files.is_empty() {
            vec![PathBuf::from(STDIN)]
        } else {
            files
        };
        if files.len() > 1 && out_dir.is_none() {
            return Err("several files need --out-dir: standard output takes one message".to_owned());
        }
        let mut names = BTreeMap::new();
        let mut inputs = Vec::with_capacity(files.len());
        for path in files {
            let stdin = path.as_os_str() == STDIN;
            let shown = path.display().to_string();
            let name = match path.file_name() {
                _ if stdin => PathBuf::from("stdin"),
                Some(name) => PathBuf::from(name),
                None => return Err(format!("{shown} is not a file")),
            };
            if let Some(other) = names.insert(name.clone(), shown.clone())
                && out_dir.is_some()
            {
                return Err(format!(
                    "{other} and {shown} would be written to the same file of --out-dir; give them in two runs"
                ));
            }
            let path = (!stdin).then_some(path);
            inputs.push(Input { shown, path, name });
        }
        Ok(Self { inputs, out_dir })
    }

    /// Sends every message through `filter`. Reports and complaints come in the order of the files.
    ///
    /// # Errors
    /// The folder cannot be made, or `report` or standard output not be written. A fault with one file is a complaint.
    pub fn run(
        &self,
        filter: &Filter<'_>,
        report: &mut dyn Write,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<FileTally> {
        let Some(dir) = &self.out_dir else {
            let mut tally = FileTally::default();
            for input in &self.inputs {
                let done = one(input, filter, &mut |patch, source| write_to(out, patch, source));
                count(done, &mut tally, report, err)?;
            }
            out.flush()?;
            return Ok(tally);
        };
        fs::create_dir_all(dir).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
        self.run_parallel(dir, filter, report, err)
    }

    fn run_parallel(
        &self,
        dir: &Path,
        filter: &Filter<'_>,
        report: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<FileTally> {
        let workers = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(self.inputs.len());
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        // As many results as workers may wait; then the workers do.
        let (send, receive) = mpsc::sync_channel(workers);
        thread::scope(|scope| {
            for _ in 0..workers {
                let send = send.clone();
                let (next, stop) = (&next, &stop);
                let work = move || {
                    while !stop.load(Ordering::Relaxed) {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(input) = self.inputs.get(n) else { return };
                        let done = one(input, filter, &mut |patch, source| {
                            save(&dir.join(&input.name), patch, source)
                        });
                        if send.send((n, done)).is_err() {
                            return;
                        }
                    }
                };
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
            }
            drop(send);
            let mut tally = FileTally::default();
            let mut early = BTreeMap::new();
            let mut due = 0;
            while let Ok((n, done)) = receive.recv() {
                early.insert(n, done);
                while let Some(done) = early.remove(&due) {
                    due += 1;
                    if let Err(e) = count(done, &mut tally, report, err) {
                        stop.store(true, Ordering::Relaxed);
                        // Frees workers that wait to send.
                        while receive.recv().is_ok() {}
                        return Err(e);
                    }
                }
            }
            Ok(tally)
        })
    }
}

/// The outcome of one message.
enum FileOutcome {
    Filtered {
        written: bool,
        filtered: Filtered,
    },
    Failed(String),
    /// Standard output is gone.
    OutputGone(io::Error),
}

fn one(
    input: &Input,
    filter: &Filter<'_>,
    write: &mut dyn FnMut(&Patch, &dyn Source) -> Result<(), WriteError>,
) -> FileOutcome {
    let source = match &input.path {
        Some(path) => open(path),
        None => all_of_stdin(),
    };
    let source = match source {
        Ok(source) => source,
        Err(e) => return FileOutcome::Failed(format!("{}: {e}", input.shown)),
    };
    // One message that trips the program up must not take the others with it.
    let filtered = catch_unwind(AssertUnwindSafe(|| filter(&*source, &input.shown)));
    let filtered = match filtered.unwrap_or_else(|_| Ok(Filtered::unreadable(&input.shown, "internal fault"))) {
        Ok(filtered) => filtered,
        Err(why) => return FileOutcome::Failed(format!("{}: {why}", input.shown)),
    };
    let Some(patch) = &filtered.patch else {
        return FileOutcome::Filtered {
            written: false,
            filtered,
        };
    };
    match write(patch, &*source) {
        Ok(()) => FileOutcome::Filtered {
            written: true,
            filtered,
        },
        Err(WriteError::Input(e)) => FileOutcome::Failed(format!("{}: {e}", input.shown)),
        Err(WriteError::File(path, e)) => FileOutcome::Failed(format!("{}: {e}", path.display())),
        Err(WriteError::Output(e)) => FileOutcome::OutputGone(e),
    }
}

fn count(done: FileOutcome, tally: &mut FileTally, report: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    match done {
        FileOutcome::Filtered { written, filtered } => {
            if let Some(line) = filtered.report {
                writeln!(report, "{line}")?;
            }
            if let Some(line) = filtered.complaint {
                writeln!(err, "linkgate: {}", escaped(&line))?;
            }
            if written {
                tally.written += 1;
            } else {
                tally.kept_back += 1;
            }
        }
        FileOutcome::Failed(line) => {
            writeln!(err, "linkgate: {}", escaped(&line))?;
            tally.failed += 1;
        }
        FileOutcome::OutputGone(e) => return Err(e),
    }
    Ok(())
}

/// Names of files and words from messages must not steer a terminal.
fn escaped(line: &str) -> String {
    line.chars()
        .flat_map(|c| {
            let hidden = c.is_control();
            let shown = (!hidden).then_some(c);
            hidden.then(|| c.escape_default()).into_iter().flatten().chain(shown)
        })
        .collect()
}

enum WriteError {
    /// The message cannot be read any further.
    Input(io::Error),
    /// The file of the output folder.
    File(PathBuf, io::Error),
    /// Standard output.
    Output(io::Error),
}

fn write_to(out: &mut dyn Write, patch: &Patch, source: &dyn Source) -> Result<(), WriteError> {
    for segment in patch.segments(source.len()) {
        match segment {
            Segment::New(bytes) => out.write_all(bytes).map_err(WriteError::Output)?,
            Segment::Source(range) => {
                let mut from = range.start;
                while from < range.end {
                    let to = range.end.min(from.saturating_add(PIECE));
                    let piece = source.read(from..to).map_err(WriteError::Input)?;
                    out.write_all(&piece).map_err(WriteError::Output)?;
                    from = to;
                }
            }
        }
    }
    Ok(())
}

/// Writes beside the place and renames: the output may be the input, and a reader never sees half a message.
fn save(path: &Path, patch: &Patch, source: &dyn Source) -> Result<(), WriteError> {
    let failed = |e: io::Error| WriteError::File(path.to_owned(), e);
    let dir = path.parent().unwrap_or(Path::new("."));
    // The umask takes from this what it would take from any new file.
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    let mut new: NamedTempFile = tempfile::Builder::new()
        .prefix(".linkgate-")
        .permissions(mode)
        .tempfile_in(dir)
        .map_err(failed)?;
    match write_to(new.as_file_mut(), patch, source) {
        Err(WriteError::Output(e)) => return Err(failed(e)),
        other => other?,
    }
    new.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn Source>> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // A pipe or device has no length and no offsets.
    if !meta.is_file() {
        return spooled(file);
    }
    if meta.len() > IN_MEMORY {
        return Ok(Box::new(OnDisk { file, len: meta.len() }));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
    file.read_to_end(&mut bytes)?;
    Ok(Box::new(InMemory(bytes)))
}

fn all_of_stdin() -> io::Result<Box<dyn Source>> {
    spooled(io::stdin().lock())
}

/// Takes what has no offsets: into memory, and beyond the limit to a file without a name.
fn spooled(mut from: impl Read) -> io::Result<Box<dyn Source>> {
    let mut bytes = Vec::new();
    from.by_ref().take(IN_MEMORY).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < IN_MEMORY {
        return Ok(Box::new(InMemory(bytes)));
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(&bytes)?;
    drop(bytes);
    io::copy(&mut from, &mut file)?;
    let len = file.metadata()?.len();
    Ok(Box::new(OnDisk { file, len }))
}

struct InMemory(Vec<u8>);

impl Source for InMemory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        self.0.as_slice().read(range)
    }
}

struct OnDisk {
    file: File,
    len: u64,
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let len = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(Cow::Owned(bytes))
    }
}

#[cfg(test)]
mod tests {
    use message::Change;

    use super::*;

    /// Files of a folder with their content.
    fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths = files.iter().map(|(name, content)| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            path
        });
        let paths = paths.collect();
        (dir, paths)
    }

    fn unchanged() -> Filtered {
        Filtered {
            patch: Some(Patch::default()),
            ..Filtered::default()
        }
    }

    #[test]
    fn a_message_that_trips_the_filter_up_goes_on_unchanged_and_the_others_too() {
        let (dir, files) = folder(&[("a", b"first"), ("b", b"second"), ("c", b"third")]);
        let plan = Plan::new(files, Some(dir.path().join("out"))).unwrap();
        let filter = |source: &dyn Source, _: &str| {
            assert!(!source.read(0..1).unwrap().starts_with(b"s"), "a bug");
            Ok(unchanged())
        };
        let (mut report, mut err) = (Vec::new(), Vec::new());
        let tally = plan.run(&filter, &mut report, &mut io::sink(), &mut err).unwrap();
        assert_eq!((tally.written, tally.failed), (3, 0));
        assert_eq!(fs::read(dir.path().join("out/b")).unwrap(), b"second");
        let line: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(
            (&line["changed"], &line["reason"]),
            (&false.into(), &"internal fault".into())
        );
        assert!(String::from_utf8(err).unwrap().contains("unchanged"));
    }

    #[test]
    fn patches_are_cut_into_messages_larger_than_memory_too() {
        let mut large = vec![b'x'; usize::try_from(IN_MEMORY + PIECE).unwrap()];
        large[5] = b'y';
        let (dir, files) = folder(&[("small", b"xxxxxyxx"), ("large", &large)]);
        let filter = |_: &dyn Source, _: &str| {
            let change = Change {
                at: 5..6,
                with: b"<new>".to_vec(),
            };
            Ok(Filtered {
                patch: Some(Patch::new(vec![change]).unwrap()),
                ..Filtered::default()
            })
        };
        let plan = Plan::new(files, Some(dir.path().to_owned())).unwrap();
        plan.run(&filter, &mut io::sink(), &mut io::sink(), &mut io::sink())
            .unwrap();
        assert_eq!(fs::read(dir.path().join("small")).unwrap(), b"xxxxx<new>xx");
        let written = fs::read(dir.path().join("large")).unwrap();
        assert_eq!(written.len(), large.len() + 4);
        assert!(written.starts_with(b"xxxxx<new>xx"));
    }

    #[test]
    fn what_is_kept_back_is_not_written() {
        let (dir, files) = folder(&[("a", b"first")]);
        let plan = Plan::new(files, None).unwrap();
        let filter = |_: &dyn Source, _: &str| Ok(Filtered::default());
        let mut out = Vec::new();
        let tally = plan.run(&filter, &mut io::sink(), &mut out, &mut io::sink()).unwrap();
        assert_eq!((tally.kept_back, out.len()), (1, 0));
        drop(dir);
    }

    /// A report that cannot be written must end the work, not hang the workers.
    #[test]
    fn a_full_report_disk_ends_the_run() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let names: Vec<_> = (0..50).map(|n| n.to_string()).collect();
        let content: Vec<_> = names.iter().map(|n| (n.as_str(), &b"x"[..])).collect();
        let (dir, files) = folder(&content);
        let plan = Plan::new(files, Some(dir.path().join("out"))).unwrap();
        let filter = |_: &dyn Source, _: &str| {
            Ok(Filtered {
                report: Some("{}".to_owned()),
                ..unchanged()
            })
        };
        let e = plan
            .run(&filter, &mut Full, &mut io::sink(), &mut io::sink())
            .unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn standard_input_has_a_name_and_two_files_of_one_name_are_refused() {
        let plan = |files: &[&str], dir: Option<&str>| {
            Plan::new(files.iter().map(PathBuf::from).collect(), dir.map(PathBuf::from))
        };
        assert_eq!(plan(&[], Some("out")).unwrap().inputs[0].name, Path::new("stdin"));
        assert!(plan(&["a/x", "b/y", "-"], Some("out")).is_ok());
        assert!(plan(&["a/x", "b/x"], Some("out")).unwrap_err().contains("b/x"));
        assert!(plan(&["a/x", "b/y"], None).unwrap_err().contains("--out-dir"));
        assert!(plan(&["/"], None).is_err());
    }
}
