//! Refreshing one list: load its last copy at the start, fetch or read the next one when it is due, and put that in force
//! when nothing is wrong with it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lists::{ListCopy, Protected};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::{ListKind, Origin, Source};
use crate::intel::lists::disk::CopyStore;
use crate::intel::lists::fetch::{FetchError, Fetched, Fetcher, Validators};
use crate::intel::lists::misp;
use crate::intel::lists::reading::read;
use crate::intel::lists::tables::Tables;
use crate::metrics::{Refresh, SourceCounts, SourceHealth};

/// How often a file is looked at for changes.
const POLL: Duration = Duration::from_secs(1);
/// How long after a failed attempt the next one is made.
const FIRST_AGAIN: Duration = Duration::from_secs(30);
/// Attempts that fail become as rare as this, or as `refresh_s`.
const RAREST: Duration = Duration::from_secs(3600);

/// A list to be kept fresh, with all that this takes.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) source: Arc<Source>,
    pub(crate) kind: ListKind,
    pub(crate) counts: Arc<SourceCounts>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) keep: CopyStore,
    pub(crate) protected: Arc<Protected>,
    /// For a source with a URL.
    pub(crate) fetcher: Option<Result<Fetcher, String>>,
}

/// The copy that is in force.
#[derive(Debug, Default)]
struct InForce {
    entries: Option<usize>,
    digest: Option<digest::Digest>,
    validators: Validators,
    confirmed: Option<SystemTime>,
}

/// Why a next copy was not put in force.
enum NotTaken {
    /// There is none.
    Failed(FetchError),
    /// There is one, and something is wrong with it.
    Refused(String),
}

impl From<FetchError> for NotTaken {
    fn from(e: FetchError) -> Self {
        Self::Failed(e)
    }
}

impl List {
    /// Keeps the list fresh for as long as it is in use. `poke` changes when files are to be looked at.
    pub(crate) async fn run(self, poke: watch::Receiver<u64>) {
        let this = Arc::new(self);
        match &this.source.from {
            Origin::File(path) => this.follow_file(path, poke).await,
            Origin::Url(_) => this.follow_url().await,
            Origin::Zone(_) => {}
        }
    }

    async fn follow_file(self: &Arc<Self>, path: &Path, mut poke: watch::Receiver<u64>) {
        let mut in_force = InForce::default();
        let mut taken = None;
        let mut seen = stamp(path, self.kind);
        loop {
            // A file that is still being written is not the list: it has to be the same twice.
            let now = stamp(path, self.kind);
            if now == seen && taken.as_ref() != Some(&now) {
                let began = Instant::now();
                let body = open(self.kind, path);
                let result = match body {
                    // The administrator's own list may shrink.
                    Ok(body) => self.take(body, None, &mut in_force).await,
                    Err(e) => Err(NotTaken::Failed(FetchError::new(e.to_string()))),
                };
                self.report_attempt(&result, began, &in_force);
                taken = Some(now);
            } else {
                if taken.as_ref() == Some(&now) && in_force.entries.is_some() && !self.counts.is(SourceHealth::Failing)
                {
                    self.counts.set_confirmed(clock::now());
                }
                seen = now;
                let _ = tokio::time::timeout(POLL, poke.changed()).await;
            }
        }
    }

