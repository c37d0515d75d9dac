//! The window as a file of this machine: a Unix socket, whose rights say who may connect. HTTP/1.1 by hyper's server: what the
//! listeners' own is made for, many connections and long bodies past this process, is not what an operator needs.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as Socket;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tracing::{debug, warn};

use super::access::Caller;
use super::answer::Body;
use super::{Admin, LIMITS, MAX_CONNECTIONS};
use crate::message::{Broken, Passing};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = MAX_CONNECTIONS as i32;
/// When accepting fails for want of something, it is left alone for this long.
const BREATH: Duration = Duration::from_millis(100);

/// A socket's file, which is gone when this is.
#[derive(Debug)]
pub struct Door {
    socket: Socket,
    path: PathBuf,
    /// Device and inode, so that nobody else's file is taken away.
    file: (u64, u64),
}

/// Why there is no socket there.
#[derive(Debug, thiserror::Error)]
#[error("admin.bind: cannot listen on unix:{}: {source}", path.display())]
pub struct DoorError {
    path: PathBuf,
    source: io::Error,
}

impl Door {
    /// Makes a socket's file with these rights, in place of one on which nobody listens any more.
    pub fn open(path: &Path, mode: u32) -> Result<Door, DoorError> {
        Door::make(path, mode).map_err(|source| DoorError { path: path.to_owned(), source })
    }

    fn make(path: &Path, mode: u32) -> io::Result<Door> {
        clear(path)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = fs::symlink_metadata(path)?;
        let door = |socket| Door { socket, path: path.to_owned(), file: (file.dev(), file.ino()) };
        // Nobody can connect before it listens, and then it has its rights. From here on the file goes if anything fails.
        let door = door(Socket::from(OwnedFd::from(socket)));
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        SockRef::from(&door.socket).listen(BACKLOG)?;
        door.socket.set_nonblocking(true)?;
        Ok(door)
    }

    /// Answers whoever connects.
    pub async fn serve(self, admin: Rc<Admin>) {
        let listener = self.socket.try_clone().and_then(UnixListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return warn!(%error, path = %self.path.display(), "the operator's window cannot be opened"),
        };
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = Rc::clone(&admin);
                    connections.spawn_local(async move {
                        converse(stream, admin).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

/// Takes away a socket's file on which nobody listens any more. Whatever else is there stays, and is an error.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
    }
    let caller = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Whoever has no time to accept is no less there.
    caller.set_nonblocking(true)?;
    match caller.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "; if nobody does, the file has to be removed",
                _ => "",
            };
            let what = format!("a socket is there, and whether somebody listens cannot be told: {error}{remedy}");
            Err(io::Error::new(error.kind(), what))
        }
        Ok(()) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn converse(stream: UnixStream, admin: Rc<Admin>) {
    let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
    let answer = service_fn(move |request: Request<body::Incoming>| {
        let admin = Rc::clone(&admin);
        async move {
            let (head, body) = request.into_parts();
            let body = (!body.is_end_stream()).then(|| Box::pin(Upload(body)) as crate::message::Incoming);
            Ok::<Response<Body>, std::convert::Infallible>(admin.open(head, body, Caller::Local { user }).await)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(LIMITS.idle).max_buf_size(64 * 1024);
    if let Err(error) = server.serve_connection(TokioIo::new(Patient::new(stream)), answer).await {
        debug!(user, %error, "connection failed");
    }
}

/// A connection whose client is not waited for without an end: who takes nothing for so long is gone.
struct Patient {
    stream: UnixStream,
    /// Until when, since it takes nothing.
    until: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: UnixStream) -> Self {
        Patient { stream, until: None }
    }

    fn wait(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(LIMITS.idle)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wait(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request's body, as the rest of the window knows them.
struct Upload(body::Incoming);

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Broken(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Passing for Upload {}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Stream;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_not_waited_for_without_an_end() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut patient = Patient::new(ours);
        let piece = vec![0; 64 * 1024];
        let given_up = loop {
            if let Err(error) = patient.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_is_replaced_only_if_it_is_certain_that_nobody_listens() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.sock");
        drop(Socket::bind(&path).unwrap());
        let door = Door::open(&path, 0o640).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        Stream::connect(&path).unwrap();
        let refused = Door::open(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("another process listens there"), "{refused}");
        // As many as may wait do: whoever asks is not held up by that.
        let waiting: Vec<Stream> = (1..BACKLOG).map(|_| Stream::connect(&path).unwrap()).collect();
        assert!(Door::open(&path, 0o600).unwrap_err().to_string().contains("another process listens there"));
        drop((door, waiting));
        assert!(!path.exists(), "the file goes with the door");
        drop(Door::open(&folder.path().join("a".repeat(107 - folder.path().as_os_str().len() - 1)), 0o600).unwrap());
        let long = Door::open(&folder.path().join("a".repeat(107)), 0o600).unwrap_err().to_string();
        assert!(long.contains("cannot listen on unix:"), "{long}");
    }
}
