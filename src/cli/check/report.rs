//! What a check has found, in the order in which it was found: a line each for people as soon as it is known, or one JSON document at
//! the end for programs.

use serde::Serialize;
use serde_json::json;

use super::Error;
use crate::config;

/// What is said, and how bad it is.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    findings: Vec<Finding>,
}

/// One thing that was looked at. Field names and words are an interface: they are added to, not changed.
#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    level: Level,
    /// In one word how it is, as lines begin.
    result: &'static str,
    what: String,
    /// What to do, if there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    /// lictor works without it.
    Note,
    /// It works now, and perhaps not for long.
    Warning,
    /// It does not work.
    Error,
}

impl Level {
    fn of(result: &str) -> Self {
        match result {
            "missing" | "failed" => Level::Error,
            "warning" => Level::Warning,
            "partly" | "without" | "unknown" => Level::Note,
            _ => Level::Ok,
        }
    }
}

impl Report {
    /// An empty one, for people or for programs.
    pub(super) fn new(json: bool) -> Self {
        Report { json, findings: Vec::new() }
    }

    /// Something is so: `result` in one word.
    pub(super) fn say(&mut self, about: &'static str, result: &'static str, what: impl Into<String>) {
        self.add(Finding { about, level: Level::of(result), result, what: what.into(), remedy: None });
    }

    /// Something is so, and there is something to be done about it.
    pub(super) fn advise(&mut self, about: &'static str, result: &'static str, (what, remedy): (String, String)) {
        self.add(Finding { about, level: Level::of(result), result, what, remedy: Some(remedy) });
    }

    fn add(&mut self, finding: Finding) {
        if !self.json {
            let Finding { about, result, what, remedy, .. } = &finding;
            // What is well needs no word for that.
            let word = if *result == "ok" { about } else { result };
            let remedy = remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            match *about {
                "file" => println!("{what}"),
                _ => println!("{word:<11} {what}{remedy}"),
            }
        }
        self.findings.push(finding);
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// Says the rest; an error if something does not work, or, if that is asked for, may soon not.
    pub(super) fn end(self, name: &str, strict: bool) -> Result<(), Error> {
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let failed = errors + if strict { warnings } else { 0 };
        if self.json {
            let document = json!({
                "file": name, "good": failed == 0, "errors": errors, "warnings": warnings, "findings": self.findings,
            });
            println!("{document:#}");
        }
        match failed {
            0 => Ok(()),
            1 => Err(Error::Other("1 check failed".to_owned())),
            count => Err(Error::Other(format!("{count} checks failed"))),
        }
    }
}

/// For programs: why there is nothing to report.
pub(super) fn refused(name: &str, error: &Error) {
    let problem = |problem: &config::Problem| {
        json!({
            "document": problem.document, "line": problem.line, "key": problem.key, "message": problem.message,
        })
    };
    let problems: Vec<_> = match error {
        Error::Config(error) => error.problems().iter().map(problem).collect(),
        other => vec![json!({ "message": other.to_string() })],
    };
    println!("{:#}", json!({ "file": name, "good": false, "errors": problems.len(), "problems": problems }));
}
