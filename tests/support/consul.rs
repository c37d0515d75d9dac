//! A real Consul for tests: one agent in `-dev` mode, on ports of its own, that lives no longer than the test.
//!
//! `Catalog` is the client's half: what a test says to any registry that speaks Consul's HTTP API, so that one scenario can be
//! held against the real agent and against `lictor::registry`. `Consul` is an agent and a `Catalog` of it. The binary is looked
//! for (`CONSUL_BIN`, `PATH`, the target directory) and at last fetched from Debian, once; where that cannot be, tests fail and
//! say what to do: a test that is skipped proves nothing.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Deref;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, io, process, thread};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Response, eventually, try_get};

/// How long an agent may take until its catalog answers; 0.4 s is usual, ten at once on two busy cores take some more.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often new ports are tried when another process was quicker to bind them.
const START_ATTEMPTS: usize = 5;

/// Where ports are taken from: under the range from which Linux takes the ports of outgoing connections (32768 and up), so
/// that none of those can sit on an agent's port while the agent restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// HTTP, server RPC and the gossip of the LAN: what an agent cannot do without.
const PORTS_PER_AGENT: u16 = 3;

/// How often a process that waits for another's download looks.
const TURN_POLL: Duration = Duration::from_millis(20);

/// Longer than any test: a TTL check changes only when a test says so.
const TTL: &str = "1h";

/// Runs the agent as its child and kills it when standard input ends, which it does however the test process ends. The agent is
/// reaped here, so its number can belong to no one else when the signal is sent.
const GUARD: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
agent=$!
{ read -r _ <&3; kill -KILL "$agent"; } 2>/dev/null &
guard=$!
exec 3<&-
wait "$agent"
status=$?
kill -KILL "$guard" 2>/dev/null
wait "$guard"
exit "$status"
"#;

/// What a test says to a registry: Consul's agent API, as a service's own start scripts would use it. Every call fails the test
/// unless it is answered with a 2xx.
#[derive(Clone, Debug)]
pub struct Catalog {
    address: SocketAddr,
    /// Empty for the anonymous token.
    token: String,
}

impl Catalog {
    /// A registry at `http://` and an address.
    pub fn new(url: &str) -> Catalog {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let address = address.parse();
        Catalog { address: address.unwrap_or_else(|error| panic!("{url}: {error}")), token: String::new() }
    }

    /// The same registry, spoken to with an ACL token.
    pub fn with_token(&self, token: &str) -> Catalog {
        Catalog { address: self.address, token: token.to_owned() }
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Registers a service as in the body of `/v1/agent/service/register`.
    pub async fn register(&self, service: Value) {
        self.put("/v1/agent/service/register", service.to_string()).await;
    }

    /// Registers an instance that passes, with one check, `service:ID`, for `set_check`.
    pub async fn register_service(&self, name: &str, id: &str, address: SocketAddr) {
        let check = json!({ "CheckID": format!("service:{id}"), "TTL": TTL, "Status": "passing" });
        let (ip, port) = (address.ip(), address.port());
        self.register(json!({ "Name": name, "ID": id, "Address": ip, "Port": port, "Check": check })).await;
    }

    /// Takes an instance out.
    pub async fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{}", escape(id)), "").await;
    }

    /// Sets a TTL check to `passing`, `warning` or `critical`.
    pub async fn set_check(&self, check_id: &str, status: &str) {
        let path = format!("/v1/agent/check/update/{}", escape(check_id));
        self.put(&path, json!({ "Status": status }).to_string()).await;
    }

    /// Puts an instance into maintenance, or takes it out of it.
    pub async fn maintenance(&self, id: &str, enable: bool) {
        self.put(&format!("/v1/agent/service/maintenance/{}?enable={enable}", escape(id)), "").await;
    }

    /// The same for the whole node.
    pub async fn node_maintenance(&self, enable: bool) {
        self.put(&format!("/v1/agent/maintenance?enable={enable}"), "").await;
    }

    /// Any PUT; the answer's body.
    pub async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> String {
        self.call("PUT", path, body.as_ref()).await.text()
    }

