//! What is followed: the mesh's roots, and our own certificate; where each is to be had, and how an answer is read. A text that cannot
//! be read is not repeated: it may be a key.

use serde::Deserialize;

use crate::consul::encode;
use crate::metrics::MeshPart;
use crate::tls::Mesh;

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Whom to trust.
    Roots,
    /// Who we are: that service.
    Leaf(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Roots {
    trust_domain: String,
    roots: Option<Vec<Root>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    root_cert: String,
}

#[derive(Deserialize)]
struct Leaf {
    #[serde(rename = "CertPEM")]
    chain: String,
    #[serde(rename = "PrivateKeyPEM")]
    key: String,
}

impl Material {
    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Material::Roots => "the mesh's roots",
            Material::Leaf(_) => "our certificate in the mesh",
        }
    }

    /// What it is counted as.
    pub(super) fn part(&self) -> MeshPart {
        match self {
            Material::Roots => MeshPart::Roots,
            Material::Leaf(_) => MeshPart::Leaf,
        }
    }

    /// Where the agent has it.
    pub(super) fn path(&self) -> String {
        match self {
            Material::Roots => "/v1/agent/connect/ca/roots".to_owned(),
            Material::Leaf(service) => {
                let mut path = "/v1/agent/connect/ca/leaf/".to_owned();
                encode(&mut path, service);
                path
            }
        }
    }

    /// What has to be allowed for it.
    pub(super) fn needs(&self) -> String {
        match self {
            Material::Roots => "a token that Consul knows".to_owned(),
            Material::Leaf(service) => format!("service \"{service}\" {{ policy = \"write\" }}"),
        }
    }

    /// Has the mesh go on with what an answer holds. True if that is something new.
    pub(super) fn take(&self, body: &[u8], mesh: &Mesh) -> Result<bool, String> {
        match self {
            Material::Roots => {
                let roots: Roots = read(body)?;
                // Those that are not active any more as well: certificates of before are still about.
                let pems: Vec<&str> = roots.roots.iter().flatten().map(|root| root.root_cert.as_str()).collect();
                mesh.trust(&roots.trust_domain, &pems)
            }
            Material::Leaf(_) => {
                let leaf: Leaf = read(body)?;
                mesh.identify(&leaf.chain, &leaf.key)
            }
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("it is not what was asked for, from byte {} on", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_repeats_what_was_read() {
        let mesh = Mesh::new(std::sync::Arc::default());
        let leaf = Material::Leaf("edge".to_owned());
        let bodies = [
            r#"{"CertPEM": "SECRET", "PrivateKeyPEM": ["SECRET"]}"#,
            r#"{"CertPEM": 1, "PrivateKeyPEM": "SECRET"}"#,
            r#"{"CertPEM": "-----BEGIN CERTIFICATE-----\nSECRET", "PrivateKeyPEM": "-----BEGIN SECRET-----\nSECRET"}"#,
            r#""SECRET""#,
            "SECRET",
        ];
        for body in bodies {
            let error = leaf.take(body.as_bytes(), &mesh).unwrap_err();
            assert!(!error.contains("SECRET"), "{error}");
        }
        assert!(Material::Roots.take(br#"{"TrustDomain": "", "Roots": null}"#, &mesh).is_err());
        let error = Material::Roots.take(br#"{"TrustDomain": "a.example/b", "Roots": []}"#, &mesh).unwrap_err();
        assert_eq!(error, "\"a.example/b\" is not a trust domain");
        assert!(Material::Roots.take(br#"{"TrustDomain": "a.example", "Roots": []}"#, &mesh).is_err());
    }

    #[test]
    fn a_service_is_one_segment_of_the_path() {
        assert_eq!(Material::Leaf("a b/c".to_owned()).path(), "/v1/agent/connect/ca/leaf/a%20b%2Fc");
    }
}
