//! A MISP feed: a manifest, and beside it a file for each event. A copy of a feed has one event on each line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;

use lists::MispEvent;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::intel::lists::fetch::{FetchError, Fetcher};

/// The file that names all events.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Of more events than this, the newest count.
const MAX_EVENTS: usize = 5_000;
/// Larger files are no manifest and no event.
const MAX_FILE: u64 = 64 << 20;

/// Replaces a fetched manifest in `file` by the events that it names. `before`: the copy of before, from which events are taken
/// that have not changed since; a feed has thousands, and a few new ones a day.
pub(crate) async fn complete(
    fetcher: &Fetcher,
    file: &mut NamedTempFile,
    before: Option<BufReader<File>>,
    max_size: u64,
) -> Result<(), FetchError> {
    let cannot = |e: io::Error| FetchError::new(format!("its copy cannot be written: {e}"));
    let mut manifest = Vec::new();
    file.rewind().map_err(cannot)?;
    file.read_to_end(&mut manifest).map_err(cannot)?;
    let events = lists::misp_manifest(&manifest).map_err(FetchError::new)?;
    file.as_file().set_len(0).map_err(cannot)?;
    file.rewind().map_err(cannot)?;
    let mut octets = 0;
    // A copy that cannot be read is none.
    let mut before = before.and_then(|body| Copied::read(body).ok());
    for event in events.iter().take(MAX_EVENTS) {
        let body = match before.as_mut().and_then(|copied| copied.event(event)) {
            Some(body) => body,
            None => fetched(fetcher, event).await?,
        };
        octets += body.len() as u64;
        if octets > max_size {
            return Err(FetchError::new(format!(
                "its events have more than {} MiB (max_size_mib)",
                max_size >> 20
            )));
        }
        file.write_all(&body).map_err(cannot)?;
    }
    Ok(())
}

/// An event as its server has it, on one line.
async fn fetched(fetcher: &Fetcher, event: &MispEvent) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    let name = format!("{}.json", event.uuid);
    fetcher.beside(&name, &mut body).await.map_err(|e| FetchError {
        why: format!("event {}: {e}", event.uuid),
        wait: e.wait,
    })?;
    Ok(on_one_line(body))
}

/// The events of a copy.
struct Copied {
    body: BufReader<File>,
    /// By identifier: when it last changed, where its line begins, and how long that is.
    events: HashMap<String, (u64, u64, usize)>,
}

impl Copied {
    fn read(mut body: BufReader<File>) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(rename = "Event")]
            event: About,
        }
        #[derive(Deserialize)]
        struct About {
            uuid: String,
            timestamp: serde_json::Value,
        }
        let mut events = HashMap::new();
        let mut at = body.stream_position()?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = body.read_until(b'\n', &mut line)?;
            if n == 0 {
                return Ok(Self { body, events });
            }
            if let Ok(Line { event }) = serde_json::from_slice(&line) {
                let text = event.timestamp.as_str().map(str::parse);
                let changed = text.and_then(Result::ok).or(event.timestamp.as_u64());
                events.insert(event.uuid, (changed.unwrap_or(0), at, n));
            }
            at += n as u64;
        }
    }

    /// The line of an event, if it is the one that a manifest names.
    fn event(&mut self, event: &MispEvent) -> Option<Vec<u8>> {
        let (changed, at, n) = *self.events.get(&event.uuid)?;
        if changed == 0 || changed != event.timestamp {
            return None;
        }
        let mut line = vec![0; n];
        self.body.seek(io::SeekFrom::Start(at)).ok()?;
        self.body.read_exact(&mut line).ok()?;
        Some(line)
    }
}

/// A feed in a folder, as a copy has it.
pub(crate) fn open_folder(folder: &Path) -> io::Result<Box<dyn Read + Send>> {
    let manifest = small(&folder.join(MANIFEST))?;
    let events = lists::misp_manifest(&manifest).map_err(io::Error::other)?;
    let mut all = Vec::new();
    for event in events.iter().take(MAX_EVENTS) {
        let name = format!("{}.json", event.uuid);
        let body = small(&folder.join(&name)).map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        all.extend(on_one_line(body));
    }
    Ok(Box::new(io::Cursor::new(all)))
}

fn small(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut body)?;
    Ok(body)
}

/// In JSON, line ends stand between tokens only.
fn on_one_line(mut json: Vec<u8>) -> Vec<u8> {
    for b in &mut json {
        if matches!(b, b'\n' | b'\r') {
            *b = b' ';
        }
    }
    json.push(b'\n');
    json
}
