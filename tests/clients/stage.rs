//! What all clients share: certificates of one CA, origins, and lictor in front of them with a listener in clear text, one with TLS,
//! and one that asks for a certificate.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData};
use tempfile::TempDir;

use crate::chain::{Authority, Leaf};
use crate::origin;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::tool::{self, Tools};

/// Where the scripts are.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

pub struct Stage {
    pub tools: Tools,
    folder: TempDir,
    proxy: Proxy,
    /// In clear text, with TLS, and with TLS for those who have a certificate.
    pub clear: SocketAddr,
    pub tls: SocketAddr,
    pub mutual: SocketAddr,
    /// Of the listeners' key: base64 of the SHA-256 of its SubjectPublicKeyInfo.
    pub pin: String,
    /// Where lictor expects an endpoint that may die.
    pub mortal: u16,
    /// Of WebSockets, if there is one.
    pub websockets: Option<u16>,
    // Killed when they are dropped.
    _scripts: Vec<Process>,
}

impl Stage {
    pub async fn build(tools: Tools) -> Stage {
        let folder = TempDir::new().unwrap();
        let root = Authority::root("lictor's clients");
        let leaf = root.intermediate("lictor's clients, below").leaf(&["localhost", "127.0.0.1"]);
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        root.leaf(&["somebody.example"]).write(folder.path(), "client");

        let web = origin::start().await;
        let mut scripts = Vec::new();
        let grpc = start(&tools, "grpc", "grpc_origin.py", "0", &mut scripts).await;
        let websockets = start(&tools, "websocket", "websocket.py", "origin", &mut scripts).await;
        let mortal = free();
        let written = configuration(folder.path(), &leaf.write(folder.path(), "server"));
        let endpoints = [
            ("web", web.port(), ""),
            ("websockets", websockets.unwrap_or(mortal), ""),
            ("grpc", grpc.unwrap_or(mortal), ""),
            ("grpc-h2", grpc.unwrap_or(mortal), "protocol = \"h2\""),
            ("mortal", mortal, ""),
        ];
        let clusters = endpoints
            .map(|(name, port, more)| format!("[clusters.{name}]\nendpoints = [\"127.0.0.1:{port}\"]\n{more}\n"));
        let proxy = Proxy::start(&(written + &clusters.concat()), None).await;
        let [clear, tls, mutual] = ["edge", "tls", "mutual"].map(|name| address(&proxy, name));
        let pin = pin(&leaf);
        Stage { tools, folder, proxy, clear, tls, mutual, pin, mortal, websockets, _scripts: scripts }
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configuration(&self) -> &Path {
        self.proxy.configuration()
    }

    pub fn process(&self) -> u32 {
        self.proxy.id()
    }

    /// Whether lictor is as it should be after all that.
    pub fn is_well(&mut self) -> Result<String, String> {
        if !self.proxy.is_running() {
            return Err(format!("it has ended: {:?}", self.proxy.log().last()));
        }
        let bad = |line: &&String| line.contains("panicked") || line.contains("ERROR");
        self.proxy.log().iter().find(bad).map_or(Ok(String::new()), |line| Err(line.clone()))
    }
}

fn configuration(folder: &Path, certificate: &str) -> String {
    let mut text = "[admin]\nbind = \"127.0.0.1:0\"\n".to_owned();
    let client = format!("client_auth = \"required\"\nclient_ca = '{}'\n", folder.join("ca.pem").display());
    for (name, more) in [("edge", None), ("tls", Some("")), ("mutual", Some(client.as_str()))] {
        text += &format!("[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\n");
        if let Some(more) = more {
            text += &format!("[listeners.tls]\ncertificates = [{{ {certificate} }}]\n{more}");
        }
    }
    let routes = [
        ("/", "web"),
        ("/ws/", "websockets"),
        ("/lictor.Auto/", "grpc"),
        ("/lictor.H2/", "grpc-h2"),
        ("/lictor.Mortal/", "mortal"),
    ];
    for (path, cluster) in routes {
        text += &format!("[[routes]]\nhost = \"localhost\"\npath = \"{path}\"\ncluster = \"{cluster}\"\n");
    }
    // For tools that ask for the address.
    for (path, cluster) in &routes[..2] {
        text += &format!("[[routes]]\nhost = \"127.0.0.1\"\npath = \"{path}\"\ncluster = \"{cluster}\"\n");
    }
    text
}

/// Starts an origin that is a script; none if what it needs is not there. Returns its port.
async fn start(tools: &Tools, name: &str, file: &str, argument: &str, scripts: &mut Vec<Process>) -> Option<u16> {
    if tools.missing(name).await.is_some() {
        return None;
    }
    let mut command = Command::new(&tools.python);
    let mut process = tool::start(command.arg(script(file)).arg(argument), Stdio::null());
    let mut line = String::new();
    BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    scripts.push(process);
    Some(line.trim().parse().unwrap())
}

fn address(proxy: &Proxy, listener: &str) -> SocketAddr {
    let text = format!("listener=\"{listener}\" address=");
    let log = proxy.log();
    let line = log.iter().find(|line| line.contains(&text)).unwrap();
    line.split_once(&text).unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
}

/// A port that nobody has for now.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pin(leaf: &Leaf) -> String {
    let key = KeyPair::from_pem(&leaf.key).unwrap().subject_public_key_info();
    STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key))
}
