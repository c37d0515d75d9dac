//! Whose certificates clients may show: CAs and revocation lists out of files, as one verifier.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::material::read;
use super::{Error, Facts, file_error, provider, roots};
use crate::config::{ClientAuth, unreadable};

/// What clients are checked by.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) authorities: Vec<Facts>,
    required: bool,
    /// Of the files.
    digest: Vec<u8>,
}

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Clients {
    /// Reads the files of these settings.
    ///
    /// With revocation lists there has to be one of each CA in a client's chain: whoever gives lists does not want certificates
    /// of which nobody can say whether they were revoked.
    pub(super) fn of_files(settings: &ClientAuth) -> Result<Clients, Error> {
        let ca = read(&settings.ca)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&ca);
        let certificates = CertificateDer::pem_slice_iter(&ca).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| file_error(&settings.ca, unreadable(&error)))?;
        if certificates.is_empty() {
            return Err(file_error(&settings.ca, "holds no PEM certificate"));
        }
        let roots = Arc::new(roots(&settings.ca, &certificates)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if let Some(path) = &settings.crl {
            let crl = read(path)?;
            hash.update(&crl);
            let lists = CertificateRevocationListDer::pem_slice_iter(&crl).collect::<Result<Vec<_>, _>>();
            let lists = lists.map_err(|error| file_error(path, unreadable(&error)))?;
            if lists.is_empty() {
                return Err(file_error(path, "holds no PEM revocation list"));
            }
            builder = builder.with_crls(lists);
        }
        if !settings.required {
            builder = builder.allow_unauthenticated();
        }
        let whose = settings.crl.as_ref().unwrap_or(&settings.ca);
        let verifier = builder.build().map_err(|error| file_error(whose, error))?;
        let authorities = certificates.iter().filter_map(Facts::of).collect();
        Ok(Clients { verifier, authorities, required: settings.required, digest: hash.finish().as_ref().to_vec() })
    }

    /// Checks a client whose session was resumed: what it showed when the session began may have ended to be valid since.
    pub(super) fn check_again(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), rustls::Error> {
        match chain {
            Some([own, others @ ..]) => self.verifier.verify_client_cert(own, others, UnixTime::now()).map(|_| ()),
            _ if self.required => Err(rustls::Error::NoCertificatesPresented),
            _ => Ok(()),
        }
    }
}
