//! Edits of header fields: one field put in place of others, nothing else touched.

use crate::header::{HeaderFields, Param};
use crate::patch::Change;
use crate::scan::Part;
use crate::transfer::newline_of;

/// Longest boundary that is written, in octets: it must fit on a line.
const MAX_BOUNDARY: usize = 900;

/// Makes `value` the only field of that name: the first gives way to it, others go, and where there is none it is added
/// at the end of the header.
pub(super) fn set_field(part: &Part, name: &str, value: &str) -> Vec<Change> {
    let block = &part.block;
    let fields = HeaderFields::parse(block);
    let newline = newline_of(block);
    let line = format!("{name}: {value}{newline}").into_bytes();
    let mut out: Vec<Change> = Vec::new();
    for f in fields.named(block, name) {
        let at = part.header.start + f.whole.start as u64..part.header.start + f.whole.end as u64;
        let with = if out.is_empty() { line.clone() } else { Vec::new() };
        out.push(Change { at, with });
    }
    if out.is_empty() {
        // Behind the last field, but before any line that is none: for some programs the header ends there.
        let mut at = 0;
        for f in &fields.list {
            if f.whole.start != at {
                break;
            }
            at = f.whole.end;
        }
        let missing = at > 0 && block.get(at - 1) != Some(&b'\n');
        let with = if missing {
            [newline.as_bytes(), &line].concat()
        } else {
            line
        };
        let at = part.header.start + at as u64;
        out.push(Change { at: at..at, with });
    }
    out
}

/// Removes every field of that name.
pub(super) fn drop_field(part: &Part, name: &str) -> Vec<Change> {
    let fields = HeaderFields::parse(&part.block);
    fields
        .named(&part.block, name)
        .map(|f| Change {
            at: part.header.start + f.whole.start as u64..part.header.start + f.whole.end as u64,
            with: Vec::new(),
        })
        .collect()
}

/// A media type with those of its parameters that `keep` wants, each of them once and in quotes.
pub(super) fn with_params(value: &str, params: &[Param], keep: impl Fn(&str) -> bool) -> String {
    let mut out = value.to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for p in params {
        if p.name.contains('*') || p.name.is_empty() || seen.contains(&p.name.as_str()) || !keep(&p.name) {
            continue;
        }
        seen.push(&p.name);
        let clean: String = p.value.chars().filter(|c| !c.is_control() && c.is_ascii()).collect();
        out.push_str(&format!(
            ";\r\n\t{}=\"{}\"",
            p.name,
            clean.replace('\\', "\\\\").replace('"', "\\\"")
        ));
    }
    out
}

/// A Content-Type field for a multipart that names the boundary in use and no other; `None` when that boundary cannot be
/// written in a way that all programs read alike.
pub(super) fn multipart_type(part: &Part, boundary: &[u8]) -> Option<String> {
    let written = String::from_utf8_lossy(boundary);
    let mut types = part.types.iter().filter(|t| t.top() == "multipart");
    let named = types.clone().find(|t| t.all("boundary").any(|b| b == written));
    let t = named.or_else(|| types.next())?;
    let writable = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    let sound = !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY && boundary.iter().all(writable);
    let value = if t.is_sound() {
        t.value.as_str()
    } else {
        "multipart/mixed"
    };
    let others = with_params("", &t.params, |name| name != "boundary");
    sound.then(|| format!("{value};\r\n\tboundary=\"{written}\"{others}"))
}
