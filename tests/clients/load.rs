//! h2load: many requests on few connections, and none of them may fail.

use std::time::Duration;

use std::process::Command;

use crate::report::Report;
use crate::stage::Stage;
use crate::tool;

const REQUESTS: u32 = 20_000;
const LONGEST: Duration = Duration::from_secs(300);

pub async fn run(stage: &Stage, report: &mut Report) {
    for (what, scheme, address) in [("clear text", "http", stage.clear), ("TLS", "https", stage.tls)] {
        let mut command = Command::new("h2load");
        command.args(["-n", &REQUESTS.to_string(), "-c", "10", "-m", "50"]);
        command
            .arg(format!("--connect-to={address}"))
            .arg(format!("{scheme}://localhost:{}/web/small", address.port()));
        let result = tool::run(&command, LONGEST).await.and_then(|said| judge(&said.text()));
        report.add(&format!("{REQUESTS} requests, 10 connections, 50 streams; {what}"), result);
    }
}

fn judge(text: &str) -> Result<String, String> {
    let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_owned();
    let (requests, statuses) = (line("requests: "), line("status codes: "));
    let is_whole = requests.contains(&format!(" {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"))
        && statuses.contains(&format!(" {REQUESTS} 2xx"));
    if is_whole { Ok(line("finished in ").replace("finished in ", "in ")) } else { Err(requests + " " + &statuses) }
}
