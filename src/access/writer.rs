//! The thread that writes: to a file or to standard output. Whatever goes wrong with it is said once, counted each time, and tried
//! again; a file is opened anew when it is told to, for whoever has moved the old one away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tracing::{info, warn};

use super::Scribe;
use super::queue::{Next, Queue};
use crate::config::AccessLog;
use crate::metrics::AccessSeries;

/// What is written at once: where that fails, no more than this is lost before it is tried again.
const PIECE: usize = 64 * 1024;
/// For what is left at the end: a pipe that nobody reads must not keep the process.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between two tries to open a file that cannot be written to.
const AGAIN: Duration = Duration::from_secs(1);
/// How long whoever reads is waited for until somebody else may have something to say.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
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
    /// Standard output.
    #[error("access_log: standard output cannot be written to: {0}; give the log a file by access_log.path")]
    Standard(io::Error),
    /// The thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The writing side, which ends when this is dropped, and has written what there was by then.
#[derive(Debug)]
pub struct Writer {
    settings: Arc<AccessLog>,
    series: Arc<AccessSeries>,
    queue: Arc<Queue>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Has the file opened anew, as long as there is a thread that writes.
#[derive(Debug, Clone)]
pub struct Reopening(Arc<Queue>);

impl Writer {
    /// Opens the file, if it is to be one, and starts the thread.
    pub fn start(settings: &AccessLog, series: Arc<AccessSeries>) -> Result<Self, Error> {
        let out = match &settings.path {
            None => Out::standard().map_err(Error::Standard)?,
            Some(path) => Out::to(path).map_err(|error| Error::File { path: path.clone(), error })?,
        };
        let queue = Arc::<Queue>::default();
        let (end, ended) = mpsc::sync_channel(1);
        let mut pen = Pen::new(out, &series, &queue);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            pen.write_all();
            let _ = end.send(());
        });
        let thread = Some(thread.map_err(Error::Thread)?);
        Ok(Writer { settings: Arc::new(settings.clone()), series, queue, ended, thread })
    }

    /// One worker's side.
    pub fn scribe(&self) -> Scribe {
        Scribe::new(&self.settings, &self.queue, &self.series)
    }

    /// What has the file opened anew.
    pub fn reopening(&self) -> Reopening {
        Reopening(Arc::clone(&self.queue))
    }
}

impl Reopening {
    /// Has the file opened anew once what is being written is: no more than a piece.
    pub fn reopen(&self) {
        self.0.reopen();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        match self.ended.recv_timeout(FAREWELL) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.queue.leave();
                warn!("the access log cannot be written to its end");
            }
            _ => drop(self.thread.take().map(JoinHandle::join)),
        }
    }
}

/// Where lines go.
struct Out {
    file: File,
    /// None for standard output.
    path: Option<PathBuf>,
    /// When it was last opened.
    tried: Instant,
}

/// What the thread writes with.
struct Pen {
    out: Out,
    series: Arc<AccessSeries>,
    queue: Arc<Queue>,
    is_failing: bool,
    /// What was written last is a line's part.
    torn: bool,
}

impl Pen {
    fn new(out: Out, series: &Arc<AccessSeries>, queue: &Arc<Queue>) -> Self {
        // Whoever wrote there before may have been ended within a line.
        let torn = out.path.as_deref().and_then(|path| is_torn(&out.file, path)).unwrap_or_default();
        Pen { out, series: Arc::clone(series), queue: Arc::clone(queue), is_failing: false, torn }
    }

