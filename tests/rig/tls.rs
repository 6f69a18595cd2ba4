//! Certificates that are made when a test runs, and peers that encrypt.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkgate::net::tls::{Identity, Trust};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Peer, Wire};

/// An encrypted connection.
pub(crate) trait Encrypted: Read + Write + Send {
    /// Says that it ends.
    fn notify(&mut self);
}

impl Encrypted for StreamOwned<ClientConnection, Wire> {
    fn notify(&mut self) {
        self.conn.send_close_notify();
    }
}

impl Encrypted for StreamOwned<ServerConnection, Wire> {
    fn notify(&mut self) {
        self.conn.send_close_notify();
    }
}

/// A certificate that signs itself, and its key, as files.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// Made out to `name`, which may be an address.
    pub(crate) fn new(name: &str) -> Self {
        let certificate = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        certificate.renew(name);
        certificate
    }

    /// Puts another one into the files.
    pub(crate) fn renew(&self, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("key.pem")
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::load(&self.certificate(), &self.key()).unwrap()
    }

    /// Trust in this certificate and no other.
    pub(crate) fn trust(&self) -> Trust {
        Trust::load(Some(&self.certificate())).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Peer {
    /// Encrypts as the client of a server that must show `certificate`, made out to `name`.
    pub(crate) fn encrypt(&mut self, certificate: &Certificate, name: &str) -> io::Result<()> {
        assert!(self.unread.is_empty(), "{:?}", self.unread.escape_ascii().to_string());
        let mut roots = RootCertStore::empty();
        roots.add(read(&certificate.certificate())).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut self.stream)?;
        }
        self.encrypted = Some(Box::new(StreamOwned::new(connection, self.stream.try_clone()?)));
        Ok(())
    }

    /// Encrypts as a server with `certificate`.
    pub(crate) fn accept_tls(&mut self, certificate: &Certificate) -> io::Result<()> {
        assert!(self.unread.is_empty(), "{:?}", self.unread.escape_ascii().to_string());
        let key = PrivateKeyDer::from_pem_file(certificate.key()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![read(&certificate.certificate())], key)
            .unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut self.stream)?;
        }
        self.encrypted = Some(Box::new(StreamOwned::new(connection, self.stream.try_clone()?)));
        Ok(())
    }

    /// Says that the encrypted connection ends.
    pub(crate) fn notify(&mut self) {
        let encrypted = self.encrypted.as_mut().unwrap();
        encrypted.notify();
        encrypted.flush().unwrap();
    }

    /// EHLO and its whole reply, without the greeting.
    pub(crate) fn ehlo(&mut self) -> Vec<String> {
        self.send("EHLO client.test\r\n");
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap();
            let last = line.starts_with("250 ");
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// As a next hop: hears EHLO and answers.
    pub(crate) fn answer_ehlo(&mut self, keywords: &[&str]) {
        self.expect("EHLO us.test");
        let mut reply = "250-hop.test\r\n".to_owned();
        for keyword in keywords {
            reply += &format!("250-{keyword}\r\n");
        }
        self.send(reply + "250 HELP\r\n");
    }
}

fn read(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}
