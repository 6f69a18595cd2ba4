//! The command line: what is asked for, and the exit code of the answer.

pub mod alerts;
mod check;
pub mod clicks;
mod demo;
mod error;
mod explain;
pub mod files;
pub mod keys;
mod output;
pub mod reveal;
pub mod revoke;
mod rewrite;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use link::Verdict;
use store::{AlertQuery, ClickQuery, Label, Reader, Store, StoreError};
use strum::VariantNames;

use self::alerts::AlertsError;
use self::clicks::{ClicksArgs, ClicksError, ClicksFormat, SinceError};
use self::error::CommandError;
use self::explain::Explaining;
use self::files::Plan;
use self::revoke::{RevokeArgs, RevokeFailure};
use self::rewrite::Rewriting;
use crate::clock::now_us;
use crate::config::keyfile::Absent;
use crate::config::{Settings, ascii_domain};
use crate::server;

/// Where the configuration file stands when `--config` does not say.
pub const DEFAULT_CONFIG: &str = "/etc/linkgate/linkgate.toml";

/// Exit code: the work could not be done.
const FAILED: u8 = 1;
/// Exit code: the command line cannot be meant (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// Exit code: the configuration has faults (`EX_CONFIG` of sysexits.h).
const CONFIG: u8 = 78;

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
    Alerts {
        /// Alerts since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d)
        #[arg(long, value_name = "T", value_parser = since)]
        since: Option<i64>,

        /// Print a JSON object per alert
        #[arg(long)]
        json: bool,
    },

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

#[derive(Debug, Args)]
struct RewriteArgs {
    /// Envelope sender (default: none, as for a bounce)
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    from: String,

    /// Envelope recipient; may be given more than once
    #[arg(long, value_name = "ADDR")]
    to: Vec<String>,

    /// Write a JSON object per message to FILE: file, changed, links, quirks; and action, reason where they apply
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// Write to DIR/<file name> instead of standard output; DIR is made if need be
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,

    /// Messages (default, and for -: standard input); several need --out-dir
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl FileArgs {
    fn plan(&self) -> Result<Plan, CommandError> {
        Plan::new(self.files.clone(), self.out_dir.clone()).map_err(CommandError::Usage)
    }
}

#[derive(Debug, Args)]
struct RevealArgs {
    /// Print a JSON object per URL: click_url, url, recipient, message_id, issued_at, sender; or click_url, error.
    /// The key inside holds the layers, if there are any: vendor, url
    #[arg(long)]
    json: bool,

    /// Click links, whole or from their path on (default: one per line from standard input)
    #[arg(value_name = "URL")]
    urls: Vec<String>,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// Envelope sender (default: none, as for a bounce)
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    from: String,

    /// Envelope recipient
    #[arg(long, value_name = "ADDR")]
    to: String,

    /// What a reader sees in place of the URL
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,

    /// The link
    #[arg(value_name = "URL")]
    url: String,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct ClicksCommand {
    #[command(subcommand)]
    command: Option<ClicksWork>,

    /// Clicks since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d)
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<i64>,

    /// Clicks of this recipient
    #[arg(long, value_name = "ADDR")]
    user: Option<String>,

    /// Clicks of recipients in this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,

    /// Clicks that led to this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Clicks by: person, likely-person, unknown, likely-machine, machine
    #[arg(long, value_name = "LABEL", value_parser = |text: &str| by_word::<Label>(text))]
    label: Option<Label>,

    /// Clicks whose verdict was: allow, unchecked, unknown, warn, block
    #[arg(long, value_name = "VERDICT", value_parser = |text: &str| by_word::<Verdict>(text))]
    verdict: Option<Verdict>,

    /// Print a JSON object per click
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print CSV with a header line
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Subcommand)]
enum ClicksWork {
    /// Tell people and machines apart again, by today's rules
    ///
    /// What was recorded of each request stays as it is. Prints how many clicks have another label or other reasons now.
    #[command(after_help = "Example:\n  linkgate clicks relabel --since 7d")]
    Relabel {
        /// Clicks since a time (2026-11-20, 2026-11-20T08:30:00+01:00) or for a span (90m, 2h, 7d); default: all
        #[arg(long, value_name = "T", value_parser = since)]
        since: Option<i64>,
    },
}

#[derive(Debug, Args)]
struct RevokeCommand {
    /// A URL, a host, or *.domain for a domain and all hosts below it
    #[arg(value_name = "URL|HOST|*.HOST", required_unless_present = "list")]
    what: Option<String>,

