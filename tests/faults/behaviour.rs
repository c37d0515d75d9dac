//! What an origin does, as it is told by its parent: a line of text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How an origin behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// Answers.
    Well,
    /// Breaks the connection within the head of each answer.
    ResetInHead,
    /// Breaks the connection within the body of each answer.
    ResetInBody,
    /// Answers some of the requests with this status.
    Status { code: u16, percent: u8 },
    /// Accepts, reads, and never answers.
    Mute,
    /// Answers after this long.
    Slow(Duration),
    /// Takes no connection and no byte, as if packets were dropped on the way.
    BlackHole,
    /// Does something else to some of the requests, drawn for each.
    Wild { percent: u8 },
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Behaviour::Well => f.write_str("well"),
            Behaviour::ResetInHead => f.write_str("reset-in-head"),
            Behaviour::ResetInBody => f.write_str("reset-in-body"),
            Behaviour::Status { code, percent } => write!(f, "status {code} {percent}"),
            Behaviour::Mute => f.write_str("mute"),
            Behaviour::Slow(time) => write!(f, "slow {}", time.as_millis()),
            Behaviour::BlackHole => f.write_str("black-hole"),
            Behaviour::Wild { percent } => write!(f, "wild {percent}"),
        }
    }
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().unwrap();
        Ok(match words[0] {
            "well" => Behaviour::Well,
            "reset-in-head" => Behaviour::ResetInHead,
            "reset-in-body" => Behaviour::ResetInBody,
            "status" => Behaviour::Status { code: number(1) as u16, percent: number(2) as u8 },
            "mute" => Behaviour::Mute,
            "slow" => Behaviour::Slow(Duration::from_millis(number(1))),
            "black-hole" => Behaviour::BlackHole,
            "wild" => Behaviour::Wild { percent: number(1) as u8 },
            _ => return Err(format!("no behaviour {line:?}")),
        })
    }
}