    /// Any GET that answers with JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, b"").await.text();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("GET {path}: {error} in {answer:?}"))
    }

    /// Any call, with the headers of its answer (`X-Consul-Index`).
    pub async fn call(&self, method: &str, path: &str, body: &[u8]) -> Response {
        let (address, token, length) = (self.address, &self.token, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-consul-token: {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut client = Client::connect(address).await;
        let answer = client.exchange([head.as_bytes(), body].concat()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }
}

/// A path segment with everything escaped that a path or a query could take for its own.
fn escape(segment: &str) -> String {
    let escaped = segment.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}

/// A running agent, or one that was killed and can be started again. Dropped, it is killed.
pub struct Consul {
    catalog: Catalog,
    binary: PathBuf,
    /// Its configuration and its log.
    home: TempDir,
    /// Its name, by which we know that what answers on the port is it.
    node: String,
    agent: Option<Child>,
    ports: Ports,
}

impl Deref for Consul {
    type Target = Catalog;
    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Consul {
    /// An agent whose catalog answers.
    pub async fn start() -> Consul {
        Consul::start_with("").await
    }

    /// The same, with more configuration: HCL, as in a file of its own.
    pub async fn start_with(extra: &str) -> Consul {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut consul = Consul::prepare(extra).await;
            match consul.launch().await {
                Ok(()) => return consul,
                Err(log) if is_taken(&log) => last = log,
                Err(log) => panic!("consul did not start: {log}"),
            }
        }
        panic!("consul found no free ports: {last}");
    }

    /// As a crash: SIGKILL. Everything registered is lost, for a `-dev` agent keeps nothing.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.stdin.take());
            agent.wait().expect("wait for the agent's end");
        }
    }

    /// Kills it if need be, and starts it again: same ports, same configuration, nothing registered.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..START_ATTEMPTS {
            match self.launch().await {
                Ok(()) => return,
                Err(log) if is_taken(&log) => {}
                Err(log) => panic!("consul did not start again: {log}"),
            }
        }
        panic!("the ports of {} are taken", self.url());
    }

    /// How many TCP connections to its HTTP port are established, whoever holds them.
    pub fn connections(&self) -> usize {
        let local = format!(":{:04X}", self.address().port());
        let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let established = table.lines().skip(1).filter(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let is_ours = columns.next().is_some_and(|address| address.ends_with(&local));
            is_ours && columns.nth(1) == Some("01")
        });
        established.count()
    }

    async fn prepare(extra: &str) -> Consul {
        let found = tokio::task::spawn_blocking(find_binary).await;
        let found = found.expect("the search for consul ends");
        let binary = found.unwrap_or_else(|error| {
            panic!(
                "these tests need Consul: install it so that `consul` is on PATH, or set CONSUL_BIN \
                 to the binary, or have apt, dpkg and a Debian mirror; {error}"
            )
        });
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the agent's directory");
        let ports = Ports::claim();
        let node = format!("lictor-{}-{}", process::id(), ports.http);
        let config = format!(
            r#"
disable_update_check = true
disable_host_node_id = true
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
log_level = "ERR"
node_name = "{node}"
ports {{
  http = {}
  server = {}
  serf_lan = {}
  serf_wan = -1
  dns = -1
  grpc = -1
  https = -1
}}
"#,
            ports.http,
            ports.server(),
            ports.gossip(),
        );
        fs::write(home.path().join("1.hcl"), config).expect("write the configuration");
        fs::write(home.path().join("2.hcl"), extra).expect("write the configuration");
        let catalog = Catalog::new(&format!("http://127.0.0.1:{}", ports.http));
        Consul { catalog, binary, home, node, agent: None, ports }
    }

    /// Starts the agent and waits for its catalog; what it logged if it ended instead.
    async fn launch(&mut self) -> Result<(), String> {
        let log = self.home.path().join("log");
        let output = File::create(&log).expect("the agent's log");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "consul-guard"]).arg(&self.binary).args(["agent", "-dev"]);
        for file in ["1.hcl", "2.hcl"] {
            guard.arg("-config-file").arg(self.home.path().join(file));
        }
        guard.stdin(Stdio::piped()).stderr(output.try_clone().expect("the agent's log")).stdout(output);
        self.agent = Some(guard.spawn().expect("run sh"));

        let started = eventually("consul's catalog answers", START_PATIENCE, async || {
            if self.agent.as_mut().is_some_and(|agent| agent.try_wait().is_ok_and(|ended| ended.is_some())) {
                return Some(false);
            }
            self.is_ready().await.is_ok_and(|ready| ready).then_some(true)
        });
        if started.await {
            return Ok(());
        }
        self.kill();
        Err(fs::read_to_string(&log).unwrap_or_default())
    }

    /// Whether it leads itself and shows itself in its catalog. Where ACLs hide that from us the first has to do.
    async fn is_ready(&self) -> io::Result<bool> {
        let see = async |path| try_get(self.address(), "consul", path).await;
        let leader = see("/v1/status/leader").await?.text();
        if !leader.contains(&format!(":{}\"", self.ports.server())) {
            return Ok(false);
        }
        let is_guarded = see("/v1/agent/self").await?.status == 403;
        Ok(is_guarded || see("/v1/catalog/service/consul").await?.text().contains(&self.node))
    }
}

