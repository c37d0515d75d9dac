//! What a certificate says: whose it is, who signed it, and for how long. For messages, metrics and identities; what may be
//! believed is decided by the verifiers.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// The readable part of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is, as `CN=…,O=…`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The common name of its subject.
    pub common_name: Option<String>,
    /// DNS names of its subjectAltName, in lower case.
    pub dns: Vec<String>,
    /// Addresses of its subjectAltName.
    pub addresses: Vec<IpAddr>,
    /// URIs of its subjectAltName, such as SPIFFE IDs.
    pub uris: Vec<String>,
    /// Its serial number, in hexadecimal with colons.
    pub serial: String,
    /// When it begins to be valid.
    pub not_before: SystemTime,
    /// When it ends to be valid.
    pub not_after: SystemTime,
}

impl Facts {
    /// Reads a certificate; none if it is not one.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Facts> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let certificate = certificate.tbs_certificate();
        let time = |unix: Duration| UNIX_EPOCH.checked_add(unix);
        let mut facts = Facts {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            common_name: common_name(certificate.subject()),
            dns: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            serial: hexadecimal(certificate.serial_number().as_bytes()),
            not_before: time(certificate.validity().not_before.to_unix_duration())?,
            not_after: time(certificate.validity().not_after.to_unix_duration())?,
        };
        let alternatives = certificate.get_extension::<SubjectAltName>().ok().flatten();
        for name in alternatives.iter().flat_map(|(_, names)| &names.0) {
            match name {
                GeneralName::DnsName(name) => facts.dns.push(name.as_str().to_ascii_lowercase()),
                GeneralName::UniformResourceIdentifier(uri) => facts.uris.push(uri.as_str().to_owned()),
                GeneralName::IpAddress(octets) => facts.addresses.extend(address(octets.as_bytes())),
                _ => {}
            }
        }
        Some(facts)
    }

    /// For whom it is, for a message: names that clients check, or else its subject.
    pub fn names(&self) -> String {
        let all = self.dns.iter().chain(&self.uris).cloned().chain(self.addresses.iter().map(IpAddr::to_string));
        let names: Vec<String> = all.map(|name| format!("\"{name}\"")).collect();
        if names.is_empty() { format!("\"{}\", without any names", self.subject) } else { names.join(", ") }
    }
}

fn common_name(name: &Name) -> Option<String> {
    // An empty one names nobody.
    Some(name.common_name().ok()??.value().into_owned()).filter(|name| !name.is_empty())
}

/// As `0a:ff`; a zero before a first byte that would be negative without it is not part of the number.
fn hexadecimal(bytes: &[u8]) -> String {
    let number = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        number => number,
    };
    let digits: Vec<String> = number.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(":")
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
