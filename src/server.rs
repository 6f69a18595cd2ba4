//! The command `linkgate serve`: every listener of the configuration, from the first bind to the last session.

mod mail_threads;
mod notify;
mod passed;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::mail_threads::{KEEP_THREAD, MAX_WORKERS, MailThreads};
pub use self::passed::Passed;
use crate::admin::{Admin, serve_admin};
use crate::click::hindsight;
use crate::click::visitor::VisitorHistory;
use crate::click::{ClickPages, serve_click};
use crate::clock::now_us;
use crate::config::{ConfigError, Listener, Protocol, Settings};
use crate::http::HttpLimits;
use crate::intel::Intel;
use crate::intel::follow::Follower;
use crate::intel::new_domains::NewDomains;
use crate::intel::revoked::Revocations;
use crate::intel::sources::{ServerSources, Sources};
use crate::ledger::Ledger;
use crate::log::Logging;
use crate::mail::budget::Budgets;
use crate::mail::context::{ListenerContext, MailContext};
use crate::mail::listen;
use crate::mail::ports::Recorder;
use crate::mail::rewrite::Pipeline;
use crate::mail::rewrite::Rewriter;
use crate::metrics::{Metrics, Reload};
use crate::net::{Address, Socket};

/// Threads for what pages ask of the disk.
const BLOCKING_THREADS: usize = 8;
/// Trees of hostile HTML are deep; what is not used of it costs nothing.
const STACK: usize = 8 * 1024 * 1024;
/// Limits of the admin pages, which are closed last and answer until then.
const ADMIN_LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    head: Duration::from_secs(15),
    drain: Duration::from_secs(1),
};
/// The time that the last rows of the store may take after the last session.
const FLUSH: Duration = Duration::from_secs(5);

/// Why the server did not start, or ended by itself.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// Faults of the configuration.
    Config(Vec<ConfigError>),
    /// Something else.
    Failed(anyhow::Error),
}

impl From<Vec<ConfigError>> for ServeError {
    fn from(faults: Vec<ConfigError>) -> Self {
        Self::Config(faults)
    }
}

impl From<anyhow::Error> for ServeError {
    fn from(e: anyhow::Error) -> Self {
        Self::Failed(e)
    }
}

impl From<io::Error> for ServeError {
    fn from(e: io::Error) -> Self {
        Self::Failed(e.into())
    }
}

/// Runs until a signal ends it.
pub(crate) fn run(config: &Path) -> Result<(), ServeError> {
    // First of all: it changes the environment, which no other thread may be reading.
    let passed = Passed::from_environment()?;
    let settings = Arc::new(Settings::load(config)?);
    let logging = Logging::start(&settings.log).map_err(|fault| vec![fault])?;
    let ledger = open_ledger(&settings)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let sockets = Sockets::bind_or_take(&settings, passed).await?;
        let server = Server::start(Arc::clone(&settings), ledger, sockets)?;
        server.log_addresses();
        notify::ready(&server.status());
        tokio::spawn(notify::watch(server.ledger.clone(), server.threads.handle().clone()));
        attend(server, &mut signals, config, &logging).await
    });
    // Sessions that were cut off may hold a thread; the process is about to end anyway.
    runtime.shutdown_background();
    ended
}

/// The store of the settings.
pub(crate) fn open_ledger(settings: &Settings) -> anyhow::Result<Ledger> {
    Ledger::open(&settings.store).context("the store cannot be opened (store.url)")
}

/// The runtime of a server: few threads, so that idling costs little memory. Half as many as processors, for the store's
/// thread and those of mail want some too: with one for each, clicks were handed from thread to thread, and were slower.
pub(crate) fn runtime() -> io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(processors.div_ceil(2).min(MAX_WORKERS))
        .thread_name("linkgate")
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_THREAD)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
}

/// Serves until a signal says otherwise; takes reloads meanwhile.
async fn attend(mut server: Server, signals: &mut Signals, config: &Path, logging: &Logging) -> Result<(), ServeError> {
    loop {
        tokio::select! {
            name = signals.stop.next() => {
                server.stop.send_replace(true);
                info!(target: "linkgate::server", signal = name, "stopping: nothing new is taken, open sessions may end");
                break;
            }
            _ = signals.hangup.recv() => {
                notify::reloading();
                let changed = reload::reload(&server.settings, config, logging).await;
                server.reloaded(changed.as_deref());
            }
            // Only a bug ends a listener before its time. Mail waits at the client until we are started again.
            () = server.task_ended() => {
                return Err(ServeError::Failed(anyhow!("a listener ended by itself; the log says why")));
            }
        }
    }
    notify::stopping(server.drain_limit());
    tokio::select! {
        () = server.drain() => info!(target: "linkgate::server", "stopped"),
        name = signals.stop.next() => warn!(target: "linkgate::server", signal = name, "stopped at once: open sessions are cut off"),
    }
    Ok(())
}

