//! The proxies in the comparison: a file for each, which knows how it is told to do the work of a [`Plan`], and here what is the same
//! for all of them: where their programs come from, and who can do what.
//!
//! The same work is: one worker, keep-alive on both sides without a limit on requests, origins in turn, the `Host` passed on,
//! `X-Forwarded-For` added, no access log (but for the lictor that is there to show what one costs); under TLS, the same certificate. Everything else stays as each ships it.

mod caddy;
mod certificate;
mod envoy;
mod haproxy;
mod lictor;
mod nginx;
mod packages;
mod pingora;
mod running;
mod traefik;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::Failure;
pub use certificate::Certificate;
pub use running::Proxy;

/// Where requests go that change the protocol: some proxies have to be told.
pub const WEBSOCKET_PATH: &str = "/websocket";
/// Idle connections that are kept to each origin, where a proxy has a limit: more than there are clients in any sensible run.
const IDLE_UPSTREAM: usize = 1024;
/// Clients at once, where a proxy has a limit that is not the one on descriptors.
const CLIENTS: usize = 16_384;
/// A number of requests that no connection reaches, for those who would close it.
const ENDLESS: u64 = 1_000_000_000;

/// Who can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// This crate's.
    Lictor,
    /// The same with its access log in JSON: takes part only where it is named.
    #[value(name = "lictor-log")]
    #[serde(rename = "lictor-log")]
    LictorLog,
    /// nginx, as Debian has it.
    Nginx,
    /// HAProxy, as Debian has it.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Traefik.
    Traefik,
    /// Caddy.
    Caddy,
    /// Pingora, which is a library: a program of the fewest lines.
    Pingora,
}

/// How clients come in.
#[expect(dead_code, reason = "the work that takes the others is not measured yet")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Front {
    /// HTTP/1.1 in the clear.
    Plain,
    /// HTTP/1.1 in TLS.
    Tls,
    /// HTTP/2 in TLS, by ALPN.
    Http2,
    /// HTTP/2 in the clear, by prior knowledge.
    Http2Clear,
}

/// How origins are spoken to, always in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Back {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge.
    Http2,
}

/// What a proxy is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// How clients come in.
    pub front: Front,
    /// How origins are spoken to.
    pub back: Back,
    /// Who answers, each in turn.
    pub origins: &'a [SocketAddr],
    /// With 1, every path goes to the origins; with more, the prefixes `/r/0/`, `/r/1/` and so on, and no other.
    pub routes: usize,
    /// What is shown under TLS.
    pub certificate: &'a Certificate,
    /// Whether clients may resume TLS sessions, as every proxy lets them unless told otherwise.
    pub resume: bool,
}

/// A proxy's program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Whose.
    pub peer: Peer,
    path: PathBuf,
}

/// What its file says of a peer.
struct Kind {
    name: &'static str,
    source: Source,
    /// The line that names the version, of what a program says of itself.
    version: fn(&Path) -> Option<String>,
    /// What of a plan it cannot do, or `None`.
    cannot: fn(&Plan<'_>) -> Option<&'static str>,
    launch: fn(&Site<'_>) -> Result<Launch, Failure>,
}

/// Where a program comes from if it is not on this machine.
enum Source {
    /// Whoever runs the comparison says where it is.
    Given,
    /// A package of Debian.
    Debian(&'static str),
    /// A package of Python, and where its program is in the folder of a virtual environment.
    Python { package: &'static str, program: fn(&Path) -> Option<PathBuf> },
    /// Built here.
    Built,
}

/// What a peer's configuration is made for.
struct Site<'a> {
    plan: &'a Plan<'a>,
    /// Where to listen.
    address: SocketAddr,
    /// Another free address, for those who need one.
    spare: SocketAddr,
    /// For its files, and for nobody else's.
    folder: &'a Path,
}

/// How a peer is started.
struct Launch {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// How many processes it has once it works.
    processes: usize,
    /// Where it answers in the clear once it works, for those who accept before they know what to do.
    ready: Option<SocketAddr>,
}

impl Peer {
    /// As on the command line; also the program's name.
    pub fn name(self) -> &'static str {
        self.kind().name
    }

    /// Whether it can do that at all; if not, why.
    pub fn supports(self, plan: &Plan<'_>) -> Result<(), &'static str> {
        (self.kind().cannot)(plan).map_or(Ok(()), Err)
    }

    fn kind(self) -> &'static Kind {
        match self {
            Self::Lictor => &lictor::KIND,
            Self::LictorLog => &lictor::LOGGING,
            Self::Nginx => &nginx::KIND,
            Self::Haproxy => &haproxy::KIND,
            Self::Envoy => &envoy::KIND,
            Self::Traefik => &traefik::KIND,
            Self::Caddy => &caddy::KIND,
            Self::Pingora => &pingora::KIND,
        }
    }
}

impl Front {
    /// Whether clients speak TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Http2)
    }
}

impl Plan<'_> {
    /// The prefixes of its routes, none where every path is one.
    fn prefixes(&self) -> impl Iterator<Item = String> {
        let count = if self.routes > 1 { self.routes } else { 0 };
        (0..count).map(|number| format!("/r/{number}/"))
    }
}

impl Program {
    /// The line in which it names its version.
    pub fn version(&self) -> String {
        let name = self.peer.name();
        (self.peer.kind().version)(&self.path).unwrap_or_else(|| format!("{name}, version unknown"))
    }
}

impl Launch {
    fn new<const N: usize>(arguments: [OsString; N]) -> Self {
        Self { arguments: arguments.into(), environment: Vec::new(), processes: 1, ready: None }
    }
}

/// The peers asked for, each once, in that order.
pub fn distinct(peers: &[Peer]) -> Vec<Peer> {
    let mut distinct = Vec::new();
    for peer in peers {
        if !distinct.contains(peer) {
            distinct.push(*peer);
        }
    }
    distinct
}

/// Finds every program, those on `PATH` first, and installs what is missing: as root from Debian, in the target directory from
/// Python's packages; Pingora's is built there.
pub fn install(peers: &[Peer], lictor: &Path) -> Result<Vec<Program>, Failure> {
    let missing = |peer: &&Peer| find(**peer, lictor).is_none();
    let mut debian = Vec::new();
    let mut python = Vec::new();
    for peer in peers.iter().filter(missing) {
        match &peer.kind().source {
            Source::Debian(package) => debian.push(*package),
            Source::Python { package, .. } => python.push(*package),
            Source::Given | Source::Built => {}
        }
    }
    if !debian.is_empty() {
        packages::install_from_debian(&debian)?;
    }
    if !python.is_empty() {
        packages::install_from_python(&python)?;
    }
    if peers.contains(&Peer::Pingora) {
        packages::build_pingora()?;
    }
    let program = |peer: &Peer| match find(*peer, lictor) {
        Some(path) => Ok(Program { peer: *peer, path }),
        None if *peer == Peer::Lictor => Err(format!("lictor: no file {}", lictor.display()).into()),
        None => Err(format!("{}: installed, but its program cannot be found", peer.name()).into()),
    };
    peers.iter().map(program).collect()
}

fn find(peer: Peer, lictor: &Path) -> Option<PathBuf> {
    match &peer.kind().source {
        Source::Given => Some(lictor.to_owned()).filter(|file| file.is_file()),
        Source::Debian(_) => packages::find_program(peer.name()),
        Source::Python { program, .. } => packages::find_program(peer.name())
            .or_else(|| program(&packages::environment()))
            .filter(|file| file.is_file()),
        Source::Built => Some(packages::built_pingora()).filter(|file| file.is_file()),
    }
}
