//! SMTP (RFC 5321), LMTP (RFC 2033) and milter as state machines over octets: no IO, no clock, no configuration.
//!
//! A machine reads the front of a buffer that the caller owns and returns how many octets it has consumed, so that no line
//! is copied; the caller drops those, appends new input and calls again. Any chunking of the input gives the same events.
//! Lines for the other side are kept as the octets received; parsed forms serve policy and logs only.
//!
//! | module | what lies there |
//! | --- | --- |
//! | `session` | [`Session`]: the server side, commands and message data in order |
//! | `next_hop` | [`ReplyMatcher`]: the client side, replies matched with commands |
//! | [`milter`] | the milter protocol: packets, negotiation, events, replies |
//! | `command`, `path` | command lines, classified; MAIL and RCPT lines with their address |
//! | `data`, `bdat`, `stuff` | message data from DATA and BDAT, and to the next hop |
//! | `line_meter` | [`LineMeter`]: lines that are too long |
//! | `capabilities` | [`Capabilities`]: the extensions in a reply to EHLO |
//! | `answer`, `reply`, `final_replies` | our replies, those of the next hop, those to the final dot |
//! | `client_info`, `proxy` | XCLIENT and XFORWARD, the PROXY header |
//! | `printable`, `slice` | untrusted text for logs, checked parts of buffers |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod answer;
mod bdat;
mod capabilities;
mod client_info;
mod command;
mod data;
mod final_replies;
mod line_meter;
pub mod milter;
mod next_hop;
mod path;
mod printable;
mod proxy;
mod reply;
mod session;
mod slice;
mod stuff;

pub use answer::Answer;
pub use bdat::ChunkDecoder;
pub use capabilities::Capabilities;
pub use client_info::{BadAttribute, ClientInfo, Told};
pub use command::{Command, classify};
pub use data::{BareLineEnds, DataDecoder, DataEnd, Piece};
pub use final_replies::{FinalReplies, Form};
pub use line_meter::LineMeter;
pub use next_hop::{Broken, ReplyMatcher, Sent};
pub use path::PathLine;
pub use printable::Printable;
pub use proxy::{BadProxyHeader, MAX_PROXY_HEADER, ProxyHeader};
pub use reply::{MAX_REPLY, Malformed, Reply};
pub use session::{Event, MAX_COMMAND_LINE, Session};
pub use stuff::{Stuffer, stray_line_end};
