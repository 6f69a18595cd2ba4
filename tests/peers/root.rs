//! A root folder for a server whose package would push another aside: a copy of what `tests/peers/fetch` unpacked,
//! entered with chroot. It has users, devices and names of its own, so that paths and users that were compiled into the
//! server mean nothing of the system's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::{Place, is_root};

/// Number of the user `mail`.
pub(crate) const MAIL: u32 = 8;

/// A root folder.
#[derive(Clone)]
pub(crate) struct Root(PathBuf);

impl Root {
    /// Why a server cannot run here, if it cannot. `name` is what `tests/peers/fetch` knows it by.
    pub(crate) fn missing(name: &str) -> Option<String> {
        if !unpacked(name).join("complete").exists() {
            return Some(format!("{name} is not unpacked (tests/peers/fetch {name})"));
        }
        (!is_root()).then(|| format!("{name} can only be started by root"))
    }

    /// A copy in the place's folder of the same name, with `users`: names and numbers.
    pub(crate) fn new(place: &Place, name: &str, users: &[(&str, u32)]) -> Self {
        let root = Self(place.path(name));
        succeeds(Command::new("cp").arg("-a").arg(unpacked(name)).arg(&root.0));
        fs::set_permissions(&root.0, fs::Permissions::from_mode(0o755)).expect("own folder");
        fs::set_permissions(root.path("tmp"), fs::Permissions::from_mode(0o1777)).expect("own folder");
        for (device, minor) in [("null", "3"), ("zero", "5"), ("random", "8"), ("urandom", "9")] {
            succeeds(
                Command::new("mknod")
                    .args(["-m", "666"])
                    .arg(root.path("dev").join(device))
                    .args(["c", "1", minor]),
            );
        }
        let mut passwd = String::new();
        let mut group = String::new();
        for (user, number) in [("root", 0), ("mail", MAIL), ("nobody", 65534)].iter().chain(users) {
            passwd.push_str(&format!("{user}:x:{number}:{number}:{user}:/tmp:/bin/sh\n"));
            group.push_str(&format!("{user}:x:{number}:\n"));
        }
        root.write("etc/passwd", &passwd);
        root.write("etc/group", &group);
        root.write("etc/services", "smtp 25/tcp\nlmtp 24/tcp\n");
        root.write("etc/hosts", "127.0.0.1 localhost\n");
        root.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        root
    }

    /// A file or folder in it, as seen from outside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("own root");
    }

    /// Makes a folder that belongs to `owner`.
    pub(crate) fn folder(&self, name: &str, owner: u32) {
        fs::create_dir_all(self.path(name)).expect("own root");
        chown(self.path(name), Some(owner), Some(owner)).expect("root may give folders away");
    }

    /// A program of it, to be run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).arg(program);
        command
    }

    /// Copies a program of the system into it, with its libraries.
    pub(crate) fn install(&self, program: &Path, name: &str) {
        let libraries = Command::new("ldd").arg(program).output().expect("ldd runs");
        let libraries = text(&libraries.stdout);
        let wanted = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(|library| (Path::new(library), self.path(&library[1..])));
        for (from, to) in wanted.chain([(program, self.path(name))]) {
            if !to.exists() {
                fs::create_dir_all(to.parent().expect("a folder")).expect("own root");
                fs::copy(from, to).expect("readable");
            }
        }
    }

    /// The text of a file in it; nothing while there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        text(&fs::read(self.path(name)).unwrap_or_default())
    }
}

/// Runs a command to its end, which must be a good one.
pub(crate) fn succeeds(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", text(&said));
}

/// Where `tests/peers/fetch` puts it.
fn unpacked(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
