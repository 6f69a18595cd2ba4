//! The commands `linkgate keys list|add|retire`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use link::{AddError, KeyId, KeyRing, KeyState, Word};
use serde_json::json;

use super::error::{CommandError, eprintln_quietly};
use crate::clock::now_s;
use crate::config::keyfile::{self, Absent};
use crate::config::{ConfigError, Settings};

/// Two random secrets with the same short id are rare, three in a row a broken random source.
const TRIES: usize = 16;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show all keys, without their secrets
    #[command(after_help = "Example:\n  linkgate keys list --json")]
    List {
        /// Print a JSON object per key: id, state, created_at, retired_at
        #[arg(long)]
        json: bool,
    },
    /// Add a key that seals new links from now on; makes the key file if there is none
    ///
    /// With several machines, copy the key file to all of them before one seals with the new key.
    #[command(after_help = "Example:\n  linkgate keys add && systemctl reload linkgate")]
    Add,
    /// Retire a key: links that were sealed with it no longer open
    #[command(after_help = "Example:\n  linkgate keys retire 3fa2")]
    Retire {
        /// The key, as `linkgate keys list` shows it
        id: String,
    },
}

/// Runs the command.
pub(super) fn command(config: &Path, command: &KeysCommand, out: &mut impl Write) -> Result<(), CommandError> {
    match command {
        KeysCommand::List { json } => {
            let settings = Settings::load_with(config, Absent::Refuse)?;
            list(&settings.keys, *json, out)?;
        }
        KeysCommand::Add => {
            let file = Settings::load_with(config, Absent::Pretend)?.keys_file;
            let (id, made) = add(&file)?;
            writeln!(out, "{id}")?;
            let made = if made { "made " } else { "" };
            eprintln_quietly(&format!(
                "linkgate: {made}{}: key {id} seals from now on",
                file.display()
            ));
        }
        KeysCommand::Retire { id } => {
            let file = Settings::load_with(config, Absent::Refuse)?.keys_file;
            retire(&file, id)?;
        }
    }
    Ok(())
}

/// Writes a line per key, without its secret: a table, or a JSON object each with `id`, `state`, `created_at`,
/// `retired_at`.
///
/// # Errors
/// The error of writing.
pub fn list(ring: &KeyRing, json: bool, out: &mut impl Write) -> io::Result<()> {
    if !json {
        writeln!(out, "{:<6}{:<10}{:<22}RETIRED", "ID", "STATE", "CREATED")?;
    }
    for key in ring.keys() {
        let created = time(key.created_at);
        let retired = key.retired_at.map(time);
        if json {
            let line = json!({
                "id": key.id.to_string(), "state": key.state.as_str(), "created_at": created, "retired_at": retired,
            });
            writeln!(out, "{line}")?;
        } else {
            let retired = retired.as_deref().unwrap_or("-");
            writeln!(
                out,
                "{:<6}{:<10}{created:<22}{retired}",
                key.id.to_string(),
                key.state.as_str()
            )?;
        }
    }
    Ok(())
}

/// Adds a key that seals from now on, or makes the key file with its first key; tells the id and whether the file is new.
///
/// # Errors
/// The faults of the key file.
pub fn add(path: &Path) -> Result<(KeyId, bool), Vec<ConfigError>> {
    if !path.exists() {
        let ring = keyfile::load(path, Absent::Make)?;
        if let Some(first) = ring.keys().find(|k| k.state == KeyState::Sealing) {
            return Ok((first.id, true));
        }
    }
    keyfile::update(path, add_key).map(|id| (id, false))
}

/// Retires an opening key: links sealed with it are dead from then on.
///
/// # Errors
/// No such key, one that is still needed, or the faults of the key file.
pub fn retire(path: &Path, id: &str) -> anyhow::Result<()> {
    let id: KeyId = id.parse().with_context(|| format!("{id:?}"))?;
    let now = now_s();
    keyfile::update(path, |ring| ring.retire(id, now).map_err(|e| format!("key {id}: {e}")))
        .map_err(|faults| anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

/// Puts a new sealing key into the ring.
pub(crate) fn add_key(ring: &mut KeyRing) -> Result<KeyId, String> {
    for _ in 0..TRIES {
        let secret = keyfile::secret().ok_or("the system gives no randomness for a new key")?;
        match ring.add(secret, now_s()) {
            Ok(id) => return Ok(id),
            Err(AddError::SameId) => {}
        }
    }
    Err("no new key has an id of its own: the ring is full".to_owned())
}

/// RFC 3339 in UTC; times no calendar holds come out as their seconds.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}
