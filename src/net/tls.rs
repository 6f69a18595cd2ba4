//! TLS of both sides: the certificate of a listener, and how the certificates of next hops are verified.
//!
//! TLS 1.2 and 1.3, with ring. Client certificates are neither asked for nor shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};

/// `next_hop_tls`: how the way to a next hop is encrypted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, strum::EnumString, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum NextHopTls {
    /// Not at all.
    #[default]
    Off,
    /// If it offers that, whatever certificate it shows; else it goes without.
    Opportunistic,
    /// With a certificate that is good and made out to its name or address, or nothing is sent.
    Verify,
}

/// A listener's certificate and key.
///
/// Two are equal when they come from the same files: what stands in these may change, and is taken up by a reload.
#[derive(Clone)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
}

/// A fault in the files of an [`Identity`].
#[derive(Debug)]
pub enum BadIdentity {
    /// The certificate; why.
    Certificate(String),
    /// The key; why.
    Key(String),
}

impl Identity {
    /// Reads a certificate with its intermediates, the host's own first, and its private key (PKCS #8, PKCS #1 or SEC1),
    /// both PEM.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key is not that of the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, BadIdentity> {
        let chain = certificates(certificate).map_err(BadIdentity::Certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| BadIdentity::Key(pem_fault(&e, "private key")))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| BadIdentity::Key(e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), private)
            .map_err(|e| match e {
                Error::InconsistentKeys(_) => BadIdentity::Key("not the key of the certificate".to_owned()),
                Error::InvalidCertificate(_) => BadIdentity::Certificate(e.to_string()),
                _ => BadIdentity::Key(e.to_string()),
            })?;
        // A ticket for each handshake is enough: mail servers come back one connection at a time.
        config.send_tls13_tickets = 1;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            chain,
            config: Arc::new(config),
        })
    }

    /// The configuration of a handshake with a client.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether clients are shown the same certificate.
    #[must_use]
    pub fn shows_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (&self.certificate, &self.key) == (&other.certificate, &other.key)
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How the certificates of next hops are judged.
///
/// Two are equal when they come from the same file.
#[derive(Clone)]
pub struct Trust {
    ca: Option<PathBuf>,
    verifying: Option<Arc<ClientConfig>>,
    any: Arc<ClientConfig>,
}

impl Trust {
    /// For next hops that are not verified: any certificate is good.
    ///
    /// # Errors
    /// The TLS library has a fault.
    pub fn none() -> Result<Self, String> {
        let provider = provider();
        let any = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self {
            ca: None,
            verifying: None,
            any: Arc::new(any),
        })
    }

    /// For next hops that are verified, by the certificates in the PEM file `ca`, or else by those the system trusts.
    ///
    /// # Errors
    /// The file cannot be read or holds something else; the system has no certificates.
    pub fn load(ca: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| e.to_string())?;
                }
            }
            None => {
                // The odd one that cannot be parsed is no reason to trust none.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("the system has no root certificates".to_owned());
                }
            }
        }
        let verifying = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            ca: ca.map(Path::to_owned),
            verifying: Some(Arc::new(verifying)),
            ..Self::none()?
        })
    }

    /// The configuration of a handshake with a server that must be verified; `None` if there is nothing to do that by.
    #[must_use]
    pub fn verifying(&self) -> Option<&Arc<ClientConfig>> {
        self.verifying.as_ref()
    }

    /// The configuration of a handshake with a next hop; `None` if it must be verified and there is nothing to do that by.
    #[must_use]
    pub fn config(&self, tls: NextHopTls) -> Option<Arc<ClientConfig>> {
        match tls {
            NextHopTls::Verify => self.verifying.clone(),
            NextHopTls::Off | NextHopTls::Opportunistic => Some(Arc::clone(&self.any)),
        }
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        (&self.ca, self.verifying.is_some()) == (&other.ca, other.verifying.is_some())
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("ca", &self.ca).finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// All certificates of a PEM file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(pem_fault(&pem::Error::NoItemsFound, "certificate")),
        Ok(found) => Ok(found),
        Err(e) => Err(pem_fault(&e, "certificate")),
    }
}

fn pem_fault(e: &pem::Error, wanted: &str) -> String {
    match e {
        pem::Error::Io(e) => e.to_string(),
        pem::Error::NoItemsFound => format!("no {wanted} in it"),
        e => format!("not PEM: {e}"),
    }
}

/// Takes any certificate: against an attacker who only listens that is enough, and a next hop that may also be spoken to in
/// plain text gains nothing by more (RFC 7435). Signatures are checked, so the peer has the key of what it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
