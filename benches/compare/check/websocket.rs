//! Over WebSocket: an upgrade, and then messages that come back.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::Failure;
use crate::check::REQUESTS;
use crate::check::http1::connect;
use crate::load::Script;

/// All messages of the check, one after another.
pub fn ask_all(address: SocketAddr, script: &Script) -> Result<(), Failure> {
    let [upgrade, message] = script.requests.as_slice() else { return Err("no upgrade, or no message".into()) };
    let mut stream = connect(address)?;
    stream.write_all(upgrade)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    let agreed = "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";
    if !head.starts_with("http/1.1 101 ") || !head.contains("\r\nupgrade: websocket\r\n") || !head.contains(agreed) {
        return Err(format!("not upgraded: {head}").into());
    }
    for _ in 0..REQUESTS {
        stream.write_all(message)?;
        let mut answer = vec![0; script.answer.len()];
        stream.read_exact(&mut answer)?;
        if answer != *script.answer {
            return Err("another message".into());
        }
    }
    Ok(())
}