    /// Why, for those who come later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "undo"
    )]
    note: String,

    /// Take it back
    #[arg(long)]
    undo: bool,

    /// Show what is revoked
    #[arg(long, conflicts_with_all = ["what", "undo", "note"])]
    list: bool,
}

/// The value of a word.
fn by_word<T: FromStr + VariantNames>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed: {}", T::VARIANTS.join(", ")))
}

fn since(text: &str) -> Result<i64, SinceError> {
    clicks::parse_since(text, jiff::Timestamp::now())
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Show all keys, without their secrets
    #[command(after_help = "Example:\n  linkgate keys list --json")]
    List {
        /// Print a JSON object per key: id, state, created_at, retired_at
        #[arg(long)]
        json: bool,
    },
    /// Add a key that seals new links from now on; makes the key file if there is none
    ///
    /// With several machines, copy the key file to all of them before one seals with the new key.
    #[command(after_help = "Example:\n  linkgate keys add && systemctl reload linkgate")]
    Add,
    /// Retire a key: links that were sealed with it no longer open
    #[command(after_help = "Example:\n  linkgate keys retire 3fa2")]
    Retire {
        /// The key, as `linkgate keys list` shows it
        id: String,
    },
}

/// Does what the command line of this process asks for.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => code(command(&cli)),
        Err(e) => {
            // A reader that went away has what it wanted.
            let _ = e.print();
            ExitCode::from(if e.use_stderr() { USAGE } else { 0 })
        }
    }
}

fn command(cli: &Cli) -> Result<(), CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match &cli.command {
        Command::Serve => Ok(server::run(&cli.config)?),
        Command::Demo { once } => demo::run(*once, &mut out),
        Command::Check => check::run(&cli.config, &mut out),
        Command::Rewrite(args) => rewrite_command(cli, args, &mut out),
        Command::Restore(args) => {
            let plan = args.files.plan();
            plan.and_then(|plan| {
                let settings = Settings::load_with(&cli.config, Absent::Refuse)?;
                rewrite::run_restore(&settings, &plan, &mut out)
            })
        }
        Command::Reveal(args) => reveal_command(cli, args, &mut out),
        Command::Explain(args) => {
            let settings = Settings::load_with(&cli.config, Absent::Pretend)?;
            let asked = Explaining {
                sender: args.from.clone(),
                recipient: args.to.clone(),
                url: args.url.clone(),
                text: args.text.clone(),
            };
            explain::run(&settings, &asked, &mut out)
        }
        Command::Clicks(args) => clicks_command(cli, args, &mut out),
        Command::Revoke(args) => revoke_command(cli, args, &mut out),
        Command::Alerts { since, json } => alerts_command(cli, *since, *json, &mut out),
        Command::Keys { command } => keys_command(cli, command, &mut out),
    };
    // What was found before a failure is a result too.
    let flushed = out.flush().map_err(CommandError::from);
    done.and(flushed)
}

fn rewrite_command(cli: &Cli, args: &RewriteArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let asked = Rewriting {
        sender: args.from.clone(),
        recipients: args.to.clone(),
        report: args.report.clone(),
        plan: args.files.plan()?,
    };
    let settings = Settings::load(&cli.config)?;
    rewrite::run_rewrite(&settings, &asked, out)
}

fn reveal_command(cli: &Cli, args: &RevealArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(&cli.config, Absent::Refuse)?;
    let mut given = args.urls.iter().cloned().map(Ok);
    let mut read;
    let urls: &mut dyn Iterator<Item = io::Result<String>> = if args.urls.is_empty() {
        read = reveal::lines(io::stdin().lock());
        &mut read
    } else {
        &mut given
    };
    let failed = reveal::run(&settings, urls, args.json, out, &mut io::stderr())?;
    if failed > 0 { Err(CommandError::Told) } else { Ok(()) }
}

