//! A certificate with its key, and the names that it is for: read whole, and only what fits together.

use std::fs;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, Facts, file_error, provider};
use crate::config::{CertificateFiles, unreadable};

/// More than any chain or key has.
const MAX_FILE: u64 = 1024 * 1024;

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (&self.certified, &other.certified);
        own.cert == others.cert && own.ocsp == others.ocsp && self.names == other.names
    }
}

/// A certificate that can be shown to clients.
#[derive(Debug, Clone)]
pub(super) struct Material {
    pub(super) certified: Arc<CertifiedKey>,
    /// What clients ask for, lower case, wildcards as `*.example.com`.
    pub(super) names: Vec<String>,
    pub(super) facts: Facts,
}

impl Material {
    /// Reads a certificate and what belongs to it.
    pub(super) fn of_files(files: &CertificateFiles) -> Result<Material, Error> {
        let (cert, key) = (read(&files.cert)?, read(&files.key)?);
        let ocsp = files.ocsp.as_deref().map(|path| read(path).and_then(|staple| good_staple(path, staple)));
        let chain = chain(&cert).map_err(|what| file_error(&files.cert, what))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| file_error(&files.key, unreadable(&error)))?;
        Material::of(chain, &key, ocsp.transpose()?, &files.names).map_err(|what| file_error(&files.key, what))
    }

    /// The same out of PEM texts; the key may stand in the same one as the certificate.
    pub(super) fn of_pem(cert: &[u8], key: &[u8]) -> Result<Material, String> {
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|error| unreadable(&error))?;
        Material::of(chain(cert)?, &private, None, &[])
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        ocsp: Option<Vec<u8>>,
        names: &[String],
    ) -> Result<Material, String> {
        let key = provider().key_provider.load_private_key(key.clone_key()).map_err(|error| error.to_string())?;
        let facts = chain.first().and_then(Facts::of).ok_or("the certificate cannot be read")?;
        let mut certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| format!("is not the key of the certificate for {}", facts.names()))?;
        certified.ocsp = ocsp;
        let names = match names {
            [] if facts.dns.is_empty() => facts.common_name.iter().map(|name| name.to_ascii_lowercase()).collect(),
            [] => facts.dns.clone(),
            told => told.to_vec(),
        };
        Ok(Material { certified: Arc::new(certified), names, facts })
    }

    /// What it is called in figures and messages.
    pub(super) fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.facts.subject)
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?;
    if chain.is_empty() { Err("holds no PEM certificate".to_owned()) } else { Ok(chain) }
}

/// An `OCSPResponse` (RFC 6960 section 4.2.1) that says "successful"; anything else would only make clients wary.
fn good_staple(path: &str, staple: Vec<u8>) -> Result<Vec<u8>, Error> {
    let header = match staple.get(1) {
        Some(length) if *length < 0x80 => 2,
        Some(length) => 2 + usize::from(*length & 0x7f),
        None => 0,
    };
    let is_good = staple.first() == Some(&0x30) && staple.get(header..header + 3) == Some(&[0x0a, 0x01, 0x00]);
    if is_good { Ok(staple) } else { Err(file_error(path, "is not a good answer of an OCSP responder, in DER")) }
}

/// A file's bytes, if there are not too many of them.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Error> {
    let length = fs::metadata(path).map_err(|error| file_error(path, error))?.len();
    if length > MAX_FILE {
        return Err(file_error(path, format!("has {length} bytes; {MAX_FILE} at most are read")));
    }
    fs::read(path).map_err(|error| file_error(path, error))
}