    fn write_all(&mut self) {
        let mut text = Vec::new();
        while self.queue.take(&mut text) == Next::Write {
            self.obey();
            let mut rest = text.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(piece(rest));
                self.write(piece);
                // Whoever has moved the file away waits for this, and not for all that is to be written.
                self.obey();
                rest = after;
            }
        }
    }

    /// Opens the file anew, if that is wanted.
    fn obey(&mut self) {
        if self.queue.take_reopen() {
            self.renew();
        }
    }

    /// Writes whole lines, as far as that succeeds.
    fn write(&mut self, text: &[u8]) {
        if self.is_failing {
            self.try_another();
        }
        let (count, result) = self.put(text);
        self.series.written(lines(&text[..count]));
        match result {
            Ok(()) if std::mem::take(&mut self.is_failing) => info!("the access log can be written again"),
            Ok(()) => {}
            Err(error) => {
                self.series.failed();
                self.series.dropped(lines(&text[count..]));
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(to = %self.out, %error, "the access log cannot be written; lines are dropped until it can");
                }
            }
        }
    }

    /// Writes it; how much was written, and why not the rest.
    fn put(&mut self, text: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            // What was cut off must not become one with what follows.
            if let (_, Err(error)) = self.out.put(b"\n", &self.queue) {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let (count, result) = self.out.put(text, &self.queue);
        if let Some(last) = text[..count].last() {
            self.torn = *last != b'\n';
        }
        (count, result)
    }

    /// Opens the file anew; if that fails, the old one is written on.
    fn renew(&mut self) {
        let Some(path) = self.out.path.clone() else { return };
        match self.turn_to(&path) {
            Ok(()) => info!(path = %path.display(), "access log reopened"),
            Err(error) => {
                self.series.failed();
                warn!(path = %path.display(), %error, "the access log cannot be reopened; the old file is written on");
            }
        }
    }

    /// Where writing fails, another file of that name may do.
    fn try_another(&mut self) {
        if self.out.tried.elapsed() >= AGAIN
            && let Some(path) = self.out.path.clone()
        {
            // Why not was said already: the old one cannot be written to.
            let _ = self.turn_to(&path);
        }
    }

    fn turn_to(&mut self, path: &Path) -> io::Result<()> {
        self.out.tried = Instant::now();
        let file = open(path)?;
        self.torn = is_torn(&file, path).unwrap_or(self.torn && is_same(&file, &self.out.file));
        self.out.file = file;
        Ok(())
    }
}

impl Out {
    /// A file, which is made if it is not there.
    fn to(path: &Path) -> io::Result<Self> {
        Ok(Out { file: open(path)?, path: Some(path.to_owned()), tried: Instant::now() })
    }

    /// Standard output, as what it is: the library's way there looks for ends of lines, and takes failures for success.
    fn standard() -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Out { file, path: None, tried: Instant::now() })
    }

    /// Writes all of it; else how much was written, and why not the rest.
    fn put(&mut self, text: &[u8], queue: &Queue) -> (usize, io::Result<()>) {
        let mut count = 0;
        while count < text.len() {
            let error = match self.file.write(&text[count..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(some) => {
                    count += some;
                    continue;
                }
                Err(error) => error,
            };
            let result = match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                // A pipe or a terminal that somebody has made so, or a pipe with a name.
                io::ErrorKind::WouldBlock => self.wait(queue),
                _ => Err(error),
            };
            if result.is_err() {
                return (count, result);
            }
        }
        (count, Ok(()))
    }

    /// Waits until there is room, or for a while.
    fn wait(&self, queue: &Queue) -> io::Result<()> {
        // Of standard output there is no other to turn to.
        if queue.is_left() || self.path.is_some() && queue.reopens() {
            return Err(io::Error::other("nobody takes it any more"));
        }
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&LOOK)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            None => f.write_str("standard output"),
            Some(path) => path.display().fmt(f),
        }
    }
}

/// Opens a file to be appended to, and waits for nobody: to open a pipe whose reader is not there would last until it is.
fn open(path: &Path) -> io::Result<File> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(at_once).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::other("it is a pipe or a socket, and nobody reads it"),
        _ => error,
    })?;
    if file.metadata()?.file_type().is_block_device() {
        return Err(io::Error::other("it is a disk, and no file"));
    }
    Ok(file)
}

/// Whether a file's last line has no end; none if it is no file, or that cannot be seen.
fn is_torn(file: &File, path: &Path) -> Option<bool> {
    let data = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let Some(place) = data.len().checked_sub(1) else { return Some(false) };
    // What it is written by cannot be read from.
    let reading = File::open(path).ok().filter(|reading| is_same(reading, file))?;
    let mut last = [0];
    reading.read_exact_at(&mut last, place).ok()?;
    Some(last != *b"\n")
}

/// True if both are one.
fn is_same(one: &File, other: &File) -> bool {
    let place = |file: &File| file.metadata().ok().map(|data| (data.dev(), data.ino()));
    place(one) == place(other)
}

