//! What a connection is served by once it has been accepted and is known to be whose it is.

use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tracing::debug;

use super::stay::Stay;
use super::{Client, Desk, Forward, Service, Talk, connection};
use crate::message::proxy_protocol::Ends;
use crate::tls::Entrance;

/// Takes connections, each to its end.
pub(super) trait Handler: Sized + 'static {
    fn handle(desk: &Desk<Self>, stream: TcpStream, ends: Ends, stay: Stay) -> impl Future<Output = ()> + 'static;
}

/// Requests, for a service.
impl<S: Service> Handler for S {
    fn handle(desk: &Desk<Self>, stream: TcpStream, ends: Ends, stay: Stay) -> impl Future<Output = ()> + 'static {
        let talk = Talk::new(desk, &Arc::clone(&stay.pulse), ends);
        connection::serve(stream, talk, stay)
    }
}

/// Bytes, for whoever forwards them.
pub(super) struct Raw<F>(pub(super) Rc<F>);

impl<F: Forward> Handler for Raw<F> {
    fn handle(desk: &Desk<Self>, stream: TcpStream, ends: Ends, mut stay: Stay) -> impl Future<Output = ()> + 'static {
        let (forward, tls) = (Rc::clone(&desk.service.0), desk.terms.tls.clone());
        // Nobody can tell when it is idle, so it never gives way.
        stay.pulse.busy();
        async move {
            let place = stay.place.take();
            match tls {
                None => {
                    drop(stay);
                    forward.forward(stream.into(), (ends, Rc::new(Client::new(ends)))).await;
                }
                Some(tls) => Box::pin(forward_secured(forward, (stream, tls), ends, stay)).await,
            }
            drop(place);
        }
    }
}

/// The same for what is inside of TLS, as long as the client may be here.
async fn forward_secured<F: Forward>(forward: Rc<F>, (stream, tls): (TcpStream, Entrance), ends: Ends, stay: Stay) {
    let (stream, told) = match connection::secure(stream, &tls, &stay).await {
        Ok(secured) => secured,
        Err(error) => return debug!(client = %ends.client, %error, "not secured"),
    };
    drop(stay);
    let client = Rc::new(Client::new(ends).secured(&told));
    let forwarding = forward.forward(stream, (ends, client));
    let Some(admission) = told.admission else { return forwarding.await };
    tokio::select! {
        biased;
        () = admission.revoked() => debug!(client = %ends.client, "closed: the client may not call us any more"),
        () = forwarding => {}
    }
}
