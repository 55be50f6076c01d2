//! TLS to receivers, by rustls.
//!
//! Whom to believe is what the system believes (its certificate store, or what `SSL_CERT_FILE` names), or a receiver's
//! own authorities. There is no way to believe everybody.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::Failure;

/// A connection, with or without TLS.
pub(super) type Stream = Box<dyn Duplex>;

/// What can be read from and written to.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How a receiver is known to be who it says.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// For the receiver at `host`, which the setting `field` names; else the setting that is wrong and why.
    pub(super) fn new(
        field: &str,
        host: &str,
        ca: Option<&Path>,
    ) -> Result<Self, (String, String)> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            let why = format!("`{host}` is no name or address that a certificate could have");
            (field.to_owned(), why)
        })?;
        let config = match ca {
            None => system().map_err(|why| (field.to_owned(), why))?,
            Some(path) => Arc::new(own(path).map_err(|why| ("ca".to_owned(), why))?),
        };
        Ok(Self {
            connector: TlsConnector::from(config),
            name,
        })
    }

    /// Speaks TLS over a connection. A certificate that is not believed today may be renewed tomorrow.
    pub(super) async fn over(&self, stream: TcpStream) -> Result<Stream, Failure> {
        let name = self.name.to_str();
        let shaken = self.connector.connect(self.name.clone(), stream).await;
        let stream =
            shaken.map_err(|error| Failure::Passing(format!("TLS with `{name}`: {error}")))?;
        Ok(Box::new(stream))
    }
}

/// The system's authorities, read once.
fn system() -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A store may hold what rustls cannot read, beside what it can.
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            return Err(
                "the system has no certificates of authorities; install `ca-certificates`, or name a file as `ca`"
                    .to_owned(),
            );
        }
        config(roots).map(Arc::new)
    };
    SYSTEM.get_or_init(read).clone()
}

/// A file of authorities.
fn own(path: &Path) -> Result<ClientConfig, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    for certificate in found {
        let certificate =
            certificate.map_err(|error| format!("`{shown}` is not one of PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("`{shown}`: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("`{shown}` has no certificate"));
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
