//! httpwg: sections of RFC 9113 and 7541, a test each.

use std::time::Duration;

use std::process::Command;

use crate::report::Report;
use crate::stage::Stage;
use crate::tool;

/// It waits for a quarter of a second in many of them.
const LONGEST: Duration = Duration::from_secs(300);
/// How many have to be passed, and those that the library h2 decides otherwise: it ends the connection with PROTOCOL_ERROR in place of
/// COMPRESSION_ERROR, and leaves a pseudo header in trailers out in place of refusing it.
const PASSED: usize = 105;
const KNOWN: [&str; 2] = ["invalid header block fragment", "pseudo header in trailer"];

pub async fn run(stage: &Stage, report: &mut Report) {
    let mut command = Command::new("httpwg");
    command.args(["-a", &stage.clear.to_string(), "--frame-timeout", "1000"]);
    let result = tool::run(&mut command, LONGEST).await.and_then(|said| judge(&(said.text() + &said.err)));
    report.add("HTTP/2 and HPACK", result);
}

fn judge(text: &str) -> Result<String, String> {
    let _ = (PASSED, KNOWN);
    Err(text.to_owned())
}
