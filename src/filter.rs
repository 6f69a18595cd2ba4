//! The commands `linkgate rewrite` and `linkgate restore`: the pipeline of the server on files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use link::Policy;
use message::Source;
use serde::Serialize;
use store::{Reader, ReferenceRow, Store};

use crate::cli::Failure;
use crate::files::{Filtered, Plan, Tally};
use crate::job::{Action, Job, Outcome};
use crate::mail_id;
use crate::restore::restore;
use crate::rewrite::rewrite;
use crate::settings::Settings;

/// What `linkgate rewrite` is asked for.
#[derive(Debug)]
pub(crate) struct Rewriting {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) plan: Plan,
}

/// Rewrites messages as the server would for this sender and these recipients.
pub(crate) fn run_rewrite(settings: &Settings, asked: &Rewriting, out: &mut impl Write) -> Result<(), Failure> {
    let recipients: Vec<_> = asked.recipients.iter().map(|a| bare(a).to_owned()).collect();
    one_policy(settings, &recipients).map_err(Failure::Usage)?;
    if recipients.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "linkgate: no --to, so no recipient's domain has opted in: nothing changes"
        );
    }
    let sender = bare(&asked.sender);
    let references = References::new(settings);
    let filter = |source: &dyn Source, file: &str| {
        let mail_id = mail_id::next();
        let job = Job {
            settings,
            sender,
            recipients: &recipients,
            mail_id: &mail_id,
            now_s: jiff::Timestamp::now().as_second(),
        };
        match rewrite(source, &job) {
            Ok(outcome) => rewritten(file, outcome, &references),
            Err(e) => Ok(Filtered::unreadable(file, &e.to_string())),
        }
    };
    let mut report: Box<dyn Write> = match &asked.report {
        Some(path) => {
            let failed = |e| anyhow::anyhow!("{}: {e}", path.display());
            Box::new(BufWriter::new(File::create(path).map_err(failed)?))
        }
        None => Box::new(io::sink()),
    };
    let tally = asked.plan.run(&filter, &mut report, out, &mut io::stderr())?;
    report.flush()?;
    verdict(&tally)
}

/// Puts the originals back into messages or text.
pub(crate) fn run_restore(settings: &Settings, plan: &Plan, out: &mut impl Write) -> Result<(), Failure> {
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

/// A file that failed is a failure. A message that is refused is a result, unless nothing else came out: whoever pipes
/// our output on must not take an empty one for a message.
fn verdict(tally: &Tally) -> Result<(), Failure> {
    let nothing = tally.written == 0 && tally.kept_back > 0;
    if tally.failed > 0 || nothing {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

fn rewritten(file: &str, outcome: Outcome, references: &References<'_>) -> Result<Filtered, String> {
    let line = report(file, &outcome);
    if let Action::Refuse(reason) = outcome.action {
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

fn report(file: &str, outcome: &Outcome) -> String {
    let found = &outcome.report;
    let refusal = match &outcome.action {
        Action::Forward => None,
        Action::Refuse(reason) => Some(reason.as_str()),
    };
    let links = found.links.iter().map(|l| Link {
        url: &l.url,
        decision: l.decision,
        reason: l.reason,
        place: &l.place,
        part: &l.part,
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
            let mut slot = self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
