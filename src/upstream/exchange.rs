//! The body of an answer together with the connection that it comes from. Reading it drives the connection; its end gives the
//! connection back to the pool, and dropping it before closes the connection, which is how an endpoint learns that nobody
//! listens any more.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use super::connection::{Answering, Connection};
use super::pool::Pool;
use super::{Error, Kind, Progress};
use crate::endpoint::Endpoint;
use crate::message::Activity;

/// An answer's body.
#[derive(Debug)]
pub struct Exchange {
    body: Incoming,
    connection: Option<Box<Connection>>,
    activity: Rc<Activity>,
    pool: Rc<Pool>,
    endpoint: Arc<Endpoint>,
}

impl Exchange {
    /// Joins body and connection; one without a body gives the connection back at once.
    pub(super) async fn start(
        response: Response<Answering>,
        connection: Box<Connection>,
        pool: Rc<Pool>,
        endpoint: &Arc<Endpoint>,
    ) -> Response<Exchange> {
        let ended = response.body().body.is_end_stream() && response.status() != http::StatusCode::SWITCHING_PROTOCOLS;
        let (head, answering) = response.into_parts();
        let Answering { body, activity } = answering;
        let mut exchange =
            Exchange { body, connection: Some(connection), activity, pool, endpoint: Arc::clone(endpoint) };
        if ended {
            poll_fn(|cx| {
                exchange.finish(cx);
                Poll::Ready(())
            })
            .await;
        }
        Response::from_parts(head, exchange)
    }

    /// Gives the connection back if it can take another request, else closes it.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut connection) = self.connection.take() {
            connection.drive(cx);
            if connection.is_ready() {
                connection.rest();
                self.pool.give(&self.endpoint, connection);
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // What has been read already comes first; only then is there reason to read on.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// The stream under the connection, and what was read beyond the head: for an answer that switched protocols.
    pub fn into_stream(self) -> Option<(TcpStream, Bytes)> {
        self.connection.map(|connection| connection.into_stream())
    }
}

impl Body for Exchange {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.poll_body(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.activity.touch();
                if self.body.is_end_stream() {
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.connection = None;
                let kind = if self.activity.sender_failed() { Kind::Downstream } else { Kind::Reset };
                Poll::Ready(Some(Err(Error::new(kind, Progress::Answered, false).caused_by(error))))
            }
            Poll::Ready(None) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let last = self.activity.last();
                let expired = self.connection.as_mut().map(|connection| connection.poll_expired(cx, last));
                if expired.is_none_or(|polled| polled.is_pending()) {
                    return Poll::Pending;
                }
                self.connection = None;
                Poll::Ready(Some(Err(Error::late(&self.activity, Progress::Answered, false))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
