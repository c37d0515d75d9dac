//! `lictor demo`: everything in one process, on loopback, with nothing installed. A registry (or a real Consul), origins that
//! answer with their names, lictor in front of them, and what to try.

mod catalog;
mod origin;

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::serve::Signals;
use super::{Error, logging};
use crate::app::App;
use crate::config::{self, Environment, Log};
use crate::registry;
use catalog::Catalog;
use origin::Origin;

/// Origins that are registered at the start, and one that is not, for the visitor to register.
const ORIGINS: [&str; 4] = ["web1", "web2", "web3", "web4"];
const REGISTERED: usize = 3;
/// Where a port is taken, the next ones are tried.
const TRIES: u16 = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A real Consul agent, such as http://127.0.0.1:8500, instead of the small registry
    #[arg(long, value_name = "URL")]
    consul: Option<String>,
}

pub(super) fn demo(arguments: &Arguments) -> Result<(), Error> {
    let log = logging::start(&Log { level: "warn,lictor=info".to_owned(), json: false })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(arguments, log))
}

async fn run(arguments: &Arguments, (level, set_level): (String, logging::Set)) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let consul = match &arguments.consul {
        Some(url) => url.clone(),
        None => {
            let listener = listen(8500).await?;
            let url = format!("http://{}", listener.local_addr()?);
            tokio::spawn(registry::serve(listener, async { drop(stopped.await) }));
            url
        }
    };
    let mut origins = Vec::new();
    for (place, name) in (9101_u16..).zip(ORIGINS) {
        origins.push(Origin::start(name, listen(place).await?)?);
    }
    let catalog = Catalog::new(&consul)?;
    for origin in &origins[..REGISTERED] {
        catalog.register(origin).await?;
    }
    let app = App::start(configuration(&consul, arguments.consul.is_some())?)?;
    app.log_level().is(&level, set_level);
    explain(&app, &consul, &origins);
    signals.end().await;
    println!("\nleaving");
    drop(app);
    // A real Consul would keep them.
    for origin in &origins {
        catalog.deregister(origin).await;
    }
    drop(stop);
    Ok(())
}

/// The first free port from this one on.
async fn listen(from: u16) -> Result<TcpListener, Error> {
    let mut refused = None;
    for port in from..from + TRIES {
        match TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map(|error| error.to_string()).unwrap_or_default();
    Err(Error::Other(format!("no free port from {from} to {}: {why}", from + TRIES - 1)))
}

fn configuration(consul: &str, is_real: bool) -> Result<config::Config, Error> {
    let free = |from: u16| {
        let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
        (from..from + TRIES).find(is_free).ok_or_else(|| Error::Other(format!("no free port from {from} on")))
    };
    let text = format!(
        r#"
        workers = 1
        [admin]
        bind = "127.0.0.1:{admin}"
        [consul]
        address = "{consul}"
        [[listeners]]
        name = "demo"
        bind = "127.0.0.1:{proxy}"
        [[listeners]]
        name = "egress"
        bind = "127.0.0.1:{egress}"
        egress = true
        [[routes]]
        cluster = "web"
        [clusters.web]
        consul = {{ service = "web" }}
        policy = "round_robin"
        "#,
        admin = free(9990)?,
        proxy = free(8080)?,
        egress = free(15001)?,
    );
    // With a real Consul the environment may hold its token; its address was given.
    let environment = if is_real { Environment::process().without("CONSUL_HTTP_ADDR") } else { Environment::default() };
    Ok(config::parse(&text, &environment)?)
}

fn explain(app: &App, consul: &str, origins: &[Origin]) {
    let proxy = app.address("demo").map(|address| address.to_string()).unwrap_or_default();
    let egress = app.address("egress").map(|address| address.to_string()).unwrap_or_default();
    let admin = app.admin().map(|address| address.to_string()).unwrap_or_default();
    let spare = &origins[REGISTERED];
    let stopped = &origins[1];
    println!(
        r#"
lictor listens on http://{proxy} and follows the service "web" in {consul}.
Its instances are {names}.

Try, in another terminal:

  see the balancing:
    for i in 1 2 3 4 5 6; do curl --silent http://{proxy}/; done

  reach any service by its name, one that nobody configured too (register another, and ask for it):
    curl --silent --header 'Host: web.service.consul' http://{egress}/

  stop an origin (it answers no more; requests go to the others at once, and its check turns critical):
    curl --request POST http://{stopped}/stop
  and start it again:
    curl --request POST http://{stopped}/start

  register a new instance (it is listening already, and takes requests within milliseconds):
    curl --request PUT --data '{{"ID":"{spare_name}","Name":"web","Address":"127.0.0.1","Port":{spare_port}}}' {consul}/v1/agent/service/register
  and take it out again:
    curl --request PUT {consul}/v1/agent/service/deregister/{spare_name}

  look inside:
    http://{admin}/v1/clusters   who is there, and how we judge them
    http://{admin}/v1/routes     where requests go
    http://{admin}/metrics       what Prometheus scrapes
    http://{admin}/readyz        whether requests should be sent here

Ctrl-C ends it all.
"#,
        names = origins[..REGISTERED].iter().map(|origin| origin.name()).collect::<Vec<_>>().join(", "),
        stopped = stopped.control(),
        spare_name = spare.name(),
        spare_port = spare.address().port(),
    );
}
