//! Edits of header fields: one field put in place of others, nothing else touched.

use crate::header::Fields;
use crate::patch::Change;
use crate::scan::Part;

/// Makes `value` the only field of that name: the first gives way to it, others go, and where there is none it is added
/// at the end of the header.
pub(super) fn set_field(part: &Part, name: &str, value: &str) -> Vec<Change> {
    let block = &part.block;
    let fields = Fields::parse(block);
    let newline = if memchr::memmem::find(block, b"\r\n").is_some() || !block.contains(&b'\n') {
        "\r\n"
    } else {
        "\n"
    };
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
    let fields = Fields::parse(&part.block);
    fields
        .named(&part.block, name)
        .map(|f| Change {
            at: part.header.start + f.whole.start as u64..part.header.start + f.whole.end as u64,
            with: Vec::new(),
        })
        .collect()
}
