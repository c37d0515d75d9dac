//! Which route a request takes on a listener that goes by names of services: the one of its host's name, or of the listener's one name.
//!
//! The table has the names that are in use. For one that is not, discovery is asked, and the request waits for its answer within
//! bounds: the one place where a request waits for discovery, and only the first for a name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue};
use http::request;

use super::Edge;
use super::action::{self, Taken};
use super::answer::Refusal;
use crate::config::{Egress, Listener, Name, Serves};
use crate::message::Sender;
use crate::route::Question;
use crate::table::{Absent, Demand};

/// What every listener needs that goes by names.
#[derive(Debug, Clone)]
pub struct Naming {
    settings: Arc<Egress>,
    demand: Demand,
}

/// How a listener's requests get their names.
pub(super) struct Names {
    naming: Naming,
    /// The one of all of them, if the listener has one.
    one: Option<Name>,
}

impl Naming {
    /// Names by these rules; those that are not known are asked for.
    pub fn new(settings: &Egress, demand: Demand) -> Self {
        Naming { settings: Arc::new(settings.clone()), demand }
    }

    /// For that listener; none if it does not go by names.
    pub(super) fn of(&self, listener: &Listener) -> Option<Names> {
        let one = match &listener.serves {
            Serves::Routes => return None,
            Serves::Names => None,
            Serves::Service(name) => Some(name.clone()),
        };
        Some(Names { naming: self.clone(), one })
    }
}

impl Names {
    /// The host, and what becomes of the request.
    pub(super) async fn find(
        &self,
        edge: &Edge,
        (head, sender): (&request::Parts, Sender<'_>),
        started: Instant,
    ) -> Result<(HeaderValue, Taken), Refusal> {
        // Seen to by the listener.
        let host = head.headers.get(HOST).cloned().ok_or(Refusal::Host)?;
        let name = self.name(&host)?;
        let text = name.to_string();
        let question = Question { head, sender };
        if let Some(taken) = look(edge, &text, &question, started) {
            return Ok((host, taken));
        }
        // Boxed, as next to no request comes here.
        Box::pin(self.naming.demand.ask(&name, self.wait())).await.map_err(Refusal::Absent)?;
        // Forgotten between the answer and now, if it is not there.
        let taken = look(edge, &text, &question, started).ok_or(Refusal::Absent(Absent::Late))?;
        Ok((host, taken))
    }

    fn wait(&self) -> Duration {
        self.naming.settings.wait
    }

    fn name(&self, host: &HeaderValue) -> Result<Name, Refusal> {
        if let Some(one) = &self.one {
            return Ok(one.clone());
        }
        let settings = &self.naming.settings;
        let name = settings.name(host.to_str().map_err(|_| Refusal::Host)?).map_err(Refusal::Nameless)?;
        if settings.allows(&name) { Ok(name) } else { Err(Refusal::Barred) }
    }
}

/// What becomes of a request by the route of that name, if the table has one.
fn look(edge: &Edge, name: &str, question: &Question<'_>, started: Instant) -> Option<Taken> {
    let mut reader = edge.worker.reader.borrow_mut();
    let table = reader.load();
    let route = table.routes().named(name, started)?;
    Some(action::take(edge, (table, route), question))
}
