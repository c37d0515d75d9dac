//! What a connection is served by once it has been accepted and is known to be whose it is.

use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::stay::Stay;
use super::{Desk, Forward, Service, Talk, connection};
use crate::message::proxy_protocol::Ends;

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
        let forward = Rc::clone(&desk.service.0);
        // Nobody can tell when it is idle, so it never gives way.
        stay.pulse.busy();
        async move {
            let place = stay.place.take();
            drop(stay);
            forward.forward(stream, ends).await;
            drop(place);
        }
    }
}
