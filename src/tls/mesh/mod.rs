//! TLS among the services of a mesh: everybody shows a short-lived certificate with its name in it, which is a [`Spiffe`] ID and no
//! host name, and trusts whoever the mesh's roots vouch for. Both change while lictor runs; a handshake goes by what is current when
//! it comes to that, and connections that stand are left alone.
//!
//! Nothing is resumed: a session of before would go by what was checked then. So each handshake shows who is at the other end.
//!
//! Where roots and certificates come from, and who may call us, is for others to say: they are told here ([`Mesh::trust`],
//! [`Mesh::identify`], [`Gate::answered`]).

mod gate;
mod server;
mod verdict;
mod verify;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;

use super::material::Material;
use super::{Error, Spiffe, provider};
use crate::config::unreadable;
use crate::metrics::MeshSeries;

pub use gate::{Admission, Caller, Denied, Gate, Pass, Questions};
pub use server::MeshServer;
pub(super) use verify::{Callee, Nobody, Shown};

/// More than any mesh has, even in the middle of several rotations.
const MOST_ROOTS: usize = 64;
/// Of a chain, which is sent in each handshake.
const MOST_LINKS: usize = 16;

/// What our handshakes in the mesh go by.
#[derive(Debug)]
pub struct Mesh {
    trust: ArcSwapOption<Trust>,
    leaf: ArcSwapOption<Leaf>,
    /// Whether there is both.
    is_stocked: watch::Sender<bool>,
    series: Arc<MeshSeries>,
}

/// Whom we believe.
#[derive(Debug)]
struct Trust {
    domain: String,
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    callers: Arc<dyn ClientCertVerifier>,
}

/// Who we are.
#[derive(Debug)]
struct Leaf {
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why nobody can be called just now: no fault of whoever was to be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// We have not been told whom to trust.
    #[error("the mesh's roots are not known yet")]
    Roots,
    /// We have no certificate.
    #[error("we have no certificate of the mesh yet")]
    Leaf,
    /// We had one, and have got no other.
    #[error("our certificate of the mesh expired at {0}, and there is no new one yet")]
    Expired(String),
}

impl Mesh {
    /// Nothing is known yet.
    pub fn new(series: Arc<MeshSeries>) -> Arc<Self> {
        let (trust, leaf, is_stocked) = (ArcSwapOption::empty(), ArcSwapOption::empty(), watch::Sender::new(false));
        Arc::new(Mesh { trust, leaf, is_stocked, series })
    }

    /// Believes, from now on, those for whom one of these certificates (PEM, several in one text or one in each) vouches, if their
    /// names are of that trust domain. True if that is something new. On an error what was before stays in force.
    pub fn trust(&self, domain: &str, pems: &[&str]) -> Result<bool, String> {
        let domain = domain.to_ascii_lowercase();
        if Spiffe::parse(&format!("spiffe://{domain}/x")).is_none_or(|id| id.domain() != domain) {
            return Err(format!("\"{domain}\" is not a trust domain"));
        }
        let mut certificates = Vec::new();
        for pem in pems {
            let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
            certificates.extend(read.map_err(|error| unreadable(&error))?);
        }
        if certificates.is_empty() || certificates.len() > MOST_ROOTS {
            return Err(format!("{} roots, where there should be 1 to {MOST_ROOTS}", certificates.len()));
        }
        let known = self.trust.load();
        if known.as_ref().is_some_and(|known| known.domain == domain && known.certificates == certificates) {
            return Ok(false);
        }
        let mut roots = RootCertStore::empty();
        // One that we cannot use must not take the others with it: whoever depends on it is refused, and nobody else.
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        let roots = Arc::new(roots);
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
        let callers = callers.map_err(|error| error.to_string())?;
        self.trust.store(Some(Arc::new(Trust { domain, certificates, roots, callers })));
        self.series.trusts(usable);
        self.stock();
        Ok(true)
    }

    /// Shows this certificate, with all of its chain, from now on; both are PEM. True if it is a new one. On an error what was before
    /// stays in force. No error has anything of the key in it.
    pub fn identify(&self, chain: &str, key: &str) -> Result<bool, String> {
        let Material { certified, facts, .. } = Material::of_pem(chain.as_bytes(), key.as_bytes())?;
        if !Spiffe::of(&facts).is_some_and(|own| own.is_service()) {
            return Err(format!("it is for {}, and not for one service of a mesh", facts.names()));
        }
        if certified.cert.len() > MOST_LINKS {
            return Err(format!(
                "{} certificates in a chain, where there should be {MOST_LINKS} at most",
                certified.cert.len()
            ));
        }
        if self.leaf.load().as_ref().is_some_and(|known| known.certified.cert == certified.cert) {
            return Ok(false);
        }
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        self.leaf.store(Some(Arc::new(Leaf { certified, not_before, not_after })));
        self.series.expires(not_after);
        self.stock();
        Ok(true)
    }

    /// From when to when our certificate is valid, if we have one.
    pub fn lifetime(&self) -> Option<(SystemTime, SystemTime)> {
        self.leaf.load().as_ref().map(|leaf| (leaf.not_before, leaf.not_after))
    }

    /// Whether somebody can be called, and why not.
    pub fn ready(&self, now: SystemTime) -> Result<(), Unready> {
        if self.trust.load().is_none() {
            return Err(Unready::Roots);
        }
        let end = self.leaf.load().as_ref().map(|leaf| leaf.not_after).ok_or(Unready::Leaf)?;
        if end <= now {
            return Err(Unready::Expired(humantime::format_rfc3339_seconds(end).to_string()));
        }
        Ok(())
    }

    /// Returns once it is known both whom to trust and who we are.
    pub async fn stocked(&self) {
        // Fails only if the sender is gone, which is here.
        let _ = self.is_stocked.subscribe().wait_for(|is_stocked| *is_stocked).await;
    }

    fn stock(&self) {
        if self.trust.load().is_some() && self.leaf.load().is_some() {
            self.is_stocked.send_replace(true);
        }
    }

    /// A client's configuration that calls nobody yet: [`calling`] says whom.
    pub(super) fn client(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Nobody));
        let mut config = builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.resumption = rustls::client::Resumption::disabled();
        // There is no host name to ask for.
        config.enable_sni = false;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_would_burden_each_handshake_is_refused_and_the_one_before_stays() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        let name = "spiffe://a.example/ns/default/dc/dc1/svc/web";
        params.subject_alt_names = vec![rcgen::SanType::URI(name.try_into().unwrap())];
        let (leaf, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let mesh = Mesh::new(Arc::default());
        assert!(mesh.identify(&leaf, &key).unwrap());
        let error = mesh.identify(&leaf.repeat(MOST_LINKS + 1), &key).unwrap_err();
        assert_eq!(error, "17 certificates in a chain, where there should be 16 at most");
        assert!(!mesh.identify(&leaf, &key).unwrap(), "it is the same");
    }
}
