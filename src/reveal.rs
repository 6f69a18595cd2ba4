//! The command `linkgate reveal`: what is behind a click link, from the key ring alone.

use std::io::{self, BufRead, Write};
use std::path::Path;

use link::{Opened, Opener};
use serde::Serialize;
use serde_json::json;
use store::{Reader, ReferenceRow};

use crate::settings::Settings;

/// Writes a line per URL: its target, or with `json` an object with `click_url`, `url`, `recipient`, `message_id`,
/// `issued_at`, `sender`, or with `click_url` and `error`. Without `json`, what does not open goes to `err`.
///
/// Gives the number of URLs that did not open.
///
/// # Errors
/// What reading or writing says.
pub fn run(
    settings: &Settings,
    urls: &mut dyn Iterator<Item = io::Result<String>>,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<usize> {
    let opener = Opener::new(&settings.keys, &settings.click.base);
    let mut failed = 0;
    for url in urls {
        let url = url?;
        match open(settings, &opener, &url) {
            Ok((target, opened)) if json => {
                let m = opened.message();
                let line = Revealed {
                    click_url: &url,
                    url: &target,
                    recipient: m.recipient.as_deref(),
                    message_id: &m.message_id,
                    issued_at: issued_at(m.issued_at),
                    sender: &m.sender,
                };
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            }
            Ok((target, _)) => writeln!(out, "{target}")?,
            Err(why) => {
                failed += 1;
                if json {
                    writeln!(out, "{}", json!({"click_url": url, "error": why}))?;
                } else {
                    writeln!(err, "linkgate: {}: {why}", url.escape_debug())?;
                }
            }
        }
    }
    Ok(failed)
}

/// An opened click link; its keys are promised.
#[derive(Serialize)]
struct Revealed<'a> {
    click_url: &'a str,
    url: &'a str,
    recipient: Option<&'a str>,
    message_id: &'a str,
    issued_at: Option<String>,
    sender: &'a str,
}

/// URLs from a text with one per line; blank lines are skipped.
pub fn lines(text: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    text.split(b'\n').filter_map(|line| match line {
        Ok(bytes) => {
            let line = String::from_utf8_lossy(&bytes).trim().to_owned();
            (!line.is_empty()).then_some(Ok(line))
        }
        Err(e) => Some(Err(e)),
    })
}

fn open(settings: &Settings, opener: &Opener<'_>, url: &str) -> Result<(String, Opened), String> {
    let base = &settings.click.base;
    // A bare path is what web server logs show.
    let link = if url.starts_with('/') {
        base.parse_path(url)
    } else {
        base.parse(url)
    };
    let link = link.ok_or_else(|| format!("no click link: it does not begin with {}/c/", base.as_str()))?;
    let mut opened = opener.open_link(&link).map_err(|e| e.to_string())?;
    if let Some(id) = opened.reference_id() {
        let row = stored(&settings.store, &id)?;
        opened = opener
            .complete(opened, &row.target, row.written.as_deref())
            .map_err(|e| e.to_string())?;
    }
    match opened.target() {
        Some(target) => Ok((target.as_str().to_owned(), opened)),
        None => Err("the token names no target".to_owned()),
    }
}

/// Long targets are rare, so the store is opened for each: the rest needs no store at all.
fn stored(store: &Path, id: &[u8; 16]) -> Result<ReferenceRow, String> {
    let row = Reader::open(store).and_then(|r| r.reference(id));
    match row {
        Ok(Some(row)) => Ok(row),
        Ok(None) => Err(format!("its target is not in the store {}", store.display())),
        Err(e) => Err(format!("its target is in the store, which cannot be read: {e}")),
    }
}

fn issued_at(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|t| t.to_string())
}
