//! Why a configuration was refused: every problem at once, each with the line, the key, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// A refused configuration.
#[derive(Debug)]
pub struct Error {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key of the document in the KV store that has it; none for the file.
    pub document: Option<String>,
    /// Line in the file or the document, from 1; none for what is missing altogether or comes from the environment.
    pub line: Option<usize>,
    /// Dotted key such as `routes[2].cluster`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Error {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Error { file: None, problems }
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Error::new(vec![Problem::new("", format!("cannot be read: {error}"))]).in_file(path)
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// What is wrong, in the order of the file, and of each document behind it; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same text with so many problems at most, and how many there are besides.
    pub fn first(&self, most: usize) -> String {
        let text = self.to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        let more = lines.len().saturating_sub(most);
        lines.truncate(most);
        let last = format!("… and {more} more");
        lines.extend((more > 0).then_some(last.as_str()));
        lines.join("\n")
    }
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { document: None, line: None, key: key.into(), message: message.into() }
    }

    pub(super) fn of(self, document: &str) -> Self {
        Problem { document: Some(document.to_owned()), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match (&problem.document, &self.file) {
                (Some(key), _) => write!(f, "kv {key}:")?,
                (None, Some(file)) => write!(f, "{}:", file.display())?,
                (None, None) => {}
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}: ")?;
        } else {
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
