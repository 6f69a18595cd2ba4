//! The commands of the MTA's packets (libmilter: `SMFIC_*`).

pub(super) const ABORT: u8 = b'A';
pub(super) const BODY: u8 = b'B';
pub(super) const CONNECT: u8 = b'C';
pub(super) const MACRO: u8 = b'D';
pub(super) const END_OF_BODY: u8 = b'E';
pub(super) const HELO: u8 = b'H';
pub(super) const QUIT_NEW_CONNECTION: u8 = b'K';
pub(super) const HEADER: u8 = b'L';
pub(super) const MAIL: u8 = b'M';
pub(super) const END_OF_HEADER: u8 = b'N';
pub(super) const NEGOTIATE: u8 = b'O';
pub(super) const QUIT: u8 = b'Q';
pub(super) const RCPT: u8 = b'R';
pub(super) const DATA: u8 = b'T';
pub(super) const UNKNOWN: u8 = b'U';
