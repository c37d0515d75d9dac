//! TLS as we speak it ourselves: whom to trust, who we are, and which name to expect. One crypto provider, passed explicitly,
//! so that a second one in the tree can never be picked by accident.

mod client;
mod clients;
mod credentials;
mod entrance;
mod facts;
mod greeting;
mod handshake;
mod keeper;
mod material;
mod mesh;
mod resolver;
mod server;
mod spiffe;
mod stored;
mod stream;
mod verify;
mod watched;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tracing::warn;

use crate::config::{ClientTls, unreadable};

pub use client::{Alpn, Client, Peer, explain, is_refusal};
pub use entrance::Entrance;
pub use facts::Facts;
pub use greeting::{Greeting, Heard};
pub use handshake::{Handshake, Identity, Refused};
pub use keeper::keep;
pub use mesh::{Admission, Caller, Denied, Gate, Mesh, MeshServer, Pass, Questions, Unready};
pub use server::{NOTICE, Renewal, Server};
pub use spiffe::Spiffe;
pub use stored::Values;
pub use stream::{Bare, Stream};

/// A TLS setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or holds nothing usable.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A name that no certificate can carry.
    #[error("\"{0}\" is not a server name")]
    Name(String),
    /// Something that a listener needs.
    #[error("listener \"{0}\": {1}")]
    Listener(Arc<str>, Box<Error>),
    /// Endpoints in the mesh, without a part in it.
    #[error("there is no [mesh], which says who we are to those who ask")]
    NoMesh,
    /// A combination that rustls refuses.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The crypto provider of everything here. Of its suites, all of which are good, those with AES-128 come first: processors compute their
/// hash (SHA-256) by themselves, and not the one that goes with AES-256 (SHA-384), which is a third of what a handshake costs.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes128(suite.suite()));
    Arc::new(provider)
}

fn is_aes128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// A client's configuration that trusts nobody: for connections without TLS, through libraries that want one.
pub fn trust_nobody() -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// A client's configuration with these settings.
pub fn client(settings: &ClientTls) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let roots = match &settings.ca_file {
        Some(path) => roots(path, &certificates(path)?)?,
        None => system_roots(),
    };
    let name = settings
        .server_name
        .as_ref()
        .map(|name| ServerName::try_from(name.clone()).map_err(|_| Error::Name(name.clone())));
    let verifier = verify::verifier(roots, name.transpose()?, settings.verify, provider())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match &settings.client {
        Some((certificate, key)) => builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    })
}

/// Every certificate of a bundle, in whatever order.
fn roots(path: &str, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| file_error(path, error))?;
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        warn!("the system has no CA certificates, and none were configured");
    }
    roots
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| file_error(path, unreadable(&error)))?;
    if certificates.is_empty() {
        return Err(file_error(path, "holds no PEM certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, unreadable(&error)))
}

fn file_error(path: &str, what: impl ToString) -> Error {
    Error::File { path: path.to_owned(), what: what.to_string() }
}
