//! How a command fails: what is said on standard error, and the exit code.

use std::io::{self, Write};

use store::StoreError;

use crate::config::ConfigError;
use crate::intel::revoked::RevokeError;
use crate::server;

/// Exit code: the work could not be done.
const FAILED: u8 = 1;
/// Exit code: the command line cannot be meant (`EX_USAGE` of sysexits.h).
pub(super) const USAGE: u8 = 64;
/// Exit code: the configuration has faults (`EX_CONFIG` of sysexits.h).
const CONFIG: u8 = 78;

/// Why a command ends without success.
#[derive(Debug)]
pub enum CommandError {
    /// The command line cannot be meant.
    Usage(String),
    /// The configuration has faults.
    Config(Vec<ConfigError>),
    /// The work could not be done.
    Failed(anyhow::Error),
    /// The work could not be done, and standard error has all about it already.
    Reported,
}

impl CommandError {
    /// Writes the failure to standard error and gives its exit code.
    pub(super) fn report(self) -> u8 {
        match self {
            Self::Reported => FAILED,
            Self::Failed(e) if is_broken_pipe(&e) => 0,
            Self::Failed(e) => {
                eprintln_quietly(&format!("linkgate: {e:#}"));
                FAILED
            }
            Self::Usage(why) => {
                eprintln_quietly(&format!("linkgate: {why}\nTry --help."));
                USAGE
            }
            Self::Config(faults) => {
                for fault in faults {
                    eprintln_quietly(&fault.to_string());
                }
                CONFIG
            }
        }
    }
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

impl From<StoreError> for CommandError {
    fn from(e: StoreError) -> Self {
        Self::Failed(e.into())
    }
}

impl From<RevokeError> for CommandError {
    fn from(e: RevokeError) -> Self {
        Self::Usage(e.to_string())
    }
}

/// Standard output is gone, as with `linkgate clicks | head`: no reader is left who wants more.
fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// As `eprintln!`, which would panic when standard error is gone.
pub(super) fn eprintln_quietly(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
