//! curl: one transfer for everything that it can ask for.

use std::path::Path;
use std::time::Duration;

use std::process::Command;

use crate::origin;
use crate::report::Report;
use crate::stage::Stage;
use crate::tool::{self, Said};

const LONGEST: Duration = Duration::from_secs(120);
const LARGE: usize = 50_000_000;
/// The ways in: a name, what curl needs for it, and the version that it has to say then.
const WAYS: [(&str, &[&str], &str); 4] = [
    ("HTTP/1.1", &["--http1.1"], "1.1"),
    ("HTTP/2 by prior knowledge", &["--http2-prior-knowledge"], "2"),
    ("HTTP/1.1, TLS", &["--http1.1"], "1.1"),
    ("HTTP/2 by ALPN, TLS", &["--http2"], "2"),
];

/// A way in.
struct Way<'a> {
    stage: &'a Stage,
    arguments: Vec<String>,
    url: String,
    version: &'static str,
}

pub async fn run(stage: &Stage, report: &mut Report) {
    let upload = stage.file("upload");
    std::fs::write(&upload, origin::bytes(LARGE)).unwrap();
    for (index, (name, arguments, version)) in WAYS.into_iter().enumerate() {
        let (scheme, address) = if index < 2 { ("http", stage.clear) } else { ("https", stage.tls) };
        let url = format!("{scheme}://localhost:{}/web/", address.port());
        let way = Way { stage, arguments: arguments.iter().map(ToString::to_string).collect(), url, version };
        for (what, result) in [
            ("GET", way.small().await),
            ("HEAD", way.head().await),
            ("a range", way.range().await),
            ("upload after 100 (Continue)", way.expect_continue(&upload).await),
            ("50 MB down", way.download().await),
            ("50 MB up", way.upload(&upload).await),
            ("50 MB both ways at once", way.echo(&upload).await),
            ("trailers", way.trailers().await),
        ] {
            report.add(&format!("{what}; {name}"), result);
        }
    }
    let url = format!("https://localhost:{}/web/", stage.mutual.port());
    let with = ["--cert", &stage.file("client.pem").display().to_string()].map(str::to_owned).to_vec();
    let with = [with, vec!["--key".to_owned(), stage.file("client.key").display().to_string()]].concat();
    for (version, option) in [("1.1", "--http1.1"), ("2", "--http2")] {
        let way = Way { stage, arguments: [with.clone(), vec![option.to_owned()]].concat(), url: url.clone(), version };
        report.add(&format!("a client's certificate; HTTP/{version}"), way.small().await);
    }
    let way = Way { stage, arguments: Vec::new(), url, version: "2" };
    let refused = match way.curl("small", &[]).await {
        Ok(said) => Err(format!("answered {:?}", said.text())),
        Err(wrong) if wrong.contains("certificate required") => Ok("told why".to_owned()),
        // With TLS 1.3 the request is on its way before the certificate is missed.
        Err(wrong) if wrong.contains("said 0 000") => Ok(String::new()),
        Err(wrong) => Err(wrong),
    };
    report.add("no client's certificate where one is asked for", refused);
}

impl Way<'_> {
    /// Transfers, and holds it to its version. What was written on top of the answer is its status.
    async fn curl(&self, path: &str, arguments: &[&str]) -> Result<Said, String> {
        let mut command = Command::new("curl");
        // Another family's loopback is somebody else's.
        command
            .args(["-sSv", "--ipv4", "--noproxy", "*", "--max-time", "100", "--cacert"])
            .arg(self.stage.file("ca.pem"));
        command.args(["-w", "%{stderr}said %{http_version} %{http_code}\n"]);
        command.args(&self.arguments).args(arguments).arg(format!("{}{path}", self.url));
        let said = tool::run(&command, LONGEST).await?;
        if !said.is_success {
            return Err(said.complaint());
        }
        let version = format!("said {} ", self.version);
        if said.err.lines().any(|line| line.starts_with(&version)) { Ok(said) } else { Err(said.complaint()) }
    }

    async fn small(&self) -> Result<String, String> {
        let said = self.curl("small", &[]).await?;
        expect(&said, said.text() == "ok\n" && has_status(&said, 200))
    }

    async fn head(&self) -> Result<String, String> {
        let said = self.curl("bytes/1000", &["--head"]).await?;
        let length = said.text().lines().any(|line| line.eq_ignore_ascii_case("content-length: 1000"));
        expect(&said, length && has_status(&said, 200))
    }

    async fn range(&self) -> Result<String, String> {
        let said = self.curl("bytes/1000000", &["--range", "500000-500099"]).await?;
        let right = said.out == origin::bytes(1_000_000)[500_000..500_100];
        let named = said.err.to_lowercase().contains("content-range: bytes 500000-500099/1000000");
        expect(&said, right && named && has_status(&said, 206))
    }

    async fn expect_continue(&self, upload: &Path) -> Result<String, String> {
        // curl would send the body after this time anyway.
        let file = upload.display().to_string();
        let asks = ["--expect100-timeout", "50", "-H", "Expect: 100-continue", "-X", "POST", "-T", &file];
        let said = self.curl("digest", &asks).await?;
        // In HTTP/2, curl does not wait (before 8.7 at least), and what has come need not be asked for.
        let asked = said.err.contains("100 Continue") || self.version == "2";
        let right = said.text() == origin::digest_of(&origin::bytes(LARGE));
        expect(&said, asked && right && has_status(&said, 200))
    }

    async fn download(&self) -> Result<String, String> {
        let said = self.curl(&format!("bytes/{LARGE}"), &[]).await?;
        expect(&said, said.out == origin::bytes(LARGE) && has_status(&said, 200))
    }

    async fn upload(&self, upload: &Path) -> Result<String, String> {
        let file = upload.display().to_string();
        let said = self.curl("digest", &["-H", "Expect:", "-X", "POST", "-T", &file]).await?;
        expect(&said, said.text() == origin::digest_of(&origin::bytes(LARGE)) && has_status(&said, 200))
    }

    async fn echo(&self, upload: &Path) -> Result<String, String> {
        let file = upload.display().to_string();
        let said = self.curl("echo", &["-H", "Expect:", "-X", "POST", "-T", &file]).await?;
        expect(&said, said.out == origin::bytes(LARGE) && has_status(&said, 200))
    }

    async fn trailers(&self) -> Result<String, String> {
        // In HTTP/1.1 it is for this connection, which has to be said; in HTTP/2 there is nothing else.
        let announced: &[&str] = match self.version {
            "1.1" => &["--dump-header", "/dev/stderr", "-H", "TE: trailers", "-H", "Connection: TE"],
            _ => &["-H", "TE: trailers"],
        };
        let said = self.curl("trailers", announced).await?;
        expect(&said, said.text() == "body\n" && said.err.contains("x-checksum: 4711"))
    }
}

fn has_status(said: &Said, status: u16) -> bool {
    said.err.lines().any(|line| line.starts_with("said ") && line.ends_with(&format!(" {status}")))
}

fn expect(said: &Said, is_right: bool) -> Result<String, String> {
    if is_right {
        return Ok(String::new());
    }
    let text: String = String::from_utf8_lossy(&said.out[..said.out.len().min(200)]).into_owned();
    Err(format!("{} bytes: {text:?}; {}", said.out.len(), said.complaint()))
}
