//! Packets of the filter.

/// Most octets of a new body in one packet (libmilter: `MILTER_CHUNK_SIZE`).
pub const MAX_BODY_PACKET: usize = 65_535;

/// One packet to the MTA.
///
/// "Discard" is not among them: a message never vanishes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Go on; at the end of a message: it is taken, with the changes asked for.
    Continue,
    /// Accept the message as it came, without its rest.
    Accept,
    /// Refuse for good.
    Reject,
    /// Refuse for now.
    TempFail,
    /// Skip the rest of the body.
    Skip,
    /// Restart the MTA's clock.
    Progress,
    /// Refuse with this SMTP reply: code, enhanced code, text, without a line end. Code 4xx or 5xx.
    Code(&'a [u8]),
    /// Add a field behind the others.
    AddHeader {
        /// The field's name.
        name: &'a [u8],
        /// The field's value; folds are LF.
        value: &'a [u8],
    },
    /// Insert a field.
    InsertHeader {
        /// Number of fields before it, with the MTA's own on top.
        index: u32,
        /// The field's name.
        name: &'a [u8],
        /// The field's value; folds are LF.
        value: &'a [u8],
    },
    /// Replace the value of a field. An empty value removes the field.
    ChangeHeader {
        /// Which of the fields of that name, from 1.
        index: u32,
        /// The field's name.
        name: &'a [u8],
        /// The new value; folds are LF.
        value: &'a [u8],
    },
    /// A piece of the new body. Pieces must follow each other: Postfix takes any other packet between them for the end of the
    /// body. A single empty piece makes the body empty.
    Body(&'a [u8]),
}

impl Reply<'_> {
    /// Appends the packet; a body piece of more than [`MAX_BODY_PACKET`] octets becomes several.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Continue => packet(b'c', &[], out),
            Self::Accept => packet(b'a', &[], out),
            Self::Reject => packet(b'r', &[], out),
            Self::TempFail => packet(b't', &[], out),
            Self::Skip => packet(b's', &[], out),
            Self::Progress => packet(b'p', &[], out),
            Self::Code(text) => {
                // The MTA reads the text as a format: a percent sign is written twice.
                let mut doubled = Vec::with_capacity(text.len());
                for &octet in text.iter().filter(|b| !matches!(b, 0 | b'\r' | b'\n')) {
                    doubled.extend(std::iter::repeat_n(octet, if octet == b'%' { 2 } else { 1 }));
                }
                packet(b'y', &[&doubled, &[0]], out);
            }
            Self::AddHeader { name, value } => packet(b'h', &[name, &[0], value, &[0]], out),
            Self::InsertHeader { index, name, value } => {
                packet(b'i', &[&index.to_be_bytes(), name, &[0], value, &[0]], out);
            }
            Self::ChangeHeader { index, name, value } => {
                packet(b'm', &[&index.to_be_bytes(), name, &[0], value, &[0]], out);
            }
            Self::Body([]) => packet(b'b', &[], out),
            Self::Body(content) => {
                for chunk in content.chunks(MAX_BODY_PACKET) {
                    packet(b'b', &[chunk], out);
                }
            }
        }
    }
}

/// Appends a packet of `command` and `parts`.
pub(super) fn packet(command: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let size = 1 + parts.iter().map(|p| p.len()).sum::<usize>();
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(command);
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        reply.write(&mut out);
        out
    }

    #[test]
    fn packets() {
        assert_eq!(written(Reply::Continue), b"\0\0\0\x01c");
        assert_eq!(
            written(Reply::ChangeHeader {
                index: 2,
                name: b"To",
                value: b" a"
            }),
            b"\0\0\0\x0bm\0\0\0\x02To\0 a\0"
        );
        assert_eq!(written(Reply::Body(b"x\r\n")), b"\0\0\0\x04bx\r\n");
    }

    #[test]
    fn a_percent_sign_in_a_reply_is_doubled_and_line_ends_cannot_break_it() {
        assert_eq!(
            written(Reply::Code(b"550 5.7.1 100%\r\n")),
            b"\0\0\0\x11y550 5.7.1 100%%\0"
        );
    }

    #[test]
    fn a_long_body_is_split() {
        let out = written(Reply::Body(&vec![b'x'; MAX_BODY_PACKET + 1]));
        assert_eq!(out.len(), MAX_BODY_PACKET + 1 + 10);
        assert_eq!(out[..5], [0, 1, 0, 0, b'b']);
        assert_eq!(out[MAX_BODY_PACKET + 5..], [0, 0, 0, 2, b'b', b'x']);
    }
}
