//! Why a command ends without success.

use std::io;

use crate::config::ConfigError;
use crate::server;

/// Why a command ends without success.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The command line cannot be meant.
    Usage(String),
    /// Faults of the configuration.
    Config(Vec<ConfigError>),
    /// The work could not be done.
    Failed(anyhow::Error),
    /// The same, and everything has been said.
    Told,
}

impl From<Vec<ConfigError>> for CommandError {
    fn from(faults: Vec<ConfigError>) -> Self {
        Self::Config(faults)
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(e: anyhow::Error) -> Self {
        Self::Failed(e)
    }
}

impl From<io::Error> for CommandError {
    fn from(e: io::Error) -> Self {
        Self::Failed(e.into())
    }
}

impl From<server::ServeError> for CommandError {
    fn from(failure: server::ServeError) -> Self {
        match failure {
            server::ServeError::Config(faults) => Self::Config(faults),
            server::ServeError::Failed(e) => Self::Failed(e),
        }
    }
}
