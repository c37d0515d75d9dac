//! Answers that the proxy gives itself, and the body type of all answers. One function turns an error into a status.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;

use super::forward::Forward;
use super::grpc;
use crate::cluster::Handle;
use crate::config::Nameless;
use crate::message::{Moved, Passing};
use crate::table::Absent;
use crate::upstream::{Error, Kind};

/// The body of an answer.
pub enum Body {
    /// A text of our own.
    Text(Option<Bytes>),
    /// What an endpoint answers.
    Forward(Forward),
}

/// Why a request is not forwarded, or its answer not passed on.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No host, several, or one that is none.
    Host,
    /// Its connection cannot become a tunnel.
    NoTunnel,
    /// A path that some servers take for one of another route.
    Path,
    /// No route.
    Route,
    /// The host is not the name of a service, where it has to be.
    Nameless(Nameless),
    /// A service that must not be asked for.
    Barred,
    /// A service that is not there, or not to be had.
    Absent(Absent),
    /// What its route makes of its target is none.
    Target,
    /// It goes in circles.
    Loop,
    /// No endpoint may serve.
    NoEndpoint,
    /// As much is going on as may.
    Overload,
    /// Discovery has not answered yet.
    NoList,
    /// Discovery has not answered for so long that its list must not be used any more.
    Stale,
    /// The last attempt failed.
    Upstream(Error),
}

impl Refusal {
    /// Counts that a cluster has nobody, and says why.
    pub(super) fn nobody(cluster: &Handle) -> Self {
        let refusal = if cluster.is_expired() {
            Refusal::Stale
        } else if cluster.list().is_none() {
            Refusal::NoList
        } else if cluster.is_hopeless() {
            Refusal::NoEndpoint
        } else {
            cluster.series().overload("endpoint_in_flight");
            return Refusal::Overload;
        };
        cluster.series().no_endpoint();
        refusal
    }

    /// The status that stands for it, and a short text.
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Host => (StatusCode::BAD_REQUEST, "the request needs exactly one valid Host\n"),
            Refusal::NoTunnel => (StatusCode::NOT_IMPLEMENTED, "the connection cannot become a tunnel\n"),
            Refusal::Path => (StatusCode::BAD_REQUEST, "the path has slashes that may lead elsewhere\n"),
            Refusal::Route => (StatusCode::NOT_FOUND, "no route for this host and path\n"),
            Refusal::Nameless(why) => (StatusCode::NOT_FOUND, why.text()),
            Refusal::Barred => (StatusCode::FORBIDDEN, "this service must not be asked for here\n"),
            Refusal::Absent(why) => (StatusCode::SERVICE_UNAVAILABLE, absent(*why)),
            Refusal::Target => (StatusCode::URI_TOO_LONG, "the request's target cannot be rewritten\n"),
            Refusal::Loop => {
                (StatusCode::LOOP_DETECTED, "the request goes in circles: an endpoint is the proxy itself\n")
            }
            Refusal::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "no endpoint is eligible\n"),
            Refusal::Overload => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are being served\n"),
            Refusal::NoList => (StatusCode::SERVICE_UNAVAILABLE, "waiting for discovery\n"),
            Refusal::Stale => (StatusCode::SERVICE_UNAVAILABLE, "discovery is stale\n"),
            Refusal::Upstream(error) => match error.kind {
                Kind::Connect => (StatusCode::BAD_GATEWAY, "the endpoint refused the connection\n"),
                Kind::Local | Kind::Limit => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the proxy has no connection to spare\n")
                }
                Kind::Unready => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the proxy cannot secure a connection to the endpoint just now\n")
                }
                Kind::Tls => (StatusCode::BAD_GATEWAY, "the endpoint could not be reached by TLS\n"),
                Kind::Leaving => (StatusCode::BAD_GATEWAY, "the endpoint is leaving\n"),
                Kind::Refused => (StatusCode::SERVICE_UNAVAILABLE, "the endpoint takes no more requests\n"),
                Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "the endpoint's protocol has no such request\n"),
                Kind::Reset => (StatusCode::BAD_GATEWAY, "the endpoint closed the connection before it answered\n"),
                Kind::Protocol => (StatusCode::BAD_GATEWAY, "the endpoint's answer cannot be passed on\n"),
                Kind::ConnectTimeout => {
                    (StatusCode::GATEWAY_TIMEOUT, "the endpoint did not accept a connection in time\n")
                }
                Kind::Timeout | Kind::TryTimeout | Kind::Deadline => {
                    (StatusCode::GATEWAY_TIMEOUT, "the endpoint did not answer in time\n")
                }
                Kind::Drained => (StatusCode::GATEWAY_TIMEOUT, "the endpoint has left before it answered\n"),
                Kind::Downstream => (StatusCode::BAD_REQUEST, "the request's body broke off\n"),
                Kind::DownstreamTimeout => (StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time\n"),
            },
        }
    }

    /// The answer as gRPC's clients understand it.
    pub(super) fn grpc_answer(&self) -> Response<Body> {
        let (status, text) = self.status();
        grpc::answer(status, text)
    }

    /// The answer.
    pub(super) fn answer(&self) -> Response<Body> {
        let (status, text) = self.status();
        let mut response = Response::new(Body::Text(Some(Bytes::from_static(text.as_bytes()))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match (status, self) {
            // As long as it is remembered, and for people to mend: asking again sooner is in vain.
            (_, Refusal::Absent(Absent::Unknown)) => headers.insert(RETRY_AFTER, HeaderValue::from_static("2")),
            (_, Refusal::Absent(Absent::Hidden | Absent::Refused)) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"))
            }
            // Discovery and ejections move within seconds.
            (StatusCode::SERVICE_UNAVAILABLE, _) => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            _ => None,
        };
        response
    }
}

/// Why a service is not to be had, for whoever asked for it.
fn absent(why: Absent) -> &'static str {
    match why {
        Absent::Unknown => "no service of this name is known\n",
        Absent::Hidden => "this service may not be looked up: the proxy lacks the right to\n",
        Absent::Full => "this service is not followed: as many others are as may be\n",
        Absent::Busy => "this service is not followed yet: too many new names are being asked for\n",
        Absent::Unheard => "this service is not followed yet, and discovery does not answer\n",
        Absent::Refused => "this service cannot be looked up as it is asked for; the proxy's log says why\n",
        Absent::Late => "this service is not followed yet, and discovery did not answer in time\n",
    }
}

impl Passing for Body {
    fn poll_pass(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Error>>> {
        match &mut *self {
            Body::Text(_) => Poll::Ready(None),
            Body::Forward(forward) => Pin::new(forward).poll_pass(cx, to),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Body::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Body::Forward(forward) => Pin::new(forward).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Text(text) => text.is_none(),
            Body::Forward(forward) => forward.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Body::Forward(forward) => forward.size_hint(),
        }
    }
}
