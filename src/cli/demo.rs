//! The command `linkgate demo`: the whole way of a mail and of a click, on this machine, without any configuration.
//!
//! Everything is real but the ends: the proxy, the click pages, the key ring and the store are those of `serve`, in a
//! temporary folder and on loopback; only the sender and the next hop are played by this file.

mod ends;
mod samples;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use link::{Opener, Word};
use store::ClickQuery;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::ends::{Delivery, DemoHop};
use self::samples::{Expected, Sample};
use super::error::CommandError;
use crate::config::{Log, LogFormat, Settings};
use crate::log::Logging;
use crate::net::Socket;
use crate::server::{Server, Sockets, open_ledger, runtime};

/// Longest wait for an answer over loopback.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the store is asked for new clicks.
const LOOK: Duration = Duration::from_millis(300);
/// A free port of loopback.
const ANY_PORT: &str = "127.0.0.1:0";

/// Shows the way of some mails; then waits for clicks, or with `once` clicks itself and ends.
pub(crate) fn run(once: bool, out: &mut impl Write) -> Result<(), CommandError> {
    // The steps are told on standard output; only trouble is worth a log line.
    let log = Log {
        level: "warn".to_owned(),
        format: LogFormat::Text,
    };
    Logging::start(&log).map_err(|fault| vec![fault])?;
    let runtime = runtime()?;
    let done = runtime.block_on(demo(once, out));
    runtime.shutdown_background();
    Ok(done?)
}

async fn demo(once: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    writeln!(out, "A linkgate of your own, in {}\n", stage.dir.path().display())?;
    writeln!(out, "  mail comes in    smtp://{}", stage.mail())?;
    writeln!(
        out,
        "  mail goes on to  smtp://{}  (played by this demo)",
        stage.next_hop.address
    )?;
    writeln!(out, "  click links      {}", stage.settings.click.base.as_str())?;
    writeln!(
        out,
        "  health           http://{}/healthz\n",
        stage.server.addresses().admin
    )?;

    let mut links = Vec::new();
    for (n, sample) in samples::all()?.iter().enumerate() {
        writeln!(out, "Mail {}: {}", n + 1, sample.story)?;
        let wrapped = stage
            .show(sample, out)
            .await
            .with_context(|| format!("mail {}", n + 1))?;
        links.extend(wrapped);
        writeln!(out)?;
    }
    out.flush()?;
    let (click_url, target) = links.first().context("no click link came out")?;
    if once {
        stage.click(click_url, target, out).await?;
        let listed = links.iter().find(|(_, target)| target == samples::LISTED);
        let (bad, _) = listed.context("the listed link did not come out")?;
        stage.click_listed(bad, out).await?;
        writeln!(out, "\nAll of it worked.")?;
    } else {
        stage.invite(&links, out)?;
        stage.watch(out).await?;
    }
    out.flush()?;
    stage.server.drain().await;
    Ok(())
}

