//! An Exim instance in a root of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use super::place::{Place, maildir};
use super::root::{MAIL, Root, succeeds};

/// Number of the user Debian-exim.
const EXIM: u32 = 61001;

/// What a host has before a recipe is put in.
const CONFIGURATION: &str = include_str!("exim.conf");

/// A running (or stopped) instance. Dropping it ends its daemon.
pub(crate) struct Exim {
    root: Root,
    daemon: Option<Child>,
}

/// A recipe's files, each for the section that it names; empty where it has none.
#[derive(Default)]
pub(crate) struct Sections {
    pub(crate) main: String,
    pub(crate) acl: String,
    pub(crate) router: String,
    pub(crate) transport: String,
    /// Options of the transport that delivers into mailboxes.
    pub(crate) mailbox_options: String,
    /// The transport that the router `mailboxes` uses, when it is not `mailbox`.
    pub(crate) mailboxes: Option<&'static str>,
}

/// Why no Exim can run here, if none can.
pub(crate) fn missing() -> Option<String> {
    Root::missing("exim")
}

impl Exim {
    /// Starts an instance in the place's folder `exim`, with the recipe's sections in it.
    pub(crate) fn start(place: &Place, sections: &Sections) -> Self {
        let root = Root::new(place, "exim", &[("Debian-exim", EXIM)]);
        root.folder("etc/exim4", 0);
        root.folder("var/mail", MAIL);
        for folder in ["var/spool/exim4", "var/log/exim4", "run/exim4"] {
            root.folder(folder, EXIM);
        }
        let configuration = CONFIGURATION
            .replace("@main@", &sections.main)
            .replace("@acl@\n", &sections.acl)
            .replace("@router@", &sections.router)
            .replace("@transport@", &sections.transport)
            .replace("@mailbox-options@", &sections.mailbox_options)
            .replace("@mailboxes@", sections.mailboxes.unwrap_or("mailbox"));
        root.write("etc/exim4/exim4.conf", &configuration);
        let mut instance = Self { root, daemon: None };
        instance.start_again();
        instance
    }

    /// Puts linkgate's `program` and its configuration where an administrator puts them. The user who delivers gets its
    /// folder.
    pub(crate) fn install(&self, program: &Path, configuration: &str) {
        self.root.install(program, LINKGATE);
        self.root.folder("etc/linkgate", 0);
        self.root.write("etc/linkgate/linkgate.toml", configuration);
        self.root.folder(STATE, MAIL);
    }

    /// Takes linkgate's program away again.
    pub(crate) fn uninstall(&self) {
        fs::remove_file(self.root.path(LINKGATE)).expect("own root");
    }

    /// linkgate's folder, as seen from outside the root.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.root.path(STATE)
    }

    /// Starts it after [`Exim::stop`].
    pub(crate) fn start_again(&mut self) {
        let errors = fs::File::create(self.root.path(ERRORS)).expect("own root");
        let daemon = self
            .root
            .command(PROGRAM)
            .args(["-bdf", "-q10m"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("Exim starts");
        self.daemon = Some(daemon);
    }

    /// Ends its daemon; what it has started ends by itself.
    pub(crate) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("own child");
            daemon.wait().expect("own child");
        }
    }

    /// Tries all waiting mail now.
    pub(crate) fn flush(&self) {
        succeeds(self.root.command(PROGRAM).arg("-qff"));
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> usize {
        let output = self.root.command(PROGRAM).arg("-bpc").output().expect("Exim runs");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("a number")
    }

    /// Its main log so far.
    pub(crate) fn log(&self) -> String {
        self.root.read("var/log/exim4/mainlog")
    }

    /// The messages in `address`'s mailbox, in CRLF form.
    pub(crate) fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        let (user, domain) = address.split_once('@').expect("an address");
        maildir(&self.root.path("var/mail").join(domain).join(user))
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let other = ["var/log/exim4/paniclog", ERRORS].map(|name| self.root.read(name));
            eprintln!("log of Exim:\n{}\n{}", self.log(), other.concat());
        }
    }
}

/// Paths in the root.
const PROGRAM: &str = "/usr/sbin/exim4";
const LINKGATE: &str = "usr/local/bin/linkgate";
const STATE: &str = "var/lib/linkgate";
const ERRORS: &str = "daemon-errors";
