//! Who is at the other end: a chain that one of the roots vouches for, and in it exactly one name, which is the expected one if we
//! call, or that of any service of our trust domain if we are called. Host names and addresses say nothing here.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Mesh, Trust};
use crate::tls::verify::Refusal;
use crate::tls::{Facts, Spiffe, provider};

/// Whoever is to be called: the service of that path in the mesh's trust domain.
#[derive(Debug)]
pub(in crate::tls) struct Callee {
    pub(in crate::tls) mesh: Arc<Mesh>,
    pub(in crate::tls) path: Arc<str>,
}

/// Whoever calls.
#[derive(Debug)]
pub(super) struct Callers(pub(super) Arc<Mesh>);

/// Whom to call was not said.
#[derive(Debug)]
pub(in crate::tls) struct Nobody;

/// What we show, to either side.
#[derive(Debug)]
pub(in crate::tls) struct Shown(pub(in crate::tls) Arc<Mesh>);

impl Trust {
    /// The only name in a certificate, if it is of this trust domain. Whether the certificate is to be believed is another question.
    fn name(&self, certificate: &CertificateDer<'_>) -> Result<Spiffe, Error> {
        let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
        let name = Spiffe::of(&facts).filter(Spiffe::is_service).ok_or_else(|| {
            refused(format!("the certificate is for {}, and not for one service of a mesh", facts.names()))
        })?;
        if name.domain() != self.domain {
            return Err(refused(format!("\"{name}\" is not of the trust domain \"{}\"", self.domain)));
        }
        Ok(name)
    }
}

impl ServerCertVerifier for Callee {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.mesh.trust.load();
        let trust = trust.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        let verified = verify_server_cert_signed_by_trust_anchor(&parsed, &trust.roots, intermediates, now, algorithms);
        verified.map_err(|error| explained(error, end_entity))?;
        let name = trust.name(end_entity)?;
        if name.path() != &*self.path {
            let expected = format!("spiffe://{}{}", trust.domain, self.path);
            return Err(refused(format!("the certificate is for \"{name}\"; \"{expected}\" was expected")));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whoever calls has one certificate of the mesh and need not choose; and roots change.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trust = self.0.trust.load();
        let trust = trust.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        let verified = trust.callers.verify_client_cert(end_entity, intermediates, now);
        let verified = verified.map_err(|error| explained(error, end_entity))?;
        trust.name(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(refused("nobody was to be called".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl Shown {
    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.leaf.load().as_ref().map(|leaf| Arc::clone(&leaf.certified))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// The same, in words that say whose certificate it was, where that helps.
fn explained(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(why) = &error else { return error };
    let Some(facts) = Facts::of(certificate) else { return error };
    let (names, time) = (facts.names(), |time| humantime::format_rfc3339_seconds(time));
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            refused(format!("the certificate for {names} expired at {}", time(facts.not_after)))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            refused(format!("the certificate for {names} is valid from {} on", time(facts.not_before)))
        }
        CertificateError::UnknownIssuer => {
            let issuer = &facts.issuer;
            refused(format!(
                "the certificate for {names} is signed by \"{issuer}\", which no root of the mesh vouches for"
            ))
        }
        _ => error,
    }
}

fn refused(why: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(Refusal::new(why)))).into()
}
