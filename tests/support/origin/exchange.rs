//! Requests on one connection of an origin, each played by its script.

use std::io;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::Role};

use super::{Drip, Flow, Request, Script, Shared, lock};
use crate::support::client::{Body, Fields, Wire, fields, find};

/// What becomes of a connection after a script.
pub(super) enum Then {
    Next,
    Close,
    Reset,
}

/// One connection and the requests on it.
pub(super) struct Session {
    pub(super) wire: Wire,
    shared: Arc<Shared>,
    id: usize,
}

impl Session {
    pub(super) fn new(wire: Wire, shared: Arc<Shared>, id: usize) -> Self {
        Session { wire, shared, id }
    }

    /// Answers requests until a script or the other side ends it.
    pub(super) async fn serve(&mut self) -> Then {
        loop {
            let Ok(Some(head)) = self.wire.head().await else {
                return Then::Close;
            };
            self.shared.resumed().await;
            let mut exchange = Exchange::begin(self, head);
            match exchange.play().await {
                Ok(Then::Next) => {}
                Ok(then) => return then,
                Err(_) => return Then::Close, // the other side left
            }
        }
    }
}

/// One request and what is done about it.
struct Exchange<'a> {
    wire: &'a mut Wire,
    shared: &'a Shared,
    head: String,
    body: Body,
    /// Which of the recorded requests it is.
    index: usize,
}

