//! Checking a server's certificate against another name than the one that was dialled, as servers need that carry a
//! name and are dialled by address; saying what was wrong with it; and not checking it at all, where a person has said so.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Facts;

/// A verifier that trusts `roots`, expects `name` if there is one, and checks identities only if `verify` says so.
pub(super) fn verifier(
    roots: RootCertStore,
    name: Option<ServerName<'static>>,
    verify: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, super::Error> {
    if !verify {
        return Ok(Arc::new(Anyone(provider)));
    }
    if roots.is_empty() {
        let what = "there is no CA certificate to trust".to_owned();
        return Err(super::Error::Rustls(Error::General(what)));
    }
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let webpki = webpki.map_err(|error| Error::General(error.to_string()))?;
    Ok(match name {
        Some(name) => Arc::new(Named { webpki, name }),
        None => webpki,
    })
}

/// A verifier that trusts `roots`, out of the place that is called `whose`, and says what was expected and what came. It believes
/// everybody unless it is to verify.
pub(super) fn explaining(
    roots: RootCertStore,
    whose: &str,
    verify: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, super::Error> {
    let verifier = verifier(roots, None, verify, Arc::clone(provider))?;
    Ok(Arc::new(Explaining { verifier, whose: whose.into() }))
}

/// Why a certificate was not believed, in a sentence.
#[derive(Clone)]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn new(why: String) -> Self {
        Refusal(why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// rustls shows it this way.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

#[derive(Debug)]
struct Explaining {
    verifier: Arc<dyn ServerCertVerifier>,
    whose: Box<str>,
}

impl Explaining {
    fn refusal(
        &self,
        why: &CertificateError,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Option<String> {
        let facts = Facts::of(certificate)?;
        let (names, expected) = (facts.names(), name.to_str());
        let time = |time| humantime::format_rfc3339_seconds(time);
        Some(match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is for {names}; \"{expected}\" was expected")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate for {names} expired at {}", time(facts.not_after))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate for {names} is valid from {} on", time(facts.not_before))
            }
            CertificateError::UnknownIssuer => {
                let Facts { issuer, .. } = &facts;
                format!(
                    "the certificate for {names} is signed by \"{issuer}\", which nobody vouches for in {}",
                    self.whose
                )
            }
            other => format!("the certificate for {names} cannot be accepted: {other}"),
        })
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        verified.map_err(|error| match &error {
            Error::InvalidCertificate(why) => self
                .refusal(why, end_entity, name)
                .map_or(error, |said| CertificateError::Other(OtherError(Arc::new(Refusal(said)))).into()),
            _ => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Named {
    webpki: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.webpki.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Whoever answers is taken for the agent; that it holds the key of its certificate is still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
