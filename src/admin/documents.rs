//! The documents beside the file: as JSON, whose field names are an interface, and as a line for people.

use serde::Serialize;

use crate::metrics::Metrics;
use crate::table::{Beside, Table};

#[derive(Serialize)]
pub(super) struct DocumentsView {
    prefix: String,
    /// How many times they were taken over.
    generation: u64,
    /// The keys of those that count.
    documents: Vec<String>,
    /// True if they were kept from before the start, and have not been read since.
    from_disk: bool,
    /// How many times they were not taken over.
    rejected: u64,
    /// What is wrong with those that stand there now, a line a problem; none if they count.
    problems: Vec<String>,
    /// Why they cannot be read.
    unread: Option<String>,
    /// Since they were last read.
    age_seconds: Option<f64>,
}

/// None if there is no place for documents.
pub(super) fn documents(table: &Table, metrics: &Metrics) -> Option<DocumentsView> {
    let beside = table.beside()?;
    let problems = beside.refused.iter().flat_map(|refused| refused.lines());
    Some(DocumentsView {
        prefix: beside.prefix.clone(),
        generation: beside.generation,
        documents: beside.keys.clone(),
        from_disk: beside.from_disk,
        rejected: beside.refusals,
        problems: problems.map(str::to_owned).collect(),
        unread: beside.unread.clone(),
        age_seconds: metrics.age(&format!("kv:{}", beside.prefix)),
    })
}

/// How they are.
pub(super) fn word(beside: &Beside) -> String {
    let mut word = match beside.generation {
        0 => "not read yet".to_owned(),
        _ => format!("{} in force", beside.keys.len()),
    };
    if beside.from_disk {
        word += ", from disk";
    }
    if let Some(refused) = &beside.refused {
        word += &format!(", those that stand there now are not: {}", refused.lines().next().unwrap_or_default());
    }
    if let Some(unread) = &beside.unread {
        word += &format!(", cannot be read: {unread}");
    }
    word
}
