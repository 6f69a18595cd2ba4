//! Grammar and order of SMTP as state machines that are fed with bytes.
//!
//! No input or output, no clock, no configuration. Two machines speak: [`Session`] is the server towards a client,
//! [`NextHop`] the client towards the next hop. Both look at the front of a buffer that the caller owns and say how many
//! octets they are done with, so that a line is never copied: the caller drops what was consumed, appends what arrives
//! and asks again. Any chunking of the input gives the same events.
//!
//! Whatever is handed on to the other side is kept as the octets that came; parsed forms serve policy and logs only.
//! The protocol is RFC 5321 with PIPELINING (RFC 2920) and CHUNKING (RFC 3030), or RFC 2033 (LMTP).
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
mod stuff;

pub use answer::Answer;
pub use bdat::ChunkDecoder;
pub use capabilities::Capabilities;
pub use client_info::{BadAttribute, ClientInfo, Told};
pub use command::{Command, classify};
pub use data::{BareLineEnds, DataDecoder, DataEnd, Piece};
pub use final_replies::{FinalReplies, Form};
pub use line_meter::LineMeter;
pub use next_hop::{Broken, NextHop, Sent};
pub use path::PathLine;
pub use printable::Printable;
pub use proxy::{BadProxyHeader, MAX_PROXY_HEADER, ProxyHeader};
pub use reply::{MAX_REPLY, Malformed, Reply};
pub use session::{Event, MAX_COMMAND_LINE, Session};
pub use stuff::{Stuffer, stray_line_end};