    async fn follow_url(self: &Arc<Self>) {
        let mut in_force = InForce::default();
        self.load_kept(&mut in_force).await;
        let age = in_force
            .confirmed
            .map(|at| clock::now().duration_since(at).unwrap_or_default());
        // A copy that is fresh enough spares its server a request each time that we are started.
        let mut wait = age.map_or(Duration::ZERO, |age| jittered(self.source.refresh).saturating_sub(age));
        let mut failures = 0;
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            let result = self.fetch(&mut in_force).await;
            self.report_attempt(&result, began, &in_force);
            wait = match result {
                Ok(_) => {
                    failures = 0;
                    jittered(self.source.refresh)
                }
                Err(NotTaken::Refused(_)) => {
                    failures = 0;
                    jittered(self.source.refresh)
                }
                Err(NotTaken::Failed(e)) => {
                    let asked = e.wait.unwrap_or_default();
                    let again = after_failures(failures, self.source.refresh);
                    failures += 1;
                    jittered(again).max(asked)
                }
            };
        }
    }

    async fn load_kept(self: &Arc<Self>, in_force: &mut InForce) {
        let name = &*self.source.name;
        let kept = match self.keep.get(&self.source) {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(e) => {
                warn!(target: "linkgate::lists", source = name, cause = %e, "its last good copy cannot be read");
                return;
            }
        };
        let began = Instant::now();
        match self.take(Box::new(kept.body), None, in_force).await {
            Ok(_) => {
                in_force.validators = kept.validators;
                in_force.confirmed = Some(kept.confirmed);
                self.counts.set_confirmed(kept.confirmed);
                let age_s = clock::now()
                    .duration_since(kept.confirmed)
                    .unwrap_or_default()
                    .as_secs();
                let took_ms = began.elapsed().as_millis();
                info!(
                    target: "linkgate::lists", source = name, entries = in_force.entries, age_s, took_ms,
                    "the last good copy is in force"
                );
            }
            Err(NotTaken::Failed(FetchError { why, .. }) | NotTaken::Refused(why)) => {
                warn!(target: "linkgate::lists", source = name, why, "its last good copy is of no use");
            }
        }
    }

    /// Fetches the next copy and puts it in force, unless there is something wrong with it.
    async fn fetch(self: &Arc<Self>, in_force: &mut InForce) -> Result<Refresh, NotTaken> {
        let fetcher = match &self.fetcher {
            Some(Ok(fetcher)) => fetcher,
            Some(Err(why)) => return Err(FetchError::new(why.clone()).into()),
            None => return Err(FetchError::new("it has no URL").into()),
        };
        let cannot = |e: io::Error| FetchError::new(format!("its copy cannot be written: {e}"));
        let (mut file, not_kept) = self.keep.begin().map_err(cannot)?;
        let fetched = fetcher.list(&in_force.validators, file.as_file_mut()).await?;
        let name = &*self.source.name;
        let Fetched::Copy(validators) = fetched else {
            in_force.confirmed = Some(clock::now());
            if let Err(e) = self.keep.confirm(&self.source, clock::now()) {
                debug!(target: "linkgate::lists", source = name, cause = %e, "the age of its copy was not noted");
            }
            return Ok(Refresh::Unchanged);
        };
        if self.kind == ListKind::Misp {
            let before = self.keep.get(&self.source).ok().flatten().map(|kept| kept.body);
            misp::complete(fetcher, &mut file, before, self.source.max_size).await?;
        }
        let rewound = |file: &mut tempfile::NamedTempFile| -> io::Result<File> {
            file.as_file_mut().rewind()?;
            file.reopen()
        };
        let body = rewound(&mut file).map_err(cannot)?;
        let body = BufReader::with_capacity(64 << 10, body);
        let result = self.take(Box::new(body), in_force.entries, in_force).await?;
        in_force.validators = validators;
        in_force.confirmed = Some(clock::now());
        let kept = match not_kept {
            Some(e) => Err(e),
            None => self.put(file, in_force).await,
        };
        if let Err(e) = kept {
            warn!(
                target: "linkgate::lists", source = name, cause = %e,
                "its copy is in force but was not kept: a start without its server would be without it"
            );
        }
        Ok(result)
    }

    async fn put(self: &Arc<Self>, file: tempfile::NamedTempFile, in_force: &InForce) -> io::Result<()> {
        let (this, validators) = (Arc::clone(self), in_force.validators.clone());
        let put = move || {
            let mut body = file.reopen()?;
            this.keep.put(&this.source, &validators, &mut body)
        };
        tokio::task::spawn_blocking(put)
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    /// Reads a copy and puts it in force. `was`: how many entries the one before had, where it must not shrink.
    async fn take(
        self: &Arc<Self>,
        body: Box<dyn Read + Send>,
        was: Option<usize>,
        in_force: &mut InForce,
    ) -> Result<Refresh, NotTaken> {
        let (this, before) = (Arc::clone(self), in_force.digest);
        let work = move || this.read_and_put(body, was, before);
        let (digest, entries) = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(NotTaken::Failed(FetchError::new(e.to_string()))))?;
        in_force.digest = Some(digest);
        match entries {
            Some(entries) => {
                in_force.entries = Some(entries);
                Ok(Refresh::Updated)
            }
            None => Ok(Refresh::Unchanged),
        }
    }

    /// Reads a copy and puts it into the tables, on a thread that may block; `None` when the same copy is in force.
    fn read_and_put(
        &self,
        body: Box<dyn Read + Send>,
        was: Option<usize>,
        before: Option<digest::Digest>,
    ) -> Result<(digest::Digest, Option<usize>), NotTaken> {
        let mut body = Digesting {
            inner: body,
            context: digest::Context::new(&digest::SHA256),
        };
        let copy = read(self.kind, &self.tables.key, &self.protected, &mut body)
            .map_err(|e| NotTaken::Failed(FetchError::new(e.to_string())))?;
        let digest = body.context.finish();
        if before.is_some_and(|before| before.as_ref() == digest.as_ref()) {
            return Ok((digest, None));
        }
        lists::accept(was, &copy).map_err(|why| NotTaken::Refused(why.to_string()))?;
        let entries = copy.len();
        self.log_report(&copy);
        self.tables.put(&self.source, &copy);
        Ok((digest, Some(entries)))
    }

    fn log_report(&self, copy: &ListCopy) {
        let report = copy.report();
        for fault in &report.faults {
            let (line, why) = (fault.line, fault.why.to_string());
            debug!(target: "linkgate::lists", source = &*self.source.name, line, why, "a line was left out");
        }
    }

    /// Logs and counts an attempt.
    fn report_attempt(&self, result: &Result<Refresh, NotTaken>, began: Instant, in_force: &InForce) {
        let name = &*self.source.name;
        let (entries, took_ms) = (in_force.entries, began.elapsed().as_millis());
        let (counted, health) = match result {
            Ok(Refresh::Updated) => {
                info!(target: "linkgate::lists", source = name, entries, took_ms, "list refreshed");
                (Refresh::Updated, SourceHealth::Up)
            }
            Ok(_) => {
                debug!(target: "linkgate::lists", source = name, entries, took_ms, "list unchanged");
                (Refresh::Unchanged, SourceHealth::Up)
            }
            Err(NotTaken::Failed(FetchError { why, wait })) => {
                let wait_s = wait.map(|w| w.as_secs());
                warn!(
                    target: "linkgate::lists", source = name, why, wait_s, entries,
                    "list not refreshed: the copy of before stays in force"
                );
                (Refresh::Failed, SourceHealth::Failing)
            }
            Err(NotTaken::Refused(why)) => {
                warn!(
                    target: "linkgate::lists", source = name, why, entries,
                    "list refused: the copy of before stays in force"
                );
                (Refresh::Refused, SourceHealth::Failing)
            }
        };
        self.counts.refreshed(counted);
        self.counts.set_health(health);
        if health == SourceHealth::Up {
            self.counts.set_confirmed(clock::now());
        }
    }
}

