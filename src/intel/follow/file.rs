//! Whether a file can be looked into: a password keeps us out of it as it keeps out every other check.

use link::Obstacle;

use crate::intel::follow::request::BodyEnd;

/// Looks at a file as it comes in, without keeping it.
#[derive(Debug)]
pub(super) enum FileScan {
    /// Not enough of it has been seen.
    Start(Vec<u8>),
    /// Something that says "encrypted" may come anywhere.
    Seeking {
        needle: &'static [u8],
        /// The end of what was seen, for a needle that is cut in two.
        tail: Vec<u8>,
    },
    /// It is known.
    Known {
        /// Only a password opens it.
        encrypted: bool,
    },
}

const PDF: &[u8] = b"%PDF-";
/// Where a PDF may begin (ISO 32000-1, annex H, note 13).
const HEAD: usize = 1024;
/// Compound File Binary, the container of old Office files and of encrypted new ones ([MS-OFFCRYPTO] 2.3.1).
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
/// A stream's name in its directory is UTF-16LE.
const ENCRYPTED_PACKAGE: &[u8] = b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0";
/// The entry of a PDF's trailer (ISO 32000-1, 7.5.5); the trailer is never compressed.
const PDF_ENCRYPT: &[u8] = b"/Encrypt";
/// The head of a zip archive's first entry (APPNOTE 4.3.7), and where its flags stand; bit 0 is "encrypted".
const ZIP: &[u8] = b"PK\x03\x04";
const ZIP_FLAGS: usize = 6;

impl FileScan {
    pub(super) fn new() -> Self {
        Self::Start(Vec::new())
    }

    /// Takes the next octets; says whether more would tell more.
    pub(super) fn take(&mut self, octets: &[u8]) -> bool {
        match self {
            Self::Start(head) => {
                head.extend_from_slice(octets);
                if head.len() >= HEAD {
                    self.begin();
                }
            }
            Self::Seeking { needle, tail } => {
                tail.extend_from_slice(octets);
                if memchr::memmem::find(tail, needle).is_some() {
                    *self = Self::Known { encrypted: true };
                } else {
                    let keep = tail.len().saturating_sub(needle.len() - 1);
                    tail.drain(..keep);
                }
            }
            Self::Known { .. } => {}
        }
        !matches!(self, Self::Known { .. })
    }

    /// Whether `octets` begin a file of a kind that may be encrypted.
    pub(super) fn knows(octets: &[u8]) -> bool {
        [OLE, PDF, ZIP].iter().any(|start| octets.starts_with(start))
    }

    /// The obstacle to looking into a file that ended like this.
    pub(super) fn obstacle(mut self, end: BodyEnd) -> Option<Obstacle> {
        if end == BodyEnd::Whole {
            self.end();
        }
        match (self, end) {
            (Self::Known { encrypted: true }, _) => Some(Obstacle::Encrypted),
            (Self::Known { .. }, _) => None,
            (_, BodyEnd::TooLarge) => Some(Obstacle::TooLarge),
            (_, BodyEnd::Whole | BodyEnd::Broken) => Some(Obstacle::NoAnswer),
        }
    }

    /// There is no more.
    fn end(&mut self) {
        if matches!(self, Self::Start(_)) {
            self.begin();
        }
        if matches!(self, Self::Seeking { .. }) {
            *self = Self::Known { encrypted: false };
        }
    }

    fn begin(&mut self) {
        let Self::Start(head) = self else { return };
        let head = std::mem::take(head);
        let start = head.get(..HEAD).unwrap_or(&head);
        let needle = if start.starts_with(OLE) {
            ENCRYPTED_PACKAGE
        } else if memchr::memmem::find(start, PDF).is_some() {
            PDF_ENCRYPT
        } else {
            let flags = start.get(ZIP_FLAGS).filter(|_| start.starts_with(ZIP));
            let encrypted = flags.is_some_and(|f| f & 1 == 1);
            *self = Self::Known { encrypted };
            return;
        };
        *self = Self::Seeking {
            needle,
            tail: Vec::new(),
        };
        self.take(&head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(file: &[u8], chunk: usize) -> bool {
        let mut scan = FileScan::new();
        for octets in file.chunks(chunk) {
            if !scan.take(octets) {
                break;
            }
        }
        scan.end();
        matches!(scan, FileScan::Known { encrypted: true })
    }

    #[test]
    fn a_password_is_seen_in_whatever_pieces_a_file_comes() {
        let filler = vec![b'x'; 5000];
        let pdf = |trailer: &[u8]| [b"%PDF-1.7\n", &filler[..], trailer].concat();
        let ole = |stream: &[u8]| [OLE, &filler[..], stream].concat();
        let zip = |flags: u8| [ZIP, &[20, 0, flags, 0], &filler[..]].concat();
        for (file, wanted) in [
            (pdf(b"trailer << /Size 9 /Encrypt 8 0 R >>"), true),
            (pdf(b"trailer << /Size 9 >>"), false),
            (ole(ENCRYPTED_PACKAGE), true),
            (ole(b"W\0o\0r\0d\0"), false),
            (zip(1), true),
            (zip(9), true),
            (zip(8), false),
            (b"PK\x03\x04".to_vec(), false),
            (b"/Encrypt".to_vec(), false),
            (Vec::new(), false),
        ] {
            for chunk in [1, 7, 1024, 100_000] {
                assert_eq!(encrypted(&file, chunk), wanted, "{:?} by {chunk}", &file.get(..8));
            }
        }
    }
}
