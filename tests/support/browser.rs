//! Chromium without a window, as a person would use it: look, type, read. Driven by its DevTools protocol over a WebSocket.
//!
//! What the page complains of (errors, refusals of its policy) is kept, so that a test can say that there was nothing. Chromium has to be
//! installed: a page that is judged by nothing is not tested.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::eventually;

const PATIENCE: Duration = Duration::from_secs(30);
/// From one look at the page to the next.
const PAUSE: Duration = Duration::from_millis(20);
/// Nothing that asks the world for something, and nothing that is kept.
const OPTIONS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
];

/// A browser with one page. Dropped, it is killed.
pub struct Browser {
    process: Child,
    _profile: TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    calls: u64,
    complaints: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Browser {
    /// Starts one whose page is as large as that.
    pub async fn start(width: u32, height: u32) -> Browser {
        let profile = TempDir::new().unwrap();
        let mut command = Command::new("chromium");
        command.arg(format!("--user-data-dir={}", profile.path().display())).args(OPTIONS);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = started.expect("chromium is needed: apt-get install chromium");
        let file = profile.path().join("DevToolsActivePort");
        let port = eventually("chromium listens", PATIENCE, async || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.split_once('\n')?;
            (!path.trim().is_empty()).then(|| (port.to_owned(), path.trim().to_owned()))
        });
        let (port, path) = port.await;
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}{path}")).await.unwrap();
        let mut browser =
            Browser { process, _profile: profile, socket, session: String::new(), calls: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable", "Security.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser.size(width, height).await;
        browser
    }

    /// Makes the page as large as that; what is narrow is a phone.
    pub async fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Has the system prefer these: `("prefers-color-scheme", "dark")`.
    pub async fn prefer(&mut self, features: &[(&str, &str)]) {
        let features: Vec<Value> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Opens the dashboard there.
    pub async fn open(&mut self, admin: SocketAddr) {
        self.call("Page.navigate", json!({ "url": format!("http://{admin}/") })).await;
    }

    /// What a script comes to.
    pub async fn run(&mut self, script: &str) -> Value {
        self.look(script).await.unwrap_or_else(|wrong| panic!("{script}: {wrong}"))
    }

    /// Returns once a script comes to something that is true, with that. What fails is not there yet: a page is a while in coming.
    pub async fn until(&mut self, what: &str, script: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look(script).await {
                Ok(value) if !matches!(&value, Value::Null | Value::Bool(false)) && value != "" => return value,
                _ if Instant::now() < deadline => sleep(PAUSE).await,
                last => {
                    let text = self.look("document.body.innerText").await.unwrap_or_default();
                    panic!(
                        "not within {PATIENCE:?}: {what}: {last:?}\non the page:\n{}",
                        text.as_str().unwrap_or_default()
                    );
                }
            }
        }
    }

    async fn look(&mut self, script: &str) -> Result<Value, Value> {
        let asked = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", asked).await;
        match answer.get_mut("exceptionDetails") {
            Some(wrong) => Err(wrong.take()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Presses a key: a letter, or `Enter`, `Escape`, `ArrowDown`, `Tab` …
    pub async fn press(&mut self, key: &str) {
        let is_letter = key.chars().count() == 1;
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = if is_letter {
            key
        } else if key == "Enter" {
            "\r"
        } else {
            ""
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let pressed = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", pressed).await;
        let released = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", released).await;
    }

    /// Types a text.
    pub async fn write(&mut self, text: &str) {
        for letter in text.chars() {
            self.press(&letter.to_string()).await;
        }
    }

    /// What the page looks like, as PNG.
    #[allow(dead_code, reason = "pictures are taken by another binary")]
    pub async fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// What the page has complained of so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        if !self.session.is_empty() {
            call["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        let answered = async {
            loop {
                let message = self.socket.next().await.unwrap().unwrap();
                let Ok(text) = message.to_text() else { continue };
                let Ok(said) = serde_json::from_str::<Value>(text) else { continue };
                if said["id"] == self.calls {
                    assert!(said.get("error").is_none(), "{method}: {said}");
                    return said["result"].clone();
                }
                self.complaints.extend(complaint(&said));
            }
        };
        timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("chromium does not answer to {method}"))
    }
}

/// What went wrong, if the browser tells of that.
fn complaint(said: &Value) -> Option<String> {
    let parameters = &said["params"];
    match said["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(parameters["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if parameters["type"] == "error" => Some(parameters["args"].to_string()),
        "Log.entryAdded" if parameters["entry"]["level"] == "error" => Some(parameters["entry"]["text"].to_string()),
        _ => None,
    }
}
