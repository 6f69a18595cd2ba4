//! The command line: each command is a file of this folder, with its arguments; `error` is how a command fails and its exit
//! code, `output` how rows are written for people and programs, `store` how the store is opened.

pub mod alerts;
mod check;
pub mod clicks;
mod demo;
pub mod error;
mod explain;
pub mod files;
pub mod keys;
mod output;
pub mod reveal;
pub mod revoke;
mod rewrite;
mod store;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::alerts::AlertsArgs;
use self::clicks::ClicksCommand;
use self::error::CommandError;
use self::explain::ExplainArgs;
use self::keys::KeysCommand;
use self::reveal::RevealArgs;
use self::revoke::RevokeCommand;
use self::rewrite::{RestoreArgs, RewriteArgs};
use crate::server;

/// Where the configuration file stands when `--config` does not say.
pub const DEFAULT_CONFIG: &str = "/etc/linkgate/linkgate.toml";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 64 bad usage, 78 bad configuration.
Results go to standard output, everything else to standard error.";

/// Makes every link in inbound mail safe to click.
///
/// linkgate stands between two mail servers. It replaces each link of a message by a sealed link to a host of
/// your own, and hands the message on. When a reader clicks, it checks the target at that moment, redirects, warns
/// or blocks as the reader's domain wants it, and records the click.
///
/// Try `linkgate demo` first: it needs no configuration.
#[derive(Debug, Parser)]
#[command(name = "linkgate", version, max_term_width = 100, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
struct Cli {
    /// The configuration file (default: /etc/linkgate/linkgate.toml)
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG, hide_default_value = true)]
    config: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all listeners, click pages and admin pages
    ///
    /// Writes one log line per bound address to standard error. SIGTERM or SIGINT: takes nothing new, lets open
    /// sessions end for as long as [limits] drain_s says, and stops; a second one stops at once. SIGHUP: reads the
    /// configuration again and uses it as a whole, or keeps the old one and logs why.
    #[command(after_help = "Example:\n  linkgate serve --config /etc/linkgate/linkgate.toml")]
    Serve,

    /// Show the whole way of a mail and a click, without any configuration
    ///
    /// Starts a linkgate of its own in a temporary folder, sends sample mails through it to a next hop that it
    /// plays itself, prints each step and the click links to open, and tells of clicks until Ctrl-C.
    #[command(after_help = "Example:\n  linkgate demo")]
    Demo {
        /// Click once, look for the click row, and end: exit 0 when all of it worked
        #[arg(long)]
        once: bool,
    },

    /// Prove the configuration
    ///
    /// Reports every fault at once, each with its file, line and key, what was found there and what is allowed.
    /// Nothing is made or changed.
    #[command(after_help = "Example:\n  linkgate check --config /etc/linkgate/linkgate.toml")]
    Check,

    /// Rewrite messages in files, as the server would
    ///
    /// The very pipeline of `serve`, without a network: one message in, one message out. The domains of --to
    /// decide what is rewritten. A message that cannot be read is passed through unchanged, with its reason in the
    /// report; one that policy refuses is not written at all.
    ///
    /// Exits 1 when a file could not be read or written, or when every message was refused.
    #[command(after_help = "Examples:
  linkgate rewrite --from news@shop.example --to me@example.com < in.eml > out.eml
  linkgate rewrite --to me@example.com --report report.jsonl --out-dir out/ mail/*.eml")]
    Rewrite(RewriteArgs),

    /// Put the original links back into messages or text
    ///
    /// Click links that the key ring opens give way to what stood there before. Everything else stays.
    #[command(after_help = "Examples:
  linkgate restore < rewritten.eml > original.eml
  linkgate restore --out-dir originals/ rewritten/*.eml")]
    Restore(RestoreArgs),

    /// Show the targets behind click links
    ///
    /// Works offline: the key ring is enough. Only a link whose target was too long for it needs the store.
    /// Prints a line per URL; exits 1 when one of them did not open.
    ///
    /// A target that is a wrapper of another vendor is taken apart, as far as that can be done without asking the vendor: an
    /// indented line tells of each layer. Wrappers of other vendors can be given instead of click links.
    #[command(after_help = "Examples:
  linkgate reveal https://click.example.com/c/shop.example/AbC...
  grep -o 'https://click[^ \"]*' message.eml | linkgate reveal --json")]
    Reveal(RevealArgs),

    /// Say which rule decides about a link, and why
    ///
    /// Shows the rule, the suspicious signs of the link with their points, and what they add up to, and what lists say of it
    /// whose file, or last good copy, is at hand. All else is asked by a running server only. Nothing is known of a mail around the
    /// link.
    #[command(after_help = "Example:
  linkgate explain --from news@shop.example --to me@example.com https://paypal.com.evil.example/")]
    Explain(ExplainArgs),

    /// Show the click log
    ///
    /// Oldest first: which link was opened when, to whom it was issued, and whether a person or a machine opened it, as
    /// far as that can be told; how many of each there are comes last. All conditions must hold. Works beside a running
    /// server.
    #[command(after_help = "Examples:
  linkgate clicks --since 2h
  linkgate clicks --verdict block --label likely-person
  linkgate clicks --user me@example.com --since 2026-11-01 --csv > clicks.csv
  linkgate clicks relabel --since 7d")]
    Clicks(ClicksCommand),

    /// Block a URL, a host or a domain at once
    ///
    /// Running servers take it up within a second, without a reload. Clicks of the last days that led there are looked up:
    /// see `linkgate alerts`.
    #[command(after_help = "Examples:
  linkgate revoke https://shop.example/invoice.zip --note 'ticket 4711'
  linkgate revoke '*.shop.example'
  linkgate revoke --undo '*.shop.example'
  linkgate revoke --list")]
    Revoke(RevokeCommand),

    /// Show what the operator was told
    ///
    /// Oldest first: targets that were listed after people had opened them, links that turned up where they do not belong,
    /// reviews that readers asked for, and what was revoked.
    #[command(after_help = "Example:\n  linkgate alerts --since 7d")]
    Alerts(AlertsArgs),

    /// List, add or retire keys of the key ring
    ///
    /// One key seals new links; the others open the links of old mail. A running linkgate takes up a changed key
    /// file when it gets SIGHUP.
    #[command(arg_required_else_help = true)]
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
}

/// Does what the command line of this process asks for.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ExitCode::from(command(&cli).map_or_else(CommandError::report, |()| 0)),
        Err(e) => {
            // A reader that went away has what it wanted.
            let _ = e.print();
            ExitCode::from(if e.use_stderr() { error::USAGE } else { 0 })
        }
    }
}

fn command(cli: &Cli) -> Result<(), CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let config = &cli.config;
    let done = match &cli.command {
        Command::Serve => Ok(server::run(config)?),
        Command::Demo { once } => demo::run(*once, &mut out),
        Command::Check => check::run(config, &mut out),
        Command::Rewrite(args) => rewrite::rewrite_command(config, args, &mut out),
        Command::Restore(args) => rewrite::restore_command(config, args, &mut out),
        Command::Reveal(args) => reveal::command(config, args, &mut out),
        Command::Explain(args) => explain::command(config, args, &mut out),
        Command::Clicks(args) => clicks::command(config, args, &mut out),
        Command::Revoke(args) => revoke::command(config, args, &mut out),
        Command::Alerts(args) => alerts::command(config, args, &mut out),
        Command::Keys { command } => keys::command(config, command, &mut out),
    };
    // What was found before a failure is a result too.
    let flushed = out.flush().map_err(CommandError::from);
    done.and(flushed)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
