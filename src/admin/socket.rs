//! The window as a file of this machine: a Unix socket, whose rights say who may connect. HTTP/1.1 by hyper's server: what the
//! listeners' own is made for, many connections and long bodies past this process, is not what an operator needs.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as Socket, UnixStream as Stream};
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
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::access::Caller;
use super::answer::Body;
use super::{Admin, LIMITS, MAX_CONNECTIONS};
use crate::message::{Broken, Passing};

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
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
            }
            if Stream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
        }
        // It gets its name only once it has its rights: in between nobody can connect.
        let mut unnamed = path.as_os_str().to_owned();
        unnamed.push(format!(".{}", std::process::id()));
        let unnamed = PathBuf::from(unnamed);
        let _ = fs::remove_file(&unnamed);
        let made = Socket::bind(&unnamed).and_then(|socket| {
            fs::set_permissions(&unnamed, Permissions::from_mode(mode))?;
            socket.set_nonblocking(true)?;
            let file = fs::symlink_metadata(&unnamed)?;
            fs::rename(&unnamed, path)?;
            Ok(Door { socket, path: path.to_owned(), file: (file.dev(), file.ino()) })
        });
        if made.is_err() {
            let _ = fs::remove_file(&unnamed);
        }
        made
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
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        debug!(user, %error, "connection failed");
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
