//! TLS to endpoints: the keys of `tls`, and what is in the files that they name.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::super::{Authorities, ClusterTls, Identity, raw};
use super::Problems;
use super::policy::Or;

/// None if it is turned off, which is also the default; nothing is read then.
pub(super) fn check(key: &str, written: Option<raw::ClusterTls>, problems: &mut Problems) -> Option<ClusterTls> {
    let written = written.filter(|written| written.enabled.unwrap_or(true))?;
    let key = format!("{key}.tls");
    Some(ClusterTls {
        authorities: written.ca.as_deref().and_then(|path| authorities(&format!("{key}.ca"), path, problems)),
        server_name: written.server_name.and_then(|name| server_name(&key, name, problems)),
        identity: identity(&key, (written.client_cert.as_deref(), written.client_key.as_deref()), problems),
    })
}

impl Or for raw::ClusterTls {
    fn or(self, defaults: &Self) -> Self {
        // A certificate goes with its key.
        let says = self.client_cert.is_some() || self.client_key.is_some();
        let inherited = if says { raw::ClusterTls::default() } else { defaults.clone() };
        raw::ClusterTls {
            // A table of its own turns it on, whatever the defaults say.
            enabled: self.enabled.or(Some(true)),
            ca: self.ca.or_else(|| defaults.ca.clone()),
            server_name: self.server_name.or_else(|| defaults.server_name.clone()),
            client_cert: self.client_cert.or(inherited.client_cert),
            client_key: self.client_key.or(inherited.client_key),
        }
    }
}

fn server_name(key: &str, name: String, problems: &mut Problems) -> Option<ServerName<'static>> {
    let advice = format!("\"{name}\" is not a name that a certificate can carry; use \"api.example.com\"");
    let name = ServerName::try_from(name).ok();
    if name.is_none() {
        problems.add(format!("{key}.server_name"), advice);
    }
    name
}

fn authorities(key: &str, path: &str, problems: &mut Problems) -> Option<Authorities> {
    let certificates = certificates(key, path, problems)?;
    for certificate in &certificates {
        if let Err(error) = RootCertStore::empty().add(certificate.clone()) {
            problems.add(key, format!("{path} holds a certificate that cannot be used: {error}"));
            return None;
        }
    }
    Some(Authorities { path: path.into(), certificates: certificates.into() })
}

fn identity(key: &str, written: (Option<&str>, Option<&str>), problems: &mut Problems) -> Option<Identity> {
    let (certificate, private) = match written {
        (Some(certificate), Some(private)) => (certificate, private),
        (None, None) => return None,
        _ => {
            problems.add(format!("{key}.client_cert"), "a client certificate needs client_cert and client_key, both");
            return None;
        }
    };
    let chain = certificates(&format!("{key}.client_cert"), certificate, problems);
    let private_key = format!("{key}.client_key");
    let read = PrivateKeyDer::from_pem_file(private).map_err(|error| error.to_string());
    let signing = read.and_then(|read| Ok((any_supported_type(&read).map_err(|error| error.to_string())?, read)));
    let (signing, read) = match signing {
        Ok(signing) => signing,
        Err(error) => {
            problems.add(private_key, format!("{private} cannot be used: {error}"));
            return None;
        }
    };
    let chain = chain?;
    if let Err(error) = CertifiedKey::new(chain.clone(), signing).keys_match() {
        problems.add(private_key, format!("{private} is not the key of the certificate in {certificate}: {error}"));
        return None;
    }
    Some(Identity { chain: chain.into(), key: Arc::new(read) })
}

/// The certificates in a file, at least one.
fn certificates(key: &str, path: &str, problems: &mut Problems) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let what = match read {
        Ok(certificates) if !certificates.is_empty() => return Some(certificates),
        Ok(_) => format!("{path} holds no PEM certificate"),
        Err(error) => format!("{path} cannot be read: {error}"),
    };
    problems.add(key, what);
    None
}
