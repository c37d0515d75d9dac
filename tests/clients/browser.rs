//! Chromium, headless: a page with all that pages do, over HTTP/2 and TLS. What came of it is in the document, which is printed when
//! the page is loaded, which is when it has reported.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use std::process::Command;

use crate::report::Report;
use crate::stage::Stage;
use crate::tool;

const LONGEST: Duration = Duration::from_secs(120);
const PARTS: usize = 30;
/// Begins and ends what the page tells.
const MARKS: (&str, &str) = ("<pre id=\"told\">", "</pre>");

const SCRIPT: &str = r#"
async function events() {
    const source = new EventSource("events"), data = [];
    return new Promise((resolve, reject) => {
        source.onerror = () => reject("no events");
        source.onmessage = event => {
            data.push(event.data);
            if (data.length == 3) { source.close(); resolve(data.join(",")); }
        };
    });
}
async function socket() {
    const socket = new WebSocket("wss://" + location.host + "/ws/echo");
    return new Promise((resolve, reject) => {
        socket.onerror = () => reject("no socket");
        socket.onopen = () => socket.send("x".repeat(100000));
        socket.onmessage = event => { socket.close(1000); socket.answer = event.data.length; };
        socket.onclose = event => resolve(`${socket.answer} ${event.code} ${event.wasClean}`);
    });
}
async function post() {
    const answer = await fetch("echo", { method: "POST", body: "x".repeat(1000000) });
    return `${answer.status} ${(await answer.text()).length}`;
}
async function report() {
    const told = {};
    for (const [name, trial] of Object.entries({ post, events, socket })) {
        told[name] = await trial().catch(error => `failed: ${error}`);
    }
    told.parts = parts;
    const entries = [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")];
    told.protocols = entries.map(entry => entry.nextHopProtocol).filter(name => name);
    document.getElementById("told").textContent = JSON.stringify(told);
    await fetch("report", { method: "POST" });
}
report();
"#;

/// The page: its parts are all there before the script runs.
pub fn page() -> String {
    let parts: String = (0..PARTS).map(|index| format!("<script src=\"part/{index}\"></script>\n")).collect();
    format!(
        "<!doctype html><title>lictor</title><link rel=\"icon\" href=\"data:,\">\n{}{}\n<script>let parts = 0;</script>\n\
         {parts}<script>{SCRIPT}</script>\n<script src=\"held\"></script>\n",
        MARKS.0, MARKS.1
    )
}

pub async fn run(stage: &Stage, report: &mut Report) {
    let log = stage.file("net-log.json");
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]);
    command.arg(format!("--user-data-dir={}", stage.file("chromium").display()));
    command.arg(format!("--ignore-certificate-errors-spki-list={}", stage.pin));
    command.arg(format!("--log-net-log={}", log.display())).arg("--net-log-capture-mode=IncludeSensitive");
    command.args(["--dump-dom", "--timeout=90000", &format!("https://localhost:{}/web/page", stage.tls.port())]);
    let told = tool::run(&command, LONGEST).await.and_then(|said| {
        let text = said.text();
        let told = text.split_once(MARKS.0).and_then(|(_, rest)| rest.split_once(MARKS.1)).map(|(told, _)| told);
        told.and_then(|told| serde_json::from_str::<Value>(told).ok())
            .ok_or_else(|| format!("the page did not report: {:.500} {}", text, said.complaint()))
    });
    let told = match told {
        Ok(told) => told,
        Err(wrong) => return report.failed("a page", &wrong),
    };
    let expect = |key: &str, wanted: Value| {
        if told[key] == wanted { Ok(String::new()) } else { Err(format!("{} in place of {wanted}", told[key])) }
    };
    report.add(&format!("a page and its {PARTS} parts"), expect("parts", PARTS.into()));
    report.add("a POST of 1 MB by fetch", expect("post", "200 1000000".into()));
    report.add("an EventSource", expect("events", "event 0,event 1,event 2".into()));
    report.add("a WebSocket", expect("socket", "100000 1000 true".into()));
    report.add("all of the page came by HTTP/2", protocols(&told["protocols"]));
    // The browser's own protocol of what it sent.
    let seen = std::fs::read_to_string(log).is_ok_and(|log| log.contains(":protocol: websocket"));
    let how = if seen { Ok(String::new()) } else { Err("it did not ask for that".to_owned()) };
    report.add("the WebSocket was a stream of HTTP/2 (RFC 8441)", how);
}

fn protocols(told: &Value) -> Result<String, String> {
    let all: Vec<&str> = told.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    // The page, its parts, and what the script asked for.
    if distinct.into_iter().eq(["h2"]) && all.len() > PARTS + 2 {
        Ok(format!("{} entries", all.len()))
    } else {
        Err(format!("{all:?}"))
    }
}
