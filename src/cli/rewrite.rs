//! The commands `linkgate rewrite` and `linkgate restore`: the pipeline of the server on files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use link::{Policy, Word};
use message::Source;
use parking_lot::Mutex;
use serde::Serialize;
use store::{Reader, ReferenceRow, Store};

use super::error::CommandError;
use crate::cli::files::{FileTally, Filtered, Plan};
use crate::clock::now_s;
use crate::config::Settings;
use crate::config::keyfile::Absent;
use crate::intel::sources::NoSources;
use crate::mail::id as mail_id;
use crate::mail::restore::restore;
use crate::mail::rewrite::{Job, RewriteAction, RewriteOutcome, Suspicion, rewrite};

#[derive(Debug, Args)]
pub(super) struct RewriteArgs {
    /// Envelope sender (default: none, as for a bounce)
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    from: String,

    /// Envelope recipient; may be given more than once
    #[arg(long, value_name = "ADDR")]
    to: Vec<String>,

    /// Write a JSON object per message to FILE: file, changed, links, quirks; and action, reason where they apply
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// Write to DIR/<file name> instead of standard output; DIR is made if need be
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,

    /// Messages (default, and for -: standard input); several need --out-dir
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl FileArgs {
    fn plan(&self) -> Result<Plan, CommandError> {
        Plan::new(self.files.clone(), self.out_dir.clone()).map_err(CommandError::Usage)
    }
}

/// Rewrites messages as the server would for this sender and these recipients.
pub(super) fn rewrite_command(config: &Path, args: &RewriteArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let plan = args.files.plan()?;
    let settings = &Settings::load(config)?;
    let recipients: Vec<_> = args.to.iter().map(|a| bare(a).to_owned()).collect();
    one_policy(settings, &recipients).map_err(CommandError::Usage)?;
    if recipients.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "linkgate: no --to, so no recipient's domain has opted in: nothing changes"
        );
    }
    let sender = bare(&args.from);
    let references = References::new(settings);
    let filter = |source: &dyn Source, file: &str| {
        let mail_id = mail_id::next();
        let job = Job {
            settings,
            sender,
            recipients: &recipients,
            mail_id: &mail_id,
            now_s: now_s(),
        };
        match rewrite(source, &job, &NoSources) {
            Ok(outcome) => rewritten(file, outcome, &references),
            Err(e) => Ok(Filtered::unreadable(file, &e.to_string())),
        }
    };
    let mut report: Box<dyn Write> = match &args.report {
        Some(path) => {
            let failed = |e| anyhow::anyhow!("{}: {e}", path.display());
            Box::new(BufWriter::new(File::create(path).map_err(failed)?))
        }
        None => Box::new(io::sink()),
    };
    let tally = plan.run(&filter, &mut report, out, &mut io::stderr())?;
    report.flush()?;
    verdict(&tally)
}

/// Puts the originals back into messages or text.
pub(super) fn restore_command(config: &Path, args: &RestoreArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let plan = args.files.plan()?;
    let settings = &Settings::load_with(config, Absent::Refuse)?;
    // Only long targets need the store, so a message without them is restored without one.
    let reader = Reader::open(&settings.store);
    let no_store = reader.as_ref().err().map(ToString::to_string);
    if settings.store.exists()
        && let Some(why) = no_store
    {
        let _ = writeln!(
            io::stderr(),
            "linkgate: {why}; links whose targets are stored there stay"
        );
    }
    let reader = reader.ok();
    let filter = |source: &dyn Source, file: &str| {
        Ok(match restore(source, settings, reader.as_ref()) {
            Ok(restored) => Filtered {
                patch: Some(restored.patch),
                ..Filtered::default()
            },
            Err(e) => Filtered::unreadable(file, &e.to_string()),
        })
    };
    let tally = plan.run(&filter, &mut io::sink(), out, &mut io::stderr())?;
    verdict(&tally)
}

/// A file that failed is a failure. A message that is refused is a result, unless nothing else came out: the next
/// program of a pipe must not take an empty output for a message.
fn verdict(tally: &FileTally) -> Result<(), CommandError> {
    let nothing = tally.written == 0 && tally.kept_back > 0;
    if tally.failed > 0 || nothing {
        Err(CommandError::Reported)
    } else {
        Ok(())
    }
}

