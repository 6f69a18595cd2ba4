//! Whole messages through the pipeline: fixtures/mail/KIND/NAME.eml, with what must come out beside each.
//!
//! `LINKGATE_BLESS=1` writes what comes out now; fixtures/mail/README.md says how to read it before it is committed.

pub(crate) mod pipeline;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use link::{LinkDecision, Word};
use linkgate::mail::rewrite::{RewriteAction, RewriteOutcome};
use pipeline::{MAX_LINE, Pipeline, longest_line};
use serde_json::json;

/// What a fixture comes to.
struct Rendered {
    /// The message as it goes on; `None` when it is refused.
    output: Option<Vec<u8>>,
    /// The text of NAME.sites.json.
    sites: String,
}

#[test]
fn every_message_comes_out_as_it_should() {
    let bless = std::env::var_os("LINKGATE_BLESS").is_some();
    let pipeline = Pipeline::new();
    let mut faults = String::new();
    for path in messages() {
        let input = fs::read(&path).unwrap();
        let rendered = render(&pipeline, &input);
        let (want, sites) = (path.with_extension("want.eml"), path.with_extension("sites.json"));
        if bless {
            match &rendered.output {
                Some(bytes) => fs::write(&want, bytes).unwrap(),
                None => drop(fs::remove_file(&want)),
            }
            fs::write(&sites, &rendered.sites).unwrap();
        }
        let name = path.display();
        if fs::read(&want).ok() != rendered.output {
            let shown = rendered.output.as_deref().map(String::from_utf8_lossy);
            let _ = writeln!(
                faults,
                "{name}: the message differs; now:\n{}",
                shown.unwrap_or_default()
            );
        }
        if fs::read_to_string(&sites).ok().as_ref() != Some(&rendered.sites) {
            let _ = writeln!(faults, "{name}: the report differs; now:\n{}", rendered.sites);
        }
    }
    assert!(
        faults.is_empty(),
        "{faults}\nLINKGATE_BLESS=1 takes this over, once it is read and right"
    );
}

#[test]
fn what_comes_out_holds_together() {
    let pipeline = Pipeline::new();
    let mut faults = String::new();
    for path in messages() {
        let input = fs::read(&path).unwrap();
        let outcome = pipeline.plan(&input);
        if outcome.action == RewriteAction::Forward
            && let Err(fault) = holds_together(&pipeline, &input, &outcome)
        {
            let _ = writeln!(faults, "{}: {fault}", path.display());
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// What is true of every result, whatever was blessed.
fn holds_together(pipeline: &Pipeline, input: &[u8], outcome: &RewriteOutcome) -> Result<(), String> {
    let output = outcome.patch.apply(input);
    if outcome.report.changed != (output != input) {
        return Err("the report does not tell whether it changed".into());
    }
    let longest = longest_line(&output);
    if longest > MAX_LINE.max(longest_line(input)) {
        return Err(format!("a line of {longest} octets"));
    }
    let again = pipeline.plan(&output);
    if let Some(link) = again
        .report
        .links
        .iter()
        .find(|l| l.decision.kind() != LinkDecision::Keep)
    {
        return Err(format!("a link of the result is not safe: {link:?}"));
    }
    let twice = again.patch.apply(&output);
    if twice != output {
        return Err(format!(
            "a second rewriting changes the result:\n{}",
            String::from_utf8_lossy(&twice)
        ));
    }
    Ok(())
}

#[test]
fn every_fixture_is_whole() {
    let known: Vec<PathBuf> = messages().collect();
    assert!(known.len() > 100, "fixtures are missing: {}", known.len());
    for folder in folders() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let stem = name.split('.').next().unwrap();
            let owner = path.with_file_name(format!("{stem}.eml"));
            assert!(known.contains(&owner), "{} belongs to no message", path.display());
        }
    }
}

#[test]
fn off_domains_and_trusted_senders_get_every_message_as_it_came() {
    let pipeline = Pipeline::new();
    for path in messages() {
        let input = fs::read(&path).unwrap();
        for (sender, recipient) in [
            ("ada@sender.example", "user@off.example"),
            ("ada@sender.example", "user@unknown.example"),
            ("news@trusted.example", "user@on.example"),
        ] {
            let outcome = pipeline.plan_for(&input, sender, recipient);
            assert_eq!(outcome.action, RewriteAction::Forward, "{}", path.display());
            assert!(
                outcome.patch.is_empty(),
                "{}: from {sender} to {recipient}",
                path.display()
            );
        }
    }
}

/// One message, and what is said about it.
fn render(pipeline: &Pipeline, input: &[u8]) -> Rendered {
    let outcome = pipeline.plan(input);
    let output = (outcome.action == RewriteAction::Forward).then(|| outcome.patch.apply(input));
    let restored = output.as_deref().map(|o| pipeline.restore(o));
    let restored = match restored {
        Some(bytes) if bytes == input => "same bytes",
        Some(_) => "other bytes",
        None => "nothing to restore",
    };
    Rendered {
        sites: sites(&outcome, restored),
        output,
    }
}

/// The report with a link on each line, so that a change shows in a comparison.
fn sites(outcome: &RewriteOutcome, restored: &str) -> String {
    let action = match &outcome.action {
        RewriteAction::Forward => "forward".to_owned(),
        RewriteAction::Refuse(reason) => format!("refuse: {reason}"),
    };
    let links: Vec<String> = outcome
        .report
        .links
        .iter()
        .map(|l| {
            let line =
                json!({"url": l.url, "decision": l.decision.kind().as_str(), "reason": l.decision.reason(), "place": l.place, "part": l.part});
            format!("\n  {line}")
        })
        .collect();
    format!(
        "{{\n \"action\": {},\n \"changed\": {},\n \"restored\": {},\n \"quirks\": {},\n \"links\": [{}\n ]\n}}\n",
        json!(action),
        outcome.report.changed,
        json!(restored),
        json!(outcome.report.quirks),
        links.join(",")
    )
}

/// Every message that goes in, sorted.
fn messages() -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> = folders()
        .flat_map(|f| fs::read_dir(f).unwrap().map(|e| e.unwrap().path()))
        .filter(|p| p.extension().is_some_and(|e| e == "eml") && !p.to_string_lossy().ends_with(".want.eml"))
        .collect();
    found.sort();
    found.into_iter()
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mail");
    fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
}
