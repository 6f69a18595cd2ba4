//! Packets: four octets of length, most significant first, then a command and its data, which the length counts.

use super::command::{BODY, END_OF_BODY};
use crate::slice::part;

/// Longest packet that is taken, in octets, command included.
///
/// libmilter sends at most 65,535 octets of data unless more was agreed on (1 MiB at most, which is never asked for here);
/// Postfix sends a header field of any length that its `header_size_limit` lets pass.
pub const MAX_FRAME: usize = 1 << 20;

/// Longest packet before anything is agreed on: the first one has 13 octets.
const MAX_FIRST: usize = 1 << 10;

/// Octets of the length.
const LENGTH: usize = 4;

/// The front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// More octets are needed behind those that are left.
    NeedMore,
    /// A whole packet: its command and its data.
    Whole(u8, &'a [u8]),
    /// A piece of body content.
    Content(&'a [u8]),
    /// The packet with body content has ended; its command.
    ContentEnd(u8),
    /// A length that is not taken; the connection must be closed.
    BadLength(u32),
}

/// Cuts octets into packets. Body content is handed out as it comes, all other packets whole.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// Command and remaining octets of a packet with body content.
    content: Option<(u8, usize)>,
    any_read: bool,
}

impl FrameReader {
    /// Reads the front of `input`: octets consumed, and what they are.
    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        if let Some(content) = &mut self.content {
            let (command, left) = *content;
            if left == 0 {
                self.content = None;
                return (0, Piece::ContentEnd(command));
            }
            let piece = input.get(..left).unwrap_or(input);
            content.1 = left - piece.len();
            return match piece {
                [] => (0, Piece::NeedMore),
                piece => (piece.len(), Piece::Content(piece)),
            };
        }
        let Some((length, rest)) = input.split_first_chunk::<LENGTH>() else {
            return (0, Piece::NeedMore);
        };
        let length = u32::from_be_bytes(*length);
        let limit = if self.any_read { MAX_FRAME } else { MAX_FIRST };
        let size = match usize::try_from(length) {
            Ok(size) if (1..=limit).contains(&size) => size,
            _ => return (0, Piece::BadLength(length)),
        };
        let Some((&command, data)) = rest.split_first() else {
            return (0, Piece::NeedMore);
        };
        if matches!(command, BODY | END_OF_BODY) && self.any_read {
            self.content = Some((command, size - 1));
            return self.after(LENGTH + 1, input);
        }
        let Some(data) = data.get(..size - 1) else {
            return (0, Piece::NeedMore);
        };
        self.any_read = true;
        (LENGTH + size, Piece::Whole(command, data))
    }

    fn after<'a>(&mut self, used: usize, input: &'a [u8]) -> (usize, Piece<'a>) {
        let (more, piece) = self.next(part(input, used..));
        (used + more, piece)
    }
}
