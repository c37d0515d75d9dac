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
    let result = tool::run(&command, LONGEST).await.and_then(|said| judge(&(said.text() + &said.err)));
    report.add("HTTP/2 and HPACK", result);
}

fn judge(text: &str) -> Result<String, String> {
    let plain = without_colours(text);
    let told = plain.lines().find_map(|line| line.split_once("Passed ")?.1.split_once(" tests"));
    let passed = told.map(|(passed, _)| passed).ok_or_else(|| format!("it did not end: {:.500}", plain))?;
    let failed: Vec<&str> = plain
        .lines()
        .filter_map(|line| Some(line.split_once("Test failed: ")?.1.rsplit("::").next()?.trim()))
        .collect();
    let count: usize = passed.split('/').next().and_then(|count| count.parse().ok()).unwrap_or_default();
    let is_known = |name: &&str| KNOWN.iter().any(|known| name.ends_with(known));
    let seen = format!("{passed}, all but {}", failed.join(", "));
    if count >= PASSED && failed.iter().all(is_known) { Ok(seen) } else { Err(seen) }
}

fn without_colours(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}
