//! Where a test sets its servers up: a recipe of `contrib`, a loopback address and a temporary folder, all its own.
//!
//! The recipes name 127.0.0.1 and fixed ports. Every place has a loopback address of its own instead, so that the ports
//! stay as they are written and tests do not meet; that address and the state folder are all that is substituted.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(45);

/// `[click] listen` of the recipes.
const CLICK_PORT: u16 = 8080;

/// Where the recipes keep linkgate's state.
const STATE: &str = "/var/lib/linkgate";

/// A recipe, an address and a folder.
pub(crate) struct Place {
    recipe: &'static str,
    pub(crate) address: Ipv4Addr,
    folder: tempfile::TempDir,
}

impl Place {
    /// A new place for a recipe, a folder of `contrib`.
    pub(crate) fn new(recipe: &'static str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("linkgate-peers-")
            .tempdir()
            .expect("a temporary folder");
        // The servers' own users must be able to pass.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        Self {
            recipe,
            address: own_address(),
            folder,
        }
    }

    /// A file or folder in the place's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A port of the place.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    pub(crate) fn connect(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect(self.at(port))
    }

    /// Waits until somebody listens on `port`.
    pub(crate) fn wait_for(&self, port: u16) {
        eventually(&format!("port {port} answers"), || self.connect(port).ok());
    }

    /// The text of one of the recipe's files, for this place.
    pub(crate) fn recipe_file(&self, name: &str) -> String {
        self.file_of(self.recipe, name)
    }

    /// The text of a file of another recipe, for this place.
    pub(crate) fn file_of(&self, recipe: &str, name: &str) -> String {
        let state = self.path("state");
        as_written(recipe, name)
            .replace("127.0.0.1", &self.address.to_string())
            .replace(STATE, state.to_str().expect("a plain name"))
    }

    /// The text of one of the recipe's files, for a server in a root of its own.
    pub(crate) fn recipe_file_as_written(&self, name: &str) -> String {
        as_written(self.recipe, name)
    }

    /// Follows a click link as a browser would, but for the network: status and `Location:`.
    pub(crate) fn click(&self, click_url: &str) -> (u16, Option<String>) {
        let path = click_url
            .strip_prefix("https://click.example.com")
            .expect("a link to the recipe's public_url");
        super::session::http_get(self.at(CLICK_PORT), "click.example.com", path)
    }
}

/// linkgate, the program itself, running or not. Dropping it ends it.
pub(crate) struct Linkgate {
    process: Option<Child>,
    config: PathBuf,
    log: PathBuf,
    click: SocketAddr,
}

impl Linkgate {
    /// Writes `config` down, starts linkgate with it and waits until it listens.
    pub(crate) fn start(place: &Place, config: &str) -> Self {
        fs::create_dir_all(place.path("state")).expect("own folder");
        let mut linkgate = Self {
            process: None,
            config: place.path("linkgate.toml"),
            log: place.path("linkgate.log"),
            click: place.at(CLICK_PORT),
        };
        fs::write(&linkgate.config, config).expect("own folder");
        linkgate.start_again();
        linkgate
    }

    /// Starts it after [`Linkgate::stop`].
    pub(crate) fn start_again(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("own folder");
        let mut process = Command::new(linkgate_program())
            .args(["serve", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("linkgate starts");
        // The click pages are the last that it listens for.
        eventually("linkgate listens", || {
            let ended = process.try_wait().expect("own child");
            assert!(ended.is_none(), "linkgate ended with {ended:?}:\n{}", self.log());
            TcpStream::connect(self.click).ok()
        });
        self.process = Some(process);
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("own child");
            process.wait().expect("own child");
        }
    }

    /// Its process id while it runs.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("linkgate runs").id()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Linkgate {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("log of linkgate:\n{}", self.log());
        }
    }
}

/// linkgate's program: that of this build, or the one that LINKGATE_BINARY names, a release build say.
pub(crate) fn linkgate_program() -> PathBuf {
    std::env::var_os("LINKGATE_BINARY")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_linkgate").into())
        .into()
}

fn as_written(recipe: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contrib")
        .join(recipe)
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Says that a test cannot run, or fails where `CI` is set.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "the tests against real mail servers cannot run: {why}"
    );
    println!("SKIPPED: {why}");
}

/// Whether this process may do anything.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
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

/// The messages of a Maildir, in CRLF form, the oldest first.
pub(crate) fn maildir(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder.join("new")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("mailbox is readable").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| with_crlf(&fs::read(file).expect("message is readable")))
        .collect()
}

/// Maildir files have LF line ends, whatever came over the wire.
fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 30);
    for &byte in message {
        if byte == b'\n' {
            wire.push(b'\r');
        }
        wire.push(byte);
    }
    wire
}

/// A loopback address that no other place of this machine has at the same time: made of the process id.
fn own_address() -> Ipv4Addr {
    static PLACES: AtomicU32 = AtomicU32::new(0);
    // Process ids have at most 22 bits; 24 are free in 127.0.0.0/8.
    let place = PLACES.fetch_add(1, Ordering::Relaxed) & 3;
    let [_, b, c, d] = ((std::process::id() << 2) | place).to_be_bytes();
    Ipv4Addr::new(127, b, c, d)
}
