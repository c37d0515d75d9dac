//! `lictor health`: asks the running proxy whether it is ready, or only whether it runs, for container engines and scripts that have
//! nothing else to ask with. The configuration says where to ask; what is wrong with the usual one since the proxy read it keeps nobody from
//! asking.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::window::{Place, Unanswered, Window};
use super::{Error, File};

/// The answer is there at once or not at all; those who ask give up after a few seconds themselves.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than `/readyz` ever says.
const LONGEST: usize = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    place: Place,
    /// Ask whether it runs (/livez), not whether it is ready (/readyz): for whoever ends what is not well
    #[arg(long)]
    live: bool,
}

pub(super) fn health(arguments: &Arguments) -> Result<(), Error> {
    let (window, trouble) = arguments.place.find(&arguments.file.config)?;
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let late = |_| Err(Unanswered::Nobody(format!("{} does not answer in time", window.name())));
        timeout(PATIENCE, ask(&window, path)).await.unwrap_or_else(late)
    });
    // Where to ask was a guess then.
    match (&answer, trouble) {
        (Err(unanswered), Some(trouble)) => {
            eprintln!("lictor: {unanswered}");
            return Err(trouble.into());
        }
        (Ok(_), Some(trouble)) => eprintln!("{trouble}\nlictor: {} was asked", window.name()),
        (_, None) => {}
    }
    super::write_out(format!("{}\n", said(answer?)?).as_bytes())
}

/// What there is to say if all is well, or else what is not.
fn said((status, words): (StatusCode, String)) -> Result<String, Error> {
    match status {
        StatusCode::OK => Ok(words),
        _ if words.is_empty() => Err(Error::Other(status.to_string())),
        _ => Err(Error::Other(words)),
    }
}

/// The answer, and what it says.
async fn ask(window: &Window, path: &str) -> Result<(StatusCode, String), Unanswered> {
    let mut answer = window.send(path).await?;
    let words = read(&mut answer).await.map_err(|error| window.silence(&error))?;
    Ok((answer.status(), words))
}

async fn read(answer: &mut Response) -> Result<String, reqwest::Error> {
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        text.extend_from_slice(&piece[..piece.len().min(LONGEST - text.len())]);
        if text.len() == LONGEST {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_is_one() {
        assert_eq!(said((StatusCode::OK, "ready".to_owned())).unwrap(), "ready");
        let refused = |status, words: &str| said((status, words.to_owned())).unwrap_err().to_string();
        assert_eq!(refused(StatusCode::SERVICE_UNAVAILABLE, "draining"), "lictor: draining");
        assert_eq!(refused(StatusCode::NOT_FOUND, ""), "lictor: 404 Not Found");
    }
}
