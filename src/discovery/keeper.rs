//! Keeps the last lists in a file, for a start at which no source answers. Files may be slow, or hang: so a thread of its own
//! writes them, one at a time, and nobody waits for it but the end of the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::disk::{self, Catalogue, Content};
use crate::metrics::Metrics;

/// A file larger than this is none of ours; nor is it written.
const MOST: u64 = 64 * 1024 * 1024;
/// From a change to the file: others are on their way.
const SOON: Duration = Duration::from_secs(1);
/// Between two files.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes lists down as they change.
#[derive(Debug)]
pub(super) struct Keeper {
    /// When to write next, if anything has changed.
    due: Option<Instant>,
    written: Option<Instant>,
    // None once it is to end.
    contents: Option<SyncSender<Content>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// One for this file. Without a thread nothing is kept, and the log says so.
    pub(super) fn new(path: &str, catalogue: Catalogue, metrics: &Arc<Metrics>) -> Option<Self> {
        // One at a time: whoever comes while another is being written comes later, with all that is known by then.
        let (contents, received) = sync_channel(1);
        let desk = Desk { path: PathBuf::from(path), catalogue, metrics: Arc::clone(metrics) };
        let thread = std::thread::Builder::new().name("last-lists".to_owned()).spawn(move || desk.work(&received));
        match thread {
            Ok(thread) => Some(Keeper { due: None, written: None, contents: Some(contents), thread: Some(thread) }),
            Err(error) => {
                warn!(%error, "the last lists are not kept: there is no thread to write them");
                None
            }
        }
    }

    /// Something has changed that should be written down.
    pub(super) fn changed(&mut self, now: Instant) {
        let next = self.written.map_or(now + SOON, |written| (written + PAUSE).max(now + SOON));
        self.due.get_or_insert(next);
    }

    /// When to write next, if anything has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When it wrote last.
    pub(super) fn written(&self) -> Option<Instant> {
        self.written
    }

    /// Has these written down.
    pub(super) fn keep(&mut self, content: Content, now: Instant) {
        self.written = Some(now);
        let taken = self.contents.as_ref().is_some_and(|sender| sender.try_send(content).is_ok());
        // Still busy with an older one: then again later.
        self.due = if taken { None } else { Some(now + PAUSE) };
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.contents = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Desk {
    path: PathBuf,
    catalogue: Catalogue,
    metrics: Arc<Metrics>,
}

impl Desk {
    fn work(&self, contents: &Receiver<Content>) {
        let mut failed = false;
        while let Ok(content) = contents.recv() {
            let result = self.write(&content);
            self.metrics.saved(result.is_ok());
            match (&result, failed) {
                (Err(error), false) => {
                    warn!(file = %self.path.display(), %error, "the last lists cannot be kept; the next start may have none")
                }
                (Ok(()), true) => info!(file = %self.path.display(), "the last lists are kept again"),
                _ => {}
            }
            failed = result.is_err();
        }
    }

    fn write(&self, content: &Content) -> io::Result<()> {
        let content = disk::encode(&self.catalogue, content).map_err(io::Error::other)?;
        if content.len() as u64 > MOST {
            return Err(io::Error::other(format!("{} bytes are too many", content.len())));
        }
        replace(&self.path, &content)
    }
}

/// Puts the whole content in the place of the file's, or leaves it as it was.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Where our services are is not everybody's business; and nobody may have put a link there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// What was kept there; nothing if there are none, or if they are of no use, which the log explains.
pub(super) fn recall(path: &str, catalogue: &Catalogue) -> Content {
    let content = match read(Path::new(path)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            info!(file = path, "no last lists have been kept yet");
            return Content::default();
        }
        Err(error) => {
            warn!(file = path, %error, "the last lists cannot be read, and are not used");
            return Content::default();
        }
    };
    disk::decode(&content, catalogue).unwrap_or_else(|error| {
        warn!(file = path, %error, "the last lists are not used");
        Content::default()
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before it is opened: a pipe would make us wait.
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{self, Environment, Selection};
    use crate::discovery::disk::Kept;

    fn catalogue() -> Catalogue {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'";
        Catalogue::of(&config::parse(text, &Environment::default()).unwrap().consul)
    }

    fn lists(service: &str) -> Content {
        let selection = Selection::of(service);
        let lists = vec![Kept { selection, list: [].into(), heard: std::time::UNIX_EPOCH }];
        Content { lists, ..Content::default() }
    }

    #[test]
    fn what_was_handed_over_is_in_the_file_at_the_end_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lists.json");
        let (name, metrics) = (path.display().to_string(), Arc::new(Metrics::new(1)));
        // Left behind by somebody who was killed.
        fs::write(directory.path().join("lists.json.new"), "half").unwrap();
        for service in ["web", "db"] {
            let mut keeper = Keeper::new(&name, catalogue(), &metrics).unwrap();
            keeper.keep(lists(service), Instant::now());
            drop(keeper);
            assert_eq!(recall(&name, &catalogue()), lists(service));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn changes_wait_for_each_other_and_for_the_file_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lists").display().to_string();
        let mut keeper = Keeper::new(&path, catalogue(), &Arc::new(Metrics::new(1))).unwrap();
        let now = Instant::now();
        assert_eq!(keeper.due(), None);
        keeper.changed(now);
        keeper.changed(now + SOON / 2);
        assert_eq!(keeper.due(), Some(now + SOON));
        keeper.keep(lists("web"), now + SOON);
        assert_eq!(keeper.due(), None);
        keeper.changed(now + SOON * 2);
        assert_eq!(keeper.due(), Some(now + SOON + PAUSE));
    }

    #[test]
    fn a_file_that_is_of_no_use_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lists");
        let name = path.display().to_string();
        assert_eq!(recall(&name, &catalogue()), Content::default());
        assert_eq!(recall(&directory.path().display().to_string(), &catalogue()), Content::default());
        fs::write(&path, "lictor-lists 1 00\n{}").unwrap();
        assert_eq!(recall(&name, &catalogue()), Content::default());
        File::create(&path).unwrap().set_len(MOST + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than"));
    }
}
