//! lictor as it is shipped: the true binary, with a configuration that says no more than it has to.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::wire::{Framing, Wire};

const PATIENCE: Duration = Duration::from_secs(10);
/// The operator's window answers sooner, whatever clients do.
const WINDOW: Duration = Duration::from_secs(1);

/// A running `lictor serve`.
pub struct Proxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
    said: Arc<Mutex<Vec<String>>>,
    file: NamedTempFile,
}

/// A configuration with a cluster `web` of these endpoints, `more` keys of it, and everything else as shipped.
pub fn configuration(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[admin]\nbind = \"127.0.0.1:0\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n\
         [[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [{}]\n{more}\n",
        endpoints.join(", ")
    )
}

impl Proxy {
    /// Starts with this configuration, and with at most so many descriptors if that is given. Returns when it is ready.
    pub async fn start(configuration: &str, descriptors: Option<u64>) -> Proxy {
        Proxy::start_this(env!("CARGO_BIN_EXE_lictor"), configuration, descriptors).await
    }

    /// The same with another build of it.
    pub async fn start_this(lictor: &str, configuration: &str, descriptors: Option<u64>) -> Proxy {
        let file = NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), configuration).unwrap();
        let program: [OsString; 4] = [lictor.into(), "serve".into(), "--config".into(), file.path().into()];
        let mut process = Process::become_another(&program, descriptors, |command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("RUST_LOG")
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(process.child().stderr.take().unwrap()).lines(), Arc::clone(&said));
        // Ends with the process.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line)));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Proxy { address: nowhere, admin: nowhere, process, said, file };
        let address = |line: String| line.rsplit_once("address=").unwrap().1.parse().unwrap();
        proxy.address = address(proxy.says("listener=\"edge\" address=").await);
        proxy.admin = address(proxy.says("admin listening").await);
        while !proxy.ask("/readyz").await.is_ok_and(|body| body.starts_with(b"ready")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy
    }

    /// The file that it has read.
    pub fn configuration(&self) -> &std::path::Path {
        self.file.path()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Every line that it has written so far.
    pub fn log(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    async fn says(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(line) = self.said.lock().unwrap().iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(began.elapsed() < PATIENCE, "lictor does not say {text:?}, but {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ask(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let ask = async { Window::open(self.admin).await?.get(path).await };
        tokio::time::timeout(WINDOW, ask).await?
    }

    /// Whether somebody who comes anew to the operator's window is answered.
    pub async fn has_window(&self) -> bool {
        self.ask("/livez").await.is_ok_and(|body| body.starts_with(b"live"))
    }

    /// Has it read another configuration.
    pub fn reload(&self, configuration: &str) {
        std::fs::write(self.file.path(), configuration).unwrap();
        self.process.signal(Signal::HUP);
    }

    /// The sum of a family of figures over the cluster `web`.
    pub async fn metric(&self, family: &str) -> std::io::Result<f64> {
        let scrape = String::from_utf8_lossy(&self.ask("/metrics").await?).into_owned();
        let series = scrape.lines().filter(|line| line.starts_with(&format!("{family}{{")));
        let web = series.filter(|line| line.contains("cluster=\"web\""));
        Ok(web.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}

/// A connection to the operator's window.
pub struct Window(Wire);

impl Window {
    pub async fn open(admin: SocketAddr) -> std::io::Result<Window> {
        Ok(Window(Wire::new(TcpStream::connect(admin).await?)))
    }

    pub async fn get(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        self.0.write(format!("GET {path} HTTP/1.1\r\nHost: window\r\n\r\n").as_bytes()).await?;
        let head = self.0.head().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        self.0.body(head.framing(Framing::UntilClose)?).await
    }

    /// Every endpoint's address with its standing.
    pub async fn standings(&mut self) -> std::io::Result<Vec<(String, String)>> {
        let clusters: Value = serde_json::from_slice(&self.get("/v1/clusters").await?)?;
        let endpoints = clusters.as_array().into_iter().flatten().filter_map(|cluster| cluster["endpoints"].as_array());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(endpoints.flatten().map(|endpoint| (text(&endpoint["address"]), text(&endpoint["standing"]))).collect())
    }
}
