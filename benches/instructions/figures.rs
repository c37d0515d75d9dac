//! The committed figures, and what is said of a measured one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::work::Work;

/// Where they are committed.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/figures.toml");
/// By how many per cent a figure may be above the committed one; and below it, before that should be lowered.
pub const TOLERANCE: f64 = 3.0;
const HEAD: &str = "# Instructions in user mode for one proxied request. Written by
#     cargo bench --profile dev --bench instructions -- --commit
# and compared with by CI: benches/README.md says what they mean.
";

/// What was committed.
#[derive(Debug, Deserialize, Serialize)]
pub struct Figures {
    /// Compiler and target of the lictor that was measured.
    pub compiler: String,
    instructions: BTreeMap<Work, u64>,
}

impl Figures {
    /// Reads the file.
    pub fn read() -> Result<Self, Failure> {
        let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("{FILE}: {error}").into())
    }

    /// Writes it anew.
    pub fn write(&self) -> Result<(), Failure> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        std::fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}").into())
    }

    pub fn of(&self, work: Work) -> Option<u64> {
        self.instructions.get(&work).copied()
    }

    pub fn set(&mut self, work: Work, measured: u64) {
        self.instructions.insert(work, measured);
    }
}

/// A measured figure beside the committed one.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// There is none for it.
    New,
    /// As far apart as that, in per cent, above 0 if the measured one is greater.
    Known { committed: u64, apart: f64 },
}

impl Verdict {
    pub fn of(committed: Option<u64>, measured: u64) -> Self {
        let apart = |committed: u64| (measured as f64 / committed as f64 - 1.0) * 100.0;
        committed.map_or(Verdict::New, |committed| Verdict::Known { committed, apart: apart(committed) })
    }

    /// False if the run has to fail for it.
    pub fn is_good(self) -> bool {
        matches!(self, Verdict::Known { apart, .. } if apart <= TOLERANCE)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict::Known { committed, apart } = self else {
            return f.write_str("no committed figure: FAILED");
        };
        write!(f, "committed {committed:>7}, {apart:+.2} %")?;
        match *apart {
            apart if apart > TOLERANCE => f.write_str(": FAILED"),
            apart if apart < -TOLERANCE => f.write_str(": better; lower the committed figure with --commit"),
            _ => Ok(()),
        }
    }
}

/// With what a program was compiled, as the compiler itself noted in it (the section `.comment`), and for which target.
pub fn compiler(program: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let note = b"rustc version ";
    let begin = bytes.windows(note.len()).position(|window| window == note).map(|place| place + note.len());
    let noted = &bytes[begin.unwrap_or(bytes.len())..];
    let end = noted.iter().position(|&byte| byte == 0).unwrap_or_default();
    let version = if end == 0 { "unknown".into() } else { String::from_utf8_lossy(&noted[..end]) };
    Ok(format!("rustc {version}, {}-{}", std::env::consts::ARCH, std::env::consts::OS))
}
