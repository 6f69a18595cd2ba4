//! The mail path: takes messages from MTAs, rewrites their links, and passes them on.
//!
//! The rooms in the order in which a message passes them:
//!
//! - [`context`]: the state that sessions share.
//! - [`listen`]: accepts connections, bounds and drains them; `clients` bounds those of one client, `arrival` reads the PROXY
//!   header and encrypts from the first octet.
//! - [`in_flight`]: bounds the messages on their way.
//! - `session`: what all sessions share: the client's connection, the settings, how a session ends.
//! - [`smtp`]: one SMTP or LMTP session; divides a message into copies for its recipients.
//! - `milter`: one milter session; turns a patch into changes that the MTA is asked for.
//! - `transaction`: one message from MAIL to its log line, row and counters: kept or passed on, decided, summed up.
//! - [`id`]: names each message.
//! - [`spool`]: holds the octets of a message in memory or in a file; [`budget`] bounds what all messages use.
//! - `header`: reads the front of a message and puts lines on top; `trace` recognises by one the messages that come back.
//! - [`ports`]: the store as the transaction sees it.
//! - [`rewrite`]: finds links, decides on each, seals and splices.
//! - [`relay`]: passes a message on to the next hop.
//!
//! [`restore`] puts the original links back; no session does that yet.

mod arrival;
pub mod budget;
mod clients;
pub mod context;
mod header;
pub mod id;
pub mod in_flight;
pub mod listen;
mod milter;
pub mod ports;
pub mod relay;
pub mod restore;
pub mod rewrite;
mod session;
pub mod smtp;
pub mod spool;
mod trace;
mod transaction;
