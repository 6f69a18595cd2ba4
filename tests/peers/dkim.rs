//! DKIM signatures made and verified by Debian's python3-dkim, with a key made for the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;

/// A key pair in a temporary folder.
pub(crate) struct Key {
    folder: tempfile::TempDir,
}

impl Key {
    /// A new key; `None`, with a line that says why, where the tools are missing, and a failure where `CI` is set.
    pub(crate) fn generate() -> Option<Self> {
        if !succeeds(Command::new(PYTHON).args(["-c", "import dkim"]))
            || !succeeds(Command::new("openssl").arg("version"))
        {
            let why = "DKIM is not checked: packages python3-dkim and openssl are needed";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            println!("SKIPPED: {why}");
            return None;
        }
        let key = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let mut genrsa = Command::new("openssl");
        assert!(succeeds(
            genrsa
                .args(["genrsa", "-traditional", "-out"])
                .arg(key.private())
                .arg("2048")
        ));
        let public = Command::new("openssl")
            .args(["rsa", "-pubout", "-outform", "DER", "-in"])
            .arg(key.private())
            .output()
            .expect("openssl runs");
        std::fs::write(key.public(), BASE64.encode(&public.stdout)).expect("own folder");
        Some(key)
    }

    /// `message` with a signature on top, which covers body and header in their strictest form.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let (signed, ok) = run("sign", &self.private(), message);
        assert!(ok, "signature.py sign failed");
        signed
    }

    /// Whether the message's signature holds.
    pub(crate) fn verify(&self, message: &[u8]) -> bool {
        run("verify", &self.public(), message).1
    }

    fn private(&self) -> PathBuf {
        self.folder.path().join("private.pem")
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("public")
    }
}

/// Debian's, for which python3-dkim is installed.
const PYTHON: &str = "/usr/bin/python3";

fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn run(command: &str, key: &Path, message: &[u8]) -> (Vec<u8>, bool) {
    let mut child = Command::new(PYTHON)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/signature.py"))
        .arg(command)
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(message)
        .expect("signature.py reads");
    let output = child.wait_with_output().expect("own child");
    (output.stdout, output.status.success())
}
