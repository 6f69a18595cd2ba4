//! The command `linkgate reveal`: opens click links and other vendors' wrappers, with the key ring alone.

use std::io::{self, BufRead, Write};
use std::path::Path;

use clap::Args;
use link::{LayerKind, Opened, Opener, Resolve, Resolved, Target, Unwrapped, Word, resolve};
use serde::Serialize;
use serde_json::json;
use store::{Reader, ReferenceRow};

use super::error::CommandError;
use crate::config::Settings;
use crate::config::keyfile::Absent;

#[derive(Debug, Args)]
pub(super) struct RevealArgs {
    /// Print a JSON object per URL: click_url, url, recipient, message_id, issued_at, sender; or click_url, error.
    /// The key inside holds the layers, if there are any: vendor, url
    #[arg(long)]
    json: bool,

    /// Click links, whole or from their path on (default: one per line from standard input)
    #[arg(value_name = "URL")]
    urls: Vec<String>,
}

/// Runs the command: reveals the URLs given, or those of standard input.
pub(super) fn command(config: &Path, args: &RevealArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(config, Absent::Refuse)?;
    let mut given = args.urls.iter().cloned().map(Ok);
    let mut read;
    let urls: &mut dyn Iterator<Item = io::Result<String>> = if args.urls.is_empty() {
        read = lines(io::stdin().lock());
        &mut read
    } else {
        &mut given
    };
    let failed = run(&settings, urls, args.json, out, &mut io::stderr())?;
    if failed > 0 {
        Err(CommandError::Reported)
    } else {
        Ok(())
    }
}

/// Writes a line per URL: its target, or with `json` an object with `click_url`, `url`, `recipient`, `message_id`,
/// `issued_at`, `sender`, or with `click_url` and `error`. Without `json`, what does not open goes to `err`.
///
/// A target that is itself a wrapper of another vendor, a click link or a known redirect is taken apart: an indented line for
/// each layer follows, with `json` there is a key `inside`. Such links are also taken instead of click links; then `url` is
/// the innermost target, and there are only `click_url`, `url` and `inside`.
///
/// Gives the number of URLs that did not open.
///
/// # Errors
/// The error of reading or writing.
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
            Ok(found) if json => writeln!(out, "{}", serde_json::to_string(&found.row(&url))?)?,
            Ok(found) => {
                writeln!(out, "{}", found.url)?;
                for layer in &found.inside {
                    let host = layer.host.as_ref().map(|host| format!(", host {host}"));
                    let behind = layer.url.clone();
                    let behind = behind.unwrap_or_else(|| format!("target unknown{}", host.unwrap_or_default()));
                    writeln!(out, "  {}: {behind}", layer.vendor)?;
                }
            }
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

/// An opened URL.
struct OpenedUrl {
    url: String,
    opened: Option<Opened>,
    inside: Vec<RevealedLayer>,
}

impl OpenedUrl {
    fn row<'a>(&'a self, click_url: &'a str) -> Revealed<'a> {
        Revealed {
            click_url,
            url: &self.url,
            message: self.opened.as_ref().map(|opened| {
                let m = opened.message();
                RevealedMessage {
                    recipient: m.recipient.as_deref(),
                    message_id: &m.message_id,
                    issued_at: issued_at(m.issued_at),
                    sender: &m.sender,
                }
            }),
            inside: &self.inside,
        }
    }
}

/// An opened link; its keys are promised.
#[derive(Serialize)]
struct Revealed<'a> {
    click_url: &'a str,
    url: &'a str,
    #[serde(flatten)]
    message: Option<RevealedMessage<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    inside: &'a [RevealedLayer],
}

/// The facts about a mail in a click link of ours from it.
#[derive(Serialize)]
struct RevealedMessage<'a> {
    recipient: Option<&'a str>,
    message_id: &'a str,
    issued_at: Option<String>,
    sender: &'a str,
}