fn is_taken(log: &str) -> bool {
    log.contains("address already in use")
}

/// Three free ports in a row that no other agent of these tests has or gets, whether it runs now or not.
struct Ports {
    http: u16,
    _claim: UnixListener,
}

impl Ports {
    fn claim() -> Ports {
        let places = (PORTS.end - PORTS.start) / PORTS_PER_AGENT;
        let first = fastrand::u16(..places);
        let mut bases = (0..places).map(|place| PORTS.start + (first + place) % places * PORTS_PER_AGENT);
        let claimed = bases.find_map(|http| {
            let claim = claim(&format!("agent at {http}")).ok()?;
            (http..http + PORTS_PER_AGENT).all(is_free).then_some(Ports { http, _claim: claim })
        });
        claimed.expect("three free ports in a row")
    }

    fn server(&self) -> u16 {
        self.http + 1
    }

    fn gossip(&self) -> u16 {
        self.http + 2
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

/// The binary, found or fetched once a process; what stood in the way if there is none to be had.
fn find_binary() -> Result<PathBuf, String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| match env::var_os("CONSUL_BIN") {
        Some(binary) if is_program(Path::new(&binary)) => Ok(binary.into()),
        Some(binary) => Err(format!("CONSUL_BIN={}: no such program", binary.display())),
        None => on_path("consul").map_or_else(unpacked, Ok),
    });
    found.clone()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The copy in the target directory, put there first if it is not.
fn unpacked() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let home = target.join("consul");
    let binary = home.join("consul");
    let _turn = turn(&home.to_string_lossy()).map_err(|error| format!("take turns: {error}"))?;
    if !is_program(&binary) {
        let unpacked = debian::fetch(&home.join("apt"));
        let unpacked = unpacked.map_err(|error| format!("Debian's package: {error}"))?;
        fs::rename(unpacked, &binary).map_err(|error| error.to_string())?;
        fs::remove_dir_all(home.join("apt")).ok();
    }
    Ok(binary)
}

/// Takes a name that only one process at a time can have, and has until it drops it or ends, however it ends: that of an
/// abstract socket. (`File::lock` would do too, from Rust 1.89 on.)
fn claim(name: &str) -> io::Result<UnixListener> {
    // The name's hash, since a socket's name is short and a path may be long.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let name = format!("lictor-test-{:016x}", hasher.finish());
    UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)
}

/// Waits until the name can be had.
fn turn(name: &str) -> io::Result<UnixListener> {
    loop {
        match claim(name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(TURN_POLL),
            claimed => return claimed,
        }
    }
}

/// Debian's package, from the mirror this machine uses anyway and checked with the keys it trusts anyway, but with an apt whose
/// sources, lists and cache are its own: nothing of the system's is touched.
mod debian {
    use super::*;

    /// The last Debian release with the package.
    const SUITE: &str = "bullseye";

    /// Downloads and unpacks the package under this directory; where the binary lies then.
    pub(super) fn fetch(apt: &Path) -> io::Result<PathBuf> {
        fs::remove_dir_all(apt).ok();
        for directory in ["etc", "state/lists/partial", "cache/archives/partial", "deb", "root"] {
            fs::create_dir_all(apt.join(directory))?;
        }
        let source = source().ok_or_else(|| io::Error::other("no source of Debian packages in /etc/apt"))?;
        fs::write(apt.join("etc").join(source.file), source.text)?;
        fs::write(apt.join("apt.conf"), config(apt)?)?;
        run("apt-get", apt, &["update", "-q"])?;
        run("apt-get", apt, &["download", "-q", "consul"])?;
        let packages = fs::read_dir(apt.join("deb"))?.collect::<io::Result<Vec<_>>>()?;
        let package = packages.first().ok_or_else(|| io::Error::other("apt-get download left no file"))?;
        run("dpkg", apt, &["-x", &package.file_name().to_string_lossy(), "../root"])?;
        Ok(apt.join("root/usr/bin/consul"))
    }

