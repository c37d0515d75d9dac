//! TLS towards those who call us in the mesh: they have to show who they are, and to be allowed to call us.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::verify::{Callers, Shown};
use super::{Admission, Caller, Gate, Mesh};
use crate::config::{Accepts, Listener};
use crate::metrics::{self, TlsSeries};
use crate::tls::server::{HANG_UP, shake};
use crate::tls::{Error, Facts, Handshake, Identity, Refused, Spiffe, Stream, provider};

/// A listener's side of the mesh, shared by its workers.
#[derive(Debug)]
pub struct MeshServer {
    within: Duration,
    config: Arc<ServerConfig>,
    mesh: Arc<Mesh>,
    gate: Arc<Gate>,
    series: Arc<TlsSeries>,
}

impl MeshServer {
    /// That of this listener.
    pub fn new(
        listener: &Listener,
        (mesh, gate): (&Arc<Mesh>, &Arc<Gate>),
        series: Arc<TlsSeries>,
    ) -> Result<Arc<Self>, Error> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_client_cert_verifier(Arc::new(Callers(Arc::clone(mesh))));
        let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::clone(mesh))));
        // Whoever comes again is looked at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if listener.accepts == Accepts::Http {
            let alpn: &[&[u8]] = if listener.http.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        }
        let (within, config) = (listener.handshake, Arc::new(config));
        Ok(Arc::new(MeshServer { within, config, mesh: Arc::clone(mesh), gate: Arc::clone(gate), series }))
    }

    /// The handshake with a client that has connected, and whether it may call us; both take no longer than a handshake may.
    pub async fn accept(&self, stream: TcpStream) -> Result<(Stream, Handshake), Refused> {
        let result = timeout(self.within, self.secure(stream)).await.unwrap_or(Err(Refused::Timeout));
        self.series.handshake(result.as_ref().map_or_else(Refused::figure, |_| metrics::Handshake::Ok));
        result
    }

    async fn secure(&self, stream: TcpStream) -> Result<(Stream, Handshake), Refused> {
        let mut stream = shake(stream, &self.config).await?;
        let connection = stream.get_ref().1;
        let caller = connection.peer_certificates().and_then(|chain| caller(&Facts::of(chain.first()?)?));
        // The verifier has seen it.
        let caller = caller.ok_or(Refused::ClientCertificate(rustls::Error::NoCertificatesPresented))?;
        // Sidecars agree on the protocol by their own configuration, and then by TLS on none.
        let is_settled = connection.alpn_protocol().is_some();
        let told = Handshake { is_settled, ..Handshake::of(connection) };
        let name = caller.name.to_string();
        let admission = match self.gate.admit(caller).await {
            Ok(admission) => admission,
            Err(denied) => {
                // Ends it in TLS's own way, for who listens.
                let _ = timeout(HANG_UP, stream.shutdown()).await;
                return Err(Refused::Denied(denied));
            }
        };
        let told = told.of_caller(name, admission);
        Ok((Stream::Tls(Box::new(stream.into())), told))
    }

    /// Returns once it can take callers.
    pub async fn stocked(&self) {
        self.mesh.stocked().await;
    }
}

impl Handshake {
    /// The same, of a caller in the mesh: nothing else in its certificate names it.
    fn of_caller(self, name: String, admission: Admission) -> Self {
        let identity = Identity { uris: vec![name], ..Identity::default() };
        Handshake { identity: Some(Arc::new(identity)), admission: Some(admission), ..self }
    }
}

fn caller(certificate: &Facts) -> Option<Caller> {
    Some(Caller { name: Spiffe::of(certificate)?, serial: certificate.serial.clone() })
}
