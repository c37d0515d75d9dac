//! The thread that writes: to a file or to standard output. Whatever goes wrong with it is said once, counted each time, and tried
//! again; a file is opened anew when it is told to, for whoever has moved the old one away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Scribe;
use super::scribe::Batch;
use crate::config::AccessLog;
use crate::metrics::AccessSeries;

/// Batches that wait to be written: 4 MiB, which are some eight thousand lines.
const QUEUE: usize = 256;
/// For what is left at the end: a pipe that nobody reads must not keep the process.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between two tries to open a file that cannot be written to.
const AGAIN: Duration = Duration::from_secs(1);
/// Access logs have addresses and names of people in them.
const MODE: u32 = 0o640;

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("access_log.path: {} cannot be opened: {error}", path.display())]
    File {
        /// As it is written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The writing side, which ends when this is dropped, once all scribes are gone, and has written what there was by then.
#[derive(Debug)]
pub struct Writer {
    settings: Arc<AccessLog>,
    series: Arc<AccessSeries>,
    queue: Option<SyncSender<Batch>>,
    reopen: Arc<AtomicBool>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the file, if it is to be one, and starts the thread.
    pub fn start(settings: &AccessLog, series: Arc<AccessSeries>) -> Result<Self, Error> {
        let reopen = Arc::<AtomicBool>::default();
        let out = match &settings.path {
            None => Out::Standard,
            Some(path) => {
                let file = open(path).map_err(|error| Error::File { path: path.clone(), error })?;
                Out::File { path: path.clone(), file, tried: Instant::now() }
            }
        };
        let (queue, batches) = mpsc::sync_channel(QUEUE);
        let (end, ended) = mpsc::sync_channel(1);
        let mut pen =
            Pen { out, series: Arc::clone(&series), reopen: Arc::clone(&reopen), is_failing: false, torn: false };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            pen.write_all(&batches);
            let _ = end.send(());
        });
        let thread = Some(thread.map_err(Error::Thread)?);
        Ok(Writer { settings: Arc::new(settings.clone()), series, queue: Some(queue), reopen, ended, thread })
    }

    /// One worker's side.
    pub fn scribe(&self) -> Option<Scribe> {
        self.queue.as_ref().map(|queue| Scribe::new(&self.settings, queue, &self.series))
    }

    /// Has the file opened anew before the next line is written.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        if let Some(queue) = &self.queue {
            // If there is no room, it is awake.
            let _ = queue.try_send(Batch::default());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        match self.ended.recv_timeout(FAREWELL) {
            Err(mpsc::RecvTimeoutError::Timeout) => warn!("the access log cannot be written to its end"),
            _ => drop(self.thread.take().map(JoinHandle::join)),
        }
    }
}

/// Where lines go.
enum Out {
    Standard,
    File { path: PathBuf, file: File, tried: Instant },
}

/// What the thread writes with.
struct Pen {
    out: Out,
    series: Arc<AccessSeries>,
    reopen: Arc<AtomicBool>,
    is_failing: bool,
    /// A line was written in part.
    torn: bool,
}

impl Pen {
    fn write_all(&mut self, batches: &Receiver<Batch>) {
        for batch in batches {
            if self.reopen.swap(false, Ordering::Relaxed) {
                self.renew();
            }
            if batch.lines > 0 {
                self.write(&batch);
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        if self.is_failing {
            self.try_another();
        }
        match self.put(&batch.text) {
            Ok(()) => {
                self.series.written(batch.lines);
                if std::mem::take(&mut self.is_failing) {
                    info!("the access log can be written again");
                }
            }
            Err(error) => {
                self.series.failed();
                self.series.dropped(batch.lines);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(to = %self.out, %error, "the access log cannot be written; lines are dropped until it can");
                }
            }
        }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        if self.torn {
            // What was cut off must not become one with what follows.
            self.out.put(b"\n").map_err(|(_, error)| error)?;
            self.torn = false;
        }
        self.out.put(text).map_err(|(count, error)| {
            self.torn = count > 0;
            error
        })
    }

    /// Opens the file anew; if that fails, the old one is written on.
    fn renew(&mut self) {
        let Out::File { path, file, tried } = &mut self.out else { return };
        *tried = Instant::now();
        match open(path) {
            Ok(new) => {
                (*file, self.torn) = (new, false);
                info!(path = %path.display(), "access log reopened");
            }
            Err(error) => {
                self.series.failed();
                warn!(path = %path.display(), %error, "the access log cannot be reopened; the old file is written on");
            }
        }
    }

    /// Where writing fails, another file of that name may do.
    fn try_another(&mut self) {
        let Out::File { path, file, tried } = &mut self.out else { return };
        if tried.elapsed() < AGAIN {
            return;
        }
        *tried = Instant::now();
        if let Ok(new) = open(path) {
            *file = new;
        }
    }
}

impl Out {
    /// Writes all of it; else how much was written, and why not the rest.
    fn put(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut count = 0;
        while count < text.len() {
            let written = match self {
                Out::Standard => io::stdout().lock().write(&text[count..]),
                Out::File { file, .. } => file.write(&text[count..]),
            };
            match written {
                Ok(0) => return Err((count, io::ErrorKind::WriteZero.into())),
                Ok(some) => count += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((count, error)),
            }
        }
        match self {
            Out::Standard => io::stdout().lock().flush().map_err(|error| (count, error)),
            Out::File { .. } => Ok(()),
        }
    }
}

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Out::Standard => f.write_str("standard output"),
            Out::File { path, .. } => path.display().fmt(f),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pen(path: &Path) -> Pen {
        let out = Out::File { path: path.to_owned(), file: open(path).unwrap(), tried: Instant::now() };
        Pen { out, series: Arc::default(), reopen: Arc::default(), is_failing: false, torn: false }
    }

    fn batch(text: &str) -> Batch {
        Batch { text: text.as_bytes().to_vec(), lines: text.lines().count() as u64 }
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted_and_the_next_is_tried() {
        // Always full.
        let mut pen = pen(Path::new("/dev/full"));
        pen.write(&batch("a\nb\n"));
        pen.write(&batch("c\n"));
        assert_eq!((pen.series.count(), pen.is_failing), ([0, 3, 2], true));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        pen.out = Out::File { path: path.clone(), file: open(&path).unwrap(), tried: Instant::now() };
        pen.write(&batch("d\n"));
        assert_eq!((pen.series.count(), pen.is_failing), ([1, 3, 2], false));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "d\n");
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_become_one_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut pen = pen(&path);
        pen.out.put(b"half").unwrap();
        pen.torn = true;
        pen.write(&batch("next\n"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "half\nnext\n");
    }
}
