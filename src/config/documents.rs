//! Documents that stand beside the file, each under a key of Consul's KV store: routes and clusters in the same words as in the file.
//! File and documents are joined as they are written and checked as one, so that what holds for the file holds for all of it: a route
//! may name a cluster of another document, and what is told twice is a problem. The file stands on its own: nothing in it may lean on a
//! document, for it has to serve without them. Either all of it is good, or nothing of it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::text::Document;
use super::{Config, Environment, Error, Problem, Shown, check, raw};

/// Documents by their whole keys, as they stand in the store.
pub type Documents = BTreeMap<String, Vec<u8>>;

/// All documents together, in bytes. They are read on the control thread, which should be back in a moment; and who has that much to
/// say should say it otherwise.
const MOST: usize = 4 * 1024 * 1024;

/// Where documents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kv {
    /// What their keys begin with; it ends with a slash.
    pub prefix: String,
}

/// The file as it was written, for as long as documents may be joined with it.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) environment: Environment,
    pub(super) file: Option<PathBuf>,
}

// The text and the environment may hold secrets.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Which of the joined routes and clusters are a document's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    /// The document's.
    pub(super) key: String,
    /// Places of its routes among all.
    pub(super) routes: Range<usize>,
    /// Names of its clusters.
    pub(super) clusters: Vec<String>,
}

impl Config {
    /// The file joined with these documents, in place of those that it was joined with before.
    pub fn with_documents(&self, documents: &Documents) -> Result<Config, Error> {
        match &self.written {
            Some(written) => join(written, documents),
            // No documents were asked for, and none can count.
            None => Ok(self.clone()),
        }
    }
}

/// Reads and checks a file and documents as one.
pub(super) fn join(written: &Arc<Written>, documents: &Documents) -> Result<Config, Error> {
    let Written { text, environment, file } = &**written;
    let in_file = |error: Error| match file {
        Some(path) => error.in_file(path),
        None => error,
    };
    let document = Document::new(text);
    let mut raw: raw::File = toml::from_str(text).map_err(|error| in_file(document.syntax(&error)))?;
    let texts = texts(documents).map_err(Error::new)?;
    let mut problems = Vec::new();
    for (key, text) in &texts {
        match toml::from_str::<raw::Document>(text) {
            Ok(read) => add(&mut raw, key, read, &mut problems),
            Err(error) => problems.push(Document::new(text).syntax_of_document(&error).of(key)),
        }
    }
    if !problems.is_empty() {
        return Err(in_file(locate(&raw.joined, (&document, &texts), problems)));
    }
    let joined = raw.joined.clone();
    let config = check::check(raw, environment);
    let mut config = config.map_err(|problems| in_file(locate(&joined, (&document, &texts), problems)))?;
    config.shown = Arc::new(Shown::of(text, texts.values().copied(), environment));
    config.written = config.kv.is_some().then(|| Arc::clone(written));
    Ok(config)
}

/// The documents as text, or what keeps them from being that.
fn texts(documents: &Documents) -> Result<BTreeMap<&str, &str>, Vec<Problem>> {
    let bytes: usize = documents.values().map(Vec::len).sum();
    if bytes > MOST {
        let message = format!("all documents together have {bytes} bytes, and {MOST} are the most");
        return Err(vec![Problem::new("kv.prefix", message)]);
    }
    let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
    for (key, value) in documents {
        match std::str::from_utf8(value) {
            Ok(text) => drop(texts.insert(key.as_str(), text)),
            Err(_) => problems.push(Problem::new("", "is not text in UTF-8").of(key)),
        }
    }
    if problems.is_empty() { Ok(texts) } else { Err(problems) }
}

/// Puts what a document says behind all that was said before.
fn add(raw: &mut raw::File, key: &str, read: raw::Document, problems: &mut Vec<Problem>) {
    let first = raw.routes.len();
    raw.routes.extend(read.routes);
    let mut clusters = Vec::new();
    for (name, cluster) in read.clusters {
        if raw.clusters.contains_key(&name) {
            let whose = whose(&raw.joined, &name);
            let message = format!("\"{name}\" is a cluster of {whose} as well; keep one of them");
            problems.push(Problem::new(format!("clusters.{name}"), message).of(key));
            continue;
        }
        raw.clusters.insert(name.clone(), cluster);
        clusters.push(name);
    }
    raw.joined.push(Joined { key: key.to_owned(), routes: first..raw.routes.len(), clusters });
}

/// Where a cluster comes from, in words.
fn whose(joined: &[Joined], cluster: &str) -> String {
    let document = joined.iter().find(|joined| joined.clusters.iter().any(|name| name == cluster));
    document.map_or_else(|| "the file".to_owned(), |document| document.key.clone())
}

/// A route as the reader of another one knows it: by its place among those that stand with it, and by where that is if it is elsewhere.
pub(super) fn route(joined: &[Joined], place: usize, reader: usize) -> String {
    let of = |place: usize| joined.iter().find(|joined| joined.routes.contains(&place));
    let (here, there) = (of(reader).map(|joined| &joined.key), of(place));
    let local = place - there.map_or(0, |joined| joined.routes.start);
    match there {
        _ if here == there.map(|joined| &joined.key) => format!("routes[{local}]"),
        Some(joined) => format!("routes[{local}] of {}", joined.key),
        None => format!("routes[{local}] of the file"),
    }
}

/// Gives each problem its document, the key as it is there, and its line.
fn locate(joined: &[Joined], (file, texts): (&Document<'_>, &BTreeMap<&str, &str>), problems: Vec<Problem>) -> Error {
    let (mut in_file, mut of_documents) = (Vec::new(), BTreeMap::<&str, Vec<Problem>>::new());
    for problem in problems {
        let own = problem.document.clone();
        let own = own.as_deref().and_then(|key| texts.get_key_value(key)).map(|(key, _)| (*key, problem.key.clone()));
        match own.or_else(|| local(joined, &problem.key)) {
            Some((document, key)) => {
                of_documents.entry(document).or_default().push(Problem { key, ..problem }.of(document));
            }
            None => in_file.push(problem),
        }
    }
    let mut all = file.place(in_file);
    for (key, problems) in of_documents {
        let text = texts.get(key).copied().unwrap_or_default();
        all.extend(Document::new(text).place(problems));
    }
    Error::new(all)
}

/// The document of a key of the whole, and the key as it is there.
fn local<'a>(joined: &'a [Joined], key: &str) -> Option<(&'a str, String)> {
    if let Some((place, rest)) = key.strip_prefix("routes[").and_then(|rest| rest.split_once(']')) {
        let place: usize = place.parse().ok()?;
        let document = joined.iter().find(|joined| joined.routes.contains(&place))?;
        return Some((&document.key, format!("routes[{}]{rest}", place - document.routes.start)));
    }
    let rest = key.strip_prefix("clusters.")?;
    // Names may hold dots: the longest that fits is meant.
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let fits = |name: &&String| rest.strip_prefix(name.as_str()).is_some_and(ends);
    let longest = |joined: &'a Joined| {
        joined.clusters.iter().filter(fits).map(|name| (name.len(), joined)).max_by_key(|(length, _)| *length)
    };
    let (_, document) = joined.iter().filter_map(longest).max_by_key(|(length, _)| *length)?;
    Some((&document.key, key.to_owned()))
}