/// How much of a text is written at once: whole lines, at least one.
fn piece(text: &[u8]) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = memchr::memrchr(b'\n', &text[..PIECE]).or_else(|| memchr::memchr(b'\n', text));
    end.map_or(text.len(), |end| end + 1)
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::Mode;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pen(path: &Path) -> Pen {
        Pen::new(Out::to(path).unwrap(), &Arc::default(), &Arc::default())
    }

    fn pen_to(pipe: OwnedFd) -> Pen {
        Pen::new(Out { file: pipe.into(), path: None, tried: Instant::now() }, &Arc::default(), &Arc::default())
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted_and_the_next_is_tried() {
        // Always full.
        let mut pen = pen(Path::new("/dev/full"));
        pen.write(b"a\nb\n");
        pen.write(b"c\n");
        assert_eq!((pen.series.count(), pen.is_failing), ([0, 3, 2], true));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        pen.out = Out::to(&path).unwrap();
        pen.write(b"d\n");
        assert_eq!((pen.series.count(), pen.is_failing), ([1, 3, 2], false));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "d\n");
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_become_one_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut pen = pen(&path);
        pen.put(b"half").1.unwrap();
        pen.turn_to(&path).unwrap();
        pen.write(b"next\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half\nnext\n", "the same file, opened twice");
        pen.put(b"half").1.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        pen.turn_to(&path).unwrap();
        pen.write(b"next\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next\n", "another one has no line to be ended");
        std::fs::write(&path, "ended within").unwrap();
        self::pen(&path).write(b"next\n");
        self::pen(&path).write(b"next\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ended within\nnext\nnext\n", "by another process");
    }

    #[test]
    fn a_file_is_opened_anew_before_all_that_waits_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut pen = pen(&path);
        let queue = Arc::clone(&pen.queue);
        assert!(queue.add(b"a\n"));
        std::fs::rename(&path, &moved).unwrap();
        Reopening(Arc::clone(&queue)).reopen();
        queue.close();
        pen.write_all();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n");
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "");
    }

    #[test]
    fn whoever_reads_is_not_waited_for_if_the_file_is_to_be_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("pipe"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let reader = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path);
        let mut pen = pen(&path);
        let queue = Arc::clone(&pen.queue);
        // More than a pipe holds, in many pieces.
        assert!(queue.add(&b"0123456\n".repeat(128 * 1024)));
        let writing = std::thread::spawn(move || {
            pen.write_all();
            pen.series.count()
        });
        std::fs::rename(&path, moved).unwrap();
        Reopening(Arc::clone(&queue)).reopen();
        queue.close();
        let [written, dropped, _] = writing.join().unwrap();
        assert_eq!(written + dropped, 128 * 1024);
        assert!(std::fs::metadata(&path).unwrap().is_file());
        drop(reader);
    }

    #[test]
    fn whoever_reads_is_waited_for_and_who_has_left_has_read_nothing() {
        // One that says that it is full, as shared ones may.
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (mut pen, text) = (pen_to(writer), b"0123456\n".repeat(32 * 1024));
        let reading = std::thread::spawn(move || {
            let (mut read, mut reader) = (Vec::new(), File::from(reader));
            let mut chunk = [0; 4096];
            while read.len() < 256 * 1024 {
                match io::Read::read(&mut reader, &mut chunk) {
                    Ok(count) => read.extend_from_slice(&chunk[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
            read
        });
        pen.write(&text);
        assert!(reading.join().unwrap() == text);
        assert_eq!(pen.series.count(), [32 * 1024, 0, 0]);
        pen.write(b"a\n");
        assert_eq!(pen.series.count(), [32 * 1024, 1, 1]);
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let error = Out::to(&path).err().unwrap();
        assert_eq!(error.to_string(), "it is a pipe or a socket, and nobody reads it");
        let reader = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path);
        let (mut pen, mut text) = (pen(&path), String::new());
        pen.write(b"a\n");
        drop(pen);
        io::Read::read_to_string(&mut reader.unwrap(), &mut text).unwrap();
        assert_eq!(text, "a\n");
    }

    #[test]
    fn a_piece_ends_with_a_line() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        let lines = |lengths: &[usize]| piece(&lengths.iter().flat_map(|length| line(*length)).collect::<Vec<_>>());
        assert_eq!(lines(&[10, 20]), 30);
        assert_eq!(lines(&[10, PIECE - 10, 20]), PIECE);
        assert_eq!(lines(&[10, PIECE, 20]), 10);
        assert_eq!(lines(&[PIECE + 10, 20]), PIECE + 10);
    }
}