/// The servers and clients that the demo runs.
struct Stage {
    dir: TempDir,
    config: PathBuf,
    settings: Arc<Settings>,
    server: Server,
    next_hop: DemoHop,
    mail: SocketAddr,
    store: store::Reader,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("linkgate-demo-").tempdir()?;
        let next_hop = DemoHop::start(TcpListener::bind(ANY_PORT).await?)?;
        // The public URL holds the port, so the port comes first.
        let click = TcpListener::bind(ANY_PORT).await?;
        let config = dir.path().join("linkgate.toml");
        std::fs::write(
            &config,
            configuration(dir.path(), click.local_addr()?, next_hop.address),
        )?;
        std::fs::write(dir.path().join("list.txt"), format!("{}\n", samples::LISTED))?;
        let settings = Settings::load(&config).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            anyhow!(faults.join("\n"))
        })?;
        let settings = Arc::new(settings);
        let ledger = open_ledger(&settings)?;
        let store = ledger.store().reader().clone();
        let mail = TcpListener::bind(ANY_PORT).await?;
        let mail_address = mail.local_addr()?;
        let sockets = Sockets {
            click,
            admin: TcpListener::bind(ANY_PORT).await?,
            mail: vec![Socket::Tcp(mail)],
        };
        let server = Server::start(Arc::clone(&settings), ledger, sockets)?;
        Ok(Self {
            dir,
            config,
            settings,
            server,
            next_hop,
            mail: mail_address,
            store,
        })
    }

    fn mail(&self) -> SocketAddr {
        self.mail
    }

    /// Sends a mail through the proxy, tells what came out and holds it against what should; gives its click links with
    /// their targets.
    async fn show(&mut self, sample: &Sample, out: &mut impl Write) -> anyhow::Result<Vec<(String, String)>> {
        writeln!(
            out,
            "  in   from {} to {}, {} octets",
            sample.from,
            sample.to,
            sample.message.len()
        )?;
        for url in &sample.links {
            writeln!(out, "         {url}")?;
        }
        let reply = tokio::time::timeout(
            PATIENCE,
            ends::send(self.mail(), &sample.from, &sample.to, &sample.message),
        )
        .await
        .context("the proxy does not answer")??;
        let delivery = self
            .next_hop
            .next(PATIENCE)
            .await
            .context("nothing arrived at the next hop")?;
        ensure!(
            delivery.from == sample.from && delivery.to == [sample.to.as_str()],
            "the envelope changed to {:?}, {:?}",
            delivery.from,
            delivery.to
        );
        match sample.expected {
            Expected::Same => {
                ensure!(
                    delivery.message == sample.message,
                    "the message changed, and should not have"
                );
                writeln!(out, "  out  the same, byte for byte ({reply})")?;
                Ok(Vec::new())
            }
            Expected::Wrapped => {
                let links = self.opened(&delivery)?;
                let targets: Vec<_> = links.iter().map(|(_, target)| target.as_str()).collect();
                ensure!(
                    targets == sample.links,
                    "the click links lead to {targets:?} instead of {:?}",
                    sample.links
                );
                ensure!(sample.attachment_is_whole(&delivery.message), "the attachment changed");
                writeln!(
                    out,
                    "  out  {} octets, the attachment as it was ({reply})",
                    delivery.message.len()
                )?;
                for (click_url, _) in &links {
                    writeln!(out, "         {click_url}")?;
                }
                Ok(links)
            }
        }
    }

    /// The click links of a message in order, with what the key ring says is behind them.
    fn opened(&self, delivery: &Delivery) -> anyhow::Result<Vec<(String, String)>> {
        let text = String::from_utf8_lossy(&delivery.message);
        let opener = Opener::new(&self.settings.keys, &self.settings.click.base);
        samples::urls(&text)
            .map(|url| {
                let opened = opener.recognise(url).ok_or_else(|| anyhow!("{url} is no click link"))?;
                let target = opened.target().ok_or_else(|| anyhow!("{url} names no target"))?;
                Ok((url.to_owned(), target.as_str().to_owned()))
            })
            .collect()
    }

    /// Clicks as a browser would, and looks for the row.
    async fn click(&self, click_url: &str, target: &str, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "A reader clicks the first link")?;
        let answer = tokio::time::timeout(PATIENCE, ends::get(self.server.addresses().click, click_url))
            .await
            .context("the click pages do not answer")??;
        writeln!(
            out,
            "  answer     {} to {}",
            answer.status,
            answer.location.as_deref().unwrap_or("nowhere")
        )?;
        ensure!(answer.status == 302, "the answer should be 302");
        ensure!(
            answer.location.as_deref() == Some(target),
            "the redirect should lead to {target}"
        );
        let clicks = self
            .store
            .clicks(&ClickQuery::default())
            .collect::<Result<Vec<_>, _>>()?;
        let [row] = clicks.as_slice() else {
            bail!("the store should hold one click, and holds {}", clicks.len());
        };
        writeln!(
            out,
            "  click row  {} {} {}",
            time(row.at_us),
            row.user.as_deref().unwrap_or("-"),
            row.url
        )?;
        ensure!(row.url == target, "the row should name {target}");
        let health = ends::get(self.server.addresses().admin, "/healthz").await?;
        writeln!(out, "  health     {}", health.status)?;
        ensure!(health.status == 200, "the health page should answer 200");
        Ok(())
    }

    /// Clicks a link that a list names.
    async fn click_listed(&self, click_url: &str, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "A reader clicks the link that is listed")?;
        let end = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = ends::get(self.server.addresses().click, click_url).await?;
            // Lists are read beside the serving.
            if answer.status == 403 || Instant::now() > end {
                break answer;
            }
            tokio::time::sleep(LOOK).await;
        };
        writeln!(out, "  answer     {}, a page that says why", answer.status)?;
        ensure!(
            (answer.status, answer.location.as_deref()) == (403, None),
            "the answer should be the page for blocked links"
        );
        let last = self.store.clicks(&ClickQuery::default()).last();
        let row = last.context("the store should hold the click")??;
        let reason = row.reasons.first().map_or(("-", "-"), |r| (&*r.source, &*r.code));
        let verdict = row.verdict.map_or("-", link::Verdict::as_str);
        writeln!(
            out,
            "  click row  {} {} {} {verdict}: {} ({})",
            time(row.at_us),
            row.user.as_deref().unwrap_or("-"),
            row.url,
            reason.0,
            reason.1
        )?;
        ensure!(verdict == "block", "the verdict should be block");
        Ok(())
    }

    fn invite(&self, links: &[(String, String)], out: &mut impl Write) -> io::Result<()> {
        let config = self.config.display();
        writeln!(out, "Now it is your turn. Open one of these in a browser:\n")?;
        for (n, (click_url, target)) in links.iter().enumerate() {
            // The same target stands in the text and in the HTML.
            if !links.iter().take(n).any(|(_, t)| t == target) {
                let listed = if target == samples::LISTED {
                    "  (listed: it is blocked)"
                } else {
                    ""
                };
                writeln!(out, "  {click_url}\n    -> {target}{listed}")?;
            }
        }
        writeln!(out, "\nIn another terminal:\n")?;
        writeln!(out, "  linkgate clicks --config {config}")?;
        writeln!(
            out,
            "  linkgate reveal --config {config} '{}'",
            links.first().map_or("", |(url, _)| url)
        )?;
        writeln!(out, "  curl http://{}/healthz", self.server.addresses().admin)?;
        writeln!(
            out,
            "\nClicks show up here. Ctrl-C ends the demo and removes its folder.\n"
        )?;
        out.flush()
    }

    /// Tells of each click until a signal comes.
    async fn watch(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut told = 0;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            for click in self.store.clicks(&ClickQuery::default()).skip(told) {
                let click = click?;
                told += 1;
                let user = click.user.as_deref().unwrap_or("somebody");
                let outcome = click.outcome.as_str();
                writeln!(out, "  {}  {user} clicked {}: {outcome}", time(click.at_us), click.url)?;
                out.flush()?;
            }
        }
    }
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |t| format!("{t:.0}"))
}

/// The least configuration, as an administrator would write it.
fn configuration(dir: &Path, click: SocketAddr, next_hop: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"[click]
public_url = "http://{click}"
listen = "{click}"

[admin]
listen = "127.0.0.1:0"

[store]
url = 'sqlite:{dir}/linkgate.db'

[keys]
file = '{dir}/keys.toml'

[[listener]]
protocol = "smtp"
listen = "127.0.0.1:0"
next_hop = "smtp://{next_hop}"

[domain."{domain}"]
rewrite = "all"
bypass_senders = ["{trusted}"]

[[source]]
name = "demo-list"
type = "urls"
from = '{dir}/list.txt'
category = "phishing"

[limits]
spool_dir = '{dir}'
drain_s = 2
"#,
        domain = samples::DOMAIN,
        trusted = samples::TRUSTED,
    )
}
