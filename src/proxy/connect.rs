//! `CONNECT` (RFC 9110 section 9.3.6), where a listener takes it: the connection becomes a tunnel to an endpoint of the route for
//! its host. Where that leads is the route's to say and never the client's, so that nobody gets further than by any other request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Response, StatusCode};
use http_body::Body as _;
use tracing::debug;

use super::answer::{Body, Refusal};
use super::books::Page;
use super::series::Entry;
use super::session::{Joined, Session};
use super::{Edge, flags, record};
use crate::listener::{Client, Takeover};
use crate::metrics::{Answered, TcpLabels};

/// Answers 200 once there is an endpoint, and moves bytes from then on, as a task of the worker's.
pub(super) async fn open(
    edge: &Edge,
    entry: &Entry,
    (client, takeover): (&Rc<Client>, Option<Takeover>),
    (started, page): (Instant, Page),
) -> Response<Body> {
    let (worker, trace) = (&edge.worker, page.trace());
    let joined = match (client.downstream.ends(), takeover) {
        (Some(ends), Some(takeover)) => {
            let series = Arc::clone(entry.tunnels.get_or_init(|| {
                let listener = worker.series.borrow().listener(edge.listener);
                worker.metrics.tcp(TcpLabels { listener, cluster: Arc::clone(entry.cluster.name()) })
            }));
            let (worker, cluster, page) = (Rc::clone(worker), entry.cluster.clone(), RefCell::new(page));
            let (moved, seen, ended) = (Cell::default(), Cell::default(), Cell::default());
            let client = Rc::clone(client);
            let session = Session { worker, cluster, series, ends, client, page, moved, seen, ended };
            match session.join().await {
                Ok(joined) => Ok((session, joined, takeover)),
                Err(refusal) => Err((refusal, session.page.take())),
            }
        }
        _ => Err((Refusal::NoTunnel, page)),
    };
    let response = match joined {
        Ok((session, joined, takeover)) => {
            session.page.borrow_mut().is_tunnel();
            session.seen.set(Some(StatusCode::OK.as_u16()));
            let draining = worker.draining.clone();
            worker.tunnels.borrow_mut().spawn_local(async move {
                run(&session, joined, takeover).await;
                drop(draining);
            });
            Response::new(Body::Text(None))
        }
        Err((refusal, mut page)) => {
            debug!(?refusal, "no tunnel");
            page.flag(flags::of_refusal(&refusal));
            let response = refusal.answer();
            page.close(&own(&response, (started, trace)));
            response
        }
    };
    // What is said in the tunnel is counted as a session's.
    entry.request.record(worker.index, &own(&response, (started, trace)));
    response
}

fn own(response: &Response<Body>, begun: (Instant, Option<u128>)) -> Answered {
    record::own(response.status().as_u16(), begun, (0, response.body().size_hint().lower()))
}

async fn run(session: &Session, joined: Joined, takeover: Takeover) {
    match takeover.take().await {
        Some(mut client) => drop(session.copy(joined, &mut client, &[]).await),
        None => session.left(),
    }
}
