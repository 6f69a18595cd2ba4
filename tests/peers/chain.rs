//! The chain under test: a Postfix before linkgate, linkgate itself, a Postfix behind it, set up from the very files of
//! `contrib/postfix`.
//!
//! The recipes name 127.0.0.1 and fixed ports. Every chain has a loopback address of its own instead, so that the ports
//! stay as they are written and chains do not meet; that address and the state folder are all that is substituted.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::postfix::Postfix;
use super::session::Session;

/// Where the outside reaches the Postfix in front.
const PUBLIC_PORT: u16 = 10024;
/// `[[listener]] listen` of the SMTP recipes.
const LINKGATE_PORT: u16 = 10025;
/// `[[listener]] listen` of the milter recipe.
const MILTER_PORT: u16 = 8891;
/// The listener of `master-return.cf`.
const RETURN_PORT: u16 = 10026;
/// `[click] listen` of the recipes.
const CLICK_PORT: u16 = 8080;

/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A recipe of `contrib/postfix`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// `content_filter`
    AfterQueue,
    /// `smtpd_proxy_filter`
    BeforeQueue,
    /// `smtpd_milters`
    Milter,
}

/// A running chain.
pub(crate) struct Chain {
    linkgate: Option<Child>,
    edge: Option<Postfix>,
    inner: Postfix,
    // Last, so that it goes when all processes are gone.
    place: Place,
}

impl Chain {
    /// Two instances: one takes mail from the outside, the other delivers it. `None`, with a line that says why, where
    /// that cannot be; a failure where `CI` is set.
    pub(crate) fn two(recipe: Recipe) -> Option<Self> {
        let place = Place::find(recipe)?;
        let (main, master) = place.before();
        let main = format!(
            "relay_domains = example.com example.net sender.example\nrelayhost = [{}]:{RETURN_PORT}\n{main}",
            place.address
        );
        // At the same time: starting one takes two seconds.
        let (inner, edge) = std::thread::scope(|scope| {
            let inner =
                scope.spawn(|| Postfix::start(&place.path("inner"), "inner.example.org", DELIVERS, &place.behind()));
            let edge = Postfix::start(&place.path("edge"), "edge.example.org", &main, &master);
            (inner.join().expect("the inner instance starts"), edge)
        });
        Some(Self::complete(place, Some(edge), inner))
    }

    /// One instance on both sides, as on most hosts.
    pub(crate) fn one(recipe: Recipe) -> Option<Self> {
        Self::one_with(recipe, "")
    }

    /// As [`Chain::one`], with lines of the test's own in `main.cf`, behind the recipe's.
    pub(crate) fn one_with(recipe: Recipe, more: &str) -> Option<Self> {
        let place = Place::find(recipe)?;
        let (main, master) = place.before();
        let main = format!("{DELIVERS}{main}{more}");
        let both = Postfix::start(
            &place.path("both"),
            "mx.example.org",
            &main,
            &(master + &place.behind()),
        );
        Some(Self::complete(place, None, both))
    }

    fn complete(place: Place, edge: Option<Postfix>, inner: Postfix) -> Self {
        let mut chain = Self {
            linkgate: None,
            edge,
            inner,
            place,
        };
        chain.start_linkgate();
        for port in chain.place.postfix_ports() {
            eventually(&format!("port {port} answers"), || chain.place.connect(*port).ok());
        }
        chain
    }

    /// The Postfix that takes mail from the outside.
    pub(crate) fn edge(&self) -> &Postfix {
        self.edge.as_ref().unwrap_or(&self.inner)
    }

    /// The Postfix that delivers.
    pub(crate) fn inner(&self) -> &Postfix {
        &self.inner
    }

    /// A session with the Postfix in front, from a client at `from`.
    pub(crate) fn client(&self, from: Ipv4Addr) -> Session {
        Session::connect(from, SocketAddr::from((self.place.address, PUBLIC_PORT)))
    }

