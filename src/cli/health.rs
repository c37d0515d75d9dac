//! `lictor health`: asks the running proxy whether it is ready, for container engines and scripts that have nothing else to ask with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::window::reachable;
use super::{Error, File};
use crate::config::{self, AdminBind, Environment};

/// The answer is there at once or not at all; those who ask give up after a few seconds themselves.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than `/readyz` ever says.
const LONGEST: u64 = 16 * 1024;
/// What is asked.
const QUESTION: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

pub(super) fn health(file: &File) -> Result<(), Error> {
    let config = config::load(&file.config, &Environment::process())?;
    let Some(admin) = config.admin else {
        return Err(Error::Other("there is no [admin] in the configuration, so nobody can be asked".to_owned()));
    };
    if admin.tls.is_some() {
        return Err(Error::Other("the [admin] listener speaks TLS, which this command does not".to_owned()));
    }
    let (address, answer) = match &admin.bind {
        AdminBind::Address(bind) => (reachable(*bind).to_string(), ask(reachable(*bind))),
        AdminBind::Unix { path, .. } => (path.display().to_string(), ask_file(path)),
    };
    let answer = answer.map_err(|error| Error::Other(format!("{address} does not answer: {error}")))?;
    let (status, words) = read(&answer).ok_or_else(|| Error::Other(format!("{address} does not speak HTTP")))?;
    if status == "200" {
        super::write_out(format!("{words}\n").as_bytes())
    } else {
        Err(Error::Other(words.to_owned()))
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream)
}

fn ask_file(path: &Path) -> std::io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream)
}

fn exchange(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(QUESTION)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status and text of an answer.
fn read(answer: &str) -> Option<(&str, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split([' ', '\r']).next()?;
    Some((status, body.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_text() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n";
        assert_eq!(read(answer), Some(("503", "draining")));
        assert_eq!(read("SSH-2.0-OpenSSH_9.2\r\n"), None);
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        assert_eq!(reachable("0.0.0.0:9990".parse().unwrap()).to_string(), "127.0.0.1:9990");
        assert_eq!(reachable("[::]:9990".parse().unwrap()).to_string(), "[::1]:9990");
        assert_eq!(reachable("10.1.2.3:9990".parse().unwrap()).to_string(), "10.1.2.3:9990");
    }
}
