//! `CONNECT` (RFC 9110 section 9.3.6), where a listener takes it: the connection becomes a tunnel to an endpoint of the route for
//! its host. Where that leads is the route's to say and never the client's, so that nobody gets further than by any other request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::Response;
use http_body::Body as _;
use tracing::debug;

use super::Edge;
use super::answer::{Body, Refusal};
use super::record;
use super::series::Entry;
use super::session::{Joined, Session};
use crate::listener::{Client, Takeover};
use crate::metrics::{TcpEnd, TcpLabels};

/// Answers 200 once there is an endpoint, and moves bytes from then on, as a task of the worker's.
pub(super) async fn open(
    edge: &Edge,
    entry: &Entry,
    (client, takeover): (&Client, Option<Takeover>),
    started: Instant,
) -> Response<Body> {
    let worker = &edge.worker;
    let joined = match (client.downstream.ends(), takeover) {
        (Some(ends), Some(takeover)) => {
            let series = Arc::clone(entry.tunnels.get_or_init(|| {
                let listener = worker.series.borrow().listener(edge.listener);
                worker.metrics.tcp(TcpLabels { listener, cluster: Arc::clone(entry.cluster.name()) })
            }));
            let session = Session { worker: Rc::clone(worker), cluster: entry.cluster.clone(), series, ends };
            session.join().await.map(|joined| (session, joined, takeover))
        }
        _ => Err(TcpEnd::Client),
    };
    let response = match joined {
        Ok((session, joined, takeover)) => {
            let draining = worker.draining.clone();
            worker.tunnels.borrow_mut().spawn_local(async move {
                run(&session, joined, takeover).await;
                drop(draining);
            });
            Response::new(Body::Text(None))
        }
        Err(end) => {
            debug!(?end, "no tunnel");
            refusal(end).answer()
        }
    };
    // What is said in the tunnel is counted as a session's.
    let sent = response.body().size_hint().lower();
    entry.request.record(worker.index, &record::own(response.status().as_u16(), started, (0, sent)));
    response
}

async fn run(session: &Session, joined: Joined, takeover: Takeover) {
    let index = session.worker.index;
    match takeover.take().await {
        Some(mut client) => session.series.ended(index, session.copy(joined, &mut client, &[]).await),
        None => session.series.ended(index, TcpEnd::Client),
    }
}

fn refusal(end: TcpEnd) -> Refusal {
    match end {
        TcpEnd::NoEndpoint => Refusal::NoEndpoint,
        TcpEnd::Overload => Refusal::Overload,
        _ => Refusal::Unreachable,
    }
}