/// One layer.
#[derive(Serialize)]
struct RevealedLayer {
    vendor: &'static str,
    /// The URL behind it; `null` when only the vendor knows.
    url: Option<String>,
    /// The host that the vendor names when it names no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
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

fn open(settings: &Settings, opener: &Opener<'_>, url: &str) -> Result<OpenedUrl, String> {
    let base = &settings.click.base;
    // A bare path is what web server logs show.
    let link = if url.starts_with('/') {
        base.parse_path(url)
    } else {
        base.parse(url)
    };
    let Some(link) = link else {
        return foreign(settings, opener, url)
            .unwrap_or_else(|| Err(format!("no click link: it does not begin with {}/c/", base.as_str())));
    };
    let opened = complete(settings, opener, opener.open_link(&link).map_err(|e| e.to_string())?)?;
    match opened.target() {
        Some(target) => Ok(OpenedUrl {
            url: target.as_str().to_owned(),
            inside: layers(&apart(settings, opener, target)),
            opened: Some(opened),
        }),
        None => Err("the token names no target".to_owned()),
    }
}

/// Another vendor's wrapper, or a known redirect; `None` when it is neither.
fn foreign(settings: &Settings, opener: &Opener<'_>, url: &str) -> Option<Result<OpenedUrl, String>> {
    // What is copied out of a mail may stand in quotes or brackets.
    let Resolved::Web(target) = resolve(url, &Resolve::default()) else {
        return None;
    };
    let unwrapped = apart(settings, opener, &target);
    let inside = layers(&unwrapped);
    match &unwrapped.opaque {
        Some(opaque) if unwrapped.layers.is_empty() => {
            let host = opaque.host.as_ref().map(|host| format!("; it names the host {host}"));
            let (name, host) = (opaque.vendor.name(), host.unwrap_or_default());
            Some(Err(format!(
                "a wrapper of {name}, which only the vendor can open{host}"
            )))
        }
        _ if inside.is_empty() => None,
        _ => Some(Ok(OpenedUrl {
            url: unwrapped.target.as_str().to_owned(),
            opened: None,
            inside,
        })),
    }
}

fn apart(settings: &Settings, opener: &Opener<'_>, target: &Target) -> Unwrapped {
    link::unwrap(target, &|url| {
        let opened = opener.recognise(url)?;
        Some(complete(settings, opener, opened.clone()).unwrap_or(opened))
    })
}

/// The layers, when there is more than a URL that merely stands in the link.
fn layers(unwrapped: &Unwrapped) -> Vec<RevealedLayer> {
    let guess = unwrapped
        .layers
        .first()
        .is_some_and(|layer| layer.kind == LayerKind::Generic);
    if guess {
        return Vec::new();
    }
    let behind = unwrapped.layers.iter().skip(1).map(|layer| &layer.url);
    let behind = behind.chain([&unwrapped.target]);
    let mut inside: Vec<RevealedLayer> = unwrapped
        .layers
        .iter()
        .zip(behind)
        .map(|(layer, url)| RevealedLayer {
            vendor: layer.kind.as_str(),
            url: Some(url.as_str().to_owned()),
            host: None,
        })
        .collect();
    if let Some(opaque) = &unwrapped.opaque {
        // A click link of ours whose stored target is gone is a layer and opaque.
        if unwrapped
            .layers
            .last()
            .is_some_and(|layer| layer.url == unwrapped.target)
        {
            inside.pop();
        }
        inside.push(RevealedLayer {
            vendor: opaque.vendor.as_str(),
            url: None,
            host: opaque.host.clone(),
        });
    }
    inside
}

fn complete(settings: &Settings, opener: &Opener<'_>, opened: Opened) -> Result<Opened, String> {
    let Some(id) = opened.reference_id() else {
        return Ok(opened);
    };
    let row = stored(&settings.store, &id)?;
    opener
        .complete(opened, &row.target, row.written.as_deref())
        .map_err(|e| e.to_string())
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
