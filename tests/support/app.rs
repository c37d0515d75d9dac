//! The true app, in this process, on ports of the system's choice.

use std::net::SocketAddr;
use std::time::Duration;

use lictor::app::App;
use lictor::config::{self, Environment};

use super::client::{eventually, get};
use super::origin::Origin;

/// A running lictor with one listener, `edge`, and the operator's window.
pub struct Proxy {
    app: Option<App>,
    config: config::Config,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

/// The text of a configuration with one worker, the listener `edge`, no wait at the end, and `rest`.
pub fn configuration(rest: &str) -> String {
    let workers = if rest.contains("workers =") { "" } else { "workers = 1\n" };
    let drain = if rest.contains("[drain]") { "" } else { "[drain]\ndelay = \"0s\"\ntimeout = \"10s\"\n" };
    let admin = if rest.contains("[admin]") { "" } else { "[admin]\nbind = \"127.0.0.1:0\"\n" };
    let listener =
        if rest.contains("[[listeners]]") { "" } else { "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n" };
    format!("{workers}{rest}\n{drain}{admin}{listener}")
}

/// A catch-all route to a cluster `web` of these endpoints, and `more` keys for the cluster.
pub fn to_endpoints(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [{}]\n{more}\n", endpoints.join(", "))
}

/// A catch-all route to a cluster `web` that follows the service `web`, and `more` keys for the cluster.
pub fn to_service(consul: &str, more: &str) -> String {
    format!(
        "[consul]\naddress = \"{consul}\"\n[[routes]]\ncluster = \"web\"\n[clusters.web]\nconsul = {{ service = \"web\" }}\n{more}\n"
    )
}

/// The checked form of [`configuration`].
pub fn parse(rest: &str) -> config::Config {
    match config::parse(&configuration(rest), &Environment::default()) {
        Ok(config) => config,
        Err(error) => panic!("{error}\nin\n{}", configuration(rest)),
    }
}

impl Proxy {
    /// Starts with [`configuration`]`(rest)`; what it serves may still be awaited.
    pub fn start(rest: &str) -> Self {
        Proxy::with(parse(rest))
    }

    /// The same, in an environment with these variables.
    pub fn start_in(rest: &str, environment: &[(&str, &str)]) -> Self {
        let environment = Environment::from_iter(environment.iter().copied());
        Proxy::with(config::parse(&configuration(rest), &environment).unwrap())
    }

    /// Starts with so many origins behind it ([`to_endpoints`]), and waits until it serves.
    pub async fn with_origins(count: usize, more: &str) -> (Vec<Origin>, Proxy) {
        let mut origins = Vec::new();
        for place in 0..count {
            origins.push(Origin::start(&format!("o{place}")).await);
        }
        let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
        let proxy = Proxy::start(&to_endpoints(&addresses, more));
        let is_ready = async || get(proxy.admin(), "localhost", "/readyz").await.status == 200;
        eventually("it serves", Duration::from_secs(15), is_ready).await;
        (origins, proxy)
    }

    fn with(config: config::Config) -> Self {
        let app = App::start(config.clone()).unwrap();
        let (address, admin) = (app.address("edge").unwrap(), app.admin());
        Proxy { app: Some(app), config, address, admin }
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators go, if it is an address.
    pub fn admin(&self) -> SocketAddr {
        self.admin.unwrap()
    }

    /// The app itself.
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// What it was started with, for a reload.
    pub fn app_config(&self) -> config::Config {
        self.config.clone()
    }

    /// Leaves in peace.
    pub async fn drain(mut self) {
        self.app.take().unwrap().drain().await;
    }
}