/// Opens the file, or the folder, of a list.
pub(crate) fn open(kind: ListKind, path: &Path) -> io::Result<Box<dyn Read + Send>> {
    match kind {
        ListKind::Misp => misp::open_folder(path),
        _ => Ok(Box::new(BufReader::with_capacity(64 << 10, File::open(path)?))),
    }
}

/// Time, size and inode of a file, which differ when it has changed.
fn stamp(path: &Path, kind: ListKind) -> Option<(i64, i64, u64, u64)> {
    let meta = match kind {
        ListKind::Misp => std::fs::metadata(path.join(misp::MANIFEST)),
        _ => std::fs::metadata(path),
    };
    let meta = meta.ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

/// How long to wait after a failure that follows so many others.
fn after_failures(before: u32, refresh: Duration) -> Duration {
    let first = FIRST_AGAIN.min(refresh);
    first.saturating_mul(1 << before.min(20)).min(RAREST.max(refresh))
}

/// A time changed by a tenth at most, at random: hosts that were started together must not fetch together for ever.
fn jittered(time: Duration) -> Duration {
    let mut random = [0; 2];
    if SystemRandom::new().fill(&mut random).is_err() {
        return time;
    }
    let share = f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX);
    time.mul_f64(0.9 + 0.2 * share)
}

struct Digesting<R> {
    inner: R,
    context: digest::Context,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.context.update(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_fail_become_rarer_but_never_rarer_than_the_rarest() {
        let hour = Duration::from_secs(3600);
        let waits: Vec<_> = (0..9).map(|n| after_failures(n, hour).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(after_failures(0, Duration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(after_failures(u32::MAX, 24 * hour), 24 * hour);
    }

    #[test]
    fn jitter_is_a_tenth() {
        let times: Vec<_> = (0..100)
            .map(|_| jittered(Duration::from_secs(100)).as_millis())
            .collect();
        assert!(times.iter().all(|t| (90_000..=110_000).contains(t)), "{times:?}");
        assert!(times.iter().max() > times.iter().min());
    }
}
