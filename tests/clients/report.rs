//! The table: a row for everything that was tried, printed as it comes.

use std::path::Path;
use std::process::ExitCode;

const BEGIN: &str = "<!-- clients: begin -->";
const STOP: &str = "<!-- clients: end -->";
const HEAD: &str = "| name | what | result |\n|---|---|---|\n";

pub struct Report {
    /// Whose rows are added.
    pub name: &'static str,
    table: String,
    rows: usize,
    failed: usize,
}

impl Report {
    pub fn new() -> Report {
        print!("{HEAD}");
        Report { name: "", table: HEAD.to_owned(), rows: 0, failed: 0 }
    }

    /// What was seen of something that was right, or what was wrong.
    pub fn add(&mut self, what: &str, result: Result<String, String>) {
        match result {
            Ok(seen) if seen.is_empty() => self.row(what, "ok"),
            Ok(seen) => self.row(what, &format!("ok, {seen}")),
            Err(wrong) => self.failed(what, &wrong),
        }
    }

    pub fn failed(&mut self, what: &str, wrong: &str) {
        self.failed += 1;
        self.row(what, &format!("**failed**: {wrong}"));
    }

    /// A row as a script has told it.
    pub fn told(&mut self, what: &str, result: &str) {
        match result.strip_prefix("failed: ") {
            Some(wrong) => self.failed(what, wrong),
            None => self.row(what, result),
        }
    }

    fn row(&mut self, what: &str, result: &str) {
        let result = result.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let row = format!("| {} | {what} | {result} |\n", self.name);
        print!("{row}");
        self.table.push_str(&row);
        self.rows += 1;
    }

    /// Puts the table where the last one was.
    pub fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(STOP).unwrap();
        std::fs::write(&path, format!("{before}{BEGIN}\n{}{STOP}{after}", self.table)).unwrap();
    }

    pub fn end(self) -> ExitCode {
        println!("\n{} tried, {} failed", self.rows, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