    fn run(program: &str, apt: &Path, arguments: &[&str]) -> io::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(apt.join("deb")).env("APT_CONFIG", apt.join("apt.conf"));
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
    }

    /// Directories of its own, and how this machine reaches its mirrors (proxies, certificates) as it is configured. The
    /// system's hooks are left out: they would clean up the system's cache.
    fn config(apt: &Path) -> io::Result<String> {
        let own = ["etc", "state", "cache"].map(|directory| apt.join(directory).display().to_string());
        let [etc, state, cache] = own;
        let mut config = format!(
            r#"
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{etc}";
Dir::State "{state}";
Dir::State::Status "/dev/null";
Dir::Cache "{cache}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"#
        );
        let dump = Command::new("apt-config").arg("dump").output();
        let dump = dump.map_err(|error| io::Error::other(format!("apt-config: {error}")))?;
        for line in String::from_utf8_lossy(&dump.stdout).lines() {
            let is_transport = line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets");
            if is_transport && !line.starts_with("Acquire::Languages") && !line.starts_with("Acquire::Retries") {
                config += &format!("{line}\n");
            }
        }
        Ok(config)
    }

    /// A file for apt's list of sources.
    struct Source {
        file: &'static str,
        text: String,
    }

    /// The machine's own source of Debian's main component, turned to our suite.
    fn source() -> Option<Source> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
        files.extend(parts.map(|part| part.path()));
        let mut found = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => found.extend(text.lines().filter_map(|line| one_line(line, codename))),
                Some("sources") => found.extend(text.split("\n\n").filter_map(|stanza| stanza_of(stanza, codename))),
                _ => {}
            }
        }
        found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, source)| source)
    }

    /// How sure we are that it is Debian itself, 0 the surest: its path ends so, or it has this machine's release.
    fn rank(uri: &str, mut suites: impl Iterator<Item: AsRef<str>>, codename: Option<&str>) -> Option<u8> {
        if uri.trim_end_matches('/').ends_with("/debian") {
            return Some(0);
        }
        suites.any(|suite| Some(suite.as_ref()) == codename).then_some(1)
    }

    /// `deb [options] uri suite component…`
    fn one_line(line: &str, codename: Option<&str>) -> Option<(u8, Source)> {
        let line = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match line.strip_prefix('[') {
            Some(line) => line.split_once(']')?,
            None => ("", line),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        words.find(|component| *component == "main")?;
        let rank = rank(uri, [suite].into_iter(), codename)?;
        let text = format!("deb [{options}] {uri} {SUITE} main\n").replace("[] ", "");
        Some((rank, Source { file: "debian.list", text }))
    }

    /// The same in many lines: kept as it is, keys included, but for what is to be had from there.
    fn stanza_of(stanza: &str, codename: Option<&str>) -> Option<(u8, Source)> {
        let mut fields: Vec<String> = Vec::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match fields.last_mut() {
                Some(field) if line.starts_with([' ', '\t']) => *field += &format!("\n{line}"),
                _ => fields.push(line.to_owned()),
            }
        }
        let value = |name: &str| {
            let mut named = fields.iter().filter_map(|field| field.split_once(':'));
            named.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let has = |name, word| value(name).is_some_and(|value| value.split_whitespace().any(|part| part == word));
        if !has("Types", "deb") || !has("Components", "main") || has("Enabled", "no") {
            return None;
        }
        let suites = value("Suites")?.split_whitespace();
        let rank = rank(value("URIs")?.split_whitespace().next()?, suites, codename)?;
        let replaced = ["Types:", "Suites:", "Components:"];
        fields.retain(|field| !replaced.iter().any(|name| field.starts_with(name)));
        let text = format!("Types: deb\nSuites: {SUITE}\nComponents: main\n{}\n", fields.join("\n"));
        Some((rank, Source { file: "debian.sources", text }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_machines_own_source_of_debian_is_turned_to_our_suite() {
            let line = |line: &str| one_line(line, Some("trixie")).map(|(rank, source)| (rank, source.text));
            let signed = "deb [signed-by=/k.gpg] http://m/debian/ trixie main contrib";
            assert_eq!(line(signed), Some((0, "deb [signed-by=/k.gpg] http://m/debian/ bullseye main\n".into())));
            assert_eq!(line("deb http://m/x trixie main"), Some((1, "deb http://m/x bullseye main\n".into())));
            assert_eq!(line("deb http://other/apt cloud-trixie main"), None);
            assert_eq!(line("deb http://m/debian trixie contrib"), None);
            assert_eq!(line("# deb http://m/debian trixie main"), None);

            let stanza = |stanza: &str| stanza_of(stanza, Some("trixie")).map(|(_, source)| source.text);
            let own = "Types: deb deb-src\n# a word\nURIs: mirror+file:/m\nSuites: trixie\n trixie-updates\nComponents: main\nSigned-By:\n key\n .\n";
            let ours = "Types: deb\nSuites: bullseye\nComponents: main\nURIs: mirror+file:/m\nSigned-By:\n key\n .\n";
            assert_eq!(stanza(own), Some(ours.into()));
            assert_eq!(stanza(&format!("Enabled: no\n{own}")), None);
            assert_eq!(
                stanza("Types: deb\nURIs: http://m/debian-security\nSuites: trixie-security\nComponents: main\n"),
                None
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// The instances that pass, as a watcher sees them.
    async fn passing(catalog: &Catalog, service: &str) -> Vec<String> {
        let entries = catalog.get(&format!("/v1/health/service/{service}?passing")).await;
        let entries = entries.as_array().unwrap();
        entries.iter().map(|entry| entry["Service"]["ID"].as_str().unwrap().to_owned()).collect()
    }

    async fn until_passing(catalog: &Catalog, service: &str, expected: &[&str]) {
        let what = format!("{expected:?} pass");
        eventually(&what, SOON, async || passing(catalog, service).await == expected).await;
    }

    #[tokio::test]
    async fn a_catalog_shows_what_a_test_did_to_it() {
        let consul = Consul::start().await;
        let catalog = Catalog::new(&consul.url());
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        catalog.register_service("web", "web/1 a", port(1)).await;
        catalog.register_service("web", "web-2", port(2)).await;
        until_passing(&catalog, "web", &["web-2", "web/1 a"]).await;
        catalog.set_check("service:web-2", "critical").await;
        until_passing(&catalog, "web", &["web/1 a"]).await;
        catalog.set_check("service:web-2", "passing").await;
        catalog.maintenance("web/1 a", true).await;
        until_passing(&catalog, "web", &["web-2"]).await;
        catalog.maintenance("web/1 a", false).await;
        catalog.deregister("web-2").await;
        until_passing(&catalog, "web", &["web/1 a"]).await;
        catalog.node_maintenance(true).await;
        until_passing(&catalog, "web", &[]).await;
        catalog.node_maintenance(false).await;
        until_passing(&catalog, "web", &["web/1 a"]).await;
        catalog.put("/v1/kv/lictor", "raw").await;
        assert_eq!(catalog.call("GET", "/v1/kv/lictor?raw", b"").await.body, b"raw");
    }

    #[tokio::test]
    async fn a_blocked_query_returns_when_an_instance_registers() {
        let consul = Consul::start().await;
        let watch = async {
            let mut index = "0".to_owned();
            loop {
                // More than once if need be: the agent's own entry may still move the index.
                let path = format!("/v1/health/service/web?index={index}&wait=60s");
                let answer = consul.call("GET", &path, b"").await;
                let entries: Value = serde_json::from_slice(&answer.body).unwrap();
                if let Some(entry) = entries.get(0) {
                    return entry["Service"]["Port"].clone();
                }
                index = answer.header("X-Consul-Index").unwrap().to_owned();
            }
        };
        let act = async {
            let watched = async || consul.connections() == 1;
            eventually("the watch is connected", SOON, watched).await;
            consul.register(json!({ "Name": "web", "Port": 80 })).await;
        };
        let both = timeout(SOON, async { tokio::join!(watch, act) }).await;
        assert_eq!(both.unwrap(), (json!(80), ()));
        let released = async || consul.connections() == 0;
        eventually("its connection is gone", SOON, released).await;
    }

    #[tokio::test]
    async fn a_killed_agent_comes_back_on_its_ports_and_empty() {
        let mut consul = Consul::start_with("datacenter = \"dc7\"").await;
        consul.register(json!({ "Name": "web" })).await;
        until_passing(&consul, "web", &["web"]).await;
        consul.kill();
        try_get(consul.address(), "consul", "/").await.unwrap_err();
        consul.restart().await;
        assert_eq!(passing(&consul, "web").await, Vec::<String>::new());
        assert_eq!(consul.get("/v1/agent/self").await["Config"]["Datacenter"], "dc7");
    }

    #[tokio::test]
    #[should_panic(expected = "consul did not start")]
    async fn an_agent_that_cannot_start_says_why() {
        Consul::start_with("no_such_key = 1").await;
    }

    #[tokio::test]
    async fn an_agent_with_acls_answers_to_its_token() {
        let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;
        let consul = Consul::start_with(acl).await;
        let root = consul.with_token("root");
        root.register_service("web", "web", SocketAddr::from(([127, 0, 0, 1], 80))).await;
        until_passing(&root, "web", &["web"]).await;
        assert_eq!(passing(&consul, "web").await, Vec::<String>::new());
    }
}
