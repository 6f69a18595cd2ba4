//! `[log]`: what is logged, and how lines look.

use strum::{IntoStaticStr, VariantArray};

use super::option::{choice, one_of, section};

section! {
    /// `[log]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Log {
        /// The least severe level that is logged: error, warn, info, debug or trace.
        pub level: String = one_of("level", ["error", "warn", "info", "debug", "trace"].map(|level| (level, level)))
            .or("info")
            .map(str::to_owned),
        /// How a line looks.
        pub format: LogFormat = choice("format").or("text"),
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}
