//! An Exim instance in a root of its own: a copy of what `tests/peers/fetch exim` unpacked, entered with chroot.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::place::{Place, is_root, maildir};

/// Numbers of the users in the instance's own passwd file.
const EXIM: u32 = 61001;
const MAIL: u32 = 8;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8:mail:/var/mail:/bin/sh\n\
    Debian-exim:x:61001:61001:Exim:/var/spool/exim4:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nmail:x:8:\nDebian-exim:x:61001:\nnogroup:x:65534:\n";

/// What a host has before a recipe is put in.
const CONFIGURATION: &str = include_str!("exim.conf");

/// A running instance. Dropping it ends its processes.
pub(crate) struct Exim {
    root: PathBuf,
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
pub(crate) fn missing() -> Option<&'static str> {
    if !unpacked().join("complete").exists() {
        return Some("Exim is not unpacked (tests/peers/fetch exim)");
    }
    if !is_root() {
        return Some("Exim can only be started by root");
    }
    None
}

impl Exim {
    /// Starts an instance in the place's folder `exim`, with the recipe's sections in it.
    pub(crate) fn start(place: &Place, sections: &Sections) -> Self {
        let root = place.path("exim");
        let mut instance = Self {
            root: root.clone(),
            daemon: None,
        };
        succeeds(Command::new("cp").arg("-a").arg(unpacked()).arg(&root));
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("own folder");
        for (folder, owner) in [
            ("etc/exim4", 0),
            ("var/spool/exim4", EXIM),
            ("var/log/exim4", EXIM),
            ("var/mail", MAIL),
            ("run/exim4", EXIM),
        ] {
            fs::create_dir_all(root.join(folder)).expect("own folder");
            chown(root.join(folder), Some(owner), Some(owner)).expect("root may give folders away");
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("own folder");
        for (device, minor) in [("null", "3"), ("zero", "5"), ("random", "8"), ("urandom", "9")] {
            succeeds(
                Command::new("mknod")
                    .args(["-m", "666"])
                    .arg(root.join("dev").join(device))
                    .args(["c", "1", minor]),
            );
        }
        instance.write("etc/passwd", PASSWD);
        instance.write("etc/group", GROUP);
        instance.write("etc/services", "smtp 25/tcp\nlmtp 24/tcp\n");
        instance.write("etc/hosts", "127.0.0.1 localhost\n");
        instance.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        let configuration = CONFIGURATION
            .replace("@main@", &sections.main)
            .replace("@acl@\n", &sections.acl)
            .replace("@router@", &sections.router)
            .replace("@transport@", &sections.transport)
            .replace("@mailbox-options@", &sections.mailbox_options)
            .replace("@mailboxes@", sections.mailboxes.unwrap_or("mailbox"));
        instance.write("etc/exim4/exim4.conf", &configuration);
        instance.start_again();
        instance
    }

    /// Puts linkgate's `program` with its libraries, and its configuration, where an administrator puts them. The user
    /// who delivers gets its folder.
    pub(crate) fn install(&self, program: &Path, configuration: &str) {
        let libraries = Command::new("ldd").arg(program).output().expect("ldd runs");
        let libraries = text(&libraries.stdout);
        let wanted = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(|library| (Path::new(library), self.root.join(&library[1..])));
        for (from, to) in wanted.chain([(program, self.program())]) {
            if !to.exists() {
                fs::create_dir_all(to.parent().expect("a folder")).expect("own root");
                fs::copy(from, to).expect("readable");
            }
        }
        fs::create_dir_all(self.root.join("etc/linkgate")).expect("own root");
        self.write("etc/linkgate/linkgate.toml", configuration);
        fs::create_dir_all(self.state()).expect("own root");
        chown(self.state(), Some(MAIL), Some(MAIL)).expect("root may give folders away");
    }

    /// Takes linkgate's program away again.
    pub(crate) fn uninstall(&self) {
        fs::remove_file(self.program()).expect("own root");
    }

    /// linkgate's folder, as seen from outside the root.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("var/lib/linkgate")
    }

    fn program(&self) -> PathBuf {
        self.root.join("usr/local/bin/linkgate")
    }

    /// Starts it after [`Exim::stop`].
    pub(crate) fn start_again(&mut self) {
        let errors = fs::File::create(self.root.join("daemon-errors")).expect("own root");
        let daemon = self
            .exim()
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
        succeeds(self.exim().arg("-qff"));
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> usize {
        let output = self.exim().arg("-bpc").output().expect("Exim runs");
        text(&output.stdout).trim().parse().expect("a number")
    }

    /// Its main log so far.
    pub(crate) fn log(&self) -> String {
        text(&fs::read(self.root.join("var/log/exim4/mainlog")).unwrap_or_default())
    }

    /// The messages in `address`'s mailbox, in CRLF form.
    pub(crate) fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        let (user, domain) = address.split_once('@').expect("an address");
        maildir(&self.root.join("var/mail").join(domain).join(user))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).expect("own root");
    }

    fn exim(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg("/usr/sbin/exim4");
        command
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let other = ["var/log/exim4/paniclog", "daemon-errors"]
                .map(|name| text(&fs::read(self.root.join(name)).unwrap_or_default()));
            eprintln!("log of Exim:\n{}\n{}", self.log(), other.concat());
        }
    }
}

/// Where `tests/peers/fetch` puts it.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/exim")
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
