//! Claims of the header of a part, in every reading.

use super::{MAX_BOUNDARIES, Part};
use crate::header::{HeaderFields, TypedField, boundary_spellings, encoded_words, lossy};
use crate::quirk::Quirk;
use crate::slice::Slice;
use crate::transfer::Coding;

/// Whether a media type is a message whose body is a header block and a body.
pub(crate) fn is_message(value: &str) -> bool {
    matches!(value, "message/rfc822" | "message/global" | "message/news")
}

/// Reads what MIME says about a part; returns the ways in which the boundary of a multipart may be spelt.
pub(super) fn read_fields(part: &mut Part) -> Vec<Vec<u8>> {
    let block = &part.block;
    let fields = HeaderFields::parse(block);
    let mut spellings = Vec::new();
    part.quirks.insert_if(Quirk::StrayHeaderLine, fields.stray_line);
    part.quirks.insert_if(Quirk::OddHeaderField, fields.odd_field);
    let within = |name: &'static str| {
        let found = fields.hidden.iter().filter(move |h| h.name == name);
        found.map(|h| block.slice(h.value.clone()))
    };
    let named = |name| {
        let found = fields.named(block, name);
        found.map(|f| block.slice(f.value.clone()))
    };
    for (raw, hidden) in named("content-type")
        .map(|raw| (raw, false))
        .chain(within("content-type").map(|raw| (raw, true)))
    {
        let t = TypedField::parse(raw);
        part.quirks.insert_if(Quirk::MalformedContentType, t.malformed);
        part.quirks.insert_if(Quirk::OddHeaderField, hidden);
        if t.top() == "multipart" {
            spellings.extend(boundary_spellings(raw));
        }
        part.types.push(t);
    }
    part.quirks.insert_if(Quirk::DuplicateContentType, part.types.len() > 1);
    part.quirks.insert_if(
        Quirk::PartialMessage,
        part.types.iter().any(|t| t.value == "message/partial"),
    );
    let mut count = 0;
    for raw in named("content-transfer-encoding") {
        count += 1;
        let plain = lossy(raw.trim_ascii()).to_ascii_lowercase();
        if let Some(coding) = Coding::named(&plain) {
            part.codings.push(coding);
            continue;
        }
        let readings = Coding::readings(&lossy(raw));
        part.quirks.insert(Quirk::MalformedTransferEncoding);
        part.quirks
            .insert_if(Quirk::UnknownTransferEncoding, readings.is_empty());
        part.codings.extend(readings);
        // A strict program knows no such name, and shows the body as it is.
        part.codings.push(Coding::Identity);
    }
    for raw in within("content-transfer-encoding") {
        let readings = Coding::readings(&lossy(raw));
        if readings.iter().any(|c| *c != Coding::Identity) {
            part.quirks.insert(Quirk::OddHeaderField);
            part.codings.extend(readings);
            part.codings.push(Coding::Identity);
        }
    }
    if count > 1 {
        part.quirks.insert(Quirk::DuplicateTransferEncoding);
    }
    let mut seen = Vec::new();
    part.codings.retain(|c| {
        let new = !seen.contains(c);
        seen.push(*c);
        new
    });
    let mut dispositions = named("content-disposition").map(TypedField::parse);
    part.disposition = dispositions.next().map(|first| {
        let mut out = first;
        for other in dispositions {
            // Of several, one that says inline counts: some program shows the part.
            if other.value != "attachment" {
                out.value = other.value;
            }
            out.params.extend(other.params);
        }
        out
    });
    spellings
}

/// Every boundary that may be meant, without doubles.
pub(super) fn boundaries(types: &[TypedField]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for value in types.iter().flat_map(|t| t.all("boundary")) {
        for v in [Some(value.to_owned()), encoded_words(value)].into_iter().flatten() {
            // Values were read as ISO 8859-1 where they are not UTF-8; the bytes are what is compared.
            let bytes = if v.is_ascii() {
                v.into_bytes()
            } else {
                v.chars().map(|c| c as u32 as u8).collect()
            };
            let bytes = bytes.trim_ascii_end().to_vec();
            if !bytes.is_empty() && out.len() <= MAX_BOUNDARIES && !out.contains(&bytes) {
                out.push(bytes);
            }
        }
    }
    out
}
