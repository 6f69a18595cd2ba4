//! What the filter says to the MTA.

/// Most octets of a new body in one packet (libmilter: `MILTER_CHUNK_SIZE`).
pub const MAX_BODY_PACKET: usize = 65_535;

/// One packet to the MTA.
///
/// "Discard" is not among them: a message never vanishes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Go on; at the end of a message: it is taken, with the changes asked for.
    Continue,
    /// Nothing more about this message needs to be told: it goes on as it came.
    Accept,
    /// Refuse what was told of, for good.
    Reject,
    /// Refuse it for now.
    TempFail,
    /// Tell no more of what was told of just now: the rest of the body.
    Skip,
    /// Still at work; the MTA's clock starts again.
    Progress,
    /// Refuse with this SMTP reply: code, enhanced code, text, without a line end. Code 4xx or 5xx.
    Code(&'a [u8]),
    /// Put a field behind the others.
    AddHeader {
        /// The field's name.
        name: &'a [u8],
        /// The field's value; folds are LF.
        value: &'a [u8],
    },
    /// Put a field before another.
    InsertHeader {
        /// Fields that stand before it, the MTA's own on top included.
        index: u32,
        /// The field's name.
        name: &'a [u8],
        /// The field's value; folds are LF.
        value: &'a [u8],
    },
    /// Give a field another value. An empty value takes the field away.
    ChangeHeader {
        /// Which of the fields of that name, from 1.
        index: u32,
        /// The field's name.
        name: &'a [u8],
        /// The new value; folds are LF.
        value: &'a [u8],
    },
    /// A piece of the new body, of at most [`MAX_BODY_PACKET`] octets. All pieces must stand together: Postfix takes any other
    /// packet between them for the end of the body. An empty piece makes the body empty, if it is the only one.
    Body(&'a [u8]),
}

impl Reply<'_> {
    /// Appends the packet. Octets that do not fit a packet are split off into further ones where the protocol allows it, and cut
    /// off where not.
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
