//! What a listener's connections are secured with: certificates of its own, or those of the mesh.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{Handshake, MeshServer, Refused, Server, Stream};

/// What a listener's connections are secured with.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// Certificates of its own.
    Own(Arc<Server>),
    /// The mesh's.
    Mesh(Arc<MeshServer>),
}

impl Entrance {
    /// The handshake with a client that has connected, which takes no longer than it may.
    pub async fn accept(&self, stream: TcpStream) -> Result<(Stream, Handshake), Refused> {
        match self {
            Entrance::Own(server) => server.accept(stream).await,
            Entrance::Mesh(server) => server.accept(stream).await,
        }
    }

    /// Returns once it has every certificate that it will begin with.
    pub async fn stocked(&self) {
        match self {
            Entrance::Own(server) => server.stocked().await,
            Entrance::Mesh(server) => server.stocked().await,
        }
    }
}
