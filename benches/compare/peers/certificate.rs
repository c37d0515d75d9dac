//! What every proxy shows under TLS: an ECDSA P-256 certificate, signed by an authority that only this run knows.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::Failure;

/// The names that it is for: what the load's requests have in `Host`, and where they go.
const NAMES: [&str; 2] = ["lictor.test", "127.0.0.1"];

/// Its files, all PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate; there is nothing between it and the authority.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both, as HAProxy wants it.
    pub both: PathBuf,
    /// Whom clients have to trust.
    pub authority: PathBuf,
}

impl Certificate {
    /// Makes one anew, with its files in this folder.
    pub fn create(folder: &Path) -> Result<Self, Failure> {
        let mut above = CertificateParams::default();
        above.distinguished_name.push(DnType::CommonName, "lictor's comparison");
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        above.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(above, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;

        let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, NAMES[0]);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let chain = params.signed_by(&key, &authority)?.pem();
        let key = key.serialize_pem();

        let files = Self {
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
            authority: folder.join("authority.pem"),
        };
        fs::write(&files.both, [chain.as_str(), key.as_str()].concat())?;
        fs::write(&files.chain, chain)?;
        fs::write(&files.key, key)?;
        fs::write(&files.authority, authority.pem())?;
        Ok(files)
    }
}
