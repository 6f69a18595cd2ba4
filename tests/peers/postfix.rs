//! A Postfix instance of its own: configuration, queue, log and mailboxes in one folder, nothing shared with the
//! system's Postfix but its programs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::{is_root, maildir};

/// Owner of the mailboxes: "nobody" on Debian.
const MAILBOX_OWNER: u32 = 65534;

/// Who has a mailbox, in an instance that delivers.
const MAILBOXES: [&str; 5] = [
    "alice@example.com",
    "bob@example.com",
    "ålice@example.com",
    "dave@example.net",
    "carol@sender.example",
];

/// The services that every instance has. What listens to the network comes from the recipes under test. pickup looks for
/// requeued mail every second, not every minute.
const BASE_MASTER: &str = "\
pickup    unix  n       -       n       1       1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
postlog   unix-dgram n  -       n       -       1       postlogd
";

/// A running (or stopped) instance. Dropping it ends its processes.
pub(crate) struct Postfix {
    folder: PathBuf,
}

/// Why real Postfix instances cannot run here, if they cannot.
pub(crate) fn missing() -> Option<&'static str> {
    if !Path::new("/usr/sbin/postfix").exists() {
        return Some("Postfix is not installed (package postfix)");
    }
    if !is_root() {
        return Some("Postfix can only be started by root");
    }
    None
}

impl Postfix {
    /// Starts an instance in `folder` (made here) with `main` and `master` added to what every instance has.
    pub(crate) fn start(folder: &Path, hostname: &str, main: &str, master: &str) -> Self {
        for part in ["", "etc", "mail", "queue"] {
            fs::create_dir(folder.join(part)).expect("folder of an instance is new");
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("own folder");
        chown(folder.join("mail"), Some(MAILBOX_OWNER), Some(MAILBOX_OWNER)).expect("root may give folders away");

        let instance = Self {
            folder: folder.to_owned(),
        };
        let root = folder.display();
        let mailboxes = MAILBOXES
            .map(|address| format!("{{ {address} = {} }}", mailbox_path(address)))
            .join(", ");
        instance.write(
            "main.cf",
            &format!(
                "compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
myhostname = {hostname}
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtputf8_enable = yes
queue_run_delay = 300s
minimal_backoff_time = 300s
maximal_backoff_time = 600s
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{MAILBOX_OWNER}
virtual_gid_maps = static:{MAILBOX_OWNER}
{main}"
            ),
        );
        instance.write("master.cf", &format!("{BASE_MASTER}{master}"));
        instance.start_again();
        instance
    }

    /// Starts it after [`Postfix::stop`]; the queue is as it was.
    pub(crate) fn start_again(&self) {
        self.run("postfix", &["start"]);
    }

    /// Ends all its processes.
    pub(crate) fn stop(&self) {
        self.run("postfix", &["abort"]);
    }

    /// Reads its configuration again.
    pub(crate) fn reload(&self) {
        self.run("postfix", &["reload"]);
    }

    /// Tries all deferred mail now, and forgets which destinations were dead.
    pub(crate) fn flush(&self) {
        self.run("postqueue", &["-f"]);
    }

    /// Puts all queued mail through the instance again, as `postsuper -r ALL` does.
    pub(crate) fn requeue(&self) {
        self.run("postsuper", &["-r", "ALL"]);
    }

    /// The queue ids of held mail.
    pub(crate) fn held(&self) -> Vec<String> {
        let folder = fs::read_dir(self.folder.join("queue/hold")).expect("every queue has it");
        let names = folder.map(|entry| entry.expect("own folder").file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// Lets held mail go on.
    pub(crate) fn release(&self, id: &str) {
        self.run("postsuper", &["-H", id]);
        self.run("postqueue", &["-i", id]);
    }

    /// Hands it a message as a local program does, by the command `sendmail`.
    pub(crate) fn submit_locally(&self, sender: &str, recipients: &[&str], message: &[u8]) {
        let mut child = Command::new("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.folder.join("etc"))
            .args(["-i", "-f", sender, "--"])
            .args(recipients)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("Postfix's sendmail runs");
        let mut input = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, message).expect("sendmail reads");
        drop(input);
        let status = child.wait().expect("own child");
        assert!(status.success(), "sendmail: {status}\n{}", self.log());
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read(self.folder.join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Removes from `main.cf` what stands between the recipe's begin and end lines, as the recipe's README says.
    pub(crate) fn remove_recipe_from_main(&self) {
        let main = fs::read_to_string(self.folder.join("etc/main.cf")).expect("own main.cf");
        let mut inside = false;
        let kept: Vec<&str> = main
            .lines()
            .filter(|line| {
                inside |= line.starts_with("# linkgate: begin");
                let keep = !inside;
                inside &= !line.starts_with("# linkgate: end");
                keep
            })
            .collect();
        assert!(kept.len() < main.lines().count(), "main.cf holds no recipe");
        self.write("main.cf", &(kept.join("\n") + "\n"));
    }

    /// The messages in `address`'s mailbox, in CRLF form.
    pub(crate) fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        maildir(&self.folder.join("mail").join(mailbox_path(address)))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join("etc").join(name), text).expect("own configuration folder");
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(Path::new("/usr/sbin").join(program))
            .arg("-c")
            .arg(self.folder.join("etc"))
            .args(arguments)
            .output()
            .expect("Postfix's programs run");
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // It may be stopped already; then the command says so and that is all.
        let _ = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(self.folder.join("etc"))
            .arg("abort")
            .output();
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.folder.display(), self.log());
        }
    }
}

/// Relative to `virtual_mailbox_base`; the slash at the end makes it a Maildir.
fn mailbox_path(address: &str) -> String {
    let (user, domain) = address.split_once('@').expect("an address");
    format!("{domain}/{user}/")
}
