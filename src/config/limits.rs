//! `[limits]`: what messages may take of time and memory.

use std::path::PathBuf;
use std::time::Duration;

use super::option::{self, kib, mib, number, seconds, section, text};
use super::walk::folder;

section! {
    /// `[limits]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits {
        /// Octets of a message that are held in memory before they go to an unlinked file.
        pub spool_memory: usize = kib("spool_memory_kib", 0..=1_048_576, 256),
        /// Octets that all messages together hold in memory.
        pub spool_memory_total: usize = mib("spool_memory_total_mib", 0..=65_536, 16),
        /// Memory in which all messages together are rewritten, in MiB.
        pub rewrite_memory_mib: u32 = number("rewrite_memory_mib", 16..=65_536, "MiB", 512),
        /// The folder in which that file is made.
        pub spool_dir: PathBuf = text("spool_dir", "the path of a folder that exists", folder)
            .or_else("the folder for temporary files: `$TMPDIR`, else `/tmp`", |_| std::env::temp_dir()),
        /// Messages on their way at a time, over all listeners.
        pub max_transactions: usize = number("max_transactions", 1..=1_000_000, "messages", 1_000),
        /// Octets of the longest command line taken, with its CRLF. RFC 5321, 4.5.3.1.4, asks for 512, and extensions for
        /// more.
        pub command_line: usize = number("command_line_octets", 512..=65_536, "octets", 4_096),
        /// Octets of the longest line of message data taken; `u64::MAX` is no limit.
        pub text_line: u64 = kib("text_line_kib", 0..=4_194_304, 16_384).map(|n| if n == 0 { u64::MAX } else { n }),
        /// How long a client may take for a command. RFC 5321, 4.5.3.2: five minutes.
        pub command_timeout: Duration = seconds("command_timeout_s", 1..=3_600, 300),
        /// How long a next hop may take to become ready when another could be tried instead, and any one to accept a
        /// connection. Three of them find time within `next_hop_timeout_s`.
        pub next_hop_connect_timeout: Duration = seconds("next_hop_connect_timeout_s", 1..=3_600, 10),
        /// How long a client may take for a block of message data (RFC 5321, 4.5.3.2.5).
        pub data_timeout: Duration = seconds("data_timeout_s", 1..=3_600, 180),
        /// How long a client may take for all the data of a message.
        pub message_timeout: Duration = seconds("message_timeout_s", 1..=86_400, 1_800),
        /// How long the next hop may take for a reply, but the one to the final dot. Shorter than the 100 s that Postfix
        /// gives a before-queue filter for any step.
        pub next_hop_timeout: Duration = seconds("next_hop_timeout_s", 1..=3_600, 60),
        /// How long the next hop may take for the reply to the final dot. Shorter than the 600 s that a client waits for
        /// it (RFC 5321, 4.5.3.2.6).
        pub final_reply_timeout: Duration = seconds("final_reply_timeout_s", 1..=3_600, 480),
        /// How long open sessions may go on after SIGTERM. Shorter than the 90 s after which systemd kills what it
        /// stopped.
        pub drain: Duration = seconds("drain_s", 0..=3_600, 30),
    }
}

impl Default for Limits {
    fn default() -> Self {
        option::defaults()
    }
}