fn clicks_command(cli: &Cli, args: &ClicksCommand, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(&cli.config, Absent::Pretend)?;
    if let Some(ClicksWork::Relabel { since }) = &args.command {
        let store = writable(&settings)?;
        let done = clicks::relabel(&store, &settings.machines, *since).map_err(anyhow::Error::from)?;
        writeln!(out, "{} of {} clicks relabelled", done.changed, done.seen)?;
        return Ok(());
    }
    let store = Reader::open(&settings.store).context(NO_STORE)?;
    let query = ClickQuery {
        since_us: args.since,
        user: args.user.clone(),
        domain: args.domain.as_deref().map(ascii_name),
        host: args.host.as_deref().map(ascii_name),
        label: args.label,
        verdict: args.verdict,
    };
    let format = match args {
        ClicksCommand { json: true, .. } => ClicksFormat::Json,
        ClicksCommand { csv: true, .. } => ClicksFormat::Csv,
        _ => ClicksFormat::Table,
    };
    clicks::run(&store, &ClicksArgs { query, format }, out, &mut io::stderr()).map_err(|e| match e {
        ClicksError::Write(e) => CommandError::from(e),
        ClicksError::Store(e) => CommandError::Failed(e.into()),
    })
}

const NO_STORE: &str = "the store cannot be opened (store.url)";

/// The store for a command that writes to it; only a server makes one.
fn writable(settings: &Settings) -> anyhow::Result<Store> {
    if !settings.store.exists() {
        return Err(StoreError::Missing(settings.store.clone())).context(NO_STORE);
    }
    Store::open_beside(&settings.store).context(NO_STORE)
}

fn revoke_command(cli: &Cli, args: &RevokeCommand, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(&cli.config, Absent::Pretend)?;
    let asked = match &args.what {
        Some(what) if args.undo => RevokeArgs::Undo(what.clone()),
        Some(what) => RevokeArgs::Revoke(what.clone(), args.note.clone()),
        None => RevokeArgs::List,
    };
    let store = writable(&settings)?;
    revoke::run(&store, &asked, now_us(), out).map_err(|e| match e {
        RevokeFailure::Refused(e) => CommandError::Usage(e.to_string()),
        RevokeFailure::Write(e) => CommandError::from(e),
        other => CommandError::Failed(other.into()),
    })
}

fn alerts_command(cli: &Cli, since: Option<i64>, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let settings = Settings::load_with(&cli.config, Absent::Pretend)?;
    let store = Reader::open(&settings.store).context(NO_STORE)?;
    let query = AlertQuery {
        since_us: since,
        ..AlertQuery::default()
    };
    alerts::run(&store, &query, json, out).map_err(|e| match e {
        AlertsError::Write(e) => CommandError::from(e),
        AlertsError::Store(e) => CommandError::Failed(e.into()),
    })
}

/// A name as the store has it: in lower case, with A-labels; what is no name finds nothing.
fn ascii_name(name: &str) -> String {
    ascii_domain(name).unwrap_or_else(|| name.to_owned())
}

fn keys_command(cli: &Cli, command: &KeysCommand, out: &mut impl Write) -> Result<(), CommandError> {
    match command {
        KeysCommand::List { json } => {
            let settings = Settings::load_with(&cli.config, Absent::Refuse)?;
            keys::list(&settings.keys, *json, out)?;
        }
        KeysCommand::Add => {
            let file = Settings::load_with(&cli.config, Absent::Pretend)?.keys_file;
            let (id, made) = keys::add(&file)?;
            writeln!(out, "{id}")?;
            let made = if made { "made " } else { "" };
            eprintln_quietly(&format!(
                "linkgate: {made}{}: key {id} seals from now on",
                file.display()
            ));
        }
        KeysCommand::Retire { id } => {
            let file = Settings::load_with(&cli.config, Absent::Refuse)?.keys_file;
            keys::retire(&file, id)?;
        }
    }
    Ok(())
}

/// Tells standard error about a failure and gives its exit code.
fn code(done: Result<(), CommandError>) -> ExitCode {
    let code = match done {
        Ok(()) => 0,
        Err(CommandError::Told) => FAILED,
        Err(CommandError::Failed(e)) if is_broken_pipe(&e) => 0,
        Err(CommandError::Failed(e)) => {
            eprintln_quietly(&format!("linkgate: {e:#}"));
            FAILED
        }
        Err(CommandError::Usage(why)) => {
            eprintln_quietly(&format!("linkgate: {why}\nTry --help."));
            USAGE
        }
        Err(CommandError::Config(faults)) => {
            for fault in faults {
                eprintln_quietly(&fault.to_string());
            }
            CONFIG
        }
    };
    ExitCode::from(code)
}

/// Standard output is gone, as with `linkgate clicks | head`: nobody is left who wants more.
fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// As `eprintln!`, which would panic when standard error is gone.
fn eprintln_quietly(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
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
