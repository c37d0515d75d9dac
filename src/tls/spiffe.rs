//! Names in a mesh: SPIFFE IDs (SPIFFE-ID, section 2), `spiffe://TRUST-DOMAIN/PATH`, of which a service's path is
//! `/ns/NAMESPACE/dc/DATACENTER/svc/SERVICE`, with `/ap/PARTITION` before it where there are partitions.
//!
//! Two of them are the same if they are the same byte by byte, but for the trust domain, which is compared in lower case. Nothing is
//! decoded: what has two spellings would otherwise be two services to one reader and one to another.

use std::fmt;

use super::Facts;

const SCHEME: &str = "spiffe://";
/// Longest ID there may be (section 2.3), and longest trust domain.
const LONGEST: usize = 2048;
const LONGEST_DOMAIN: usize = 255;

/// A SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spiffe {
    domain: String,
    path: String,
}

impl Spiffe {
    /// Reads one; none if it is not written as one has to be.
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix(SCHEME).filter(|_| uri.len() <= LONGEST)?;
        let (domain, path) = rest.split_at(rest.find('/')?);
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_domain = !domain.is_empty() && domain.len() <= LONGEST_DOMAIN && domain.bytes().all(is_label);
        let is_segment = |segment: &str| {
            let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
            !["", ".", ".."].contains(&segment) && segment.bytes().all(is_plain)
        };
        let is_path = path.split('/').skip(1).all(is_segment);
        (is_domain && is_path).then(|| Spiffe { domain: domain.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// The one that a certificate is for. None if it has another URI beside it: who has two names could be taken for either.
    pub fn of(certificate: &Facts) -> Option<Self> {
        let [uri] = &certificate.uris[..] else { return None };
        Spiffe::parse(uri)
    }

    /// Who vouches for it, in lower case.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What it is called there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// True for a service, and not for a machine of the mesh or whatever else its authority signs.
    pub fn is_service(&self) -> bool {
        let segments: Vec<&str> = self.path.split('/').skip(1).collect();
        let service = match &segments[..] {
            ["ap", _, service @ ..] => service,
            service => service,
        };
        matches!(service, ["ns", _, "dc", _, "svc", _])
    }
}

impl fmt::Display for Spiffe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.domain, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trust_domain_is_in_lower_case_and_the_path_as_it_is() {
        let id = Spiffe::parse("spiffe://ABC.example/ns/default/dc/dc1/svc/Web%20a").unwrap();
        assert_eq!((id.domain(), id.path()), ("abc.example", "/ns/default/dc/dc1/svc/Web%20a"));
        assert_eq!(id.to_string(), "spiffe://abc.example/ns/default/dc/dc1/svc/Web%20a");
        assert_ne!(Some(id), Spiffe::parse("spiffe://abc.example/ns/default/dc/dc1/svc/web%20a"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_id() {
        let long = format!("spiffe://a/{}", "x".repeat(LONGEST));
        let wrong = [
            "",
            "https://a/b",
            "SPIFFE://a/b",
            "spiffe://a",
            "spiffe:///b",
            "spiffe://a/",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/./b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b c",
            "spiffe://a/b\0",
            "spiffe://ä/b",
            &long,
        ];
        for uri in wrong {
            assert_eq!(Spiffe::parse(uri), None, "{uri:?}");
        }
    }

    #[test]
    fn only_services_are_services() {
        let is_service = |path: &str| Spiffe::parse(&format!("spiffe://a{path}")).unwrap().is_service();
        assert!(is_service("/ns/default/dc/dc1/svc/web") && is_service("/ap/east/ns/n/dc/dc1/svc/web"));
        let others = [
            "/agent/client/dc/dc1/id/n",
            "/gateway/mesh/dc/dc1",
            "/ns/a/dc/b/svc/c/d",
            "/ns/a/svc/c/dc/b",
            "/ap/ns/a/dc/b/svc/c",
            "/ap/x/ap/y/ns/a/dc/b/svc/c",
            "/svc/web",
        ];
        for path in others {
            assert!(!is_service(path), "{path}");
        }
    }

    #[test]
    fn a_certificate_with_two_names_is_nobody() {
        let certificate = |uris: &[&str]| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
            Facts::of(params.self_signed(&key).unwrap().der()).unwrap()
        };
        assert_eq!(Spiffe::of(&certificate(&["spiffe://a/b"])), Spiffe::parse("spiffe://a/b"));
        for uris in [&[][..], &["spiffe://a/b", "spiffe://a/c"], &["spiffe://a/b", "https://a/b"], &["https://a/b"]] {
            assert_eq!(Spiffe::of(&certificate(uris)), None, "{uris:?}");
        }
    }
}