impl Exchange<'_> {
    fn begin(session: &mut Session, head: String) -> Exchange<'_> {
        let request = Request { head: head.clone(), connection: session.id, ..Request::default() };
        let mut requests = lock(&session.shared.requests);
        requests.push(request);
        let (index, body) = (requests.len() - 1, Body::of_request(&fields(&head)));
        drop(requests);
        Exchange { wire: &mut session.wire, shared: &session.shared, head, body, index }
    }

    async fn play(&mut self) -> io::Result<Then> {
        let mut script = self.shared.script();
        let mut then = Then::Next;
        if !script.takes_body() {
            self.invite().await?;
            self.receive_all().await?;
        }
        loop {
            script = match script {
                Script::Delay(pause, script) => {
                    tokio::time::sleep(pause).await;
                    *script
                }
                Script::Informational(script) => {
                    self.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n").await?;
                    *script
                }
                Script::CloseAfter(script) => {
                    then = Then::Close;
                    *script
                }
                Script::Early(script) => *script,
                last => {
                    let ended = self.act(last).await?;
                    self.receive_all().await?;
                    return Ok(if matches!(ended, Then::Next) { then } else { ended });
                }
            }
        }
    }

    async fn act(&mut self, script: Script) -> io::Result<Then> {
        match script {
            Script::Answer { status, headers, body } => self.answer(status, &headers, &body).await?,
            Script::Chunked { chunks, trailers } => self.chunked(&chunks, &trailers).await?,
            Script::Raw(bytes) => self.write(&bytes).await?,
            Script::EchoBody => self.echo_body().await?,
            Script::SlowBody(drip) => return self.slow_body(&drip).await,
            Script::UpgradeEcho => {
                self.switch_protocols().await?;
                return self.echo_bytes().await;
            }
            Script::WebSocketEcho => {
                self.switch_protocols().await?;
                return self.echo_messages().await;
            }
            Script::Hang => {
                while self.wire.more().await? > 0 {}
                return Ok(Then::Close);
            }
            Script::ResetMidBody => {
                self.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\ncut.").await?;
                return Ok(Then::Reset);
            }
            Script::ResetBeforeHead => return Ok(Then::Reset),
            Script::CloseBeforeHead => return Ok(Then::Close),
            Script::Delay(..) | Script::Informational(_) | Script::CloseAfter(_) | Script::Early(_) => {
                unreachable!("unwrapped by play")
            }
        }
        Ok(Then::Next)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.shared.resumed().await;
        self.wire.write(bytes).await
    }

    /// The next piece of the request's body, recorded; `None` at its end.
    async fn receive(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let piece = self.wire.piece(&mut self.body).await?;
        self.shared.resumed().await;
        let request = &mut lock(&self.shared.requests)[self.index];
        request.body.extend_from_slice(piece.as_deref().unwrap_or_default());
        if let Body::Ended(trailers) = &self.body {
            request.complete = true;
            request.trailers.clone_from(trailers);
        }
        Ok(piece)
    }

    /// Asks for the body where the request waits to be asked.
    async fn invite(&mut self) -> io::Result<()> {
        match find(&fields(&self.head), "expect") {
            Some(_) => self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await,
            None => Ok(()),
        }
    }

    async fn receive_all(&mut self) -> io::Result<()> {
        while self.receive().await?.is_some() {}
        Ok(())
    }

    async fn answer(&mut self, status: u16, headers: &Fields, body: &[u8]) -> io::Result<()> {
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut answer = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or_default());
        push(&mut answer, headers);
        let framed = ["content-length", "transfer-encoding"].iter().any(|name| find(headers, name).is_some());
        if !framed && !matches!(status, 100..200 | 204 | 304) {
            answer += &format!("content-length: {}\r\n", body.len());
        }
        let mut answer = (answer + "\r\n").into_bytes();
        if !self.head.starts_with("HEAD ") {
            answer.extend_from_slice(body);
        }
        self.write(&answer).await
    }

    async fn chunked(&mut self, chunks: &[Vec<u8>], trailers: &Fields) -> io::Result<()> {
        self.begin_chunks().await?;
        for bytes in chunks {
            self.write(&chunk(bytes)).await?;
        }
        let mut end = "0\r\n".to_owned();
        push(&mut end, trailers);
        self.write((end + "\r\n").as_bytes()).await
    }

    async fn echo_body(&mut self) -> io::Result<()> {
        self.begin_chunks().await?;
        while let Some(piece) = self.receive().await? {
            self.write(&chunk(&piece)).await?;
        }
        self.write(b"0\r\n\r\n").await
    }

    async fn slow_body(&mut self, drip: &Drip) -> io::Result<Then> {
        let mut drip = drip.lock().await;
        self.begin_chunks().await?;
        loop {
            let flow = tokio::select! {
                flow = drip.recv() => flow,
                read = self.wire.more() => match read {
                    Ok(0) | Err(_) => {
                        drip.close();
                        return Ok(Then::Close);
                    }
                    Ok(_) => continue,
                },
            };
            match flow {
                Some(Flow::Chunk(bytes)) => self.write(&chunk(&bytes)).await?,
                Some(Flow::Reset) => return Ok(Then::Reset),
                None => break,
            }
        }
        self.write(b"0\r\n\r\n").await?;
        Ok(Then::Next)
    }

    async fn begin_chunks(&mut self) -> io::Result<()> {
        self.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await
    }

    async fn switch_protocols(&mut self) -> io::Result<()> {
        let headers = fields(&self.head);
        let protocol = find(&headers, "upgrade").unwrap_or("echo");
        let mut answer = format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n");
        if let Some(key) = find(&headers, "sec-websocket-key") {
            answer += &format!("sec-websocket-accept: {}\r\n", derive_accept_key(key.as_bytes()));
        }
        self.write((answer + "\r\n").as_bytes()).await
    }

    async fn echo_bytes(&mut self) -> io::Result<Then> {
        loop {
            let bytes = self.wire.buffer.split();
            self.write(&bytes).await?;
            if self.wire.more().await? == 0 {
                return Ok(Then::Close);
            }
        }
    }

    async fn echo_messages(&mut self) -> io::Result<Then> {
        let read = self.wire.buffer.split().to_vec();
        let stream = &mut self.wire.stream;
        let mut socket = WebSocketStream::from_partially_read(stream, read, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            self.shared.resumed().await;
            if message.is_text() || message.is_binary() {
                socket.send(message).await.map_err(io::Error::other)?;
            }
        }
        Ok(Then::Close)
    }
}

fn push(head: &mut String, fields: &Fields) {
    for (name, value) in fields {
        *head += &format!("{name}: {value}\r\n");
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
