//! TLS to endpoints: the keys of `tls`, and what is in the files that they name. And the keys of `listeners.tls`, whose files
//! change by themselves and are read by `tls`.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::super::text::is_host_name;
use super::super::{Authorities, CertificateFiles, ClientAuth, ClusterTls, Identity, ListenerTls, raw, unreadable};
use super::policy::Or;
use super::{Problems, prefix};

/// None if it is turned off, which is also the default; nothing is read then.
pub(super) fn check(key: &str, written: Option<raw::ClusterTls>, problems: &mut Problems) -> Option<ClusterTls> {
    let written = written.filter(|written| written.enabled.unwrap_or(true))?;
    let key = format!("{key}.tls");
    Some(ClusterTls {
        authorities: written.ca.as_deref().and_then(|path| authorities(&format!("{key}.ca"), path, problems)),
        server_name: written.server_name.and_then(|name| server_name(&key, name, problems)),
        identity: identity(&key, (written.client_cert.as_deref(), written.client_key.as_deref()), problems),
        verify: true,
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
    let read = PrivateKeyDer::from_pem_file(private).map_err(|error| unreadable(&error));
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
        Err(error) => format!("{path} cannot be read: {}", unreadable(&error)),
    };
    problems.add(key, what);
    None
}

/// None if it is turned off.
pub(super) fn listener(key: &str, written: raw::ListenerTls, problems: &mut Problems) -> Option<ListenerTls> {
    if !written.enabled.unwrap_or(true) {
        return None;
    }
    let key = format!("{key}.tls");
    if written.certificates.is_empty() && written.kv.is_none() {
        problems.add(&key, "has no certificate; add certificates = [{ cert = \"…\", key = \"…\" }], or kv = \"…\"");
    }
    let clients = clients(&key, &written, problems);
    let tls12 = match written.min_version.as_deref() {
        None | Some("1.2") => true,
        Some("1.3") => false,
        Some(other) => {
            problems.add(format!("{key}.min_version"), format!("no version \"{other}\"; use \"1.2\" or \"1.3\""));
            true
        }
    };
    let certificates = written.certificates.into_iter().enumerate();
    let mut files = |(index, written): (usize, raw::Certificate)| {
        let names = written.names.unwrap_or_default();
        names.iter().for_each(|name| listener_name(&format!("{key}.certificates[{index}].names"), name, problems));
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        CertificateFiles { cert: written.cert, key: written.key, ocsp: written.ocsp, names }
    };
    let certificates = certificates.map(&mut files).collect();
    let kv = written.kv.map(|written| prefix(&format!("{key}.kv"), &written, "lictor/certificates/", problems));
    Some(ListenerTls { certificates, kv, tls12, clients, strict_sni: written.strict_sni.unwrap_or(false) })
}

fn listener_name(key: &str, name: &str, problems: &mut Problems) {
    if !is_host_name(name.strip_prefix("*.").unwrap_or(name)) {
        problems.add(key, format!("\"{name}\" is not a name; use \"shop.example.com\" or \"*.example.com\""));
    }
}

fn clients(key: &str, written: &raw::ListenerTls, problems: &mut Problems) -> Option<ClientAuth> {
    let required = match written.client_auth.as_deref() {
        Some("required") => true,
        Some("optional") => false,
        None | Some("none") => {
            for (name, file) in [("client_ca", &written.client_ca), ("client_crl", &written.client_crl)] {
                if file.is_some() {
                    let advice = "is not used while nobody is asked; set client_auth to \"optional\" or \"required\"";
                    problems.add(format!("{key}.{name}"), advice);
                }
            }
            return None;
        }
        Some(other) => {
            let advice = format!("\"{other}\" is not known; use \"none\", \"optional\" or \"required\"");
            problems.add(format!("{key}.client_auth"), advice);
            return None;
        }
    };
    let Some(ca) = written.client_ca.clone() else {
        problems.add(format!("{key}.client_auth"), "needs client_ca, the CAs that sign clients' certificates");
        return None;
    };
    Some(ClientAuth { required, ca, crl: written.client_crl.clone() })
}
