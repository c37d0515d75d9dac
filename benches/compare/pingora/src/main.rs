//! A reverse proxy on Pingora, as its own example of a load balancer has it: every request to the next origin, with the client's address added.
//!
//! `compare-pingora ADDRESS FRONT BACK CHAIN KEY TICKETS ORIGIN…`, with the words that `peers/pingora.rs` gives.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::lb::{LoadBalancer, selection::RoundRobin};
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::configuration::ServerConf;

/// Streams that share a connection to an origin over HTTP/2; Pingora's own default is one.
const STREAMS: usize = 100;
/// Idle connections to origins; 128 as shipped.
const IDLE: usize = 1024;

struct Gateway {
    origins: LoadBalancer<RoundRobin>,
    http2: bool,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let origin = self.origins.select(b"", 256).ok_or_else(|| Error::new_str("no origin"))?;
        let mut peer = HttpPeer::new(origin, false, String::new());
        if self.http2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = STREAMS;
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(&self, client: &mut Session, request: &mut RequestHeader, (): &mut ()) -> Result<()> {
        match client.client_addr().and_then(|address| address.as_inet()) {
            Some(address) => request.append_header("x-forwarded-for", address.ip().to_string()).map(|_| ()),
            None => Ok(()),
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, front, back, chain, key, tickets, origins @ ..] = arguments.as_slice() else {
        return Err("ADDRESS FRONT BACK CHAIN KEY TICKETS ORIGIN…".into());
    };
    let conf = ServerConf { upstream_keepalive_pool_size: IDLE, grace_period_seconds: Some(0), ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let gateway = Gateway { origins: LoadBalancer::try_from_iter(origins)?, http2: back == "http2" };
    let mut options = HttpServerOptions::default();
    options.h2c = front == "http2-clear";
    let mut service = ProxyServiceBuilder::new(&Arc::clone(&server.configuration), gateway).server_options(options).build();
    if ["tls", "http2"].contains(&front.as_str()) {
        let mut tls = TlsSettings::intermediate(chain, key)?;
        if front == "http2" {
            tls.enable_h2();
        }
        if tickets == "no-tickets" {
            // Both ways to resume: tickets, and for TLS 1.2 what the server remembers.
            tls.set_options(pingora::tls::ssl::SslOptions::NO_TICKET);
            tls.set_session_cache_mode(pingora::tls::ssl::SslSessionCacheMode::OFF);
        }
        service.add_tls_with_settings(address, None, tls);
    } else {
        service.add_tcp(address);
    }
    server.add_service(service);
    server.run_forever()
}