fn rewritten(file: &str, outcome: RewriteOutcome, references: &References<'_>) -> Result<Filtered, String> {
    let line = report(file, &outcome);
    if let RewriteAction::Refuse(reason) = outcome.action {
        return Ok(Filtered {
            patch: None,
            report: Some(line),
            complaint: Some(format!("{file}: refused: {reason}")),
        });
    }
    references.store(outcome.references)?;
    Ok(Filtered {
        patch: Some(outcome.patch),
        report: Some(line),
        complaint: None,
    })
}

fn report(file: &str, outcome: &RewriteOutcome) -> String {
    let found = &outcome.report;
    let refusal = match &outcome.action {
        RewriteAction::Forward => None,
        RewriteAction::Refuse(reason) => Some(reason.as_str()),
    };
    let links = found.links.iter().map(|l| Link {
        url: &l.url,
        decision: l.decision.kind().as_str(),
        reason: l.decision.reason(),
        place: &l.place,
        part: &l.part,
        suspicion: l.suspicion.as_deref().map(suspicious),
    });
    let line = Line {
        file,
        changed: found.changed,
        action: refusal.map(|_| "refuse"),
        reason: refusal,
        links: links.collect(),
        quirks: &found.quirks,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// A line of the report; its keys are promised.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    links: Vec<Link<'a>>,
    quirks: &'a [String],
}

#[derive(Serialize)]
struct Link<'a> {
    url: &'a str,
    decision: &'a str,
    reason: &'a str,
    place: &'a str,
    part: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicious<'a>>,
}

/// A reason against a link.
#[derive(Serialize)]
struct Suspicious<'a> {
    score: u32,
    signs: Vec<&'static str>,
    listed: Vec<&'a str>,
    misplaced: &'a [&'static str],
}

fn suspicious(suspicion: &Suspicion) -> Suspicious<'_> {
    Suspicious {
        score: suspicion.score(),
        signs: suspicion.signs.iter().map(|s| s.code).collect(),
        listed: suspicion.listed.iter().map(|(list, _)| list.as_str()).collect(),
        misplaced: &suspicion.misplaced,
    }
}

/// The store, opened when the first long target turns up.
struct References<'a> {
    settings: &'a Settings,
    store: Mutex<Option<Store>>,
}

impl<'a> References<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            store: Mutex::new(None),
        }
    }

    /// Stores rows durably: a link to a target that is not there would be dead.
    fn store(&self, rows: Vec<ReferenceRow>) -> Result<(), String> {
        if rows.is_empty() {
            return Ok(());
        }
        let store = {
            let mut slot = self.store.lock();
            match &*slot {
                Some(store) => store.clone(),
                None => slot
                    .insert(Store::open(&self.settings.store).map_err(|e| e.to_string())?)
                    .clone(),
            }
        };
        store.store_references(rows).wait().map_err(|e| e.to_string())
    }
}

/// One copy of a message has one policy. The server sends recipients of another policy apart; here they need a run of
/// their own.
fn one_policy(settings: &Settings, recipients: &[String]) -> Result<(), String> {
    let mut policies = recipients.iter().map(|r| (r, settings.domains.policy(r)));
    let Some((first, policy)) = policies.next() else {
        return Ok(());
    };
    let same = |a: Option<&Policy>, b: Option<&Policy>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => link::same_policy(a, b),
        _ => false,
    };
    match policies.find(|(_, p)| !same(p.map(AsRef::as_ref), policy.map(AsRef::as_ref))) {
        Some((other, _)) => Err(format!(
            "--to {other:?} goes by another policy than --to {first:?}: give them in two runs"
        )),
        None => Ok(()),
    }
}

