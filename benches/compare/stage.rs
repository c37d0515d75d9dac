//! What stands during a whole run, and one window of load on one proxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::engine::Engine;
use crate::findings::{Mode, Round};
use crate::load::{Demand, Pace, Tally};
use crate::machine::Cores;
use crate::origin::{self, ORIGINS, Origin};
use crate::peers::{Back, Certificate, Front, Peer};
use crate::stop::Stop;
use crate::work::Work;
use crate::{Failure, Options, tls, usage};

/// Long enough for every proxy to open its connections and settle its allocator.
const WARM_UP: Duration = Duration::from_secs(1);
/// Before each window, unmeasured: idle connections may have been closed since this proxy's last turn.
const LEAD_IN: Duration = Duration::from_millis(500);

/// What stands during the whole run.
pub struct Stage {
    /// Turns of each proxy.
    pub rounds: u32,
    /// Whether to go on.
    pub stop: Stop,
    /// For files, as long as the run.
    pub scratch: PathBuf,
    /// Who runs where.
    pub cores: Option<Cores>,
    /// What proxies show in TLS.
    pub certificate: Certificate,
    engine: Engine,
    origins: Vec<Origin>,
    http2_origins: Vec<Origin>,
    window: Duration,
    /// Requests at once.
    requests: u16,
}

/// A proxy under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who it is.
    pub peer: Peer,
    /// Where it listens.
    pub address: SocketAddr,
    /// All of its processes.
    pub processes: Vec<u32>,
    /// Of the load's connections; they remember sessions from one window to the next.
    pub tls: Vec<Arc<ClientConfig>>,
}

impl Stage {
    /// Starts the load's thread and the origins.
    pub fn set(options: &Options, scratch: &Path, cores: Option<Cores>) -> Result<Self, Failure> {
        let engine = Engine::start()?;
        Ok(Self {
            rounds: options.rounds,
            stop: Stop::listen()?,
            scratch: scratch.to_owned(),
            cores,
            certificate: Certificate::create(scratch)?,
            origins: serve(&engine, Back::Http1, ORIGINS)?,
            http2_origins: serve(&engine, Back::Http2, ORIGINS)?,
            engine,
            window: Duration::from_secs_f64(options.seconds),
            requests: options.connections,
        })
    }

    /// So many more origins.
    pub fn add_origins(&self, count: usize) -> Result<Vec<Origin>, Failure> {
        serve(&self.engine, Back::Http1, count)
    }

    /// Who answers this kind of work.
    pub fn origins(&self, work: Work) -> &[Origin] {
        match work.back() {
            Back::Http1 => &self.origins,
            Back::Http2 => &self.http2_origins,
        }
    }

    /// What a strict client of this kind of work does in TLS, if anything.
    pub fn strict(&self, work: Work) -> Result<Option<Arc<ClientConfig>>, Failure> {
        protocol_in_tls(work).map(|protocol| tls::strict(&self.certificate, protocol)).transpose()
    }

    /// What the load's connections do in TLS, if anything.
    pub fn sessions(&self, work: Work) -> Result<Vec<Arc<ClientConfig>>, Failure> {
        let connections = work.connections(self.requests);
        let of = |protocol| tls::quick(&self.certificate, protocol, work.sessions(), connections);
        protocol_in_tls(work).map_or_else(|| Ok(Vec::new()), of)
    }

    /// A load that is not measured.
    pub fn warm_up(&self, work: Work, target: &Target) -> Result<Tally, Failure> {
        self.engine.start_load(self.demand(work, target, Pace::Saturating))?;
        self.stop.sleep(WARM_UP)?;
        self.engine.finish()
    }

    /// One window of one proxy. The round's number is the caller's to set.
    pub fn measure(&self, (work, mode): (Work, Mode), target: &Target, origins: &[Origin]) -> Result<Round, Failure> {
        let pace = match mode {
            Mode::Saturated => Pace::Saturating,
            Mode::Paced(rate) => Pace::PerSecond(rate),
        };
        self.engine.start_load(self.demand(work, target, pace))?;
        self.stop.sleep(LEAD_IN)?;

        let origins_before = origin::counts(origins);
        let own = [std::process::id()];
        let load_before = usage::read(&own)?;
        let usage_before = usage::read(&target.processes)?;
        let began = self.engine.begin_window()?;
        self.stop.sleep(self.window)?;
        let ended = self.engine.end_window()?;
        let usage_after = usage::read(&target.processes)?;
        let load_after = usage::read(&own)?;
        let counts = origin::since(&origins_before, &origin::counts(origins));

        let tally = self.engine.finish()?;
        Ok(Round {
            work,
            mode,
            round: 0,
            peer: target.peer,
            seconds: ended.saturating_duration_since(began).as_secs_f64(),
            tally,
            usage: usage_after.since(usage_before),
            load_cpu_ns: load_after.since(load_before).cpu_ns,
            upstream_connections: counts.iter().map(|count| count.connections).sum(),
            origin_requests: counts.iter().map(|count| count.requests).collect(),
        })
    }

    fn demand(&self, work: Work, target: &Target, pace: Pace) -> Demand {
        Demand {
            address: target.address,
            script: work.script(),
            connections: work.connections(self.requests),
            pace,
            tls: target.tls.clone(),
        }
    }
}

fn serve(engine: &Engine, protocol: Back, count: usize) -> Result<Vec<Origin>, Failure> {
    let bound = (0..count).map(|_| origin::bind(protocol)).collect::<Result<Vec<_>, _>>()?;
    let (origins, sockets) = bound.into_iter().unzip();
    engine.serve(sockets)?;
    Ok(origins)
}

/// What clients offer by ALPN.
fn protocol_in_tls(work: Work) -> Option<&'static [u8]> {
    match work.front() {
        Front::Plain | Front::Http2Clear => None,
        Front::Tls => Some(b"http/1.1"),
        Front::Http2 => Some(b"h2"),
    }
}
