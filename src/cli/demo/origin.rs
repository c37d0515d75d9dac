//! A server for the demo: answers with its name, and can be stopped and started again on a port of its own.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::Error;

pub(super) struct Origin {
    name: &'static str,
    address: SocketAddr,
    control: SocketAddr,
}

impl Origin {
    /// Serves until the process ends.
    pub(super) fn start(name: &'static str, listener: TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr()?;
        let control = std::net::TcpListener::bind("127.0.0.1:0")?;
        control.set_nonblocking(true)?;
        let control = TcpListener::from_std(control)?;
        let origin = Origin { name, address, control: control.local_addr()? };
        let (switch, on) = watch::channel(true);
        tokio::spawn(serve_control(control, switch));
        tokio::spawn(serve(name, listener, on));
        Ok(origin)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is stopped and started: an origin that is stopped answers on no port of its own.
    pub(super) fn control(&self) -> SocketAddr {
        self.control
    }
}

/// Answers while `on` is true; while it is not, connections are refused and those that were open are gone.
async fn serve(name: &'static str, listener: TcpListener, mut on: watch::Receiver<bool>) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if !*on.borrow_and_update() {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = on.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            accepted = accept => if let Ok((stream, _)) = accepted {
                connections.spawn(answer(stream, move |_, _| (StatusCode::OK, format!("hello from {name}\n"))));
            },
        }
    }
}

async fn serve_control(listener: TcpListener, switch: watch::Sender<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let switch = switch.clone();
        tokio::spawn(answer(stream, move |method, path| match (method, path) {
            (&Method::POST, "/stop") => {
                switch.send_replace(false);
                (StatusCode::OK, "stopped\n".to_owned())
            }
            (&Method::POST, "/start") => {
                switch.send_replace(true);
                (StatusCode::OK, "started\n".to_owned())
            }
            _ => (StatusCode::NOT_FOUND, "there is POST /stop and POST /start\n".to_owned()),
        }));
    }
}

async fn answer(stream: TcpStream, respond: impl Fn(&Method, &str) -> (StatusCode, String)) {
    let service = service_fn(|request: Request<Incoming>| {
        let (status, text) = respond(request.method(), request.uri().path());
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        async { Ok::<_, Infallible>(response) }
    });
    // A client that breaks off is no news here.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}