/// The signals that matter.
struct Signals {
    stop: Stop,
    hangup: Signal,
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let stop = Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self {
            stop,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Stop {
    /// The name of the next signal that asks us to stop.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// All addresses, bound.
#[derive(Debug)]
pub struct Sockets {
    /// `[click] listen`
    pub click: TcpListener,
    /// `[admin] listen`
    pub admin: TcpListener,
    /// `[[listener]] listen`, in file order.
    pub mail: Vec<Socket>,
}

impl Sockets {
    /// Binds every address of the settings.
    ///
    /// # Errors
    /// Every address that could not be bound, each with a hint.
    pub async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        Self::bind_or_take(settings, Passed::default()).await
    }

    /// Binds every address of the settings for which no socket was passed.
    ///
    /// # Errors
    /// Every address that could not be bound, each with a hint; and every socket that no address asks for.
    pub async fn bind_or_take(settings: &Settings, mut passed: Passed) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        let click = tcp("click.listen", settings.click.listen, &mut passed, &mut faults).await;
        let admin = tcp("admin.listen", settings.admin_listen, &mut passed, &mut faults).await;
        let mut mail = Vec::with_capacity(settings.listeners.len());
        for (i, listener) in settings.listeners.iter().enumerate() {
            let key = format!("listener[{}].listen", i + 1);
            let bound = match passed.claim(&listener.listen) {
                Some(socket) => socket,
                None => Socket::bind(&listener.listen, listener.socket_mode).await,
            };
            mail.extend(bound_or_fault(&key, &listener.listen, bound, &mut faults));
        }
        for address in passed.unclaimed() {
            faults.push(format!(
                "found a socket for {address}, passed by the service manager, allowed: only addresses that click.listen, \
                 admin.listen or a listener's listen names exactly"
            ));
        }
        match (click, admin) {
            (Some(click), Some(admin)) if faults.is_empty() => Ok(Self { click, admin, mail }),
            _ => Err(anyhow!(faults.join("\nlinkgate: "))),
        }
    }
}

async fn tcp(key: &str, address: SocketAddr, passed: &mut Passed, faults: &mut Vec<String>) -> Option<TcpListener> {
    let bound = match passed.claim_tcp(address) {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    bound_or_fault(key, &Address::Tcp(address), bound, faults)
}

fn bound_or_fault<T>(key: &str, address: &Address, bound: io::Result<T>, faults: &mut Vec<String>) -> Option<T> {
    let privileged = matches!(address, Address::Tcp(a) if a.port() < 1024);
    match bound {
        Ok(socket) => Some(socket),
        Err(e) => {
            let hint = match e.kind() {
                io::ErrorKind::AddrInUse => "; another program has it: see `ss -ltnp`",
                io::ErrorKind::AddrNotAvailable => "; no network interface of this machine has it",
                io::ErrorKind::PermissionDenied if privileged => "; ports below 1024 need CAP_NET_BIND_SERVICE",
                _ => "",
            };
            faults.push(format!("{key}: cannot listen on {address}: {e}{hint}"));
            None
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    settings: watch::Sender<Arc<Settings>>,
    stop: watch::Sender<bool>,
    /// Mail and clicks.
    tasks: JoinSet<()>,
    /// The admin pages, which outlive the others: someone may want to know how far the drain is.
    admin: JoinSet<()>,
    stop_admin: watch::Sender<bool>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    addresses: Addresses,
    /// The threads that sessions run on.
    threads: MailThreads,
}

/// Where a server listens: with port 0 in the settings, the ports that were free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Click links.
    pub click: SocketAddr,
    /// Admin pages.
    pub admin: SocketAddr,
    /// Mail, in file order.
    pub mail: Vec<Address>,
}

impl Server {
    /// Starts serving on `sockets`, which were bound for `settings`; must be called within a runtime.
    ///
    /// # Errors
    /// A socket has no address, or the system no thread.
    pub fn start(settings: Arc<Settings>, ledger: Ledger, sockets: Sockets) -> io::Result<Self> {
        let addresses = Addresses {
            click: sockets.click.local_addr()?,
            admin: sockets.admin.local_addr()?,
            mail: sockets
                .mail
                .iter()
                .map(Socket::local_address)
                .collect::<Result<_, _>>()?,
        };
        let http = HttpLimits {
            drain: settings.limits.drain,
            ..HttpLimits::default()
        };
        let listeners = settings.listeners.clone();
        let (settings, watched) = watch::channel(settings);
        let (stop, stopping) = watch::channel(false);
        let (stop_admin, stopping_admin) = watch::channel(false);
        let (mut tasks, mut admin) = (JoinSet::new(), JoinSet::new());
        let metrics = Arc::new(Metrics::new());
        metrics.set_next_hops(&next_hops(&listeners));

        let intel = Intel::start(watched.clone(), &metrics);
        let sources: Arc<dyn Sources> = Arc::new(ServerSources {
            intel,
            follower: Arc::new(Follower::new(watched.clone(), Arc::clone(&metrics.contact))),
            revocations: Revocations::start(ledger.store().reader()).map_err(io::Error::other)?,
            domains: Arc::new(NewDomains::new(ledger.store().clone())),
        });
        tokio::spawn(hindsight::watch(watched.clone(), ledger.clone(), Arc::clone(&sources)));
        let visitors = VisitorHistory::start(&ledger, now_us()).map_err(io::Error::other)?;
        let pages = Arc::new(ClickPages::new(
            watched.clone(),
            ledger.clone(),
            Arc::clone(&sources),
            visitors,
            Arc::clone(&metrics.clicks),
        ));
        let budgets = Arc::new(Budgets::new(&watched.borrow().limits));
        let told = Admin {
            ledger: ledger.clone(),
            budgets: Arc::clone(&budgets),
            metrics: Arc::clone(&metrics),
            pages: Arc::clone(&pages),
            settings: watched.clone(),
            stopping: stopping.clone(),
        };
        let counts = Arc::clone(&metrics.click_http);
        tasks.spawn(serve_click(sockets.click, pages, http, counts, stopping.clone()));
        admin.spawn(serve_admin(sockets.admin, Arc::new(told), ADMIN_LIMITS, stopping_admin));
        let recorder: Arc<dyn Recorder> = Arc::new(ledger.clone());
        let pipeline: Arc<dyn Rewriter> = Arc::new(Pipeline::new(sources));
        let threads = MailThreads::start(STACK)?;
        let shared = MailContext {
            settings: watched.clone(),
            rewriter: pipeline,
            recorder,
            in_flight: Arc::default(),
            budgets: Arc::clone(&budgets),
            metrics: Arc::clone(&metrics),
        };
        for (index, (socket, listener)) in sockets.mail.into_iter().zip(listeners).enumerate() {
            let context = ListenerContext::new(listener, index, &shared);
            // The system accepts for us already.
            context.counts.set_accepting(true);
            tasks.spawn_on(
                listen::serve(socket, Arc::new(context), stopping.clone()),
                threads.handle(),
            );
        }
        Ok(Self {
            settings,
            stop,
            tasks,
            admin,
            stop_admin,
            ledger,
            metrics,
            addresses,
            threads,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    fn log_addresses(&self) {
        let settings = self.settings.borrow();
        for (address, listener) in self.addresses.mail.iter().zip(&settings.listeners) {
            let next_hop = listener.next_hops.to_string();
            let (what, next_hop) = match listener.protocol {
                Protocol::Milter => ("milter", None),
                _ => ("mail", Some(next_hop)),
            };
            info!(target: "linkgate::server", %address, what, next_hop, "listening");
        }
        let public_url = settings.click.base.as_str();
        info!(target: "linkgate::server", address = %self.addresses.click, what = "click links", public_url, "listening");
        info!(target: "linkgate::server", address = %self.addresses.admin, what = "admin", "listening");
    }

    /// Tells of a reload, and of what has changed by it unless it was refused.
    fn reloaded(&self, changed: Option<&str>) {
        let Some(changed) = changed else {
            self.metrics.reloaded(Reload::Refused);
            let status = self.status();
            return notify::ready(&format!("{status}; the last reload was refused, the log says why"));
        };
        self.metrics.reloaded(Reload::Applied);
        self.metrics
            .set_next_hops(&next_hops(&self.settings.borrow().listeners));
        info!(target: "linkgate::server", changed, "reloaded");
        notify::ready(&self.status());
    }

    /// The line that the service manager shows.
    fn status(&self) -> String {
        let settings = self.settings.borrow();
        let (listeners, domains) = (settings.listeners.len(), settings.domains.iter().count());
        format!("serving: {listeners} mail listeners, {domains} domains")
    }

    /// The longest time that a drain may take.
    fn drain_limit(&self) -> Duration {
        self.settings.borrow().limits.drain + ADMIN_LIMITS.drain + FLUSH
    }

    /// Ends when one of the listeners does.
    async fn task_ended(&mut self) {
        let ended = tokio::select! {
            ended = self.tasks.join_next() => ended,
            ended = self.admin.join_next() => ended,
        };
        if let Some(Err(e)) = ended {
            self.metrics.listener_panicked();
            error!(target: "linkgate::server", cause = %e, "a listener panicked");
        }
    }

    /// Takes nothing new, waits for what is open within the limit of the settings, and for the store.
    pub async fn drain(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(e) = ended {
                error!(target: "linkgate::server", cause = %e, "a listener panicked");
            }
        }
        self.stop_admin.send_replace(true);
        while self.admin.join_next().await.is_some() {}
        match tokio::time::timeout(FLUSH, self.ledger.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => error!(target: "linkgate::server", cause = %e, "the last rows were not stored"),
            Err(_) => error!(target: "linkgate::server", "the last rows were not stored in time"),
        }
    }
}

/// The next hops of all listeners, by the names they are counted under.
fn next_hops(listeners: &[Listener]) -> Vec<String> {
    let all = listeners.iter().flat_map(|listener| &listener.next_hops.all);
    all.map(ToString::to_string).collect()
}
