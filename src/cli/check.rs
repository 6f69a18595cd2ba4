//! The command `linkgate check`: proves a configuration and says in plain words what it would do.

use std::io::Write;
use std::path::Path;

use link::{Rewrite, Word};

use super::error::CommandError;
use crate::config::keyfile::Absent;
use crate::config::{Protocol, Settings};

/// Writes what the configuration means, with notes on what is sound but may surprise.
pub(crate) fn run(config: &Path, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(config, Absent::Pretend)?;
    writeln!(out, "{}: no faults", config.display())?;
    for l in &settings.listeners {
        match l.protocol {
            Protocol::Milter => writeln!(out, "listener  {} is a milter of the MTA that connects", l.listen)?,
            _ => writeln!(
                out,
                "listener  {} takes mail and hands it on to {}",
                l.listen, l.next_hops
            )?,
        }
    }
    let click = &settings.click;
    writeln!(out, "click     {} answers for {}", click.listen, click.base.as_str())?;
    writeln!(out, "admin     {}", settings.admin_listen)?;
    let will = |path: &Path| if path.exists() { "" } else { " (will be made)" };
    writeln!(out, "store     {}{}", settings.store.display(), will(&settings.store))?;
    writeln!(
        out,
        "keys      {}{}",
        settings.keys_file.display(),
        will(&settings.keys_file)
    )?;
    let mut domains: Vec<_> = settings.domains.iter().collect();
    domains.sort_by_key(|(name, _)| *name);
    for (name, policy) in domains {
        writeln!(out, "domain    {name}: rewrite {}", policy.rewrite.as_str())?;
    }
    for note in notes(&settings) {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.domains.iter().all(|(_, p)| p.rewrite == Rewrite::Off) {
        notes.push("no domain has opted in: all mail goes on unchanged".to_owned());
    }
    if settings.click.base.as_str().starts_with("http:") {
        notes.push("click.public_url begins with http: what readers click can be read on the way".to_owned());
    }
    for (key, path) in [("store.url", &settings.store), ("keys.file", &settings.keys_file)] {
        if let Some(folder) = path.parent().filter(|p| !p.is_dir()) {
            notes.push(format!("{key}: the folder {} does not exist yet", folder.display()));
        }
    }
    notes
}
