//! Which certificate a client is shown: by the name that it asks for (SNI, RFC 6066 section 3) and the keys that it can check.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::material::Material;

/// Certificates of a name, those first that are preferred.
type Candidates = Vec<Arc<CertifiedKey>>;

/// Certificates by name.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    exact: HashMap<String, Candidates>,
    /// By the domain that one label stands before.
    wildcards: HashMap<String, Candidates>,
    /// For clients that ask for no name, or for one that nobody has.
    default: Candidates,
    strict: bool,
}

impl Resolver {
    /// The certificates in the order of their precedence; the first is the default, with those of other keys for the same name.
    pub(super) fn new(all: &[&Material], strict: bool) -> Self {
        let mut resolver = Resolver { strict, ..Resolver::default() };
        for material in all {
            for name in &material.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut resolver.wildcards, domain),
                    None => (&mut resolver.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&material.certified));
            }
        }
        let candidates = resolver.exact.values_mut().chain(resolver.wildcards.values_mut());
        // Stable: of two with the same kind of key, the one that was named first.
        candidates.for_each(|candidates| candidates.sort_by_key(|certified| rank(certified.key.algorithm())));
        resolver.default = all.first().map(|first| resolver.of_default(first)).unwrap_or_default();
        resolver
    }

    fn of_default(&self, first: &Material) -> Candidates {
        let name = first.names.first();
        let own = name.and_then(|name| match name.strip_prefix("*.") {
            Some(domain) => self.wildcards.get(domain),
            None => self.exact.get(name),
        });
        own.cloned().unwrap_or_else(|| vec![Arc::clone(&first.certified)])
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else { return &self.default };
        let wildcard = || name.split_once('.').and_then(|(_, domain)| self.wildcards.get(domain));
        match self.exact.get(name).or_else(wildcard) {
            Some(candidates) => candidates,
            None if self.strict => &[],
            None => &self.default,
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let can_check =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        let candidates = self.find(name.as_deref());
        // If none fits, nothing else will either: rustls then says what is the matter, which no certificate at all would not.
        candidates.iter().find(can_check).or(candidates.first()).cloned()
    }
}

/// Signing with ECDSA costs a tenth of what it costs with RSA.
fn rank(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 | SignatureAlgorithm::ED448 => 1,
        _ => 2,
    }
}
