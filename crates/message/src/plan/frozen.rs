//! Signed and encrypted structures: a sound one stays byte for byte; a label alone counts for nothing.

use std::io;

use crate::quirk::{Quirk, Quirks};
use crate::scan::{Part, PartKind, PartMap};
use crate::slice::{self, Slice, item};
use crate::source::Source;
use crate::transfer::{Coding, decode};

/// Octets of a signature part that are looked at.
const SIGNATURE_HEAD: u64 = 16 << 10;
/// OID 1.2.840.113549.1.7.2, signedData (RFC 5652 5.1), as it stands in DER.
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// For each part, whether it stands within a sound signature.
pub(super) fn frozen(map: &PartMap, source: &dyn Source, quirks: &mut Quirks) -> io::Result<Vec<bool>> {
    let mut out = Vec::with_capacity(map.parts.len());
    for (i, part) in map.parts.iter().enumerate() {
        let inherited = part.parent.is_some_and(|p| *item(&out, p));
        let kind = part.types.first().map(|t| t.value.as_str()).unwrap_or_default();
        let sound = match kind {
            "multipart/signed" if !inherited => {
                let sound = is_signed(map, i, source)?;
                quirks.insert(if sound {
                    Quirk::SignedLeft
                } else {
                    Quirk::UnsoundSignature
                });
                sound
            }
            "multipart/encrypted" => {
                let sound = is_encrypted(map, i, source)?;
                quirks.insert(if sound {
                    Quirk::EncryptedLeft
                } else {
                    Quirk::UnsoundEncryption
                });
                sound
            }
            _ => false,
        };
        out.push(inherited || sound);
    }
    Ok(out)
}

/// RFC 1847 2.1: two parts, the second a signature of the kind that the label names.
fn is_signed(map: &PartMap, index: usize, source: &dyn Source) -> io::Result<bool> {
    let part = item(&map.parts, index);
    let children: Vec<usize> = map.children(index).collect();
    let (&[first, second], [label]) = (children.as_slice(), part.types.as_slice()) else {
        return Ok(false);
    };
    if part.kind != PartKind::Multipart
        || label.malformed
        || !part.quirks.is_empty()
        || label.all("boundary").count() != 1
    {
        return Ok(false);
    }
    let Some(protocol) = label
        .first("protocol")
        .map(|p| p.to_ascii_lowercase().replace("/x-", "/"))
    else {
        return Ok(false);
    };
    let signature = item(&map.parts, second);
    let named = signature
        .types
        .first()
        .map(|t| t.value.replace("/x-", "/"))
        .unwrap_or_default();
    // What is signed must have one reading only: another one would not be what was signed.
    let doubtful = map
        .parts
        .slice(first..second)
        .iter()
        .any(|p| p.quirks.any(super::AMBIGUOUS));
    if doubtful || signature.kind != PartKind::Leaf || !signature.quirks.is_empty() || named != protocol {
        return Ok(false);
    }
    let body = head(signature, source)?;
    Ok(match protocol.as_str() {
        "application/pgp-signature" => memchr::memmem::find(&body, b"-----BEGIN PGP SIGNATURE-----").is_some(),
        "application/pkcs7-signature" => {
            body.first() == Some(&0x30) && memchr::memmem::find(slice::head(&body, 64), SIGNED_DATA).is_some()
        }
        _ => false,
    })
}

/// RFC 3156 4: a version part, and a part that holds a PGP message.
fn is_encrypted(map: &PartMap, index: usize, source: &dyn Source) -> io::Result<bool> {
    let part = item(&map.parts, index);
    let children: Vec<_> = map.children(index).map(|c| item(&map.parts, c)).collect();
    let (&[version, message], [label]) = (children.as_slice(), part.types.as_slice()) else {
        return Ok(false);
    };
    if label.malformed || !part.quirks.is_empty() || version.kind != PartKind::Leaf || message.kind != PartKind::Leaf {
        return Ok(false);
    }
    let is = |p: &crate::scan::Part, value: &str| p.types.first().is_some_and(|t| t.value == value);
    if !is(version, "application/pgp-encrypted") || !is(message, "application/octet-stream") {
        return Ok(false);
    }
    let body = head(message, source)?;
    Ok(memchr::memmem::find(&body, b"-----BEGIN PGP MESSAGE-----").is_some())
}

/// The start of a part's body, decoded.
fn head(part: &Part, source: &dyn Source) -> io::Result<Vec<u8>> {
    let end = part.body.end.min(part.body.start + SIGNATURE_HEAD);
    let raw = source.read(part.body.start..end)?;
    let coding = part.codings.first().copied().unwrap_or(Coding::Identity);
    Ok(decode(coding, &raw).bytes.into_owned())
}