/// An address without the angle brackets of the envelope.
fn bare(address: &str) -> &str {
    let address = address.trim();
    address
        .strip_prefix('<')
        .and_then(|a| a.strip_suffix('>'))
        .unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use message::{Change, Patch};

    use super::*;
    use crate::config::keyfile::Absent;
    use link::{Decision, WrapReason};

    use crate::mail::rewrite::{LinkReport, MessageReport};

    fn settings(store: &Path) -> Settings {
        let text = include_str!("../../fixtures/config/good/least.toml")
            .replace("/var/lib/linkgate/linkgate.db", &store.display().to_string())
            + "[domain.\"same.test\"]\n[domain.\"off.test\"]\nrewrite = \"off\"\n";
        Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap()
    }

    fn outcome(action: RewriteAction) -> RewriteOutcome {
        RewriteOutcome {
            action,
            patch: Patch::new(vec![Change {
                at: 0..1,
                with: b"x".to_vec(),
            }])
            .unwrap(),
            report: MessageReport {
                changed: true,
                links: vec![LinkReport {
                    url: "https://a.example/\"".to_owned(),
                    decision: Decision::Wrap(WrapReason::Policy),
                    place: "a href".into(),
                    part: "1.2".to_owned(),
                    suspicion: None,
                }],
                quirks: vec!["bare-lf".to_owned()],
                parts: 2,
                message_id: None,
            },
            references: Vec::new(),
        }
    }

    #[test]
    fn the_report_has_the_keys_that_are_promised() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir.path().join("s.db"));
        let done = rewritten("a.eml", outcome(RewriteAction::Forward), &References::new(&settings)).unwrap();
        assert!(done.patch.is_some());
        assert_eq!(
            done.report.as_deref(),
            Some(
                r#"{"file":"a.eml","changed":true,"links":[{"url":"https://a.example/\"","decision":"wrapped","reason":"policy","place":"a href","part":"1.2"}],"quirks":["bare-lf"]}"#
            )
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "no store without a long target"
        );
    }

    #[test]
    fn a_refused_message_is_reported_and_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir.path().join("s.db"));
        let refuse = RewriteAction::Refuse("ambiguous".to_owned());
        let done = rewritten("a.eml", outcome(refuse), &References::new(&settings)).unwrap();
        assert!(done.patch.is_none());
        let line: serde_json::Value = serde_json::from_str(&done.report.unwrap()).unwrap();
        assert_eq!(
            (&line["action"], &line["reason"]),
            (&"refuse".into(), &"ambiguous".into())
        );
        assert!(done.complaint.unwrap().contains("ambiguous"));
    }

    #[test]
    fn long_targets_are_in_the_store_before_the_message_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let settings = settings(&path);
        let row = ReferenceRow {
            id: [7; 16],
            target: "https://a.example/long".to_owned(),
            written: None,
            mail_id: "0m".to_owned(),
            created_at_us: 1,
        };
        let references = References::new(&settings);
        for _ in 0..2 {
            let mut long = outcome(RewriteAction::Forward);
            long.references.push(row.clone());
            rewritten("a.eml", long, &references).unwrap();
            let found = Reader::open(&path).unwrap().reference(&row.id).unwrap();
            assert_eq!(found.as_ref(), Some(&row));
        }
        let nowhere = self::settings(&dir.path().join("missing/s.db"));
        let mut long = outcome(RewriteAction::Forward);
        long.references.push(row);
        assert!(
            rewritten("a.eml", long, &References::new(&nowhere)).is_err(),
            "a dead link is worse than no message"
        );
    }

    #[test]
    fn a_run_fails_when_a_file_failed_or_nothing_came_out() {
        let tally = |written, kept_back, failed| {
            let tally = FileTally {
                written,
                kept_back,
                failed,
            };
            verdict(&tally).is_ok()
        };
        assert!(tally(1, 0, 0) && tally(1, 1, 0) && tally(0, 0, 0));
        assert!(!tally(0, 1, 0) && !tally(5, 0, 1));
    }

    #[test]
    fn recipients_of_one_run_share_a_policy() {
        let settings = settings(Path::new("/nonexistent/s.db"));
        let one = |to: &[&str]| {
            let to: Vec<_> = to.iter().map(|t| (*t).to_owned()).collect();
            one_policy(&settings, &to).is_ok()
        };
        assert!(one(&[]) && one(&["a@example.com", "b@EXAMPLE.com"]) && one(&["a@x.test", "b@y.test"]));
        assert!(!one(&["a@example.com", "b@x.test"]) && !one(&["a@example.com", "b@off.test"]));
        assert_eq!((bare(" <a@b> "), bare("<>"), bare("a@b")), ("a@b", "", "a@b"));
    }
}
