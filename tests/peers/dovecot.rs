//! A Dovecot of its own, which takes mail by LMTP and puts it into Maildirs: configuration, sockets, log and mailboxes in
//! one folder, nothing shared with the system's Dovecot but its programs and users.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::place::{Place, eventually, is_root, maildir};

/// Owner of the mailboxes: "nobody" on Debian.
const MAILBOX_OWNER: u32 = 65534;

/// Whose mailbox takes 2 kB and no more.
pub(crate) const FULL: &str = "full@example.com";

/// A running (or stopped) instance. Dropping it ends its processes.
pub(crate) struct Dovecot {
    folder: PathBuf,
    master: Option<Child>,
}

/// Why no Dovecot can run here, if none can.
pub(crate) fn missing() -> Option<&'static str> {
    if !Path::new("/usr/lib/dovecot/lmtp").exists() {
        return Some("Dovecot is not installed (packages dovecot-core, dovecot-lmtpd)");
    }
    if !is_root() {
        return Some("Dovecot can only be started by root");
    }
    None
}

impl Dovecot {
    /// Starts an instance in the place's folder `dovecot`, whose sockets are in `dovecot/run`, with the recipe's `extra`
    /// at the end of its configuration.
    pub(crate) fn start(place: &Place, extra: &str) -> Self {
        let folder = place.path("dovecot");
        for part in ["", "run", "state", "mail"] {
            fs::create_dir(folder.join(part)).expect("folder of an instance is new");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("own folder");
        chown(folder.join("mail"), Some(MAILBOX_OWNER), Some(MAILBOX_OWNER)).expect("root may give folders away");
        let users = [
            "alice@example.com",
            "bob@example.com",
            "dave@example.net",
            "carol@sender.example",
            FULL,
        ];
        let users: String = users
            .iter()
            .map(|user| {
                let rule = if *user == FULL {
                    "userdb_quota_rule=*:bytes=2000"
                } else {
                    ""
                };
                format!("{user}:{{PLAIN}}secret:{MAILBOX_OWNER}:{MAILBOX_OWNER}::::{rule}\n")
            })
            .collect();
        fs::write(folder.join("users"), users).expect("own folder");
        let root = folder.display();
        let configuration = format!(
            "base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
ssl = no
hostname = store.example.org
first_valid_uid = 1
last_valid_uid = 0
mail_location = maildir:{root}/mail/%d/%n
mail_plugins = quota
plugin {{
  quota = maildir:User quota
}}
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
{extra}"
        );
        fs::write(folder.join("dovecot.conf"), configuration).expect("own folder");
        let mut instance = Self { folder, master: None };
        instance.start_again();
        instance
    }

    /// Starts it after [`Dovecot::stop`].
    pub(crate) fn start_again(&mut self) {
        let master = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(self.folder.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("Dovecot starts");
        self.master = Some(master);
        let socket = self.folder.join("run/lmtp");
        eventually("Dovecot listens", || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    /// Ends all its processes.
    pub(crate) fn stop(&mut self) {
        if let Some(mut master) = self.master.take() {
            // A plain kill would leave its children; this asks the master to end them.
            let _ = Command::new("doveadm")
                .arg("-c")
                .arg(self.folder.join("dovecot.conf"))
                .arg("stop")
                .output();
            master.wait().expect("own child");
        }
    }

    /// The messages in `address`'s mailbox, in CRLF form.
    pub(crate) fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        let (user, domain) = address.split_once('@').expect("an address");
        maildir(&self.folder.join("mail").join(domain).join(user))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("log of Dovecot:\n{}", self.log());
        }
    }
}
