//! A gRPC server with nothing but `grpc.health.v1.Health`, over HTTP/2 with prior knowledge, whose answer is the test's.
//!
//! It keeps what it was asked as it came: path, headers and message, which a test compares byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This message, and `grpc-status: 0` after it.
    Message(Vec<u8>),
    /// No message, and this `grpc-status` in the only head.
    Status(&'static str),
    /// The message, and no trailers.
    NoTrailers(Vec<u8>),
}

/// The message that says this state: 1 is serving.
pub fn state(state: u8) -> Answer {
    Answer::Message(vec![0, 0, 0, 0, 2, 8, state])
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub uri: String,
    pub headers: HeaderMap,
    pub message: Vec<u8>,
}

/// A running server. Dropped, it is gone with all its connections.
pub struct Health {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    questions: Mutex<Vec<Question>>,
}

impl Health {
    /// One that serves.
    pub async fn start() -> Health {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { answer: Mutex::new(state(1)), questions: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Health { address, shared, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers like this from now on.
    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// The questions so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.questions.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    // Ends when the other side leaves.
    while let Some(Ok((request, respond))) = connection.accept().await {
        let shared = Arc::clone(&shared);
        streams.spawn(async move { drop(reply(request, respond, shared).await) });
    }
}

async fn reply(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        message.extend_from_slice(&data?);
    }
    let question = Question { uri: head.uri.to_string(), headers: head.headers, message };
    shared.questions.lock().unwrap().push(question);
    let response = Response::builder().header("content-type", "application/grpc");
    let answer = shared.answer.lock().unwrap().clone();
    match answer {
        Answer::Status(code) => {
            respond.send_response(response.header("grpc-status", code).body(()).unwrap(), true)?;
        }
        Answer::Message(message) => {
            let mut sending = respond.send_response(response.body(()).unwrap(), false)?;
            sending.send_data(message.into(), false)?;
            sending.send_trailers(
                [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))].into_iter().collect(),
            )?;
        }
        Answer::NoTrailers(message) => {
            respond.send_response(response.body(()).unwrap(), false)?.send_data(message.into(), true)?;
        }
    }
    Ok(())
}
