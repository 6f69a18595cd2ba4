//! The `linkgate` program; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    linkgate::cli::run()
}
