//! Certificates as a CA signs them: a root, intermediates, and leaves with whatever a test wishes for.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    RevokedCertParams, SanType, SerialNumber,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Somebody who signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a leaf's chain needs of it and of those above it: nothing of a root.
    chain: String,
}

/// A certificate with its chain and its key, both PEM.
#[derive(Clone)]
pub struct Leaf {
    pub chain: String,
    pub key: String,
}

/// What a leaf is to be like.
#[derive(Default)]
pub struct Wish<'a> {
    /// Names and addresses.
    pub names: &'a [&'a str],
    pub uri: Option<&'a str>,
    /// Another one beside it.
    pub other_uri: Option<&'a str>,
    pub common_name: Option<&'a str>,
    pub is_rsa: bool,
    pub serial: Option<u64>,
    /// Days from now, 90 if it is not given; those that have passed are negative.
    pub days: Option<i32>,
}

impl Authority {
    /// A root that signs itself.
    pub fn root(name: &str) -> Authority {
        let issuer = CertifiedIssuer::self_signed(of_authority(name), ecdsa()).unwrap();
        Authority { issuer, chain: String::new() }
    }

    /// One below this.
    pub fn intermediate(&self, name: &str) -> Authority {
        let issuer = CertifiedIssuer::signed_by(of_authority(name), ecdsa(), &self.issuer).unwrap();
        let chain = issuer.pem() + &self.chain;
        Authority { issuer, chain }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A leaf for these names.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.issue(&Wish { names, ..Wish::default() })
    }

    /// A leaf that is like this.
    pub fn issue(&self, wish: &Wish<'_>) -> Leaf {
        let names: Vec<String> = wish.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "lictor's tests");
        if let Some(name) = wish.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        for uri in wish.uri.into_iter().chain(wish.other_uri) {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        params.serial_number = wish.serial.map(SerialNumber::from);
        params.not_before = (SystemTime::now() - 200 * DAY).into();
        params.not_after = in_days(wish.days.unwrap_or(90)).into();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = if wish.is_rsa { KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap() } else { ecdsa() };
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: certificate.pem() + &self.chain, key: key.serialize_pem() }
    }

    /// Its revocation list, with these serial numbers on it.
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: in_days(30).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Leaf {
    /// Puts `NAME.pem` and `NAME.key` there, each by a rename, and returns the line of a configuration that names them.
    pub fn write(&self, folder: &Path, name: &str) -> String {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        replace(&cert, &self.chain);
        replace(&key, &self.key);
        format!("cert = '{}', key = '{}'", cert.display(), key.display())
    }
}

/// Writes a file beside it and renames it, as those do it who replace files that others read.
pub fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (SystemTime::now() - 300 * DAY).into();
    params.not_after = in_days(1000).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn ecdsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn in_days(days: i32) -> SystemTime {
    let length = DAY * days.unsigned_abs();
    if days < 0 { SystemTime::now() - length } else { SystemTime::now() + length }
}
