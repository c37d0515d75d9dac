//! Autobahn's fuzzing client for WebSockets, once through the proxy and once without it: the proxy may change nothing.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use std::process::Command;

use crate::report::Report;
use crate::stage::Stage;
use crate::tool;

/// Hundreds of cases, twice, some of which wait for a second.
const LONGEST: Duration = Duration::from_secs(1200);

pub async fn run(stage: &Stage, report: &mut Report) {
    let Some(origin) = stage.websockets else {
        return report.failed("cases", "without an origin for WebSockets there is nothing to ask");
    };
    let direct = SocketAddr::from(([127, 0, 0, 1], origin));
    let url = |scheme: &str, address: SocketAddr| format!("{scheme}://127.0.0.1:{}/ws/echo", address.port());
    let folder = stage.file("autobahn");
    let spec = json!({
        "outdir": folder,
        "servers": [
            { "agent": "direct", "url": url("ws", direct) },
            { "agent": "clear", "url": url("ws", stage.clear) },
        ],
        "cases": ["*"],
        // How fast megabytes are, and megabytes deflated in 200 ways: time for the libraries, and opaque to a proxy.
        "exclude-cases": ["9.*", "12.*", "13.*"],
        "exclude-agent-cases": {},
    });
    let file = stage.file("autobahn.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    let mut command = Command::new(&stage.tools.python2);
    command.args(["-c", "from autobahntestsuite import wstest; wstest.run()", "-m", "fuzzingclient", "-s"]).arg(file);
    let result = tool::run(&command, LONGEST).await.and_then(|said| {
        let index = std::fs::read_to_string(folder.join("index.json"));
        let index = index.map_err(|_| format!("no report: {} {}", said.text(), said.complaint()))?;
        judge(&serde_json::from_str(&index).map_err(|error| error.to_string())?)
    });
    report.add("cases end as without the proxy; clear text", result);
}

fn judge(index: &Value) -> Result<String, String> {
    let (direct, proxied) = (&index["direct"], &index["clear"]);
    let cases = direct.as_object().ok_or("no cases")?;
    // Which of the two an end is hangs on who is faster, with no proxy as well.
    let end = |end: &Value| if *end == "NON-STRICT" { "OK".into() } else { end.clone() };
    let ends = |case: &Value| [end(&case["behavior"]), end(&case["behaviorClose"])];
    let differ: Vec<String> = cases
        .iter()
        .filter(|(name, case)| ends(case) != ends(&proxied[name.as_str()]))
        .map(|(name, case)| format!("{name}: {:?} and directly {:?}", ends(&proxied[name.as_str()]), ends(case)))
        .collect();
    let failed = cases.values().filter(|case| case["behavior"] == "FAILED").count();
    if differ.is_empty() && cases.len() > 200 {
        Ok(format!("{} cases, {failed} of which the origin itself fails", cases.len()))
    } else {
        Err(format!("of {}: {}", cases.len(), differ.join("; ")))
    }
}
