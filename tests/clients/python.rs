//! The scripts beside this: each tells what came of what it tried, a line each.

use std::net::SocketAddr;
use std::time::Duration;

use std::process::Command;

use crate::report::Report;
use crate::stage::{Stage, script};
use crate::tool;

/// More than any of them takes where nothing is broken.
const LONGEST: Duration = Duration::from_secs(600);

pub async fn grpc(stage: &Stage, report: &mut Report) {
    let mut command = client(stage, "grpc_client.py", &[]);
    command.arg(stage.configuration()).args([stage.process().to_string(), stage.mortal.to_string()]);
    tell(&mut command, report).await;
}

pub async fn websocket(stage: &Stage, report: &mut Report) {
    tell(&mut client(stage, "websocket.py", &["client"]), report).await;
}

pub async fn websocket_h2(stage: &Stage, report: &mut Report) {
    tell(&mut client(stage, "websocket_h2.py", &[]), report).await;
}

fn client(stage: &Stage, name: &str, first: &[&str]) -> Command {
    let mut command = Command::new(&stage.tools.python);
    let ports = [stage.clear, stage.tls].map(|address: SocketAddr| address.port().to_string());
    command.arg(script(name)).args(first).args(ports).arg(stage.file("ca.pem"));
    command
}

async fn tell(command: &mut Command, report: &mut Report) {
    let said = match tool::run(command, LONGEST).await {
        Ok(said) => said,
        Err(wrong) => return report.failed("the script", &wrong),
    };
    for line in said.text().lines() {
        match line.split_once('\t') {
            Some((what, result)) => report.told(what, result),
            None => report.failed("the script", line),
        }
    }
    if !said.is_success {
        report.failed("the script", &said.complaint());
    }
}