    /// A session with the listener behind linkgate, past linkgate.
    pub(crate) fn return_client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, SocketAddr::from((self.place.address, RETURN_PORT)))
    }

    /// A session with linkgate, past the Postfix in front.
    pub(crate) fn linkgate_client(&self) -> Session {
        Session::connect(
            Ipv4Addr::LOCALHOST,
            SocketAddr::from((self.place.address, LINKGATE_PORT)),
        )
    }

    /// Hands `message` to the Postfix in front, which must take it.
    pub(crate) fn send(&self, sender: &str, recipients: &[&str], message: &[u8]) {
        let reply = self.client(Ipv4Addr::LOCALHOST).send(sender, recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// Waits until `address` has `count` messages in its mailbox, and no more than that; gives them back.
    pub(crate) fn mailbox(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{count} message(s) for {address}"), || {
            let messages = self.inner.mailbox(address);
            assert!(
                messages.len() <= count,
                "{} messages for {address}, not {count}",
                messages.len()
            );
            (messages.len() == count).then_some(messages)
        })
    }

    /// Follows a click link as a browser would, but for the network: status and `Location:`.
    pub(crate) fn click(&self, click_url: &str) -> (u16, Option<String>) {
        let path = click_url
            .strip_prefix("https://click.example.com")
            .expect("a link to the recipe's public_url");
        super::session::http_get(
            SocketAddr::from((self.place.address, CLICK_PORT)),
            "click.example.com",
            path,
        )
    }

    /// What linkgate has logged so far.
    pub(crate) fn linkgate_log(&self) -> String {
        self.place.linkgate_log()
    }

    /// Ends linkgate at once.
    pub(crate) fn stop_linkgate(&mut self) {
        if let Some(mut process) = self.linkgate.take() {
            process.kill().expect("own child");
            process.wait().expect("own child");
        }
    }

    /// Starts linkgate with the recipe's `linkgate.toml`, and waits until it listens.
    pub(crate) fn start_linkgate(&mut self) {
        let state = self.place.path("state");
        fs::create_dir_all(&state).expect("own folder");
        let config = self.place.path("linkgate.toml");
        let text = self.place.recipe_file("linkgate.toml").replace(
            "/var/lib/linkgate",
            state.to_str().expect("a temporary folder has a plain name"),
        );
        fs::write(&config, text).expect("own folder");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.place.path("linkgate.log"))
            .expect("own folder");
        // LINKGATE_BINARY: another build of the same program, a release build say.
        let binary = std::env::var_os("LINKGATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_linkgate").into());
        let mut process = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("linkgate starts");
        eventually("linkgate listens", || {
            let ended = process.try_wait().expect("own child");
            assert!(
                ended.is_none(),
                "linkgate ended with {ended:?}:\n{}",
                self.place.linkgate_log()
            );
            self.place.connect(self.place.linkgate_port()).ok()
        });
        self.linkgate = Some(process);
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.stop_linkgate();
        if std::thread::panicking() {
            eprintln!("log of linkgate:\n{}", self.place.linkgate_log());
        }
    }
}

/// Where a chain is set up: its recipe, its address and its folder.
struct Place {
    recipe: &'static str,
    address: Ipv4Addr,
    folder: tempfile::TempDir,
}

impl Place {
    fn find(recipe: Recipe) -> Option<Self> {
        if let Some(why) = super::postfix::missing() {
            assert!(
                std::env::var_os("CI").is_none(),
                "the tests against real Postfix instances cannot run: {why}"
            );
            println!("SKIPPED: {why}");
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("linkgate-peers-")
            .tempdir()
            .expect("a temporary folder");
        // Postfix's own user must be able to pass.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        let recipe = match recipe {
            Recipe::AfterQueue => "after-queue",
            Recipe::BeforeQueue => "before-queue",
            Recipe::Milter => "milter",
        };
        Some(Self {
            recipe,
            address: own_address(),
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn linkgate_port(&self) -> u16 {
        if self.recipe == "milter" {
            MILTER_PORT
        } else {
            LINKGATE_PORT
        }
    }

    fn postfix_ports(&self) -> &'static [u16] {
        if self.recipe == "milter" {
            &[PUBLIC_PORT]
        } else {
            &[PUBLIC_PORT, RETURN_PORT]
        }
    }

    fn connect(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((self.address, port))
    }

    /// What the recipe adds to `main.cf` and `master.cf` of the Postfix before linkgate, and its public listener.
    fn before(&self) -> (String, String) {
        let public = format!("{}:{PUBLIC_PORT} inet", self.address);
        if self.recipe == "milter" {
            return (self.recipe_file("main.cf"), format!("{public} n - n - - smtpd\n"));
        }
        let feed = self.recipe_file("master-feed.cf");
        if self.recipe == "after-queue" {
            (self.recipe_file("main.cf"), format!("{public} n - n - - smtpd\n{feed}"))
        } else {
            // This recipe brings the public listener, which here has another address.
            assert!(
                feed.contains("\nsmtp      inet"),
                "the recipe's public listener is gone"
            );
            (String::new(), feed.replace("\nsmtp      inet", &format!("\n{public}")))
        }
    }

    /// What the recipe adds to `master.cf` of the Postfix behind linkgate.
    fn behind(&self) -> String {
        if self.recipe == "milter" {
            return String::new();
        }
        self.recipe_file("master-return.cf")
    }

    fn recipe_file(&self, name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("contrib/postfix")
            .join(self.recipe)
            .join(name);
        fs::read_to_string(path)
            .expect("recipe is readable")
            .replace("127.0.0.1", &self.address.to_string())
    }

    fn linkgate_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("linkgate.log")).unwrap_or_default()).into_owned()
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The instance that delivers into mailboxes.
const DELIVERS: &str = "virtual_mailbox_domains = example.com example.net sender.example\n";

/// A loopback address that no other chain of this machine has at the same time: made of the process id.
fn own_address() -> Ipv4Addr {
    static CHAINS: AtomicU32 = AtomicU32::new(0);
    // Process ids have at most 22 bits; 24 are free in 127.0.0.0/8.
    let chain = CHAINS.fetch_add(1, Ordering::Relaxed) & 3;
    let [_, b, c, d] = ((std::process::id() << 2) | chain).to_be_bytes();
    Ipv4Addr::new(127, b, c, d)
}
