//! A MISP feed: a manifest, and beside it a file for each event. A copy of a feed has one event on each line.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::fetch::{FetchError, Fetcher};

/// The file that names all events.
pub(super) const MANIFEST: &str = "manifest.json";

/// Of more events than this, the newest count.
const MAX_EVENTS: usize = 5_000;
/// Larger files are no manifest and no event.
const MAX_FILE: u64 = 64 << 20;

/// Replaces a fetched manifest in `file` by the events that it names.
pub(super) async fn complete(fetcher: &Fetcher, file: &mut NamedTempFile, max_size: u64) -> Result<(), FetchError> {
    let cannot = |e: io::Error| FetchError::new(format!("its copy cannot be written: {e}"));
    let mut manifest = Vec::new();
    file.rewind().map_err(cannot)?;
    file.read_to_end(&mut manifest).map_err(cannot)?;
    let events = lists::misp_manifest(&manifest).map_err(FetchError::new)?;
    file.as_file().set_len(0).map_err(cannot)?;
    file.rewind().map_err(cannot)?;
    let mut octets = 0;
    for event in events.iter().take(MAX_EVENTS) {
        let mut body = Vec::new();
        fetcher
            .beside(&format!("{}.json", event.uuid), &mut body)
            .await
            .map_err(|e| FetchError {
                why: format!("event {}: {e}", event.uuid),
                wait: e.wait,
            })?;
        octets += body.len() as u64;
        if octets > max_size {
            return Err(FetchError::new(format!(
                "its events have more than {} MiB (max_size_mib)",
                max_size >> 20
            )));
        }
        file.write_all(&on_one_line(body)).map_err(cannot)?;
    }
    Ok(())
}

/// A feed in a folder, as a copy has it.
pub(super) fn open_folder(folder: &Path) -> io::Result<Box<dyn Read + Send>> {
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
